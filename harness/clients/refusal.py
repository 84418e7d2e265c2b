"""What a client was denied, and how the broker showed it.

On AWS a refusal often shows as no more than a closed connection. The clients tell the forms apart by what the AWS
Common Runtime reports; the cause, where the target has a trace, comes from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

How = Literal["upgrade-403", "tls", "connack", "suback", "puback", "disconnect", "hang-up"]
"""How a refusal showed: the HTTP answer to the WebSocket upgrade, the TLS handshake, a reason code of 0x80 or above in
one of three acknowledgements or in a DISCONNECT, or a connection that was closed without a word."""

Action = Literal["iot:Connect", "iot:Publish", "iot:Subscribe"]
"""What a client tries, in the words of a policy."""

FIRST_FAILURE: Final = 0x80
"""Reason codes from here on are failures [MQTT 5.0 §2.4]."""

_UPGRADE: Final = frozenset({"AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"})
_CONNACK: Final = frozenset({"AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED"})
_DISCONNECT: Final = frozenset({"AWS_ERROR_MQTT5_DISCONNECT_RECEIVED"})
_HANG_UP: Final = frozenset(
    {
        "AWS_ERROR_MQTT_UNEXPECTED_HANGUP",
        "AWS_ERROR_HTTP_CONNECTION_CLOSED",
        "AWS_ERROR_HTTP_WEBSOCKET_CLOSE_FRAME_SENT",
        "AWS_IO_SOCKET_CLOSED",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something a client tried and was denied.

    Args:
        action: ``iot:Connect``, ``iot:Publish`` or ``iot:Subscribe``.
        resource: the client id, topic or topic filter, as the client wrote it.
        how: how the refusal showed.
        because: the deciding statement or the nearest miss, from the target's trace; None where the target has none.
    """

    action: Action
    resource: str
    how: How
    because: str | None = None


def how_refused(error_name: str) -> How | None:
    """Tell how a connection was refused or ended from the name the AWS Common Runtime gives the error.

    Returns:
        None for errors that are nobody's refusal, such as a host that cannot be reached.
    """
    if error_name in _UPGRADE:
        return "upgrade-403"
    if error_name in _CONNACK:
        return "connack"
    if error_name in _DISCONNECT:
        return "disconnect"
    if error_name in _HANG_UP:
        return "hang-up"
    if error_name.startswith("AWS_IO_TLS_") and not error_name.endswith("_TIMEOUT"):
        return "tls"
    return None
