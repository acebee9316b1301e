"""In-domain single-deletion score (IDSDS; Hesse et al., arXiv:2407.11910).

Deletion and insertion show a network images that it was never trained on. Here the network is
fine-tuned on images with deleted patches first, so that an image with one deleted patch is in its
domain. The score of a map is the rank correlation, over the patches of an image, of the sum of the
map in a patch with the drop of the logit when that patch is deleted. 1 is perfect, 0 is chance.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from common import cli, distributed, metrics, models
from common.cli import generator

import numpy as np
import torch

from evaluation import scoring
from evaluation.experiments import Setup
from evaluation.explainers import EXPLAINERS, Batch
from q1_gradcam import optimizers, recipes, train
from q1_gradcam.loader import Batches

GRID = 4  # patches per side
MOST_DELETED = 4  # patches of a training image
SIDE = 32 // GRID  # of a patch in pixels
PATCH = np.arange(GRID**2).reshape(GRID, GRID).repeat(SIDE, 0).repeat(SIDE, 1)  # of each pixel
RATE = 0.1  # of the learning rates and the weight decay of the original training
THREADS = 2  # of the training, so that the result does not depend on the number of processes


def idsds(setup: Setup, n: int) -> dict[str, Any]:
    """The score of every explainer on random test images, for the fine-tuned network."""
    tuned = replace(setup, model=fine_tuned(setup))
    batch = tuned.test_batch(n)
    drops = logit_drops(tuned, batch)

    def score(maps: np.ndarray, images: Batch) -> scoring.Scores:
        return {"idsds": patch_correlation(maps, drops[: len(images)])}

    rows, _ = scoring.table(tuned.trial(batch, "idsds"), EXPLAINERS, score, {"idsds": True})
    held_out = setup.split()[1]
    images, labels = setup.dataset.x_train[held_out], setup.dataset.y_train[held_out]
    rng = np.random.default_rng(cli.seed_for(setup.seed, "idsds"))
    patches = rng.integers(0, GRID**2, len(images))
    views = {"whole": images, "one_patch_deleted": without(images, patches, mean_color(setup))}
    return {
        "n": len(batch),
        "patches": GRID**2,
        "methods": rows,
        "accuracy": {
            name: {which: (s.predict(x).argmax(1) == labels).mean() for which, x in views.items()}
            for name, s in (("original", setup), ("fine_tuned", tuned))
        },
    }


def fine_tuned(setup: Setup) -> models.Model:
    """The network after an epoch on its training images with up to MOST_DELETED random patches
    deleted. Of several processes, only the first trains, which saves memory and time."""
    network = copy.deepcopy(setup.model.network)
    network.load_state_dict(distributed.share(lambda _: tuned_weights(setup), [0])[0])
    return replace(setup.model, network=network.eval())


def tuned_weights(setup: Setup) -> dict[str, torch.Tensor]:
    """The state of the fine-tuned network, on the CPU."""
    model, dataset, chosen = setup.model, setup.dataset, setup.split()[0]
    recipe = recipes.recipe(model.arch, model.dataset, epochs=1) | {"whiten_bias_epochs": 1}
    for key in ("lr", "bias_lr", "head_lr", "decay_per_image"):
        recipe[key] *= RATE
    network = copy.deepcopy(model.network)
    augmentation = (recipe["batch"], recipe["translate"], recipe["flip"], setup.seed)
    images, labels = dataset.x_train[chosen], dataset.y_train[chosen]
    batches = WithoutPatches(images, labels, *augmentation, setup.device)
    batches.fill = network.normalise.mean
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        train.train_epoch(network, optimizers.make(network, recipe), batches, recipe, 0, 32)
    finally:
        torch.set_num_threads(threads)
    return {name: value.cpu() for name, value in network.state_dict().items()}


class WithoutPatches(Batches):
    """Batches of images with random patches deleted."""

    fill: torch.Tensor  # (1, 3, 1, 1) what replaces them

    def epoch(self, number: int, side: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for k, (x, y) in enumerate(super().epoch(number, side)):
            shown = random_patches(len(x), generator(self.seed, "patches", k)).to(self.device)
            yield torch.where(shown, x, self.fill), y


def random_patches(n: int, random: torch.Generator) -> torch.Tensor:
    """(n, 1, 32, 32) bool: False in 0 to MOST_DELETED random patches of each image."""
    counts = torch.randint(0, MOST_DELETED + 1, (n, 1), generator=random)
    ranks = torch.rand((n, GRID**2), generator=random).argsort(1).argsort(1)
    return (ranks >= counts)[:, torch.from_numpy(PATCH)][:, None]


def without(images: np.ndarray, patches: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Images (N, 32, 32, 3) uint8, each with one of its `patches` (N,) in the given color."""
    deleted = PATCH == patches[:, None, None]
    return np.where(deleted[..., None], color, images)


def mean_color(setup: Setup) -> np.ndarray:
    """(3,) uint8: the mean color of the training images."""
    mean = setup.model.network.normalise.mean.flatten().cpu().numpy()
    return (255 * mean).round().astype(np.uint8)


def logit_drops(setup: Setup, batch: Batch) -> np.ndarray:
    """(N, GRID^2): by how much the logit of the target falls when each patch is deleted."""
    n, network, patches = len(batch), setup.model.network, np.arange(GRID**2)
    repeated = batch.images.repeat(GRID**2, axis=0)
    changed = without(repeated, np.tile(patches, n), mean_color(setup))
    after = models.logits(network, changed).numpy().reshape(n, GRID**2, -1)
    before = models.logits(network, batch.images).numpy()[:, None]
    return (before - after)[np.arange(n)[:, None], patches, batch.targets[:, None]]


def patch_correlation(maps: np.ndarray, drops: np.ndarray) -> np.ndarray:
    """Spearman correlation (N,) of the patch sums of maps (N, 32, 32) with drops (N, GRID^2).

    NaN where the sums are constant.
    """
    sums = maps.reshape(len(maps), GRID, SIDE, GRID, SIDE).sum((2, 4)).reshape(len(maps), -1)
    return metrics.rank_correlation(sums, drops)
