"""How often the verdict on an explanation holds, measured on constructed models.

    python q2_lime/verdicts.py        one minute on a CPU core

Constructed models are functions of masks for which the right explanation, or what is wrong with an
explanation, is known. Each is explained with several seeds. Measures how often the interval of
fidelity covers R^2 on 2,000 fresh masks, and how often a repeated run changes the verdict. Writes
OUT/verdicts.json.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common import cli, results

import numpy as np
import torch

from q2_lime import core, images, stability, text

FRESH = 2000  # masks that the interval of fidelity should cover
REPEATS = 20  # explanations of each model


@dataclass(frozen=True)
class Case:
    """A model of `d` parts and the verdict its explanation should get."""

    name: str
    d: int
    model: Callable[[np.ndarray], np.ndarray]  # masks (n, d) -> values (n,)
    right: str = ""  # one of stability.VERDICTS; "" if it depends on the threshold
    settings: core.Settings = images.SETTINGS
    unchanged: float = 0.0  # see stability.explain

    def values(self, masks: np.ndarray) -> np.ndarray:
        return self.model(masks)[:, None]


def erratic(masks: np.ndarray) -> np.ndarray:
    """Values (n,) of mean 0 and variance 1 that vary erratically with the mask."""
    frequencies = np.random.default_rng(0).normal(0, 1e4, masks.shape[1])
    return np.sqrt(2) * np.sin(masks @ frequencies)


def linear(weights: np.ndarray, r_squared: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """A model of which a linear one explains the share `r_squared` of the variance."""
    spread = np.sqrt((weights**2).sum() * 0.85 * 0.15)
    return lambda masks: masks @ weights + spread * np.sqrt(1 / r_squared - 1) * erratic(masks)


def random_answers() -> Callable[[np.ndarray], np.ndarray]:
    """A model that answers at random, so that nothing can be explained."""
    rng = np.random.default_rng(0)
    return lambda masks: masks[:, 0] * 0.01 + rng.normal(size=len(masks))


def cases() -> Iterator[Case]:
    """Constructed models: right explanations, wrong ones, and those near the threshold."""
    strong = np.array([2.0, -1.5, 1.0, 1.0])
    for n in (1, 2, 3, 4):
        weights = np.append(strong[:n], np.zeros(14 - n))
        yield Case(f"linear, {n} of 14 parts matter", 14, linear(weights), "reliable")
    words = np.array([0.3, 0.2, 0.1])
    yield Case("a text with three known words", 3, linear(words), "reliable", text.SETTINGS)
    mark = 8.0 * (np.arange(64) == 20)
    grid = images.SMALL_SETTINGS
    yield Case("one square of 64 matters", 64, linear(mark, 0.9), "reliable", grid)
    fading = 2 * 0.75 ** np.arange(14) * np.where(np.arange(14) % 3, 1, -1)
    whole = np.append(fading, 0.1 * np.ones(66))  # masks that show all 80 parts are never drawn
    yield Case(
        "(1) another answer to the whole input",
        80,
        lambda masks: np.where(masks.all(1), -20, linear(whole)(masks)),
        "not reliable",
    )
    yield Case(
        "(2) any of three parts is enough",
        14,
        lambda masks: 10.0 * masks[:, :3].any(1) + 1.5 * masks[:, 3:8].sum(1),
        "not reliable",
    )
    yield Case(
        "(3) the fill hardly changes a region", 14, linear(fading), "not reliable", unchanged=0.07
    )
    yield Case("(4) random answers, four parts", 4, random_answers(), "not reliable")
    yield Case("constant", 14, lambda masks: np.full(len(masks), 0.3), "not reliable")
    for share in (0.5, 0.65, 0.75, 0.85, 0.95):
        yield Case(f"fading weights, R^2 {share}", 14, linear(fading, share))
    yield Case("saturating", 14, lambda masks: 4 * np.tanh(masks @ np.abs(fading) / 4))
    yield Case(
        "interactions", 14, lambda m: m @ fading + 3 * m[:, 0] * m[:, 1] - 2 * m[:, 3] * m[:, 5]
    )


def repeat(case: Case, repeats: int, seed: int) -> dict:
    """Explains a case with several seeds. Returns how often its verdict and its interval hold."""
    rows, covered = [], []
    for k in range(repeats):
        settings = replace(case.settings, seed=cli.seed_for(seed, "verdict", case.name, k))
        found, row = stability.explain(case.values, case.d, settings, unchanged=case.unchanged)
        masks, weights = core.draw(settings, FRESH, case.d, core.stream(settings, "fresh"))
        fresh = core.fidelity(found, masks, core.evaluate(case.values, masks), weights)[0]
        low, high = row["fidelity_interval"]
        covered.append(bool(low <= fresh <= high))
        rows.append(row)
    verdicts = [row["verdict"] for row in rows]
    pairs = list(zip(verdicts, verdicts[1:], strict=False))
    opposite = {"reliable", "not reliable"}
    return {
        "name": case.name,
        "right": case.right or None,
        "verdicts": {verdict: verdicts.count(verdict) / repeats for verdict in stability.VERDICTS},
        "changed": np.mean([a != b for a, b in pairs]),
        "reversed": np.mean([{a, b} == opposite for a, b in pairs]),
        "coverage": np.mean(covered),
        "fidelity": np.mean([row["fidelity"] for row in rows]),
    }


def main() -> None:
    parser = cli.Parser(__doc__)
    add, default = parser.add_argument, results.OUTPUTS / "q2_lime"
    add("--seed", type=cli.seed, default=0, metavar="N", help="of the masks (default: 0)")
    add("--out", type=Path, default=default, metavar="DIR", help="default: outputs/q2_lime")
    args = parser.parse_args()
    out, rows = results.output_folder(args.out), []
    for case in cases():
        rows.append(repeat(case, REPEATS, args.seed))
        print(results.plain(rows[-1]), flush=True)
    varying = [row for row in rows if not np.isnan(row["fidelity"])]
    keys = ("coverage", "changed", "reversed")
    content = {
        "fresh_masks": FRESH,
        "constructed": rows,
        "constructed_summary": {key: np.mean([row[key] for row in varying]) for key in keys},
        "provenance": results.provenance(args.seed, torch.device("cpu")),
    }
    results.write_json(out / "verdicts.json", results.without_nan(content))
    print(f"wrote {results.shown(out / 'verdicts.json')}")


if __name__ == "__main__":
    cli.run(main)
