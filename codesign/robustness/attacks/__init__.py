"""The attacks, and the ``Attack`` seam for others. Importing this imports torch."""

from codesign.robustness.attacks.adaptive import Adaptive, GradientMode, GradientModes
from codesign.robustness.attacks.apgd import APGD, TargetedAPGD
from codesign.robustness.attacks.base import Attack, AttackResult
from codesign.robustness.attacks.carlini_wagner import CarliniWagner
from codesign.robustness.attacks.composition import AutoAttack, WorstCase
from codesign.robustness.attacks.deepfool import DeepFool
from codesign.robustness.attacks.eot import EOTPGD
from codesign.robustness.attacks.fab import TargetedFAB
from codesign.robustness.attacks.fgsm import FGSM
from codesign.robustness.attacks.nes import NES
from codesign.robustness.attacks.noise import RandomNoise
from codesign.robustness.attacks.norms import L2, Linf, Norm, norm_from_name
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.presets import attacks_from_text
from codesign.robustness.attacks.square import Square
from codesign.robustness.attacks.transfer import SourceModel, Transfer

__all__ = [
    "APGD",
    "EOTPGD",
    "FGSM",
    "L2",
    "NES",
    "PGD",
    "Adaptive",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "CarliniWagner",
    "DeepFool",
    "GradientMode",
    "GradientModes",
    "Linf",
    "Norm",
    "RandomNoise",
    "SourceModel",
    "Square",
    "TargetedAPGD",
    "TargetedFAB",
    "Transfer",
    "WorstCase",
    "attacks_from_text",
    "norm_from_name",
]
