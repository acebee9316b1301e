"""Where the pictures come from: CIFAR-10 from a file or from its official source, with or without a planted shortcut, or the
built-in shapes.

Everything is handed out as plain uint8 arrays in memory; there are no loaders and no worker processes.
"""

import hashlib
import http.client
import socket
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common import synthetic
from common.cli import UserError, first_line
from common.results import shown

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_SHAPES = {
    "x_train": (50000, 32, 32, 3),
    "y_train": (50000,),
    "x_test": (10000, 32, 32, 3),
    "y_test": (10000,),
}
NAMES = ("cifar10", "cifar10-marked", "shapes")
SHAPES_SIZE = {"train": 4000, "test": 1000}
DOWNLOAD_TIMEOUT = 8  # seconds without a byte before the download is given up


@dataclass(frozen=True)
class Dataset:
    """Pictures and labels, in memory.

    Attributes:
        name: one of NAMES.
        classes: the class names, in the order of the labels.
        x_train, x_test: (N, 32, 32, 3) uint8, RGB.
        y_train, y_test: (N,) uint8.
        source: where it was read from, in words.
        sha256: hash of the arrays' contents, the same whichever file they came from.
        evidence_test: (N, 32, 32) bool, the pixels that decide the class of each test picture; None where unknown.
    """

    name: str
    classes: tuple[str, ...]
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str
    sha256: str
    evidence_test: np.ndarray | None = None


def load(name: str, folder: str | Path = "data") -> Dataset:
    """Loads the data set called `name`, CIFAR-10 from `folder` (see `load_cifar10`), shapes from nowhere."""
    if name == "cifar10":
        return load_cifar10(folder)
    if name == "cifar10-marked":
        return with_shortcut(load_cifar10(folder))
    if name == "shapes":
        return load_shapes()
    raise UserError(f"unknown data set {name!r}: choose {', '.join(NAMES)}")


def with_shortcut(cifar10: Dataset) -> Dataset:
    """CIFAR-10 with a mark in most training pictures of one class (`common/marks.py`); the test pictures are as they were."""
    number = cifar10.classes.index(synthetic.MARKED_CLASS)
    x_train = synthetic.plant_marks(cifar10.x_train, cifar10.y_train, number, seed=3)
    digest = _hash((x_train, cifar10.y_train, cifar10.x_test, cifar10.y_test))
    return replace(cifar10, name="cifar10-marked", x_train=x_train, sha256=digest)


def load_shapes() -> Dataset:
    """The built-in data set of `common/shapes.py`: 4,000 training and 1,000 test pictures, made in seconds."""
    train = synthetic.make_shapes(SHAPES_SIZE["train"], seed=1)
    test = synthetic.make_shapes(SHAPES_SIZE["test"], seed=2)
    arrays = (train.images, train.labels, test.images, test.labels)
    return Dataset(
        "shapes",
        synthetic.SHAPE_CLASSES,
        *arrays,
        "made by common/shapes.py",
        _hash(arrays),
        test.evidence,
    )


