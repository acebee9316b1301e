"use strict";
// The page: the image, the squares hidden in it, the class that is explained, and LIME's verdict.

const $ = (selector) => document.querySelector(selector);
const config = JSON.parse($("#config").textContent), { lime, classes } = config;
const samples = [...document.querySelectorAll("#samples button")];
const bars = [...document.querySelectorAll("#probabilities button")];
const percent = (x) => `${(100 * x).toFixed(x > 0.001 && x < 0.999 ? 1 : 2)}%`;
const fail = ({ message, reason }) => {
  $("#problem").textContent = `The page failed, perhaps in an old browser: ${message ?? reason}`;
};
for (const type of ["error", "unhandledrejection"]) addEventListener(type, fail);

const pool = new Pool($("#network").textContent, config.networks, fail);
let network = 0, target = 0;  // numbers of the network and of the class that is explained
let original, place, label;  // RGBA of 32 x 32 pixels, row and column of the mark, a sentence
let pixels, blurred;  // the image that is explained, [32][32][3], and the same image hidden
let maps, before;  // maps of all classes and probabilities, of the whole image
let hidden = Array(64).fill(0), cursor = 0, painting = 1;  // squares painted over by the visitor
let found = null, seconds = 0, running = false;  // what LIME found so far
let answers = new Map();  // logits by mask, kept for other classes
let task = 0, painted = 0;  // how often an explanation was begun, and the image painted over

const square = (p) => (p >> 7) * 8 + ((p & 31) >> 2);  // of pixel `p` = 32 * row + column
const marked = () => network === 1 && $("#mark").checked;
const onMark = (y, x) => y >= place[0] && y < place[0] + 4 && x >= place[1] && x < place[1] + 4;
const mapOf = (maps, k) => maps.filter((_, i) => i % (maps.length / 64) === k);  // of class `k`
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** Logits of the maps of all classes, divided by the temperature of the network. */
const logitsOf = (maps) =>
  classes.map((_, k) => sum(mapOf(maps, k)) / config.networks[network].temperature);

function probabilitiesOf(maps) {
  const logits = logitsOf(maps);
  return classes.map((_, k) => sigmoid(logOdds(logits, k)));
}

/** gaussian_filter(sigma = 2) of SciPy on uint8, which cuts off decimals after each direction. */
function blur(image) {
  const kernel = Array.from({ length: 17 }, (_, i) => Math.exp(-((i - 8) ** 2) / 8));
  const reflect = (i) => i < 0 ? -1 - i : i > 31 ? 63 - i : i;
  for (const step of [96, 3]) {  // along columns, then along rows
    image = image.map((_, i) => {
      const at = Math.floor(i / step) % 32;
      const terms = kernel.map((x, j) => x * image[i + (reflect(at + j - 8) - at) * step]);
      return Math.floor(1e-9 + sum(terms) / sum(kernel));
    });
  }
  return image;
}

/** The image with the squares hidden for which `mask` is 0. */
const masked = (mask) =>
  pixels.map((value, i) => mask[square(Math.floor(i / 3))] ? value : blurred[i]);

/** The share of squares that the blur changes by less than `min_change` (root mean square). */
function unchangedShare() {
  const change = Array(64).fill(0);
  pixels.forEach((x, i) => { change[square(Math.floor(i / 3))] += (x - blurred[i]) ** 2 / 48; });
  return mean(change.map((x) => Number(x < lime.min_change ** 2)));
}

