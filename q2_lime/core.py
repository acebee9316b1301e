"""LIME for any input whose features can be hidden.

Ribeiro, Singh & Guestrin, "Why should I trust you?" (arXiv:1602.04938). The input has d features
(image segments, words). A mask z in {0, 1}^d says which of them are shown, and f(z) is the model's
output for the masked input. LIME fits

    xi = argmin_g  sum_z pi(z) (f(z) - g(z))^2 + Omega(g),  g(z) = b + w . z     (1)  eq. 1 and 2
    pi(z) = exp(-D(z)^2 / (2 s^2)),  D: cosine distance to the mask of ones      (2)  section 3.4

with a ridge penalty alpha |w|^2 for Omega. The weights w are the explanation.

This module does not depend on images or texts. The caller passes a function from masks (n, d) bool
to explained values (n, K), for example the log-odds of K classes. `explain` draws and weights the
masks, fits the ridge regression and decides when to stop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, softmax

from common.cli import UserError, seed_for

ValueFunction = Callable[[np.ndarray], np.ndarray]
Sample = tuple[np.ndarray, np.ndarray]  # masks (n, d) bool and their weights (n,)
BATCH = 64  # masks per step while more may be needed
MIN_SAMPLES = 32  # masks to fit to; fewer cannot support any conclusion
MIN_HIDDEN = 4  # times every feature must be hidden, and shown, before its weight counts as known
REPEATS = 400  # simulated repetitions for the expected overlap
CONSTANT = 1e-5  # a standard deviation below this share of the values' size is float32 rounding


def transform(logits: np.ndarray, classes: list[int], value: str) -> np.ndarray:
    """The values to explain, (n, len(classes)), for logits (n, K).

    `value` is "log_odds": log p_k / (1 - p_k) = z_k - log sum_{j != k} exp z_j, which is finite
    where p rounds to 1; or "probability": p_k.
    """
    if value == "probability":
        return softmax(logits, axis=1)[:, classes]
    others = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in classes]
    return logits[:, classes] - np.stack(others, axis=1)


def top_features(weights: np.ndarray, top_k: int) -> np.ndarray:
    """Indices of the `top_k` largest |weight|, largest first, for weights (d,) or (m, d)."""
    return np.argsort(-np.abs(weights), axis=-1, kind="stable")[..., :top_k]


def kernel(masks: np.ndarray, width: float) -> np.ndarray:
    """Equation 2 for masks (n, d): weights (n,) between 0 and 1.

    With k of d features shown, the cosine distance to the full mask is 1 - sqrt(k / d). For texts
    the `lime` package uses 100 D and width 25, which equals width 0.25 here.
    """
    return np.exp(-((1 - np.sqrt(masks.mean(1))) ** 2) / (2 * width**2))


def draw_lime(n: int, d: int, width: float, rng: np.random.Generator) -> Sample:
    """The `lime` package's masks for images, except its first, which shows all features.

    Each feature is shown with probability 1/2.
    """
    masks = rng.random((n, d)) < 0.5
    return masks, kernel(masks, width)


def draw_lime_text(n: int, d: int, width: float, rng: np.random.Generator) -> Sample:
    """The `lime` package's masks for texts: the number of hidden words is uniform on 1 to d."""
    masks = _with_hidden(rng.integers(1, d + 1, n), d, rng)
    return masks, kernel(masks, width)


def glime_probability(width: float) -> float:
    """The probability that GLIME shows a feature: e^(1/s^2) / (1 + e^(1/s^2)), s^2 = 2 width^2."""
    return float(1 / (1 + np.exp(-1 / (2 * width**2))))


def draw_glime(n: int, d: int, width: float, rng: np.random.Generator) -> Sample:
    """GLIME-Binomial (Tan et al., NeurIPS 2023, section 4.1): the kernel moves into the sampler.

    With an exponential kernel of the number of hidden features, LIME's weighted masks have the same
    distribution as unweighted masks that show each feature with `glime_probability`, which spend no
    model call on a negligible weight. Width 0.54 shows 85% of the features.
    """
    return rng.random((n, d)) < glime_probability(width), np.ones(n)


