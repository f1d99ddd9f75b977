"""Natural and PGD-adversarial training of the project's own networks."""
