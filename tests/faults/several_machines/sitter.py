"""A process that begins a transaction, takes the locks of these ordering keys, and goes no further.

    python -m tests.faults.several_machines.sitter DATABASE-URL LANE …

It says so in a line, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.store import Connection, Store
from tests.running import ROOT


@contextmanager
def sitting(command: Sequence[str]) -> Iterator[None]:
    """While it sits. `command` runs this module."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sits\n"
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    def sit(_conn: Connection) -> None:
        sys.stdout.write("sits\n")
        sys.stdout.flush()
        sys.stdin.read()

    Store(sys.argv[1]).writer.submit(sit, ordering_keys=sys.argv[2:]).exception()


if __name__ == "__main__":
    main()
