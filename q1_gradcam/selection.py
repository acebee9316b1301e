"""Which test pictures are shown: drawn at random, by seed, from all that qualify."""

from dataclasses import dataclass

import numpy as np

from common.cli import UserError, seed_for

KINDS = ("correct", "incorrect")


@dataclass(frozen=True)
class Selection:
    """The pictures drawn.

    Attributes:
        index: (M,) places in the test set, the correct ones first, class by class.
        kind: (M,) "correct" or "incorrect".
        qualifying: how many test pictures qualified, by kind and class name.
        rule: how they were drawn, in words.
    """

    index: np.ndarray
    kind: list[str]
    qualifying: dict[str, dict[str, int]]
    rule: str


def draw(
    predicted: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    wanted: dict[str, int],
    seed: int,
) -> Selection:
    """Draws `wanted[kind]` pictures of each class and kind; of the incorrect ones all, where there are fewer.

    Args:
        predicted, labels: (N,) class numbers of the test set.

    Raises:
        UserError: a class has fewer correct pictures than wanted.
    """
    index, kind, qualifying = [], [], {}
    for name_of_kind, right in (
        ("correct", predicted == labels),
        ("incorrect", predicted != labels),
    ):
        qualifying[name_of_kind] = {}
        for k, name in enumerate(classes):
            able = np.flatnonzero(right & (labels == k))
            qualifying[name_of_kind][name] = len(able)
            if name_of_kind == "correct" and len(able) < wanted["correct"]:
                raise UserError(
                    f"--correct {wanted['correct']}: only {len(able)} test pictures of {name!r} are classified correctly"
                )
            order = np.random.default_rng(seed_for(seed, name_of_kind, name)).permutation(able)[
                : wanted[name_of_kind]
            ]
            index += order.tolist()
            kind += [name_of_kind] * len(order)
    rule = (
        f"drawn at random (seed {seed}) from all test pictures of the class that qualify: {wanted['correct']} classified "
        f"correctly, {wanted['incorrect']} incorrectly or all there are"
    )
    return Selection(np.array(index), kind, qualifying, rule)
