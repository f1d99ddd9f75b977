"""Reads YAML 1.2 into nodes that know their file and line, and refuses what would otherwise be silently wrong.

Refused: duplicate keys, unknown tags, files that are too large or not UTF-8, aliases that unfold without bound,
several documents, nesting without bound. The tags of Timeloop's architecture trees are known. Scalars follow YAML
1.2's core schema: ``1e-3`` is a number, ``on`` and ``N`` are text, ``012`` is twelve.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingStartEvent, NodeEvent, ScalarEvent, SequenceStartEvent

from codesign.accelerator.spec.nodes import Node, Scalar
from codesign.errors import InputError, did_you_mean

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "TAGS", "parse_yaml", "read_data", "read_yaml"]

MAX_BYTES = 4 * 2**20
"""Largest file that is read. A large energy table is some 100 kB; reading 4 MB takes seconds."""

MAX_NODES = 250_000
"""Most values in one file, aliases expanded."""

MAX_DEPTH = 64
"""Deepest nesting."""

TAGS = frozenset({"!Component", "!Container", "!Hierarchical", "!Parallel", "!Pipelined", "!Nothing"})
"""The local tags of Timeloop v0.4 architecture trees."""

_CORE = "tag:yaml.org,2002:"
_MERGE_KEYS = ("<<", "<<<")
_MAX_DIGITS = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_yaml(path: Path) -> Node:
    """The one document of a file.

    Raises:
        InputError: the file is missing, too large, not UTF-8 or not the YAML that this module accepts.
    """
    return parse_yaml(read_data(path), path)


def read_data(path: Path) -> bytes:
    """The bytes of a file that is small enough to be a specification; a larger one is refused unread."""
    try:
        if not path.is_file():
            raise InputError("this is not a file" if path.exists() else "there is no such file", path=path)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"a specification file may have at most {MAX_BYTES} bytes",
                got=f"{size} bytes",
                path=path,
                fix="is it the right file?",
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError("the file cannot be read", got=error.strerror or str(error), path=path) from error


def parse_yaml(data: bytes, path: Path) -> Node:
    """The one document in ``data``; ``path`` only names it in messages."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "the file must be UTF-8 text", got=f"byte {data[error.start]:#04x}", path=path, line=line
        ) from (error)
    try:
        return _Builder(text, path).document()
    except InputError as error:
        if error.fix is None and re.search(r"\{\{|\{%", text):
            error = InputError(
                error.rule,
                got=error.got,
                path=error.path,
                line=error.line,
                key=error.key,
                fix="templates ({{ }} and {% %}) are not rendered here: render them first",
            )
        raise error from error.__cause__


