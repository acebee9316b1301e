"""Distributions of the masks that LIME draws, and LIME's kernel.

    pi(z) = exp(-D(z)^2 / (2 s^2)),  D: cosine distance to the mask of ones                  (1)

as in the `lime` package, for images and texts; arXiv:1602.04938, section 3.4, has s^2 instead of
2 s^2 and proposes the L2 distance for images. A sampler returns masks (n, d) bool and their weights
(n,).
"""

import numpy as np
from scipy.special import gammaln

Sample = tuple[np.ndarray, np.ndarray]  # masks (n, d) bool and their weights (n,)


def kernel(masks: np.ndarray, width: float) -> np.ndarray:
    """Equation 1 for masks (n, d): weights (n,) between 0 and 1.

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
    model call on a negligible weight. (Their weights are 1, so the same ridge penalty shrinks the
    surrogate less.) Width 0.54 shows 85% of the features.
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
