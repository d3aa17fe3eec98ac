// The page: a picture and sentences in, masks over the picture out, all on this device.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const COLORS = ["230,25,75", "0,130,200", "60,180,75", "245,130,48", "145,30,180", "0,160,160", "240,50,230"];
const HEAT = [[0, 0, 0], [60, 10, 110], [190, 40, 70], [250, 140, 20], [255, 245, 160]];
const MOST_SHOWN_PIXELS = 1.5e6;  // masks of larger pictures are made at this size
const MOST_PIXELS = 1e8;  // as the Python code
const NAMES = { attention_encoder: "encoder", attention_fpn: "FPN", attention_decoder: "decoder" };

const element = (id) => document.getElementById(id);
const state = { picture: null, kept: [], live: null, session: null, tokenizer: null, number: 0 };

function report(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

// ---- what lies in the page ---------------------------------------------------------------------------------------

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

async function unpack(id) {
  const packed = bytesOf(element(id).textContent);
  element(id).remove();  // its text would stay in memory twice
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function start() {
  const [script, wasm, model, file] = await Promise.all(["runtime", "wasm", "model", "tokenizer"].map(unpack));
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1;  // threads need headers that a file from disk does not have
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.logLevel = "error";
  state.ort = ort;
  state.tokenizer = new Tokenizer(file, settings.text_tokens);
  state.session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

// ---- the model -----------------------------------------------------------------------------------------------------

// Returns the picture's pixels, upright and over white, with its size.
async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`${width} x ${height} pixels are too many`);
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data, rgb = new Uint8Array(width * height * 3);
  for (let at = 0, to = 0; at < rgba.length; at += 4) {
    rgb[to++] = rgba[at]; rgb[to++] = rgba[at + 1]; rgb[to++] = rgba[at + 2];
  }
  return { width, height, canvas, planes: resizeToPlanes(rgb, width, height, settings.image_size) };
}

async function predict(picture, sentence) {
  const { ort, session } = state, began = performance.now();
  const encoded = state.tokenizer.encode(sentence), size = settings.image_size, length = settings.text_tokens;
  const outputs = await session.run({
    pixels: new ort.Tensor("uint8", picture.planes, [1, 3, size, size]),
    token_ids: new ort.Tensor("int64", BigInt64Array.from(encoded.ids, BigInt), [1, length]),
    padding: new ort.Tensor("bool", Uint8Array.from(encoded.padding, Number), [1, length]),
  });
  const shrink = Math.min(1, Math.sqrt(MOST_SHOWN_PIXELS / (picture.width * picture.height)));
  const width = Math.max(1, Math.round(picture.width * shrink)), height = Math.max(1, Math.round(picture.height * shrink));
  const { mask, area } = maskOf(outputs.logits.data, outputs.logits.dims[1], width, height, settings.threshold);
  const maps = Object.keys(NAMES).filter((name) => outputs[name])
    .map((name) => ({ name: NAMES[name], values: outputs[name].data, side: outputs[name].dims[1] }));
  return { sentence, encoded, mask, width, height, area: area / (width * height), maps, ms: performance.now() - began };
}

// ---- the picture with its masks --------------------------------------------------------------------------------------

const shown = () => [...state.kept, ...(state.live ? [state.live] : [])];

// Draws over `context`, which has the size of the mask, in one color with a lighter outline.
function tint(context, { mask, width, height }, color) {
  const layer = new ImageData(width, height), [red, green, blue] = color.split(",").map(Number);
  for (let at = 0; at < mask.length; at++) {
    if (!mask[at]) continue;
    const column = at % width;
    const edge = !mask[at - width] || !mask[at + width] || column === 0 || column === width - 1 || !mask[at - 1] || !mask[at + 1];
    layer.data.set([red, green, blue, edge ? 255 : 125], at * 4);
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(layer, 0, 0);
  context.drawImage(canvas, 0, 0, context.canvas.width, context.canvas.height);
}

function draw() {
  const canvas = element("canvas"), picture = state.picture, context = canvas.getContext("2d");
  if (!picture) return;
  const first = shown()[0];
  canvas.width = first ? first.width : picture.width;
  canvas.height = first ? first.height : picture.height;
  context.drawImage(picture.canvas, 0, 0, canvas.width, canvas.height);
  for (const found of shown()) tint(context, found, COLORS[found.number % COLORS.length]);
  const parts = shown().map((found) => `${found.sentence}: ${(100 * found.area).toFixed(1)} % of the picture`);
  canvas.setAttribute("aria-label", parts.length ? `Picture with masks. ${parts.join(". ")}` : "Picture without masks");
}

function drawMaps() {
  const place = element("maps"), found = shown().at(-1);
  place.replaceChildren();
  if (!element("attention").checked || !found) return;
  if (!found.maps.length) place.append("This model has no attention that can be shown.");
  for (const { name, values, side } of found.maps) {
    const { width, height } = found, high = Math.max(...values), low = Math.min(...values);
    const level = resizeBilinear(Float32Array.from(values, (value) => (value - low) / (high - low || 1)), side, width, height);
    const layer = new ImageData(width, height);
    level.forEach((value, at) => {
      const step = Math.min(value * (HEAT.length - 1), HEAT.length - 1.001), lower = Math.floor(step), share = step - lower;
      for (let channel = 0; channel < 3; channel++) {
        layer.data[at * 4 + channel] = HEAT[lower][channel] * (1 - share) + HEAT[lower + 1][channel] * share;
      }
      layer.data[at * 4 + 3] = 170;
    });
    const canvas = document.createElement("canvas"), heat = new OffscreenCanvas(width, height);
    canvas.width = width; canvas.height = height;
    heat.getContext("2d").putImageData(layer, 0, 0);
    const context = canvas.getContext("2d");
    context.drawImage(state.picture.canvas, 0, 0, width, height);
    context.drawImage(heat, 0, 0);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Attention of the ${name} for: ${found.sentence}`);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = name;
    figure.append(canvas, caption);
    place.append(figure);
  }
}

function notesOf({ encoded }) {
  const notes = [];
  if (encoded.unknown.length) notes.push(`not known to the model: ${encoded.unknown.join(", ")}`);
  if (encoded.cut) notes.push(`the last ${encoded.cut} pieces are not read`);
  return notes.join("; ");
}

function list() {
  element("sentences").replaceChildren(...shown().map((found) => {
    const item = document.createElement("li"), swatch = document.createElement("span"), text = document.createElement("span");
    const area = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${COLORS[found.number % COLORS.length]})`;
    text.className = "text";
    text.textContent = found.sentence;
    const notes = notesOf(found);
    if (notes) { const small = document.createElement("small"); small.textContent = notes; text.append(small); }
    area.className = "area";
    area.textContent = `${(100 * found.area).toFixed(1)} %`;
    item.append(swatch, text, area);
    if (found !== state.live) {
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "Remove";
      remove.setAttribute("aria-label", `Remove ${found.sentence}`);
      remove.addEventListener("click", () => {
        state.kept = state.kept.filter((other) => other !== found);
        show();
        element("sentence").focus();
      });
      item.append(remove);
    }
    return item;
  }));
}

