"""LIME's arithmetic, for anything that can be shown in part.

Ribeiro, Singh & Guestrin, "Why should I trust you?" (arXiv:1602.04938). A thing to be explained consists of d parts
(superpixels, words). A mask z in {0, 1}^d says which of them are shown; f(z) is the model's answer to what is left. LIME fits

    xi = argmin_g  sum_z pi(z) (f(z) - g(z))^2 + Omega(g),    g(z) = b + w . z                 (1)   eq. 1 and 2 there

    pi(z) = exp(-D(z)^2 / (2 s^2)),  D the cosine distance to the mask that shows everything   (2)   section 3.4

with a ridge penalty alpha |w|^2 for Omega. The weights w are the explanation.

This module knows neither pictures nor texts. A front end hands over `answer`, a function from masks (n, d) bool to the values
that are explained (n, K), for instance the log-odds of K classes. Everything else happens here: drawing masks, weighing them,
the ridge, when to stop. How far the outcome can be trusted is said by judgement.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from common.cli import UserError, seed_for
from q2_lime.stability import leading

Answer = Callable[[np.ndarray], np.ndarray]
BATCH = 64  # masks a time while it is open whether more are needed
FEWEST = 32  # masks to fit; below that nothing can be said of anything
LEAST_HIDDEN = (
    4  # times that every part has to be hidden, and shown, before its weight can count as known
)
REPEATS = 400  # imagined repetitions, to ask whether the leading parts are settled
CONSTANT = (
    1e-5  # answers whose spread is below this share of their size are the rounding of 32 bits
)


# --- Masks, and what each counts for ----------------------------------------------------------------------------------------


def kernel(masks: np.ndarray, width: float) -> np.ndarray:
    """Equation 2 for masks (n, d): weights (n,) in 0 to 1.

    For k of d parts shown the cosine distance to the full mask is 1 - sqrt(k / d). The `lime` package writes the same for texts
    with 100 D and width 25, that is 0.25 here.
    """
    return np.exp(-((1 - np.sqrt(masks.mean(1))) ** 2) / (2 * width**2))


def draw_lime(
    n: int, d: int, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The package's masks for pictures: a fair coin for each part; the kernel weighs them. (Its first mask always shows everything.)"""
    masks = rng.random((n, d)) < 0.5
    return masks, kernel(masks, width)


