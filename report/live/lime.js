"use strict";
// LIME as in q2_lime/core.py and stability.py: masks of GLIME, a ridge regression without sample
// weights, its fidelity on other masks, its stability, and the verdict. `settings` are Python's.

/** A function that returns uniform random numbers from 0 to 1 (mulberry32). */
function generator(seed) {
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, seed | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}

const normal = (random) =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const sum = (values) => values.reduce((total, x) => total + x, 0);
const mean = (values) => sum(values) / values.length;
const variance = (values, center = mean(values)) => mean(values.map((x) => (x - center) ** 2));

function dot(a, b) {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}

/** log p / (1 - p) of class `k`. */
function logOdds(logits, k) {
  const others = logits.filter((_, j) => j !== k), most = Math.max(...others);
  return logits[k] - most - Math.log(sum(others.map((z) => Math.exp(z - most))));
}

/** The inverse of a symmetric positive definite matrix, by Gauss-Jordan without pivoting. */
function invert(matrix) {
  const d = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => Number(i === j))]);
  for (let i = 0; i < d; i++) {
    const pivot = rows[i][i];
    rows[i] = rows[i].map((x) => x / pivot);
    for (let k = 0; k < d; k++) {
      const factor = rows[k][i];
      if (k !== i) for (let j = i; j < 2 * d; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  return rows.map((row) => row.slice(d));
}

/** Ridge regression with an unpenalized intercept, for masks (n arrays of d) and values (n). */
function fit(masks, values, alpha) {
  const means = Array.from(masks[0], (_, i) => mean(masks.map((mask) => mask[i])));
  const centered = means.map((center, i) => masks.map((mask) => mask[i] - center));  // d of n
  const inverse = invert(centered.map((a, i) =>
    centered.map((b, j) => dot(a, b) + (i === j ? alpha : 0))));
  const moments = centered.map((column) => dot(column, values));
  const weights = inverse.map((row) => dot(row, moments));
  const intercept = mean(values) - dot(means, weights);
  return { weights, intercept, inverse, centered, masks, values };
}

const predict = ({ weights, intercept }, mask) => intercept + dot(weights, mask);
const errorsOn = (surrogate, { masks, values }) =>
  values.map((y, i) => y - predict(surrogate, masks[i]));

/** R^2, from the errors of a surrogate and the values; NaN if the values are constant. */
function rSquared(errors, values, { constant }) {
  const spread = variance(values), smallest = constant * Math.max(1e-6, ...values.map(Math.abs));
  return spread > smallest ** 2 ? 1 - variance(errors, 0) / spread : NaN;
}

/** The error at each mask of the surrogate that is fitted to all other masks. */
function leaveOneOut(surrogate) {
  const { inverse, centered } = surrogate;
  return errorsOn(surrogate, surrogate).map((error, i) => {
    const z = centered.map((column) => column[i]);
    const leverage = 1 / centered[0].length + dot(z, inverse.map((row) => dot(row, z)));
    return error / Math.max(1 - leverage, 1e-6);
  });
}

const topFeatures = (weights, k) =>
  [...weights.keys()].sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a])).slice(0, k);

/** Weighted Jaccard index of squared weights, 0 to 1; opposite signs have nothing in common. */
function similarity(a, b) {
  const shared = sum(a.map((x, i) => x * b[i] > 0 ? Math.min(x ** 2, b[i] ** 2) : 0));
  return shared / Math.max(dot(a, a) + dot(b, b) - shared, 1e-300);
}

/** The expected similarity of the weights with those of another run, 0 to 1. */
function expectedStability({ weights, inverse, centered }, errors, { repeats }, random) {
  return mean(Array.from({ length: repeats }, () => {
    // Sums of the scores with normal weights have the covariance that core.py takes apart.
    const noise = errors.map((error) => Math.SQRT2 * error * normal(random));
    const score = centered.map((column) => dot(column, noise));
    return similarity(weights.map((weight, i) => weight + dot(inverse[i], score)), weights);
  }));
}

/** Percentile bootstrap interval of `rSquared`, resampling masks. */
function interval(errors, values, { resamples, level }, random) {
  const scores = Array.from({ length: resamples }, () => {
    const drawn = values.map(() => Math.floor(values.length * random()));
    const residual = variance(drawn.map((k) => errors[k]), 0);
    return 1 - residual / Math.max(variance(drawn.map((k) => values[k])), 1e-300);
  }).sort((a, b) => a - b);
  return [1 - level, 1 + level].map((q) => scores[Math.round(q / 2 * (resamples - 1))]);
}

/** The mean similarity over all pairs of runs, and its range if one run is left out. */
function stability(runs) {
  const pairs = runs.flatMap((a, i) => runs.slice(i + 1).map((b) => [a, b]));
  const over = (chosen) => mean(chosen.map(([a, b]) => similarity(a, b)));
  const without = runs.length < 3 ? [over(pairs)]
    : runs.map((run) => over(pairs.filter((pair) => !pair.includes(run))));
  return [over(pairs), Math.min(...without), Math.max(...without)];
}

/** Errors of a surrogate, relative to the tolerance, for the three masks of `removals`. */
function misses(model, predicted, spread, { removal_deviations, removal_share }) {
  return predicted.map((value, k) => {
    const error = k === 2 ? Math.min(0, model[k] - value) : model[k] - value;
    const change = Math.abs(value - predicted[0]);
    const tolerance = Math.max(removal_deviations * spread, removal_share * change);
    return Math.abs(error) / Math.max(k ? tolerance : spread, 1e-300);
  });
}

