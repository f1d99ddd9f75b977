"""Non-essential neuron noise injection: exact values where a neuron matters, cheap approximations elsewhere.

Z. Liu, A. Gagnon, S. Venkataramani, L. Liu, "Enhance DNN adversarial robustness and efficiency via injecting noise to
non-essential neurons", 2024, arXiv:2402.04325. See docs/neni.md.
"""

from __future__ import annotations

from codesign.defenses.neni.defending import DefendedLayerReport, DefendedModel, defend, gradient_mode
from codesign.defenses.neni.gradients import GRADIENT_MODES, GradientMode, GradientSettings
from codesign.defenses.neni.recording import record_essential
from codesign.defenses.neni.settings import NeniSettings

__all__ = [
    "GRADIENT_MODES",
    "DefendedLayerReport",
    "DefendedModel",
    "GradientMode",
    "GradientSettings",
    "NeniSettings",
    "defend",
    "gradient_mode",
    "record_essential",
]
