"""Each mistake is one clear message with exit code 2; nothing is half-written and no traceback is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from codesign.cli.app import run
from codesign.resources import arch_specs_dir, bundled_dir

MODEL = "fmnist_resnet8_natural"
Failing = Callable[..., str]


@pytest.fixture
def failing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Failing:
    """Run ``codesign evaluate`` with bad arguments; the message it ends with."""

    def call(*arguments: str) -> str:
        out = tmp_path / "out" / "run"
        assert run(["evaluate", *arguments, "--out", str(out)]) == 2
        assert not out.exists()
        assert not out.parent.exists() or list(out.parent.iterdir()) == []
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    return call


def edited(tmp_path: Path, old: str, new: str) -> str:
    """The shipped vector-PE design with one line changed."""
    text = (arch_specs_dir() / "vector_pe_edge.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "edited.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return str(file)


def test_no_model(failing: Failing) -> None:
    assert "name at least one model" in failing()


def test_unknown_model(failing: Failing) -> None:
    assert "resnet20" in failing("resnet21")


def test_checkpoint_with_two_models(failing: Failing) -> None:
    assert "exactly one model" in failing(MODEL, "resnet20", "--checkpoint", "x.pt")


def test_corrupt_checkpoint(failing: Failing, tmp_path: Path) -> None:
    good = (bundled_dir() / "checkpoints" / f"{MODEL}.safetensors").read_bytes()
    bad = tmp_path / "cut.safetensors"
    bad.write_bytes(good[: len(good) // 2])
    assert "cut.safetensors" in failing("resnet8_fmnist", "--checkpoint", str(bad))


def test_checkpoint_of_another_model(failing: Failing, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"fc.weight": np.zeros((10, 7), np.float32), "gru.weight": np.zeros(3, np.float32)}, other)
    message = failing("resnet8_fmnist", "--checkpoint", str(other))
    assert "other.safetensors" in message
    for key in ("fc.weight", "gru.weight", "conv1.weight"):
        assert key in message


def test_truncated_data_file(failing: Failing, tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(bytes.fromhex("00000803 00002710 0000001c 0000001c") + bytes(100))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(bytes.fromhex("00000801 00002710") + bytes(10_000))
    message = failing(MODEL, "--data", "fashion_mnist", "--data-dir", str(tmp_path))
    assert "t10k-images-idx3-ubyte" in message


def test_missing_data_says_which_files_and_from_where(failing: Failing, tmp_path: Path) -> None:
    message = failing(MODEL, "--data", "cifar10", "--data-dir", str(tmp_path))
    assert "cs.toronto.edu" in message


def test_images_of_another_shape(failing: Failing, tmp_path: Path) -> None:
    file = tmp_path / "colour.npz"
    np.savez(file, x=np.zeros((4, 32, 32, 3), np.uint8), y=np.zeros(4, np.int64))
    message = failing(MODEL, "--data", f"npz:{file}")
    assert "(1, 28, 28)" in message
    assert "(3, 32, 32)" in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--eps", "-0.1"], "eps"),
        (["--eps", "8"], "8/255"),
        (["--steps", "0"], "steps"),
        (["--norm", "l7"], "norm"),
        (["--images", "0"], "images"),
        (["--images", "1001"], "1..1000"),
        (["--data", "fashion_mnist_2k"], "fashion_mnist_1k"),
        (["--arch", "eyeris_row_stationary"], "eyeriss_row_stationary"),
        (["--arch", "missing.yaml"], "missing.yaml"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--ignore", "aten.nonsense"], "aten.nonsense"),
        (["--eps", "1e400"], "fraction"),
        (["--device", "meta"], "meta"),
        (["--input-shape", "3,32"], "--input-shape"),
        (["--json", "nowhere/record.json"], "--json"),
        (["--json", "."], "--json"),
        (["--arch", "vector_pe_edge", "--arch", "copy/vector_pe_edge.yaml"], "copy/vector_pe_edge.yaml"),
    ],
)
def test_bad_settings(failing: Failing, arguments: list[str], said: str) -> None:
    assert said in failing(MODEL, "--steps", "1", "--images", "2", *arguments)


@pytest.mark.parametrize("model", [":build", "..:build", ".a:build", "a b:build", "models.py:build:x"])
def test_factories_that_cannot_be_named_so(failing: Failing, model: str) -> None:
    assert "module:factory" in failing(model)


def test_a_model_without_arithmetic(failing: Failing, tmp_path: Path) -> None:
    file = tmp_path / "flat.py"
    file.write_text("from torch import nn\n\n\ndef build():\n    return nn.Flatten()\n")
    assert "multiply-accumulates" in failing(f"{file}:build", "--images", "2", "--steps", "1")


def test_a_file_that_is_no_checkpoint(failing: Failing, tmp_path: Path) -> None:
    for number, content in enumerate((b"junk", b"h", b"\x80\x02", b"PK\x03\x04")):
        file = tmp_path / f"{number}.th"
        file.write_bytes(content)
        assert file.name in failing("resnet8_fmnist", "--checkpoint", str(file))


def test_labels_below_zero_and_no_images(failing: Failing, tmp_path: Path) -> None:
    file = tmp_path / "few.npz"
    np.savez(file, x=np.zeros((2, 28, 28), np.uint8), y=np.array([-1, 3]))
    assert "negative" in failing(MODEL, "--data", f"npz:{file}")
    np.savez(file, x=np.zeros((0, 28, 28), np.uint8), y=np.zeros(0, np.int64))
    assert "must hold images" in failing(MODEL, "--data", f"npz:{file}")


def test_mistakes_in_a_design_that_only_a_layer_shows_are_found_before_the_attack(
    failing: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attacked(*_: object, **__: object) -> None:
        raise AssertionError("the design is to be checked first")

    monkeypatch.setattr("codesign.evaluation.one_model.measure_robustness", attacked)
    design = edited(tmp_path, "{target: Weights, condition_on", "{target: Weight, condition_on")
    message = failing(MODEL, "--images", "2", "--arch", design)
    assert "edited.yaml" in message
    assert "Weights" in message


def test_a_folder_that_holds_a_run_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the destination is to be checked first")

    monkeypatch.setattr("codesign.evaluation.inputs.load_dataset", read)
    (tmp_path / "results.json").write_text("{}")
    assert run(["evaluate", MODEL, "--out", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "explain depth", "energy vector_pe_edge", "doctor", "evaluate x"])
def test_a_json_file_that_cannot_be_written_is_said_first(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*command.split(), "--json", "nowhere/x.json"]) == 2
    printed = capsys.readouterr()
    assert "--json" in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/sub"])
def test_init_into_a_file(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert run(["init", str(tmp_path / place)]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_full_disk_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "results.json")

    monkeypatch.setattr("codesign.evaluation.run.run_evaluation", full)
    assert run(["evaluate", MODEL, "--quiet"]) == 1
    assert capsys.readouterr().err == "codesign: error: results.json: No space left on device\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("depth: 16384", "depth: 16384\n      depth: 3", "depth"),  # a key given twice
        ("depth: 16384", "depth: -16384", "depth"),
        ('      type: "LPDDR4"', '      kind: "LPDDR4"', "type"),  # without a DRAM type there is no energy
        ("      global_cycle_seconds: 1e-9", "      cycle: 1", "global_cycle_seconds"),  # a missing unit
        ('technology: "28nm"', 'technology: "28 parsec"', "technology"),
        ("      constraints:", "      constraint:", "constraint"),
        ("    class: intmac", "    class: DRAM", "compute"),  # an architecture without compute
        ("version: 0.4", "version: 0.3", "version"),
        ("shared_bandwidth: 2", "shard_bandwidth: 2", "did you mean shared_bandwidth"),  # else it would be unlimited
    ],
)
def test_bad_architectures(failing: Failing, tmp_path: Path, old: str, new: str, said: str) -> None:
    message = failing(MODEL, "--images", "2", "--steps", "1", "--arch", edited(tmp_path, old, new))
    assert said in message
    assert "edited.yaml" in message


def test_a_layer_that_cannot_be_mapped_is_infeasible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    design = edited(tmp_path, "depth: 16384                   #", "depth: 1                       #")
    out = tmp_path / "run"
    code = run(["evaluate", MODEL, "--images", "2", "--steps", "1", "--arch", design, "--out", str(out), "--quiet"])
    message = capsys.readouterr().err
    if code == 3:
        assert "global_buffer" in message
    else:  # one row of 16 words can hold the smallest tile of every layer
        assert code == 0


def test_startup_imports_nothing_heavy() -> None:
    """``codesign --help`` and ``codesign simulate`` start without torch, pandas and matplotlib."""
    code = (
        "import sys; from codesign.cli.app import run; run(['simulate', '--help']); "
        "print(sorted({'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_a_terminal_without_unicode_is_no_failure() -> None:
    code = "import codesign.cli as c, codesign.cli.app as a; a.run = lambda: print('3 \\u00b5J') or 0; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == "3 ?J\n"


def test_python_m_codesign_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "codesign", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("codesign 0.")
