from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from codesign.cli.report import report
from codesign.errors import InputError
from codesign.evaluation.record import SCHEMA_VERSION, HardwareRecord, Record
from codesign.report import combine, run_labels, summary_rows, write_report
from codesign.report.checks import inconsistencies, require_reportable
from codesign.report.html import render_html

Maker = Callable[..., Record]


def save(record: Record, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(record.to_json()), encoding="utf-8")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(report)
    return application


def invoke(app: typer.Typer, *arguments: object) -> tuple[str, str]:
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if outcome.exception is not None:
        raise outcome.exception
    return outcome.stdout, outcome.stderr


def test_report_is_page_table_and_figures_beside_the_run(record: Record, tmp_path: Path) -> None:
    run = save(record, tmp_path / "run")
    before = tree(run)
    written = write_report(record, run)
    names = {path.relative_to(run).parts[0] for path in written}
    assert names == {"report.html", "layers.csv", "robustness.csv", "figures"}
    assert all(path.is_file() for path in written)
    after = tree(run)
    assert set(after) == {*before, *(str(path.relative_to(run)) for path in written)}
    assert after["results.json"] == before["results.json"]


def test_report_is_the_same_every_time_and_replaces_an_older_one(make_record: Maker, tmp_path: Path) -> None:
    record = make_record(names=("only",))
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    for older in ("report.html", "figures/macs.png", "figures/layers_3_another.png", "figures/layers_3_another.svg"):
        (out / older).write_text("older", encoding="utf-8")
    (out / "figures" / "mine.txt").write_text("kept", encoding="utf-8")
    write_report(record, out)
    fresh = tmp_path / "fresh" / "out"
    write_report(record, fresh)
    assert tree(out) == tree(fresh) | {"figures/mine.txt": b"kept"}


def test_nothing_is_left_behind_when_a_report_fails(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> str:
        raise RuntimeError("no page today")

    monkeypatch.setattr("codesign.report.writing.build_figures", lambda _record: ())
    monkeypatch.setattr("codesign.report.writing.render_html", broken)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError, match="no page today"):
        write_report(record, out)
    assert list(out.iterdir()) == []


def test_out_may_not_be_a_file(record: Record, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="a report is written into a folder"):
        write_report(record, tmp_path / "out")


