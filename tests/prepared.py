"""What many tests need and what takes long to make: made once in each process, by the gateway's own code."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import make_url

from gateway.store import Store


def migrate(store: Store) -> None:
    """As `Store.migrate`; a SQLite file that is not there yet is a copy of one that was made so."""
    url = make_url(store.url)
    file = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or file.exists():
        store.migrate()
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(_migrated())


def prepare(folder: Path) -> None:
    """The tables of a gateway in this folder, which it would make at its first start: Alembic takes its time."""
    with Store(f"sqlite:///{folder / 'data' / 'gateway.db'}") as store:
        migrate(store)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.db"
        with Store(f"sqlite:///{file}") as store:
            store.migrate()
        assert [path.name for path in file.parent.glob("*-wal")] == [], "all of it is in the file"
        return file.read_bytes()


class Compiled(BytecodeCache):
    """Templates in memory: each application of a process would compile them anew."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


TEMPLATES = Compiled()
