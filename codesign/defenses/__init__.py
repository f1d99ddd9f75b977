"""Methods that change a trained network so that it is harder to attack, cheaper to run, or both."""
