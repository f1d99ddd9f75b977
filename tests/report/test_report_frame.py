"""The frame for notebooks and layers.csv are one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codesign.evaluation.record import Record
from codesign.report import layers_csv, layers_frame


def test_frame_and_file_agree(record: Record, tmp_path: Path) -> None:
    layers_csv(record, tmp_path / "layers.csv")
    frame = layers_frame(record)
    read = pd.read_csv(tmp_path / "layers.csv")
    assert list(read.columns) == list(frame.columns)
    for column in frame.columns:
        ours, theirs = frame[column], read[column]
        assert ours.isna().tolist() == theirs.isna().tolist(), column
        assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def test_densities_stay_numbers_with_a_fraction(record: Record) -> None:
    frame = layers_frame(record)
    assert frame["weight_density"].dtype == float
    assert frame["bound_M"].dtype == "Int64"
