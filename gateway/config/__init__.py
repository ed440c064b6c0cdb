"""`gateway.toml` → frozen `Config`; `Settings` holds the one of a running process and reads a changed file again.

A mistake never stops at the first: `ConfigError.faults` has all of them, each with its place in the file.
"""

from __future__ import annotations

from gateway.config.errors import ConfigError, OperatorError
from gateway.config.fields import Setting
from gateway.config.load import Settings, default_path, environment, load, loads, take_variable
from gateway.config.model import ADMIN, CarrierX, Config, Credentials, Endpoint, Key, Keyword, Number, Operator
from gateway.config.schema import TABLES, sample
from gateway.config.secrets import kept_keys, make_private

__all__ = [
    "ADMIN", "TABLES", "CarrierX", "Config", "ConfigError", "Credentials", "Endpoint", "Key", "Keyword", "Number",
    "Operator", "OperatorError", "Setting", "Settings", "default_path", "environment", "kept_keys", "load", "loads",
    "make_private", "sample", "take_variable",
]  # fmt: skip
