"""The figures as one SVG, by hand: it needs no library, no script and no font, and can be read in a diff.

Three panels: messages a second, milliseconds to the endpoint at a steady rate, CPU a message. Bars of one panel
share one scale that begins at 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.summary import BARE, GATEWAY, PACED, Quoted

WIDTH = 860
_LEFT, _RIGHT = 190, 140
_BAR, _GAP, _PANEL = 20, 10, 62
_TOP = 84

_INK, _SOFT, _LINE, _PAPER = "#1c2430", "#5c6878", "#dde3ea", "#ffffff"
_OURS, _OURS_LIGHT, _OTHERS, _TARGET = "#0f6fb8", "#8cc1ea", "#aab4c0", "#c2410c"


class Bar(NamedTuple):
    """One bar: its parts side by side, in the panel's unit."""

    name: str
    parts: tuple[tuple[float, str], ...]
    said: str

    @property
    def length(self) -> float:
        return sum(value for value, _colour in self.parts)


class Panel(NamedTuple):
    title: str
    note: str
    bars: tuple[Bar, ...]
    target: float | None = None
    """Where a line is drawn."""
    target_said: str = ""


def svg(quoted: Mapping[str, Quoted], subtitle: str) -> str:
    """A whole document. Panels for which nothing was run are left out."""
    shown = [panel for panel in (_rates(quoted), _latencies(quoted), _costs(quoted)) if panel.bars]
    height = _TOP + sum(_height(panel) for panel in shown)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif" role="img">',
            f"<title>{escape(subtitle)}</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="12" fill="{_PAPER}"/>',
            _text(28, 38, "Text in, form out: on disk before it is answered", 20, weight=600),
            _text(28, 60, subtitle, 12, _SOFT),
            *_panels(shown),
            "</svg>\n",
        )
    )


def _rates(quoted: Mapping[str, Quoted]) -> Panel:
    bars = tuple(bar for name, one in quoted.items() if name != PACED for bar in _rate(name, one))
    note = "while the load lasts; a bare route keeps nothing and calls nobody, a relay answers when it has delivered"
    target = quoted[BARE].accepted_rate / 2 if BARE in quoted and GATEWAY in quoted else None
    return Panel("Messages a second", note, bars, target, "half of the bare route")


def _rate(name: str, one: Quoted) -> tuple[Bar, ...]:
    accepted = Bar(name, ((one.accepted_rate, _OTHERS),), f"{one.accepted_rate:,.0f}")
    if name != GATEWAY:
        return (accepted,)
    return (
        Bar(f"{name}, accepted", ((one.accepted_rate, _OURS),), accepted.said),
        Bar(f"{name}, delivered", ((one.delivered_rate, _OURS_LIGHT),), f"{one.delivered_rate:,.0f}"),
    )


def _latencies(quoted: Mapping[str, Quoted]) -> Panel:
    one = quoted.get(PACED)
    if one is None:
        return Panel("", "", ())
    pairs = (
        ("answered, p50", one.accept_p50),
        ("answered, p99", one.accept_p99),
        ("at the endpoint, p50", one.endpoint_p50),
        ("at the endpoint, p99", one.endpoint_p99),
    )
    bars = tuple(Bar(name, ((value, _OURS),), f"{value:.1f} ms") for name, value in pairs)
    return Panel("The gateway at 500 texts a second", "milliseconds since the text was due", bars)


def _costs(quoted: Mapping[str, Quoted]) -> Panel:
    bars = tuple(_cost(name, one) for name, one in quoted.items() if name != PACED)
    return Panel("CPU a message", "microseconds, all processes of the contestant; the gateway: web and worker", bars)


def _cost(name: str, one: Quoted) -> Bar:
    if name != GATEWAY:
        return Bar(name, ((one.cpu, _OTHERS),), f"{one.cpu:,.0f} µs")
    said = f"{one.cpu_web:,.0f} + {one.cpu_worker:,.0f} µs"
    return Bar(name, ((one.cpu_web, _OURS), (one.cpu_worker, _OURS_LIGHT)), said)


def _height(panel: Panel) -> int:
    return _PANEL + len(panel.bars) * (_BAR + _GAP) + 8


def _panels(panels: Sequence[Panel]) -> Iterator[str]:
    top = _TOP
    for panel in panels:
        yield f'<line x1="28" x2="{WIDTH - 28}" y1="{top}" y2="{top}" stroke="{_LINE}"/>'
        yield _text(28, top + 26, panel.title, 15, weight=600)
        yield _text(28, top + 44, panel.note, 11.5, _SOFT)
        yield from _bars(panel, top + _PANEL)
        top += _height(panel)


def _bars(panel: Panel, top: int) -> Iterator[str]:
    scale = (WIDTH - _LEFT - _RIGHT) / (max(bar.length for bar in panel.bars) or 1)
    for at, bar in enumerate(panel.bars):
        y, x = top + at * (_BAR + _GAP), float(_LEFT)
        yield _text(_LEFT - 12, y + 15, bar.name, 12.5, anchor="end")
        for value, colour in bar.parts:
            yield f'<rect x="{x:.1f}" y="{y}" width="{max(value * scale, 1):.1f}" height="{_BAR}" fill="{colour}"/>'
            x += value * scale
        yield _text(x + 8, y + 15, bar.said, 12.5, weight=600)
    if panel.target is not None:
        yield from _target(_LEFT + panel.target * scale, top, panel)


def _target(x: float, top: int, panel: Panel) -> Iterator[str]:
    bottom = top + len(panel.bars) * (_BAR + _GAP) - _GAP + 4
    yield (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{bottom}" stroke="{_TARGET}" '
        'stroke-width="1.5" stroke-dasharray="4 3"/>'
    )
    yield _text(x + 6, bottom, panel.target_said, 11, _TARGET)


def _text(
    x: float, y: float, text: str, size: float, fill: str = _INK, *, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
