// From the pixels of a picture to the model's input, and from its logits to a mask, as the Python code does it.
"use strict";

// Weights of a cubic filter (a = -0.5) for one side, as whole numbers with as many bits as fit into 16.
function cubicWeights(from, to) {
  const scale = from / to, shrink = Math.max(scale, 1), support = 2 * shrink;
  const cubic = (x) => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  };
  const places = [];
  let largest = 0;
  for (let index = 0; index < to; index++) {
    const center = scale * (index + 0.5);
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.trunc(center + support + 0.5), from) - first;
    const weights = [];
    for (let tap = 0; tap < count; tap++) weights.push(cubic((tap + first - center + 0.5) / shrink));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const shares = weights.map((weight) => weight / total);
    largest = Math.max(largest, ...shares);
    places.push({ first, shares });
  }
  let bits = 0;
  while (bits < 22 && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits++;
  for (const place of places) {
    place.weights = place.shares.map((share) => Math.trunc(share * 2 ** bits + (share < 0 ? -0.5 : 0.5)));
  }
  return { places, bits };
}

// Filters along one axis of bytes: `lines` lines, whose pixels lie `step` apart and which begin `skip` apart.
function filterAxis(source, channels, { places, bits }, lines, { from, to }) {
  const out = new Uint8ClampedArray(lines * places.length * channels);
  const half = bits > 0 ? 2 ** (bits - 1) : 0;
  for (let line = 0; line < lines; line++) {
    for (let index = 0; index < places.length; index++) {
      const { first, weights } = places[index];
      for (let channel = 0; channel < channels; channel++) {
        let sum = half;
        for (let tap = 0; tap < weights.length; tap++) sum += weights[tap] * source[from(line, first + tap) + channel];
        out[to(line, index) + channel] = sum >> bits;  // clamped to 0 .. 255
      }
    }
  }
  return out;
}

// Returns size x size RGB bytes, planes after each other, of RGB bytes: width first, then height.
function resizeToPlanes(rgb, width, height, size) {
  let pixels = rgb;
  if (width !== size) {
    const axes = { from: (line, at) => (line * width + at) * 3, to: (line, at) => (line * size + at) * 3 };
    pixels = filterAxis(pixels, 3, cubicWeights(width, size), height, axes);
  }
  if (height !== size) {
    const place = (column, row) => (row * size + column) * 3;
    pixels = filterAxis(pixels, 3, cubicWeights(height, size), size, { from: place, to: place });
  }
  const planes = new Uint8Array(3 * size * size);
  for (let at = 0; at < size * size; at++) {
    for (let channel = 0; channel < 3; channel++) planes[channel * size * size + at] = pixels[at * 3 + channel];
  }
  return planes;
}

// Returns values of side x side resized bilinear to width x height, pixel centres aligned.
function resizeBilinear(values, side, width, height) {
  const axis = (length) => Array.from({ length }, (_, index) => {
    const at = Math.max((index + 0.5) * (side / length) - 0.5, 0), low = Math.min(Math.floor(at), side - 1);
    return { low, high: Math.min(low + 1, side - 1), share: Math.min(Math.max(at - low, 0), 1) };
  });
  const columns = axis(width), rows = axis(height), out = new Float32Array(width * height);
  for (let row = 0; row < height; row++) {
    const { low, high, share } = rows[row];
    for (let column = 0; column < width; column++) {
      const x = columns[column];
      const top = values[low * side + x.low] * (1 - x.share) + values[low * side + x.high] * x.share;
      const bottom = values[high * side + x.low] * (1 - x.share) + values[high * side + x.high] * x.share;
      out[row * width + column] = top * (1 - share) + bottom * share;
    }
  }
  return out;
}

// Returns a byte per pixel, 1 in the mask, and how many pixels it has.
function maskOf(logits, side, width, height, threshold) {
  const probabilities = Float32Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
  const resized = resizeBilinear(probabilities, side, width, height), mask = new Uint8Array(width * height);
  let area = 0;
  resized.forEach((probability, at) => { if (probability > threshold) { mask[at] = 1; area++; } });
  return { mask, area };
}

if (typeof module !== "undefined") module.exports = { resizeToPlanes, resizeBilinear, maskOf };
