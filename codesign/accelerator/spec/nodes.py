"""What a YAML file says, with the file and line of every value: the form in which the readers see their input.

A ``Node`` knows its place, so that whatever a reader finds wrong becomes one message with path, line and dotted key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from codesign.errors import InputError, did_you_mean

__all__ = ["Node", "Scalar", "Value"]

Scalar = str | int | float | bool | None
"""A value that YAML 1.2's core schema can write in one scalar."""


_LONGEST_SHOWN = 200


class Node:
    """One value of a YAML file and its place.

    Args:
        value: a mapping from text keys, a list, or a scalar.
        tag: the local tag ("!Component") or None.
        path, line, key: the file, the 1-based line and the dotted path of the value.
        quoted: the scalar was written in quotes, so it is literal text and never an expression.
        weight: values in this one, aliases expanded; bounds what a small file can unfold to.
    """

    __slots__ = ("key", "line", "path", "quoted", "tag", "value", "weight")

    def __init__(
        self,
        value: Value,
        *,
        path: Path,
        line: int,
        key: str,
        tag: str | None = None,
        quoted: bool = False,
        weight: int = 1,
    ) -> None:
        self.value = value
        self.path = path
        self.line = line
        self.key = key
        self.tag = tag
        self.quoted = quoted
        self.weight = weight

    def __repr__(self) -> str:
        return f"Node({self.key} at {self.path}:{self.line})"

    def error(self, rule: str, *, got: object = None, fix: str | None = None) -> InputError:
        """The error that this value breaks ``rule``; the caller raises it."""
        if isinstance(got, str) and len(got) > _LONGEST_SHOWN:
            got = f"{got[:_LONGEST_SHOWN]}... ({len(got)} characters)"
        return InputError(rule, got=got, path=self.path, line=self.line, key=self.key or None, fix=fix)

    @property
    def is_mapping(self) -> bool:
        """True for a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """True for a list."""
        return isinstance(self.value, list)

    def describe(self) -> str:
        """The value as an error message shows it."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return "nothing" if self.value is None else repr(self.value)

    def mapping(self, what: str = "this") -> Mapping[str, Node]:
        """The value as a mapping; nothing at all counts as an empty one."""
        if isinstance(self.value, dict):
            return self.value
        if self.value is None:
            return {}
        raise self.error(f"{what} must be a mapping", got=self.describe())

    def items(self, what: str = "this") -> Sequence[Node]:
        """The value as a list; nothing at all counts as an empty one."""
        if isinstance(self.value, list):
            return self.value
        if self.value is None:
            return ()
        raise self.error(f"{what} must be a list", got=self.describe())

    def text(self, what: str = "this") -> str:
        """The value as non-empty text."""
        if isinstance(self.value, str) and self.value:
            return self.value
        raise self.error(f"{what} must be text", got=self.describe())

    def texts(self, what: str = "this") -> tuple[str, ...]:
        """The value as a list of text, or one text as a list of one."""
        if isinstance(self.value, str):
            return (self.text(what),)
        return tuple(item.text(f"an entry of {what}") for item in self.items(what))

    def boolean(self, what: str = "this") -> bool:
        """The value as true or false."""
        if isinstance(self.value, bool):
            return self.value
        raise self.error(f"{what} must be true or false", got=self.describe(), fix="YAML 1.2 knows only true and false")

    def number(self, what: str = "this") -> float:
        """The value as a finite number."""
        value = self.value
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return float(value)
        raise self.error(f"{what} must be a finite number", got=self.describe())

    def integer(self, what: str = "this") -> int:
        """The value as an integer; 1e3 counts, 1.5 does not."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self.error(f"{what} must be an integer", got=self.describe())

    def only(self, known: Iterable[str], what: str) -> Mapping[str, Node]:
        """The value as a mapping whose keys are all known; names the nearest known key otherwise."""
        mapping, names = self.mapping(what), frozenset(known)
        for key, node in mapping.items():
            if key not in names:
                raise node.error(f"{what} has no such key", got=key, fix=did_you_mean(key, names))
        return mapping

    def required(self, key: str, what: str) -> Node:
        """The value of ``key`` in this mapping; an error if it is missing."""
        mapping = self.mapping(what)
        if key not in mapping:
            raise self.error(f"{what} needs `{key}`", got=f"only {', '.join(mapping) or 'nothing'}")
        return mapping[key]


Value = Scalar | dict[str, Node] | list[Node]
"""What a node holds."""
