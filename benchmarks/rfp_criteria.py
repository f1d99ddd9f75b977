"""Which filters should go first? Every criterion at equal ratio and equal fine-tuning, on the shipped networks.

    python benchmarks/rfp_criteria.py OUT --data-dir DATA [--images 400] [--finetune-images 4000] [--seeds 0]

Robustness-aware filter pruning removes the filters of the highest gradient; this asks whether that choice is the best
one. One cell is a network, a ratio, a criterion and a seed: prune, measure, fine-tune as the network was trained (the
adversarial one on PGD-2 examples, the natural one on the images), measure again. A finished cell is a file in OUT; a
killed run goes on after the last one. Cells of a network and ratio are compared image by image with the cell of
``lowest_gradient`` (McNemar, exact, two-sided). Writes a Markdown table to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.rfp.config import make_pruning_config
from codesign.defenses.rfp.evidence import Labelled
from codesign.defenses.rfp.finetuning import FinetuningConfig, finetune
from codesign.defenses.rfp.pruning import prune
from codesign.defenses.rfp.threats import Threat, parse_threat
from codesign.models.loading import load_model
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.statistics import Accuracy, mcnemar_exact
from codesign.store import write_json

CRITERIA = ("activation_gradient", "weight_gradient", "random", "l1_norm", "lowest_gradient")
REFERENCE = "lowest_gradient"
# The threats at which each network has something to lose.
NETWORKS = {
    "fmnist_resnet8_adversarial": ("linf:0.1", "l2:0.5"),
    "fmnist_resnet8_natural": ("l2:0.1", "l2:0.25"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One network, pruned one way."""

    network: str
    ratio: float
    criterion: str
    seed: int

    @property
    def file(self) -> str:
        """Name of the file with its result."""
        return f"{self.network}-{self.ratio:g}-{self.criterion}-{self.seed}.json"


def main() -> None:
    """Compute the cells that are not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--images", type=int, default=400, help="number of test images")
    parser.add_argument("--skip", type=int, default=0, help="test images left out before them")
    parser.add_argument("--only-after", action="store_true", help="do not measure before fine-tuning")
    parser.add_argument("--finetune-images", type=int, default=4000, help="training images, the first ones")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="of the PGD that measures")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.05, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    training = sample(load_dataset("fashion_mnist", data_dir=given.data_dir, split="train"), given.finetune_images)
    whole = load_dataset("fashion_mnist", data_dir=given.data_dir, split="test")
    test = whole.take(np.arange(given.skip, given.skip + given.images))
    _same_settings(given)
    cells = [Cell(*parts) for parts in product(given.networks, given.ratios, CRITERIA, given.seeds)]
    found: dict[Cell, dict[str, Any]] = {}
    for cell in cells:
        file = given.out / cell.file
        if not file.exists():
            write_json(file, measured(cell, training, test, given))
            sys.stderr.write(f"{cell.file}\n")
        found[cell] = json.loads(file.read_text())
    originals = {name: original(name, test, given.steps, given.out) for name in given.networks}
    sys.stdout.write(table(found, originals))


def _same_settings(given: argparse.Namespace) -> None:
    """Cells of one folder are comparable: refuse those of other settings."""
    keys = ("images", "skip", "finetune_images", "epochs", "steps", "only_after")
    settings = {key: getattr(given, key) for key in keys}
    file = given.out / "settings.json"
    if not file.exists():
        write_json(file, settings)
    if json.loads(file.read_text()) != settings:
        sys.exit(f"{file}: the cells there have other settings; name another folder")


def measured(cell: Cell, training: ImageSet, test: ImageSet, given: argparse.Namespace) -> dict[str, Any]:
    """The cell's accuracies before and after fine-tuning, image by image."""
    begin = process_time()
    loaded = load_model(cell.network)
    natural = Labelled(torch.from_numpy(training.images.copy()), torch.from_numpy(training.labels.copy()))
    config = make_pruning_config({"criterion": cell.criterion, "ratio": cell.ratio, "images": 1000, "seed": cell.seed})
    pruned = prune(loaded.module, loaded.input_shape, natural, config)
    adversarial = cell.network.endswith("adversarial")
    tuning = FinetuningConfig(
        model=cell.network, data=training.name, method="adversarial" if adversarial else "natural", eps=0.1, steps=2,
        epochs=given.epochs, validation_images=200, seed=cell.seed,
    )  # fmt: skip
    threats = [parse_threat(text) for text in NETWORKS[cell.network]]
    with tempfile.TemporaryDirectory() as folder:
        tuned = finetune(pruned.module, training, tuning, Path(folder))
    return {
        "before": None if given.only_after else outcomes(pruned.module, test, threats, given.steps),
        "after": outcomes(tuned.module, test, threats, given.steps),
        "process_seconds": process_time() - begin,
    }


