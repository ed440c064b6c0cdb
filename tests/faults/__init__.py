"""What breaks, broken on purpose, and a ledger that counts what became of each text. See docs/reliability.md."""
