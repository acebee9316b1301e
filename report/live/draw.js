"use strict";
// The drawings: the image, Grad-CAM and LIME. They read the state that page.js declares.

/** Colors the 256 x 256 points (y, x) of a canvas; `p` is the number of the pixel there. */
function paint(canvas, color) {
  const context = canvas.getContext("2d"), image = context.createImageData(256, 256);
  for (let y = 0, at = 0; y < 256; y++) for (let x = 0; x < 256; x++, at += 4)
    image.data.set([...color(32 * (y >> 3) + (x >> 3), y, x), 255], at);
  context.putImageData(image, 0, 0);
  return context;
}

const spot = (k) => `row ${(k >> 3) + 1}, column ${(k & 7) + 1}`;  // of square `k`
const gray = (p) =>
  (0.2126 * pixels[3 * p] + 0.7152 * pixels[3 * p + 1] + 0.0722 * pixels[3 * p + 2]) / 255;

/** Frames 4 x 4 pixels from row `i` and column `j`; `dash` for the mark. */
function frame(context, [i, j], color, width, dash = []) {
  context.setLineDash(dash);
  context.lineWidth = width;
  context.strokeStyle = color;
  context.strokeRect(8 * j + width / 2, 8 * i + width / 2, 32 - width, 32 - width);
}

const corner = (k) => [4 * (k >> 3), 4 * (k & 7)];  // of square `k`

function frameMark(context) {
  if (!marked()) return;
  frame(context, place, "black", 3);
  frame(context, place, "white", 3, [5, 5]);
}

/** "x% of the positive evidence is on the mark" for values of the 64 squares. */
function shareOnMark(values) {
  if (!marked()) return "";
  const evidence = Array.from({ length: 1024 }, (_, p) => Math.max(0, values[square(p)]));
  const inside = evidence.filter((_, p) => onMark(p >> 5, p & 31));
  const share = percent(sum(inside) / (sum(evidence) || 1));
  return `${share} of the positive evidence is on the mark, 1.6% of the image.`;
}

function drawImage() {
  const shown = masked(hidden.map((x) => 1 - x)), canvas = $("#image");
  const context = paint(canvas, (p) => shown.subarray(3 * p, 3 * p + 3));
  hidden.forEach((x, k) => x && frame(context, corner(k), "#fffa", 1));
  if (document.activeElement !== canvas) return;
  frame(context, corner(cursor), "black", 4);
  frame(context, corner(cursor), "white", 2);
}

/** A map of 8 x 8 cells at 256 x 256 points, by bilinear interpolation. */
function enlarge(map) {
  const clamp = (i) => Math.min(7, Math.max(0, i));
  return Float32Array.from({ length: 65536 }, (_, p) => {
    const y = ((p >> 8) + 0.5) / 32 - 0.5, x = ((p & 255) + 0.5) / 32 - 0.5;
    const i = Math.floor(y), j = Math.floor(x);
    const row = (k) => (1 - x + j) * map[8 * clamp(k) + clamp(j)]
      + (x - j) * map[8 * clamp(k) + clamp(j + 1)];
    return (1 - y + i) * row(i) + (y - i) * row(i + 1);
  });
}

/** As `blend` of common/figures.py: the map in color over the image in gray. */
function drawCam() {
  const map = mapOf(maps, target), peak = Math.max(0, ...map), canvas = $("#cam");
  const level = enlarge(map.map((x) => Math.max(0, x) / (peak || 1)));
  const half = level.reduce((a, b) => Math.max(a, b)) / 2;
  const edge = (at) => [-1, 1, -256, 256].some((step) => level[at + step] < half);
  frameMark(paint(canvas, (p, y, x) => {
    const base = 255 * (0.15 + 0.7 * gray(p)), at = 256 * y + x;
    if (!peak) return [base, base, base];
    if (level[at] >= half && edge(at)) return [255, 255, 255];
    const opacity = 0.1 + 0.7 * Math.sqrt(level[at]);
    return config.ramp[Math.round(63 * level[at])].map((value) =>
      (1 - opacity) * base + opacity * value);
  }));
  canvas.ariaLabel = `Grad-CAM for ${classes[target]}, highest at ${spot(map.indexOf(peak))}`;
  $("#evidence").textContent = peak
    ? `The signed map sums to the logit, ${sum(map).toFixed(2)}. ${shareOnMark(map)}`
    : "No evidence for this class: the map is zero after the ReLU.";
}

/** As `weight_map` of q2_lime/image_figures.py. */
function drawLime() {
  const weights = found?.weights ?? Array(64).fill(0), canvas = $("#weights");
  const top = found ? topFeatures(weights, lime.top_k) : [];
  const most = Math.max(1e-9, ...weights.map(Math.abs));
  const signed = (x) => config.signed[x > 0 ? 0 : 1];
  const context = paint(canvas, (p) => {
    const weight = weights[square(p)], shade = 0.45 + 0.55 * gray(p);
    return signed(weight).map((value) => shade * (255 + Math.abs(weight / most) * (value - 255)));
  });
  for (const k of top) frame(context, corner(k), `rgb(${signed(weights[k])})`, 3);
  frameMark(context);
  const squares = top.map((k) => `${spot(k)} ${weights[k] > 0 ? "for" : "against"}`);
  canvas.ariaLabel = `LIME for ${classes[target]}: ${squares.join("; ") || "not computed yet"}`;
}
