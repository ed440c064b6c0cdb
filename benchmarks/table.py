"""The figures as Markdown tables, padded so that they read as well on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.summary import BARE, Quoted, Target

Row = Sequence[str]

_HEAD = (
    "",
    "accepted/s",
    "delivered/s",
    "accept ms p50 / p99",
    "to endpoint ms p50 / p99",
    "CPU µs web + worker",
    "MB web + worker",
    "accepted",
    "lost",
    "doubled",
)


def results(quoted: Mapping[str, Quoted]) -> str:
    """One row a contestant."""
    return _table(_HEAD, [_row(name, one) for name, one in quoted.items()])


def _row(name: str, one: Quoted) -> Row:
    delivers = name != BARE
    return (
        name,
        f"{one.accepted_rate:,.0f}",
        f"{one.delivered_rate:,.0f}" if delivers else "–",
        f"{one.accept_p50:.1f} / {one.accept_p99:.1f}",
        f"{one.endpoint_p50:.1f} / {one.endpoint_p99:.1f}" if delivers else "–",
        _both(one.cpu_web, one.cpu_worker),
        _both(one.memory_web, one.memory_worker),
        f"{one.accepted:,}",
        f"{one.lost:,}" if delivers else "–",
        f"{one.doubled:,}" if delivers else "–",
    )


def _both(web: float, worker: float) -> str:
    return f"{web:,.0f} + {worker:,.0f}" if worker else f"{web:,.0f}"


def reached(targets: Sequence[Target]) -> str:
    """Each target, and whether it is met."""
    rows = [
        (one.what, one.wanted, "–" if one.value is None else f"{one.value:g}", _VERDICT[one.met]) for one in targets
    ]
    return _table(("target", "wanted", "reached", ""), rows)


_VERDICT = {True: "met", False: "MISSED", None: "not run"}


def conditions(quoted: Mapping[str, Quoted]) -> str:
    """How far the rounds were apart, and what else took the machine's time: how much to believe."""
    head = (
        "", "accepted/s, least to most", "drain s", "load generator", "receiver", "others' CPU", "steal",
        "out of order", "wrong", "refused", "unanswered",
    )  # fmt: skip
    return _table(head, [_condition(name, one) for name, one in quoted.items()])


def _condition(name: str, one: Quoted) -> Row:
    return (
        name + (" (a process was restarted!)" if one.restarted else ""),
        f"{one.accepted_least:,.0f} – {one.accepted_most:,.0f}",
        f"{one.drain_seconds:.1f}",
        f"{one.load_share:.0%} of a core",
        f"{one.receiver_share:.0%} of a core",
        f"{one.foreign_share:.0%}",
        f"{one.steal_share:.0%}",
        f"{one.out_of_order:,}",
        f"{one.wrong:,}",
        f"{one.refused:,}",
        f"{one.unanswered:,}",
    )


def machine(facts: Mapping[str, object]) -> str:
    """A sentence."""
    packages = facts["packages"]
    assert isinstance(packages, dict)
    named = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"{facts['date']}: {facts['cores']} cores ({facts['cpu']}), {facts['memory_mb']:,} MB, {facts['system']}, "
        f"{facts['python']}, {named}. Store on {facts['file_system']}, fdatasync of 4 KB {facts['sync_us']} µs. "
        f"Load average before the start {facts['load_average']}."
    )


def _table(head: Row, rows: Sequence[Row]) -> str:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join(_rule(at, width) for at, width in enumerate(widths)) + "|"]
    return "\n".join((*lines, *(_line(row, widths) for row in rows)))


def _line(row: Row, widths: Sequence[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    cells = (first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest))
    return "| " + " | ".join(cells) + " |"


def _rule(at: int, width: int) -> str:
    return "-" * (width + 1) + ":" if at else ":" + "-" * (width + 1)
