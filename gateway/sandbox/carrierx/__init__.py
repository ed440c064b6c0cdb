"""A stand-in of CarrierX: its Core API, its callbacks, and all that may go wrong with both. For trying out and tests.

with CarrierXStub(Setup(callback="http://127.0.0.1:8080/carrierx/callback/KEY")) as carrierx:
    …[carrierx] base_url = carrierx.url, token = "sandbox"…
"""

from __future__ import annotations

from types import TracebackType

from flask import Flask
from werkzeug.exceptions import HTTPException

from gateway.sandbox.carrierx import api, control
from gateway.sandbox.carrierx.asking import Refused
from gateway.sandbox.carrierx.engine import Exchange, Setup
from gateway.sandbox.carrierx.faults import Misbehaviour
from gateway.sandbox.carrierx.model import PARTNER
from gateway.sandbox.carrierx.scenarios import MAGIC, magic, table
from gateway.sandbox.carrierx.server import Server

__all__ = ["MAGIC", "PARTNER", "Misbehaviour", "Setup", "CarrierXStub", "magic", "make_carrierx", "table"]


def make_carrierx(setup: Setup | None = None) -> Flask:
    """The WSGI application. An answer is only lost under `Server`. Its `Exchange` is ``extensions["carrierx"]``."""
    app = Flask("gateway.sandbox.carrierx")
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    app.extensions["carrierx"] = Exchange(setup or Setup())
    app.register_blueprint(api.blueprint)
    app.register_blueprint(control.blueprint)
    app.register_error_handler(Refused, api.refused)
    app.register_error_handler(HTTPException, api.plain_error)
    return app


class CarrierXStub:
    """A running one, in threads of this process. Raises OSError where it cannot listen. `port` 0: any that is free."""

    def __init__(self, setup: Setup | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        app = make_carrierx(setup)
        self.exchange: Exchange = app.extensions["carrierx"]
        self._server = Server(app, host, port)
        self.address = f"http://{host}:{self._server.server_port}"

    @property
    def url(self) -> str:
        """For `base_url`."""
        return f"{self.address}/core/v2"

    def __enter__(self) -> CarrierXStub:
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.__exit__(kind, error, at)
        self.exchange.posting.close()
