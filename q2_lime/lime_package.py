"""The `lime` package with its default settings, for comparison with this project's LIME.

The package's explanations are measured like ours: fidelity on held-out masks, agreement of seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lime import lime_image, lime_text
from scipy.special import softmax

from common.imagenet import ImageModel
from q2_lime import core, stability
from q2_lime.images import predict
from q2_lime.text import Post

TEXT_SAMPLES, IMAGE_SAMPLES = 5000, 1000  # the package's defaults
KERNEL_WIDTH = 0.25  # the package's default, as in `core.kernel`


@dataclass(frozen=True)
class PackageExplanation:
    """An explanation by the package.

    Attributes:
        weights: (d,) for words or (d, K) for segments, in this project's order.
        intercept: for the (first) class; score: in-sample R^2.
        explanation: the package's own object.
    """

    weights: np.ndarray
    intercept: float
    score: float
    explanation: object


def explain_text(
    post: Post,
    classify: Callable[[list[str]], np.ndarray],
    label: int,
    classes: tuple[str, ...],
    samples: int,
    seed: int,
) -> PackageExplanation:
    """Explains a text with the package's text explainer.

    Its features are case-sensitive and include one-letter words. The weights of a word's forms are
    added up; words that this project does not use are ignored.
    """
    explainer = lime_text.LimeTextExplainer(class_names=list(classes), random_state=seed)
    result = explainer.explain_instance(
        post.text, classify, labels=(label,), num_features=10**6, num_samples=samples
    )
    numbers = {word: k for k, word in enumerate(post.words)}
    weights = np.zeros(len(post.words))
    for word, weight in result.as_list(label):
        if str(word).lower() in numbers:
            weights[numbers[str(word).lower()]] += weight
    return PackageExplanation(weights, float(result.intercept[label]), float(result.score), result)


def text_fidelity(
    explained: PackageExplanation,
    classify: Callable[[list[str]], np.ndarray],
    label: int,
    count: int,
    rng: np.random.Generator,
) -> float:
    """Held-out fidelity (weighted R^2) of `explain_text` on `count` new masks of its features."""
    words = explained.explanation.domain_mapper.indexed_string
    weights = np.zeros((words.num_words(), 1))
    for number, weight in explained.explanation.local_exp[label]:
        weights[number] = weight
    masks, sample_weights = core.draw_lime_text(count, len(weights), KERNEL_WIDTH, rng)
    texts = [words.inverse_removing(np.flatnonzero(~mask)) for mask in masks]
    surrogate = core.Surrogate(weights, np.array([explained.intercept]))
    return float(core.fidelity(surrogate, masks, classify(texts)[:, [label]], sample_weights)[0])


def explain_image(
    image: np.ndarray,
    segments: np.ndarray,
    fill: str,
    model: ImageModel,
    classes: list[int],
    samples: int,
    seed: int,
) -> PackageExplanation:
    """Explains an image with the package's image explainer, given our segments (H, W) and fill."""
    explainer = lime_image.LimeImageExplainer(random_state=seed)
    result = explainer.explain_instance(
        image,
        lambda batch: softmax(predict(model, batch), axis=1),
        labels=tuple(reversed(classes)),  # its `score` is that of the last label
        top_labels=None,
        hide_color={"mean": None, "gray": 128, "black": 0}[fill],
        num_features=10**6,
        num_samples=samples,
        segmentation_fn=lambda _: segments,
    )
    weights = np.zeros((int(segments.max()) + 1, len(classes)))
    for column, label in enumerate(classes):
        for segment, weight in result.local_exp[label]:
            weights[segment, column] = weight
    first = classes[0]
    score = result.score[first] if isinstance(result.score, dict) else result.score
    return PackageExplanation(weights, float(result.intercept[first]), float(score), result)


def image_fidelity(
    explained: PackageExplanation, values: core.ValueFunction, count: int, rng: np.random.Generator
) -> float:
    """Held-out fidelity of `explain_image` for its first class; `values` gives probabilities."""
    masks, sample_weights = core.draw_lime(count, len(explained.weights), KERNEL_WIDTH, rng)
    surrogate = core.Surrogate(explained.weights[:, :1], np.array([explained.intercept]))
    return float(core.fidelity(surrogate, masks, values(masks)[:, :1], sample_weights)[0])


def row_and_card(
    fidelity: float, score: float, agreement: dict[str, float], calls: int, top_k: int
) -> tuple[dict, list[str]]:
    """The results and the summary lines of an explanation by the package."""
    verdict = stability.verdict(fidelity, agreement["jaccard"])
    row = {"fidelity": fidelity, "in_sample": score, "model_calls": calls, "settled": None}
    line = f"Held-out fidelity {fidelity:.2f} (in-sample R² {score:.2f}); top-{top_k} overlap"
    line += f" between seeds {agreement['jaccard']:.2f}; {calls:,} model calls."
    return row | vars(verdict), [line, f"{str(verdict).capitalize()}."]
