"""The drawn test pictures, explained: what explain.py writes of them and report/verify.py makes again."""

from dataclasses import dataclass

import numpy as np
import torch

from common import cli, data, models
from q1_gradcam import evidence, gradcam, selection

TARGETS = ("predicted", "true", "second")


@dataclass(frozen=True)
class Explained:
    """The drawn test pictures with two maps of each: of the class asked for, and of the true one. M pictures, K classes, on the CPU.

    Attributes:
        drawn: which.
        labels, predicted, explained: (M,) class numbers.
        confidence: (M, K) probabilities.
        raw, dead: two maps (M, h, w) and whether they are dead (M,).
        maps: what `gradcam.explain` returned for the class asked for.
    """

    drawn: selection.Selection
    labels: torch.Tensor
    predicted: torch.Tensor
    explained: torch.Tensor
    confidence: torch.Tensor
    raw: tuple[torch.Tensor, torch.Tensor]
    dead: tuple[torch.Tensor, torch.Tensor]
    maps: gradcam.Maps


def compute(
    args, model: models.Model, dataset: data.Dataset, layer: str, target: str | int
) -> Explained:
    """Draws the pictures and explains them."""
    logits = models.logits(model.network, dataset.x_test)
    wanted = {"correct": args.correct, "incorrect": args.incorrect}
    drawn = selection.draw(
        logits.argmax(1).numpy(), dataset.y_test, model.classes, wanted, args.seed
    )
    logits, labels = logits[drawn.index], torch.from_numpy(dataset.y_test[drawn.index]).long()
    confidence = torch.softmax(logits.double() / model.temperature, 1)
    predicted, second = logits.topk(2).indices.T
    choices = {"predicted": predicted, "true": labels, "second": second}
    explained = choices[target] if isinstance(target, str) else torch.full_like(labels, target)
    device = next(model.network.parameters()).device
    x = models.to_input(dataset.x_test[drawn.index], device)
    both = [
        gradcam.explain(model.network, x, layer, y.to(device), args.method)
        for y in (explained, labels)
    ]
    raw, dead = tuple(maps.raw.cpu() for maps in both), tuple(maps.dead.cpu() for maps in both)
    return Explained(drawn, labels, predicted, explained, confidence, raw, dead, both[0])


def describe(done: Explained, args, classes: tuple[str, ...]) -> list[dict]:
    """What the results say of each picture."""
    samples = []
    for k, kind in enumerate(done.drawn.kind):
        true, says = classes[done.labels[k]], classes[done.predicted[k]]
        confidence = done.confidence[k]
        sample = {"index": int(done.drawn.index[k]), "kind": kind, "true": true, "predicted": says}
        sample |= {
            "confidence": confidence[done.predicted[k]],
            "confidence_true": confidence[done.labels[k]],
        }
        sample |= {
            "method": args.method,
            "layer": done.maps.layer,
            "explained": classes[done.explained[k]],
        }
        sample |= {
            "dead": bool(done.dead[0][k]),
            "dead_true": bool(done.dead[1][k]),
            "peak": done.raw[0][k].max(),
        }
        samples.append(sample | {"figure": f"figures/{kind}_{true}.png"})
    return samples


def summarise(
    done: Explained, args, model: models.Model, dataset: data.Dataset, samples: list[dict]
) -> dict:
    """What the results say of all pictures together."""
    content = {
        "method": args.method,
        "layer": done.maps.layer,
        "map_size": list(done.raw[0].shape[1:]),
        "target": args.target,
        "temperature": model.temperature,
        "rule": done.drawn.rule,
        "qualifying": done.drawn.qualifying,
        "maps": "explanations.npz",
        "dead": {
            kind: sum(s["dead"] for s in samples if s["kind"] == kind) for kind in selection.KINDS
        },
    }
    if dataset.ground_truth_test is not None:
        right = np.array([kind == "correct" for kind in done.drawn.kind])
        content |= evidence.share_found(
            done.raw[0][right], dataset.ground_truth_test[done.drawn.index[right]]
        )
    return content


def parse_target(text: str, classes: tuple[str, ...]) -> str | int:
    """One of TARGETS as it is; a class name or number as the class's number."""
    if text in TARGETS:
        return text
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    known = ", ".join((*TARGETS, *classes))
    raise cli.UserError(f"unknown class {text!r}: choose {known}, or a number below {len(classes)}")
