"""What a training run leaves on disk after every epoch, so that a killed run continues bit for bit."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from codesign.errors import InputError
from codesign.training.config import TrainingConfig

__all__ = ["STATE_FILE", "load_state", "save_state", "write_atomically"]

STATE_FILE = "state.pt"
_FORMAT = 1


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path`` and move it into place: a reader never sees half a file."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes files that only their owner can read; give them what any new file gets.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(folder: Path, state: dict[str, Any], config: TrainingConfig) -> None:
    """Write the state of a run: tensors and plain values only, so that it loads without executing anything."""
    content = {"format": _FORMAT, "config": config.record(), **state}
    write_atomically(folder / STATE_FILE, lambda path: torch.save(content, path))


def load_state(folder: Path, config: TrainingConfig) -> dict[str, Any] | None:
    """The state that a run left in ``folder``; None if there is none.

    Raises:
        InputError: the file is damaged, or belongs to a run with another config.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise InputError(
            "the state of a training run must be readable",
            got=str(error).splitlines()[0],
            path=path,
            fix="it is damaged; delete it to train from the start",
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise InputError(f"the state of a training run must have format {_FORMAT}", path=path)
    ours = config.record()
    differing = [key for key in ours if state["config"].get(key) != ours[key]]
    if differing:
        got = ", ".join(f"{key}: {state['config'].get(key)!r} there, {ours[key]!r} here" for key in differing)
        raise InputError(
            "a run can only be resumed with the config that it was started with",
            got=got,
            path=path,
            fix="use the same values, or another --out",
        )
    return state
