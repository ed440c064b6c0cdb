"""An application's server misbehaves for a while: its own texts wait for it, nobody else's do, and nothing grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event

import trustme

from tests.faults.conftest import Report
from tests.faults.endpoint import Endpoint
from tests.faults.load import Lane, Platform
from tests.faults.misbehaviour import TLS, Certificates, behave, misbehave
from tests.faults.world import SOON, World, told, world
from tests.running import until

GROWTH = 48 * 2**20
"""Bytes by which a process may grow while it does its usual work. The bomb alone has more in it, unpacked."""
UNHURRIED = SOON | {"worker": {name: value for name, value in SOON["worker"].items() if not name.endswith("MARGIN")}}
"""Nobody dies here, so no lease has to end soon: on a machine that is busy for seconds it would end too soon."""
MORE = """
[endpoint.bad{at}]
url = "{url}"
timeout = 2
verify_tls = "{ca}"

[[number]]
number = "{number}"
callback = ["bad{at}"]
"""


def number(at: int) -> tuple[str, str]:
    return f"151620660{at:02d}", ""


@contextmanager
def surrounded(folder: Path, hows: Sequence[str], certificates: Certificates) -> Iterator[tuple[World, list[Endpoint]]]:
    """The two usual applications, and one that is going to misbehave in each of these ways."""
    ca = folder / "ca.pem"
    certificates.authority.cert_pem.write_to_path(str(ca))
    with ExitStack() as stack:
        bad = [Endpoint(f"bad{at}", certificates.good() if how in TLS else None) for at, how in enumerate(hows)]
        for endpoint in bad:
            stack.enter_context(endpoint)
        more = [MORE.format(at=at, url=one.url, ca=ca, number=number(at)[0]) for at, one in enumerate(bad)]
        here = stack.enter_context(world(folder, more="".join(more), environ=told(folder, UNHURRIED)))
        for endpoint in bad:
            endpoint.ledger = here.ledger
        yield here, bad


def test_misbehaves(tmp_path: Path, misbehaviours: tuple[str, ...], report: Report) -> None:
    certificates = Certificates(trustme.CA())
    with surrounded(tmp_path, misbehaviours, certificates) as (here, bad):
        ordering_keys = [
            Lane(f"1516208{at:02d}{phone:02d}", number(at)) for at in range(len(bad)) for phone in range(4)
        ]
        with here.load() as load:
            to_bad(here, ordering_keys, 2)
            here.so_far_arrive()
            before = memory(here)
            for endpoint, how in zip(bad, misbehaviours, strict=True):
                misbehave(endpoint, how, certificates)
            to_bad(here, ordering_keys, 2)
            until(lambda: failed(here, bad), "each of them has failed once")
            load.go_on(40)
            names = {one.name for one in here.ordering_keys}
            usual = {
                sid for sid, ordering_key in here.ledger.accepted.copy().items() if ordering_key in names
            }  # it grows meanwhile
            until(lambda: not usual & here.ledger.missing(), "nobody else waits for it")
            grown = memory(here) - before
            for endpoint, how in zip(bad, misbehaviours, strict=True):
                behave(endpoint, how, certificates)
        here.all_arrive()
        what = misbehaviours[0] if len(misbehaviours) == 1 else "misbehaves, in all ways side by side"
        here.balance(f"endpoint {what}", report, doubles=False)
        assert grown < GROWTH, f"{grown} bytes"


def to_bad(here: World, ordering_keys: Sequence[Lane], texts: int) -> None:
    with closing(Platform(here.ledger, [here.gateway.process.port], Event())) as platform:
        assert all(platform.send(ordering_key) for ordering_key in list(ordering_keys) * texts)


def failed(here: World, bad: Sequence[Endpoint]) -> bool:
    """Attempts that came to nothing, or bytes that went out a second time as the first connection was closed."""
    rows = here.rows("SELECT DISTINCT endpoint FROM deliveries WHERE last_error IS NOT NULL")
    names = {row["endpoint"] for row in rows}
    return all(one.name in names or one.closed for one in bad)


def memory(here: World) -> int:
    """Bytes that the gateway's processes have in use."""
    pids = here.gateway.process.processes()
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * 4096
