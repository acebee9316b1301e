"""CIFAR-10 from a file and from the official archive, user images, held-out split, the shapes."""

import hashlib
import io
import pickle
import struct
import tarfile

from common import data, synthetic
from common.cli import UserError
from common.results import sha256

import numpy as np
import pytest
import torchvision
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """CIFAR-10 with 500 and 100 images instead of 50,000 and 10,000."""
    shapes = {"x_train": (500, 32, 32, 3), "y_train": (500,)}
    shapes |= {"x_test": (100, 32, 32, 3), "y_test": (100,)}
    monkeypatch.setattr(data, "CIFAR10_SHAPES", shapes)


def fake_cifar10(**changes) -> dict[str, np.ndarray]:
    """Arrays of these sizes; each image has one gray level."""
    arrays = {}
    for part, n in (("train", 500), ("test", 100)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        arrays[f"x_{part}"] = np.broadcast_to(labels[:, None, None, None] * 20, (n, 32, 32, 3))
        arrays[f"y_{part}"] = labels
    return arrays | changes


@pytest.fixture
def good_file(tmp_path):
    path = tmp_path / "cifar10.npz"
    np.savez_compressed(path, **fake_cifar10())
    return path


def test_reads_the_file(good_file):
    loaded = data.load_cifar10(good_file.parent)
    assert loaded.classes[3] == "cat" and loaded.source == "cifar10.npz"
    for key, array in fake_cifar10().items():
        assert np.array_equal(getattr(loaded, key), array)
    content = b"".join(array.tobytes() for array in fake_cifar10().values())
    assert loaded.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "key, array, message",
    [
        ("x_train", np.zeros((5, 32, 32, 3), np.uint8), r"x_train is \(5, 32, 32, 3\) uint8"),
        ("x_test", np.zeros((100, 32, 32, 3), np.float32), "x_test is .* float32"),
        ("y_train", np.zeros(500, np.uint8), "y_train does not contain 0 to 9 equally often"),
        ("y_test", np.array([{"a": "pickle"}], object), "is damaged"),
    ],
)
def test_other_content_is_refused(tmp_path, key, array, message):
    np.savez(tmp_path / "cifar10.npz", **fake_cifar10(**{key: array}))
    with pytest.raises(UserError, match=message):
        data.load_cifar10(tmp_path)