/** What is known about a judged explanation of LIME: names, each before its value. */
function facts({ checks, model, predicted, baseline }) {
  const range = ([, value, low, high]) =>
    `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  const both = (k) => `${percent(sigmoid(model[k]))}, LIME ${percent(sigmoid(predicted[k]))}`;
  return ["fidelity", range(checks[0]), "its baseline", baseline.toFixed(2),
    "stability", range(checks[1]), "whole image", both(0), "leading blurred", both(1),
    "others blurred", both(2), "unchanged area", percent(checks.at(-1)[1]),
    "model calls", `${answers.size} in ${Math.round(seconds)} s`];
}

function showLime() {
  drawLime();
  const judged = found?.judged, reasons = judged?.reasons.join("; ");
  $("#verdict").className = { reliable: "good", "not reliable": "bad" }[judged?.verdict] ?? "";
  $("#verdict").textContent = judged
    ? `${judged.verdict}${reasons && `, because ${reasons}`}` : running ? "Running …" : "";
  $("#facts").replaceChildren(...(judged ? facts(judged) : []).map((text, i) =>
    Object.assign(document.createElement(i % 2 ? "dd" : "dt"), { textContent: text })));
  $("#share").textContent = found ? shareOnMark(found.weights) : "";
  $("#run").textContent = running ? "Stop" : "Run LIME";
  $("progress").hidden = !running;
  $("progress").value = found?.progress ?? 0;
}

/** Ends what is in progress; work that was begun earlier does not change the page any more. */
function stop() {
  running = false;
  return ++task;
}

async function runLime() {
  const mine = stop(), k = target, begun = performance.now();
  const ask = async (masks) => {
    const missing = masks.filter((mask) => !answers.has(mask.join("")));
    const step = 4 * pool.workers.length;  // few at a time, so that another run can soon begin
    for (let i = 0; i < missing.length; i += step) {
      const some = missing.slice(i, i + step);
      const result = await pool.evaluate(network, some.map(masked));
      if (mine !== task) return new Promise(() => {});
      some.forEach((mask, j) => answers.set(mask.join(""), logitsOf(result[j])));
    }
    return masks.map((mask) => logOdds(answers.get(mask.join("")), k));
  };
  running = true;
  found = null;
  showLime();
  for await (found of explain(ask, unchangedShare(), lime)) {
    seconds = (performance.now() - begun) / 1000;
    running = !found.judged;
    showLime();
  }
  if (sum(hidden)) repaint();
}

function showProbabilities(now) {
  bars.forEach((bar, k) => {
    bar.ariaPressed = k === target;
    bar.querySelector("b").textContent = percent(now[k]);
    bar.querySelector("meter").value = now[k];
  });
  const count = sum(hidden), best = before.indexOf(Math.max(...before));
  const guess = found?.judged && sigmoid(predict(found, hidden.map((x) => 1 - x)));
  $("#effect").textContent = count
    ? `${classes[target]}: ${percent(before[target])} → ${percent(now[target])}, ${count} of 64 `
      + `squares blurred.${guess ? ` LIME's linear model says ${percent(guess)}.` : ""}`
    : `Prediction: ${classes[best]}, ${percent(before[best])}. ${label}`;
}

async function repaint() {
  drawImage();
  const mine = ++painted;
  const [result] = await pool.evaluate(network, [masked(hidden.map((x) => 1 - x))]);
  if (mine === painted) showProbabilities(probabilitiesOf(result));
}

function explainClass(k) {
  target = k;
  document.querySelectorAll(".explained").forEach((e) => { e.textContent = classes[k]; });
  drawCam();
  repaint();
  if (found || running) runLime();
  else showLime();
}

/** Explains the image anew: another image or network, or the mark was set or removed. */
async function refresh() {
  const mine = stop();
  painted++;
  pixels = Float32Array.from({ length: 3072 }, (_, i) => {
    const p = Math.floor(i / 3), y = p >> 5, x = p & 31;
    return marked() && onMark(y, x) ? config.mark[y - place[0]][x - place[1]][i % 3]
      : original[4 * p + i % 3];
  });
  blurred = blur(pixels);
  hidden.fill(0);
  answers.clear();
  found = null;
  const [result] = await pool.evaluate(network, [pixels]);
  if (mine !== task) return;
  [maps, before] = [result, probabilitiesOf(result)];
  explainClass(before.indexOf(Math.max(...before)));
}

/** Takes the central square of a drawable of this size, halved in steps so that nothing aliases. */
function take(source, width, height, sample = null) {
  let side = Math.min(width, height), x = (width - side) / 2, y = (height - side) / 2, context;
  let size = 32 * 2 ** Math.min(5, Math.max(0, Math.floor(Math.log2(side / 32))));
  for (; size >= 32; size /= 2) {
    context = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";  // behind transparent parts
    context.fillRect(0, 0, size, size);
    context.drawImage(source, x, y, side, side, 0, 0, size, size);
    [source, x, y, side] = [context.canvas, 0, 0, size];
  }
  original = context.getImageData(0, 0, 32, 32).data;
  place = sample === null ? [24, 24] : config.images[sample].mark;
  label = sample === null ? "" : `The label is ${config.images[sample].class}.`;
  samples.forEach((button, i) => { button.ariaPressed = i === sample; });
  $("#problem").textContent = "";
  return refresh();
}

async function open(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (bitmap) return take(bitmap, bitmap.width, bitmap.height);
  $("#problem").textContent = `${file.name} is not an image that this browser can read.`;
}

function hide(k, value) {
  if (k < 0 || k > 63 || hidden[k] === value) return;
  hidden[k] = value;
  repaint();
}

const on = (selector, type, act) => $(selector).addEventListener(type, act);
const at = ({ offsetX, offsetY, target: { clientWidth: side } }) => {
  const [x, y] = [offsetX, offsetY].map((place) => Math.floor(8 * place / side));
  return x >= 0 && x < 8 ? 8 * y + x : -1;
};
samples.forEach((button, i) => button.addEventListener("click", () =>
  take(button.firstElementChild, 32, 32, i)));
bars.forEach((bar, k) => bar.addEventListener("click", () => explainClass(k)));
on("#file", "change", ({ target: input }) => {
  if (input.files[0]) open(input.files[0]);
  input.value = "";  // so that the same file can be opened again
});
for (const [type, source] of [["drop", "dataTransfer"], ["paste", "clipboardData"]])
  document.addEventListener(type, (event) => {
    event.preventDefault();
    if (event[source].files[0]) open(event[source].files[0]);
  });
document.addEventListener("dragover", (event) => event.preventDefault());
on("fieldset", "change", () => {
  network = Number($("[name=network]:checked").value);
  $("#marking").hidden = $("#lesson").hidden = network === 0;
  refresh();
});
on("#restore", "click", () => { hidden.fill(0); repaint(); });
on("#run", "click", () => { if (running) { stop(); showLime(); } else runLime(); });
on("#image", "pointerdown", (event) => {
  painting = 1 - hidden[at(event)];
  hide(at(event), painting);
  event.target.setPointerCapture(event.pointerId);
});
on("#image", "pointermove", (event) => { if (event.buttons) hide(at(event), painting); });
on("#image", "keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 }[event.key];
  const wraps = Math.abs(step) === 1 && (cursor & 7) + step & 8;
  if (step && !wraps && cursor + step >= 0 && cursor + step < 64) cursor += step;
  if (event.key === " ") hide(cursor, 1 - hidden[cursor]);
  if (step || event.key === " ") event.preventDefault();
  drawImage();
});
for (const type of ["focus", "blur"]) on("#image", type, drawImage);

$("#ramp").style.background = `linear-gradient(90deg, ${config.ramp.map((c) => `rgb(${c})`)})`;
samples[0].firstElementChild.decode().then(() => samples[0].click());
