"""Time and agreement of this project's Grad-CAM and LIME, compared with other libraries.

    python evaluation/speed.py                     ten minutes on two otherwise idle cores
    python evaluation/speed.py --only gradcam      one minute
    python evaluation/speed.py --only lime --images 2

Needs requirements-test.txt. Writes to OUT, which is outputs/evaluation:

    speed_gradcam.json   this project, Captum, pytorch-grad-cam; in seconds and forward passes
    speed_lime.json      images: the `lime` package with its defaults and with our segments; ours
                         with its defaults and with a quarter of the package's model calls
    speed_text.json      posts: the package, and ours with the same masks
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from common import cli, data, imagenet, models, newsgroups, results

import numpy as np
import torch
from lime import lime_image, lime_text
from scipy.special import softmax
from scipy.stats import hypergeom

from q1_gradcam import gradcam, recipes
from q2_lime import core, images, linear, samplers, stability, text

BATCH, ROUNDS = 128, 7
TOP, CPU = 5, torch.device("cpu")
PACKAGE_SAMPLES, PACKAGE_TEXT_SAMPLES = 1000, 5000  # the defaults of the `lime` package


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.data_option("CIFAR-10 and weights")
    add = parser.add_argument
    parts = {"gradcam": speed_gradcam, "lime": speed_lime, "text": speed_text}
    add("--only", nargs="+", choices=parts, default=parts, metavar="PART", help=", ".join(parts))
    add("--images", type=cli.whole(1, 10), default=5, metavar="N", help="default: 5")
    add("--posts", type=cli.whole(1, 20), default=10, metavar="N", help="default: 10")
    add("--seed", type=cli.seed, default=0, metavar="N", help="random seed of LIME (default: 0)")
    add("--out", type=Path, default=results.OUTPUTS / "evaluation", metavar="DIR")
    parser.device_option()
    args = parser.parse_args()
    out, device = results.output_folder(args.out), cli.pick_device(args.device)
    for part in args.only:
        content = parts[part](args, device)
        hashes = content.pop("hashes", {})
        used = CPU if part == "text" else device
        content["provenance"] = results.provenance(args.seed, used, **hashes)
        path = results.write_json(out / f"speed_{part}.json", content)
        print(f"wrote {results.shown(path)}")


def timed(work: Callable[[], Any], device: torch.device = CPU) -> tuple[Any, float]:
    """The result of `work()` and its duration in seconds, until the device has finished."""
    start = time.perf_counter()
    result = work()
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
    return result, time.perf_counter() - start


def speed_gradcam(args, device: torch.device) -> dict[str, Any]:
    """Grad-CAM of random images by untrained networks, neither of which affects the time."""
    networks = [gradcam_row(arch, device) for arch in ("compact", "resnet18")]
    return {"images": BATCH, "rounds": ROUNDS, "networks": networks}


def gradcam_row(arch: str, device: torch.device) -> dict[str, Any]:
    """Median times of one network. The variants take turns, so that changes in the speed of the
    machine affect all of them. Only this project folds batch norm into convolutions."""
    try:
        from captum.attr import LayerGradCam
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        raise cli.UserError("missing libraries: pip install -r requirements-test.txt") from None
    torch.manual_seed(0)
    options = recipes.recipe(arch, "cifar10")["options"]
    network = models.build(arch, 10, (0.5,) * 3, (0.25,) * 3, options)
    network = network.eval().to(device, memory_format=torch.channels_last)
    layer = models.STAGES[arch][-1]
    x = torch.rand(BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.arange(BATCH, device=device) % 10
    targets = [ClassifierOutputTarget(int(k)) for k in y]
    module = gradcam.find_layer(network, layer)
    captum = LayerGradCam(network, module)
    prepared = gradcam.prepare(network, x, layer)

    def forward():
        with torch.inference_mode():
            return network(x)

    def pytorch_grad_cam():
        with GradCAM(network, [module]) as method:  # its hooks slow down other forward passes
            return method(x, targets)

    variants = {
        "forward": forward,
        "this project": lambda: gradcam.explain(prepared, x, layer, y).raw,
        "captum": lambda: captum.attribute(x, y, attribute_to_layer_input=False)[:, 0],
        "pytorch-grad-cam": pytorch_grad_cam,
    }
    times = {name: [] for name in variants}
    for _ in range(ROUNDS + 1):
        for name, call in variants.items():
            times[name].append(timed(call, device)[1])
    median = {name: statistics.median(row[1:]) for name, row in times.items()}  # after a warm-up
    forward = median.pop("forward")
    ours, theirs = variants["this project"](), variants["captum"]().detach()
    difference = (ours - theirs).abs().amax((1, 2)) / theirs.abs().amax((1, 2))
    return {
        "arch": arch,
        "layer": layer,
        "variants": {
            name: {"seconds": seconds, "forward_passes": seconds / forward}
            for name, seconds in median.items()
        },
        "largest_relative_difference_to_captum": difference.max().item(),
    }


def speed_lime(args, device: torch.device) -> dict[str, Any]:
    """LIME on enlarged CIFAR-10 test images, the first of each class."""
    dataset = data.load_cifar10(args.data)
    model = imagenet.load(folder=args.data, device=device)
    cli.keep_freed_memory()  # for the package, too
    index = [int(np.flatnonzero(dataset.y_test == k)[0]) for k in range(args.images)]
    found = [image_row(dataset.x_test[k], k, model, args.seed) for k in index]
    median = {
        way: {key: np.median([row[way][key] for row in found]) for key in numbers}
        for way, numbers in found[0].items()
    }
    rows = [{"index": k} | row for k, row in zip(index, found, strict=True)]
    hashes = {"data_sha256": dataset.sha256, "weights_sha256": model.sha256}
    return {"images": {"model": model.name, "rows": rows, "median": median}, "hashes": hashes}


def image_row(image: np.ndarray, index: int, model: imagenet.ImageModel, seed: int) -> dict:
    """For each way to explain an image with several seeds: model calls, seconds, and the overlap of
    the top segments between seeds and between random sets."""
    settings, samples = images.IMAGE_SETTINGS, PACKAGE_SAMPLES
    enlarged = data.fit_image(image, model.side, settings.resize)
    top = int(images.predict(model, enlarged[None]).argmax())

    def package(k: int, segmentation=None) -> tuple[np.ndarray, int]:
        explainer = lime_image.LimeImageExplainer(random_state=k)
        result = explainer.explain_instance(
            enlarged,
            lambda x: softmax(images.predict(model, x), 1),
            labels=(top,),
            top_labels=None,
            num_features=10**6,
            num_samples=samples,
            segmentation_fn=segmentation,
        )
        return np.array([weight for _, weight in sorted(result.local_exp[top])]), samples

    def ours(k: int, samples: int | None = None) -> tuple[np.ndarray, int]:
        _, d, values = images.prepare(model, enlarged, settings, [top])
        lime_settings = replace(images.SETTINGS, seed=seed + k, samples=samples)
        result = core.explain(values, d, lime_settings, index)
        return result.weights[:, 0], result.model_calls

    ways = {
        "package": (package, 3),
        "package_on_our_segments": (lambda k: package(k, lambda x: images.segment(x, settings)), 3),
        "ours": (ours, 5),
        "ours_quarter": (lambda k: ours(k, samples // 4 - 1), 5),
    }
    row = {}
    for name, (explain, seeds) in ways.items():
        runs = [timed(partial(explain, k)) for k in range(seeds)]
        weights = [weights for (weights, _), _ in runs]
        shared = hypergeom(len(weights[0]), TOP, TOP)  # by two random sets of segments
        row[name] = {
            "model_calls": np.mean([calls for (_, calls), _ in runs]),
            "seconds": np.mean([seconds for _, seconds in runs]),
            "jaccard": stability.agreement(weights, TOP)["jaccard"],
            "jaccard_of_random_sets": shared.expect(lambda n: n / (2 * TOP - n)),
        }
    return row


def speed_text(args, device: torch.device) -> dict[str, Any]:
    """LIME on the first test post of each of the first classes, with the SVM."""
    file = results.OUTPUTS / "q2_lime/text/svm.npz"
    model = linear.load(file)
    posts = newsgroups.load(model.dataset, args.data)
    labels = np.array(posts.y_test)
    index = [int(np.flatnonzero(labels == k)[0]) for k in range(args.posts)]
    rows = [post_row(posts.test[k], k, model, args.seed) for k in index]
    return {
        "rows": rows,
        "median_seconds": {
            way: np.median([row["seconds"][way] for row in rows]) for way in rows[0]["seconds"]
        },
        "lowest_ratio": min(row["ratio"] for row in rows),
        "largest_difference": max(row["largest_difference"] for row in rows),
        "hashes": {"data_sha256": posts.sha256, "svm_sha256": results.sha256(file)},
    }


def post_row(body: str, index: int, model: linear.LinearModel, seed: int) -> dict[str, Any]:
    """The median times of explaining a post, and the largest difference between the package's
    weights and ours for the same masks, relative to the largest weight."""
    body = body.lower()  # the package's features are case-sensitive
    explainer = lime_text.LimeTextExplainer(class_names=list(model.classes), random_state=seed)
    fit, drawn = explainer.base.explain_instance_with_data, []
    explainer.base.explain_instance_with_data = lambda *a, **k: drawn.append(a[0]) or fit(*a, **k)
    label = int(model.margins([body])[0].argmax())
    options = {"labels": (label,), "num_samples": PACKAGE_TEXT_SAMPLES, "num_features": 10**6}

    def package():
        return explainer.explain_instance(body, model.probabilities, **options)

    def ours():
        post, rng = text.read(body, model.vocabulary), np.random.default_rng(seed)
        _, values, _ = text.prepare(post, model, "probability")
        samplers.draw_lime_text(*masks.shape, 0.25, rng)  # as the package does
        known, sample_weights = [column[word] for word in post.words], samplers.kernel(masks, 0.25)
        return core.fit(masks.astype(float), values(masks[:, known]), sample_weights, alpha=1.0)

    theirs = package()
    masks, words = drawn[0].astype(bool), theirs.domain_mapper.indexed_string
    column = {str(words.word(k)): k for k in range(words.num_words())}
    weights = np.array([weight for _, weight in sorted(theirs.local_exp[label])])
    difference = np.abs(ours().weights[:, 0] - weights).max() / np.abs(weights).max()
    seconds = {
        work.__name__: statistics.median(timed(work)[1] for _ in range(3))
        for work in (package, ours)
    }
    return {
        "index": index,
        "words": masks.shape[1],
        "seconds": seconds,
        "ratio": seconds["package"] / seconds["ours"],
        "largest_difference": difference,
    }


if __name__ == "__main__":
    cli.run(main)
