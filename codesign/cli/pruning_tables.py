"""The tables that ``codesign prune`` shows at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["show_pruning"]


def show_pruning(console: Console, record: dict[str, Any]) -> None:
    """Layers before and after, totals, and the robustness of the networks if it was measured."""
    macs = record["layer_macs"]
    table = Table("layer", "before", "after", "MACs before", "MACs after", title=record["pruning"]["layers"][0]["kind"])
    for change in record["pruning"]["layers"]:
        cost = next((macs[name] for name in macs if name.removeprefix("network.") == change["layer"]), None)
        shown = ("", "") if cost is None else (f"{cost['before']:,}", f"{cost['after']:,}")
        table.add_row(change["layer"], str(change["before"]), str(change["after"]), *shown)
    console.print(table)
    total, parameters = record["macs"], record["parameters"]
    console.print(
        f"MACs {total['before']:,} -> {total['after']:,} ({1 - total['after'] / total['before']:.1%} less), parameters "
        f"that are not 0 {parameters['before']:,} -> {parameters['after']:,}; removed against zeroed: logits differ by "
        f"{record['pruning']['difference_to_zeroed']:.1e}",
        highlight=False,
    )
    if record["robustness"] is not None:
        _show_robustness(console, record["robustness"])


def _show_robustness(console: Console, robustness: dict[str, Any]) -> None:
    first = next(iter(robustness.values()))
    titles = [attack["title"] for attack in first["attacks"]]
    table = Table("network", "clean", *titles, title=f"accuracy on {first['clean']['total']} test images (95 %)")
    for name, result in robustness.items():
        accuracies = [result["clean"], *(attack["accuracy"] for attack in result["attacks"])]
        table.add_row(name, *(f"{a['value']:.1%} ({a['low']:.1%}..{a['high']:.1%})" for a in accuracies))
    console.print(table)
    for name, result in robustness.items():
        raised = [flag["id"] for flag in result["flags"] if flag["state"] == "raised"]
        failed = [check["id"] for check in result["checks"] if check["state"] == "failed"]
        if raised or failed:
            console.print(f"{name}: look at {', '.join(raised + failed)} in the record", style="yellow")
