"""The `lime` package beside this project's own arithmetic: run as it comes, its explanations put to the test that ours are put to, and fed with
our explanations to draw its HTML pages."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lime import explanation as lime_explanation
from lime import lime_image, lime_text
from scipy.special import softmax

from common.imagenet import ImageModel
from common.results import write_whole
from q2_lime import core, stability
from q2_lime.images import predict
from q2_lime.text import Post

TEXT_SAMPLES, IMAGE_SAMPLES = 5000, 1000  # the package's defaults
WIDTH = 0.25  # of its kernel, as in `core.kernel`


@dataclass(frozen=True)
class PackageExplanation:
    """What the package says: weights (d,) of our parts, its in-sample R^2, its own object."""

    weights: np.ndarray
    intercept: float
    score: float
    own: object


def text_fidelity(
    found: PackageExplanation,
    classify: Callable[[list[str]], np.ndarray],
    label: int,
    count: int,
    rng: np.random.Generator,
) -> float:
    """The held-out fidelity (weighted R^2) of what `explain_text` found: on `count` fresh masks of the package's own features, drawn and weighed
    as the package does."""
    words = found.own.domain_mapper.indexed_string
    weights = np.zeros((words.num_words(), 1))
    for number, weight in found.own.local_exp[label]:
        weights[number] = weight
    masks, counts = core.draw_lime_text(count, len(weights), WIDTH, rng)
    answers = classify([words.inverse_removing(np.flatnonzero(~mask)) for mask in masks])[
        :, [label]
    ]
    return float(
        core.fidelity(core.Surrogate(weights, np.array([found.intercept])), masks, answers, counts)[
            0
        ]
    )


def image_fidelity(
    found: PackageExplanation, values: core.Answer, count: int, rng: np.random.Generator
) -> float:
    """The same for the first class of what `explain_image` found, given the probabilities `values` (n, K) of its classes for masks."""
    masks, counts = core.draw_lime(count, len(found.weights), WIDTH, rng)
    surrogate = core.Surrogate(found.weights[:, :1], np.array([found.intercept]))
    return float(core.fidelity(surrogate, masks, values(masks)[:, :1], counts)[0])


def row_and_card(
    fidelity: float, score: float, stable: dict[str, float], calls: int, top: int
) -> tuple[dict, list[str]]:
    """What results and figures say of an explanation by the package: its held-out `fidelity`, its own in-sample `score`, the rest as for ours."""
    verdict = stability.verdict(fidelity, stable["jaccard"])
    row = {
        "fidelity": fidelity,
        "in_sample": score,
        "model_calls": calls,
        "settled": None,
        "verdict": verdict,
    }
    overlap = f"top-{top} overlap between seeds {stable['jaccard']:.2f}"
    first = (
        f"Held-out fidelity {fidelity:.2f} (in-sample R² {score:.2f}); {overlap}; {calls:,} calls."
    )
    return row, [first, f"Verdict: {verdict}."]


class _Words:
    """A post as the package's TextDomainMapper wants to see one."""

    def __init__(self, post: Post):
        self.post = post

    def raw_string(self) -> str:
        return self.post.text

    def word(self, number: int) -> str:
        return self.post.words[number]

    def string_position(self, number: int) -> np.ndarray:
        return np.array([start for start, _, word in self.post.spans if word == number])


def explain_text(
    post: Post,
    classify: Callable[[list[str]], np.ndarray],
    label: int,
    classes: tuple[str, ...],
    samples: int,
    seed: int,
) -> PackageExplanation:
    """The package's text explainer with everything else at its default. Its features are words in the case they stand in and one-letter
    words too; the weights of one word's forms are added up, what is no word of ours is left out."""
    explainer = lime_text.LimeTextExplainer(class_names=list(classes), random_state=seed)
    own = explainer.explain_instance(
        post.text, classify, labels=(label,), num_features=10**6, num_samples=samples
    )
    numbers = {word: k for k, word in enumerate(post.words)}
    weights = np.zeros(len(post.words))
    for word, weight in own.as_list(label):
        if str(word).lower() in numbers:
            weights[numbers[str(word).lower()]] += weight
    return PackageExplanation(weights, float(own.intercept[label]), float(own.score), own)


