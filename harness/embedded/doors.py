"""The two doors of the broker, put together: TLS, listener, HTTP answers and a `Peer` per connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from harness.embedded.data_api import DataApi
from harness.embedded.hub import make_id
from harness.embedded.listeners import Listener
from harness.embedded.peer import Peer
from harness.embedded.sockets import bind_all
from harness.embedded.tls import explain_handshake_failure

if TYPE_CHECKING:
    from harness.embedded.config import BrokerConfig
    from harness.embedded.hub import Hub
    from harness.embedded.tls import TlsContexts
    from harness.iot.quirks import Quirks


class Doors:
    """The listeners ``mqtts`` and ``wss``, open from the start; made within a running loop.

    Args:
        config: addresses, ports and names.
        hub: where what comes in belongs.
        contexts: TLS of both.
        quirks: how AWS is taken to behave where it is not known.

    Raises:
        OSError: a port is taken.
    """

    def __init__(self, config: BrokerConfig, *, hub: Hub, contexts: TlsContexts, quirks: Quirks) -> None:
        self._hub = hub
        self._contexts = contexts
        self._server_names = frozenset({"localhost", config.iot_endpoint.lower()})
        self._accepts_missing_name = quirks.missing_sni == "accept"
        self._api = DataApi(
            region=config.region,
            find_credential=hub.find_credential,
            publish=hub.publish,
            record=hub.record,
            make_id=make_id,
            wall_clock=time.time,
            denied_status=int(quirks.http_publish_denied),
        )
        self._mqtts = self._open("mqtts", config.host_addresses, config.mqtts_port)
        self._wss = self._open("wss", config.host_addresses, config.wss_port)

    @property
    def ports(self) -> dict[str, int]:
        """``mqtts_port`` and ``wss_port``."""
        return {"mqtts_port": self._mqtts.port, "wss_port": self._wss.port}

    async def aclose(self) -> None:
        """Let nobody in any more."""
        await self._mqtts.aclose()
        await self._wss.aclose()

    def _open(self, door: Literal["mqtts", "wss"], addresses: tuple[str, ...], port: int) -> Listener:
        def refuse(remote: str, error: OSError) -> None:
            because = explain_handshake_failure(error)
            self._hub.record_refusal("tls_refused", because=because, door=door, remote=remote)

        def make_peer() -> Peer:
            return Peer(
                hub=self._hub,
                api=self._api,
                contexts=self._contexts,
                door=door,
                server_names=self._server_names,
                accepts_missing_name=self._accepts_missing_name,
            )

        return Listener(
            bind_all(addresses, port),
            context=self._contexts.mqtts if door == "mqtts" else self._contexts.wss,
            make_protocol=make_peer,
            on_failure=refuse,
        )
