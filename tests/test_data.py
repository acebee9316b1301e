"""Reading CIFAR-10 from either source, and the held-out part."""

import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from common import data
from common.cli import UserError


def fake_cifar10(**changes) -> dict[str, np.ndarray]:
    """Arrays of CIFAR-10's form, all one colour a picture."""
    arrays = {}
    for part, n in (("train", 50000), ("test", 10000)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        arrays[f"x_{part}"] = np.broadcast_to(labels[:, None, None, None] * 20, (n, 32, 32, 3))
        arrays[f"y_{part}"] = labels
    return arrays | changes


@pytest.fixture(scope="module")
def good_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "cifar10.npz"
    np.savez_compressed(path, **fake_cifar10())
    return path


def test_reads_the_file(good_file):
    loaded = data.load_cifar10(good_file.parent)
    assert (
        loaded.x_train.shape == (50000, 32, 32, 3)
        and loaded.classes[3] == "cat"
        and loaded.source == "cifar10.npz"
    )
    expected = hashlib.sha256()
    for array in fake_cifar10().values():
        expected.update(np.ascontiguousarray(array).tobytes())
    assert loaded.sha256 == expected.hexdigest()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"x_train": np.zeros((5, 32, 32, 3), np.uint8)},
            r"x_train is \(5, 32, 32, 3\) uint8, but should be",
        ),
        ({"x_test": np.zeros((10000, 32, 32, 3), np.float32)}, "x_test is .* float32"),
        ({"y_test": np.full(10000, 10, np.uint8)}, "y_test is not 0 to 9"),
        ({"y_train": np.zeros(50000, np.uint8)}, "y_train is not 0 to 9 in equal numbers"),
        ({"y_test": np.array([{"a": "pickle"}] * 3, object)}, "is damaged"),
    ],
)
def test_another_content_is_refused(tmp_path, change, message):
    np.savez_compressed(tmp_path / "cifar10.npz", **fake_cifar10(**change))
    with pytest.raises(UserError, match=message):
        data.load_cifar10(tmp_path)


def test_a_missing_array_is_named(tmp_path):
    arrays = fake_cifar10()
    del arrays["y_test"]
    np.savez_compressed(tmp_path / "cifar10.npz", **arrays)
    with pytest.raises(UserError, match="lacks the array 'y_test'"):
        data.load_cifar10(tmp_path)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_byte_changed(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        middle = (
            archive.getinfo("x_train.npy").header_offset
            + archive.getinfo("x_train.npy").compress_size // 2
        )
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def test_damage_anywhere_is_noticed_in_one_line(tmp_path):
    """Bytes of a small stored archive's headers, one after the other: each is noticed or harmless, never a traceback."""
    np.savez(tmp_path / "small.npz", **{key: np.zeros(3, np.uint8) for key in data.CIFAR10_SHAPES})
    whole = (tmp_path / "small.npz").read_bytes()
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        (tmp_path / "cifar10.npz").write_bytes(changed)
        with pytest.raises(UserError, match="delete it"):
            data.load_cifar10(tmp_path)


@pytest.mark.parametrize(
    "damage", [truncated, one_byte_changed, lambda content: b"", lambda content: b"not a zip"]
)
def test_damage_is_noticed(good_file, tmp_path, damage):
    (tmp_path / "cifar10.npz").write_bytes(damage(good_file.read_bytes()))
    with pytest.raises(UserError, match="damaged.*delete it"):
        data.load_cifar10(tmp_path)


def test_no_file_and_no_network(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(
        UserError, match=r"cifar10\.npz or the official .*cifar-10-python\.tar\.gz .*make demo"
    ):
        data.load_cifar10(tmp_path)


def test_reads_the_official_archive_through_torchvision(tmp_path, monkeypatch):
    """An archive of the official form (and its own MD5 sums, patched in) gives the same arrays as the file."""
    import torchvision

    arrays, sums = fake_cifar10(), {}
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        parts = [
            (f"data_batch_{k + 1}", "train", slice(10000 * k, 10000 * (k + 1))) for k in range(5)
        ]
        for name, part, rows in [*parts, ("test_batch", "test", slice(None))]:
            pixels = arrays[f"x_{part}"][rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
            content = pickle.dumps({"data": pixels, "labels": arrays[f"y_{part}"][rows].tolist()})
            sums[name] = add(archive, name, content)
        sums["batches.meta"] = add(
            archive, "batches.meta", pickle.dumps({"label_names": list(data.CIFAR10_CLASSES)})
        )
    official = torchvision.datasets.CIFAR10
    monkeypatch.setattr(
        official, "tgz_md5", hashlib.md5((tmp_path / official.filename).read_bytes()).hexdigest()
    )
    monkeypatch.setattr(
        official, "train_list", [[f"data_batch_{k}", sums[f"data_batch_{k}"]] for k in range(1, 6)]
    )
    monkeypatch.setattr(official, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(official, "meta", official.meta | {"md5": sums["batches.meta"]})
    loaded = data.load_cifar10(tmp_path)
    assert "official archive" in loaded.source and loaded.y_train.dtype == np.uint8
    for key, array in arrays.items():
        assert np.array_equal(getattr(loaded, key), array)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> str:
    entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
    return hashlib.md5(content).hexdigest()


def test_held_out_part_is_stratified_nested_and_disjoint():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    train, small = data.held_out_split(labels, 50)
    assert len(train) == 950 and not set(train) & set(small)
    assert (np.bincount(labels[small]) == 5).all()
    assert set(small) <= set(data.held_out_split(labels, 200)[1])
    for wrong in (55, 1000, 5000):
        with pytest.raises(UserError, match="--held-out"):
            data.held_out_split(labels, wrong)


def test_channel_statistics():
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    mean, std = data.channel_statistics(images)
    assert np.allclose(mean, (images / 255).mean((0, 1, 2))) and np.allclose(
        std, (images / 255).std((0, 1, 2))
    )


def test_real_cifar10(cifar10):
    """The first test pictures of the official order are a cat, two ships and an airplane."""
    assert [cifar10.classes[k] for k in cifar10.y_test[:4]] == ["cat", "ship", "ship", "airplane"]
    assert (np.bincount(cifar10.y_train) == 5000).all() and (
        np.bincount(cifar10.y_test) == 1000
    ).all()
    mean, std = data.channel_statistics(cifar10.x_train)
    assert np.allclose(mean, (0.4914, 0.4822, 0.4465), atol=2e-4) and np.allclose(
        std, (0.2470, 0.2435, 0.2616), atol=2e-4
    )
