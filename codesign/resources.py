"""Where the files that ship with the package are, in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

__all__ = ["arch_specs_dir", "bundled_dir", "examples_dir", "mappings_dir"]

_PACKAGE = Path(__file__).resolve().parent


def _shipped(folder: str) -> Path:
    """A folder that lives at the repository's top level and inside the package in a wheel (see pyproject.toml)."""
    installed = _PACKAGE / "_resources" / folder
    return installed if installed.is_dir() else _PACKAGE.parent / folder


def arch_specs_dir() -> Path:
    """The accelerator architectures (Timeloop v0.4 YAML) that ship with the package."""
    return _shipped("arch_specs")


def mappings_dir() -> Path:
    """The mappings that ship with the package."""
    return _shipped("mappings")


def examples_dir() -> Path:
    """Example configurations of ``codesign evaluate``."""
    return _shipped("examples")


def bundled_dir() -> Path:
    """The data subset and the trained checkpoints that ship with the package."""
    return _PACKAGE / "bundled"