/** The whole input, the input without the leading parts, and without all others. */
function removals({ weights }, { top_k }) {
  const leading = topFeatures(weights, Math.max(1, Math.min(top_k, weights.length >> 1)));
  const without = weights.map((_, i) => Number(!leading.includes(i)));
  return [weights.map(() => 1), without, without.map((x) => 1 - x)];
}

/** Whether a check [name, value, low, high] is passed, as a number of a verdict, and why not. */
function outcome([name, value, low, high], { thresholds, names }) {
  const least = name === "fidelity" || name === "stability", threshold = thresholds[name];
  const fails = (x) => least ? x < threshold : x > threshold;
  const number = Number(fails(low)) + Number(fails(high));
  const range = number === 1 ? ` (${low.toFixed(2)} to ${high.toFixed(2)}) may be` : " is";
  const limit = `${least ? "below" : "above"} ${threshold.toFixed(2)}`;
  return { number, reason: `${names[name]} ${value.toFixed(2)}${range} ${limit}` };
}

/**
 * Judges the first of several surrogates as stability.py does. `others` are masks it was not
 * fitted to and their values, `model` the values for the masks of `removals`, and `unchanged` the
 * share of the image that the fill hardly changes.
 */
function judge(surrogates, others, model, unchanged, settings) {
  const [first] = surrogates, errors = errorsOn(first, others), masks = removals(first, settings);
  const fidelity = rSquared(errors, others.values, settings), random = generator(0);
  const predicted = surrogates.map((surrogate) => masks.map((mask) => predict(surrogate, mask)));
  const spread = Math.sqrt(variance(others.values));
  const missed = predicted.map((values) => misses(model, values, spread, settings));
  const removed = ["whole_input", "leading_removed", "rest_removed"].map((name, k) => {
    const all = missed.map((row) => row[k]);
    return [name, all[0], Math.min(...all), Math.max(...all)];
  });
  const checks = [
    ["fidelity", fidelity, ...interval(errors, others.values, settings, random)],
    ["stability", ...stability(surrogates.map(({ weights }) => weights))],
    ...removed, ["unchanged", unchanged, unchanged, unchanged]];
  const found = checks.map((check) => outcome(check, settings));
  const worst = Math.max(...found.map(({ number }) => number));
  const count = (masks) => masks.map((mask) => [sum(mask)]);  // of the shown parts
  const counting = fit(count(first.masks), first.values, 1e-9);
  const counted = { masks: count(others.masks), values: others.values };
  const judged = { checks, model, predicted: predicted[0],
    baseline: rSquared(errorsOn(counting, counted), others.values, settings),
    verdict: settings.verdicts[worst],
    reasons: found.filter(({ number }) => number).map(({ reason }) => reason) };
  return !Number.isNaN(fidelity) ? judged : { ...judged, verdict: settings.verdicts[2],
    reasons: ["the model's output is the same for all masks"] };
}

/** The masks of a seed: a function from their number to masks. */
function sampler(seed, { side, shown }) {
  const random = generator(seed);
  return (n) => Array.from({ length: n }, () =>
    Array.from({ length: side ** 2 }, () => Number(random() < shown)));
}

/**
 * Explains an image, with masks of the first seed until the weights are settled, and judges the
 * explanation with as many masks of each other seed. `ask(masks)` resolves to the values.
 * Yields the surrogate after each step, with `judged` after the last.
 */
async function* explain(ask, unchanged, settings) {
  const { n_seeds, max_samples, min_hidden, alpha } = settings, random = generator(-1);
  const draw = sampler(0, settings);
  let masks = [], values = [], found = { expected: 0 };
  while (masks.length < max_samples && found.expected < settings.min_stability) {
    const step = Math.max(settings.batch, masks.length >> 2);
    const drawn = draw(Math.min(step, max_samples - masks.length));
    masks = masks.concat(drawn);
    values = values.concat(await ask(drawn));
    const surrogate = fit(masks, values, alpha), errors = leaveOneOut(surrogate);
    const counts = surrogate.weights.map((_, i) => sum(masks.map((mask) => mask[i])));
    const known = masks.length > counts.length
      && counts.every((n) => Math.min(n, masks.length - n) >= min_hidden);
    found = { ...surrogate, progress: masks.length / max_samples / n_seeds,
      expected: known ? expectedStability(surrogate, errors, settings, random) : 0 };
    yield found;
  }
  const surrogates = [found], others = { masks: [], values: [] };
  for (let seed = 1; seed <= n_seeds; seed++) {  // the last fills up the masks to test with
    const missing = Math.max(0, settings.held_out - others.masks.length);
    const drawn = sampler(seed, settings)(seed < n_seeds ? masks.length : missing);
    const answers = await ask(drawn);
    if (seed < n_seeds) surrogates.push(fit(drawn, answers, alpha));
    others.masks.push(...drawn);
    others.values.push(...answers);
    yield { ...found, progress: seed / n_seeds };
  }
  const model = await ask(removals(found, settings));
  yield { ...found, judged: judge(surrogates, others, model, unchanged, settings) };
}
