"""`python -m airjax` is the command `airjax`."""

from airjax.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