def draw_lime_text(
    n: int, d: int, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The package's masks for texts: how many words go is uniform on 1 to d, then which ones; the kernel weighs them."""
    masks = _with_hidden(rng.integers(1, d + 1, n), d, rng)
    return masks, kernel(masks, width)


def draw_glime(
    n: int, d: int, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """GLIME-Binomial (Tan et al., NeurIPS 2023, section 4.1): the weight moves into the draw.

    With the exponential kernel on the number of hidden parts, LIME's weighted coins are the same distribution as unweighted
    coins that show each part with p = e^(1/s^2) / (1 + e^(1/s^2)), and no draw is wasted on a mask of small weight. Here
    s^2 = 2 width^2; width 0.54 shows 85% of the parts.
    """
    p = 1 / (1 + np.exp(-1 / (2 * width**2)))
    return rng.random((n, d)) < p, np.ones(n)


def draw_stratified(
    n: int, d: int, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stratified masks (Rashid et al., AAAI 2024): the number k of shown parts is uniform on 0 to d, then which ones.

    Each mask counts (d + 1) C(d, k) / 2^d times its kernel weight, which makes sums over these masks estimate what sums over
    fair coins do.
    """
    k = rng.integers(0, d + 1, n)
    log_binomial = gammaln(d + 1) - gammaln(k + 1) - gammaln(d - k + 1)
    masks = _with_hidden(d - k, d, rng)
    return masks, np.exp(np.log(d + 1) + log_binomial - d * np.log(2)) * kernel(masks, width)


def _with_hidden(hidden: np.ndarray, d: int, rng: np.random.Generator) -> np.ndarray:
    """Masks (n, d) with hidden[i] parts off in row i, every choice of parts equally likely."""
    return rng.random((len(hidden), d)).argsort(1).argsort(1) >= hidden[:, None]


SAMPLERS = {
    "lime": draw_lime,
    "lime_text": draw_lime_text,
    "glime": draw_glime,
    "stratified": draw_stratified,
}


# --- The surrogate ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surrogate:
    """g(z) = intercept + weights . z for K values: weights (d, K), intercept (K,)."""

    weights: np.ndarray
    intercept: np.ndarray

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """Values (n, K) for masks (n, d)."""
        return masks @ self.weights + self.intercept


def fit(masks: np.ndarray, values: np.ndarray, counts: np.ndarray, alpha: float) -> Surrogate:
    """Equation 1 in closed form: ridge regression with weights, the intercept free of penalty.

    Args:
        masks: (n, d); values: (n, K); counts: (n,) what each mask counts for; alpha: the penalty.
    """
    share = counts / counts.sum()
    mean_z, mean_y = share @ masks, share @ values
    z, y = masks - mean_z, values - mean_y
    weights = np.linalg.solve(
        (z * counts[:, None]).T @ z + alpha * np.eye(z.shape[1]), (z * counts[:, None]).T @ y
    )
    return Surrogate(weights, mean_y - mean_z @ weights)


def fidelity(
    surrogate: Surrogate, masks: np.ndarray, values: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Weighted R^2 (K,) of a surrogate: 1 is perfect, 0 no better than a constant, below 0 worse. To be asked on masks that it was
    not fitted to. NaN where the values do not vary."""
    share = counts / counts.sum()
    residual = share @ (values - surrogate(masks)) ** 2
    spread = share @ (values - share @ values) ** 2
    least = (CONSTANT * np.maximum(1e-6, np.abs(values).max(0))) ** 2
    return np.where(spread > least, 1 - residual / np.maximum(spread, 1e-300), np.nan)


def effective_samples(counts: np.ndarray) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2: how many equally weighted masks would be as good."""
    return float(counts.sum() ** 2 / (counts**2).sum())


def expected_overlap(
    masks: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    alpha: float,
    surrogate: Surrogate,
    top: int,
    rng: np.random.Generator,
) -> float:
    """How alike another explanation, from other masks, is expected to be: 0 to 1.

    The mean overlap (Jaccard) between the `top` leading parts, each with its sign, and those of imagined repetitions. A repetition
    draws the weights of the first value from a normal distribution around those found, with twice the sandwich covariance of a weighted
    ridge (White, Econometrica 1980): once because the weights found are off the true ones, once because the repetition's will be. A test
    repeats explanations and finds the stated overlap borne out.
    """
    z = masks - counts @ masks / counts.sum()
    bread = np.linalg.inv((z * counts[:, None]).T @ z + alpha * np.eye(z.shape[1]))
    errors = (values - surrogate(masks))[:, 0] * counts
    freedom = len(masks) / max(1.0, len(masks) - z.shape[1] - 1)  # small samples flatter themselves
    covariance = freedom * bread @ ((z * errors[:, None]).T @ (z * errors[:, None])) @ bread
    found = surrogate.weights[:, 0]
    values_, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    spread = vectors * np.sqrt(2 * np.maximum(values_, 0))
    drawn = found + rng.standard_normal((REPEATS, len(found))) @ spread.T
    first = leading(found, top)
    again = (leading(drawn, top)[:, :, None] == first).any(1)  # (REPEATS, top)
    same = (again & (np.sign(drawn[:, first]) == np.sign(found[first]))).sum(1)
    return float((same / (2 * len(first) - same)).mean())


# --- The whole way ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """How to explain. The front ends have defaults of their own, with their reasons.

    Attributes:
        sampler: key of SAMPLERS.
        width: of the kernel, equation 2.
        alpha: ridge penalty.
        samples: masks to fit to, or None to go on until the leading parts are settled.
        bound: masks to fit to at most, where `samples` is None.
        overlap: the leading parts are settled when `expected_overlap` reaches this.
        top: how many leading parts are meant.
        held_out: masks kept aside to measure fidelity on.
        seed: of everything drawn.
    """

    sampler: str = "glime"
    width: float = 0.54
    alpha: float = 1.0
    samples: int | None = None
    bound: int = 384
    overlap: float = 0.9
    top: int = 5
    held_out: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Explanation:
    """What came out, and how far it can be trusted.

    Attributes:
        weights: (d, K); intercept: (K,).
        fidelity: (K,) weighted R^2 on held-out masks.
        original, surrogate_original: (K,) the model's and the surrogate's values for the unmasked original.
        model_calls: how many masks the model was asked about, the held-out ones and the original included.
        settled: whether the leading parts of the first value were settled; expected_overlap: with those of another run, 0 to 1.
        effective_samples: of the masks fitted to.
    """

    weights: np.ndarray
    intercept: np.ndarray
    fidelity: np.ndarray
    original: np.ndarray
    surrogate_original: np.ndarray
    model_calls: int
    settled: bool
    expected_overlap: float
    effective_samples: float


def explain(
    answer: Answer, d: int, settings: Settings, *item: object, original: np.ndarray | None = None
) -> Explanation:
    """Explains one thing of `d` parts.

    Every draw comes from generators made from (settings.seed, item), so the outcome does not depend on what was explained
    before, and `item` (an index, a file's name) keeps the draws of different things apart. `original` (K,) is the answer to the mask that
    shows everything, where it is known already.

    Raises:
        UserError: fewer than two parts; an unknown sampler; too few samples.
    """
    if d < 2:
        raise UserError(
            "there is one part only, so there is nothing to tell apart: choose a finer segmentation"
        )
    if settings.sampler not in SAMPLERS:
        raise UserError(f"unknown sampler {settings.sampler!r}: choose {', '.join(SAMPLERS)}")
    if settings.samples is not None and settings.samples < FEWEST:
        raise UserError(
            f"{settings.samples} samples are too few to fit anything: take {FEWEST} or more, or auto"
        )
    draw = SAMPLERS[settings.sampler]

    def stream(purpose: str) -> np.random.Generator:
        return np.random.default_rng(seed_for(settings.seed, purpose, *item))

    fitting, judging = stream("masks"), stream("settled")
    masks, values, counts = np.empty((0, d), bool), None, np.empty(0)
    goal, expected = settings.samples or settings.bound, 0.0
    while len(masks) < goal and expected < settings.overlap:
        # As many as are asked for; or 64, then a quarter more at a time.
        more = goal if settings.samples else max(BATCH, len(masks) // 4)
        new, weight = draw(min(more, goal - len(masks)), d, settings.width, fitting)
        masks, counts = np.concatenate((masks, new)), np.concatenate((counts, weight))
        values = answer(new) if values is None else np.concatenate((values, answer(new)))
        shown = masks.sum(0)
        seen = (
            np.minimum(shown, len(masks) - shown).min() >= LEAST_HIDDEN
        )  # a part that was never hidden looks settled, at zero
        if (len(masks) > d and seen) or len(masks) == goal:
            surrogate = fit(masks, values, counts, settings.alpha)
            expected = expected_overlap(
                masks, values, counts, settings.alpha, surrogate, settings.top, judging
            )
            expected = expected if seen else 0.0
    held, weight = draw(settings.held_out, d, settings.width, stream("held out"))
    full = np.ones((1, d), bool)
    return Explanation(
        weights=surrogate.weights,
        intercept=surrogate.intercept,
        fidelity=fidelity(surrogate, held, answer(held), weight),
        original=answer(full)[0] if original is None else original,
        surrogate_original=surrogate(full)[0],
        model_calls=len(masks) + len(held) + 1,
        settled=expected >= settings.overlap,
        expected_overlap=expected,
        effective_samples=effective_samples(counts),
    )
