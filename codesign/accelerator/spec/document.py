"""Several YAML files as one specification: which top-level key means what, and what is given where.

As in the real front end, the keys ``components``, ``constraints``, ``mapping`` and ``globals`` match in part
(``compound_components``, ``architecture_constraints``), and lists of the same section add up over the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.yaml_reader import parse_yaml, read_data
from codesign.errors import InputError, did_you_mean

__all__ = ["Document", "check_version", "document_from_text", "read_document"]

_PARTIAL = ("components", "constraints", "mapping", "globals")
_ONCE = frozenset({"problem", "ERT", "ART"})
_VERSION = "0.4"


@dataclass(frozen=True)
class Document:
    """The sections of a specification, each with the nodes that give it, in file order.

    ``sha256`` covers names and contents of the files.
    """

    paths: tuple[Path, ...]
    sha256: str
    sections: dict[str, tuple[Node, ...]]

    def get(self, section: str) -> tuple[Node, ...]:
        """All nodes of a section; empty if no file gives it."""
        return self.sections.get(section, ())

    def one(self, section: str) -> Node | None:
        """The node of a section that may be given once; None if no file gives it."""
        found = self.get(section)
        return found[0] if found else None

    def require(self, section: str, why: str) -> tuple[Node, ...]:
        """All nodes of a section; an error that says ``why`` it is needed if no file gives it."""
        found = self.get(section)
        if not found:
            names = ", ".join(str(path) for path in self.paths)
            raise InputError(
                f"the top-level key `{section}` is missing",
                got=f"only {', '.join(self.sections) or 'nothing'} in {names}",
                fix=why,
            )
        return found


def read_document(paths: Sequence[Path]) -> Document:
    """Read and merge files; a file given twice counts once.

    Raises:
        InputError: no file is given, a file cannot be read, a top-level key is unknown or given twice.
    """
    if not paths:
        raise InputError("at least one YAML file is needed")
    unique = tuple(dict.fromkeys(Path(path) for path in paths))
    sections: dict[str, tuple[Node, ...]] = {}
    digest = sha256()
    for path in unique:
        data = read_data(path)
        digest.update(path.name.encode() + b"\0" + sha256(data).digest())
        _add(sections, parse_yaml(data, path))
    return Document(unique, digest.hexdigest(), sections)


def document_from_text(text: str, name: str) -> Document:
    """A document from text, for what was never a file; ``name`` stands in its messages."""
    data = text.encode()
    sections: dict[str, tuple[Node, ...]] = {}
    _add(sections, parse_yaml(data, Path(name)))
    return Document((Path(name),), sha256(data).hexdigest(), sections)


def _add(sections: dict[str, tuple[Node, ...]], root: Node) -> None:
    if not root.is_mapping:
        raise root.error("a specification file must be a mapping of sections", got=root.describe())
    for key, node in root.mapping().items():
        section = _section(key, node)
        if section is None:
            continue
        earlier = sections.get(section, ())
        if earlier and section in _ONCE:
            raise node.error(
                f"`{section}` may be given once", fix=f"it is also in {earlier[0].path}, line {earlier[0].line}"
            )
        sections[section] = (*earlier, node)


def _section(key: str, node: Node) -> str | None:
    """The section that a top-level key means; None for one that is ignored on purpose, as in the real front end."""
    known = keys("file")
    if key in known:
        return key
    if "ignore" in key:
        return None
    for part in _PARTIAL:
        if part in key:
            return part
    raise node.error("the top-level key must be known", got=key, fix=did_you_mean(key, known))


def check_version(section: Node) -> None:
    """The ``version`` of a section must be 0.4 where it is given."""
    version = section.mapping().get("version")
    if version is not None and str(version.value) != _VERSION:
        raise version.error(
            f"only version {_VERSION} of the input format is read",
            got=version.describe(),
            fix="older files have no `nodes`; convert them to v0.4",
        )
