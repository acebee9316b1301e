"""What each choice does to an explanation: fidelity, stability and time, one factor at a time around the defaults.

    python q2_lime/ablate.py                     both halves; pictures take some ten minutes on two cores
    python q2_lime/ablate.py --half text         seconds

On ten *training* pictures, one of each class, and twenty training posts, one of each class, drawn by seed: the defaults are chosen here, and
what is explained in explain.py and explain_text.py has had no part in it. Writes OUT/images/ablation.{json,png} and OUT/text/ablation.{json,png}, and
their receipts beside them.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from common import cli, data, imagenet, newsgroups, results
from common.figures import save as save_figure
from q2_lime import core, image_figures, images, linear, stability, text

SEEDS = 2  # independent explanations of each picture, for the overlap
SAMPLES, HELD_OUT = 128, 64
KNOWN_OF = 500  # training pictures, to see how well the model knows them
P_TO_WIDTH = {
    p: float((2 * np.log(p / (1 - p))) ** -0.5) for p in (0.7, 0.85, 0.95)
}  # share shown by GLIME -> kernel width

# Factor -> values as they are called, with what they change. The first of each is the default.
PIXELS = {
    "regions": {
        "SLIC 20": {},
        "SLIC 10": {"regions": 10},
        "SLIC 40": {"regions": 40},
        "SLIC 80": {"regions": 80},
        "quickshift": {"segmentation": "quickshift"},
        "grid 4": {"segmentation": "grid", "regions": 4},
        "grid 8": {"segmentation": "grid", "regions": 8},
    },
    "fill": {
        "mean": {},
        "grey": {"fill": "grey"},
        "blur": {"fill": "blur"},
        "black": {"fill": "black"},
    },
    "enlarging": {
        "bicubic": {},
        "nearest": {"enlarge": "nearest"},
        "bilinear": {"enlarge": "bilinear"},
        "lanczos": {"enlarge": "lanczos"},
    },
}
MASKS = {
    "sampler": {
        "GLIME": {},
        "LIME": {"sampler": "lime", "width": 0.25},
        "stratified": {"sampler": "stratified", "width": 0.25},
    },
    "share shown (GLIME)": {
        "0.85": {},
        "0.7": {"width": P_TO_WIDTH[0.7]},
        "0.95": {"width": P_TO_WIDTH[0.95]},
    },
}
KERNEL_WIDTHS = (0.1, 0.25, 0.5, 1.0)  # of the sampler LIME
ALPHAS, SAMPLE_COUNTS = (1.0, 0.1, 10.0), (SAMPLES, 32, 64, 256, 384)


def arguments():
    parser = cli.Parser(__doc__)
    parser.add_argument("--half", choices=("both", "images", "text"), default="both")
    parser.data_option("CIFAR-10, 20newsgroups and weights")
    parser.add_argument(
        "--model", default=imagenet.DEFAULT, metavar="NAME", help="a classifier of torchvision"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a checkpoint, as in explain.py"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of pictures, posts and masks (default: 0)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=results.OUTPUTS / "q2_lime",
        metavar="DIR",
        help="default: outputs/q2_lime",
    )
    parser.device_option()
    return parser.parse_args()


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    if args.half in ("both", "text"):
        write(args, "text", *ablate_text(args), torch.device("cpu"))
    if args.half in ("both", "images"):
        write(args, "images", *ablate_images(args, device), device)


def write(args, half: str, rows: list[dict], about: dict, origin: dict, device) -> None:
    out = results.output_folder(args.out / half)
    what = "ten training pictures" if half == "images" else "twenty training posts"
    title = f"One factor at a time, {what}: medians, quartiles as lines, seconds for one explanation.\nIn bold what the others are varied from"
    save_figure(image_figures.ablation(rows, title, about.get("recognised")), out / "ablation.png")
    provenance = results.provenance(args.seed, device, **origin)
    results.write_json(out / "ablation.json", about | {"provenance": provenance, "rows": rows})
    print(f"wrote {results.shown(out / 'ablation.json')} and the figure beside it")


# --- Pictures ---------------------------------------------------------------------------------------------------------------


def ablate_images(args, device) -> tuple[list[dict], dict, dict]:
    dataset = data.load_cifar10(args.data)
    model = imagenet.load(
        args.model, args.weights or imagenet.local_weights(args.data, args.model), device=device
    )
    chosen = []
    for k, name in enumerate(dataset.classes):
        rng = np.random.default_rng(cli.seed_for(args.seed, "ablation", name))
        chosen.append(int(rng.choice(np.flatnonzero(dataset.y_train == k))))
    usual = replace(images.SETTINGS, samples=SAMPLES, held_out=HELD_OUT, seed=args.seed)

    rows, bar = [], tqdm(total=18, disable=not cli.interactive())
    base = Pool(model, dataset.x_train, chosen, images.CHOICES, usual, max(SAMPLE_COUNTS))
    bar.update()

    def add(factor: str, called: str, pool: "Pool", default: bool, **change) -> None:
        rows.append({"factor": factor, "value": called, "usual": default} | pool.measure(**change))
        if not default or factor == "regions":
            row = rows[-1]
            print(
                f"{factor} {called}: fidelity {row['fidelity']:.2f}, overlap {row['jaccard']:.2f}, {row['regions']:.0f} regions",
                flush=True,
            )

    for factor, values in PIXELS.items():
        for value, change in values.items():
            pool = (
                Pool(model, dataset.x_train, chosen, replace(images.CHOICES, **change), usual)
                if change
                else base
            )
            add(factor, value, pool, not change)
            bar.update()
    for factor, values in MASKS.items():
        for value, change in values.items():
            pool = (
                Pool(model, dataset.x_train, chosen, images.CHOICES, replace(usual, **change))
                if change
                else base
            )
            add(factor, value, pool, not change)
            if value == "LIME":
                coins = pool
            bar.update()
    for width in KERNEL_WIDTHS:
        add("kernel width (LIME)", str(width), coins, False, width=width)
    for count in SAMPLE_COUNTS:
        add("masks", str(count), base, count == SAMPLES, samples=count)
    for alpha in ALPHAS:
        add("ridge penalty", f"{alpha:g}", base, alpha == 1.0, alpha=alpha)
    for value in images.VALUES:
        add(
            "explained value",
            value.replace("_", "-"),
            base,
            value == images.CHOICES.value,
            value=value,
        )
    recognised = {how: known(model, dataset, how, args.seed) for how in images.RESAMPLING}
    print("taken for a kind of their class:", recognised)
    about = {"recognised": recognised, "recognised_of": KNOWN_OF}
    about |= {
        "pictures": chosen,
        "part": "train",
        "model": model.name,
        "choices": vars(images.CHOICES),
    }
    about |= {"settings": vars(usual), "seeds": SEEDS}
    return rows, about, {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}


def known(model, dataset, how: str, seed: int) -> float:
    """The share of KNOWN_OF training pictures that the model takes for a kind of their class when they are enlarged this way: the
    explanation of a model that knows nothing would be worth little, however faithful."""
    rng = np.random.default_rng(cli.seed_for(seed, "known"))
    chosen = rng.choice(len(dataset.x_train), KNOWN_OF, replace=False)
    says = images.predict(
        model, np.stack([images.enlarged(dataset.x_train[i], model.side, how) for i in chosen])
    ).argmax(1)
    kinds = [imagenet.cifar_class(int(k)) for k in says]
    return float(
        np.mean(
            [
                kind == dataset.classes[dataset.y_train[i]]
                for kind, i in zip(kinds, chosen, strict=True)
            ]
        )
    )


class Pool:
    """The model's answers to the masks of one configuration, for some pictures; measured in several ways without asking again."""

    def __init__(
        self,
        model,
        pictures,
        chosen: list[int],
        choices: images.Choices,
        settings: core.Settings,
        most: int = SAMPLES,
    ):
        self.choices, self.settings, self.parts, self.times = choices, settings, [], []
        for index in chosen:
            picture = images.enlarged(pictures[index], model.side, choices.enlarge)
            started = time.perf_counter()
            labels = images.segment(picture, choices)
            d = int(labels.max()) + 1
            segmented = time.perf_counter() - started
            logits = images.logits_of(model, picture, labels, choices.fill)
            full = logits(np.ones((1, d), bool))
            started = time.perf_counter()
            runs = [self._asked(logits, most, d, index, "masks", k) for k in range(SEEDS)]
            self.times.append((segmented, (time.perf_counter() - started) / SEEDS / most))
            held = self._asked(logits, settings.held_out, d, index, "held out")
            self.parts.append((d, int(full[0].argmax()), runs, held))

    def _asked(self, logits, n: int, d: int, *key) -> tuple:
        """Masks (n, d), logits (n, K), what each mask counts for."""
        rng = np.random.default_rng(cli.seed_for(self.settings.seed, "ablation", *key))
        masks, counts = core.SAMPLERS[self.settings.sampler](n, d, self.settings.width, rng)
        return masks, logits(masks), counts

    def measure(
        self,
        samples: int = SAMPLES,
        alpha: float = 1.0,
        value: str | None = None,
        width: float | None = None,
    ) -> dict:
        """Fidelity on held-out masks and overlap between seeds, medians over the pictures, quartiles and all."""
        fidelities, overlaps = [], []
        for _, top, runs, held in self.parts:
            found = []
            for masks, logits, counts in runs:
                counts = core.kernel(masks, width) if width else counts
                values = images.transform(logits[:samples], [top], value or self.choices.value)
                found.append(core.fit(masks[:samples], values, counts[:samples], alpha))
            masks, logits, counts = held
            counts = core.kernel(masks, width) if width else counts
            values = images.transform(logits, [top], value or self.choices.value)
            fidelities.append(float(core.fidelity(found[0], masks, values, counts)[0]))
            overlaps.append(
                stability.stability(
                    [surrogate.weights[:, 0] for surrogate in found], self.settings.top
                )["jaccard"]
            )
        return (
            spread("fidelity", fidelities)
            | spread("jaccard", overlaps)
            | {
                "regions": float(np.median([d for d, *_ in self.parts])),
                "samples": samples,
                "seconds": float(
                    np.median([segmented + samples * mask for segmented, mask in self.times])
                ),
            }
        )