def draw_stratified(n: int, d: int, width: float, rng: np.random.Generator) -> Sample:
    """Stratified masks (Rashid et al., AAAI 2024): the number k of shown features is uniform.

    A mask's weight is (d + 1) C(d, k) / 2^d times its kernel weight, so that weighted sums over
    these masks estimate the same quantity as sums over those of `draw_lime`.
    """
    k = rng.integers(0, d + 1, n)
    log_binomial = gammaln(d + 1) - gammaln(k + 1) - gammaln(d - k + 1)
    masks = _with_hidden(d - k, d, rng)
    return masks, np.exp(np.log(d + 1) + log_binomial - d * np.log(2)) * kernel(masks, width)


def _with_hidden(hidden: np.ndarray, d: int, rng: np.random.Generator) -> np.ndarray:
    """Masks (n, d) with hidden[i] random features hidden in row i."""
    return rng.random((len(hidden), d)).argsort(1).argsort(1) >= hidden[:, None]


SAMPLERS = {
    "lime": draw_lime,
    "lime_text": draw_lime_text,
    "glime": draw_glime,
    "stratified": draw_stratified,
}


@dataclass(frozen=True)
class Surrogate:
    """g(z) = intercept + weights . z for K values: weights (d, K), intercept (K,)."""

    weights: np.ndarray
    intercept: np.ndarray

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Values (n, K) for masks (n, d)."""
        return masks @ self.weights + self.intercept


def fit(
    masks: np.ndarray, values: np.ndarray, sample_weights: np.ndarray, alpha: float
) -> Surrogate:
    """Equation 1 in closed form: weighted ridge regression with an unpenalized intercept.

    Takes masks (n, d), values (n, K), sample weights (n,) and the ridge penalty alpha.
    """
    share = sample_weights / sample_weights.sum()
    mean_z, mean_y = share @ masks, share @ values
    z, y = masks - mean_z, values - mean_y
    weighted = (z * sample_weights[:, None]).T
    weights = np.linalg.solve(weighted @ z + alpha * np.eye(z.shape[1]), weighted @ y)
    return Surrogate(weights, mean_y - mean_z @ weights)


def fidelity(
    surrogate: Surrogate, masks: np.ndarray, values: np.ndarray, sample_weights: np.ndarray
) -> np.ndarray:
    """Weighted R^2 (K,) of a surrogate: 1 is perfect, 0 no better than a constant, negative worse.

    NaN if the values are constant. Measured on masks that the surrogate was not fitted to.
    """
    share = sample_weights / sample_weights.sum()
    residual = share @ (values - surrogate(masks)) ** 2
    spread = share @ (values - share @ values) ** 2
    smallest = (CONSTANT * np.maximum(1e-6, np.abs(values).max(0))) ** 2
    return np.where(spread > smallest, 1 - residual / np.maximum(spread, 1e-300), np.nan)


def effective_samples(sample_weights: np.ndarray) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2."""
    return float(sample_weights.sum() ** 2 / (sample_weights**2).sum())


def expected_overlap(
    masks: np.ndarray,
    values: np.ndarray,
    sample_weights: np.ndarray,
    alpha: float,
    surrogate: Surrogate,
    top_k: int,
    rng: np.random.Generator,
) -> float:
    """The expected Jaccard overlap, 0 to 1, of the signed top features with those of another run.

    Simulates REPEATS runs: weights of the first value from a normal distribution around the fitted
    ones, with twice the sandwich covariance of a weighted ridge (White, Econometrica 1980). Twice,
    because the weights of both runs deviate from the true ones.
    """
    z = masks - sample_weights @ masks / sample_weights.sum()
    weighted = (z * sample_weights[:, None]).T
    bread = np.linalg.inv(weighted @ z + alpha * np.eye(z.shape[1]))
    errors = (values - surrogate(masks))[:, 0] * sample_weights
    # Residuals of a fit to few masks underestimate the errors.
    correction = len(masks) / max(1.0, len(masks) - z.shape[1] - 1)
    scores = z * errors[:, None]
    covariance = correction * bread @ (scores.T @ scores) @ bread
    fitted = surrogate.weights[:, 0]
    eigenvalues, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(2 * np.maximum(eigenvalues, 0))
    drawn = fitted + rng.standard_normal((REPEATS, len(fitted))) @ root.T
    top = top_features(fitted, top_k)
    repeated = (top_features(drawn, top_k)[:, :, None] == top).any(1)  # (REPEATS, top_k)
    shared = (repeated & (np.sign(drawn[:, top]) == np.sign(fitted[top]))).sum(1)
    return float((shared / (2 * len(top) - shared)).mean())


