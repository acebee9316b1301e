"""Grad-CAM and LIME side by side for a user's images, both for the same class."""

import textwrap
from pathlib import Path
from typing import Any

from common import cli, data, metrics, results, user_files
from common.figures import WIDTH, axes_at, plt, show_image, show_map, text_at

import numpy as np

from evaluation.explainers import enlarge
from q1_gradcam import user_images
from q2_lime import image_figures, images, stability, summary

TOP = 0.2  # share of the area


def explain(args, device) -> None:
    """Explains the images args.image and writes OUT/user/NAME.png and NAME.json, and NAME.npz
    with --save-maps."""
    paths = user_files.image_files(args.image)
    classifier = user_images.load(args.model, args.weights, None, args.data, device)

    def explain_one(path: Path) -> None:
        gradcam = user_images.explain(classifier, data.read_image(path), args.target)
        digest, model, name = results.sha256(path), classifier.model, cli.printable(path.name)
        segments, weights, lime = explain_with_lime(model, gradcam, name, digest)
        agreement = agree(gradcam.raw, weights[segments])
        request = {"image_sha256": digest, "weights_sha256": model.sha256}
        request |= {"explained": gradcam.content["explained"]}
        out = results.output_folder((args.out or args.outputs / "evaluation") / "user")
        content = {"image": path.name, "gradcam": gradcam.content, "lime": lime}
        content |= {"agreement": agreement, "request": request}
        content["provenance"] = results.provenance(0, device)
        arrays = {"gradcam": gradcam.raw, "segments": segments, "lime_weights": weights}
        rows = user_images.rows(gradcam, path.name)
        rows.append(("LIME", f"{lime['n_segments']} segments, {summary.one_line(lime)}"))
        rank, overlap, chance = agreement.values()
        text = f"rank correlation {'undefined' if rank is None else format(rank, '.2f')}, overlap "
        text += f"of the top {TOP:.0%} of the area {overlap:.2f} (by chance {chance:.2f})"
        rows.append(("agreement", text))
        drawn = figure(gradcam, segments, weights, rows[1:])
        arrays = arrays if args.save_maps else None
        user_files.save(out, path, paths, drawn, content, rows, arrays)

    user_files.explain_each(paths, explain_one)


def explain_with_lime(
    model, gradcam: user_images.ExplainedImage, name: str, digest: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """LIME for the class and the pixels of a Grad-CAM explanation: segments (H, W), weights (d,),
    and the entry for the results file."""
    settings, how = images.SETTINGS, images.IMAGE_SETTINGS
    if model.side == 32:
        settings, how = images.SMALL_SETTINGS, images.SMALL_IMAGE_SETTINGS
    segments, d, values = images.prepare(model, gradcam.pixels, how, [gradcam.target], name)
    unchanged = images.unchanged_share(gradcam.pixels, segments, how.fill)
    print(f"explaining {name}: at most {stability.max_calls(settings):,} model calls", flush=True)
    found, row = stability.explain(values, d, settings, "own", digest, unchanged=unchanged)
    row = results.plain(results.without_nan({"n_segments": d} | row))
    return segments, found.weights[:, 0], row


def agree(raw: np.ndarray, lime: np.ndarray) -> dict[str, float | None]:
    """Agreement of a Grad-CAM map (h, w) and a LIME map (H, W): rank correlation, and overlap of
    the top areas, which is about TOP / (2 - TOP) for unrelated maps."""
    rng = np.random.default_rng(cli.seed_for(0, "agreement"))
    similar = similarity(enlarge(raw[None], lime.shape), lime[None], rng)
    row = {key: float(values[0]) for key, values in similar.items()}
    return results.without_nan(row | {"top_overlap_by_chance": TOP / (2 - TOP)})


def similarity(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rank correlation and overlap of the top areas (N,) of maps a and b (N, H, W)."""
    return {
        "rank_correlation": metrics.rank_correlation(a, b),
        "top_overlap": metrics.top_overlap(a, b, TOP, rng),
    }


def figure(gradcam: user_images.ExplainedImage, segments: np.ndarray, weights: np.ndarray, rows):
    """Image, Grad-CAM, and LIME's weights; below, the rows of the summary."""
    lines = []
    for label, text in rows:
        first, *more = textwrap.wrap(text, 115)
        lines += [(label, first), *[("", line) for line in more]]
    side, top, bottom = (WIDTH - 0.2) / 3, 0.2, 0.12 + 0.16 * len(lines)
    plot = plt.figure(figsize=(WIDTH, side + top + bottom))
    pixels, content = gradcam.pixels, gradcam.content
    title = f"{content['explained']} {content['probability']:.0%}"
    boxes = [axes_at(plot, 0.02 + k * (side + 0.08), top, side, side) for k in range(3)]
    show_image(boxes[0], pixels, title)
    title = f"Grad-CAM at {content['layer']}"
    show_map(boxes[1], pixels, gradcam.raw, title, gradcam.strength, gradcam.note)
    lime = image_figures.weight_map(pixels, segments, weights)
    show_image(boxes[2], lime, "LIME (blue: for, orange: against)")
    for k, (label, text) in enumerate(lines):
        y = top + side + 0.1 + 0.16 * k
        text_at(plot, 0.02, y, label, fontsize=7, fontweight="bold")
        text_at(plot, 0.75, y, text, fontsize=7)
    return plot
