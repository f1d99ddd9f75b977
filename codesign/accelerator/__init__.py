"""Accelerator models in the Timeloop / Accelergy / Sparseloop vocabulary. Nothing below this package imports torch."""
