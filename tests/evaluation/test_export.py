"""Every layer has a folder of its own in the exported Timeloop input."""

from __future__ import annotations

from pathlib import Path

from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.export import TimeloopExport


def test_a_second_use_of_a_layer_and_a_layer_of_that_name_are_kept_apart(tmp_path: Path) -> None:
    export = TimeloopExport(tmp_path / "timeloop", load_accelerator("vector_pe_edge"), "0-net")
    files = [export.mapping_file(layer) for layer in ("conv", "conv#2", "conv_2", "block.conv", "a b/c")]
    assert len(set(files)) == len(files)
    assert all(Path(file).parts[:3] == ("timeloop", "vector_pe_edge", "0-net") for file in files)
    assert all(len(Path(file).parts) == 5 for file in files)
