"""`X-Forwarded-*` counts only where a proxy says it that the configuration trusts."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

from gateway.config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class TrustedProxies:
    """Werkzeug's `ProxyFix` for those peers, nothing for all others."""

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._behind = ProxyFix(app, x_for=1, x_proto=1, x_host=1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._behind(environ, start_response)
        return self._app(environ, start_response)

    def _is_trusted(self, peer: str) -> bool:
        networks = self._settings.current.trusted_proxies
        if not networks:
            return False
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in networks)
