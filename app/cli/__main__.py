"""Lets `python -m app.cli` be the `solver` command."""

from app.cli import main

if __name__ == "__main__":
    main()