def spread(name: str, values: list[float]) -> dict:
    """Median, quartiles and all values; what is not a number (a constant answer has no fidelity) is left out of the first two."""
    there = [value for value in values if np.isfinite(value)]
    return {
        name: float(np.median(there)),
        f"{name}_quartiles": np.percentile(there, [25, 75]),
        f"{name}_all": results.without_nan(values),
    }


# --- Posts ------------------------------------------------------------------------------------------------------------------


def ablate_text(args) -> tuple[list[dict], dict, dict]:
    posts = newsgroups.load_20newsgroups(args.data)
    model = linear.load(results.OUTPUTS / "q2_lime/text/svm.npz")
    labels, chosen = np.array(posts.y_train), []
    for k, name in enumerate(posts.classes):
        rng = np.random.default_rng(cli.seed_for(args.seed, "ablation", name))
        chosen.append(int(rng.choice(np.flatnonzero(labels == k))))
    parts = [text.read(posts.train[index], model.vocabulary) for index in chosen]
    usual = replace(text.SETTINGS, samples=1000, seed=args.seed)
    rows = []

    def add(factor: str, value: str, default: bool, explained: str = "margin", **change) -> None:
        settings = replace(usual, **change)
        found = {"fidelity": [], "jaccard": [], "truth_correlation": [], "seconds": []}
        for index, post in zip(chosen, parts, strict=True):
            margins = text.answer_linear(post, model)
            says = int(margins(np.ones((1, len(post.words)), bool))[0].argmax())
            values = text.explained_values(margins, model, [says], explained)
            started = time.perf_counter()
            runs = [
                core.explain(values, len(post.words), replace(settings, seed=args.seed + k), index)
                for k in range(SEEDS)
            ]
            found["seconds"].append((time.perf_counter() - started) / SEEDS)
            found["fidelity"].append(float(runs[0].fidelity[0]))
            found["jaccard"].append(
                stability.stability([run.weights[:, 0] for run in runs], settings.top)["jaccard"]
            )
            truth = model.contributions(post.text, list(post.words))[:, says]
            found["truth_correlation"].append(
                float(spearmanr(runs[0].weights[:, 0], truth).statistic)
            )
        row = {
            "factor": factor,
            "value": value,
            "usual": default,
            "words": float(np.median([len(p.words) for p in parts])),
        }
        for key in ("fidelity", "jaccard", "truth_correlation"):
            row |= spread(key, found[key])
        rows.append(row | {"seconds": float(np.median(found["seconds"]))})
        print(
            f"{factor} {value}: fidelity {row['fidelity']:.2f}, overlap {row['jaccard']:.2f}, truth {row['truth_correlation']:.3f}",
            flush=True,
        )

    for name, sampler, width in (
        ("GLIME", "glime", usual.width),
        ("LIME, texts", "lime_text", 0.25),
        ("LIME, pictures", "lime", 0.25),
        ("stratified", "stratified", 0.25),
    ):
        add("sampler", name, sampler == "glime", sampler=sampler, width=width)
    for p, width in P_TO_WIDTH.items():
        add("share shown (GLIME)", str(p), abs(width - usual.width) < 0.01, width=width)
    for n in (300, 1000, 3000, 5000):
        add("masks", str(n), n == 1000, samples=n)
    for alpha in (0.01, 0.1, 1.0, 10.0):
        add("ridge penalty", f"{alpha:g}", alpha == usual.alpha, alpha=alpha)
    for value in text.VALUES:
        add("explained value", value.replace("_", "-"), value == "margin", explained=value)
    about = {
        "posts": chosen,
        "part": "train",
        "model": "svm",
        "settings": vars(usual),
        "seeds": SEEDS,
    }
    return (
        rows,
        about,
        {
            "data_sha256": posts.sha256,
            "svm_sha256": results.sha256(results.OUTPUTS / "q2_lime/text/svm.npz"),
        },
    )


if __name__ == "__main__":
    cli.run(main)
