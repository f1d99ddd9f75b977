"""Text as YAML scalars that every YAML reader takes as the same text."""

from __future__ import annotations

import re

__all__ = ["name_text", "quoted"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def name_text(text: str) -> str:
    """Plain where every YAML reader takes it as the same text, else in double quotes."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else quoted(text)


def quoted(text: str) -> str:
    """In double quotes; everything but printable ASCII is escaped (JSON's surrogate pairs are not YAML's)."""
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter in '\\"':
        return f"\\{letter}"
    if 0x20 <= code < 0x7F:
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
