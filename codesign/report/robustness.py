"""Models side by side under every threat, and which of them the images tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.evaluation.accuracies import AccuracyRecord, ModelComparison, ThreatRecord, labelled_threats
from codesign.evaluation.record import ModelRecord, Record
from codesign.report.numbers import accuracy_text, significant

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "ThreatCell",
    "ThreatRow",
    "comparison_lines",
    "p_value_text",
    "robustness_csv",
    "robustness_frame",
    "show_robustness",
    "threat_rows",
    "threat_table",
    "verdict",
]

_WORST = "worst case"
_FEW = 3


@dataclass(frozen=True, slots=True)
class ThreatCell:
    """An accuracy; ``doubtful`` where a flag is raised or a check failed, ``attack`` in full."""

    accuracy: AccuracyRecord
    doubtful: bool
    attack: str

    @property
    def text(self) -> str:
        """Per cent with interval, and a dagger where it is in doubt."""
        return accuracy_text(self.accuracy) + ("†" if self.doubtful else "")


@dataclass(frozen=True, slots=True)
class ThreatRow:
    """One kind of input, and what every model of the record makes of it (None: not measured), in the record's order.

    ``attack`` is short, such as ``AutoAttack``; empty for clean images.
    """

    inputs: str
    attack: str
    cells: tuple[ThreatCell | None, ...]


def threat_rows(record: Record) -> tuple[ThreatRow, ...]:
    """Clean, then every threat: each attack alone and, where there are several, the worst case of each image."""
    columns = [dict(_cells(model)) for model in record.models]
    # In the order of the record; the models of a threat may differ in their attacks, its worst case comes last.
    labels = dict.fromkeys(inputs for column in columns for inputs, _ in column)
    found: list[ThreatRow] = []
    for label in labels:
        attacks = list(dict.fromkeys(attack for column in columns for inputs, attack in column if inputs == label))
        alone = [attack for attack in attacks if attack != _WORST]
        if all(
            sum(inputs == label for inputs, _ in column) <= 2 for column in columns
        ):  # its attack and the worst case
            cells = tuple(column.get((label, _WORST), column.get((label, ""))) for column in columns)
            found.append(ThreatRow(label, " / ".join(alone), cells))
            continue
        for attack in (*alone, _WORST):
            found.append(ThreatRow(label, attack, tuple(column.get((label, attack)) for column in columns)))
    return tuple(found)


def _cells(model: ModelRecord) -> Iterator[tuple[tuple[str, str], ThreatCell]]:
    yield ("clean", ""), ThreatCell(model.robustness.clean, False, "")
    for label, threat in labelled_threats(model.robustness).items():
        doubtful = bool(threat.doubts)
        names = _short(threat)
        for name, attack in zip(names, threat.attacks, strict=True):
            yield (label, name), ThreatCell(attack, doubtful, attack.name)
        every = "; ".join(attack.name for attack in threat.attacks)
        yield (label, _WORST), ThreatCell(threat.robust, doubtful, every)


def _short(threat: ThreatRecord) -> list[str]:
    """Names of the attacks without their settings, unless that makes two of them alike."""
    short = [attack.name.partition("(")[0] for attack in threat.attacks]
    return short if len(set(short)) == len(short) else [attack.name for attack in threat.attacks]


def verdict(test: ModelComparison) -> str:
    """What may be said of two models."""
    return f"{test.better} is better" if test.better is not None else "not told apart"


def p_value_text(p_value: float) -> str:
    """One digit that means something, never a plain 0."""
    return "<1e-12" if p_value < 1e-12 else significant(p_value, 2)


def threat_table(record: Record) -> Table | None:
    """Models as rows, threats as columns, the worst case of each; None where no further threat was measured."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from codesign.report.terminal import Name

    if all(len(model.robustness.threats) < 2 for model in record.models):
        return None
    rows = list({row.inputs: row for row in threat_rows(record)}.values())  # the last of a threat is its worst case
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title="accuracy % under every threat")
    table.add_column("model", overflow="fold")
    for row in rows:
        table.add_column(row.inputs.replace(" ", "\n", 1), justify="right")
    for number, model in enumerate(record.models):
        cells = (row.cells[number] for row in rows)
        table.add_row(
            Name(model.name),
            *(Text("–" if cell is None else cell.text.replace(" ", "\n", 1), justify="right") for cell in cells),
        )
    return table


def comparison_lines(record: Record) -> tuple[str, ...]:
    """Every comparison as a sentence: who is better, or that the images do not tell."""
    return tuple(
        f"{test.inputs}: {test.first} alone right on {test.only_first}, {test.second} alone on {test.only_second} of "
        f"{test.total} images (adjusted p {p_value_text(test.adjusted_p_value)}): {verdict(test)}."
        for test in record.comparisons
    )


def show_robustness(console: Console, record: Record) -> None:
    """Print the threats of every model, and which of at most three models is better."""
    table = threat_table(record)
    if table is not None:
        console.print(table)
    lines = comparison_lines(record)
    if len(record.models) > _FEW:
        lines = (f"{len(lines)} comparisons of models, image by image, are in the report.",)
    for line in lines:
        console.print(line, markup=False, highlight=False)


def robustness_frame(record: Record) -> pd.DataFrame:
    """One row per model, threat and attack; radii in units of the pixel range, shares in 0..1.

    ``attack`` is ``worst case`` for the pointwise worst over a threat's attacks; clean images have an ``eps`` of 0.
    """
    import pandas as pd

    return pd.DataFrame(list(_rows(record)))


def robustness_csv(record: Record, path: Path) -> None:
    """Write ``robustness_frame``: UTF-8, comma separated, one heading line, numbers in full."""
    robustness_frame(record).to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _rows(record: Record) -> Iterator[dict[str, object]]:
    for model in record.models:
        robustness = model.robustness
        yield _row(model, "", 0.0, "clean", robustness.clean, doubtful=False)
        for threat in robustness.threats:
            for attack in threat.attacks:
                yield _row(model, threat.norm, threat.eps, attack.name, attack, doubtful=bool(threat.doubts))
            yield _row(model, threat.norm, threat.eps, _WORST, threat.robust, doubtful=bool(threat.doubts))


def _row(
    model: ModelRecord, norm: str, eps: float, attack: str, accuracy: AccuracyRecord, *, doubtful: bool
) -> dict[str, object]:
    return {
        "model": model.name,
        "norm": norm,
        "eps": eps,
        "attack": attack,
        "correct": accuracy.correct,
        "total": accuracy.total,
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "level": accuracy.level,
        "interval": accuracy.method,
        "doubtful": doubtful,
    }