def original(network: str, test: ImageSet, steps: int, out: Path) -> dict[str, list[int]]:
    """The outcomes of the network as it ships."""
    file = out / f"{network}.json"
    if not file.exists():
        threats = [parse_threat(text) for text in NETWORKS[network]]
        write_json(file, outcomes(load_model(network).module, test, threats, steps))
    known: dict[str, list[int]] = json.loads(file.read_text())
    return known


def outcomes(module: torch.nn.Module, test: ImageSet, threats: list[Threat], steps: int) -> dict[str, list[int]]:
    """For each threat, and clean, the images that are right."""
    found: dict[str, list[int]] = {}
    for threat in threats:
        result = evaluate_robustness(
            module, test, threat.attacks(steps, autoattack=False), batch_size=200, seed=0, sanity_images=0
        )
        found["clean"] = np.flatnonzero(result.clean_correct).tolist()
        found[f"{threat.norm} {threat.eps:g}"] = np.flatnonzero(result.robust_correct).tolist()
    found["images"] = [len(test)]
    return found


def table(found: dict[Cell, dict[str, Any]], originals: dict[str, dict[str, list[int]]]) -> str:
    """Accuracy with its interval before and after, and the p value against ``REFERENCE`` after fine-tuning."""
    lines: list[str] = []
    former = None
    for cell, result in found.items():
        threats = [key for key in result["after"] if key not in {"clean", "images"}]
        if cell.network != former:
            titles = [f"{key} {when}" for key in ("clean", *threats) for when in ("pruned", "fine-tuned")]
            lines += ["", f"{cell.network}", "", f"| ratio | removed first | {' | '.join(titles)} |"]
            lines += [f"|{'---|' * (2 + len(titles))}"]
            lines += [f"| 0 | (nothing) | {' | '.join(_cells(originals[cell.network], None, None, threats))} |"]
            former = cell.network
        reference = found[Cell(cell.network, cell.ratio, REFERENCE, cell.seed)]["after"]
        shown = _cells(result["before"], result["after"], reference, threats)
        lines.append(f"| {cell.ratio:.0%}, seed {cell.seed} | `{cell.criterion}` | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _cells(
    before: dict[str, list[int]] | None, after: dict[str, list[int]] | None, reference: Any, threats: list[str]
) -> list[str]:
    shown: list[str] = []
    for key in ("clean", *threats):
        shown.append("" if before is None else _accuracy(before, key))
        if after is None:
            shown.append("")
            continue
        test = mcnemar_exact(_right(after, key), _right(reference, key))
        mark = "" if after is reference or test.p_value >= 0.05 else f" (p {test.p_value:.1g})"
        shown.append(_accuracy(after, key) + mark)
    return shown


def _right(result: dict[str, list[int]], key: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    right = np.zeros(result["images"][0], np.bool_)
    right[result[key]] = True
    return right


def _accuracy(result: dict[str, list[int]], key: str) -> str:
    accuracy = Accuracy.from_outcomes(_right(result, key))
    return f"{accuracy.value:.1%} ({100 * accuracy.low:.0f} to {100 * accuracy.high:.0f})"


if __name__ == "__main__":
    main()
