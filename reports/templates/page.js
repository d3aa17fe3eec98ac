"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Theme: the system's until the reader chooses.
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = "";
  const applyTheme = () => { root.dataset.theme = chosen || (system.matches ? "dark" : "light"); };
  const switchTheme = () => { chosen = root.dataset.theme === "dark" ? "light" : "dark"; applyTheme(); };
  system.addEventListener("change", applyTheme);
  applyTheme();

  let fading = 0;
  const toast = (text) => {
    const box = one("#toast");
    box.textContent = text;
    box.classList.add("on");
    clearTimeout(fading);
    fading = setTimeout(() => box.classList.remove("on"), 1600);
  };

  // Sorting stays inside each part of a table; the third press brings the paper's order back.
  const sortTable = (button) => {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = Number(head.dataset.column);
    const next = { none: "descending", descending: "ascending", ascending: "none" }[head.getAttribute("aria-sort")];
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    all("tbody", table).forEach((body) => {
      const rows = all("tr:not(.section)", body);
      const key = (row) => {
        const cell = row.children[column];
        return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
      };
      rows.sort((a, b) => {
        if (next === "none") return a.dataset.order - b.dataset.order;
        const [left, right] = [key(a), key(b)];
        const [leftIsText, rightIsText] = [typeof left === "string", typeof right === "string"];
        if (leftIsText !== rightIsText) return leftIsText ? 1 : -1;
        const order = leftIsText ? left.localeCompare(right, undefined, { numeric: true }) : left - right;
        return next === "ascending" ? order : -order;
      });
      rows.forEach((row) => body.append(row));
    });
  };

  const copy = async (text, what) => {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    root.dataset.copied = done ? text : "";
    toast(done ? `${what} copied` : "The browser refused: select and copy by hand");
  };

  // Pictures open large; arrows go through all of them.
  const zoomBox = one("#zoom");
  const pictures = all("button.zoom");
  let current = 0;
  let scale = 1;
  const setScale = (value) => {
    scale = Math.min(6, Math.max(0.5, value));
    one(".stage", zoomBox).style.width = `${100 * scale}%`;
  };
  const showPicture = (number) => {
    current = (number + pictures.length) % pictures.length;
    const source = pictures[current];
    one(".stage", zoomBox).replaceChildren(...[...source.childNodes].map((node) => node.cloneNode(true)));
    one("strong", zoomBox).textContent = source.getAttribute("aria-label").replace("Zoom: ", "");
    setScale(1);
    if (!zoomBox.open) zoomBox.showModal();
  };

  // A number leads to its run; a mean over seeds to the list of its runs.
  const openRun = (id) => {
    const box = document.getElementById(`run-${id}`);
    if (!box) return;
    all("details.run.shown").forEach((other) => other.classList.remove("shown"));
    box.hidden = false;
    box.open = true;
    box.classList.add("shown");
    box.scrollIntoView({ block: "start" });
    one("summary", box).focus({ preventScroll: true });
  };
  const openRuns = (link) => {
    const ids = link.dataset.runs.split(" ");
    if (ids.length === 1) { openRun(ids[0]); return; }
    const list = one("#runs-of .list");
    list.replaceChildren(...ids.map((id) => {
      const item = document.createElement("li");
      const go = document.createElement("a");
      go.href = `#run-${id}`;
      go.textContent = id;
      go.addEventListener("click", (event) => { event.preventDefault(); one("#runs-of").close(); openRun(id); });
      item.append(go);
      return item;
    }));
    one("#runs-of .detail").textContent = link.title;
    one("#runs-of").showModal();
  };

  const parts = all("main [data-part]");
  const step = (direction) => {
    const top = parts.findIndex((part) => part.getBoundingClientRect().top > 40);
    const now = top === -1 ? parts.length : top;
    const next = direction > 0 ? now : now - 2;
    parts[Math.min(parts.length - 1, Math.max(0, next))].scrollIntoView();
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("button, a");
    if (!target) return;
    if (target.matches("th button")) sortTable(target);
    else if (target.dataset.copy) copy(one(`#${target.dataset.copy}`).content.textContent, target.dataset.what);
    else if (target.matches("button.zoom")) showPicture(pictures.indexOf(target));
    else if (target.matches("a.run")) { event.preventDefault(); openRuns(target); }
    else if (target.dataset.close !== undefined) target.closest("dialog").close();
    else if (target.dataset.scale) setScale(scale * Number(target.dataset.scale));
    else if (target.dataset.turn) showPicture(current + Number(target.dataset.turn));
    else if (target.dataset.theme !== undefined) switchTheme();
    else if (target.dataset.help !== undefined) one("#help").showModal();
    else if (target.dataset.print !== undefined) window.print();
  });
  all("dialog").forEach((box) => box.addEventListener("click", (event) => { if (event.target === box) box.close(); }));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea")) return;
    const inZoom = zoomBox.open;
    const keys = inZoom
      ? { ArrowRight: () => showPicture(current + 1), ArrowLeft: () => showPicture(current - 1),
          "+": () => setScale(scale * 1.25), "-": () => setScale(scale / 1.25), "0": () => setScale(1) }
      : { n: () => step(1), p: () => step(-1), t: switchTheme, "?": () => one("#help").showModal(),
          "/": () => one("#filter")?.focus() };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });

  one("#filter")?.addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    all("details.run").forEach((box) => {
      const text = one("summary", box).textContent.toLowerCase();
      box.hidden = !words.every((word) => text.includes(word));
      shown += box.hidden ? 0 : 1;
    });
    one("#filtered").textContent = `${shown} shown`;
  });

  // A link into a folded table opens it first.
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const folded = [target.querySelector("details.folded"), target.closest("details")].filter(Boolean);
    folded.forEach((box) => { box.open = true; });
    if (folded.length) target.scrollIntoView();
  };
  const fromHash = () => { unfold(); if (location.hash.startsWith("#run-")) openRun(decodeURIComponent(location.hash.slice(5))); };
  window.addEventListener("hashchange", fromHash);
  fromHash();

  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.classList.remove("here"));
    links.get(entry.target.id)?.classList.add("here");
  }), { rootMargin: "-5% 0px -80% 0px" });
  parts.forEach((part) => watcher.observe(part));
  root.dataset.ready = "yes";
})();