def text_object(
    post: Post,
    weights: np.ndarray,
    intercept: float,
    label: int,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
) -> lime_explanation.Explanation:
    """The package's explanation object, filled with weights (d,) of ours; `as_list`, `as_html` and the rest work on it.

    It shares no random state with anything, so drawing it changes nothing else.
    """
    mapper = lime_text.TextDomainMapper(_Words(post))
    own = lime_explanation.Explanation(
        mapper,
        class_names=list(classes),
        random_state=np.random.RandomState(0),  # noqa: NPY002 (what the package takes)
    )
    own.predict_proba = probabilities
    order = np.argsort(-np.abs(weights), kind="stable")
    own.local_exp = {label: [(int(k), float(weights[k])) for k in order]}
    own.intercept, own.top_labels = {label: intercept}, [label]
    return own


def write_html(path: Path, own: lime_explanation.Explanation, label: int, words: int = 10) -> Path:
    """The package's page for an explanation, its script (1.2 MB) in a file beside it that all pages share.

    The package shows the post as text (it replaces `<`, `>` and `&`), so markup in a post stays text.
    """
    whole = own.local_exp[label]
    own.local_exp[label] = whole[:words]
    own.random_state = np.random.RandomState(0)  # noqa: NPY002  (for the names of the page's parts, so that it is the same each time)
    page = own.as_html(labels=[label], predict_proba=True)
    own.local_exp[label] = whole
    script = (Path(lime_explanation.__file__).parent / "bundle.js").read_text(encoding="utf-8")
    if not (path.parent / "lime.js").is_file():
        write_whole(path.parent / "lime.js", lambda file: file.write(script.encode()))
    page = page.replace(
        f"<script>{script} </script>", '<script src="lime.js" charset="utf-8"></script>'
    )
    return write_whole(path, lambda file: file.write(page.encode()))


def explain_image(
    picture: np.ndarray,
    labels: np.ndarray,
    fill: str,
    model: ImageModel,
    classes: list[int],
    samples: int,
    seed: int,
) -> PackageExplanation:
    """The package's image explainer on our regions (H, W) and fill, everything else at its default. Weights (d, len(classes)).

    Its `score` is the in-sample R^2 of the last label it fits, so the first of `classes` is handed over last.
    """
    hidden = {"mean": None, "grey": 128, "black": 0}[fill]
    explainer = lime_image.LimeImageExplainer(random_state=seed)
    own = explainer.explain_instance(
        picture,
        lambda batch: softmax(predict(model, batch), axis=1),
        labels=tuple(reversed(classes)),
        top_labels=None,
        hide_color=hidden,
        num_features=10**6,
        num_samples=samples,
        segmentation_fn=lambda _: labels,
    )
    weights = np.zeros((int(labels.max()) + 1, len(classes)))
    for column, label in enumerate(classes):
        for part, weight in own.local_exp[label]:
            weights[part, column] = weight
    score = own.score[classes[0]] if isinstance(own.score, dict) else own.score
    return PackageExplanation(weights, float(own.intercept[classes[0]]), float(score), own)


def image_object(
    picture: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    intercept: np.ndarray,
    classes: list[int],
) -> lime_image.ImageExplanation:
    """The package's explanation object for a picture, filled with weights (d, len(classes)) of ours, so that `get_image_and_mask` and what
    else is written for it works on them."""
    own = lime_image.ImageExplanation(picture, labels)
    own.top_labels = list(classes)
    for column, label in enumerate(classes):
        order = np.argsort(-np.abs(weights[:, column]), kind="stable")
        own.local_exp[label] = [(int(k), float(weights[k, column])) for k in order]
        own.intercept[label] = float(intercept[column])
    return own
