"""LIME's front end for pictures: the parts are superpixels; a hidden superpixel is filled in.

Everything that has to be decided stands in `Choices`; why the defaults are what they are is measured by q2_lime/ablate.py
(outputs/q2_lime/images/ablation.json).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from common.cli import UserError
from common.imagenet import ImageModel
from q2_lime import core

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SEGMENTATIONS = ("slic", "quickshift", "grid")
FILLS = ("mean", "grey", "blur", "black")
VALUES = ("log_odds", "probability")
MOST_REGIONS = 400  # beyond that no affordable number of masks tells the regions apart
BATCH = 64


@dataclass(frozen=True)
class Choices:
    """What is explained, before any mask is drawn.

    Attributes:
        enlarge: key of RESAMPLING, for bringing a small picture to the model's size.
        segmentation: of SEGMENTATIONS.
        regions: about how many; for a grid the number of cells a side; quickshift finds its own number.
        fill: of FILLS: the region's mean colour, middle grey, the blurred picture, black.
        value: of VALUES: the log-odds log p/(1-p) of a class, or its probability p.
    """

    # Most pictures are known to the model this way; of those enlarged by nearest neighbour it knows next to none.
    enlarge: str = "bicubic"
    # Regions follow the things. Quickshift's were less faithful, a 4 x 4 grid as good but blind to what is there.
    segmentation: str = "slic"
    regions: int = 20  # some 14 come out; with 40 and 80 fidelity fell, and of the 7 that 10 gives five leaders say little
    fill: str = "mean"  # grey and black fills were less faithful, a blur as good
    value: str = "log_odds"  # probabilities were far less faithful


CHOICES = Choices()
# width 0.54 shows 85% of the regions: with 70% fidelity fell; 95%, more local still, was more faithful and no steadier. Fair coins (LIME) and
# strata were far less faithful.
# `overlap` and `bound`: the overlap between seeds still rose from 256 to 384 masks. A ridge penalty of 10 shrinks what is there.
SETTINGS = core.Settings(
    sampler="glime", width=0.54, alpha=1.0, bound=384, overlap=0.9, top=5, held_out=64
)


# For networks that see 32 x 32 pixels as they are: squares of 4 x 4 pixels, blurred away, because a square's own mean colour hides little of a
# thing that is of one colour.
SMALL_CHOICES = Choices(segmentation="grid", regions=8, fill="blur")
SMALL_SETTINGS = replace(SETTINGS, bound=768)


def enlarged(image: np.ndarray, side: int, how: str) -> np.ndarray:
    """A picture (H, W, 3) uint8 brought to (side, side, 3); one that is not square loses its edges."""
    height, width = image.shape[:2]
    short = min(height, width)
    box = ((width - short) / 2, (height - short) / 2, (width + short) / 2, (height + short) / 2)
    return np.asarray(Image.fromarray(image).resize((side, side), RESAMPLING[how], box=box))


def segment(picture: np.ndarray, choices: Choices, name: str = "the picture") -> np.ndarray:
    """Superpixels of a picture (H, W, 3) uint8: (H, W) int from 0 without gaps.

    `slic`: k-means in colour and place (Achanta et al., TPAMI 2012); `quickshift`: modes of the density in the same space (Vedaldi &
    Soatto, ECCV 2008), with the settings and the seed of the `lime` package; `grid`: squares, `regions` a side, which on enlarged CIFAR-10
    pictures lie along the original pixels where `regions` divides 32.

    Raises:
        UserError: one region only (a picture of one colour), or more than MOST_REGIONS.
    """
    from skimage.segmentation import quickshift, slic  # slow to import, and needed here alone

    height, width = picture.shape[:2]
    if choices.segmentation == "slic":
        # Labels start at 0: lime compares them with column numbers, so that from 1 on the last region is never hidden.
        labels = slic(
            picture,
            n_segments=choices.regions,
            compactness=10,
            sigma=1,
            start_label=0,
            channel_axis=-1,
        )
    elif choices.segmentation == "quickshift":
        labels = quickshift(picture, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    else:
        rows, columns = (np.arange(n) * choices.regions // n for n in (height, width))
        labels = rows[:, None] * choices.regions + columns
    labels = np.unique(labels, return_inverse=True)[1].reshape(height, width)
    count = int(labels.max()) + 1
    if not np.ptp(picture.reshape(-1, 3), axis=0).any():
        raise UserError(
            f"{name} is all of one colour: hiding a part of it changes nothing, so there is nothing to explain"
        )
    if count < 2:
        raise UserError(
            f"{name} is all one region: there is nothing to tell apart (--segmentation grid cuts it into squares)"
        )
    if count > MOST_REGIONS:
        raise UserError(
            f"{name} falls into {count} regions, more than {MOST_REGIONS}: ask for fewer with --regions"
        )
    return labels


def filling(picture: np.ndarray, labels: np.ndarray, fill: str) -> np.ndarray:
    """What stands where a region is hidden: (H, W, 3) uint8."""
    if fill == "black":
        return np.zeros_like(picture)
    if fill == "grey":
        return np.full_like(picture, 128)
    if fill == "blur":
        sigma = picture.shape[0] / 16
        return np.stack(
            [gaussian_filter(channel, sigma) for channel in np.moveaxis(picture, -1, 0)], axis=-1
        )
    sizes = np.bincount(labels.ravel())
    means = np.stack(
        [
            np.bincount(labels.ravel(), weights=c.ravel()) / sizes
            for c in np.moveaxis(picture, -1, 0)
        ],
        axis=-1,
    )
    return means.round().astype(np.uint8)[labels]


class Perturbed:
    """A picture with any of its regions hidden, as the model takes it, batch by batch.

    Args:
        picture, filled: (H, W, 3) uint8; labels: (H, W) int.
        mean, std: the model's normalisation (of pictures in 0 to 1).
    """

    def __init__(
        self, picture: np.ndarray, filled: np.ndarray, labels: np.ndarray, mean, std, device="cpu"
    ):
        def prepared(image: np.ndarray) -> Tensor:
            x = torch.from_numpy(np.array(image)).to(device).float().div_(255)
            return ((x - torch.tensor(mean, device=device)) / torch.tensor(std, device=device)).to(
                torch.float32
            )

        self.picture, self.filled = prepared(picture), prepared(filled)  # (H, W, 3): channels last
        self.labels = torch.from_numpy(labels).to(device)

    def batch(self, masks: np.ndarray) -> Tensor:
        """(n, 3, H, W) float, channels last in memory, for masks (n, d) bool: a gather, no loop over regions."""
        shown = torch.from_numpy(masks).to(self.labels.device)[:, self.labels]  # (n, H, W)
        return torch.where(shown[..., None], self.picture, self.filled).permute(0, 3, 1, 2)


def logits_of(model: ImageModel, picture: np.ndarray, labels: np.ndarray, fill: str) -> core.Answer:
    """Logits (n, K) of a picture (H, W, 3) for masks (n, d) of its regions, in batches of BATCH."""
    device = next(model.network.parameters()).device
    perturbed = Perturbed(
        picture, filling(picture, labels, fill), labels, model.mean, model.std, device
    )

    @torch.inference_mode()
    def answer(masks: np.ndarray) -> np.ndarray:
        parts = [
            model.network(perturbed.batch(masks[i : i + BATCH]))
            for i in range(0, len(masks), BATCH)
        ]
        return torch.cat(parts).double().cpu().numpy()

    return answer


@torch.inference_mode()
def predict(model: ImageModel, pictures: np.ndarray) -> np.ndarray:
    """Logits (n, K) of pictures (n, H, W, 3), uint8 or whole numbers in floating point, of the model's size."""
    device = next(model.network.parameters()).device
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (model.mean, model.std)
    )
    parts = []
    for i in range(0, len(pictures), BATCH):
        x = (
            torch.from_numpy(np.ascontiguousarray(pictures[i : i + BATCH]))
            .to(device)
            .permute(0, 3, 1, 2)
            .float()
            .div_(255)
        )
        parts.append(model.network((x - mean) / std))
    return torch.cat(parts).double().cpu().numpy()


def explained_values(logits: core.Answer, classes: list[int], value: str) -> core.Answer:
    """What is explained of each of `classes`, (n, len(classes)).

    Log-odds are the difference between a class's logit and the log of the summed exponentials of all others. They are nearly linear in
    what is shown, where a probability bends at 0 and at 1.
    """

    def answer(masks: np.ndarray) -> np.ndarray:
        return transform(logits(masks), classes, value)

    return answer


def transform(logits: np.ndarray, classes: list[int], value: str) -> np.ndarray:
    """Logits (n, K) to the values explained, (n, len(classes))."""
    found = torch.from_numpy(np.asarray(logits))
    if value == "probability":
        return torch.softmax(found, 1)[:, classes].numpy()
    columns = []
    for k in classes:
        others = torch.cat((found[:, :k], found[:, k + 1 :]), dim=1)
        columns.append(found[:, k] - torch.logsumexp(others, dim=1))
    return torch.stack(columns, dim=1).numpy()
