"""What `/metrics` says: what all processes of this machine counted, and how things stand in the store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from gateway.metrics import STATUS_URLS, Gauge, text
from gateway.safe_http.ssrf import is_url
from gateway.store import StoreUnavailable
from gateway.web.context import WebContext

BREAKERS = {"closed": 0.0, "ramp": 1.0, "half_open": 2.0, "open": 3.0}


def scrape(here: WebContext) -> bytes:
    """Without the store, the gauges of the store are left out: nobody knows them, and a nought would be a lie."""
    ready, room = here.store.ready(), here.store.has_room()
    gauges = [*_process(here), _plain("gateway_store_ready", "1: the store commits, as /readyz asks.", ready)]
    gauges.append(_plain("gateway_store_has_room", "0: the disk is nearly full; no callback is taken in.", room))
    if ready or not room:
        try:
            gauges += [*_outbox(here), *_sends(here), *_keywords(here)]
        except StoreUnavailable:
            here.log.warning("metrics_without_store")
    return text([*here.metrics.collect(), *gauges])


def _process(here: WebContext) -> Iterator[Gauge]:
    settings = here.settings
    yield Gauge(
        "gateway_build_info",
        "Always 1.",
        ("version", "python", "database"),
        {(_version(), platform.python_version(), here.store.name): 1},
    )
    refused = settings.refused is not None
    yield _plain("gateway_configuration_refused", "1: the file has mistakes; the one before it counts.", refused)
    days = settings.current.retention_days * 86_400
    yield _plain("gateway_retention_seconds", "For how long what is settled is kept.", days)


def _outbox(here: WebContext) -> Iterator[Gauge]:
    now = here.clock().timestamp()
    snapshot = here.status_cache.figures(now)
    found = snapshot.gauges
    owed, dead = _together(found.owed, sum), _together(found.dead, sum)
    names = sorted({*here.settings.current.endpoints, *owed, *dead})
    ages = {name: max(0.0, now - at) for name, at in _together(found.oldest, min).items()}
    states = _together({name: BREAKERS.get(one.state, 0.0) for name, one in snapshot.breakers.items()}, max)
    yield _by_endpoint("gateway_deliveries_owed", "Deliveries not settled yet.", names, owed)
    yield _by_endpoint("gateway_oldest_owed_seconds", "Age of the oldest delivery owed; 0 without one.", names, ages)
    yield _by_endpoint("gateway_deliveries_dead", "Dead deliveries that are kept.", names, dead)
    yield _by_endpoint("gateway_breaker_state", "0: closed, 1: ramp, 2: half open (probed), 3: open.", names, states)
    yield _age(
        "gateway_oldest_event_seconds",
        "Age of the oldest event kept. Far above the retention: the sweep does not keep up, or it is owed.",
        now,
        found.oldest_event,
    )
    yield _age(
        "gateway_worker_heartbeat_seconds",
        "Since the last sign of life of any worker, on whatever machine; one comes every ten seconds.",
        now,
        found.worker,
    )


def _together(values: Mapping[str, float], join: Callable[[list[float]], float]) -> dict[str, float]:
    """Pages that calls named stand under one name: there may be any number of them, and secrets in their addresses."""
    pages = [value for name, value in values.items() if is_url(name)]
    named = {name: value for name, value in values.items() if not is_url(name)}
    return named | ({STATUS_URLS: join(pages)} if pages else {})


def _sends(here: WebContext) -> Iterator[Gauge]:
    found = here.status_cache.figures(here.clock().timestamp()).gauges
    said = "Messages to be sent that have not come to their end: owed, sending, undecided (for a person)."
    states = {one: found.sends.open.get(one, 0) for one in ("owed", "sending", "undecided")}
    yield Gauge("gateway_sends_open", said, ("state",), {(state,): count for state, count in states.items()})
    yield _plain("gateway_updates_waiting", "Status updates whose message is not known yet.", found.sends.waiting)
    yield _plain("gateway_opt_outs", "Phones that want no texts from a number.", found.opt_outs)


def _keywords(here: WebContext) -> Iterator[Gauge]:
    now = here.clock().timestamp()
    heard = here.status_cache.last_heard(here.settings.current, now)
    yield Gauge(
        "gateway_keyword_silent_seconds",
        "Since the last event of a configured keyword; where none is kept, since the oldest event of all.",
        ("number", "keyword"),
        {pair: max(0.0, now - at) for pair, at in heard.items()},
    )


def _plain(name: str, said: str, value: float) -> Gauge:
    return Gauge(name, said, (), {(): value})


def _age(name: str, said: str, now: float, since: float | None) -> Gauge:
    return Gauge(name, said, (), {} if since is None else {(): max(0.0, now - since)})


def _by_endpoint(name: str, said: str, names: list[str], values: Mapping[str, float]) -> Gauge:
    return Gauge(name, said, ("endpoint",), {(one,): values.get(one, 0) for one in names})


def _version() -> str:
    try:
        return version("sms-gateway")
    except PackageNotFoundError:  # run from its source
        return "source"
