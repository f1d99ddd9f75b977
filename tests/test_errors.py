"""Every error says where, what was got, the rule and the fix."""

from __future__ import annotations

from codesign.errors import InputError, did_you_mean


def test_message_has_all_parts() -> None:
    error = InputError("depth must be positive", got=-4, path="a.yaml", line=7, key="nodes[1].depth", fix="give words")
    assert str(error) == "a.yaml:7: nodes[1].depth: depth must be positive (got -4); give words"


def test_message_with_the_rule_alone() -> None:
    assert str(InputError("no images")) == "no images"


def test_suggestions() -> None:
    assert did_you_mean("steps_size", ["step_size", "steps", "eps"]).startswith("did you mean step_size")
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
