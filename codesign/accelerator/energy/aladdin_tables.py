"""The tables of aladdin.py: arithmetic and registers in a commercial 40 nm library, by clock period.

Source: Y. S. Shao, B. Reagen, G.-Y. Wei, D. Brooks, "Aladdin", ISCA 2014, doi:10.1109/ISCA.2014.6853196: the constants
of its power models (common/power_func.h), rounded as in Accelergy's Aladdin plug-in. The comparator and the counter are
that plug-in's own (synthesised by its authors in the same library).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADDER", "COMPARATOR", "COUNTER", "FP_ADDER", "FP_MULTIPLIER", "MULTIPLIER", "REGISTER", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One characterised clock period: energy of an operation, idle energy of one such period, area."""

    period_ns: float
    dynamic_pJ: float
    idle_pJ: float
    area_um2: float


def _rows(*rows: tuple[float, float, float, float]) -> tuple[Row, ...]:
    return tuple(Row(*row) for row in rows)


# period ns, dynamic pJ, idle pJ, area um2. 32-bit integer adder, one stage.
ADDER = _rows(
    (0.5, 0.142, 0.0016, 379),
    (1, 0.21, 0.0023, 278),
    (2, 0.0858, 0.0048, 179),
    (3, 0.0859, 0.0071, 179),
    (4, 0.0857, 0.0095, 179),
    (5, 0.0857, 0.0119, 179),
    (6, 0.0857, 0.0143, 179),
    (10, 0.0853, 0.0238, 179),
)
# 32 x 32-bit integer multiplier, one stage (three at 0.5 ns).
MULTIPLIER = _rows(
    (0.5, 18.94, 0.15, 8340),
    (1, 12.68, 0.08, 6350),
    (2, 9.55, 0.10, 5140),
    (3, 8.8, 0.14, 4970),
    (4, 8.66, 0.19, 4620),
    (5, 8.63, 0.24, 4600),
    (6, 8.63, 0.29, 4600),
    (10, 8.8, 0.48, 4600),
)
# One register bit.
REGISTER = _rows(
    (1, 0.009, 7e-5, 5.98),
    (2, 0.00901, 1.5e-4, 5.98),
    (3, 0.00901, 2.2e-4, 5.98),
    (4, 0.009, 3.0e-4, 5.98),
    (5, 0.009, 3.7e-4, 5.98),
    (6, 0.00901, 4.4e-4, 5.98),
    (10, 0.00554, 7.4e-4, 5.98),
)
# 32-bit comparator.
COMPARATOR = _rows(
    (0.5, 0.03052, 1.37e-5, 71.5),
    (1, 0.02947, 2.51e-5, 71),
    (2, 0.028966, 4.84e-5, 70),
    (3, 0.02898, 7.27e-5, 70),
    (4, 0.02898, 9.69e-5, 70),
    (5, 0.029015, 1.211e-4, 70),
    (6, 0.02898, 1.4532e-4, 70),
    (10, 0.02898, 2.422e-4, 70),
)
# 32-bit counter.
COUNTER = _rows(
    (0.5, 0.2751, 2.16649e-4, 584),
    (1, 0.25074, 3.213e-4, 495.5),
    (2, 0.21462, 1.932e-4, 259),
    (3, 0.21441, 2.625e-4, 255),
    (4, 0.211092, 3.303e-4, 251.5),
    (5, 0.206325, 4.06e-4, 250.5),
    (6, 0.206682, 4.053e-4, 225),
    (10, 0.20678, 6.377e-4, 214.5),
)
# Single-precision adder and multiplier, three stages; the idle energy is leakage power x period (Accelergy's table
# counts three periods), the multiplier's area is Aladdin's own (Accelergy's table repeats the adder's).
FP_ADDER = _rows(
    (1, 16.679, 0.053, 4361),
    (2, 11.026, 0.043, 3007),
    (3, 10.584, 0.061, 2963),
    (4, 7.894, 0.063, 2118),
    (5, 7.928, 0.076, 2064),
    (6, 7.928, 0.091, 2064),
    (10, 7.701, 0.153, 2064),
)
FP_MULTIPLIER = _rows(
    (1, 35.3, 0.120, 8967),
    (2, 29.7, 0.119, 6153),
    (3, 27.8, 0.148, 5697),
    (4, 25.2, 0.180, 5220),
    (5, 24.4, 0.211, 4906),
    (6, 24.2, 0.252, 4889),
    (10, 26.6, 0.448, 5422),
)
