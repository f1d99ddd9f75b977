"""``python -m codesign`` is the ``codesign`` command."""

from codesign.cli import main

if __name__ == "__main__":
    main()