def test_empty_models_are_refused(make_record: Maker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one model"):
        write_report(make_record(models=()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_hardware(record: Record, **changes: object) -> Record:
    entry: HardwareRecord = replace(record.models[0].hardware[0], **changes)  # type: ignore[arg-type]
    return replace(record, models=(replace(record.models[0], hardware=(entry,)),))


def test_records_that_cannot_be_reported_say_where(make_record: Maker) -> None:
    record = make_record(names=("only",))
    model = record.models[0]
    entry = model.hardware[0]
    with pytest.raises(InputError, match=r"names an architecture of the record .*eyeris.*did you mean"):
        require_reportable(with_hardware(record, architecture="eyeris_row_stationary"))
    layer = replace(entry.layers[0], layer="stem.convx")
    with pytest.raises(InputError, match=r"names a layer of its model .*did you mean stem\.conv"):
        require_reportable(with_hardware(record, layers=(layer,)))
    for bad in (float("nan"), float("inf"), -1.0, "12"):
        with pytest.raises(InputError, match=r"models\.only\.hardware\..*totals\.energy_uJ: must be a finite number"):
            require_reportable(with_hardware(record, totals=replace(entry.totals, energy_uJ=bad)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="names are unique"):
        require_reportable(replace(record, models=(model, model)))
    with pytest.raises(InputError, match="total > 0"):
        require_reportable(with_hardware(record, accuracy=replace(entry.accuracy, correct=0, total=0)))
    with pytest.raises(InputError, match="lies inside its interval"):
        require_reportable(with_hardware(record, accuracy=replace(entry.accuracy, low=88.0, high=93.0)))


def test_sums_of_a_sound_record_hold(record: Record) -> None:
    require_reportable(record)
    assert inconsistencies(record) == ()


def test_every_sum_that_fails_is_named(make_record: Maker) -> None:
    record = make_record(names=("only",))
    entry = record.models[0].hardware[0]
    totals = replace(entry.totals, energy_uJ=2 * entry.totals.energy_uJ, latency_cycles=1, macs=1)
    said = inconsistencies(with_hardware(record, totals=totals))
    assert len(said) == 4
    assert all(sentence.startswith("only on eyeriss_row_stationary, clean inputs: ") for sentence in said)


def test_runs_that_agree_stand_side_by_side(make_record: Maker) -> None:
    one, other = make_record(names=("natural",)), make_record(seed=8, names=("robust",))
    comparison = combine({"a": one, "b": other})
    assert comparison.not_comparable == comparison.remarks == ()
    assert [model.name for model in comparison.record.models] == ["natural", "robust"]
    assert comparison.record.architectures == one.architectures
    assert len(comparison.record.inputs) == 2
    page = render_html(comparison, ())
    assert "not comparable" not in page
    assert "Run a" in page
    assert "Run b" in page


def test_one_run_stays_as_it_is(record: Record) -> None:
    comparison = combine({"run": record})
    assert comparison.record is record


@pytest.mark.parametrize("part", ["data", "files", "images", "attack"])
def test_runs_that_differ_are_called_not_comparable(make_record: Maker, part: str) -> None:
    one, other = make_record(names=("natural",)), make_record(names=("robust",))
    model = other.models[0]
    robustness = model.robustness
    if part == "data":
        other, expected = replace(other, config={**other.config, "data": "cifar10"}), "a: fashion_mnist_1k; b: cifar10"
    elif part == "files":
        inputs = ({"role": "data", "path": "fashion_mnist_1k.npz", "sha256": "12" * 32}, *other.inputs[1:])
        other, expected = replace(other, inputs=inputs), "a: abababababab; b: 121212121212"
    elif part == "images":
        robustness = replace(robustness, clean=replace(robustness.clean, correct=90, total=100))
        other, expected = replace(other, models=(replace(model, robustness=robustness),)), "a: 1,000; b: 100"
    else:
        robustness = replace(robustness, attacks=(replace(robustness.attacks[0], name="PGD(eps=0.01)"),))
        other, expected = replace(other, models=(replace(model, robustness=robustness),)), "b: PGD(eps=0.01)"
    comparison = combine({"a": one, "b": other})
    assert len(comparison.not_comparable) == 1
    assert expected in comparison.not_comparable[0]
    assert "These runs are not comparable" in render_html(comparison, ())


def test_an_unrecorded_data_set_is_not_taken_as_equal(make_record: Maker) -> None:
    one, other = make_record(names=("natural",)), make_record(names=("robust",), config={})
    assert combine({"a": one, "b": other}).not_comparable == (
        "The data set is not recorded in b, so it was not checked that the runs agree on it.",
    )


def test_same_names_are_told_apart_by_their_run(make_record: Maker) -> None:
    one, other = make_record(names=("net",)), make_record(seed=9, names=("net",))
    faster = replace(other.architectures[0], cycle_seconds=1e-9)
    other = replace(other, architectures=(faster, *other.architectures[1:]), seed=5)
    comparison = combine({"a": one, "b": other})
    record = comparison.record
    require_reportable(record)
    assert [model.name for model in record.models] == ["net (a)", "net (b)"]
    names = [architecture.name for architecture in record.architectures]
    assert names.count("vector_pe_edge") == 1
    assert {"eyeriss_row_stationary (a)", "eyeriss_row_stationary (b)"} < set(names)
    assert {row.architecture for row in summary_rows(record) if row.model == "net (b)"} == {
        *("eyeriss_row_stationary (b)", "systolic_weight_stationary", "vector_pe_edge")
    }
    assert comparison.not_comparable == ()
    assert any("seeds (a: 0; b: 5)" in remark for remark in comparison.remarks)
    assert any("eyeriss_row_stationary is not the same" in remark for remark in comparison.remarks)


def test_run_labels_are_as_short_as_they_can_be() -> None:
    assert run_labels([Path("/r/one"), Path("/r/two/results.json")]) == ("one", "two")
    assert run_labels([Path("/r/a/demo"), Path("/r/b/demo")]) == ("a/demo", "b/demo")
    with pytest.raises(InputError, match="each run is given once"):
        run_labels([Path("/r/one"), Path("/r/one/results.json")])


def test_command_writes_into_the_run(app: typer.Typer, make_record: Maker, tmp_path: Path) -> None:
    run = save(make_record(names=("only",)), tmp_path / "run")
    stdout, stderr = invoke(app, run, "--json", tmp_path / "rows.json")
    assert (run / "report.html").is_file()
    assert "robust accuracy" in stdout
    assert "report.html" in stdout.replace("\n", "")
    assert stderr == ""
    assert len(json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))) == 6


def test_command_compares_and_warns(app: typer.Typer, make_record: Maker, tmp_path: Path) -> None:
    one = save(make_record(names=("natural",)), tmp_path / "one")
    two = save(make_record(names=("robust",), config={"data": "cifar10"}), tmp_path / "two")
    stdout, stderr = invoke(app, one, two / "results.json", "--out", tmp_path / "both", "--quiet")
    assert stdout == ""
    assert "not comparable: The runs differ in their data sets (one: fashion_mnist_1k; two: cifar10)." in stderr
    assert (tmp_path / "both" / "layers.csv").is_file()
    assert not (one / "report.html").exists()


def test_several_runs_need_a_folder(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out: several runs need a folder of their own"):
        invoke(app, tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a run holds a results.json"),
        ("{", "not JSON"),
        ('{"schema_version": "2.0"}', f"this version reads records of schema {SCHEMA_VERSION}"),
        ('{"schema_version": "1.0"}', f"not a record of schema {SCHEMA_VERSION}"),
        (
            '{"schema_version": "1.0", "config": {}, "seed": 0, "versions": {}, "inputs": [], "models": [],'
            ' "architectures": [], "notes": []}',
            "at least one model",
        ),
    ],
)
def test_bad_runs_are_one_clear_error_and_leave_nothing(
    app: typer.Typer, tmp_path: Path, content: str | None, message: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if content is not None:
        (run / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        invoke(app, run, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, codesign.cli.report, codesign.report;"
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'numpy', 'jinja2', 'rich.table') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
