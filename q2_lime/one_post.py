"""One text explained: LIME's weights for the class the model says, with all that results, figure and page say of them."""

import time
from dataclasses import dataclass

import numpy as np
from lime.explanation import Explanation as PackagesObject
from scipy.stats import spearmanr

from common import newsgroups, results
from common.cli import seed_for
from q2_lime import core, leak, lime_package, stability, text, text_figures
from q2_lime.linear import LinearModel

SHOWN = 10  # words in figures and results


@dataclass(frozen=True)
class Explained:
    """An explained text.

    Attributes:
        sample: what the results say; panel: what the figure shows.
        page: the package's object, for its HTML page; says: the class it explains.
    """

    sample: dict
    panel: text_figures.Explained
    page: PackagesObject
    says: int


@dataclass(frozen=True)
class _Outcome:
    """What an engine found: weights (d,) for the class, the intercept, the card, what the results say of it, the package's own object where it
    ran."""

    weights: np.ndarray
    intercept: float
    card: list[str]
    row: dict
    own: PackagesObject | None = None


def explain(
    model: LinearModel,
    body: str,
    settings: core.Settings,
    engine: str,
    value: str,
    name: str,
    true: str,
    *item: object,
    news_post: bool = True,
) -> Explained:
    """Explains a text.

    Args:
        engine: "own" or "lime", the package.
        value: of `text.VALUES`.
        name, true: for the figure; `true` is empty where nobody knows.
        item: what tells this text's random draws from those of others.
        news_post: whether to look for header, quotes and footer.
    """
    post = text.read(body, model.vocabulary if model.ngrams == 1 else None, name, news_post)
    margins = text.answer_linear(post, model)
    says, second = (
        int(k)
        for k in np.argsort(-margins(np.ones((1, len(post.words)), bool))[0], kind="stable")[:2]
    )
    probabilities = model.probabilities([body])[0]
    if engine == "own":
        values = text.explained_values(margins, model, [says, second], value)
        out = _own(values, len(post.words), settings, value.replace("_", "-").capitalize(), *item)
    else:
        out = _package(post, model, says, settings, *item)
    weights, card = out.weights, out.card
    truth = model.contributions(body, list(post.words))[:, says] if model.ngrams == 1 else None
    agreement = None
    if truth is not None and np.ptp(truth) and np.ptp(weights):
        agreement = float(spearmanr(weights, truth).statistic)
        card.insert(
            1,
            f"Right answer: the model's own coefficients (coefficient x TF-IDF of a word); ranks correlate with it {agreement:.2f}.",
        )

    # What results and figure say of it.
    first = core.leading(weights, SHOWN)
    zone = [newsgroups.ZONES[k] for k in post.zone_shares().argmax(1)]
    words = [
        {"word": post.words[k], "weight": weights[k], "zone": zone[k]}
        | ({"truth": truth[k]} if truth is not None else {})
        for k in first
    ]
    sample = {"true": true, "predicted": model.classes[says], "probability": probabilities[says]}
    sample |= {"second": model.classes[second], "n_words": len(post.words), "words": words}
    sample |= {
        "zone_weight": leak.zone_weight(post, weights),
        "truth_correlation": agreement,
    } | out.row
    shown = set(first.tolist())
    panel = text_figures.Explained(
        name,
        post.text,
        [(start, end, weights[k]) for start, end, k in post.spans if k in shown],
        list(post.parts),
        [text_figures.Word(post.words[k], weights[k], zone[k]) for k in first],
        true,
        model.classes[says],
        probabilities[says],
        card,
    )
    page = out.own or lime_package.text_object(
        post, weights, out.intercept, says, probabilities, model.classes
    )
    return Explained(results.without_nan(sample), panel, page, says)


def _own(
    values: core.Answer, d: int, settings: core.Settings, unit: str, *item: object
) -> _Outcome:
    started = time.perf_counter()
    found = core.explain(values, d, settings, *item)
    seconds = time.perf_counter() - started
    others = [core.explain(values, d, other, *item) for other in stability.again(settings)]
    stable = stability.stability([run.weights[:, 0] for run in (found, *others)], settings.top)
    kept = (
        "model_calls",
        "settled",
        "expected_overlap",
        "effective_samples",
        "original",
        "surrogate_original",
    )
    row = {"fidelity": found.fidelity[0], "stability": stable} | {
        key: getattr(found, key) for key in kept
    }
    row |= {"seconds": seconds, "verdict": stability.verdict(found.fidelity[0], stable["jaccard"])}
    # Model and surrogate at the original: of the class alone; the runner-up is explained beside it, but not shown.
    row |= {key: row[key][0] for key in ("original", "surrogate_original")}
    card = stability.card(found, stable, settings.top, unit)
    return _Outcome(found.weights[:, 0], found.intercept[0], card, row)


def _package(
    post: text.Post, model: LinearModel, says: int, settings: core.Settings, *item: object
) -> _Outcome:
    n, runs, seconds = settings.samples or lime_package.TEXT_SAMPLES, [], 0.0
    for k in range(stability.SEEDS):
        started = time.perf_counter()
        seed = seed_for(settings.seed, "package", k, *item) % 2**32
        runs.append(
            lime_package.explain_text(post, model.probabilities, says, model.classes, n, seed)
        )
        seconds = seconds or time.perf_counter() - started
    first, stable = runs[0], stability.stability([run.weights for run in runs], settings.top)
    rng = np.random.default_rng(seed_for(settings.seed, "held out", *item))
    fidelity = lime_package.text_fidelity(first, model.probabilities, says, settings.held_out, rng)
    row, card = lime_package.row_and_card(
        fidelity, first.score, stable, n + settings.held_out, settings.top
    )
    row |= {"stability": stable, "seconds": seconds}
    return _Outcome(first.weights, first.intercept, card, row, first.own)
