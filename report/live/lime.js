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
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const sum = (values) => values.reduce((total, x) => total + x, 0);
const mean = (values) => sum(values) / values.length;
const variance = (values, center = mean(values)) => mean(values.map((x) => (x - center) ** 2));

/** log p / (1 - p) of class `k`. */
function logOdds(logits, k) {
  const others = logits.filter((_, j) => j !== k), most = Math.max(...others);
  return logits[k] - most - Math.log(sum(others.map((z) => Math.exp(z - most))));
}

/** The inverse of a symmetric positive definite matrix, by Gauss-Jordan without pivoting. */
function invert(matrix) {
  const d = matrix.length;
  const rows = matrix.map((row, i) => Float64Array.from({ length: 2 * d }, (_, j) =>
    j < d ? row[j] : Number(j === d + i)));
  for (let i = 0; i < d; i++) {
    const pivot = rows[i][i];
    for (let j = i; j < 2 * d; j++) rows[i][j] /= pivot;
    for (let k = 0; k < d; k++) {
      const factor = rows[k][i];
      if (k !== i) for (let j = i; j < 2 * d; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  return rows.map((row) => row.subarray(d));
}

/** Ridge regression with an unpenalized intercept, for masks (n arrays of d) and values (n). */
function fit(masks, values, alpha) {
  const parts = [...masks[0].keys()], average = mean(values);
  const means = parts.map((i) => mean(masks.map((mask) => mask[i])));
  const centered = masks.map((mask) => Float64Array.from(mask, (x, i) => x - means[i]));
  const gram = parts.map((i) => new Float64Array(parts.length).fill(alpha, i, i + 1));
  const moment = new Float64Array(parts.length);
  centered.forEach((z, n) => {
    for (let i = 0; i < z.length; i++) {
      moment[i] += z[i] * (values[n] - average);
      for (let j = 0; j < z.length; j++) gram[i][j] += z[i] * z[j];
    }
  });
  const inverse = invert(gram), weights = inverse.map((row) => dot(row, moment));
  return { weights, intercept: average - dot(means, weights), inverse, centered, masks, values };
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
  const { inverse, centered } = surrogate, n = centered.length;
  return errorsOn(surrogate, surrogate).map((error, i) => {
    const leverage = 1 / n + dot(centered[i], inverse.map((row) => dot(row, centered[i])));
    return error / Math.max(1 - leverage, 1e-6);
  });
}

const topFeatures = (weights, k) =>
  [...weights.keys()].sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a])).slice(0, k);

/** Weighted Jaccard index of squared weights, 0 to 1; opposite signs have nothing in common. */
function similarity(a, b) {
  let shared = 0, all = 0;
  a.forEach((x, i) => {
    const [low, high] = [x ** 2, b[i] ** 2].sort((p, q) => p - q);
    shared += x * b[i] > 0 ? low : 0;
    all += high + (x * b[i] < 0 ? low : 0);
  });
  return shared / Math.max(all, 1e-300);
}

/** The expected similarity of the weights with those of another run, 0 to 1. */
function expectedStability({ weights, inverse, centered }, errors, { repeats }, random) {
  return mean(Array.from({ length: repeats }, () => {
    // Sums of the scores with normal weights have the covariance that core.py takes apart.
    const score = new Float64Array(weights.length);
    centered.forEach((z, i) => {
      const factor = Math.SQRT2 * errors[i] * normal(random);
      for (let j = 0; j < score.length; j++) score[j] += factor * z[j];
    });
    return similarity(weights.map((weight, i) => weight + dot(inverse[i], score)), weights);
  }));
}

/** Percentile bootstrap interval of `rSquared`, resampling masks. */
function interval(errors, values, { resamples, level }, random) {
  const n = values.length, center = mean(values);
  const scores = Array.from({ length: resamples }, () => {
    let first = 0, second = 0, residual = 0;
    for (let i = 0; i < n; i++) {
      const k = Math.floor(n * random()), deviation = values[k] - center;
      first += deviation;
      second += deviation ** 2;
      residual += errors[k] ** 2;
    }
    return 1 - residual / Math.max(second - first ** 2 / n, 1e-300);
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
  const count = ({ masks, values }) => ({ masks: masks.map((mask) => [sum(mask)]), values });
  const counted = count(first), counting = fit(counted.masks, counted.values, 1e-9);
  const baseline = rSquared(errorsOn(counting, count(others)), others.values, settings);
  const constant = Number.isNaN(fidelity);
  return { checks, baseline, model, predicted: predicted[0],
    verdict: settings.verdicts[constant ? 2 : worst],
    reasons: constant ? ["the model's output is the same for all masks"]
      : found.filter(({ number }) => number).map(({ reason }) => reason) };
}

/** The masks of a seed: a function from their number to masks. */
function sampler(seed, { side, shown }) {
  const random = generator(seed);
  return (n) => Array.from({ length: n }, () =>
    Uint8Array.from({ length: side ** 2 }, () => random() < shown));
}

/** Whether every part is hidden and shown so often that its weight can count as known. */
const wellSeen = (masks, { min_hidden }) => [...masks[0].keys()].every((i) => {
  const times = sum(masks.map((mask) => mask[i]));
  return Math.min(times, masks.length - times) >= min_hidden;
});

/**
 * Explains an image, with masks of the first seed until the weights are settled, and judges the
 * explanation with as many masks of each other seed. `ask(masks)` resolves to the values.
 * Yields the surrogate after each step, with `judged` after the last.
 */
async function* explain(ask, unchanged, settings) {
  const { n_seeds, max_samples } = settings, masks = [], values = [], random = generator(-1);
  const draw = sampler(0, settings), others = { masks: [], values: [] };
  let found = { expected: 0 };
  const evaluate = async (drawn, to) => {
    to.values.push(...await ask(drawn));
    to.masks.push(...drawn);
  };
  while (masks.length < max_samples && found.expected < settings.min_stability) {
    const step = Math.max(settings.batch, masks.length >> 2);
    await evaluate(draw(Math.min(step, max_samples - masks.length)), { masks, values });
    const surrogate = fit(masks, values, settings.alpha), errors = leaveOneOut(surrogate);
    const known = masks.length > masks[0].length && wellSeen(masks, settings);
    found = { ...surrogate, fidelity: rSquared(errors, values, settings),
      expected: known ? expectedStability(surrogate, errors, settings, random) : 0,
      progress: masks.length / max_samples / n_seeds };
    yield found;
  }
  const surrogates = [found];
  while (surrogates.length < n_seeds) {
    const run = { masks: sampler(surrogates.length, settings)(masks.length) };
    run.values = await ask(run.masks);
    surrogates.push(fit(run.masks, run.values, settings.alpha));
    others.masks.push(...run.masks);
    others.values.push(...run.values);
    yield { ...found, progress: surrogates.length / n_seeds };
  }
  const missing = Math.max(0, settings.held_out - others.masks.length);
  await evaluate(sampler(n_seeds, settings)(missing), others);
  const model = await ask(removals(found, settings));
  yield { ...found, progress: 1, judged: judge(surrogates, others, model, unchanged, settings) };
}
