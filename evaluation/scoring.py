"""Many maps put to the same test on the same pictures, beside controls: scores per picture, then a table with intervals and verdicts."""

import hashlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from common import metrics, results, statistics
from common.cli import Parser, interactive, seed_for
from common.cli import positive as whole_number

# What is scored, and whether more of it is better.
FAITHFULNESS = {"deletion": False, "insertion": True, "average_drop": False, "increase": True}
CURVES = {key: FAITHFULNESS[key] for key in ("deletion", "insertion")}
FILL = "mean"  # of metrics.FILLS: what usually stands where a pixel is gone
TOLERANCE = 4  # pixels: a cell of the compact network's last map
CONTROLS = ("random", "centre", "edges")
FINE = "random_fine"  # noise pixel by pixel, for maps of pixels
OUT = (
    results.OUTPUTS / "trust"
)  # where the results of the usual trials lie, and the networks whose answers are known
Scores = dict[str, np.ndarray]  # of each measure, (N,)


def arguments(doc: str, parts: tuple[str, ...], in_one_file: bool) -> Namespace:
    """The command line of a script that tries explanations, `out` filled in. Results of anything unusual go elsewhere than the usual ones; where all
    `parts` write `in_one_file`, so do those of some parts alone."""
    parser, usual_model = Parser(doc), results.OUTPUTS / "q1_gradcam/model.pt"
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        default=usual_model,
        metavar="FILE",
        help="default: outputs/q1_gradcam/model.pt",
    )
    parser.data_option()
    add(
        "--only",
        nargs="+",
        choices=parts,
        default=parts,
        metavar="PART",
        help=f"of {', '.join(parts)}",
    )
    add("--pictures", type=whole_number, metavar="N", help="at most so many for each part")
    add("--seed", type=int, default=0, metavar="N", help="of everything drawn (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()
    if args.pictures == 1:
        parser.error("--pictures 1: an interval needs two or more")
    unusual = (
        args.pictures
        or args.seed
        or args.model != usual_model
        or (in_one_file and set(args.only) != set(parts))
    )
    args.out = args.out or OUT / ("other" if unusual else "")
    return args


def drawn(size: int, n: int, seed: int, *key: str) -> np.ndarray:
    """`n` different numbers below `size`; those for a smaller n come first."""
    return np.random.default_rng(seed_for(seed, *key)).permutation(size)[:n]


def network(out: Path, name: str) -> Path:
    """The checkpoint of a network whose answers are known: shapes, marked (with a planted shortcut) or unmarked, its twin."""
    own = out / name / "model.pt"
    return own if own.is_file() else OUT / name / "model.pt"


def fingerprint(network: nn.Module) -> np.ndarray:
    """A hash of a network's weights, to be stored with scores, so that those of different networks are not mixed."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def bar(things, what: str):
    """The things, with a progress bar where somebody is watching."""
    return tqdm(list(things), desc=what, leave=False, disable=not interactive())


def control_maps(
    pictures: np.ndarray, grid: tuple[int, int], enlarge, seed: int
) -> dict[str, np.ndarray]:
    """The maps (N, H, W) of CONTROLS, and of FINE, for pictures (N, H, W, 3); `enlarge` brings (N, *grid) to the pictures' size as the methods'
    maps are."""
    n, size = len(pictures), pictures.shape[1:3]
    noise = metrics.random_map(n, grid, np.random.default_rng(seed_for(seed, "random map")))
    fine = metrics.random_map(n, size, np.random.default_rng(seed_for(seed, "fine random map")))
    maps = (enlarge(noise), metrics.center_map(n, size), metrics.edge_map(pictures), fine)
    return dict(zip((*CONTROLS, FINE), maps, strict=True))


def opponents(scored: dict[str, Scores], of_pixels: bool) -> dict[str, Scores]:
    """The scores of CONTROLS that a method is held against: noise as fine as its own maps, the centre, edges."""
    return {name: scored[FINE if of_pixels and name == "random" else name] for name in CONTROLS}


def positive(maps: np.ndarray) -> np.ndarray:
    """Positive part of maps (N, H, W), each divided by its peak: 0 to 1. A map without a positive part stays zero."""
    level = np.maximum(maps, 0)
    peak = level.max((1, 2), keepdims=True)
    return level / np.where(peak > 0, peak, 1)


def faithfulness(
    predict: metrics.Predict,
    pictures: np.ndarray,
    target: np.ndarray,
    maps: np.ndarray,
    fill: str,
    seed: int,
) -> tuple[Scores, dict[str, np.ndarray]]:
    """Scores of FAITHFULNESS for maps (N, H, W), and their mean curves. Equal maps get equal scores: ties and noise are drawn from the seed."""
    rng = np.random.default_rng(seed_for(seed, "faithfulness"))
    deletion, insertion = metrics.deletion_insertion_curves(
        predict, pictures, target, metrics.pixel_order(maps, rng), fill, rng
    )
    drop, increase = metrics.drop_and_increase(predict, pictures, target, positive(maps))
    scores = {"deletion": metrics.auc(deletion), "insertion": metrics.auc(insertion)}
    scores |= {"average_drop": drop, "increase": increase.astype(float)}
    return scores, {"deletion": deletion.mean(0), "insertion": insertion.mean(0)}


def _peaks(maps: np.ndarray, evidence: np.ndarray, tolerance: float) -> np.ndarray:
    return np.array(
        [metrics.pointing_game(*both, tolerance) for both in zip(maps, evidence, strict=True)],
        float,
    )


# Measures of maps (N, H, W) whose evidence (N, H, W) is known: scores (N,), larger is better.
ON_EVIDENCE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "peak": lambda maps, evidence: _peaks(maps, evidence, TOLERANCE),
    "peak_exactly": lambda maps, evidence: _peaks(maps, evidence, 0),
    "mass": metrics.relevance_mass,
    "precision": metrics.average_precision,
}


def on_evidence(maps: np.ndarray, evidence: np.ndarray) -> Scores:
    """All scores of ON_EVIDENCE."""
    return {name: measure(maps, evidence) for name, measure in ON_EVIDENCE.items()}


def table(
    scored: dict[str, Scores], better: dict[str, bool], opponents: dict[str, dict[str, Scores]]
) -> dict[str, dict[str, Any]]:
    """Means with intervals of every method and measure, each against its opponents.

    Args:
        scored: by method; better: whether more is better, by measure; opponents: for a method, the controls that it is held against; where
            one was tried on the first pictures alone, the method is held against it on these.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, scores in scored.items():
        rows[name] = {}
        for measure, larger in better.items():
            duels = {
                control: statistics.compare_paired(
                    scores[measure][: len(other[measure])], other[measure], larger
                )
                for control, other in opponents.get(name, {}).items()
            }
            rows[name][measure] = statistics.mean_interval(scores[measure]) | (
                {"against": duels} if duels else {}
            )
    return rows
