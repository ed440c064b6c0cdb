"""`gateway.toml` → frozen `Config`. The one door to the environment.

A mistake never stops at the first: `ConfigError.faults` has all of them, each with its place. `Settings`
holds the configuration of a running process and reads a changed file again.
"""

from __future__ import annotations

from gateway.config.environment import default_path, environment
from gateway.config.load import load, loads
from gateway.config.model import (
    CarrierX,
    Config,
    ConfigError,
    Credentials,
    Endpoint,
    Fault,
    Keyword,
    Network,
    Number,
    OptOutReplies,
    shown_name,
)
from gateway.config.reload import Settings
from gateway.config.secrets import Secrets, kept_keys, make_private, secrets_for

__all__ = [
    "CarrierX",
    "Config",
    "ConfigError",
    "Credentials",
    "Endpoint",
    "Fault",
    "Keyword",
    "Network",
    "Number",
    "OptOutReplies",
    "Secrets",
    "Settings",
    "default_path",
    "environment",
    "kept_keys",
    "load",
    "loads",
    "make_private",
    "secrets_for",
    "shown_name",
]
