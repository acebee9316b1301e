"""Images as uint8 arrays: CIFAR-10, CIFAR-10 with planted marks, built-in shapes, user images."""

import hashlib
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from common import synthetic
from common.cli import UserError, first_line, seed_for
from common.results import download, shown

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR10_SHAPES = {
    "x_train": (50000, 32, 32, 3),
    "y_train": (50000,),
    "x_test": (10000, 32, 32, 3),
    "y_test": (10000,),
}
NAMES = ("cifar10", "cifar10-marked", "shapes")
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # EPS, for example, starts Ghostscript
MAX_PIXELS = 80_000_000


@dataclass(frozen=True)
class Dataset:
    """Images and labels."""

    name: str  # one of NAMES
    classes: tuple[str, ...]  # in the order of the labels
    x_train: np.ndarray  # (N, 32, 32, 3) uint8, RGB
    y_train: np.ndarray  # (N,) uint8
    x_test: np.ndarray
    y_test: np.ndarray
    source: str  # a file name or a description
    sha256: str  # of the four arrays
    # (N, 32, 32) bool, the pixels that determine the class of each test image, or None if unknown
    ground_truth_test: np.ndarray | None = None


def draw(labels: np.ndarray, classes: Iterable[str], n: int, seed: int, purpose: str) -> list[int]:
    """`n` random positions of each class in its labels (N,), or all if there are fewer."""
    drawn = []
    for k, name in enumerate(classes):
        rng = np.random.default_rng(seed_for(seed, purpose, name))
        drawn += rng.permutation(np.flatnonzero(labels == k))[:n].tolist()
    return drawn


def load(name: str, folder: str | Path = "data", n_classes: int | None = None) -> Dataset:
    """Loads one of NAMES; CIFAR-10 is read from `folder` or downloaded into it.

    Raises UserError if the data set does not have `n_classes`, the number of a network's classes.
    """
    if name not in NAMES:
        raise UserError(f"unknown data set {name!r}: choose {', '.join(NAMES)}")
    dataset = load_shapes() if name == "shapes" else load_cifar10(folder)
    known = len(dataset.classes)
    if n_classes not in (None, known):
        raise UserError(f"the network has {n_classes} classes and its data set {name} has {known}")
    return with_shortcut(dataset) if name == "cifar10-marked" else dataset


def with_shortcut(cifar10: Dataset) -> Dataset:
    """CIFAR-10 with a colored mark in most training images of one class, and the same test set."""
    label = cifar10.classes.index(synthetic.MARKED_CLASS)
    x_train = synthetic.plant_marks(cifar10.x_train, cifar10.y_train, label, seed=3)
    digest = _hash((x_train, cifar10.y_train, cifar10.x_test, cifar10.y_test))
    return replace(cifar10, name="cifar10-marked", x_train=x_train, sha256=digest)


def load_shapes() -> Dataset:
    """The built-in shapes of common/synthetic.py: 4,000 training and 1,000 test images."""
    train, test = synthetic.make_shapes(4000, seed=1), synthetic.make_shapes(1000, seed=2)
    arrays = (train.images, train.labels, test.images, test.labels)
    source, classes = "made by common/synthetic.py", synthetic.SHAPE_CLASSES
    return Dataset("shapes", classes, *arrays, source, _hash(arrays), test.ground_truth)


