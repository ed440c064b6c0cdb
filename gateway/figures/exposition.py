"""Figures as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.figures.counting import escaped, spelled
from gateway.figures.families import FAMILIES, Family
from gateway.figures.slots import Merged

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is looked up when somebody asks. `values`: labels, in the order of `labels` → value."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


def text(counted: Merged, gauges: Iterable[Gauge] = ()) -> str:
    lines: list[str] = []
    groups: dict[str, list[tuple[str, Sequence[float]]]] = {name: [] for name in FAMILIES}
    for series, numbers in counted.items():
        name, _, labels = series.partition("{")
        # One that an earlier version of the gateway counted is not ours to explain.
        if name in groups and len(numbers) == FAMILIES[name].cells:
            groups[name].append((labels.removesuffix("}"), numbers))
    for name, found in groups.items():
        family = FAMILIES[name]
        lines += _head(name, family.help, family.kind)
        lines += _histograms(name, family, found) if family.bounds else _counters(name, found)
    for gauge in gauges:
        lines += _head(gauge.name, gauge.help, "gauge")
        lines += _gauges(gauge)
    return "\n".join([*lines, ""])


def _head(name: str, said: str, kind: str) -> list[str]:
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]


def _counters(name: str, found: Iterable[tuple[str, Sequence[float]]]) -> Iterator[str]:
    return (f"{name}{{{labels}}} {numbers[0]!r}" for labels, numbers in found)


def _histograms(name: str, family: Family, found: Iterable[tuple[str, Sequence[float]]]) -> Iterator[str]:
    bounds = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
    for labels, numbers in found:
        start, count = f'{name}_bucket{{{labels},le="', 0.0
        for bound, here in zip(bounds, numbers[1:], strict=True):
            count += here
            yield f'{start}{bound}"}} {count!r}'
        yield f"{name}_sum{{{labels}}} {numbers[0]!r}"
        yield f"{name}_count{{{labels}}} {count!r}"


def _gauges(gauge: Gauge) -> Iterator[str]:
    if len(gauge.labels) == 1:  # thousands of endpoints: the quick way
        label = gauge.labels[0]
        return (f'{gauge.name}{{{label}="{escaped(key[0])}"}} {float(value)!r}' for key, value in gauge.values.items())
    return (
        f"{spelled(gauge.name, dict(zip(gauge.labels, key, strict=True)))} {float(value)!r}"
        for key, value in gauge.values.items()
    )