function show() { draw(); drawMaps(); list(); }

// ---- what the user does ----------------------------------------------------------------------------------------------

let asked = 0, waiting = Promise.resolve();

// Runs one prediction at a time, and only the newest of those that wait.
function follow() {
  const ticket = ++asked;
  waiting = waiting.then(async () => {
    if (ticket !== asked || !state.session || !state.picture) return;
    const sentence = element("sentence").value;
    if (!/[\p{L}\p{N}_]/u.test(sentence)) { state.live = null; show(); report("Ready."); return; }
    try {
      const found = await predict(state.picture, sentence.trim());
      state.live = { ...found, number: state.number };
      show();
      report(`${found.ms.toFixed(0)} ms on this device.`);
    } catch (error) { report(`The model did not answer: ${error.message}`, true); }
  });
  return waiting;
}

async function open(blob, name) {
  try {
    const picture = await decode(blob);
    Object.assign(state, { picture, kept: [], live: null, number: 0 });
    element("hint").hidden = true;
    show();
    report(`${name}, ${picture.width} x ${picture.height} pixels.`);
    await follow();
  } catch (error) { report(`${name} is not a picture that this browser reads: ${error.message}`, true); }
}

function keep() {
  if (!state.live) return;
  state.kept.push(state.live);
  state.live = null;
  state.number++;
  element("sentence").value = "";
  show();
  report("Kept. Describe another thing, or open another picture.");
}

function listen() {
  const stage = element("stage");
  element("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) open(target.files[0], target.files[0].name);
    target.value = "";
  });
  element("open").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); element("file").click(); }
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      stage.classList.toggle("over", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file) open(file, file.name);
    });
  }
  document.addEventListener("paste", ({ clipboardData }) => {
    const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file) open(file, "the pasted picture");
  });
  element("sentence").addEventListener("input", follow);
  element("attention").addEventListener("change", show);
  element("form").addEventListener("submit", async (event) => { event.preventDefault(); await follow(); keep(); });
  document.querySelectorAll("[data-example]").forEach((button) => button.addEventListener("click", () => {
    const example = settings.examples[Number(button.dataset.example)];
    element("sentence").value = example.sentence;
    open(new Blob([bytesOf(example.uri.split(",")[1])]), "the example");
  }));
}

// For tests: the mask of an image file's bytes, through the same code as a dropped picture.
async function maskOfFile(base64, sentence) {
  const picture = await decode(new Blob([bytesOf(base64)]));
  const { mask, width, height, ms, encoded } = await predict(picture, sentence);
  return { mask: Array.from(mask).join(""), width, height, ms, ids: encoded.ids, planes: Array.from(picture.planes) };
}

listen();
const ready = start().then(() => {
  for (const id of ["sentence", "keep"]) element(id).disabled = false;
  report("Ready. Open a picture, then describe something in it.");
  document.body.dataset.ready = "yes";
  if (state.picture) follow();
  else document.querySelector("[data-example]")?.click();
}, (error) => {
  report(`The model could not be started: ${error.message}. A browser of 2023 or later is needed.`, true);
  document.body.dataset.ready = "no";
});
