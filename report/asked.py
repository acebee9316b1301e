"""What the arguments in a receipt have to be, for a script's work to be done again with them."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import corpus, receipts, results
from common.receipts import Receipt
from common.runtime import UserError
from q1_gradcam import gradcam
from q2_lime import core, images, linear, text
from q2_lime import trust as lime_trust

Rule = Callable[[Any], bool]


def of_type(*kinds: type) -> Rule:
    return lambda value: type(value) in kinds


def at_least(least: int) -> Rule:
    return lambda value: type(value) is int and value >= least


def one_of(*names: str) -> Rule:
    return lambda value: type(value) is str and value in names


def some_of(*names: str) -> Rule:
    return lambda value: isinstance(value, list) and bool(value) and all(map(one_of(*names), value))


def perhaps(rule: Rule) -> Rule:
    return lambda value: value is None or rule(value)


def all_of(rules: dict[str, Rule]) -> Rule:
    """Settings: a dictionary with these keys and no others."""
    return lambda value: (
        isinstance(value, dict) and value.keys() == rules.keys() and all(rules[key](value[key]) for key in rules)
    )


def path(value: Any) -> bool:
    return isinstance(value, Path)


WORD, NUMBER, SEED, TRUTH = of_type(str), of_type(int, float), of_type(int), of_type(bool)
CHOICES = {
    "enlarge": one_of(*images.RESAMPLING), "segmentation": one_of(*images.SEGMENTATIONS), "regions": at_least(1),
    "fill": one_of(*images.FILLS), "value": one_of(*images.VALUES),
}  # fmt: skip
SETTINGS = {
    "sampler": one_of(*core.SAMPLERS), "width": NUMBER, "alpha": NUMBER, "samples": perhaps(at_least(core.FEWEST)),
    "bound": at_least(1), "overlap": NUMBER, "top": at_least(1), "held_out": at_least(1), "seed": SEED,
}  # fmt: skip
ENGINE = one_of("own", "lime")

# Of every script, the arguments that are needed to look for what it worked from or to do its work again.
RULES: dict[str, dict[str, Rule]] = {
    "q1_gradcam/evaluate.py": {"model": path},
    "q1_gradcam/explain.py": {
        "model": path, "method": one_of(*gradcam.METHODS), "layer": perhaps(WORD), "target": WORD, "correct": at_least(1),
        "incorrect": at_least(1), "seed": SEED,
    },
    "q1_gradcam/trust.py": {"model": path},
    "q1_gradcam/ablate.py": {},
    "q2_lime/explain.py": {
        "model": WORD, "weights": perhaps(path), "checkpoint": perhaps(path), "choices": all_of(CHOICES),
        "settings": all_of(SETTINGS), "engine": ENGINE, "enlarge": CHOICES["enlarge"], "per_class": at_least(1),
        "prefer_recognised": TRUTH, "seed": SEED,
    },
    "q2_lime/train_text.py": {
        "dataset": one_of(*corpus.DATASETS), "kinds": some_of(*linear.KINDS), "ngrams": at_least(1),
    },
    "q2_lime/explain_text.py": {
        "models": path, "kinds": some_of(*linear.KINDS), "settings": all_of(SETTINGS), "engine": ENGINE,
        "value": one_of(*text.VALUES), "sampler": WORD, "samples": WORD, "seed": SEED,
    },
    "q2_lime/trust.py": {"model": path, "only": some_of(*lime_trust.PARTS)},
    "q2_lime/ablate.py": {},
    "report/compare.py": {"outputs": path},
    "report/gallery.py": {},
    "benchmarks/gradcam.py": {},
    "benchmarks/lime.py": {},
}  # fmt: skip


def of(receipt: Receipt, folder: Path, data: Path) -> Namespace:
    """A receipt's arguments with the `folder` it lies in and where the `data` are.

    Raises:
        UserError: no script of the project; an argument is missing or cannot be one.
    """
    where = f"{results.shown(folder / receipts.NAME)}: {receipt.key}"
    if receipt.script not in RULES:
        raise UserError(f"{where} is no script that leaves receipts: run the script that wrote the results again")
    given = vars(receipt.arguments)
    for name, rule in RULES[receipt.script].items():
        if name not in given:
            raise UserError(f"{where} lacks the argument {name!r}: run that script again")
        if not rule(given[name]):
            raise UserError(f"{where} can't have been asked for {name} {given[name]!r}: run that script again")
    return Namespace(**given | {"folder": folder, "data": data})
