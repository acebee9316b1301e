"""Peak memory of LIME on images, here and in the `lime` package, for more masks or segments or
larger images.

    python evaluation/memory.py                    ten minutes on two cores

Each explanation runs in a process of its own, with a network that needs almost no memory, several
times. Writes the medians and ranges to OUT/memory.json. OUT is outputs/evaluation.
"""

from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import cli, imagenet, results

import numpy as np
import torch
from lime import lime_image
from scipy.special import softmax
from torch import nn

from q2_lime import core, images

USUAL = {"masks": 1000, "cells": 5, "side": 224}  # cells: of the grid of segments, per side
LARGER = ({}, {"masks": 8000}, {"cells": 20}, {"side": 896})  # one change at a time
WAYS = ("nothing", "package", "ours")
REPEATS = 3


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--out", type=Path, default=results.OUTPUTS / "evaluation", metavar="DIR")
    args, rows = parser.parse_args(), []
    if cli.peak_memory_bytes(torch.device("cpu")) is None:
        raise cli.UserError("this script needs Linux or macOS: Windows does not report the memory")
    out = results.output_folder(args.out)
    for changes in LARGER:
        case = USUAL | changes
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            order = [(way, *case.values()) for way in WAYS * REPEATS]
            peaks = np.array(pool.starmap(peak_memory, order, chunksize=1)).reshape(REPEATS, -1)
        added = dict(zip(WAYS[1:], (peaks[:, 1:] - peaks[:, :1]).T, strict=True))
        row = {"segments": case["cells"] ** 2}
        row["added_bytes"] = {way: np.median(sizes) for way, sizes in added.items()}
        row["added_bytes_range"] = {way: [min(s), max(s)] for way, s in added.items()}
        rows.append(case | row)
        megabytes = {way: sorted((sizes // 10**6).tolist()) for way, sizes in added.items()}
        print(case, megabytes, flush=True)
    content = {"rows": rows, "repeats": REPEATS}
    content["provenance"] = results.provenance(0, torch.device("cpu"))
    print(f"wrote {results.shown(results.write_json(out / 'memory.json', content))}")


def peak_memory(way: str, masks: int, cells: int, side: int) -> int | None:
    """The peak memory of this process in bytes after explaining one image: by the `lime` package,
    by this project, or not at all (`nothing`)."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10)).eval()
    normalization: Any = ((0.5,) * 3, (0.25,) * 3)
    model = imagenet.ImageModel(network, "means", "", *normalization, side, tuple("abcdefghij"), "")
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    chosen = replace(images.IMAGE_SETTINGS, segmentation="grid", n_segments=cells)
    segments, d, values = images.prepare(model, image, chosen, [0])
    if way == "package":
        lime_image.LimeImageExplainer(random_state=0).explain_instance(
            image,
            lambda x: softmax(images.predict(model, x), 1),
            num_samples=masks,
            segmentation_fn=lambda _: segments,
        )
    elif way == "ours":
        core.explain(values, d, replace(images.SETTINGS, samples=masks))
    return cli.peak_memory_bytes(torch.device("cpu"))


if __name__ == "__main__":
    cli.run(main)
