"""CIFAR readers: both official layouts give the same images, and pickles cannot run anything."""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.data.cifar import CIFAR10, CIFAR100, CifarSet, read_cifar
from codesign.data.datasets import load_dataset
from codesign.errors import InputError

N = 12
SMALL10 = replace(CIFAR10, records={"train": N, "test": N})
SMALL100 = replace(CIFAR100, records={"train": N, "test": N})


def write_python(path: Path, data: np.ndarray, labels: list[int], key: bytes = b"labels") -> None:
    path.write_bytes(pickle.dumps({b"batch_label": b"testing", key: labels, b"data": data}, protocol=2))


def write_binary(path: Path, data: np.ndarray, *labels: list[int]) -> None:
    columns = [np.asarray(column, np.uint8)[:, None] for column in labels]
    path.write_bytes(np.hstack([*columns, data]).tobytes())


@pytest.fixture
def data(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (N, 3072), dtype=np.uint8)


LABELS = [i % 10 for i in range(N)]


def test_python_and_binary_layouts_agree(tmp_path: Path, data: np.ndarray) -> None:
    python, binary = tmp_path / "cifar-10-batches-py", tmp_path / "b" / "cifar-10-batches-bin"
    python.mkdir()
    binary.mkdir(parents=True)
    write_python(python / "test_batch", data, LABELS)
    write_binary(binary / "test_batch.bin", data, LABELS)
    a, b = read_cifar(SMALL10, tmp_path, "test"), read_cifar(SMALL10, tmp_path / "b", "test")
    assert (a.images == b.images).all()
    assert a.labels.tolist() == b.labels.tolist() == LABELS
    # The first 1024 values of a record are the red plane, row by row.
    assert a.images[3, 0, 1, 2] == data[3, 34]
    assert a.images[3, 2, 0, 0] == data[3, 2048]


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """Opcode by opcode what Python 2's cPickle wrote into the official files (protocol 2, byte strings)."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"".join(b"M" + struct.pack("<H", size) for size in data.shape) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<I", data.size) + data.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + state + b"U\x06labels" + numbers + b"u."


def test_reads_what_python2_wrote(tmp_path: Path, data: np.ndarray) -> None:
    (tmp_path / "test_batch").write_bytes(python2_pickle(data, LABELS))
    read = read_cifar(SMALL10, tmp_path, "test")
    assert (read.images.reshape(N, -1) == data).all()
    assert read.labels.tolist() == LABELS


def test_training_batches_are_in_order(tmp_path: Path, data: np.ndarray) -> None:
    for i in range(5):
        write_python(tmp_path / f"data_batch_{i + 1}", (data + i).astype(np.uint8), LABELS)
    read = read_cifar(SMALL10, tmp_path, "train")
    assert len(read) == 5 * N
    assert (read.images[4 * N].reshape(-1) == (data[0] + 4).astype(np.uint8)).all()
    assert list(read.source["files"]) == [f"data_batch_{i}" for i in range(1, 6)]


def test_cifar100_uses_fine_labels(tmp_path: Path, data: np.ndarray) -> None:
    fine = [90 + i % 10 for i in range(N)]
    write_binary(tmp_path / "test.bin", data, LABELS, fine)
    binary = read_cifar(SMALL100, tmp_path, "test")
    (tmp_path / "test.bin").unlink()
    write_python(tmp_path / "test", data, fine, b"fine_labels")
    python = read_cifar(SMALL100, tmp_path, "test")
    assert binary.labels.tolist() == python.labels.tolist() == fine
    assert len(binary.class_names) == len(set(binary.class_names)) == 100
    assert list(binary.class_names) == sorted(binary.class_names)


def test_missing_set_names_all_files_and_the_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data_batch_1 or data_batch_1.bin.*cs.toronto.edu"):
        load_dataset("cifar10", data_dir=tmp_path, split="train")


@pytest.mark.parametrize("cut", [1, 3073, 5000])
def test_truncated_binary(tmp_path: Path, data: np.ndarray, cut: int) -> None:
    path = tmp_path / "test_batch.bin"
    write_binary(path, data, LABELS)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated") as caught:
        read_cifar(SMALL10, tmp_path, "test")
    assert caught.value.path == path


@pytest.mark.parametrize("keep", [0, 1, 10, 200, 3000, 30_000])
def test_truncated_pickle(tmp_path: Path, data: np.ndarray, keep: int) -> None:
    path = tmp_path / "test_batch"
    write_python(path, data, LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="complete pickle"):
        read_cifar(SMALL10, tmp_path, "test")


class Touch:
    """A pickle of this object runs a command when an ordinary unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_cannot_run_anything(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Touch(made)}, protocol=2))
    with pytest.raises(InputError, match=r"plain containers only \(got \w+.mkdir\)"):
        read_cifar(SMALL10, tmp_path, "test")
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "uint8"),
        ({b"labels": LABELS}, "must hold data"),
        ({b"data": np.zeros((N, 3071), np.uint8), b"labels": LABELS}, r"\(12, 3071\)"),
        ({b"data": np.zeros((N, 3072), np.float32), b"labels": LABELS}, "float32"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"fine_labels": LABELS}, "must hold labels"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"labels": LABELS[:-1]}, "11 values"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"labels": ["cat"] * N}, "12 integers"),
    ],
)
def test_pickles_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=message):
        read_cifar(SMALL10, tmp_path, "test")


@pytest.mark.parametrize(("cifar", "classes"), [(SMALL10, 10), (SMALL100, 100)])
def test_label_out_of_range(tmp_path: Path, data: np.ndarray, cifar: CifarSet, classes: int) -> None:
    name = cifar.files["test"][0]
    write_python(tmp_path / name, data, [0, classes, *LABELS[2:]], cifar.label_key)
    with pytest.raises(InputError, match=f"0..{classes - 1} .got label {classes} of item 1"):
        read_cifar(cifar, tmp_path, "test")


def test_official_counts_are_required(tmp_path: Path, data: np.ndarray) -> None:
    write_python(tmp_path / "test_batch", data, LABELS)
    with pytest.raises(InputError, match=r"10000 images \(got 12\)"):
        load_dataset("cifar10", data_dir=tmp_path)
