"""Scores the maps of many explainers with one metric, with intervals against their baselines."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from common import distributed, metrics, models
from common.cli import progress, seed_for
from common.statistics import compare_paired, mean_interval

import numpy as np
from torch import nn

from evaluation.explainers import EXPLAINERS, NOISE, Batch, Explainer, enlarge, positive

# Metric -> whether larger is better.
AREAS = {"deletion_auc": False, "insertion_auc": True}
FAITHFULNESS = AREAS | {"average_drop": False, "increase_in_confidence": True}
FILL = "mean"  # default replacement of removed pixels
Scores = dict[str, np.ndarray]  # metric -> (N,), bool if its mean is a proportion
Score = Callable[[np.ndarray, Batch], Scores]  # maps (N, H, W) at image size -> scores


def draw(size: int, n: int, seed: int, purpose: str) -> np.ndarray:
    """`n` different integers below `size`. A smaller n gives the first of them."""
    return np.random.default_rng(seed_for(seed, purpose)).permutation(size)[:n]


@dataclass(eq=False)
class Trial:
    """Maps of any explainer for the images of one experiment, each computed once."""

    model: models.Model
    batch: Batch
    layer: str
    seed: int
    experiment: str
    # The network that every method is also applied to, as a baseline; by default one of the same
    # architecture before training.
    untrained: nn.Module | None = None
    n_untrained: int | None = None  # number of images for that network; None: all
    _maps: dict = field(default_factory=dict)

    def maps(self, key: str, untrained: bool = False) -> np.ndarray:
        """Signed maps (N, h, w) of an explainer, of the trained or of the untrained network."""
        if (key, untrained) not in self._maps:
            batch, model = EXPLAINERS[key].select(self.batch, self.experiment), self.model
            if untrained:
                if self.untrained is None:
                    self.untrained = models.untrained(model, self.batch.images, self.seed)
                model = replace(model, network=self.untrained)
                batch = batch.first(self.n_untrained)
            maps = EXPLAINERS[key].maps(model, batch, self.layer, self.seed)
            self._maps[key, untrained] = maps
        return self._maps[key, untrained]


def table(
    trial: Trial,
    keys: Iterable[str],
    score: Score,
    larger_is_better: dict[str, bool],
    most: int | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Scores]]:
    """Scores explainers on the first `most` images, each against its baselines on its own images.

    Returns:
        rows: key -> `row`.
        scored: key, or "untrained KEY" -> scores of each image.
    """
    collected: dict[tuple[int, str], np.ndarray] = {}  # (number of images, name) -> maps
    wanted = {}  # key -> its key of `collected`, and those of its baselines by label

    def collect(key: str, n: int | None, untrained: bool = False) -> tuple[int, str]:
        maps = trial.maps(key, untrained)[:n]
        name = (len(maps), f"untrained {key}" if untrained else key)
        collected[name] = maps
        return name

    for key in progress(list(keys), f"{trial.experiment}, maps"):
        n, _ = own = collect(key, most)
        others, kind = {}, EXPLAINERS[key].kind
        if kind != "baseline":
            baselines = {"random": NOISE[kind], "center": "center", "edges": "edges"}
            others = {label: collect(other, n) for label, other in baselines.items()}
            others["untrained"] = collect(key, n, untrained=True)
        wanted[key] = own, others

    def scores(maps: np.ndarray) -> Scores:
        return score(enlarge(maps), trial.batch.first(len(maps)))

    values = distributed.share(scores, collected.values(), f"{trial.experiment}, scores")
    scored = dict(zip(collected, values, strict=True))
    rows = {}
    for key, (own, others) in wanted.items():
        against = {label: scored[other] for label, other in others.items()}
        rows[key] = row(EXPLAINERS[key], scored[own], larger_is_better, against)
    # A baseline may be scored on several numbers of images: the largest one is returned.
    return rows, {name: scored[n, name] for n, name in sorted(scored)}


def row(
    explainer: Explainer, scores: Scores, larger_is_better: dict[str, bool], against: dict
) -> dict[str, Any]:
    """Display name, kind, and for each metric the mean with its interval and the comparison with
    each baseline in `against` (on the first images, if it has fewer)."""
    content: dict[str, Any] = dict(explainer.labels)
    for metric, larger in larger_is_better.items():
        values, content[metric] = scores[metric], mean_interval(scores[metric])
        if against:
            content[metric]["against"] = {
                label: compare_paired(values[: len(b[metric])], b[metric], larger)
                for label, b in against.items()
            }
    return content


def areas(predict: metrics.Predict, fill: str, seed: int, maps: np.ndarray, batch: Batch) -> Scores:
    """The metrics of AREAS (N,).

    Equal maps get equal scores: ties are broken by noise drawn from the seed.
    """
    rng = np.random.default_rng(seed_for(seed, "faithfulness"))
    order = metrics.pixel_order(maps, rng)
    deletion, insertion = metrics.deletion_insertion_curves(
        predict, batch.images, batch.targets, order, fill, rng
    )
    return {"deletion_auc": metrics.auc(deletion), "insertion_auc": metrics.auc(insertion)}


def faithfulness(
    predict: metrics.Predict, fill: str, seed: int, maps: np.ndarray, batch: Batch
) -> Scores:
    """The metrics of FAITHFULNESS (N,)."""
    drop, increase = metrics.drop_and_increase(predict, batch.images, batch.targets, positive(maps))
    found = areas(predict, fill, seed, maps, batch)
    return found | {"average_drop": drop, "increase_in_confidence": increase}


def remembering(predict: metrics.Predict) -> metrics.Predict:
    """`predict`, computed once for each batch: the whole and the empty images are part of every
    curve, and equal maps delete the same pixels."""
    known: dict[bytes, np.ndarray] = {}

    def remembered(images: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(np.ascontiguousarray(images)).digest()
        if key not in known:
            known[key] = predict(images)
        return known[key]

    return remembered


def stability(trial: Trial, key: str) -> Scores:
    """How much maps change when the image hardly does.

    Returns, each (N,):
        noise: smallest rank correlation with the original map over five draws of Gaussian noise of
            4 gray levels.
        shift: the same over shifts by one pixel up, down, left and right, undone in the map.
        mirror: rank correlation with the map of the mirrored image, mirrored back.
    """
    explainer = EXPLAINERS[key]
    batch = explainer.select(trial.batch, trial.experiment)
    images, before = batch.images, enlarge(trial.maps(key))

    def maps(changed: np.ndarray) -> np.ndarray:
        other = replace(batch, images=changed)  # with the classes predicted for the originals
        return enlarge(explainer.maps(trial.model, other, trial.layer, trial.seed))

    rng = np.random.default_rng(seed_for(trial.seed, "noise"))
    noisy = []
    for _ in range(5):
        levels = images + rng.normal(0, 4, images.shape)
        noisy.append(maps(levels.clip(0, 255).round().astype(np.uint8)))
    # The image is padded by repeating its edge and cropped at four offsets. The map is shifted
    # back and compared without its border.
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    inner, (height, width) = before[:, 2:-2, 2:-2], images.shape[1:3]
    shifted = []
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        after = maps(padded[:, y : y + height, x : x + width])
        shifted.append(after[:, 3 - y : height - 1 - y, 3 - x : width - 1 - x])
    mirrored = maps(images[:, :, ::-1])[:, :, ::-1]
    return {
        "noise": np.min([metrics.rank_correlation(before, after) for after in noisy], axis=0),
        "shift": np.min([metrics.rank_correlation(inner, after) for after in shifted], axis=0),
        "mirror": metrics.rank_correlation(before, mirrored),
    }
