"""The account at CarrierX that is configured now."""

from __future__ import annotations

from typing import Any

from gateway.carrierx import CoreAPI
from gateway.config import CarrierX


class ClientCache:
    """Makes a client once for each configuration of it; its connections are kept from one request to the next."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._carrierx: CarrierX | None = None
        self._core: CoreAPI | None = None
        self._is_missed = False

    def core(self, carrierx: CarrierX) -> CoreAPI | None:
        """None: there is none to send by. What is in flight keeps the one that it began with."""
        if carrierx != self._carrierx:
            self.close()
            self._carrierx, self._is_missed = carrierx, False
            self._core = self._made(carrierx) if carrierx.is_set else None
        return self._core

    def _made(self, carrierx: CarrierX) -> CoreAPI | None:
        try:
            return _core(carrierx)
        except ValueError as error:  # such as a token that no header can hold
            self._log.error("carrierx_not_usable", reason=str(error))
            return None

    def miss(self) -> None:
        """Something is to be sent, and there is none; said once."""
        if not self._is_missed:
            self._is_missed = True
            self._log.warning("carrierx_not_configured", reason="There is no account in [carrierx]: sends wait for it.")

    def close(self) -> None:
        core, self._core = self._core, None
        if core is not None:
            core.close()


def _core(carrierx: CarrierX) -> CoreAPI:
    # No repetitions of its own: before something is asked again it is on disk that it was asked.
    return CoreAPI(
        carrierx.base_url,
        token=carrierx.token,
        login="" if carrierx.token else carrierx.login,
        password="" if carrierx.token else carrierx.password,
        timeout=carrierx.timeout,
        retries=0,
    )
