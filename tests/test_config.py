"""Settings come from flags and YAML alike, and what is wrong is named with its line."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from codesign.cli.evaluate import evaluate
from codesign.config import EvaluateConfig, load_config, make_config
from codesign.errors import InputError
from codesign.resources import examples_dir


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_key_is_a_flag_and_every_flag_a_key() -> None:
    of_the_model = {"checkpoint", "num_classes", "input_shape"}
    of_the_run = {"config", "out", "force", "json_path", "quiet"}
    assert set(inspect.signature(evaluate).parameters) - of_the_run - of_the_model == set(EvaluateConfig.model_fields)


@pytest.mark.parametrize("name", ["demo.yaml", "run.yaml"])
def test_shipped_examples_are_valid(name: str) -> None:
    assert load_config(examples_dir() / name, {}).eps == 0.1


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "models: [a]\neps: 8/255\nsteps: 7\n"), {"steps": 3})
    assert (config.eps, config.steps) == (8 / 255, 3)


def test_attacks_by_flag_replace_the_files_pgd(tmp_path: Path) -> None:
    file = write(tmp_path, "models: [a]\nsteps: 7\nrestarts: 2\n")
    assert load_config(file, {"attacks": "apgd-ce"}).attacks == "apgd-ce"
    with pytest.raises(InputError, match="steps describe the default PGD"):
        load_config(file, {"attacks": "apgd-ce", "steps": 3})


def test_models_as_names_and_as_mappings(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "models: [a, {model: b, checkpoint: c.pt, name: d}]\n"), {})
    assert [model.label for model in config.models] == ["a", "d"]
    assert config.models[1].checkpoint == Path("c.pt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [a]\nstepz: 3\n", r"run\.yaml:2: stepz: unknown key; did you mean steps"),
        ("models: [a]\nsteps: 3\nsteps: 4\n", r"run\.yaml:3: .*once.*second `steps`"),
        ("models: [a]\neps: -0.1\n", r"run\.yaml:2: eps: .*greater than or equal to 0.*got -0\.1"),
        ("models: [a]\neps: 8\n", r"an Linf eps lies in \[0, 1\].*got 8.*8/255"),
        ("models: [a]\neps: 8/0\n", r"run\.yaml:2: eps: must be a number or a fraction"),
        ("models: [a]\neps: .nan\n", r"run\.yaml:2: eps: .*finite"),
        ("models: [a]\nsteps: 0\n", r"run\.yaml:2: steps: .*greater than or equal to 1"),
        ("models: [a]\nnorm: l1\n", r"run\.yaml:2: norm: .*'linf' or 'l2'"),
        ("models:\n- model: a\n  chekpoint: x\n", r"run\.yaml:3: models\[0\]\.chekpoint: .*did you mean checkpoint\?$"),
        ("models: [a, a]\n", r"distinct names"),
        ("models: [a]\nattacks: pgd50\nsteps: 3\n", r"steps describe the default PGD"),
        ("models: []\n", r"run\.yaml:1: models: .*at least one"),
        ("models: a\n", r"run\.yaml:1: models: must be a list.*got a"),
        ("models: [3]\n", r"run\.yaml:1: models\[0\]: must be a name, or a mapping.*got 3\)$"),
        ("models: [a]\nsteps: true\n", r"run\.yaml:2: steps: must be a number.*got True"),
        ("models: [a]\nthreads: 100000\n", r"run\.yaml:2: threads: .*1024"),
        ("models: [a]\neps: 1e400\n", r"run\.yaml:2: eps: "),
        ('models: [a]\neps: "1e400"\n', r"run\.yaml:2: eps: must be a number or a fraction"),
        ("models: [{model: a, input_shape: [3, 0, 32]}]\n", r"run\.yaml:1: models\[0\]\.input_shape\[1\]: .*got 0\)$"),
        ("data: fashion_mnist_1k\n", r"models: this key is required"),
        ("- a\n", r"run\.yaml:1: .*mapping of keys"),
        ("", r"run\.yaml: .*not be empty"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_config(write(tmp_path, text), {})


def test_a_flag_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "models: [a]\nsteps: 3\n")
    with pytest.raises(InputError, match=r"^steps: .*got 0"):
        load_config(file, {"steps": 0})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)2 settings are wrong.*steps.*restarts"):
        make_config({"models": ["a"], "steps": 0, "restarts": 0})
