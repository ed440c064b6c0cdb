"""The command `gateway` with all its commands; `python -m gateway` is the same."""

from __future__ import annotations

from gateway.cli import main

if __name__ == "__main__":
    main(prog_name="gateway")
