"""The expression evaluator: arithmetic as in Python, nothing else, within bounds."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.spec.expressions import FUNCTIONS, ExpressionError, evaluate, evaluate_text
from codesign.accelerator.spec.nodes import Node
from codesign.errors import InputError

SYMBOLS = {"depth": 300, "width": 64, "chip": {"attributes": {"lanes": 8}, "spatial": {"meshX": 4}}, "kinds": [1, 2, 3]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("7 // 2 + 7 % 2", 4),
        ("2 ** 10", 1024),
        ("pow(2, 3)", 8),
        ("ceil(log2(depth))", 9),
        ("max(1, floor(width / 3), 5)", 21),
        ("min(depth, width)", 64),
        ("depth if width > 32 else 0", 300),
        ("width >= 64 and not depth == 0", True),
        ("1 < 2 < 3", True),
        ("-abs(-3)", -3),
        ("sqrt(16) + round(2.6) + int(3.9) + float(1)", 11.0),
        ("'a' + 'b'", "ab"),
        ('chip.attributes["lanes"] * chip.spatial.meshX', 32),
        ("kinds[0] + kinds[-1] + len(kinds) + sum(kinds)", 13),
        ("  width\n", 64),
        ("None", None),
        ("e", math.e),
    ],
)
def test_values(text: str, value: object) -> None:
    assert evaluate_text(text, SYMBOLS) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("LPDDR4", "the name LPDDR4 is not known"),
        ("widht * 2", "did you mean width"),
        ("45nm", "not valid"),
        ("__import__('os')", "no function __import__"),
        ("open('x')", "no function open"),
        ("(1).__class__", "has no '__class__'"),
        ("[x for x in [1]]", "ListComp is not allowed"),
        ("lambda: 1", "Lambda is not allowed"),
        ("f'{width}'", "JoinedStr is not allowed"),
        ("width := 3", "not valid"),
        ("1 << 100", "LShift is not allowed"),
        ("9 ** 9 ** 9", "too large"),
        ("pow(10, 100000)", "too large"),
        ("pow(2, 3, 5)", "pow takes two"),
        ("round(12345, -1000000000)", "round takes at most"),
        ("'a' * 1000000", "arithmetic needs numbers"),
        ("1 / 0", "division by zero"),
        ("log2(0)", "domain error"),
        ("1e308 * 10", "its value is inf"),
        ("(-8) ** 0.5", "its value is"),
        ("max", "max is a function"),
        ("max(1, key=2)", "Call is not allowed"),
        ("chip.attributes.lane", "did you mean lanes"),
        ("kinds[5]", "has no 5"),
        ("", "not valid"),
        ("1" + "+1" * 400, "too long"),
        ("1" * 2000, "at most 1000 characters"),
        ("(" * 300 + "1" + ")" * 300, "not valid"),
        ("b'x'", "Constant is not allowed"),
        ("1j", "Constant is not allowed"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_text(text, SYMBOLS)
    assert why in str(caught.value)


def node(value: str, *, quoted: bool) -> Node:
    return Node(value, path=Path("a.yaml"), line=3, key="architecture.nodes[0].attributes.type", quoted=quoted)


def test_quoted_text_is_never_an_expression() -> None:
    assert evaluate(node("width * 2", quoted=True), SYMBOLS, "type") == "width * 2"
    assert evaluate(node("width * 2", quoted=False), SYMBOLS, "type") == 128


def test_the_error_says_to_quote() -> None:
    with pytest.raises(InputError) as caught:
        evaluate(node("LPDDR4", quoted=False), SYMBOLS, "type")
    message = str(caught.value)
    assert message.startswith("a.yaml:3: architecture.nodes[0].attributes.type: ")
    assert 'put it in quotes: "LPDDR4"' in message


numbers = st.integers(-50, 50)
arithmetic = st.recursive(
    numbers.map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", ">="]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    ),
    max_leaves=8,
)


@given(arithmetic)
def test_arithmetic_is_pythons(text: str) -> None:
    """Oracle: the interpreter itself, on text that this test made."""
    try:
        want = eval(text, {"__builtins__": {"min": min, "max": max}})
    except ZeroDivisionError:
        with pytest.raises(ExpressionError):
            evaluate_text(text, {})
    else:
        assert evaluate_text(text, {}) == want


@given(st.text("abwidth0123456789.+-*/()[]{}<>=!,'\" \n:_@~%^&|", max_size=40))
def test_any_text_has_a_value_or_a_reason(text: str) -> None:
    with suppress(ExpressionError):
        evaluate_text(text, SYMBOLS)


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(st.integers(-3, 3) | st.floats(-3, 3), max_size=3))
def test_functions_have_a_finite_value_or_a_reason(name: str, arguments: list[float]) -> None:
    text = f"{name}({', '.join(map(repr, arguments))})"
    with suppress(ExpressionError):
        value = evaluate_text(text, {})
        assert not isinstance(value, float) or math.isfinite(value)
