"""Fuzzing: inputs that are nearly right, drawn at random for as long as one likes, and what must hold for each.

Each module is one target: what is drawn, and a check that says which way an input went. `engine` runs it with
hypothesis, or with atheris, which looks for inputs that reach new code. `make fuzz` runs all, tests/fuzz/test_fuzz.py a
few seconds of each.
"""
