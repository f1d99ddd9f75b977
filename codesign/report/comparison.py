"""Several runs side by side: one record with the models of all, and what speaks against comparing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from codesign.errors import InputError
from codesign.evaluation.pruning import with_pruning
from codesign.evaluation.record import ArchitectureRecord, ModelRecord, Record
from codesign.report.numbers import count_text

__all__ = ["Comparison", "combine", "run_labels"]

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Comparison:
    """``record`` holds every model and architecture of ``runs`` (label -> record; empty if it is a single run).

    ``not_comparable`` says why accuracies of different runs must not be compared: data, images or attacks differ.
    ``remarks`` are differences that a reader must know of.
    """

    record: Record
    runs: Mapping[str, Record] = field(default_factory=dict)
    not_comparable: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def run_labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """A short name for each run: its folder, with as many parents as it takes to tell them apart.

    Raises:
        InputError: the same run is given twice.
    """
    folders = [path.resolve().parent if path.suffix == ".json" else path.resolve() for path in paths]
    twice = [str(folder) for folder, count in Counter(folders).items() if count > 1]
    if twice:
        raise InputError("each run is given once", got=twice[0], key="RUN")
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return tuple("/".join(folder.parts[-depth:]) for folder in folders)


def combine(runs: Mapping[str, Record]) -> Comparison:
    """The records of several runs as one; a single run stays as it is.

    A model or architecture that two runs name alike becomes "name (run)" in both, except an architecture that is
    identical in all of them, which stands once.

    Raises:
        InputError: no run, or a run without models.
    """
    if not runs:
        raise InputError("at least one run is needed", got="none", key="RUN")
    for label, record in runs.items():
        if not record.models:
            raise InputError("a run holds at least one model", got="none", key=f"{label}: models")
    if len(runs) == 1:
        return Comparison(next(iter(runs.values())))
    from codesign.evaluation.paired import compare_models  # loads numpy, which a command's help can do without

    changed = _changed_architectures(runs)
    obstacles = tuple(_obstacles(runs))
    counts = Counter(model.name for record in runs.values() for model in record.models)
    first = next(iter(runs.values()))
    models = with_pruning(
        [
            _renamed(model, label, twice={name for name, count in counts.items() if count > 1}, changed=changed)
            for label, record in runs.items()
            for model in record.models
        ]
    )
    record = replace(
        first,
        config={label: dict(record.config) for label, record in runs.items()},
        inputs=_once(item for record in runs.values() for item in record.inputs),
        versions=_shared_versions(list(runs.values())),
        models=models,
        # Image by image, so only where the images are the same.
        comparisons=() if obstacles else compare_models(models),
        architectures=tuple(_architectures(runs, changed)),
        notes=_once(note for record in runs.values() for note in record.notes),
    )
    return Comparison(record, runs, obstacles, tuple(_remarks(runs, changed)))


def _changed_architectures(runs: Mapping[str, Record]) -> frozenset[str]:
    """Names that stand for different architectures in different runs."""
    seen: dict[str, ArchitectureRecord] = {}
    changed: set[str] = set()
    for record in runs.values():
        for architecture in record.architectures:
            if seen.setdefault(architecture.name, architecture) != architecture:
                changed.add(architecture.name)
    return frozenset(changed)


def _architectures(runs: Mapping[str, Record], changed: frozenset[str]) -> Iterator[ArchitectureRecord]:
    seen: set[str] = set()
    for label, record in runs.items():
        for architecture in record.architectures:
            if architecture.name in changed:
                yield replace(architecture, name=f"{architecture.name} ({label})")
            elif architecture.name not in seen:
                seen.add(architecture.name)
                yield architecture


def _renamed(model: ModelRecord, label: str, *, twice: Set[str], changed: frozenset[str]) -> ModelRecord:
    """The model of the run ``label`` with the names that are not unique over all runs made so."""

    def unique(name: str, doubtful: Set[str]) -> str:
        return f"{name} ({label})" if name in doubtful else name

    defense = model.defense
    if defense is not None:
        spreads = tuple(replace(row, architecture=unique(row.architecture, changed)) for row in defense.spreads)
        defense = replace(defense, base=unique(defense.base, twice), spreads=spreads)
    return replace(
        model,
        name=unique(model.name, twice),
        defense=defense,
        hardware=tuple(replace(entry, architecture=unique(entry.architecture, changed)) for entry in model.hardware),
    )


def _obstacles(runs: Mapping[str, Record]) -> Iterator[str]:
    """Why accuracies of these runs must not be compared, one sentence each."""
    names = {label: str(record.config.get("data") or "") for label, record in runs.items()}
    unknown = [label for label, name in names.items() if not name]
    if unknown:
        yield f"The data set is not recorded in {', '.join(unknown)}, so it was not checked that the runs agree on it."
    named = {label: name for label, name in names.items() if name}
    yield from _disagreement("data sets", named)
    if len(set(named.values())) == 1:
        hashes = {label: _data_hashes(record) for label, record in runs.items()}
        yield from _disagreement("data files, by sha256,", {label: text for label, text in hashes.items() if text})
    yield from _disagreement("image counts", {label: _counts(record) for label, record in runs.items()})
    yield from _disagreement("attacks", {label: _attacks(record) for label, record in runs.items()})


def _remarks(runs: Mapping[str, Record], changed: frozenset[str]) -> Iterator[str]:
    yield from _disagreement("seeds", {label: str(record.seed) for label, record in runs.items()})
    yield from _disagreement(
        "codesign versions", {label: record.versions.get("codesign", "not recorded") for label, record in runs.items()}
    )
    for name in sorted(changed):
        yield f"The architecture {name} is not the same in all runs: files, energies, clock or area differ."


def _disagreement(subject: str, values: Mapping[str, str]) -> Iterator[str]:
    if len(set(values.values())) > 1:
        listed = "; ".join(f"{label}: {value}" for label, value in values.items())
        yield f"The runs differ in their {subject} ({listed})."


def _data_hashes(record: Record) -> str:
    """The beginnings of the hashes of the data set's files; empty if there are none."""
    return ", ".join(sorted(item.get("sha256", "")[:12] for item in record.inputs if item.get("role") == "data"))


def _counts(record: Record) -> str:
    counts = {model.robustness.clean.total for model in record.models}
    return ", ".join(count_text(count) for count in sorted(counts))


def _attacks(record: Record) -> str:
    names = {attack.name for model in record.models for attack in model.robustness.attacks}
    return ", ".join(sorted(names)) or "none"


def _shared_versions(records: Sequence[Record]) -> dict[str, str]:
    """Versions of which all runs agree; those of each run stand in its own section."""
    first = records[0].versions
    return {name: version for name, version in first.items() if all(r.versions.get(name) == version for r in records)}


def _once(items: Iterable[_Item]) -> tuple[_Item, ...]:
    """Each item once, in order of first appearance; items need no hash."""
    kept: list[_Item] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return tuple(kept)
