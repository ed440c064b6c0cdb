"""The command `gateway` with all its commands; `python -m gateway` is the same."""

from __future__ import annotations

import gc

gc.set_threshold(50_000, 20, 100)  # what is imported stays: looking for garbage took a tenth of the web half's start

from gateway.cli import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="gateway")
