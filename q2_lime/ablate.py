"""Varies the settings of LIME one at a time and measures fidelity and stability.

    python q2_lime/ablate.py            about ten minutes on two CPU cores

Uses a random training image or post of each class, because the defaults are chosen from these
results, whereas explain.py and explain_text.py explain test data. Writes
OUT/{images,text}/ablation.json and OUT/images/kernel.svg.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common import cli, data, imagenet, newsgroups, results
from common.figures import save as save_figure

import numpy as np
import torch
from scipy.stats import binom, spearmanr

from q2_lime import core, image_figures, images, linear, samplers, stability, text

N_SEEDS = 2  # independent explanations of each input
RECOGNIZED_OF = 500  # training images on which resizing methods are compared
KERNEL_SEGMENTS = 14  # of the kernel figure: the median over the explained images
KERNEL_WIDTHS = (0.1, 0.25, 1.0)  # of the kernel figure
# Share of features that GLIME shows -> kernel width.
WIDTHS = {p: float((2 * np.log(p / (1 - p))) ** -0.5) for p in (0.7, 0.85, 0.95)}
LIME = {"sampler": "lime", "kernel_width": 0.25}
STRATIFIED = {"sampler": "stratified", "kernel_width": 0.25}

# Factor -> name of each value -> what it changes; {} is the default.
Factors = dict[str, dict[str, dict]]
IMAGE_FACTORS: Factors = {
    "segmentation": {
        "SLIC 20": {},
        "SLIC 10": {"n_segments": 10},
        "SLIC 40": {"n_segments": 40},
        "SLIC 80": {"n_segments": 80},
        "quickshift": {"segmentation": "quickshift"},
        "grid 4": {"segmentation": "grid", "n_segments": 4},
        "grid 8": {"segmentation": "grid", "n_segments": 8},
    },
    "fill": {"mean": {}} | {fill: {"fill": fill} for fill in ("gray", "blur", "black")},
    "resize": {"bicubic": {}}
    | {how: {"resize": how} for how in ("nearest", "bilinear", "lanczos")},
    "sampler": {"GLIME": {}, "LIME": LIME, "stratified": STRATIFIED},
    "share shown (GLIME)": {"0.85": {}}
    | {str(p): {"kernel_width": WIDTHS[p]} for p in (0.7, 0.95)},
    "kernel width (LIME)": {str(w): LIME | {"kernel_width": w} for w in (0.1, 0.25, 0.5, 1.0)},
    "samples": {"128": {}} | {str(n): {"samples": n} for n in (32, 64, 256, 384)},
    "ridge penalty": {"1": {}, "0.1": {"alpha": 0.1}, "10": {"alpha": 10.0}},
    "explained value": {"log-odds": {}, "probability": {"explained_value": "probability"}},
}
TEXT_FACTORS: Factors = {
    "sampler": {
        "GLIME": {},
        "LIME, text masks": LIME | {"sampler": "lime_text"},
        "LIME, image masks": LIME,
        "stratified": STRATIFIED,
    },
    # The default width of posts is that of 0.85, rounded to two digits.
    "share shown (GLIME)": {str(p): {"kernel_width": width} for p, width in WIDTHS.items()},
    "samples": {"300": {"samples": 300}, "1000": {}}
    | {str(n): {"samples": n} for n in (3000, 5000)},
    "ridge penalty": {"0.01": {}} | {f"{a:g}": {"alpha": a} for a in (0.1, 1.0, 10.0)},
    "explained value": {
        "margin": {},
        "log-odds": {"explained_value": "log_odds"},
        "probability": {"explained_value": "probability"},
    },
}


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    parser.data_option("CIFAR-10, 20newsgroups and weights")
    add("--seed", type=cli.seed, default=0, metavar="N", help="of inputs and masks (default: 0)")
    default = results.OUTPUTS / "q2_lime"
    add("--out", type=Path, default=default, metavar="DIR", help="default: outputs/q2_lime")
    parser.device_option()
    args = parser.parse_args()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    ablate_text(args)
    ablate_images(args, device)


def measure_all(factors: Factors, measure: Callable[..., list[dict]]) -> list[dict]:
    """The rows of the results file, one for each value of each factor: medians over the inputs.

    `measure(**change)` returns the scores of each input. NaN (of a constant output) is left out.
    """
    rows, default = [], measure()
    for factor, values in factors.items():
        for value, change in values.items():
            measured = measure(**change) if change else default
            row = {"factor": factor, "value": value, "default": not change or value == "0.85"}
            for key in measured[0]:
                scores = [scores[key] for scores in measured]
                row[key] = np.nanmedian(scores)
                row[f"{key}_quartiles"] = np.nanpercentile(scores, [25, 75])
            rows.append(row)
            numbers = f"fidelity {row['fidelity']:.3f}, overlap {row['jaccard']:.2f}"
            print(f"{factor} {value}: {numbers}", flush=True)
    return rows


def draw(labels: np.ndarray, classes: tuple[str, ...], seed: int) -> list[int]:
    """The index of a random training input of each class."""
    rngs = [np.random.default_rng(cli.seed_for(seed, "ablation", name)) for name in classes]
    return [int(rng.choice(np.flatnonzero(labels == k))) for k, rng in enumerate(rngs)]


def write(args, half: str, device, content: dict, **origins: str) -> None:
    out = results.output_folder(args.out / half)
    content["provenance"] = results.provenance(args.seed, device, **origins)
    results.write_json(out / "ablation.json", content)
    print(f"wrote {results.shown(out / 'ablation.json')}")


def ablate_images(args, device: torch.device) -> None:
    dataset = data.load_cifar10(args.data)
    model = imagenet.load(folder=args.data, device=device)
    indices = draw(dataset.y_train, dataset.classes, args.seed)
    default = replace(images.SETTINGS, samples=128, held_out=64, seed=args.seed)

    def measure(**change) -> list[dict]:
        names, measured = vars(images.IMAGE_SETTINGS).keys(), []
        of_image = {key: change.pop(key) for key in names & change.keys()}
        how, settings = replace(images.IMAGE_SETTINGS, **of_image), replace(default, **change)
        sizes = {("masks", k): settings.samples for k in range(N_SEEDS)}
        sizes["held out",] = settings.held_out
        for index in indices:
            image = data.fit_image(dataset.x_train[index], model.side, how.resize)
            _, d, values = images.prepare(model, image, how)
            first, second, held_out = [
                core.draw(values, settings, n, d, core.stream(settings, "ablation", index, *key))
                for key, n in sizes.items()
            ]
            a, b = (core.fit(*run, settings.alpha) for run in (first, second))
            overlap = stability.jaccard(a.weights[:, 0], b.weights[:, 0], settings.top_k)
            fidelity = core.fidelity(a, *held_out)[0]
            measured.append({"fidelity": fidelity, "jaccard": overlap})
        return measured

    rows = measure_all(IMAGE_FACTORS, measure)
    shares = {str(w): effective_share(KERNEL_SEGMENTS, w) for w in KERNEL_WIDTHS}
    content = {
        "recognized": {how: accuracy(model, dataset, how, args.seed) for how in images.RESAMPLING},
        "n_recognized_of": RECOGNIZED_OF,
        "indices": indices,
        "kernel": {"n_segments": KERNEL_SEGMENTS, "effective_share": shares},
        "rows": rows,
    }
    origins = {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}
    write(args, "images", device, content, **origins)
    shown = samplers.glime_probability(default.kernel_width)
    figure = image_figures.kernel(KERNEL_SEGMENTS, KERNEL_WIDTHS, shown)
    save_figure(figure, args.out / "images/kernel.svg")


def accuracy(model: imagenet.ImageModel, dataset: data.Dataset, how: str, seed: int) -> float:
    """Share of random training images whose predicted class belongs to the true class."""
    rng = np.random.default_rng(cli.seed_for(seed, "known"))
    chosen = rng.choice(len(dataset.x_train), RECOGNIZED_OF, replace=False)
    inputs = np.stack([data.fit_image(dataset.x_train[k], model.side, how) for k in chosen])
    mapped = [imagenet.cifar_class(int(k)) for k in images.predict(model, inputs).argmax(1)]
    return float(np.mean(np.array(dataset.classes)[dataset.y_train[chosen]] == mapped))


def effective_share(d: int, width: float) -> float:
    """Effective share (E w)^2 / E w^2 of masks that show each segment with probability 1/2."""
    weights = samplers.kernel(np.tri(d + 1, d, -1), width)  # of masks that show 0, ..., d segments
    share = binom.pmf(range(d + 1), d, 0.5)
    return float((share @ weights) ** 2 / (share @ weights**2))


def ablate_text(args) -> None:
    posts = newsgroups.load_20newsgroups(args.data)
    file = results.OUTPUTS / "q2_lime/text/svm.npz"
    model = linear.load(file)
    indices = draw(np.array(posts.y_train), posts.classes, args.seed)
    parsed = [text.read(posts.train[k], model.vocabulary) for k in indices]
    default = replace(text.SETTINGS, samples=1000, seed=args.seed)

    def measure(explained_value: str = "margin", **change) -> list[dict]:
        measured, settings = [], replace(default, **change)
        for index, post in zip(indices, parsed, strict=True):
            _, values, truth = text.prepare(post, model, explained_value)
            seeded = [replace(settings, seed=args.seed + k) for k in range(N_SEEDS)]
            runs = [core.explain(values, len(post.words), each, index) for each in seeded]
            first, second = (run.weights[:, 0] for run in runs)
            row = {"fidelity": runs[0].fidelity[0]}
            row["jaccard"] = stability.jaccard(first, second, settings.top_k)
            row["ground_truth_correlation"] = spearmanr(first, truth).statistic
            measured.append(row)
        return measured

    rows = measure_all(TEXT_FACTORS, measure)
    content = {"indices": indices, "settings": vars(default), "rows": rows}
    origins = {"data_sha256": posts.sha256, "svm_sha256": results.sha256(file)}
    write(args, "text", torch.device("cpu"), content, **origins)


if __name__ == "__main__":
    cli.run(main)
