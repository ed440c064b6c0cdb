"""(mcc, mnc) ⇄ the operator's name, from the data set ``carriers.csv``.

CarrierX writes ``"mcc": 310, "mnc": 260``, the keyword platform ``carrier=T-Mobile US``. The file names the source and
the date of each row.

An MNC is published with two or three digits, but is an integer on the wire. So 405-12 and 405-012 are one code there,
without a name here unless both belong to the same operator; and an MNC of 00 has none either, for `0` means unknown.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

Code = tuple[int, int]


class Carriers(NamedTuple):
    """The data set in both directions."""

    names: Mapping[Code, str]
    """(mcc, mnc) → operator."""
    codes: Mapping[str, Code]
    """Operator, case-folded → its (mcc, mnc); only operators that have exactly one."""


def name(mcc: int | None, mnc: int | None) -> str:
    """The operator of (mcc, mnc) by the name its subscribers know; empty where unknown, `None` or 0."""
    return _data_set().names.get((mcc or 0, mnc or 0), "")


def codes(name: str) -> Code | None:
    """(mcc, mnc) of the operator `name`, in any case; None unless the data set knows exactly one.

    The code has that name again: ``name(*codes(n))`` is ``n``, but for its case.
    """
    return _data_set().codes.get(_folded(name))


def read(lines: Iterable[str]) -> Carriers:
    """A data set from lines of CSV: ``mcc,mnc,operator,...`` below its comments (``#``)."""
    operators: dict[Code, set[str]] = defaultdict(set)
    held: dict[str, set[Code]] = defaultdict(set)
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        code = (int(row["mcc"]), int(row["mnc"]))
        operators[code].add(row["operator"])
        held[_folded(row["operator"])].add(code)
    names = {code: min(found) for code, found in operators.items() if len(found) == 1 and all(code)}
    # An operator's unnamed codes count too: with 0 and 76 he has two, and 76 would be a guess.
    single = {operator: min(found) for operator, found in held.items() if len(found) == 1}
    return Carriers(names, {operator: code for operator, code in single.items() if code in names})


def _folded(name: str) -> str:
    return name.strip().casefold()


@cache
def _data_set() -> Carriers:
    """Package data, read when the first carrier is asked for."""
    return read(files("schemas").joinpath("carriers.csv").read_text("utf-8").splitlines())
