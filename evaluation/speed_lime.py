"""What an explanation costs and how steady it is, beside the `lime` package, in one run on one machine.

    python evaluation/speed_lime.py                    about ten minutes on two cores
    python evaluation/speed_lime.py --pictures 2 --posts 2

Pictures: CIFAR-10 test pictures, the first one of each of the first classes, an ImageNet classifier, the same enlarged pictures and the same fast
network for all (and once the package with the network as torchvision gives it). (a) The package as it comes: quickshift, 1000 masks, kernel 0.25, probability. (b) The package on this project's regions. (c) This
project's defaults. (d) The same with a fixed quarter of the package's model calls. Each with several seeds; beside each overlap stands what
leading regions drawn at random would reach. Perturbing alone: the same masks turned into pictures by the package's loop and by the gather. Texts:
the package's 5000 strings, and the same number of masks answered from the TF-IDF row.
Writes OUT/lime.json and its receipt; OUT is outputs/benchmarks.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lime import lime_image, lime_text
from scipy.special import softmax
from scipy.stats import hypergeom

from common import cli, data, imagenet, newsgroups, results
from q2_lime import core, images, lime_package, linear, stability, text

TOP = 5


def arguments():
    parser = cli.Parser(__doc__)
    parser.data_option("CIFAR-10, 20newsgroups and weights")
    parser.add_argument("--pictures", type=cli.positive, default=5, metavar="N", help="default: 5")
    parser.add_argument("--posts", type=cli.positive, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a checkpoint, as in q2_lime/explain.py"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of masks (default: 0)")
    parser.add_argument("--out", type=Path, default=results.OUTPUTS / "benchmarks", metavar="DIR")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    dataset, posts = data.load_cifar10(args.data), newsgroups.load_20newsgroups(args.data)
    classifier = linear.load(results.OUTPUTS / "q2_lime/text/svm.npz")
    file = args.weights or imagenet.local_weights(args.data, imagenet.DEFAULT)
    model, plain = imagenet.load(file=file), imagenet.load(file=file, fold=False)
    out = results.output_folder(args.out)

    speed = {
        "as_it_comes": forward(plain, False),
        "channels_last": forward(plain, True),
        "folded_too": forward(model, True),
    }
    cli.keep_freed_memory()  # for everything from here on, the package's explanations among them
    speed["memory_kept_too"] = forward(model, True)

    chosen = [int(np.flatnonzero(dataset.y_test == k % 10)[0]) for k in range(args.pictures)]
    rows = [picture(dataset.x_test[index], index, model, plain, args.seed) for index in chosen]
    for row in rows:
        print(row, flush=True)
    loop = perturbing(dataset.x_test[chosen[0]], model)
    words = [post(posts.test[index], index, classifier, args.seed) for index in range(args.posts)]
    content = {
        "images": {"model": model.name, "rows": rows, "median": medians(rows)},
        "perturbing": loop,
        "pictures_per_second": speed,
        "text": {"rows": words, "median": medians(words)},
    }
    content["provenance"] = results.provenance(
        args.seed,
        torch.device("cpu"),
        data_sha256=dataset.sha256,
        news_sha256=posts.sha256,
        weights_sha256=model.sha256,
    )
    for name in ("images", "text"):
        print(name, content[name]["median"])
    print("perturbing", loop, "forward", speed)
    print(f"wrote {results.shown(out / 'lime.json')}")


def timed(work):
    """What `work()` gives, and the seconds it took."""
    started = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - started


def picture(image: np.ndarray, index: int, model, plain, seed: int) -> dict:
    """The four ways to explain one picture: model calls, seconds, fidelity, overlap between seeds and by chance."""
    enlarged = images.resize(image, model.side, images.IMAGE_SETTINGS.resize)
    top = int(images.predict(model, enlarged[None]).argmax())
    labels = images.segment(enlarged, images.IMAGE_SETTINGS)
    d = int(labels.max()) + 1

    def stock(k: int, model=model) -> tuple[np.ndarray, float, int]:
        explainer = lime_image.LimeImageExplainer(random_state=k)
        own = explainer.explain_instance(
            enlarged,
            lambda x: softmax(images.predict(model, x), 1),
            labels=(top,),
            top_labels=None,
            num_features=10**6,
            num_samples=lime_package.IMAGE_SAMPLES,
        )
        weights = np.zeros(len(own.local_exp[top]))
        for part, weight in own.local_exp[top]:
            weights[part] = weight
        score = own.score[top] if isinstance(own.score, dict) else own.score
        return weights, float(score), lime_package.IMAGE_SAMPLES

    def stock_on_ours(k: int) -> tuple[np.ndarray, float, int]:
        found = lime_package.explain_image(
            enlarged, labels, images.IMAGE_SETTINGS.fill, model, [top], lime_package.IMAGE_SAMPLES, k
        )
        return found.weights[:, 0], found.score, lime_package.IMAGE_SAMPLES

    def ours(k: int, samples: int | None = None) -> tuple[np.ndarray, float, int]:
        regions = images.segment(enlarged, images.IMAGE_SETTINGS)  # part of the time it takes
        logits = images.masked_logits(model, enlarged, regions, images.IMAGE_SETTINGS.fill)
        values = images.explained_values(logits, [top], images.IMAGE_SETTINGS.explained_value)
        found = core.explain(
            values, d, replace(images.SETTINGS, seed=seed + k, samples=samples), index
        )
        return found.weights[:, 0], float(found.fidelity[0]), found.model_calls

    quarter = lime_package.IMAGE_SAMPLES // 4 - images.SETTINGS.held_out - 1
    ways = {
        "package": (stock, 3),
        "package_on_our_regions": (stock_on_ours, 3),
        "ours": (ours, 5),
        "ours_quarter": (lambda k: ours(k, quarter), 5),
    }
    plain.network.to(memory_format=torch.contiguous_format)
    row = {"index": index, "package_plain_network_seconds": timed(lambda: stock(0, plain))[1]}
    for name, (way, seeds) in ways.items():
        runs = [timed(lambda k=k, way=way: way(k)) for k in range(seeds)]
        weights = [found[0] for found, _ in runs]
        row |= {
            f"{name}_regions": len(weights[0]),
            f"{name}_calls": float(np.mean([found[2] for found, _ in runs])),
            f"{name}_seconds": float(np.mean([seconds for _, seconds in runs])),
            f"{name}_fidelity": runs[0][0][
                1
            ],  # the package's: in-sample, of the probability; ours: held-out, of the log-odds
            f"{name}_jaccard": stability.agreement(weights, TOP)["jaccard"],
            f"{name}_jaccard_by_chance": overlap_by_chance(len(weights[0]), TOP),
        }
    return row


def overlap_by_chance(d: int, top: int) -> float:
    """The expected Jaccard overlap of two random sets of `top` out of d: over the hypergeometric distribution of what they share."""
    shared = np.arange(top + 1)
    return float((hypergeom.pmf(shared, d, top, top) * shared / (2 * top - shared)).sum())


def perturbing(image: np.ndarray, model, count: int = 200) -> dict:
    """Seconds to turn the same masks into network input: the package's loop (with the normalisation its classifier needs) and the gather."""
    enlarged = images.resize(image, model.side, images.IMAGE_SETTINGS.resize)
    labels = images.segment(enlarged, replace(images.IMAGE_SETTINGS, segmentation="quickshift"))
    filled = images.filled_image(enlarged, labels, "mean")
    masks = np.random.default_rng(0).random((count, int(labels.max()) + 1)) < 0.5
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))

    def loop() -> list[np.ndarray]:  # as in lime_image.LimeImageExplainer.data_labels
        pictures = []
        for row in masks:
            copied = enlarged.copy()
            hidden = np.zeros(labels.shape).astype(bool)
            for part in np.where(row == 0)[0]:
                hidden[labels == part] = True
            copied[hidden] = filled[hidden]
            pictures.append(copied)
        return pictures

    def prepared(pictures: list[np.ndarray]) -> torch.Tensor:
        x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(255)
        return (x - mean) / std

    def theirs() -> list:
        pictures = loop()
        return [
            prepared(pictures[i : i + 10]) for i in range(0, count, 10)
        ]  # the package asks for ten at a time

    perturbed = images.Perturbed(enlarged, filled, labels, model.mean, model.std)

    def ours() -> list:
        return [perturbed.batch(masks[i : i + images.BATCH]) for i in range(0, count, images.BATCH)]

    a, b = torch.cat(theirs()), torch.cat(ours())
    assert torch.allclose(a, b, atol=1e-5)
    times = {
        name: min(timed(work)[1] for _ in range(3))
        for name, work in (("package", theirs), ("gather", ours))
    }
    return {
        "masks": count,
        "package_seconds": times["package"],
        "seconds": times["gather"],
        "ratio": times["package"] / times["gather"],
    }


