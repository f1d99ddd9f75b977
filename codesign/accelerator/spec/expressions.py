"""Evaluates the arithmetic that an architecture file may hold ("ceil(log2(depth))"), and nothing else.

The text is parsed with Python's own grammar and walked by a whitelist: numbers, text, names, arithmetic,
comparisons, ``x if c else y``, look-ups and the functions of ``FUNCTIONS``. Nothing is executed, powers and sizes
are bounded, and a result is finite.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any

from codesign.accelerator.spec.nodes import Node
from codesign.errors import did_you_mean

__all__ = ["CONSTANTS", "FUNCTIONS", "ExpressionError", "evaluate", "evaluate_text"]

MAX_LENGTH = 1000
"""Most characters of one expression."""

_MAX_NODES = 300
_MAX_BITS = 4096
_MAX_DIGITS = 30


class ExpressionError(ValueError):
    """The text is not an expression that this module evaluates; the message says why."""


def _power(base: Any, exponent: Any, modulus: None = None) -> Any:
    if modulus is not None:
        raise ExpressionError("pow takes two arguments")
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) * base.bit_length() > _MAX_BITS:
        raise ExpressionError(f"the power {base} ** {exponent} is too large")
    return base**exponent


def _round(number: Any, digits: Any = None) -> Any:
    if digits is not None and abs(digits) > _MAX_DIGITS:
        raise ExpressionError(f"round takes at most {_MAX_DIGITS} digits")
    return round(number, digits)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": abs,
        "acos": math.acos,
        "asin": math.asin,
        "atan": math.atan,
        "atan2": math.atan2,
        "bool": bool,
        "ceil": math.ceil,
        "copysign": math.copysign,
        "cos": math.cos,
        "degrees": math.degrees,
        "exp": math.exp,
        "fabs": math.fabs,
        "float": float,
        "floor": math.floor,
        "fmod": math.fmod,
        "gcd": math.gcd,
        "hypot": math.hypot,
        "int": int,
        "isqrt": math.isqrt,
        "len": len,
        "log": math.log,
        "log10": math.log10,
        "log1p": math.log1p,
        "log2": math.log2,
        "max": max,
        "min": min,
        "pow": _power,
        "radians": math.radians,
        "round": _round,
        "sin": math.sin,
        "sqrt": math.sqrt,
        "str": str,
        "sum": sum,
        "tan": math.tan,
        "trunc": math.trunc,
    }
)
"""The functions an expression may call."""

CONSTANTS: Mapping[str, float] = MappingProxyType({"e": math.e, "pi": math.pi, "tau": math.tau})
"""Names with a value of their own; an attribute or a variable of the same name comes first."""

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def evaluate(node: Node, symbols: Mapping[str, object], what: str) -> object:
    """The value of a scalar: unquoted text is an expression over ``symbols``, everything else is itself.

    Raises:
        InputError: the text is no expression, names something unknown, or has no finite value.
    """
    if isinstance(node.value, float) and not isfinite(node.value):
        raise node.error(f"{what} must be finite", got=node.value)
    if not isinstance(node.value, str) or node.quoted:
        return node.value
    try:
        return evaluate_text(node.value, symbols)
    except ExpressionError as error:
        fix = f'if it is meant as text, put it in quotes: "{node.value}"'
        if node.value.count("(") != node.value.count(")"):
            fix = "inside {...} and [...] a comma ends a value: give the expression a line of its own"
        rule = f"{what} is not in quotes, so it is an expression, which cannot be evaluated: {error}"
        raise node.error(rule, got=repr(node.value), fix=fix) from error


def evaluate_text(text: str, symbols: Mapping[str, object]) -> object:
    """The value of an expression; raises ExpressionError with the reason if it has none."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"it may have at most {MAX_LENGTH} characters and has {len(text)}")
    try:
        with warnings.catch_warnings():
            # Python's tokenizer warns of text such as "1if x"; the message below is the one the user needs.
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(f"it is not valid ({reason})") from error
    if sum(1 for _ in ast.walk(tree)) > _MAX_NODES:
        raise ExpressionError("it is too long")
    try:
        value = _value(tree.body, symbols)
    except ExpressionError:
        raise
    except (ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise ExpressionError(str(error)) from error
    if isinstance(value, complex) or (isinstance(value, float) and not isfinite(value)):
        raise ExpressionError(f"its value is {value}")
    return value


def _value(node: ast.expr, symbols: Mapping[str, object]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() | None as value):
            return value
        case ast.Name(id=name):
            return _symbol(name, symbols)
        case ast.BinOp():
            return _binary(node, symbols)
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _UNARY[type(sign)](_value(operand, symbols))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, symbols) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, symbols) for value in values)
        case ast.Compare():
            return _compare(node, symbols)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, symbols) else other, symbols)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, symbols) for part in parts]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, [_value(argument, symbols) for argument in arguments])
        case ast.Subscript(value=inner, slice=key):
            return _look_up(_value(inner, symbols), _value(key, symbols))
        case ast.Attribute(value=inner, attr=name):
            return _look_up(_value(inner, symbols), name)
        case _:
            raise ExpressionError(f"{type(node).__name__} is not allowed in an expression")


def _symbol(name: str, symbols: Mapping[str, object]) -> object:
    if name in symbols:
        return symbols[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in FUNCTIONS:
        raise ExpressionError(f"{name} is a function and needs its arguments")
    hint = did_you_mean(name, symbols) if symbols else "no name is known here"
    raise ExpressionError(f"the name {name} is not known ({hint})")


def _binary(node: ast.BinOp, symbols: Mapping[str, object]) -> Any:
    operation = _BINARY.get(type(node.op))
    if operation is None:
        raise ExpressionError(f"the operator {type(node.op).__name__} is not allowed in an expression")
    left, right = _value(node.left, symbols), _value(node.right, symbols)
    both_text = isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add)
    if not both_text and not all(isinstance(operand, int | float) for operand in (left, right)):
        raise ExpressionError(f"arithmetic needs numbers and not {left!r} and {right!r}")
    value = operation(left, right)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ExpressionError("a number in it is too large")
    return value


def _compare(node: ast.Compare, symbols: Mapping[str, object]) -> bool:
    left = _value(node.left, symbols)
    for sign, part in zip(node.ops, node.comparators, strict=True):
        comparison = _COMPARE.get(type(sign))
        if comparison is None:
            raise ExpressionError(f"the comparison {type(sign).__name__} is not allowed in an expression")
        right = _value(part, symbols)
        if not comparison(left, right):
            return False
        left = right
    return True


def _call(name: str, arguments: list[Any]) -> Any:
    function = FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(f"there is no function {name} ({did_you_mean(name, FUNCTIONS)})")
    return function(*arguments)


def _look_up(container: Any, key: Any) -> Any:
    if isinstance(container, Mapping):
        if key not in container:
            known = did_you_mean(str(key), (str(name) for name in container))
            raise ExpressionError(f"it has no {key!r} ({known})")
        return container[key]
    if isinstance(container, list | tuple) and isinstance(key, int) and -len(container) <= key < len(container):
        return container[key]
    raise ExpressionError(f"{container!r} has no {key!r}")
