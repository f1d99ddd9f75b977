"""Robustness-aware filter pruning (Lim, Roh, Park and Chung, MLSP 2021, doi 10.1109/MLSP52302.2021.9596121)."""
