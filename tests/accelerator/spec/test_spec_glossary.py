"""The glossary explains every key that a reader knows, and only those."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import codesign.accelerator.spec as spec
from codesign.accelerator.spec.glossary import GLOSSARY, explain_key, keys

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in Path(str(spec.__path__[0])).glob("*.py")}


def test_every_entry_is_whole_and_unique() -> None:
    places = [(entry.section, entry.key) for entry in GLOSSARY]
    assert len(set(places)) == len(places)
    for entry in GLOSSARY:
        assert entry.meaning.endswith("."), entry
        assert entry.unit, entry
        assert entry.default, entry


def test_the_readers_take_their_keys_from_the_glossary() -> None:
    """Every look-up of a key by a literal, and every section that a reader asks for, is in the glossary."""
    known = {entry.key for entry in GLOSSARY}
    readers = [
        name for name in SOURCES if name.endswith("_reader") or name in ("tree", "directives", "rules", "document")
    ]
    for name in readers:
        literals = re.findall(r'(?:required\(|entries\.get\(|entries\[|mapping\(\)\.get\()"([\w-]+)"', SOURCES[name])
        assert set(literals) <= known, name
    attributes = re.findall(r"attributes\.(?:integer|number|flag|text|has)\(([^)]*)\)", SOURCES["levels"])
    for arguments in attributes:
        for key in re.findall(r'"([\w-]+)"', arguments):
            assert key in keys("attributes"), key


def test_every_section_is_used_by_a_reader() -> None:
    asked = " ".join(SOURCES.values())
    for section in {entry.section for entry in GLOSSARY}:
        assert f'"{section}"' in asked.replace(SOURCES["glossary"], ""), section


def test_look_ups() -> None:
    assert {entry.section for entry in explain_key("name")} >= {"node", "shape", "data_space"}
    assert explain_key("nonsense") == ()
    assert "meshX" in keys("spatial")
    with pytest.raises(KeyError):
        keys("no such section")
