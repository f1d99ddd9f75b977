"""The attacks, and the ``Attack`` seam for others. Importing this imports torch."""

from codesign.robustness.attacks.apgd import APGD, TargetedAPGD
from codesign.robustness.attacks.base import Attack, AttackResult
from codesign.robustness.attacks.composition import AutoAttack, WorstCase
from codesign.robustness.attacks.fab import TargetedFAB
from codesign.robustness.attacks.fgsm import FGSM
from codesign.robustness.attacks.norms import L2, Linf, Norm, norm_from_name
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.square import Square

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "PGD",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "Linf",
    "Norm",
    "Square",
    "TargetedAPGD",
    "TargetedFAB",
    "WorstCase",
    "norm_from_name",
]
