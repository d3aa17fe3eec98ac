"use strict";
(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const root = document.documentElement;
  const PAGE = 100;
  const COLORS = { truth: [0, 170, 120], a: [225, 95, 0], b: [0, 104, 168] };
  const LONGEST = 480;

  const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const unpack = async (base64) => {
    const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const unpackJson = async (text) => JSON.parse(new TextDecoder().decode(await unpack(text)));

  let index = null;
  let paths = [];
  const thumbnails = one("#thumbnails").textContent.split("\n");
  const blocks = all("script.block").map((element) => element.textContent);
  const unpackedBlocks = new Map();
  let found = [];
  let shownRows = PAGE;
  let current = -1;
  let currentButton = null;
  let masksOn = true;
  let drawing = 0;

  // A length is seven bits a byte, the lowest first; the eighth says that more follow (reports/small_masks.py).
  const readRuns = (bytes, state) => {
    const number = () => {
      let value = 0;
      let factor = 1;
      for (;;) {
        const byte = bytes[state.at++];
        value += (byte & 0x7f) * factor;
        if (byte < 0x80) return value;
        factor *= 128;
      }
    };
    return Array.from({ length: number() }, number);
  };
  const masksOf = async (sample) => {
    const block = Math.floor(sample / index.block);
    if (!unpackedBlocks.has(block)) {
      const bytes = await unpack(blocks[block]);
      const state = { at: 0 };
      const samples = [];
      while (state.at < bytes.length) samples.push(Array.from({ length: index.runs.length + 1 }, () => readRuns(bytes, state)));
      if (unpackedBlocks.size > 20) unpackedBlocks.clear();
      unpackedBlocks.set(block, samples);
    }
    return unpackedBlocks.get(block)[sample % index.block];
  };

  const pictureOf = (image) => new Promise((resolve) => {
    const source = paths[image] !== undefined ? paths[image].split("/").map(encodeURIComponent).join("/")
      : thumbnails[image] ? `data:image/webp;base64,${thumbnails[image]}` : "";
    if (!source) { resolve(null); return; }
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => resolve(null);
    picture.src = source;
  });

  const maskCanvas = (runs, height, width, color) => {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const data = context.createImageData(width, height);
    let at = 0;
    runs.forEach((length, turn) => {
      if (turn % 2) for (let place = at; place < at + length; place++) {
        const pixel = 4 * ((place % height) * width + Math.floor(place / height));
        data.data.set([...color, 150], pixel);
      }
      at += length;
    });
    context.putImageData(data, 0, 0);
    return canvas;
  };

  const drawOn = (canvas, picture, image, runs, color, label) => {
    const [, height, width, rows, columns] = image;
    const scale = LONGEST / Math.max(height, width);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (masksOn) context.drawImage(maskCanvas(runs, rows, columns, color), 0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", label);
  };

  const percent = (thousandths) => (thousandths / 10).toFixed(1);
  const chosen = (id) => Number(one(id).value);

  const show = async (place) => {
    if (!found.length) return;
    current = Math.min(found.length - 1, Math.max(0, place));
    if (current >= shownRows) {
      const rendered = shownRows;
      while (current >= shownRows) shownRows += PAGE;
      renderRows(rendered);
    }
    markCurrent();
    const sample = found[current];
    const [a, b] = [chosen("#run-a"), chosen("#run-b")];
    const image = index.images[index.image[sample]];
    const turn = ++drawing;
    const [masks, picture] = await Promise.all([masksOf(sample), pictureOf(index.image[sample])]);
    if (turn !== drawing) return;
    one("#sentence").textContent = index.sentence[sample];
    one("#facts").textContent = `Sample ${sample} · ref ${index.ref[sample]} · ${image[0]} · object ${percent(index.area[sample])} % of the image`
      + (picture ? "" : " · no picture here");
    drawOn(one("#truth"), picture, image, masks[0], COLORS.truth, "true mask");
    [["a", a], ["b", b]].forEach(([name, run]) => {
      const label = `${index.runs[run].label}: IoU ${percent(index.iou[run][sample])} %` + (masks[run + 1].length ? "" : ", empty");
      one(`#caption-${name}`).textContent = `${name.toUpperCase()}: ${label}`;
      drawOn(one(`#mask-${name}`), picture, image, masks[run + 1], COLORS[name], label);
    });
    root.dataset.sample = String(sample);
    root.dataset.shown = String(Number(root.dataset.shown || 0) + 1);
    const list = one("#list"); // on a phone the page scrolls, not the list: the picture has to stay in view
    if (list.scrollHeight > list.clientHeight + 1) currentButton?.scrollIntoView({ block: "nearest" });
  };

  // Rows that are there stay: with all rows of a split shown, making them anew takes seconds.
  const renderRows = (from = 0) => {
    const [a, b] = [chosen("#run-a"), chosen("#run-b")];
    if (!from) one("#rows").replaceChildren();
    one("#rows").append(...found.slice(from, shownRows).map((sample, offset) => {
      const place = from + offset;
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.place = String(place);
      button.setAttribute("aria-current", "false");
      const text = document.createElement("span");
      text.textContent = index.sentence[sample];
      const scores = document.createElement("small");
      scores.textContent = `${percent(index.iou[a][sample])} / ${percent(index.iou[b][sample])}`;
      button.append(text, scores);
      item.append(button);
      return item;
    }));
    one("#more").hidden = found.length <= shownRows;
  };
  const markCurrent = () => {
    currentButton?.setAttribute("aria-current", "false");
    currentButton = one("#rows").children[current]?.firstElementChild;
    currentButton?.setAttribute("aria-current", "true");
  };

  const filter = () => {
    const words = one("#words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [low, high] = (one("#size").value || "0-1001").split("-").map(Number);
    const [a, b] = [index.iou[chosen("#run-a")], index.iou[chosen("#run-b")]];
    const [worst, best] = [10 * chosen("#iou-low"), 10 * chosen("#iou-high")];
    const difference = 10 * chosen("#difference");
    found = [];
    for (let sample = 0; sample < index.image.length; sample++) {
      if (index.area[sample] < low || index.area[sample] >= high) continue;
      if (a[sample] < worst || a[sample] > best || Math.abs(a[sample] - b[sample]) < difference) continue;
      const text = words.length ? index.sentence[sample].toLowerCase() : "";
      if (words.every((word) => text.includes(word))) found.push(sample);
    }
    const keys = {
      worst: (s) => a[s], best: (s) => -a[s], "a-over-b": (s) => b[s] - a[s], "b-over-a": (s) => a[s] - b[s],
    };
    const key = keys[one("#order").value];
    if (key) found.sort((left, right) => key(left) - key(right) || left - right);
    one("#count").textContent = `${found.length} of ${index.image.length} samples; IoU of A / B in percent`;
    shownRows = PAGE;
    current = -1;
    renderRows();
    if (found.length) show(0);
    else {
      root.dataset.sample = "";
      one("#sentence").textContent = "No sample fits the filters.";
      one("#facts").textContent = "";
    }
  };

  const switchMasks = () => { masksOn = !masksOn; show(current); };
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = system.matches ? "dark" : "light";
  const keys = {
    j: () => show(current + 1), ArrowDown: () => show(current + 1), k: () => show(current - 1), ArrowUp: () => show(current - 1),
    m: switchMasks, "/": () => one("#words").focus(),
    t: () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.activeElement.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  one("#filters").addEventListener("input", filter);
  one("#filters").addEventListener("submit", (event) => event.preventDefault());
  one("#rows").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(Number(button.dataset.place));
  });
  one("#more").addEventListener("click", () => { shownRows += PAGE; renderRows(shownRows - PAGE); });
  one("#previous").addEventListener("click", () => show(current - 1));
  one("#next").addEventListener("click", () => show(current + 1));
  one("#masks").addEventListener("click", switchMasks);

  const start = async () => {
    index = await unpackJson(one("#index").textContent);
    if (one("#paths").textContent) paths = await unpackJson(one("#paths").textContent);
    const main = Math.max(0, index.runs.findIndex((run) => run.main));
    ["#run-a", "#run-b"].forEach((id, turn) => {
      one(id).replaceChildren(...index.runs.map((run, number) => new Option(run.label, String(number))));
      one(id).value = String(turn ? (main ? 0 : Math.min(1, index.runs.length - 1)) : main);
    });
    filter();
    root.dataset.ready = "yes";
  };
  start().catch((error) => { one("#count").textContent = `This browser cannot open the samples: ${error.message}`; });
})();
