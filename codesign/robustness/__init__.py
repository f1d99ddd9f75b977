"""How robust a model is, measured so that a reviewer would accept the number.

``protocol.evaluate_robustness`` runs it; ``attacks`` holds the attacks and the seam for a user's own; ``preflight`` and
``sanity`` say whether the number can be believed; ``statistics`` gives it an interval.
Importing this package alone does not import torch.
"""
