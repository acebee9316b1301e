"""The `lime` package on this project's segments, for comparison with q2_lime/core.py."""

from common.imagenet import ImageModel

import numpy as np
from lime import lime_image
from scipy.special import softmax

from q2_lime.images import predict

IMAGE_SAMPLES = 1000  # the package's default


def explain_image(
    image: np.ndarray,
    segments: np.ndarray,
    model: ImageModel,
    classes: list[int],
    samples: int,
    seed: int,
) -> tuple[np.ndarray, float]:
    """Explains the probabilities of `classes` for an image with segments (H, W); the fill is the
    mean. Returns weights (d, K), and the in-sample R^2 for the first class."""
    explainer = lime_image.LimeImageExplainer(random_state=seed)
    result = explainer.explain_instance(
        image,
        lambda batch: softmax(predict(model, batch), axis=1),
        labels=tuple(reversed(classes)),  # its `score` is that of the last label
        top_labels=None,
        num_features=10**6,
        num_samples=samples,
        segmentation_fn=lambda _: segments,
    )
    weights = np.zeros((int(segments.max()) + 1, len(classes)))
    for column, label in enumerate(classes):
        for segment, weight in result.local_exp[label]:
            weights[segment, column] = weight
    score = result.score[classes[0]] if isinstance(result.score, dict) else result.score
    return weights, float(score)
