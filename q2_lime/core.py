"""LIME for any input whose features can be hidden.

Ribeiro, Singh & Guestrin, "Why should I trust you?" (arXiv:1602.04938). The input has d features
(image segments, words). A mask z in {0, 1}^d says which of them are shown, and f(z) is the model's
output for the masked input. LIME fits

    xi = argmin_g  sum_z pi(z) (f(z) - g(z))^2 + Omega(g),  g(z) = b + w . z     (1)  eq. 1 and 2

with the kernel pi of samplers.py and, as in the `lime` package, a ridge penalty alpha |w|^2 for
Omega; the paper limits the number of nonzero weights. The weights w are the explanation.

This module does not depend on images or texts. The caller passes a function from masks (n, d) bool
to explained values (n, K), for example the log-odds of K classes. `explain` draws and weights the
masks, fits the ridge regression and decides when to stop. stability.py repeats it with other seeds
and judges the result.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.cli import UserError, seed_for

import numpy as np
from scipy.special import logsumexp, softmax

from q2_lime.samplers import SAMPLERS

ValueFunction = Callable[[np.ndarray], np.ndarray]
BATCH = 64  # masks per step while more may be needed
MIN_SAMPLES = 32  # masks to fit to; fewer cannot support any conclusion
MIN_HIDDEN = 4  # times every feature must be hidden, and shown, before its weight counts as known
REPEATS = 400  # simulated repetitions for the expected stability
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


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Weighted Jaccard index, 0 to 1, of weights (..., d): 1 is equal, 0 has nothing in common.

    sum min(p_j, q_j) / sum max(p_j, q_j) over the parts, where p_j and q_j are the squared weights
    and a weight of the other sign counts as zero. If parts are shown independently, w_j^2 is
    proportional to a part's share of the surrogate's variance. So parts without influence hardly
    count, and no number of top parts has to be chosen.
    """
    both = np.maximum(a**2, b**2) + np.where(a * b < 0, np.minimum(a**2, b**2), 0)
    shared = np.where(a * b > 0, np.minimum(a**2, b**2), 0)
    return shared.sum(-1) / np.maximum(both.sum(-1), 1e-300)


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


def r_squared(errors: np.ndarray, values: np.ndarray, sample_weights: np.ndarray) -> np.ndarray:
    """Weighted R^2 (K,): 1 is perfect, 0 no better than a constant, negative worse.

    Takes errors of a surrogate and values, both (n, K). NaN if the values are constant.
    """
    share = sample_weights / sample_weights.sum()
    residual, spread = share @ errors**2, share @ (values - share @ values) ** 2
    smallest = (CONSTANT * np.maximum(1e-6, np.abs(values).max(0))) ** 2
    return np.where(spread > smallest, 1 - residual / np.maximum(spread, 1e-300), np.nan)


def fidelity(
    surrogate: Surrogate, masks: np.ndarray, values: np.ndarray, sample_weights: np.ndarray
) -> np.ndarray:
    """`r_squared` (K,) of a surrogate on masks (n, d)."""
    return r_squared(values - surrogate(masks), values, sample_weights)


def _bread(masks: np.ndarray, sample_weights: np.ndarray, alpha: float):
    """The centered masks z (n, d) and the inverse of z' diag(sample_weights) z + alpha I."""
    z = masks - sample_weights @ masks / sample_weights.sum()
    return z, np.linalg.inv((z * sample_weights[:, None]).T @ z + alpha * np.eye(z.shape[1]))


def leave_one_out(
    masks: np.ndarray,
    values: np.ndarray,
    sample_weights: np.ndarray,
    alpha: float,
    surrogate: Surrogate,
) -> np.ndarray:
    """Errors (n, K) at each mask of the surrogate that is fitted to all other masks.

    They follow from the errors of the fit to all masks, divided by 1 - leverage (PRESS; Allen,
    Technometrics 1974).
    """
    z, bread = _bread(masks, sample_weights, alpha)
    leverage = sample_weights * (1 / sample_weights.sum() + ((z @ bread) * z).sum(1))
    return (values - surrogate(masks)) / np.maximum(1 - leverage, 1e-6)[:, None]


