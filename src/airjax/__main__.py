"""`python -m airjax` is the command `airjax`."""

from airjax.interfaces.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
