"""idx readers: what is written is read, and every kind of damage is one clear error."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.data.datasets import load_dataset
from codesign.data.files import FoundFile
from codesign.data.idx import FASHION_MNIST, MNIST, read_idx
from codesign.errors import InputError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def idx_bytes(array: np.ndarray) -> bytes:
    """The idx encoding by its definition: two zero bytes, type 8, rank, big-endian sizes, data."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_split(folder: Path, images: np.ndarray, labels: np.ndarray, *, prefix: str = "t10k", gz: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        content = idx_bytes(array)
        name = f"{prefix}-{stem}"
        (folder / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(content) if gz else content)


@pytest.fixture
def split(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), (np.arange(20) % 10).astype(np.uint8)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_idx_round_trip(shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    read = read_idx(FoundFile(Path("f"), idx_bytes(array), ""), len(shape))
    assert read.shape == tuple(shape)
    assert (read == array).all()


@given(cut=st.integers(1, 60))
def test_every_truncation_is_an_error(cut: int) -> None:
    content = idx_bytes(np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"must hold|begins with"):
        read_idx(FoundFile(Path("f"), content[:-cut], ""), 3)


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("place", [".", "fashion_mnist", "FashionMNIST/raw"])
def test_reads_gz_and_raw_files_where_they_usually_lie(
    tmp_path: Path, split: tuple[np.ndarray, np.ndarray], gz: bool, place: str
) -> None:
    images, labels = split
    write_split(tmp_path / place, images, labels, gz=gz)
    read = load_dataset("fashion_mnist", data_dir=tmp_path)
    assert (read.images[:, 0] == images).all()
    assert (read.labels == labels).all()
    assert read.class_names[9] == "Ankle boot"
    name = "t10k-images-idx3-ubyte" + (".gz" if gz else "")
    stored = (tmp_path / place / name).read_bytes()
    assert read.source["files"][name] == hashlib.sha256(stored).hexdigest()


def test_missing_set_says_what_is_expected_where_and_from_which_source(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset("mnist", data_dir=tmp_path)
    message = str(caught.value)
    for part in ("t10k-images-idx3-ubyte.gz", str(tmp_path / "mnist"), MNIST.origin, "--data-dir"):
        assert part in message


def test_missing_default_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"none of them in data"):
        load_dataset("mnist")


def test_one_missing_file_is_named(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, *split)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"missing: t10k-labels-idx1-ubyte.gz"):
        load_dataset("mnist", data_dir=tmp_path)


def test_other_split_is_not_used(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, *split, prefix="train")
    assert len(load_dataset("mnist", data_dir=tmp_path, split="train")) == 20
    with pytest.raises(InputError, match="none of them"):
        load_dataset("mnist", data_dir=tmp_path, split="test")


def test_truncated_gz(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, *split)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.gz: the file must be a complete gzip file"):
        load_dataset("mnist", data_dir=tmp_path)


def test_wrong_magic_names_the_bytes(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, *split, gz=False)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes((tmp_path / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(InputError, match=r"begins with 00 00 08 03 \(got 00 00 08 01\).*swapped"):
        load_dataset("mnist", data_dir=tmp_path)


def test_counts_must_agree(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, split[0], split[1][:-1])
    with pytest.raises(InputError, match="20 images, 19 labels"):
        load_dataset("mnist", data_dir=tmp_path)


def test_label_out_of_range_is_located(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    labels = split[1].copy()
    labels[7] = 10
    write_split(tmp_path, split[0], labels)
    with pytest.raises(InputError, match="label 10 of item 7"):
        load_dataset("mnist", data_dir=tmp_path)


def test_other_image_size(tmp_path: Path, split: tuple[np.ndarray, np.ndarray]) -> None:
    write_split(tmp_path, split[0][:, :20], split[1])
    with pytest.raises(InputError, match=r"28 x 28 \(got 20 x 28\)"):
        load_dataset("mnist", data_dir=tmp_path)


def test_the_two_sets_share_no_hash() -> None:
    assert not MNIST.sha256 & FASHION_MNIST.sha256
    assert len(MNIST.sha256) == len(FASHION_MNIST.sha256) == 4


@pytest.mark.skipif(not (SHARED / "fashion_mnist").is_dir(), reason="the full Fashion-MNIST files are not here")
def test_official_fashion_mnist() -> None:
    test = load_dataset("fashion_mnist", data_dir=SHARED)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert set(test.source["files"].values()) <= FASHION_MNIST.sha256
    subset = load_dataset("fashion_mnist_1k")
    assert (subset.images == test.images[:1000]).all()
    assert (subset.labels == test.labels[:1000]).all()


@pytest.mark.skipif(not (SHARED / "fashion_mnist").is_dir(), reason="the full Fashion-MNIST files are not here")
def test_fashion_mnist_files_are_not_taken_for_mnist() -> None:
    with pytest.raises(InputError, match="official file of fashion_mnist"):
        load_dataset("mnist", data_dir=SHARED / "fashion_mnist")
