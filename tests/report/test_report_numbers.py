from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.evaluation.record import AccuracyRecord
from codesign.report.numbers import accuracy_text, count_text, share_text, short_names, shorten, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (1234.5, "1,234"),
        (999.6, "1,000"),
        (99.96, "100"),
        (9.996, "10.0"),
        (40.72, "40.7"),
        (0.012345, "0.0123"),
        (0.1, "0.100"),
        (0.00001234, "1.23e-05"),
        (12345678.9, "12,345,679"),
        (-2.345, "-2.35"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert significant(value) == text


@given(st.floats(1e-4, 1e12))
def test_significant_is_within_half_a_unit_of_the_third_digit(value: float) -> None:
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=5.0001e-3)


def test_counts_are_written_in_full() -> None:
    assert count_text(1234567) == "1,234,567"


def test_accuracy_is_per_cent_with_its_interval() -> None:
    assert accuracy_text(AccuracyRecord("clean", 912, 1000, 0.8927, 0.9288)) == "91.2 [89.3, 92.9]"


def test_a_small_share_is_not_written_as_nothing() -> None:
    assert [share_text(share) for share in (0, 0.001, 0.005, 0.394)] == ["0 %", "<1 %", "0 %", "39 %"]


def test_shorten_keeps_both_ends_or_the_end() -> None:
    assert shorten("short") == "short"
    assert shorten("two\nlines") == "two lines"
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert shorten("abcdefghij", 5, "start") == "…ghij"


@given(st.lists(st.text(min_size=1, max_size=40), max_size=12), st.integers(8, 30))
def test_short_names_are_different_and_short(names: list[str], width: int) -> None:
    short = short_names(names, width)
    assert set(short) == set(names)
    assert len(set(short.values())) == len(set(names))
    assert all(len(text) <= width for text in short.values())
