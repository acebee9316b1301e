"""One picture explained: LIME's weights for the two most probable classes, with all that results and figure say of them."""

import time
from dataclasses import dataclass

import numpy as np

from common import imagenet, results
from common.cli import seed_for
from common.imagenet import ImageModel
from q2_lime import core, image_figures, images, lime_package, stability


@dataclass(frozen=True)
class _Outcome:
    """What an engine found: weights (d, 2), stability, verdict, seconds of the first run, what results say besides, the card."""

    weights: np.ndarray
    stable: dict[str, float]
    verdict: str
    seconds: float
    row: dict
    card: list[str]


def explain(
    model: ImageModel,
    image: np.ndarray,
    choices: images.Choices,
    settings: core.Settings,
    engine: str,
    of_imagenet: bool,
    name: str,
    true: str,
    *item: object,
) -> tuple[dict, image_figures.Explained]:
    """Explains an image (h, w, 3) uint8: what the results say of it, and what the figure shows.

    Args:
        engine: "own" or "lime", the package.
        of_imagenet: whether the model names ImageNet's classes, of which some are kinds of CIFAR-10's.
        name, true: for the figure; `true` is empty where nobody knows.
        item: what tells this picture's random draws from those of others.
    """
    picture = images.enlarged(image, model.side, choices.enlarge)
    labels = images.segment(picture, choices, name)
    d = int(labels.max()) + 1
    logits = images.logits_of(model, picture, labels, choices.fill)
    full = logits(np.ones((1, d), bool))[0]
    probabilities = np.exp(full - np.logaddexp.reduce(full))
    top5 = np.argsort(-full, kind="stable")[:5].tolist()
    if engine == "own":
        values = images.explained_values(logits, top5[:2], choices.value)
        original = images.transform(full[None], top5[:2], choices.value)[0]
        unit = "Log-odds" if choices.value == "log_odds" else "Probability"
        out = _own(values, d, settings, original, unit, *item)
    else:
        values = images.explained_values(logits, top5[:2], "probability")
        out = _package(picture, labels, choices.fill, model, top5[:2], values, settings, *item)
    named = [(model.categories[k], float(probabilities[k])) for k in top5]
    kind = imagenet.cifar_class(top5[0]) if of_imagenet else named[0][0]
    sample = {"true": true, "predicted": named[0][0], "probability": named[0][1], "meaning": kind}
    sample |= {
        "top5": [{"class": c, "probability": p} for c, p in named],
        "n_superpixels": d,
    } | out.row
    sample |= {
        "stability": out.stable,
        "stability_seeds": stability.SEEDS,
        "seconds": out.seconds,
        "verdict": out.verdict,
    }
    trusted = out.verdict == stability.TRUSTED
    brief = f"fidelity {out.row['fidelity']:.2f}, overlap {out.stable['jaccard']:.2f}, {out.row['model_calls']} calls"
    brief += "" if trusted else ": not to be trusted"
    panel = image_figures.Explained(
        name, true, image, picture, labels, out.weights, named, kind, out.card, brief, trusted
    )
    return results.without_nan(sample), panel


def _own(
    values: core.Answer, d: int, settings: core.Settings, original: np.ndarray, unit: str, *item
) -> _Outcome:
    started = time.perf_counter()
    found = core.explain(values, d, settings, *item, original=original)
    seconds = time.perf_counter() - started
    others = [
        core.explain(values, d, other, *item, original=original)
        for other in stability.again(settings)
    ]
    stable = stability.stability([run.weights[:, 0] for run in (found, *others)], settings.top)
    row = {"fidelity": found.fidelity[0], "fidelity_second": found.fidelity[1]}
    kept = (
        "model_calls",
        "settled",
        "expected_overlap",
        "effective_samples",
        "original",
        "surrogate_original",
    )
    row |= {key: getattr(found, key) for key in kept}
    verdict = stability.verdict(found.fidelity[0], stable["jaccard"])
    return _Outcome(
        found.weights,
        stable,
        verdict,
        seconds,
        row,
        stability.card(found, stable, settings.top, unit),
    )


def _package(
    picture: np.ndarray,
    labels: np.ndarray,
    fill: str,
    model: ImageModel,
    classes: list[int],
    values: core.Answer,
    settings: core.Settings,
    *item,
) -> _Outcome:
    n, runs, seconds = settings.samples or lime_package.IMAGE_SAMPLES, [], 0.0
    for each in (settings, *stability.again(settings)):
        begun = time.perf_counter()
        seed = seed_for(each.seed, *item) % 2**32
        runs.append(lime_package.explain_image(picture, labels, fill, model, classes, n, seed))
        seconds = seconds or time.perf_counter() - begun
    first, stable = runs[0], stability.stability([run.weights[:, 0] for run in runs], settings.top)
    rng = np.random.default_rng(seed_for(settings.seed, "held out", *item))
    fidelity = lime_package.image_fidelity(first, values, settings.held_out, rng)
    row, card = lime_package.row_and_card(
        fidelity, first.score, stable, n + settings.held_out, settings.top
    )
    return _Outcome(first.weights, stable, row["verdict"], seconds, row, card)
