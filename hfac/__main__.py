"""``python -m hfac``, the same as ``hfac``."""

from hfac.cli import main

if __name__ == "__main__":
    main()
