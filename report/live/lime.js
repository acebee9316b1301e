"use strict";
// LIME as in q2_lime/core.py and stability.py: masks of GLIME, a ridge regression without sample
// weights, its fidelity on other masks, and its stability. `settings` are those of Python.

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
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

/** log p / (1 - p) of class `k`. */
function logOdds(logits, k) {
  const others = [...logits].filter((_, j) => j !== k), most = Math.max(...others);
  return logits[k] - most - Math.log(others.reduce((sum, z) => sum + Math.exp(z - most), 0));
}

/** Ridge regression with an unpenalized intercept, for masks (n arrays of d) and values (n). */
function fit(masks, values, alpha) {
  const d = masks[0].length, meanValue = mean(values);
  const means = Array.from({ length: d }, (_, i) => mean(masks.map((mask) => mask[i])));
  const centered = masks.map((mask) => Float64Array.from(mask, (x, i) => x - means[i]));
  const gram = Array.from({ length: d }, () => new Float64Array(2 * d));
  const moment = new Float64Array(d);
  centered.forEach((z, n) => {
    for (let i = 0; i < d; i++) {
      moment[i] += z[i] * (values[n] - meanValue);
      for (let j = 0; j < d; j++) gram[i][j] += z[i] * z[j];
    }
  });
  gram.forEach((row, i) => { row[i] += alpha; row[d + i] = 1; });
  for (let i = 0; i < d; i++) {  // Gauss-Jordan; a positive definite matrix needs no pivoting
    const pivot = gram[i][i];
    for (let j = i; j < 2 * d; j++) gram[i][j] /= pivot;
    for (let k = 0; k < d; k++) {
      const factor = gram[k][i];
      if (k !== i && factor) for (let j = i; j < 2 * d; j++) gram[k][j] -= factor * gram[i][j];
    }
  }
  const inverse = gram.map((row) => row.subarray(d));
  const weights = inverse.map((row) => dot(row, moment));
  return { weights, intercept: meanValue - dot(means, weights), inverse, centered };
}

const predict = ({ weights, intercept }, mask) => intercept + dot(weights, mask);

/** R^2, from the errors of a surrogate and the values; NaN if the values are constant. */
function rSquared(errors, values, { constant }) {
  const center = mean(values), spread = mean(values.map((y) => (y - center) ** 2));
  const smallest = constant * Math.max(1e-6, ...values.map(Math.abs));
  return spread > smallest ** 2 ? 1 - mean(errors.map((error) => error ** 2)) / spread : NaN;
}

/** R^2 on masks that the surrogate was not fitted to. */
function fidelity(surrogate, masks, values, settings) {
  return rSquared(values.map((y, i) => y - predict(surrogate, masks[i])), values, settings);
}

/** The error at each mask of the surrogate that is fitted to all other masks. */
function leaveOneOut(surrogate, masks, values) {
  const { inverse, centered } = surrogate, n = masks.length;
  return values.map((y, i) => {
    const leverage = 1 / n + dot(centered[i], inverse.map((row) => dot(row, centered[i])));
    return (y - predict(surrogate, masks[i])) / Math.max(1 - leverage, 1e-6);
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
  const d = weights.length;
  return mean(Array.from({ length: repeats }, () => {
    // Sums of the scores with normal weights have the covariance that core.py takes apart.
    const score = new Float64Array(d);
    centered.forEach((z, i) => {
      const factor = Math.SQRT2 * errors[i] * normal(random);
      for (let j = 0; j < d; j++) score[j] += factor * z[j];
    });
    return similarity(weights.map((weight, i) => weight + dot(inverse[i], score)), weights);
  }));
}

/** The mean similarity over all pairs of runs. */
function stability(runs) {
  return mean(runs.flatMap((a, i) => runs.slice(i + 1).map((b) => similarity(a, b))));
}

/** Why an explanation is not trustworthy: the first two checks of q2_lime/stability.py. */
function weaknesses(fidelity, stable, { thresholds }) {
  if (Number.isNaN(fidelity)) return ["the network's output is the same for all masks"];
  return [["fidelity", fidelity, thresholds.fidelity], ["stability", stable, thresholds.stability]]
    .filter(([, value, least]) => value < least)
    .map(([name, value, least]) => `${name} ${value.toFixed(2)} is below ${least.toFixed(2)}`);
}

/**
 * Explains with one seed, with `goal` masks or until the explanation is settled. `ask(masks)`
 * resolves to the values; `report(state)` is called after each fit. Resolves to the last state.
 */
async function explain(ask, settings, seed, report, goal = null) {
  const d = settings.side ** 2, draws = generator(2 * seed), random = generator(2 * seed + 1);
  const most = goal ?? settings.max_samples, masks = [], values = [];
  let state = { expected: 0 };
  while (masks.length < most && (goal || state.expected < settings.min_stability)) {
    const step = goal ?? Math.max(settings.batch, Math.floor(masks.length / 4));
    const drawn = Array.from({ length: Math.min(step, most - masks.length) }, () =>
      Uint8Array.from({ length: d }, () => draws() < settings.shown));
    values.push(...await ask(drawn));
    masks.push(...drawn);
    const times = Array.from({ length: d }, (_, i) => masks.filter((mask) => mask[i]).length);
    const seen = times.every((n) => Math.min(n, masks.length - n) >= settings.min_hidden);
    const surrogate = fit(masks, values, settings.alpha);
    const errors = leaveOneOut(surrogate, masks, values), usable = seen && masks.length > d;
    state = { ...surrogate, masks, values, fidelity: rSquared(errors, values, settings),
      expected: usable ? expectedStability(surrogate, errors, settings, random) : 0 };
    report(state);
  }
  return state;
}