@dataclass(frozen=True)
class Settings:
    """Settings of LIME. images.py and text.py define their defaults and give the reasons.

    Raises UserError if `samples` is below MIN_SAMPLES.
    """

    sampler: str = "glime"  # key of SAMPLERS
    kernel_width: float = 0.54  # of equation 2
    alpha: float = 1.0  # ridge penalty
    samples: int | None = None  # masks to fit to; None: until the top features are settled,
    max_samples: int = 384  # but at most this many
    min_overlap: float = 0.9  # `expected_overlap` from which the top features count as settled
    top_k: int = 5  # number of top features
    held_out: int = 64  # masks on which fidelity is measured
    seed: int = 0  # of all random draws

    def __post_init__(self):
        if self.samples is not None and self.samples < MIN_SAMPLES:
            raise UserError(f"{self.samples} samples are too few: use {MIN_SAMPLES} or more")


@dataclass(frozen=True)
class Explanation:
    """The surrogate, and measures of how reliable it is."""

    weights: np.ndarray  # (d, K)
    intercept: np.ndarray  # (K,)
    fidelity: np.ndarray  # (K,) weighted R^2 on held-out masks
    original: np.ndarray  # (K,) the model's values for the unmasked input
    surrogate_original: np.ndarray  # (K,) the surrogate's
    model_calls: int  # inputs evaluated: masks, held-out masks, and the unmasked input
    settled: bool  # whether the top features of the first value are settled
    expected_overlap: float  # of the top features with those of another run, 0 to 1
    effective_samples: float  # of the masks fitted to


def explain(
    value_function: ValueFunction, d: int, settings: Settings, *item: object
) -> Explanation:
    """Explains one input with `d` features.

    Random generators are seeded from (settings.seed, item), so the result does not depend on
    earlier explanations, and `item` (an index, a file's hash) separates the draws of different
    inputs.
    """
    draw, width, alpha = SAMPLERS[settings.sampler], settings.kernel_width, settings.alpha

    def stream(purpose: str) -> np.random.Generator:
        return np.random.default_rng(seed_for(settings.seed, purpose, *item))

    mask_rng, overlap_rng = stream("masks"), stream("settled")
    masks, values, weights = np.empty((0, d), bool), None, np.empty(0)
    goal, expected = settings.samples or settings.max_samples, 0.0
    while len(masks) < goal and expected < settings.min_overlap:
        # A fixed number at once; otherwise 64, then a quarter more at a time.
        step = goal if settings.samples else max(BATCH, len(masks) // 4)
        new, new_weights = draw(min(step, goal - len(masks)), d, width, mask_rng)
        masks, weights = np.concatenate((masks, new)), np.concatenate((weights, new_weights))
        new_values = value_function(new)
        values = new_values if values is None else np.concatenate((values, new_values))
        shown = masks.sum(0)
        # A feature that was never hidden has weight zero and would look settled.
        seen = np.minimum(shown, len(masks) - shown).min() >= MIN_HIDDEN
        if (len(masks) > d and seen) or len(masks) == goal:
            surrogate = fit(masks, values, weights, alpha)
            expected = expected_overlap(
                masks, values, weights, alpha, surrogate, settings.top_k, overlap_rng
            )
            expected = expected if seen else 0.0
    held_out, held_out_weights = draw(settings.held_out, d, width, stream("held out"))
    full = np.ones((1, d), bool)
    return Explanation(
        weights=surrogate.weights,
        intercept=surrogate.intercept,
        fidelity=fidelity(surrogate, held_out, value_function(held_out), held_out_weights),
        original=value_function(full)[0],
        surrogate_original=surrogate(full)[0],
        model_calls=len(masks) + len(held_out) + 1,
        settled=expected >= settings.min_overlap,
        expected_overlap=expected,
        effective_samples=effective_samples(weights),
    )
