"""How often the verdict on an explanation holds: constructed models and CIFAR-10 images.

    python q2_lime/verdicts.py                  constructed models: one minute on a CPU core
    python q2_lime/verdicts.py --images 30      training images as well: half an hour on two cores

Constructed models are functions of masks for which the right explanation, or what is wrong with an
explanation, is known. Each is explained with several seeds. Measures how often the interval of
fidelity covers R^2 on 2,000 fresh masks, and how often a repeated run changes the verdict. Writes
OUT/verdicts.json.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common import cli, data, imagenet, results

import numpy as np

from q2_lime import core, images, stability, text

FRESH = 2000  # masks that the interval of fidelity should cover


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
        rng = core.stream(settings, "fresh")
        run = core.draw(case.values, settings, FRESH, case.d, rng)
        low, high = row["fidelity_interval"]
        covered.append(low <= core.fidelity(found, *run)[0] <= high)
        rows.append(row)
    verdicts = [stability.VERDICTS.index(row["verdict"]) for row in rows]
    changes = np.abs(np.diff(verdicts))
    return {
        "name": case.name,
        "right": case.right or None,
        "repeats": repeats,
        "verdicts": {v: verdicts.count(k) / repeats for k, v in enumerate(stability.VERDICTS)},
        "changed": (changes > 0).mean(),
        "reversed": (changes == 2).mean(),  # from reliable to not reliable, or back
        "coverage": np.mean(covered),
        "fidelity": np.mean([row["fidelity"] for row in rows]),
        "reasons": rows[0]["reasons"],
    }


def image_cases(args) -> Iterator[Case]:
    """Random training images, explained as by explain.py."""
    dataset = data.load_cifar10(args.data)
    device = cli.pick_device(args.device)
    model = imagenet.load(folder=args.data, device=device)
    rng = np.random.default_rng(cli.seed_for(args.seed, "verdict images"))
    for k in rng.choice(len(dataset.x_train), args.images, replace=False):
        image = data.fit_image(dataset.x_train[k], model.side, images.IMAGE_SETTINGS.resize)
        segments, d, values = images.prepare(model, image, images.IMAGE_SETTINGS)
        unchanged = images.unchanged_share(image, segments, images.IMAGE_SETTINGS.fill)
        yield Case(f"image {k}", d, lambda m, f=values: f(m)[:, 0], unchanged=unchanged)


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    parser.data_option("CIFAR-10 and weights")
    add("--images", type=cli.whole(0, 50_000), default=0, metavar="N", help="training images")
    seeds = "seeds of constructed models (default: 20)"
    add("--repeats", type=cli.whole(2, 10**5), default=20, metavar="N", help=seeds)
    add("--seed", type=cli.seed, default=0, metavar="N", help="of masks and images (default: 0)")
    default = results.OUTPUTS / "q2_lime"
    add("--out", type=Path, default=default, metavar="DIR", help="default: outputs/q2_lime")
    parser.device_option()
    args = parser.parse_args()
    cli.keep_freed_memory()
    out = results.output_folder(args.out)
    parts = {"constructed": (cases(), args.repeats)}
    if args.images:
        parts["images"] = image_cases(args), 2
    content = {"fresh_masks": FRESH, "level": stability.LEVEL}
    for part, (found, repeats) in parts.items():
        rows = []
        for case in found:
            rows.append(repeat(case, repeats, args.seed))
            print(results.plain(rows[-1]), flush=True)
        varied = [row for row in rows if not np.isnan(row["fidelity"])]
        means = ("coverage", "changed", "reversed")
        content[f"{part}_summary"] = {key: np.mean([row[key] for row in varied]) for key in means}
        content[part] = rows
    content["provenance"] = results.provenance(args.seed, cli.pick_device(args.device))
    results.write_json(out / "verdicts.json", results.without_nan(content))
    print(f"wrote {results.shown(out / 'verdicts.json')}")


if __name__ == "__main__":
    cli.run(main)
