"""The bundled subset, and parts of a set."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.errors import InputError
from codesign.resources import bundled_dir


def test_bundled_subset_is_what_its_readme_says() -> None:
    read = load_dataset("fashion_mnist_1k")
    readme = (bundled_dir() / "data" / "README.md").read_text(encoding="utf-8")
    stored = (bundled_dir() / "data" / "fashion_mnist_test_1k.npz").read_bytes()
    content = read.images.tobytes() + read.labels.astype(np.uint8).tobytes()
    assert read.images.shape == (1000, 1, 28, 28)
    assert hashlib.sha256(stored).hexdigest() in readme
    assert hashlib.sha256(content).hexdigest() in readme
    assert ", ".join(map(str, np.bincount(read.labels))) in readme
    assert read.source["licence"] == "MIT"
    assert read.class_names[0] == "T-shirt/top"


def test_bundled_subset_is_no_training_data() -> None:
    with pytest.raises(InputError, match="is a test set"):
        load_dataset("fashion_mnist_1k", split="train")


def image_set(labels: list[int], classes: int) -> ImageSet:
    n = len(labels)
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    return ImageSet("s", images, np.asarray(labels, np.int64), tuple(map(str, range(classes))))


@st.composite
def sets_and_sizes(draw: st.DrawFn) -> tuple[ImageSet, int]:
    classes = draw(st.integers(1, 5))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=60))
    return image_set(labels, classes), draw(st.integers(1, len(labels)))


@given(sets_and_sizes(), st.integers(0, 5))
def test_seeded_sample_is_stratified_and_reproducible(case: tuple[ImageSet, int], seed: int) -> None:
    images, n = case
    chosen = sample(images, n, seed)
    positions = chosen.images.reshape(-1).tolist()
    assert len(chosen) == n
    assert positions == sorted(set(positions))
    assert (images.labels[positions] == chosen.labels).all()
    classes = len(images.class_names)
    exact = n * np.bincount(images.labels, minlength=classes) / len(images)
    counts = np.bincount(chosen.labels, minlength=classes)
    assert (np.abs(counts - exact) < 1 + 1e-9).all()
    assert sample(images, n, seed).images.tobytes() == chosen.images.tobytes()


def test_sample_without_seed_takes_the_first() -> None:
    chosen = sample(image_set([0, 1, 0, 1, 0], 2), 3)
    assert chosen.images.reshape(-1).tolist() == [0, 1, 2]
    assert chosen.source["sample"] == {"images": 3, "of": 5, "seed": None}


def test_seeds_differ() -> None:
    images = image_set([0] * 50, 1)
    assert sample(images, 10, 1).images.tobytes() != sample(images, 10, 2).images.tobytes()


@pytest.mark.parametrize("n", [0, -1, 6])
def test_sample_size_must_fit(n: int) -> None:
    with pytest.raises(InputError, match=r"1\.\.5"):
        sample(image_set([0] * 5, 1), n)