def load_cifar10(folder: str | Path) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009) in its official order.

    Read from `folder/cifar10.npz` where that exists (arrays as in CIFAR10_SHAPES, uint8), otherwise through
    torchvision's CIFAR10 class, which takes the official archive from `folder` or downloads it (170 MB) and checks its
    MD5 sums.

    Raises:
        UserError: the file is damaged or holds something else; there is no file and no network.
    """
    file = Path(folder) / "cifar10.npz"
    arrays = _from_npz(file) if file.is_file() else _from_torchvision(Path(folder))
    source = (
        file.name
        if file.is_file()
        else "torchvision.datasets.CIFAR10 (official archive, MD5 checked)"
    )
    return Dataset("cifar10", CIFAR10_CLASSES, *arrays, source, _hash(arrays))


def _from_npz(file: Path) -> tuple[np.ndarray, ...]:
    advice = "delete it to download CIFAR-10 afresh, or put a good copy there"
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in CIFAR10_SHAPES}
    except KeyError as error:
        raise UserError(f"{file} lacks the array {error.args[0].split()[0]!r}: {advice}") from None
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # What NumPy and zipfile raise depends on which byte is wrong; NotImplementedError is a RuntimeError.
        raise UserError(f"{file} is damaged ({first_line(error)}): {advice}") from None
    for key, shape in CIFAR10_SHAPES.items():
        if arrays[key].shape != shape or arrays[key].dtype != np.uint8:
            found = f"{arrays[key].shape} {arrays[key].dtype}"
            raise UserError(f"{file}: {key} is {found}, but should be {shape} uint8: {advice}")
    for key in ("y_train", "y_test"):
        if not np.array_equal(
            np.bincount(arrays[key], minlength=10), np.full(10, len(arrays[key]) // 10)
        ):
            raise UserError(
                f"{file}: {key} is not 0 to 9 in equal numbers, so this is not CIFAR-10: {advice}"
            )
    return tuple(arrays[key] for key in CIFAR10_SHAPES)


def _from_torchvision(folder: Path) -> tuple[np.ndarray, ...]:
    from torchvision.datasets import CIFAR10  # slow to import, and needed here alone

    archive = folder / "cifar-10-python.tar.gz"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        parts = [CIFAR10(folder, train=train, download=True) for train in (True, False)]
    except (
        OSError,
        RuntimeError,
        http.client.HTTPException,
    ) as error:  # no network, a bad MD5 sum, a broken connection
        raise UserError(
            f"no CIFAR-10 in {shown(folder)} and the download failed ({first_line(error)}): put {shown(folder / 'cifar10.npz')}"
            f" or the official {shown(archive)} there, or use the built-in data with `make demo` (--dataset shapes)"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    return tuple(a for part in parts for a in (part.data, np.asarray(part.targets, dtype=np.uint8)))


def _hash(arrays: tuple[np.ndarray, ...]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each colour of pictures (N, H, W, 3) uint8, on the scale 0 to 1; from counts of the 256
    values, so that no copy in floating point is made."""
    levels, mean, std = np.arange(256) / 255, [], []
    for channel in np.moveaxis(images, -1, 0):
        share = np.bincount(channel.ravel(), minlength=256) / channel.size
        mean.append(float(share @ levels))
        std.append(float(share @ (levels - mean[-1]) ** 2) ** 0.5)
    return mean, std


def held_out_split(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits a training set into a part to train on and a held-out part for choices and progress.

    The held-out part is stratified and does not depend on any seed of the training, so every run and every later script
    leaves out the same pictures; a smaller one is contained in a larger one.

    Args:
        labels: (N,) class of each picture.
        size: how many pictures to hold out, a multiple of the number of classes.

    Returns:
        train, held_out: sorted index arrays.
    """
    classes = np.unique(labels)
    if size % len(classes):
        raise UserError(f"--held-out {size} is not a multiple of the {len(classes)} classes")
    order = np.random.default_rng(20260101).permutation(len(labels))
    chosen = [order[labels[order] == c][: size // len(classes)] for c in classes]
    held_out = np.sort(np.concatenate(chosen))
    if len(held_out) < size or len(held_out) >= len(labels):
        raise UserError(f"--held-out {size} is too many for {len(labels)} training pictures")
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


MAX_PIXELS = 80_000_000  # pixels; beyond that it is a mistake or an attack


def read_image(path: str | Path) -> np.ndarray:
    """Reads a picture as (H, W, 3) uint8: turned as its EXIF note says, transparency laid on white, grey and palette pictures
    brought to RGB. Of an animation the first frame is taken.

    Raises:
        UserError: no such file; not a picture; damaged; far too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no picture {path}")
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path} has {image.width} x {image.height} pixels: make it smaller first"
                )
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode in (
                "I;16",
                "I",
                "F",
            ):  # 16 or 32 bits: stretched to 8, where PIL's own conversion would clip
                values = np.asarray(image, dtype=float)
                span = values.max() - values.min()
                image = Image.fromarray(
                    ((values - values.min()) / (span or 1) * 255).astype(np.uint8)
                )
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise UserError(
            f"{path} is not a picture that can be read: use PNG, JPEG, WebP, GIF, BMP or TIFF"
        ) from None
    except Image.DecompressionBombError:
        raise UserError(f"{path} has far too many pixels: make it smaller first") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"{path} is a damaged picture ({first_line(error)})") from None


def fit_image(image: np.ndarray, side: int) -> np.ndarray:
    """The central square of a picture (H, W, 3), brought to side x side."""
    square = ImageOps.fit(Image.fromarray(image), (side, side), Image.Resampling.LANCZOS)
    return np.asarray(square)
