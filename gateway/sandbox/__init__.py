"""The gateway without any account: sample data, a stand-in for the applications that are called, and a handset."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

from gateway.config import Config, loads

PAGE = "http://127.0.0.1:8081"
"""Where the stand-in is, unless `gateway serve` found that port taken and says otherwise."""


def sample_config(page: str = PAGE) -> Config:
    """The sample configuration, with ``data/`` in the current folder. `page`: address of the stand-in."""
    text = resources.files(__name__).joinpath("sample.toml").read_text(encoding="utf-8")
    return replace(loads(text, environ={"GATEWAY_SANDBOX_PAGE": page}), sandbox=True)
