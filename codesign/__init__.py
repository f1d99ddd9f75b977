"""Robust accuracy beside simulated energy and latency: a co-design toolkit for robust neural networks."""

__version__ = "0.1.0"
