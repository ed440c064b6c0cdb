"""The gateway on Windows' own CPython, under Wine."""
