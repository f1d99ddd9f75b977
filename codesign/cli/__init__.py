def main() -> None:
    """Placeholder until the CLI lands in this series of commits."""
