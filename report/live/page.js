"use strict";
// The page: the image, what is hidden in it, the class that is explained, and the drawings.

const $ = (selector) => document.querySelector(selector);
const config = JSON.parse($("#config").textContent), { lime, classes } = config;
const samples = [...document.querySelectorAll("#samples button")];
const bars = [...document.querySelectorAll("#probabilities button")];
const percent = (x) => `${(100 * x).toFixed(x > 0.001 && x < 0.999 ? 1 : 2)}%`;

let pool, network = 0, target = 0;  // `network`, `target`: numbers of the network and the class
let original, place, label;  // RGBA of 32 x 32 pixels, row and column of the mark, a sentence
let pixels, blurred;  // planes of the image that is explained, and of the same image hidden
let maps, before, runs = [];  // Grad-CAM of all classes, probabilities, LIME with each seed so far
let hidden = new Uint8Array(64), cursor = 0, painting = 1, painted = 0;
let answers = new Map(), spent = 0;  // mask -> logits, kept for other classes; milliseconds
let running = false, token = 0;

const square = (p) => (p >> 7) * 8 + ((p & 31) >> 2);  // of pixel `p` = 32 * row + column
const marked = () => network === 1 && $("#mark").checked;
const onMark = (y, x) => y >= place[0] && y < place[0] + 4 && x >= place[1] && x < place[1] + 4;

/** Logits of maps [classes][64], divided by the temperature of the network. */
function logitsOf(maps) {
  return classes.map((_, k) => maps.subarray(64 * k, 64 * k + 64).reduce((sum, x) => sum + x, 0)
    / config.networks[network].temperature);
}

function softmax(logits) {
  const powers = logits.map((z) => Math.exp(z - Math.max(...logits)));
  return powers.map((power) => power / powers.reduce((sum, x) => sum + x, 0));
}

/** gaussian_filter(sigma = 2) of SciPy on uint8, which cuts off decimals after each direction. */
function blur(planes) {
  const kernel = Array.from({ length: 17 }, (_, i) => Math.exp(-((i - 8) ** 2) / 8));
  const sum = kernel.reduce((a, b) => a + b), reflect = (i) => i < 0 ? -1 - i : i > 31 ? 63 - i : i;
  for (const [step, across] of [[32, 1], [1, 32]]) {
    planes = planes.map((_, p) => {
      const at = p / step & 31, line = (p & ~1023) + (p / across & 31) * across;
      return Math.floor(1e-9 + kernel.reduce((total, weight, i) =>
        total + weight / sum * planes[line + reflect(at + i - 8) * step], 0));
    });
  }
  return planes;
}

/** The image with the squares hidden for which `mask` is 0. */
const masked = (mask) => pixels.map((value, p) => mask[square(p & 1023)] ? value : blurred[p]);

function showLime(done) {
  drawLime();
  const [first] = runs, weights = runs.map((run) => run.weights);
  const known = weights.length > 1 ? stability(weights) : NaN;
  const masks = runs.slice(1).flatMap((run) => run.masks);
  const values = runs.slice(1).flatMap((run) => run.values);
  const faithful = masks.length ? fidelity(first, masks, values, lime) : first?.fidelity;
  const reasons = done && weaknesses(faithful, known, lime), verdict = $("#verdict");
  verdict.className = !done ? "" : reasons.length ? "bad" : "good";
  verdict.textContent = !first ? "" : !done ? `Seed ${runs.length} of ${lime.n_seeds} …`
    : reasons.length ? `Not reliable: ${reasons.join("; ")}.` : "Faithful and stable.";
  const number = (x) => Number.isNaN(x) ? "…" : x.toFixed(2);
  const facts = !first ? {} : { "fidelity on other masks (R²)": number(faithful),
    "expected stability": number(first.expected),
    "stability between seeds": number(known),
    "model calls, all seeds":
      `${answers.size.toLocaleString("en")} in ${Math.round(spent / 1000)} s` };
  $("#facts").replaceChildren(...Object.entries(facts).flat().map((text, i) =>
    Object.assign(document.createElement(i % 2 ? "dd" : "dt"), { textContent: text })));
  $("#share").textContent = first ? shareOnMark(first.weights) : "";
  $("#run").textContent = running ? "Stop" : "Run LIME";
  $("progress").hidden = !running;
}

/** Ends what the workers still have to do; work that was begun earlier does not return. */
function stop() {
  pool.queue.length = 0;
  running = false;
  return ++token;
}