def test_damage_is_noticed(good_file, tmp_path):
    content = bytearray(good_file.read_bytes())
    half = content[: len(content) // 2]
    content[len(content) // 4] ^= 0xFF  # one byte in the middle of x_train
    for damaged in (half, content, b"", b"not a zip"):
        good_file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged.*delete it"):
            data.load_cifar10(tmp_path)


def test_no_file_and_no_network(tmp_path, offline):
    with pytest.raises(UserError, match=r"cifar10\.npz or the official .*\.tar\.gz .*make demo"):
        data.load_cifar10(tmp_path)
    assert not list(tmp_path.iterdir())


def test_reads_the_official_archive_through_torchvision(tmp_path, monkeypatch):
    """An archive in the official format, with its MD5 sums patched in, gives the same arrays."""
    official, arrays, sums = torchvision.datasets.CIFAR10, fake_cifar10(), {}
    with tarfile.open(tmp_path / official.filename, "w:gz", compresslevel=1) as archive:

        def add(name: str, value: object) -> None:
            content = pickle.dumps(value)
            entry = tarfile.TarInfo(f"{official.base_folder}/{name}")
            entry.size, sums[name] = len(content), hashlib.md5(content).hexdigest()
            archive.addfile(entry, io.BytesIO(content))

        for name, part in (("data_batch_1", "train"), ("test_batch", "test")):
            pixels = arrays[f"x_{part}"].transpose(0, 3, 1, 2).reshape(-1, 3072)
            add(name, {"data": pixels, "labels": arrays[f"y_{part}"].tolist()})
        add("batches.meta", {"label_names": list(data.CIFAR10_CLASSES)})
    whole = hashlib.md5((tmp_path / official.filename).read_bytes()).hexdigest()
    monkeypatch.setattr(official, "tgz_md5", whole)
    monkeypatch.setattr(data, "ARCHIVE_SHA256", sha256(tmp_path / official.filename))
    monkeypatch.setattr(official, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(official, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(official, "meta", official.meta | {"md5": sums["batches.meta"]})
    loaded = data.load_cifar10(tmp_path)
    assert "official archive" in loaded.source and loaded.y_train.dtype == np.uint8
    for key, array in arrays.items():
        assert np.array_equal(getattr(loaded, key), array)


def test_images_of_every_mode_and_size_are_read(tmp_path):
    """The ways in which people store images: all give the same array, or one of the right shape."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    image.save(tmp_path / "plain.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.rotate(90, expand=True).save(tmp_path / "rotated.png", exif=exif)
    for name in ("plain.png", "alpha.png", "rotated.png"):
        assert np.array_equal(data.read_image(tmp_path / name), pixels)
    image.convert("L").save(tmp_path / "gray.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.gif")
    image.convert("CMYK").save(tmp_path / "print.jpg")
    wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(tmp_path / "sixteen.png")
    Image.fromarray(wide.astype(">u2")).save(tmp_path / "big_endian.tiff")
    for path in tmp_path.iterdir():
        assert data.read_image(path).shape == (60, 90, 3)
    for name in ("sixteen.png", "big_endian.tiff"):
        assert (data.read_image(tmp_path / name) == data.read_image(tmp_path / "gray.png")).all()
    Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "tiny.png")
    tiny = data.read_image(tmp_path / "tiny.png")
    assert (tiny == 255).all(), "transparent means white"
    assert data.fit_image(tiny, 32).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.uint16([25700, 35980]), [100, 140]),
        (np.uint16([65406, 65407]), [254, 255]),  # 254.498 and 254.502
        (np.uint16([65535, 65535]), [255, 255]),
        (np.int32([100, 140]), [100, 140]),
        (np.int32([-5, 15]), [0, 255]),
        (np.int32([1000, 1000]), [255, 255]),
        (np.float32([99.6, 140]), [100, 140]),
        (np.float32([0.2, 0.2]), [51, 51]),
    ],
)
def test_levels_of_images_with_more_than_8_bits(tmp_path, values, expected):
    Image.fromarray(values[None]).save(tmp_path / "x.tiff")
    assert data.read_image(tmp_path / "x.tiff")[0, :, 0].tolist() == expected


def test_an_image_with_broken_exif_data_is_read_and_rotated(tmp_path):
    """The resolution in the EXIF data is -1 / 0, which Pillow reads but cannot write."""
    header = struct.pack("<2sHI H", b"II", 42, 8, 2)
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # rotate by 90 degrees clockwise
    resolution = struct.pack("<HHII I ii", 0x011A, 10, 1, 38, 0, -1, 0)
    exif = b"Exif\0\0" + header + orientation + resolution
    Image.new("RGB", (90, 60)).save(tmp_path / "broken.jpg", exif=exif)
    assert data.read_image(tmp_path / "broken.jpg").shape == (90, 60, 3)


def test_other_formats_and_non_finite_values_are_refused(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(UserError, match="nan.tiff .*not finite"):
        data.read_image(tmp_path / "nan.tiff")
    for name in ("a.eps", "a.ppm", "a.pdf"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "a.png")
        with pytest.raises(UserError, match="PNG, JPEG"):
            data.read_image(tmp_path / "a.png")


def test_resizing_keeps_the_central_square():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200
    assert (data.fit_image(wide, 20, "bicubic")[:, 1:-1] > 190).all()
    tiny = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(data.fit_image(tiny, 6, "nearest"), tiny.repeat(3, 0).repeat(3, 1))


def test_held_out_part_is_stratified_nested_and_disjoint():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    train, small = data.held_out_split(labels, 50)
    assert len(train) == 950 and not set(train) & set(small)
    assert (np.bincount(labels[small]) == 5).all()
    assert set(small) <= set(data.held_out_split(labels, 200)[1])
    with pytest.raises(UserError, match="--held-out"):
        data.held_out_split(labels, 55)


@pytest.mark.slow
def test_real_cifar10(cifar10):
    """The first test images, and the published channel statistics."""
    assert [cifar10.classes[k] for k in cifar10.y_test[:4]] == ["cat", "ship", "ship", "airplane"]
    mean, std = data.channel_statistics(cifar10.x_train)
    assert np.allclose(mean, (0.4914, 0.4822, 0.4465), atol=2e-4)
    assert np.allclose(std, (0.2470, 0.2435, 0.2616), atol=2e-4)


def test_only_the_shape_reveals_the_class():
    """With a box of fixed size over the shape, linear classifiers stay at chance (10%)."""
    made = synthetic.make_shapes(1000, seed=7)
    images = made.images.astype(float) / 255
    rows, columns = [
        np.abs(np.arange(32)[None] - made.ground_truth.any(axis).argmax(1)[:, None] - 6)
        for axis in (2, 1)
    ]
    hidden = (rows[:, :, None] < 9) & (columns[:, None, :] < 9)
    assert (hidden | ~made.ground_truth).all()
    images[hidden] = 0.5
    statistics = np.concatenate([images.mean((1, 2)), images.std((1, 2))], 1)
    for features in (statistics, images[:, ::3, ::3].reshape(1000, -1)):
        assert cross_val_score(RidgeClassifier(), features, made.labels, cv=5).mean() < 0.16


@pytest.mark.parametrize("name, area", [("disk", np.pi * 0.95**2), ("frame", 1.7**2 - 0.9**2)])
def test_area_of_the_shape(name, area):
    """In units of the radius squared, worked out by hand."""
    label = synthetic.SHAPE_CLASSES.index(name)
    cover = synthetic.coverage(label, np.array([16.0, 16.0]), 6.0, 0.1)
    assert cover.sum() == pytest.approx(area * 6.0**2, rel=0.02)
