"""What to see in each figure: a first sentence computed from the record, then how to read the marks."""

from __future__ import annotations

from codesign.evaluation.record import ModelRecord, Record
from codesign.report.checks import unattributed_energy_uJ
from codesign.report.figures.accuracy import Cost, cost_points, pareto_front
from codesign.report.figures.energy import UNATTRIBUTED, common_axis, components_by_energy
from codesign.report.figures.layers import layer_entries
from codesign.report.numbers import accuracy_text, percent_text, significant
from codesign.report.waterfall import waterfall_rows

__all__ = ["accuracy", "components", "densities", "layers", "macs", "waterfall"]

_UNITS: dict[Cost, str] = {"energy_uJ": "µJ", "latency_ms": "ms"}


def accuracy(record: Record, cost: Cost) -> str:
    """The ends of the Pareto front of robust accuracy."""
    front = pareto_front([point for point in cost_points(record, cost) if point.robust])
    how = (
        "Colour is the model, shape the architecture; bars are the confidence intervals of the accuracies (the cost is "
        "simulated and has none). Points whose intervals overlap are not told apart by this run."
    )
    if not front:
        return f"The record has no cost under attack, so only clean accuracy is shown. {how}"
    cheap, best = front[0], front[-1]
    unit = _UNITS[cost]
    first = (
        f"{best.model} on {best.architecture} is the most robust choice: {accuracy_text(best.accuracy)} % for "
        f"{significant(best.cost)} {unit} under attack."
    )
    if cheap != best:
        first += (
            f" {cheap.model} on {cheap.architecture} is the cheapest: {accuracy_text(cheap.accuracy)} % for "
            f"{significant(cheap.cost)} {unit}."
        )
    return f"{first} A model's robust accuracy is the worst case over all attacks that were run. {how}"


def components(record: Record) -> str:
    """The largest component of each architecture."""
    parts: list[str] = []
    for architecture in record.architectures:
        entries = [e for model in record.models for e in model.hardware if e.architecture == architecture.name]
        energy = components_by_energy(entries)
        if energy:
            name, value = max(energy.items(), key=lambda item: item[1])
            share = percent_text(value / (sum(energy.values()) or 1.0), 0)
            parts.append(f"{architecture.name}: {name}, {share} %")
    how = "Per cent beside a panel are shares over all its bars; the number behind a bar is the total in µJ."
    if not common_axis(record):
        how += " The totals are far apart, so each panel has its own axis."
    if any(unattributed_energy_uJ(entry) for model in record.models for entry in model.hardware):
        how += f" “{UNATTRIBUTED}” is energy of the total that the record puts down to no component."
    return f"Largest consumer of each architecture: {'; '.join(parts)}. {how}"


def macs(record: Record) -> str:
    """The highest share of skipped multiply-accumulates."""
    entries = [(model, entry) for model in record.models for entry in model.hardware if entry.totals.macs]
    how = (
        "Skipped multiply-accumulates save cycles and energy, gated ones energy only. The number behind a bar is the "
        "total of all layers."
    )
    if not entries or not any(entry.totals.skipped_macs for _model, entry in entries):
        return f"No architecture of this record skips. {how}"
    model, entry = max(entries, key=lambda pair: pair[1].totals.skipped_macs / pair[1].totals.macs)
    share = percent_text(entry.totals.skipped_macs / entry.totals.macs)
    return f"Most is skipped for {model.name} on {entry.architecture} ({entry.input_kind} inputs): {share} %. {how}"


def waterfall(record: Record) -> str:
    """The combination that turns most of its superfluous work into saved energy, and the one that turns least."""
    how = (
        "Four bars for each model, in per cent of the dense run with the same mappings; clean inputs. Green is saved, "
        "the colours behind it name what is lost on the way; layers weigh by MACs, by cycles and by energy. Losses "
        "below 0.5 % and costs that shrink more than the work are in results.json only."
    )
    rows = [row for row in waterfall_rows(record) if row.stages[0].saved > 0]
    if not rows:
        return f"No work is superfluous in this record. {how}"
    best = max(rows, key=lambda row: row.stages[3].saved)
    first = (
        f"Most energy is saved for {best.model} on {best.architecture} ({best.input_kind} inputs): of "
        f"{percent_text(best.stages[0].saved)} % superfluous MACs, {percent_text(best.stages[1].saved)} % are skipped, "
        f"which saves {percent_text(best.stages[2].saved)} % of the cycles and {percent_text(best.stages[3].saved)} % "
        "of the energy."
    )
    unknown = sorted({name for row in rows for name in row.not_modelled})
    return f"{first} {how}" + (f" Not modelled: {', '.join(unknown)}." if unknown else "")


def densities(record: Record) -> str:
    """The layer whose share of nonzero inputs an attack moves most."""
    shifts = [
        (layer.input_density["adversarial"] - layer.input_density["clean"], model, layer)
        for model in record.models
        for layer in model.layers
        if {"clean", "adversarial"} <= layer.input_density.keys()
    ]
    how = "Ring: clean inputs; dot: adversarial inputs. Fewer nonzero inputs leave more to skip or gate."
    if not shifts:
        return how
    shift, model, layer = max(shifts, key=lambda item: abs(item[0]))
    sign = "+" if shift >= 0 else "−"
    return (
        f"The attack moves {layer.name} of {model.name} most: from {percent_text(layer.input_density['clean'])} to "
        f"{percent_text(layer.input_density['adversarial'])} % ({sign}{percent_text(abs(shift))} points). {how}"
    )


def layers(model: ModelRecord) -> str:
    """The most expensive layer on each architecture."""
    entries = layer_entries(model)
    parts = [
        f"{entry.architecture}: {top.layer}, {percent_text(top.energy_uJ / (entry.totals.energy_uJ or 1.0), 0)} %"
        for entry in entries
        if entry.layers
        for top in [max(entry.layers, key=lambda layer: layer.energy_uJ)]
    ]
    return (
        f"Most energy goes to {'; '.join(parts) if parts else 'no layer'}. "
        f"{entries[0].input_kind.capitalize()} inputs; shares of the architecture's own total, whose energy includes "
        "the operators without multiply-accumulates."
    )
