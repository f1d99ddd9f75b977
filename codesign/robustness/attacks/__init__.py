"""Attacks: PGD and FGSM so far, and the ``Attack`` seam for others. Importing this imports torch."""

from codesign.robustness.attacks.base import Attack, AttackResult
from codesign.robustness.attacks.fgsm import FGSM
from codesign.robustness.attacks.norms import L2, Linf, Norm, norm_from_name
from codesign.robustness.attacks.pgd import PGD

__all__ = ["FGSM", "L2", "PGD", "Attack", "AttackResult", "Linf", "Norm", "norm_from_name"]
