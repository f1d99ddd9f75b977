"""Masks on disk: what is written is read again, by this package and without it, and damage is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codesign.errors import InputError
from codesign.masks.format import pack, unpack
from codesign.masks.reading import MaskSet
from codesign.masks.writing import MaskWriter

DOCUMENT = Path(__file__).parents[2] / "docs" / "mask_format.md"


def random_values(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """About half zeros."""
    return np.maximum(np.random.default_rng(seed).standard_normal(shape), 0).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tensors: an input of 5 samples in two batches, and a weight."""
    target = tmp_path / "masks"
    with MaskWriter(target, attributes={"model": "test", "seed": 3}) as writer:
        stream = writer.stream("conv/1", "inputs", "clean", (3, 2, 3))
        stream.append(random_values(2, 3, 2, 3))
        stream.append(random_values(3, 3, 2, 3, seed=1))
        writer.add_constant("conv/1", "weights", random_values(4, 3))
    return target


def expected_inputs() -> npt.NDArray[np.bool_]:
    return np.concatenate([random_values(2, 3, 2, 3), random_values(3, 3, 2, 3, seed=1)]) != 0


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)))
def test_packing_and_back(mask: npt.NDArray[np.bool_]) -> None:
    packed = pack(mask)
    assert np.array_equal(unpack(packed, mask.shape[1:]), mask)
    flat = mask.reshape(len(mask), -1)
    assert packed.shape == (len(mask), (flat.shape[1] + 7) // 8)
    for n, i in np.ndindex(*flat.shape):  # as the document gives it for C
        assert packed[n, i >> 3] >> (i & 7) & 1 == flat[n, i]


def test_what_is_written_is_read(folder: Path) -> None:
    masks = MaskSet(folder)
    inputs = masks.tensor("conv/1", "inputs", "clean")
    assert len(masks) == 2
    assert masks.manifest.attributes == {"model": "test", "seed": 3}
    assert np.array_equal(inputs.read(), expected_inputs())
    assert np.array_equal(inputs.read(1, 3), expected_inputs()[1:3])
    assert np.array_equal(np.concatenate(list(inputs.chunks(elements=40))), expected_inputs())
    assert [len(chunk) for chunk in inputs.chunks(elements=40)] == [2, 2, 1]
    assert inputs.entry.density == expected_inputs().mean()
    weights = masks.tensor("conv/1", "weights", None)
    assert weights.entry.sample_shape == weights.entry.shape == (4, 3)
    assert np.array_equal(weights.read()[0], random_values(4, 3) != 0)


def test_the_documents_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very lines of docs/mask_format.md, which use nothing of this package."""
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    lines = [line for line in code[1].splitlines() if line]
    assert len(lines) <= 10
    assert "codesign" not in code[1]
    monkeypatch.chdir(folder.parent)
    names: dict[str, Any] = {}
    exec(compile(code[1], str(DOCUMENT), "exec"), names)
    assert np.array_equal(names["masks"]["conv/1:inputs:clean"], expected_inputs())
    assert np.array_equal(names["masks"]["conv/1:weights"], random_values(4, 3) != 0)


def test_the_document_names_every_key(folder: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in (*manifest, *manifest["tensors"][0]):
        assert f"`{key}`" in text, key


def test_a_threshold_is_applied_and_recorded(tmp_path: Path) -> None:
    values = np.array([[0.0, -0.5, 0.2, 0.5001]])
    with MaskWriter(tmp_path / "m") as writer:
        writer.stream("a", "inputs", "adversarial", (4,), threshold=0.5).append(values)
        writer.stream("b", "inputs", "adversarial", (4,)).append(values)
        writer.stream("c", "outputs", "adversarial", (4,), meaning="computed exactly").append(values > 0)
    a, b, c = MaskSet(tmp_path / "m")
    assert a.read().tolist() == [[False, False, False, True]]
    assert (a.entry.threshold, a.entry.meaning) == (0.5, "the element's magnitude is above 0.5")
    assert b.read().tolist() == [[False, True, True, True]]
    assert (b.entry.threshold, b.entry.meaning) == (0.0, "the element is not zero")
    assert c.read().tolist() == [[False, False, True, True]]
    assert c.entry.meaning == "computed exactly"


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_batches_do_not_matter(sizes: list[int]) -> None:
    """The bits depend on the samples, not on how they were batched."""
    values = random_values(sum(sizes), 5)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate([pack(part != 0) for part in parts]), pack(values != 0))


WRITES: dict[str, tuple[Callable[[MaskWriter], object], str]] = {
    "NaN": (
        lambda w: w.stream("a", "inputs", "clean", (2,)).append(np.array([[1.0, np.nan]])),
        r"must|cannot be made of NaN \(got a:inputs:clean\)",
    ),
    "NaN weight": (lambda w: w.add_constant("a", "weights", np.array([np.nan])), "cannot be made of NaN"),
    "wrong shape": (
        lambda w: w.stream("a", "inputs", "clean", (2,)).append(np.ones((3, 4))),
        r"samples of a:inputs:clean must have shape \(2,\) \(got \(3, 4\)\)",
    ),
    "empty shape": (lambda w: w.stream("a", "inputs", "clean", (2, 0)), "must not be empty"),
    "no samples": (lambda w: w.stream("a", "inputs", "clean", (2,)), "at least one sample"),
    "nothing": (lambda _: None, "at least one mask"),
    "twice": (
        lambda w: [w.stream("a", "inputs", "clean", (2,)) for _ in range(2)],
        r"written once \(got a:inputs:clean\)",
    ),
    "changed weight": (
        lambda w: [w.add_constant("a", "weights", np.array([value, 1.0])) for value in (0.0, 1.0)],
        "must not change between two recordings",
    ),
    "negative threshold": (lambda w: w.stream("a", "inputs", "clean", (2,), threshold=-1), "at least 0"),
}


@pytest.mark.parametrize("case", WRITES)
def test_bad_writes_leave_nothing_behind(case: str, tmp_path: Path) -> None:
    write, message = WRITES[case]
    with pytest.raises(InputError, match=message), MaskWriter(tmp_path / "m") as writer:
        write(writer)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_recording_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), MaskWriter(tmp_path / "m") as writer:
        writer.stream("a", "inputs", "clean", (2,)).append(np.ones((3, 2)))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_same_weight_may_come_again(tmp_path: Path) -> None:
    with MaskWriter(tmp_path / "m") as writer:
        for _ in range(2):
            writer.add_constant("a", "weights", np.array([0.0, 2.0]))
    assert len(MaskSet(tmp_path / "m")) == 1


def test_a_folder_is_only_replaced_on_request(folder: Path) -> None:
    with pytest.raises(InputError, match="must not exist yet"), MaskWriter(folder):
        pass
    with MaskWriter(folder, overwrite=True) as writer:
        writer.add_constant("new", "weights", np.ones(3))
    assert [tensor.entry.layer for tensor in MaskSet(folder)] == ["new"]
    other = folder.parent / "documents"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="only a mask folder"), MaskWriter(other, overwrite=True):
        pass
    assert (other / "thesis.txt").exists()


def test_the_writer_must_be_entered(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="context manager"):
        MaskWriter(tmp_path / "m").add_constant("a", "weights", np.ones(2))


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _first(**fields: Any) -> Callable[[Path], object]:
    return lambda folder: _edit(folder, lambda content: content["tensors"][0].update(fields))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), r"must hold manifest\.json"),
    "not JSON": (lambda f: (f / "manifest.json").write_text('{\n"a" 1}'), r"manifest\.json:2: .*must be JSON"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), r"schema version 1 \(got none\)"),
    "version": (lambda f: _edit(f, lambda c: c.update(schema_version=2)), r"schema version 1 \(got 2\)"),
    "unknown key": (_first(colour="red"), r"tensors\.0\.colour: Extra inputs"),
    "missing key": (lambda f: _edit(f, lambda c: c["tensors"][0].pop("file")), r"tensors\.0\.file: Field required"),
    "wrong shape": (_first(shape=[5, 3, 2, 4]), r"24 bits in 3 bytes a sample \(got 18 in 3\)"),
    "more samples": (_first(shape=[6, 3, 2, 3], density=0.0, ones=0), "is truncated: .* takes 18 bytes"),
    "empty": (_first(shape=[0, 3, 2, 3]), "an empty mask"),
    "density": (_first(density=0.9), "density must be ones / elements"),
    "operand": (_first(operand="input"), r"tensors\.0\.operand: .*'inputs', 'weights' or 'outputs'"),
    "outside": (_first(file="../secret"), "must lie in the folder"),
    "twice": (lambda f: _edit(f, lambda c: c["tensors"].append(c["tensors"][0])), r"own name \(got twice"),
    "missing file": (lambda f: next(f.glob("*inputs*")).unlink(), "is missing"),
    "truncated": (lambda f: _resize(next(f.glob("*inputs*")), -1), r"is truncated: .* takes 15 bytes \(got 14 bytes\)"),
    "too long": (lambda f: _resize(next(f.glob("*inputs*")), 1), r"is too long: .* \(got 16 bytes\)"),
}


def _resize(path: Path, change: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_when_opened(case: str, folder: Path) -> None:
    damage, message = DAMAGE[case]
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        MaskSet(folder)
    assert str(folder) in str(caught.value)


def test_changed_bits_are_found_when_first_used(folder: Path) -> None:
    path = next(folder.glob("*inputs*"))
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="must be the one that the manifest describes"):
        MaskSet(folder).tensor("conv/1", "inputs", "clean").read()
    assert MaskSet(folder, check_hashes=False).tensor("conv/1", "inputs", "clean").read().shape == (5, 3, 2, 3)


def test_an_unknown_mask_is_suggested(folder: Path) -> None:
    with pytest.raises(InputError, match="did you mean conv/1:inputs:clean"):
        MaskSet(folder).tensor("conv/1", "inputs", "adversarial")
    assert not MaskSet(folder).has("conv/1", "inputs", "adversarial")


def test_reading_maps_the_file(folder: Path) -> None:
    packed = MaskSet(folder).tensor("conv/1", "inputs", "clean").packed
    assert isinstance(packed, np.memmap)
    assert not packed.flags.writeable
