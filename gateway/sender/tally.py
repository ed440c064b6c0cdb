"""What is counted of what is sent. The Sender says it to whoever wants to know, as it happens."""

from __future__ import annotations

from typing import Protocol


class Tally(Protocol):
    """Called in the Sender's thread, in the midst of its work: quick, and never raising."""

    def send(self, origin: str, outcome: str) -> None:
        """One message came to its end here: it is ``sent``, ``refused`` or ``undecided``. `origin`: of the ledger."""


class Nobody:
    """Counts nothing."""

    def send(self, origin: str, outcome: str) -> None:
        pass
