"""The networks that the project defines itself: names, shapes, normalisation, sources."""

from __future__ import annotations

from codesign.models.zoo.registry import ZOO, ZooEntry, zoo_entry

__all__ = ["ZOO", "ZooEntry", "zoo_entry"]
