"""One door for every kind of model: a zoo name, a factory, an exported program or a network file, and its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError, did_you_mean
from codesign.models.checkpoints import load_weights, read_checkpoint
from codesign.models.factories import build_from_factory
from codesign.models.normalization import Normalization, Normalized
from codesign.models.programs import read_program
from codesign.models.saved import holds_defended, read_network
from codesign.models.zoo import ZOO, ZooEntry
from codesign.resources import bundled_dir

__all__ = ["LoadedModel", "load_model"]

_RANDOM = "random:"
_TAKEN_AS_PIXELS = "none declared: the module is taken to expect pixels in [0, 1]"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that takes pixels in [0, 1] of shape (n, *input_shape) and returns logits (n, num_classes).

    Args:
        name: as it was asked for.
        module: in eval mode; whether its parameters require gradients is left to the caller.
        input_shape: channels, height, width.
        num_classes: number of logits.
        normalization: that the module applies to the pixels, None where it declares none.
        source: for the record: kind, factory or publication, weights with file name and sha256.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, int, int]
    num_classes: int
    normalization: Normalization | None
    source: dict[str, Any] = field(default_factory=dict)


def load_model(
    model: str,
    *,
    checkpoint: Path | str | None = None,
    num_classes: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    default_input_shape: tuple[int, int, int] | None = None,
    normalization: Normalization | None = None,
) -> LoadedModel:
    """Load a model by what ``--model`` and ``--checkpoint`` say.

    Args:
        model: a zoo name; ``module:factory`` or ``file.py:factory``; the path of a ``torch.export`` program (.pt2); or
            that of a network file (.json) such as ``codesign prune`` (network.json) and ``codesign train --defense``
            (neni.json) write, whose weights lie beside it.
        checkpoint: file with the weights. A zoo name that ships with weights needs none; a factory's network may come
            with its own weights. ``random:SEED`` asks for random weights of a zoo network and is recorded as such.
        num_classes: for a zoo network or factory that takes it; checked against the logits in every case.
        input_shape: channels, height, width. Needed for a factory unless its network has an attribute of that name or
            there is a default.
        default_input_shape: taken where nothing else tells a factory's; the data's, usually.
        normalization: replaces a zoo entry's; put in front of a factory's or program's network.

    Raises:
        InputError: unknown model, missing or unfit weights, or a network that does not map
            (2, *input_shape) to (2, classes).
    """
    request = _Request(checkpoint, num_classes, input_shape, default_input_shape, normalization)
    if model in ZOO:
        return _from_zoo(ZOO[model], request)
    if model.endswith(".pt2"):
        return _from_program(Path(model), request)
    if model.endswith(".json"):
        read = _from_defended_file if holds_defended(Path(model)) else _from_network_file
        return read(Path(model), request)
    if ":" in model:
        return _from_factory(model, request)
    raise InputError(
        "the model must be a zoo name, module:factory, a .pt2 program or a .json network file",
        got=model,
        key="--model",
        fix=did_you_mean(model, ZOO),
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """What ``load_model`` was given beside the model."""

    checkpoint: Path | str | None
    num_classes: int | None
    input_shape: tuple[int, int, int] | None
    default_input_shape: tuple[int, int, int] | None
    normalization: Normalization | None

    @property
    def seed(self) -> int | None:
        """The seed of ``random:SEED``; None where the checkpoint is something else."""
        text = str(self.checkpoint)
        if not text.startswith(_RANDOM):
            return None
        if not text.removeprefix(_RANDOM).isdecimal():
            raise InputError("random weights need a seed", got=text, key="--checkpoint", fix="write random:0")
        return int(text.removeprefix(_RANDOM))


def _from_zoo(entry: ZooEntry, request: _Request) -> LoadedModel:
    num_classes = entry.num_classes if request.num_classes is None else request.num_classes
    if request.seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(request.seed)
            network = entry.factory(num_classes)
        weights: dict[str, Any] = {"kind": "random", "seed": request.seed}
    else:
        path, kind = _weights_of(entry, request)
        # On the meta device nothing is initialised that the checkpoint replaces anyway, and no random draw happens.
        with torch.device("meta"):
            network = entry.factory(num_classes)
        weights = _load_file(network, path, kind)
    module = Normalized(network, request.normalization or entry.normalization)
    source = {"kind": "zoo", "factory": entry.name, "reference": entry.source, "weights": weights}
    return _finished(entry.name, module, request.input_shape or entry.input_shape, request.num_classes, source)


def _weights_of(entry: ZooEntry, request: _Request) -> tuple[Path, str]:
    """The file that holds the weights, and whether it is the user's or the package's."""
    if request.checkpoint is not None:
        return Path(request.checkpoint), "file"
    if entry.checkpoint is not None:
        return bundled_dir() / "checkpoints" / entry.checkpoint, "bundled"
    shipped = ", ".join(name for name, other in ZOO.items() if other.checkpoint is not None)
    raise InputError(
        f"{entry.name} ships without weights and needs a checkpoint",
        key="--checkpoint",
        fix=f"give --checkpoint FILE, or random:SEED for random weights; with weights ship {shipped}",
    )


def _load_file(network: nn.Module, path: Path, kind: str) -> dict[str, Any]:
    read = read_checkpoint(path)
    load_weights(network, read)
    return {
        "kind": kind,
        "path": path.name if kind == "bundled" else str(path),
        "sha256": read.sha256,
        "format": read.format,
    }


def _from_factory(spec: str, request: _Request) -> LoadedModel:
    if request.seed is not None:
        raise InputError(
            "random weights are for zoo networks; a factory makes its own",
            got=str(request.checkpoint),
            key="--checkpoint",
            fix="leave --checkpoint out to take the network as the factory returns it",
        )
    module = build_from_factory(spec, request.num_classes)
    shape = request.input_shape or getattr(module, "input_shape", None) or request.default_input_shape
    if shape is None:
        raise InputError(
            f"the input shape of {spec} must be known",
            key="--input-shape",
            fix="give channels, height and width, or give the network an attribute input_shape",
        )
    weights: dict[str, Any] = {"kind": "factory"}
    if request.checkpoint is not None:
        network = module.network if isinstance(module, Normalized) else module
        weights = _load_file(network, Path(request.checkpoint), "file")
    source = {"kind": "factory", "factory": spec, "weights": weights}
    module = _normalized(module, request.normalization)
    return _finished(spec, module, _checked_shape(shape), request.num_classes, source)


def _from_program(path: Path, request: _Request) -> LoadedModel:
    if request.checkpoint is not None:
        raise InputError(
            "a program brings its own weights",
            got=str(request.checkpoint),
            key="--checkpoint",
            fix="leave --checkpoint out",
        )
    program = read_program(path)
    if request.input_shape is not None and request.input_shape != program.input_shape:
        raise InputError(
            f"the program takes images of shape {program.input_shape}",
            got=request.input_shape,
            path=path,
            key="--input-shape",
        )
    weights = {"kind": "program", "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    source = {"kind": "program", "factory": path.name, "weights": weights}
    module = _normalized(program.network, request.normalization)
    return _finished(str(path), module, program.input_shape, request.num_classes, source)


def _from_network_file(path: Path, request: _Request) -> LoadedModel:
    saved = read_network(path)
    if request.seed is not None or request.input_shape not in {None, saved.input_shape}:
        raise InputError(
            f"a network file brings its weights and its input shape {saved.input_shape}",
            got=request.input_shape if request.seed is None else str(request.checkpoint),
            path=path,
            key="--input-shape" if request.seed is None else "--checkpoint",
            fix="leave it out",
        )
    own = request.checkpoint is None
    weights = _load_file(saved.network, saved.weights if own else Path(str(request.checkpoint)), "file")
    if own and weights["sha256"] != saved.weights_sha256:
        raise InputError(
            "the weights beside a network file must be those that it was written with",
            got=f"sha256 {weights['sha256'][:12]} instead of {saved.weights_sha256[:12]}",
            path=saved.weights,
            key="--model",
            fix="they belong to another network file, or are damaged; give --checkpoint to use them all the same",
        )
    described = {"path": str(path), "sha256": saved.sha256}
    source = {"kind": "network", "factory": path.name, "description": described, "weights": weights}
    if saved.origin:
        source["origin"] = saved.origin
    bare = saved.network if saved.normalization is None else Normalized(saved.network, saved.normalization)
    module = _normalized(bare, request.normalization)
    return _finished(str(path), module, saved.input_shape, request.num_classes, source)


def _from_defended_file(path: Path, request: _Request) -> LoadedModel:
    # Imported here: the method lies right of the models, and is only needed by a model that has it.
    from codesign.defenses.neni.saving import load_defended

    found = load_defended(path).loaded()
    given = {
        "--checkpoint": request.checkpoint,
        "--input-shape": None if request.input_shape == found.input_shape else request.input_shape,
        "normalization": request.normalization,
    }
    for key, value in given.items():
        if value is not None:
            raise InputError(
                f"a defended network brings its weights, normalisation and input shape {found.input_shape}",
                got=str(value),
                path=path,
                key=key,
                fix="leave it out",
            )
    return _finished(str(path), found.module, found.input_shape, request.num_classes, found.source)


def _normalized(module: nn.Module, normalization: Normalization | None) -> nn.Module:
    if normalization is None:
        return module
    if isinstance(module, Normalized):
        raise InputError(
            "a network that normalises its input cannot be given another normalisation",
            got=f"mean {module.normalization.mean}, std {module.normalization.std} from the factory",
            key="--model",
            fix="return the bare network from the factory, or leave the normalisation to it",
        )
    return Normalized(module, normalization)


def _checked_shape(value: Any) -> tuple[int, int, int]:
    if not (isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(s, int) and s > 0 for s in value)):
        raise InputError("an input shape is three positive integers (channels, height, width)", got=value)
    return (value[0], value[1], value[2])


def _finished(
    name: str,
    module: nn.Module,
    input_shape: tuple[int, int, int],
    num_classes: int | None,
    source: dict[str, Any],
) -> LoadedModel:
    """Eval mode, and one forward pass of two black images: it proves the shapes and counts the logits."""
    module.eval()
    normalization = module.normalization if isinstance(module, Normalized) else None
    _check_channels(name, input_shape, normalization)
    pixels = torch.zeros((2, *input_shape))
    try:
        with torch.no_grad():
            logits = module(pixels)
    except Exception as error:
        raise InputError(
            f"{name} must take images of shape {input_shape}",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            key="--input-shape",
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"{name} must return logits (2, classes) for two images", got=got, key="--model")
    if num_classes is not None and logits.shape[1] != num_classes:
        raise InputError(f"{name} must return {num_classes} logits", got=f"{logits.shape[1]}", key="--num-classes")
    record = normalization.record() if normalization is not None else _TAKEN_AS_PIXELS
    return LoadedModel(name, module, input_shape, logits.shape[1], normalization, source | {"normalization": record})


def _check_channels(name: str, input_shape: tuple[int, int, int], normalization: Normalization | None) -> None:
    if normalization is not None and len(normalization.mean) not in {1, input_shape[0]}:
        raise InputError(
            f"the normalisation of {name} must have one value a channel",
            got=f"{len(normalization.mean)} values for {input_shape[0]} channels",
            key="--model",
        )
