"""Sending: the legacy platform's calls in, messages owed to CarrierX, and what became of them.

accept(call, config, store) ──▶ event + ledger + outbox, one transaction ──▶ its ticket
Sender (in the worker)      ──▶ claims, asks CarrierX, settles; owes the status posts
"""

from __future__ import annotations

from gateway.sending.call import Answer, Call, Query, Recipient, Row

__all__ = ["Answer", "Call", "Query", "Recipient", "Row"]
