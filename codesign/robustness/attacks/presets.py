"""Attacks from one line of text, as a command line has it: ``pgd:steps=50,restarts=2; square:queries=1000``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.adaptive import Adaptive
from codesign.robustness.attacks.apgd import APGD, TargetedAPGD
from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.carlini_wagner import CarliniWagner
from codesign.robustness.attacks.composition import AutoAttack, WorstCase
from codesign.robustness.attacks.deepfool import DeepFool
from codesign.robustness.attacks.eot import EOTPGD
from codesign.robustness.attacks.fab import TargetedFAB
from codesign.robustness.attacks.fgsm import FGSM
from codesign.robustness.attacks.nes import NES
from codesign.robustness.attacks.noise import RandomNoise
from codesign.robustness.attacks.norms import Norm
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.square import Square

__all__ = ["ATTACK_NAMES", "PRESET_NAMES", "attacks_from_text"]

_KINDS: dict[str, type[Attack]] = {
    "apgd": APGD,
    "apgd-t": TargetedAPGD,
    "cw": CarliniWagner,
    "deepfool": DeepFool,
    "eot-pgd": EOTPGD,
    "fab-t": TargetedFAB,
    "fgsm": FGSM,
    "nes": NES,
    "noise": RandomNoise,
    "pgd": PGD,
    "square": Square,
}


def _adaptive(norm: Norm, eps: float) -> Attack:
    """Every gradient mode under two attacks, then what needs no gradient."""
    return WorstCase(
        norm=norm,
        eps=eps,
        attacks=(
            Adaptive(norm=norm, eps=eps, attack=APGD(norm=norm, eps=eps)),
            Adaptive(norm=norm, eps=eps, attack=APGD(norm=norm, eps=eps, loss="dlr")),
            Square(norm=norm, eps=eps),
            NES(norm=norm, eps=eps),
        ),
    )


_PRESETS: dict[str, Callable[[Norm, float], Attack]] = {
    "adaptive": _adaptive,
    "apgd-ce": lambda norm, eps: APGD(norm=norm, eps=eps),
    "apgd-dlr": lambda norm, eps: APGD(norm=norm, eps=eps, loss="dlr"),
    "autoattack-rand": lambda norm, eps: AutoAttack(norm=norm, eps=eps, version="rand"),
    "autoattack-standard": lambda norm, eps: AutoAttack(norm=norm, eps=eps),
    "pgd10": lambda norm, eps: PGD(norm=norm, eps=eps, steps=10),
    "pgd20": lambda norm, eps: PGD(norm=norm, eps=eps, steps=20),
    "pgd50": lambda norm, eps: PGD(norm=norm, eps=eps, steps=50),
}

ATTACK_NAMES = tuple(_KINDS)
PRESET_NAMES = tuple(_PRESETS)


def attacks_from_text(text: str, norm: Norm, eps: float) -> tuple[Attack, ...]:
    """The attacks that a text names, in order: presets, or ``name:parameter=value,...``, separated by semicolons.

    Args:
        text: such as "autoattack-standard" or "pgd:steps=50,restarts=2; square:queries=1000".
        norm, eps: of every attack.

    Raises InputError for an empty text, an unknown name or parameter, a value of the wrong kind, or an attack twice.
    """
    pieces = [piece.strip() for piece in text.split(";") if piece.strip()]
    if not pieces:
        raise InputError("attacks must name at least one attack", got=text, key="attacks", fix='such as "pgd20"')
    chosen = tuple(_attack(piece, norm, eps) for piece in pieces)
    if len({repr(attack) for attack in chosen}) < len(chosen):
        raise InputError("attacks must differ", got=text, key="attacks")
    return chosen


def _attack(piece: str, norm: Norm, eps: float) -> Attack:
    name, colon, rest = (part.strip() for part in piece.partition(":"))
    name = name.lower()
    if name in _PRESETS:
        if colon:
            raise InputError("a preset takes no parameters", got=piece, key="attacks", fix=f"write {name!r} alone")
        return _PRESETS[name](norm, eps)
    if name not in _KINDS:
        raise InputError("unknown attack", got=name, key="attacks", fix=did_you_mean(name, (*_PRESETS, *_KINDS)))
    kind = _KINDS[name]
    known = {one.name: str(one.type) for one in fields(kind) if one.name not in ("norm", "eps")}
    parameters: dict[str, object] = {}
    for item in (part.strip() for part in rest.split(",") if part.strip()):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise InputError("a parameter is name=value", got=item, key=f"attacks.{name}", fix=f"{key}=...")
        if key not in known:
            fix = "norm and eps have settings of their own" if key in ("norm", "eps") else did_you_mean(key, known)
            raise InputError("unknown parameter", got=key, key=f"attacks.{name}", fix=fix)
        if key in parameters:
            raise InputError("a parameter is given once", got=piece, key=f"attacks.{name}.{key}")
        parameters[key] = _value(value, known[key], f"attacks.{name}.{key}")
    return kind(norm=norm, eps=eps, **parameters)


def _value(text: str, kind: str, key: str) -> object:
    """A value of the type that a field is annotated with: int, float (fractions are read too), bool or a name."""
    try:
        if kind.startswith("int"):
            return int(text)
        if kind.startswith("float"):
            above, _, below = text.partition("/")
            return float(above) / float(below) if below else float(above)
    except (ValueError, ZeroDivisionError):
        number = "a whole number" if kind.startswith("int") else "a number"
        raise InputError(f"the value must be {number}", got=text, key=key) from None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise InputError("the value must be true or false", got=text, key=key)
        return text.lower() == "true"
    return text
