"""The gateway without any account: sample data, stand-ins for the applications and for CarrierX, and a handset."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

from gateway.config import Config, loads

PAGE = "http://127.0.0.1:8081"
CARRIERX = "http://127.0.0.1:8082"  # the stand-ins' URLs, unless `gateway serve` found these ports taken


def sample_config(page: str = PAGE, carrierx: str = CARRIERX) -> Config:
    """The sample configuration, with ``data/`` in the current folder. `page`, `carrierx`: URLs of the stand-ins."""
    text = resources.files(__name__).joinpath("sample.toml").read_text(encoding="utf-8")
    return replace(
        loads(text, environ={"GATEWAY_SANDBOX_PAGE": page, "GATEWAY_SANDBOX_CARRIERX": carrierx}), sandbox=True
    )
