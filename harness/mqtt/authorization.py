"""The seam between the broker and whoever decides what a connection may do.

The broker asks with the bare MQTT names (a client id, a topic name, a topic filter); what a principal is, and which
policies hold for it, is the authorizer's business. `harness.iot.authorizer` answers with AWS's policies; tests answer
with a few lines of their own.

Source: AWS IoT Core, "AWS IoT Core policy actions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from harness.mqtt.packets import ProtocolVersion

Action = Literal["Connect", "Publish", "RetainPublish", "Subscribe", "Receive"]


@dataclass(slots=True, kw_only=True, eq=False)
class ConnectionInfo:
    """Who is at the other end of a connection; compared by identity.

    Attributes:
        connection_id: unique for every connection the broker ever had.
        principal: opaque to the broker: what the listener authenticated.
        transport: how it came, for example ``mqtts``, ``wss`` or ``https``.
        remote: address of the peer, as text.
        client_id: empty until CONNECT named it (or the broker assigned one).
        version: None until CONNECT named it.
        server_name: the name the client asked for in TLS (SNI), None without one.
    """

    connection_id: str
    principal: object
    transport: str
    remote: str
    client_id: str = ""
    version: ProtocolVersion | None = None
    server_name: str | None = None


class Decision(Protocol):
    """An answer of an authorizer, with the statement that decided it or what was missing, in words."""

    @property
    def allowed(self) -> bool:
        """Whether the action may go ahead."""
        ...

    @property
    def because(self) -> str:
        """Why, for people: names the statement that decided or the nearest miss."""
        ...


class Authorizer(Protocol):
    """Decides what a connection may do."""

    @property
    def version(self) -> int:
        """Grows whenever any answer may have changed: the broker remembers answers under it."""
        ...

    def authorize(self, connection: ConnectionInfo, action: Action, resource: str) -> Decision:
        """Decide one action.

        Args:
            connection: who asks; its ``client_id`` is set.
            action: what it wants to do.
            resource: client id (Connect), topic name (Publish, RetainPublish, Receive) or topic filter (Subscribe).
        """
        ...