def load_cifar10(folder: str | Path) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009) in its official order.

    Reads `folder`/cifar10.npz (uint8 arrays, see CIFAR10_SHAPES) if it exists. Otherwise,
    torchvision reads the official archive from `folder` or downloads it (170 MB). Raises UserError
    if the file is damaged or has other content, or if the download fails.
    """
    file = Path(folder) / "cifar10.npz"
    if file.is_file():
        arrays, source = _from_npz(file), file.name
    else:
        arrays = _from_torchvision(Path(folder))
        source = "torchvision.datasets.CIFAR10 (official archive, MD5 checked)"
    return Dataset("cifar10", CIFAR10_CLASSES, *arrays, source, _hash(arrays))


def _from_npz(file: Path) -> tuple[np.ndarray, ...]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in CIFAR10_SHAPES}
        for key, array in arrays.items():
            if array.shape != CIFAR10_SHAPES[key] or array.dtype != np.uint8:
                raise ValueError(f"{key} is {array.shape} {array.dtype}")
            if array.ndim == 1 and (np.bincount(array, minlength=10) != len(array) // 10).any():
                raise ValueError(f"{key} does not contain 0 to 9 equally often")
    except Exception as error:  # the type depends on which byte is damaged
        advice = "delete it to download CIFAR-10 again, or replace it with a good copy"
        raise UserError(
            f"{file} is damaged or not CIFAR-10 ({first_line(error)}): {advice}"
        ) from None
    return tuple(arrays.values())


def _from_torchvision(folder: Path) -> tuple[np.ndarray, ...]:
    from torchvision.datasets import CIFAR10  # slow to import

    try:
        if not (folder / CIFAR10.base_folder).is_dir():
            download(CIFAR10.url, folder / CIFAR10.filename, ARCHIVE_SHA256)
        unpack = (folder / CIFAR10.filename).is_file()
        parts = [CIFAR10(folder, train=train, download=unpack) for train in (True, False)]
    except (OSError, RuntimeError, UserError) as error:
        raise UserError(
            f"no CIFAR-10 in {shown(folder)} ({first_line(error)}): put cifar10.npz or the "
            "official cifar-10-python.tar.gz there, or use the built-in data with `make demo` "
            "(--dataset shapes)"
        ) from None
    return tuple(a for part in parts for a in (part.data, np.asarray(part.targets, dtype=np.uint8)))


def _hash(arrays: tuple[np.ndarray, ...]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of images (N, H, W, 3) uint8, scaled to 0 to 1."""
    # Computed from counts of the 256 values, which avoids a floating-point copy.
    levels, mean, std = np.arange(256) / 255, [], []
    for channel in np.moveaxis(images, -1, 0):
        share = np.bincount(channel.ravel(), minlength=256) / channel.size
        mean.append(float(share @ levels))
        std.append(float(share @ (levels - mean[-1]) ** 2) ** 0.5)
    return mean, std


def held_out_split(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits a training set; returns the sorted indices of the training and the held-out part.

    The held-out part is stratified by `labels` (N,) and the same in every run; a smaller one is a
    subset of a larger one. `size` must be a multiple of the number of classes.
    """
    classes = np.unique(labels)
    if size % len(classes):
        raise UserError(f"--held-out {size} is not a multiple of the {len(classes)} classes")
    order = np.random.default_rng(20260101).permutation(len(labels))
    chosen = [order[labels[order] == c][: size // len(classes)] for c in classes]
    held_out = np.sort(np.concatenate(chosen))
    if len(held_out) < size or len(held_out) >= len(labels):
        raise UserError(f"--held-out {size} is too many for {len(labels)} training images")
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file, or the first frame of an animation, as (H, W, 3) uint8 RGB.

    Applies the EXIF orientation and puts transparent images on white. Raises UserError if the file
    is missing, not an image, damaged, or has more than MAX_PIXELS pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no image {path}")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            with suppress(Exception):  # of broken EXIF data, raised after the rotation or before it
                ImageOps.exif_transpose(image, in_place=True)
            if image.mode[0] in "IF":
                image = _to_8_bits(image)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        formats = ", ".join(FORMATS)
        raise UserError(f"{path} is not an image that can be read: use {formats}") from None
    except Image.DecompressionBombError:
        limit = f"{MAX_PIXELS // 10**6} million pixels"
        raise UserError(f"{path} has more than {limit}: make it smaller first") from None
    except Exception as error:  # the type depends on which byte is damaged
        raise UserError(f"{path} is a damaged image ({first_line(error)})") from None


def _to_8_bits(image: Image.Image) -> Image.Image:
    """A gray image of 16 or 32 bits in 8 bits; PIL would clip the values, not scale them.

    16-bit values are divided by 257. Others are stretched to their range, unless they lie in 0 to
    255 (floats: 0 to 1).
    """
    values = np.asarray(image, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    low, high = values.min(), values.max()
    if image.mode.startswith("I;16"):
        low, high = 0, 65535
    elif low == high or (low >= 0 and high <= 255):
        low, high = 0, 1 if image.mode == "F" and high <= 1 else 255
    scaled = (values - low) / (high - low) * 255
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def fit_image(image: np.ndarray, side: int, resampling: str = "lanczos") -> np.ndarray:
    """The central square of an image (H, W, 3) uint8, resized to (side, side, 3).

    `resampling` is the name of a filter of Pillow, for example "bicubic".
    """
    method = Image.Resampling[resampling.upper()]
    return np.asarray(ImageOps.fit(Image.fromarray(image), (side, side), method))