async function runLime() {
  const mine = stop(), k = target, store = answers;
  let last = performance.now();
  const ask = async (masks) => {
    const missing = masks.filter((mask) => !store.has(mask.join("")));
    const found = await pool.evaluate(network, missing.map(masked));
    if (mine !== token) return new Promise(() => {});
    missing.forEach((mask, i) => store.set(mask.join(""), logitsOf(found[i])));
    spent += performance.now() - last;
    last = performance.now();
    return masks.map((mask) => logOdds(store.get(mask.join("")), k));
  };
  running = true;
  runs = [];
  $("progress").removeAttribute("value");
  showLime(false);
  for (let seed = 0; seed < lime.n_seeds; seed++) {
    await explain(ask, lime, seed, (state) => {
      runs[seed] = state;
      const share = seed ? 1 : state.masks.length / lime.max_samples;
      $("progress").value = (seed + share) / lime.n_seeds;
      showLime(false);
    }, seed ? runs[0].masks.length : null);  // as many masks as the first
  }
  running = false;
  showLime(true);
  if (hidden.some(Boolean)) repaint();
}

function showProbabilities(now) {
  bars.forEach((bar, k) => {
    bar.ariaPressed = k === target;
    bar.querySelector("b").textContent = percent(now[k]);
    bar.querySelector("i").style.setProperty("--now", percent(now[k]));
    bar.querySelector("i").style.setProperty("--was", percent(before[k]));
  });
  const count = hidden.reduce((sum, x) => sum + x, 0), guess = runs[0] && !running
    ? 1 / (1 + Math.exp(-predict(runs[0], hidden.map((x) => 1 - x)))) : null;
  const best = before.indexOf(Math.max(...before));
  $("#effect").textContent = count
    ? `${classes[target]}: ${percent(before[target])} → ${percent(now[target])}, ${count} of 64 `
      + `squares blurred.${guess === null ? "" : ` LIME's linear model says ${percent(guess)}.`}`
    : `Prediction: ${classes[best]}, ${percent(before[best])}. ${label}`;
}

async function repaint() {
  drawImage();
  const mine = ++painted, image = masked(hidden.map((x) => 1 - x));
  const [result] = await pool.evaluate(network, [image], true);
  if (mine === painted) showProbabilities(softmax(logitsOf(result)));
}

function explainClass(k) {
  target = k;
  document.querySelectorAll(".explained").forEach((e) => { e.textContent = classes[k]; });
  drawCam();
  repaint();
  if (runs.length) runLime();
  else showLime(false);
}

/** Explains the image anew: another image or network, or the mark was set or removed. */
async function refresh() {
  const mine = stop();
  painted++;
  pixels = Float32Array.from({ length: 3072 }, (_, p) => {
    const i = p >> 5 & 31, j = p & 31, c = p >> 10;
    return marked() && onMark(i, j) ? config.mark[i - place[0]][j - place[1]][c]
      : original[4 * (p & 1023) + c];
  });
  blurred = blur(pixels);
  [hidden, runs, answers, spent] = [new Uint8Array(64), [], new Map(), 0];
  const [result] = await pool.evaluate(network, [pixels]);
  if (mine !== token) return;
  [maps, before] = [result, softmax(logitsOf(result))];
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

function listen() {
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
  on("#run", "click", () => { if (running) { stop(); showLime(false); } else runLime(); });
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
  const video = $("video"), dialog = $("dialog");
  on("#camera", "click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      dialog.showModal();
      await video.play();
    } catch {
      $("#problem").textContent = "The camera is not available.";
    }
  });
  on("#shoot", "click", () => {
    take(video, video.videoWidth, video.videoHeight);
    dialog.close();
  });
  on("#cancel", "click", () => dialog.close());
  on("dialog", "close", () => video.srcObject.getTracks().forEach((track) => track.stop()));
}

async function start() {
  const networks = await Promise.all(config.networks.map(async (n) => ({ ...n,
    small: new Float32Array(decodeBase64(n.small).buffer),
    large: decodeHalf(await inflate(n.large)) })));
  $("#ramp").style.background = `linear-gradient(90deg, ${config.ramp.map((c) => `rgb(${c})`)})`;
  pool = new Pool($("#network").textContent, networks, (event) => {
    $("#problem").textContent = `The network failed: ${event.message}`;
  });
  await samples[0].firstElementChild.decode();
  listen();
  await take(samples[0].firstElementChild, 32, 32, 0);
}

start();