def expected_stability(
    masks: np.ndarray,
    sample_weights: np.ndarray,
    alpha: float,
    weights: np.ndarray,
    errors: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """The expected `similarity`, 0 to 1, of weights (d,) with those of another run.

    Takes the `leave_one_out` errors (n,). Simulates REPEATS runs: weights from a normal
    distribution around the fitted ones, with twice the sandwich covariance of a weighted ridge
    (White, Econometrica 1980; with these errors "HC3", MacKinnon & White, 1985). Twice, because the
    weights of both runs deviate from the true ones.
    """
    z, bread = _bread(masks, sample_weights, alpha)
    scores = bread @ (z * (errors * sample_weights)[:, None]).T  # (d, n)
    eigenvalues, vectors = np.linalg.eigh(scores @ scores.T)
    root = vectors * np.sqrt(2 * np.maximum(eigenvalues, 0))
    drawn = weights + rng.standard_normal((REPEATS, len(weights))) @ root.T
    return float(similarity(drawn, weights).mean())


@dataclass(frozen=True)
class Settings:
    """Settings of LIME. images.py and text.py define their defaults and give the reasons.

    Raises UserError if `samples` is below MIN_SAMPLES.
    """

    sampler: str = "glime"  # key of SAMPLERS
    kernel_width: float = 0.54  # of equation 1 in samplers.py
    alpha: float = 1.0  # ridge penalty
    samples: int | None = None  # masks to fit to; None: until the weights are settled
    max_samples: int = 384  # the most masks if `samples` is None
    min_stability: float = 0.9  # `expected_stability` from which the weights count as settled
    top_k: int = 5  # number of top features
    held_out: int = 500  # least number of masks on which stability.py measures fidelity
    seed: int = 0  # of all random draws

    def __post_init__(self):
        if self.samples is not None and self.samples < MIN_SAMPLES:
            raise UserError(f"{self.samples} samples are too few: use {MIN_SAMPLES} or more")


@dataclass(frozen=True)
class Explanation(Surrogate):
    """The surrogate of one seed, the masks it was fitted to, and how well it fits."""

    masks: np.ndarray  # (n, d) bool
    values: np.ndarray  # (n, K) the model's
    sample_weights: np.ndarray  # (n,)
    errors: np.ndarray  # (n, K) see `leave_one_out`
    fidelity: np.ndarray  # (K,) `r_squared` of these errors
    original: np.ndarray  # (K,) the model's values for the unmasked input
    settled: bool  # whether the weights for the first value are settled
    expected_stability: float  # `similarity` of these weights with those of another run, 0 to 1

    @property
    def model_calls(self) -> int:
        """Number of inputs evaluated: the masks and the unmasked input."""
        return len(self.masks) + 1


def evaluate(value_function: ValueFunction, masks: np.ndarray) -> np.ndarray:
    """The model's values (n, K) for masks (n, d). Raises UserError if they have another shape
    or are not finite."""
    values = np.asarray(value_function(masks), float)
    if values.ndim != 2 or len(values) != len(masks):
        raise UserError(f"the values have shape {values.shape}, not (n, K) for {len(masks)} masks")
    if not np.isfinite(values).all():
        n = (~np.isfinite(values).all(1)).sum()
        raise UserError(f"the model's output is not finite for {n} of {len(masks)} masked inputs")
    return values


def draw(
    value_function: ValueFunction, settings: Settings, n: int, d: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (n, d) of the sampler in `settings`, the model's values (n, K), the weights (n,)."""
    masks, weights = SAMPLERS[settings.sampler](n, d, settings.kernel_width, rng)
    return masks, evaluate(value_function, masks), weights


def stream(settings: Settings, purpose: str, *item: object) -> np.random.Generator:
    """The random generator of one purpose ("masks", "held out", ...) and one input."""
    return np.random.default_rng(seed_for(settings.seed, purpose, *item))


def explain(
    value_function: ValueFunction, d: int, settings: Settings, *item: object
) -> Explanation:
    """Explains one input with `d` features.

    Random generators are seeded from (settings.seed, item), so the result does not depend on
    earlier explanations, and `item` (an index, a file's hash) separates the draws of different
    inputs. Raises UserError if the model's output is not finite or no mask hides a feature.
    """
    mask_rng, rng = stream(settings, "masks", *item), stream(settings, "settled", *item)
    goal, alpha = settings.samples or settings.max_samples, settings.alpha
    n, batches, expected = 0, [], 0.0
    while n < goal and expected < settings.min_stability:
        # A fixed number at once; otherwise 64, then a quarter more at a time.
        step = goal if settings.samples else max(BATCH, n // 4)
        batches.append(draw(value_function, settings, min(step, goal - n), d, mask_rng))
        masks, values, weights = map(np.concatenate, zip(*batches, strict=True))
        n, shown = len(masks), masks.sum(0)
        # A feature that was never hidden has weight zero and would look settled.
        seen = np.minimum(shown, n - shown).min() >= MIN_HIDDEN
        if n == goal and (masks.all() or not weights.sum() > 0):
            raise UserError("no mask hides a part: use a larger kernel width or more samples")
        if (n > d and seen) or n == goal:
            surrogate = fit(masks, values, weights, alpha)
            errors = leave_one_out(masks, values, weights, alpha, surrogate)
            first = surrogate.weights[:, 0], errors[:, 0]
            expected = expected_stability(masks, weights, alpha, *first, rng) if seen else 0.0
    return Explanation(
        surrogate.weights,
        surrogate.intercept,
        masks=masks,
        values=values,
        sample_weights=weights,
        errors=errors,
        fidelity=r_squared(errors, values, weights),
        original=evaluate(value_function, np.ones((1, d), bool))[0],
        settled=expected >= settings.min_stability,
        expected_stability=expected,
    )