class _Builder:
    """Builds nodes from the parser's events; keeps the anchors of the document."""

    def __init__(self, text: str, path: Path) -> None:
        self._path = path
        self._anchors: dict[str, Node] = {}
        self._events = self._parse(text)

    def _parse(self, text: str) -> Iterator[Any]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = None if mark is None else mark.line + 1
            what = ", ".join(str(part) for part in (error.context, error.problem) if part)
            raise InputError("the file must be valid YAML", got=what, path=self._path, line=line) from error
        except YAMLError as error:
            raise InputError("the file must be valid YAML", got=str(error).splitlines()[0], path=self._path) from error

    def document(self) -> Node:
        """The only document; an empty file is an error."""
        found: Node | None = None
        for event in self._events:
            if isinstance(event, NodeEvent):
                if found is not None:
                    raise InputError(
                        "a file must hold one document", got="a second one", path=self._path, line=_line(event)
                    )
                found = self._node(event, "", 0)
        if found is None or found.value is None:
            raise InputError("the file must not be empty", path=self._path)
        return found

    def _node(self, event: Any, key: str, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._aliased(event, key)
        node = Node(None, path=self._path, line=_line(event), key=key)
        if depth > MAX_DEPTH:
            raise node.error(f"values may be nested at most {MAX_DEPTH} deep")
        # An anchor is known only after its value is complete, so that a value cannot contain itself.
        if isinstance(event, ScalarEvent):
            _fill_scalar(node, event)
        elif isinstance(event, SequenceStartEvent):
            self._fill_list(node, event, depth)
        else:
            self._fill_mapping(node, event, depth)
        if node.weight > MAX_NODES:
            raise node.error(f"a file may hold at most {MAX_NODES} values, aliases expanded")
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: Any, key: str) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise InputError(
                "an alias must name an anchor that is complete before it",
                got=f"*{event.anchor}",
                path=self._path,
                line=_line(event),
                key=key,
            )
        return target

    def _fill_list(self, node: Node, start: Any, depth: int) -> None:
        node.tag = _tag(node, start)
        if node.tag is not None:
            raise node.error(f"{node.tag} must be on a mapping", got="a list")
        items: list[Node] = []
        while isinstance(event := next(self._events), NodeEvent):
            item = self._node(event, f"{node.key}[{len(items)}]", depth + 1)
            items.append(item)
            self._grow(node, item)
        node.value = items

    def _fill_mapping(self, node: Node, start: MappingStartEvent, depth: int) -> None:
        node.tag = _tag(node, start)
        entries: dict[str, Node] = {}
        merges: list[tuple[str, Node]] = []
        while isinstance(event := next(self._events), NodeEvent):
            name = self._key(event, node)
            value = self._node(next(self._events), f"{node.key}.{name}" if node.key else name, depth + 1)
            self._grow(node, value)
            if name in _MERGE_KEYS:
                merges.append((name, value))
            elif name in entries:
                raise InputError(
                    "a key may be given once",
                    got=f"a second `{name}`",
                    path=self._path,
                    line=_line(event),
                    key=node.key or None,
                    fix=f"the first one is on line {entries[name].line}",
                )
            else:
                entries[name] = value
        for name, value in merges:
            _merge(entries, value, recursive=name == "<<<")
        node.value = entries

    def _grow(self, node: Node, child: Node) -> None:
        node.weight += child.weight
        if node.weight > MAX_NODES:
            raise node.error(f"a file may hold at most {MAX_NODES} values, aliases expanded")

    def _key(self, event: Any, parent: Node) -> str:
        if isinstance(event, ScalarEvent):
            return str(event.value)
        raise InputError(
            "a key must be plain text",
            got="a mapping, list or alias",
            path=self._path,
            line=_line(event),
            key=parent.key or None,
        )


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag(node: Node, event: Any) -> str | None:
    """The local tag of a collection; the core schema's own tags say nothing new."""
    if event.ctag is None or str(event.ctag) in ("", "!", f"{_CORE}map", f"{_CORE}seq"):
        return None
    tag = str(event.ctag)
    if tag not in TAGS:
        raise node.error("the tag must be known", got=tag, fix=did_you_mean(tag, TAGS))
    return tag


def _fill_scalar(node: Node, event: Any) -> None:
    text = str(event.value)
    node.quoted = event.style in ("'", '"')
    tag = None if event.ctag is None else str(event.ctag)
    if tag in TAGS:
        if text:
            raise node.error(f"{tag} must be on a mapping", got=repr(text))
        node.tag = tag
    elif tag == f"{_CORE}str" or (tag is None and event.style is not None and event.style != ""):
        node.value = text
        node.quoted = node.quoted or tag is not None
    elif tag in (None, "", "!"):
        node.value = text if tag == "!" else _resolve(node, text)
        node.quoted = node.quoted or tag == "!"
    elif tag in (f"{_CORE}int", f"{_CORE}float", f"{_CORE}bool", f"{_CORE}null"):
        node.value = _resolve(node, text)
    else:
        raise node.error("the tag must be known", got=tag, fix=did_you_mean(str(tag), TAGS))


def _resolve(node: Node, text: str) -> Scalar:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) <= _MAX_DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _SPECIAL_FLOAT.fullmatch(text):
            return float(text.lstrip("+").replace(".", ""))
    elif _FLOAT.fullmatch(text):
        raise node.error(f"a number may have at most {_MAX_DIGITS} characters", got=f"{len(text)} characters")
    return text


def _merge(entries: dict[str, Node], source: Node, *, recursive: bool) -> None:
    """YAML's merge key ``<<`` (own keys win), and Timeloop's ``<<<``, which also merges the mappings inside."""
    if source.is_list and not recursive:
        for one in source.items():
            _merge(entries, one, recursive=False)
        return
    for name, value in source.mapping("what is merged").items():
        mine = entries.get(name)
        if mine is None:
            entries[name] = value
        elif recursive and isinstance(mine.value, dict) and isinstance(value.value, dict):
            inner = dict(mine.value)
            _merge(inner, value, recursive=True)
            entries[name] = Node(inner, path=mine.path, line=mine.line, key=mine.key, tag=mine.tag)
