"""Energy and area of logic across CMOS technology nodes, 130 nm to 7 nm.

Source: A. Stillmaker, B. Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
to 7 nm", Integration 58 (2017) 74-81, doi:10.1016/j.vlsi.2017.02.002: energy as a polynomial of the supply voltage
for each node, area as a table of ratios, of which one row is enough. Same nodes and coefficients as Accelergy's
library plug-in.

Between two nodes both are interpolated linearly in the node's nanometres. (Accelergy's plug-in swaps the two weights
there: it gives 1.265 for 40 -> 45 nm where this gives 1.151. At the nodes themselves both agree.) Outside 7..130 nm
energy goes with the square root of the node and area with the node, as in Accelergy after the IRDS roadmap.
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["SOURCE", "area_scale", "energy_scale"]

SOURCE = "Stillmaker & Baas, Integration 58 (2017), doi:10.1016/j.vlsi.2017.02.002"
REFERENCE_V = 0.8
VOLTAGE_RANGE_V = (0.6, 1.2)

_NODES_NM = (130, 90, 65, 45, 32, 20, 16, 14, 10, 7)

# Energy factor = a*V^2 + b*V + c, one (a, b, c) a node (their table of energy coefficients).
_ENERGY = (
    (7.171, -6.709, 2.904),
    (4.762, -4.781, 2.092),
    (3.755, -4.398, 1.975),
    (1.103, -0.362, 0.2767),
    (0.9559, -0.7823, 0.471),
    (0.373, -0.1582, 0.04104),
    (0.2958, -0.1241, 0.03024),
    (0.2363, -0.09675, 0.02239),
    (0.2068, -0.09311, 0.02375),
    (0.1776, -0.09097, 0.02447),
)

# Area of the same logic relative to 45 nm (the 45 nm row of their table of area scaling factors).
_AREA = (6.4, 2.8, 1.5, 1.0, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059)


def energy_scale(from_nm: float, to_nm: float, from_V: float = REFERENCE_V, to_V: float | None = None) -> float:
    """Energy per operation at ``to_nm`` over that at ``from_nm``; ``to_V`` None means at the same supply voltage.

    Raises:
        ValueError: a voltage outside 0.6..1.2 V, where the polynomials of the older nodes are no longer monotonic.
    """
    to_V = from_V if to_V is None else to_V
    for volts in (from_V, to_V):
        if not VOLTAGE_RANGE_V[0] <= volts <= VOLTAGE_RANGE_V[1]:
            raise ValueError(f"energy_scale: voltage must lie in {VOLTAGE_RANGE_V} (got {volts!r})")
    return _energy_factor(to_nm, to_V) / _energy_factor(from_nm, from_V)


def area_scale(from_nm: float, to_nm: float) -> float:
    """Area at ``to_nm`` over area at ``from_nm``."""
    return _relative_area(to_nm) / _relative_area(from_nm)


def _relative_area(node_nm: float) -> float:
    inside = _clamp(node_nm)
    return sum(weight * _AREA[index] for index, weight in _weights(inside)) * (node_nm / inside)


def _energy_factor(node_nm: float, volts: float) -> float:
    inside = _clamp(node_nm)
    factor = 0.0
    for index, weight in _weights(inside):
        a, b, c = _ENERGY[index]
        factor += weight * (a * volts**2 + b * volts + c)
    return float(factor * (node_nm / inside) ** 0.5)


def _clamp(node_nm: float) -> float:
    return min(max(node_nm, _NODES_NM[-1]), _NODES_NM[0])


def _weights(node_nm: float) -> tuple[tuple[int, float], ...]:
    """(index into the tables, weight) of the one or two nodes around ``node_nm``."""
    if node_nm in _NODES_NM:
        return ((_NODES_NM.index(int(node_nm)), 1.0),)
    for index, (larger, smaller) in enumerate(pairwise(_NODES_NM)):
        if smaller < node_nm < larger:
            share = (node_nm - smaller) / (larger - smaller)
            return ((index, share), (index + 1, 1 - share))
    raise ValueError(f"technology node must lie in {_NODES_NM[-1]}..{_NODES_NM[0]} nm (got {node_nm!r})")
