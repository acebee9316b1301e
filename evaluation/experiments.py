"""Experiments of evaluation/run.py on real images. Each returns the content of its results file."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from common import cli, data, metrics, models, results
from common.statistics import compare_paired, mean_interval

import numpy as np
import torch

from evaluation import randomization, receptive_field, scoring
from evaluation.explainers import EXPLAINERS, Batch, lime_explanations, methods
from evaluation.scoring import AREAS, FAITHFULNESS, FILL, Trial

OUT = results.OUTPUTS / "evaluation"
FILLS = {"mean": 500, "road": 100}  # images for each replacement of removed pixels
N_UNTRAINED = 200  # images for methods on an untrained network
LIME_SEED_IMAGES = 50  # images explained twice by LIME, with different seeds


@dataclass(frozen=True)
class Setup:
    """What every experiment works with."""

    model: models.Model
    dataset: data.Dataset
    seed: int
    out: Path
    device: torch.device

    @property
    def predict(self) -> metrics.Predict:
        return self.model.probabilities

    def test_batch(self, n: int) -> Batch:
        """Random test images with their predicted classes."""
        index = scoring.draw(len(self.dataset.y_test), n, self.seed, "test pictures")
        images = self.dataset.x_test[index]
        return Batch(images, self.predict(images).argmax(1), index.tolist())

    def trial(self, batch: Batch, experiment: str, **options) -> Trial:
        return Trial(self.model, batch, self.model.layer, self.seed, experiment, **options)

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the training images that the model was trained on, and of those held out."""
        kept = self.model.training.get("held_out")
        if not isinstance(kept, int) or not 0 < kept < len(self.dataset.y_train):
            raise cli.UserError("the checkpoint does not record its held-out training images")
        return data.held_out_split(self.dataset.y_train, kept)

    def load(self, name: str, folder: Path = OUT) -> tuple["Setup", dict[str, str]]:
        """The setup with the network in `out`/name or else `folder`/name, and the file's hash."""
        path = self.out / name / "model.pt"
        path = path if path.is_file() else folder / name / "model.pt"
        model = models.load(path, self.device)
        return replace(self, model=model), {f"{name}_checkpoint_sha256": results.sha256(path)}


def faithfulness(setup: Setup, n: int) -> dict[str, Any]:
    """Deletion, insertion, average drop and increase in confidence of every explainer."""
    batch = setup.test_batch(n)
    trial = setup.trial(batch, "faithfulness", n_untrained=N_UNTRAINED)
    tables, gradients, lime, predict = {}, {}, {}, scoring.remembering(setup.predict)
    arrays = {"index": np.array(batch.keys), "target": batch.targets}
    for fill, most in FILLS.items():
        larger, score = AREAS, scoring.areas
        if fill == FILL:
            larger, score = FAITHFULNESS, scoring.faithfulness
        score = partial(score, predict, fill, setup.seed)
        tables[fill], scored = scoring.table(trial, EXPLAINERS, score, larger, most)
        gradients[fill] = {
            m: compare_paired(scored["input_gradient"][m], scored["gradcam"][m], AREAS[m])
            for m in AREAS
        }
        if "lime" in scored:
            lime[fill] = against_lime(scored, larger)
        arrays |= {f"{fill}/{name}/{m}": scored[name][m] for name in scored for m in larger}
    results.write_npz(setup.out / "faithfulness.npz", **arrays)
    return {
        "n": len(batch),
        "n_untrained": min(N_UNTRAINED, len(batch)),
        "methods": tables[FILL],
        "input_gradient_against_gradcam": gradients,
        "against_lime": lime,
    }


def against_lime(scored: dict[str, scoring.Scores], larger: dict[str, bool]) -> dict[str, Any]:
    """Every explainer on LIME's images, compared with LIME."""
    lime, rows = scored["lime"], {}
    n = len(lime["deletion_auc"])
    for key, explainer in EXPLAINERS.items():
        scores = {metric: scored[key][metric][:n] for metric in larger}
        rows[key] = scoring.row(explainer, scores, larger, {"lime": lime} if key != "lime" else {})
    return {"n": n, "methods": rows}


def layers(setup: Setup, n: int) -> dict[str, Any]:
    """Methods at each stage of the network, on held-out training images: the choice of layer."""
    model, held_out, seed = setup.model, setup.split()[1], setup.seed
    index = held_out[scoring.draw(len(held_out), n, seed, "held-out pictures")]
    images, predict = setup.dataset.x_train[index], scoring.remembering(setup.predict)
    batch = Batch(images, predict(images).argmax(1), index.tolist())
    few, order = batch.first(50), randomization.weighted_layers(model.network)
    noise = randomization.randomized(model, order, few.images, seed)
    score, stages = partial(scoring.areas, predict, FILL, seed), {}
    for layer in models.STAGES[model.arch]:
        trial = Trial(model, batch, layer, seed, "layers")
        rows, _ = scoring.table(trial, methods("layer"), score, AREAS)
        for key, row in rows.items():
            area = row["insertion_auc"]["mean"] - row["deletion_auc"]["mean"]
            after = EXPLAINERS[key].maps(noise, few, layer, seed)
            similar = metrics.rank_correlation(trial.maps(key)[: len(few)], after)
            row["insertion_minus_deletion"] = area
            row["rank_correlation_with_random_weights"] = mean_interval(similar)
            row["grid"] = list(trial.maps(key).shape[1:])
        stages[layer] = rows
    best = max(stages, key=lambda layer: stages[layer]["gradcam"]["insertion_minus_deletion"])
    return {
        "n": len(batch),
        "layers": stages,
        "receptive_field": receptive_field.measure(model.network, model.layer, few.images, seed),
        "chosen_by_rule": best,
        "used": model.layer,
    }


def randomization_test(setup: Setup, n: int) -> dict[str, Any]:
    """Parameter randomization for every method."""
    model, batch = setup.model, setup.test_batch(n)
    order = randomization.weighted_layers(model.network)
    rows = randomization.evaluate(model, methods(), batch, model.layer, setup.seed)
    return {
        "n": len(batch),
        "order": order,
        "verdict_layer": randomization.verdict_layer(order),
        "methods": rows,
        "passes_by_depth": {
            layer: {key: randomization.passes(row, layer) for key, row in rows.items()}
            for layer in order
        },
    }


def stability(setup: Setup, n: int) -> dict[str, Any]:
    """Maps under changes of the image that should hardly matter, and of LIME's seed."""
    batch, rows = setup.test_batch(n), {}
    trial = setup.trial(batch, "stability")
    for key, explainer in cli.progress(methods().items(), "stability"):
        scores = scoring.stability(trial, key)
        rows[key] = explainer.labels | {m: mean_interval(scores[m]) for m in scores}
    content = {"n": len(batch), "layer": setup.model.layer, "methods": rows}
    if "lime" in rows:
        few = batch.first(LIME_SEED_IMAGES)
        maps, explanations = lime_explanations(setup.model, few, setup.seed)
        again, _ = lime_explanations(setup.model, few, cli.seed_for(setup.seed, "again", 0))
        similar = mean_interval(metrics.rank_correlation(maps, again))
        content["lime"] = {
            "n": len(few),
            "model_calls": mean_interval([e.model_calls for e in explanations]),
            "n_settled": sum(e.settled for e in explanations),
            # On masks that were left out of the fit, one at a time.
            "fidelity": mean_interval([e.fidelity[0] for e in explanations]),
            "between_seeds": {"rank_correlation": similar},
        }
    return content
