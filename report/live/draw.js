"use strict";
// The drawings: the image, Grad-CAM and LIME. They read the state that page.js declares.

/** Calls `color(y, x, i, j)` for the 256 x 256 points (y, x) of a canvas; (i, j) is the pixel. */
function paint(canvas, color) {
  const context = canvas.getContext("2d"), image = context.createImageData(256, 256);
  for (let y = 0, p = 0; y < 256; y++) for (let x = 0; x < 256; x++, p += 4) {
    image.data.set(color(y, x, y >> 3, x >> 3), p);
    image.data[p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return context;
}

const spot = (k) => `row ${(k >> 3) + 1}, column ${(k & 7) + 1}`;  // of square `k`
const gray = (i, j) => (0.2126 * pixels[32 * i + j] + 0.7152 * pixels[1024 + 32 * i + j]
  + 0.0722 * pixels[2048 + 32 * i + j]) / 255;

/** Frames a region of 8 x 8 points per pixel; `dash` for the mark. */
function frame(context, i, j, color, width, dash = []) {
  context.setLineDash(dash);
  context.lineWidth = width;
  context.strokeStyle = color;
  context.strokeRect(8 * j + width / 2, 8 * i + width / 2, 32 - width, 32 - width);
}

function frameMark(context) {
  if (!marked()) return;
  frame(context, ...place, "black", 3);
  frame(context, ...place, "white", 3, [5, 5]);
}

/** "x% of the positive evidence is on the mark" for values of the 64 squares. */
function shareOnMark(values) {
  if (!marked()) return "";
  let inside = 0, total = 0;
  for (let p = 0; p < 1024; p++) {
    const value = Math.max(0, values[square(p)]);
    total += value;
    if (onMark(p >> 5, p & 31)) inside += value;
  }
  const share = percent(inside / (total || 1));
  return `${share} of the positive evidence is on the mark, 1.6% of the image.`;
}

function drawImage() {
  const shown = masked(hidden.map((x) => 1 - x));
  const context = paint($("#image"), (y, x, i, j) =>
    [0, 1024, 2048].map((plane) => shown[plane + 32 * i + j]));
  hidden.forEach((x, k) => x && frame(context, 4 * (k >> 3), 4 * (k & 7), "#fffa", 1));
  if (document.activeElement === $("#image")) {
    frame(context, 4 * (cursor >> 3), 4 * (cursor & 7), "black", 4);
    frame(context, 4 * (cursor >> 3), 4 * (cursor & 7), "white", 2);
  }
}

/** As `blend` of common/figures.py: the map in color over the image in gray. */
function drawCam() {
  const map = maps.subarray(64 * target, 64 * target + 64), peak = Math.max(0, ...map);
  const sum = map.reduce((a, b) => a + b), positive = map.map((x) => Math.max(0, x) / (peak || 1));
  const level = new Float32Array(65536), clamp = (i) => Math.min(7, Math.max(0, i));
  for (let y = 0, p = 0; y < 256; y++) for (let x = 0; x < 256; x++, p++) {
    const a = (y + 0.5) / 32 - 0.5, b = (x + 0.5) / 32 - 0.5, i = Math.floor(a), j = Math.floor(b);
    const row = (k) => (1 - b + j) * positive[8 * clamp(k) + clamp(j)]
      + (b - j) * positive[8 * clamp(k) + clamp(j + 1)];
    level[p] = (1 - a + i) * row(i) + (a - i) * row(i + 1);
  }
  const half = level.reduce((a, b) => Math.max(a, b), 0) / 2;
  const edge = (p) => [-1, 1, -256, 256].some((step) => level[p + step] < half);
  frameMark(paint($("#cam"), (y, x, i, j) => {
    const base = 255 * (0.15 + 0.7 * gray(i, j)), at = level[256 * y + x];
    if (!peak) return [base, base, base];
    if (at >= half && edge(256 * y + x)) return [255, 255, 255];
    const opacity = 0.1 + 0.7 * Math.sqrt(at), color = config.ramp[Math.round(63 * at)];
    return color.map((value) => (1 - opacity) * base + opacity * value);
  }));
  $("#cam").ariaLabel = `Grad-CAM for ${classes[target]}, highest at ${spot(map.indexOf(peak))}`;
  $("#evidence").textContent = peak
    ? `The signed map sums to the logit, ${sum.toFixed(2)}. ${shareOnMark(map)}`
    : "No evidence for this class: the map is zero after the ReLU.";
}

/** As `weight_map` of q2_lime/image_figures.py: the weights of the first seed. */
function drawLime() {
  const weights = runs[0]?.weights ?? Array(64).fill(0), canvas = $("#weights");
  const most = Math.max(1e-9, ...weights.map(Math.abs)), top = topFeatures(weights, lime.top_k);
  const context = paint(canvas, (y, x, i, j) => {
    const weight = weights[square(32 * i + j)] / most, shade = 0.45 + 0.55 * gray(i, j);
    return config.signed[weight > 0 ? 0 : 1].map((value) =>
      shade * (255 + Math.abs(weight) * (value - 255)));
  });
  if (runs[0]) for (const k of top)
    frame(context, 4 * (k >> 3), 4 * (k & 7), `rgb(${config.signed[weights[k] > 0 ? 0 : 1]})`, 3);
  frameMark(context);
  canvas.ariaLabel = `LIME for ${classes[target]}: ` + (runs[0] ? top.map((k) =>
    `${spot(k)} ${weights[k] > 0 ? "for" : "against"}`).join("; ") : "not computed yet");
}
