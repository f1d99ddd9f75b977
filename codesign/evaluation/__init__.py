"""Joins robustness and hardware into one record."""