def forward(model, channels_last: bool) -> float:
    """Pictures a second of a network in batches of 64."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = model.network.to(memory_format=layout)
    x = torch.randn(64, 3, model.side, model.side).to(memory_format=layout)
    with torch.inference_mode():
        network(x)
        seconds = min(timed(lambda: network(x))[1] for _ in range(4))
    network.to(memory_format=torch.channels_last)
    return 64 / seconds


def post(body: str, index: int, model: linear.LinearModel, seed: int) -> dict:
    """Seconds for one explanation of a post: the package's 5000 strings; ours with as many masks; ours as it comes.

    `same_weights`: the largest difference between the package's weights and ours for the package's own masks, the same probabilities explained.
    """
    parts = text.read(body, model.vocabulary)
    margins = text.answer_linear(parts, model)
    says = int(margins(np.ones((1, len(parts.words)), bool))[0].argmax())
    values = text.explained_values(margins, model, [says], "probability")
    stock, package_seconds = timed(
        lambda: lime_package.explain_text(
            parts, model.probabilities, says, model.classes, lime_package.TEXT_SAMPLES, 0
        )
    )
    fixed = replace(
        text.SETTINGS,
        sampler="lime_text",
        kernel_width=0.25,
        alpha=1.0,
        samples=lime_package.TEXT_SAMPLES,
        held_out=32,
        seed=seed,
    )
    found, seconds = timed(lambda: core.explain(values, len(parts.words), fixed, index))
    usual = text.explained_values(margins, model, [says], "margin")
    _, default_seconds = timed(
        lambda: core.explain(usual, len(parts.words), replace(text.SETTINGS, seed=seed), index)
    )
    return {
        "index": index,
        "words": len(parts.words),
        "package_seconds": package_seconds,
        "seconds": seconds,
        "ratio": package_seconds / seconds,
        "default_seconds": default_seconds,
        "default_ratio": package_seconds / default_seconds,
        "same_weights": same_weights(parts, model, says),
        "rank_overlap_top10": stability.jaccard(stock.weights, found.weights[:, 0], 10),
    }


def same_weights(parts: text.Post, model: linear.LinearModel, says: int, count: int = 500) -> float:
    """The largest difference of weights, relative to the largest weight: the package and ours on the package's masks and features."""
    lowered = parts.text.lower()
    indexed = lime_text.IndexedString(lowered, bow=True)
    explainer = lime_text.LimeTextExplainer(class_names=list(model.classes), random_state=0)
    masks, values, distances = explainer._LimeTextExplainer__data_labels_distances(
        indexed, model.probabilities, count
    )
    _, pairs, _, _ = explainer.base.explain_instance_with_data(
        masks, values, distances, says, masks.shape[1], feature_selection="highest_weights"
    )
    theirs = np.zeros(masks.shape[1])
    for k, weight in pairs:
        theirs[k] = weight
    columns = {str(indexed.word(k)): k for k in range(indexed.num_words())}
    ours_masks = masks[:, [columns[word] for word in parts.words]].astype(bool)
    answers = text.explained_values(text.answer_linear(parts, model), model, [says], "probability")(
        ours_masks
    )
    found = core.fit(masks.astype(float), answers, core.kernel(masks.astype(bool), 0.25), 1.0)
    return float(np.abs(found.weights[:, 0] - theirs).max() / np.abs(theirs).max())


def medians(rows: list[dict]) -> dict[str, float]:
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0] if key != "index"}


if __name__ == "__main__":
    cli.run(main)
