"""npz files and image folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codesign.data.datasets import load_dataset
from codesign.errors import InputError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 1), (6, 8, 9, 3), (6, 3, 8, 9), (6, 1, 8, 9)])
def test_npz_layouts(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "set.npz"
    np.savez(path, x=x, y=np.arange(6) % 3)
    for name in (str(path), f"npz:{path}"):
        read = load_dataset(name)
        channels = 3 if 3 in shape[1:] else 1
        assert read.images.shape == (6, channels, 8, 9)
        # One pixel, found by hand in every layout.
        expected = x[4, 5, 6] if len(shape) == 3 else x[4, 5, 6, channels - 1] if shape[3] < 4 else x[4, -1, 5, 6]
        assert read.images[4, channels - 1, 5, 6] == expected
        assert read.class_names == ("0", "1", "2")
        assert read.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_npz_class_names_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    x = np.zeros((2, 4, 4), np.uint8)
    np.savez(path, x_train=x, y_train=[0, 1], x_test=x + 1, y_test=[1, 1], class_names=["cat", "dog", "eel"])
    train, test = load_dataset(str(path), split="train"), load_dataset(str(path), split="test")
    assert train.class_names == test.class_names == ("cat", "dog", "eel")
    assert train.images.max() == 0
    assert test.images.min() == 1


def test_plain_npz_is_never_training_data(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros((2, 4, 4), np.uint8), y=[0, 1])
    with pytest.raises(InputError, match="x_train and y_train"):
        load_dataset(str(path), split="train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 4))}, r"must hold x and y \(got only x\)"),
        ({"x": np.zeros((2, 4, 4)), "y": [0, 1]}, "must be uint8"),
        ({"x": np.zeros((2, 4), np.uint8), "y": [0, 1]}, r"\(2, 4\)"),
        ({"x": np.zeros((2, 4, 4, 4), np.uint8), "y": [0, 1]}, "1 or 3 channels"),
        ({"x": np.zeros((2, 3, 9, 3), np.uint8), "y": [0, 1]}, "both axes could be the channels"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0]}, "must be 2 integers"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0.0, 1.0]}, "must be 2 integers"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, -1]}, r"-1..0"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, 2], "class_names": ["a", "b"]}, r"0..1 \(got 0..2\)"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, 1], "class_names": [1, 2]}, "must be text"),
        ({"x": np.array([{}]), "y": [0]}, "plain arrays"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(str(path))
    assert caught.value.path == path


@pytest.mark.parametrize("keep", [0, 10, 300, 900])
def test_truncated_npz(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros((20, 8, 8), np.uint8), y=np.zeros(20, int))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"complete \.npz archive"):
        load_dataset(str(path))


def test_damaged_byte_in_npz(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=np.arange(1280, dtype=np.uint8).reshape(20, 8, 8), y=np.zeros(20, int))
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"complete \.npz archive"):
        load_dataset(str(path))


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="the CIFAR-10 images are not here")
def test_cifar_npz_equals_the_png() -> None:
    read = load_dataset(str(SHARED / "cifar10" / "cifar10_test1000.npz"))
    assert read.images.shape == (1000, 3, 32, 32)
    with Image.open(SHARED / "cifar10" / "cifar10_batch_50.png") as png:
        assert (np.asarray(png).reshape(1000, 32, 32, 3).transpose(0, 3, 1, 2) == read.images).all()


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for i in range(5):
        save_image(tmp_path / "f" / ("ant", "bee")[i % 2] / f"{i}.png", rng.integers(0, 256, (8, 6, 3), dtype=np.uint8))
    return tmp_path / "f"


def test_image_folder(folder: Path) -> None:
    read = load_dataset(f"imagefolder:{folder}")
    assert read.class_names == ("ant", "bee")
    assert read.labels.tolist() == [0, 0, 0, 1, 1]
    assert read.images.shape == (5, 3, 8, 6)
    with Image.open(folder / "bee" / "1.png") as image:
        assert (np.asarray(image).transpose(2, 0, 1) == read.images[3]).all()
    assert read.source["files"] == 5
    assert read.source["options"]["resize"] is None


def test_image_folder_hash_follows_content_and_names(folder: Path) -> None:
    before = load_dataset(f"imagefolder:{folder}").source["sha256"]
    assert load_dataset(f"imagefolder:{folder}").source["sha256"] == before
    (folder / "bee" / "1.png").rename(folder / "bee" / "9.png")
    assert load_dataset(f"imagefolder:{folder}").source["sha256"] != before


def test_image_folder_options(folder: Path) -> None:
    read = load_dataset(f"imagefolder:{folder}?resize=12&crop=10&channels=1&per_class=2")
    assert read.images.shape == (4, 1, 10, 10)
    assert read.labels.tolist() == [0, 0, 1, 1]


def test_crop_takes_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[1:4, 2:5] = 200
    save_image(tmp_path / "a" / "x.png", pixels)
    read = load_dataset(f"imagefolder:{tmp_path}?crop=3")
    assert (read.images == 200).all()


def test_split_folders(folder: Path) -> None:
    root = folder.parent / "with_splits"
    save_image(root / "train" / "ant" / "a.png", np.zeros((4, 4, 3), np.uint8))
    save_image(root / "val" / "ant" / "b.png", np.ones((4, 4, 3), np.uint8))
    assert load_dataset(f"imagefolder:{root}", split="train").images.max() == 0
    assert load_dataset(f"imagefolder:{root}", split="test").images.min() == 1
    with pytest.raises(InputError, match="folder train for the train split"):
        load_dataset(f"imagefolder:{folder}", split="train")


def test_sizes_that_differ_need_a_policy(folder: Path) -> None:
    save_image(folder / "bee" / "wide.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"one size \(got \(8, 9\) here, \(8, 6\) in .*resize=256&crop=224"):
        load_dataset(f"imagefolder:{folder}")
    assert load_dataset(f"imagefolder:{folder}?resize=8&crop=6").images.shape == (6, 3, 6, 6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("size=3", "unknown option of imagefolder .got size"),
        ("crop=0", "positive integer"),
        ("crop=x", "positive integer"),
        ("channels=2", "1 or 3"),
        ("crop=7", "at least 7 pixels"),
    ],
)
def test_bad_options(folder: Path, option: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(f"imagefolder:{folder}?{option}")


def test_bad_folders(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(f"imagefolder:{tmp_path / 'none'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="one folder a class"):
        load_dataset(f"imagefolder:{tmp_path / 'empty'}")
    (folder / "cow").mkdir()
    with pytest.raises(InputError, match="must hold images"):
        load_dataset(f"imagefolder:{folder}")


def test_truncated_image(folder: Path) -> None:
    path = folder / "ant" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="must be complete") as caught:
        load_dataset(f"imagefolder:{folder}")
    assert caught.value.path == path


def test_unknown_name_is_answered_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean fashion_mnist"):
        load_dataset("fashion-mnist")
