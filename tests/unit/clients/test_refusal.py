"""What the runtime reports, as kinds of refusal."""

from __future__ import annotations

import pytest

from harness.clients.refusal import how_refused


@pytest.mark.parametrize(
    ("error_name", "how"),
    [
        ("AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE", "upgrade-403"),
        ("AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED", "connack"),
        ("AWS_ERROR_MQTT5_DISCONNECT_RECEIVED", "disconnect"),
        ("AWS_ERROR_MQTT_UNEXPECTED_HANGUP", "hang-up"),
        ("AWS_IO_SOCKET_CLOSED", "hang-up"),
        ("AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE", "tls"),
        ("AWS_IO_TLS_NEGOTIATION_TIMEOUT", None),
        ("AWS_IO_SOCKET_CONNECTION_REFUSED", None),
        ("AWS_IO_DNS_QUERY_FAILED", None),
    ],
)
def test_an_error_of_the_runtime_is_a_kind_of_refusal_or_none(error_name: str, how: str | None) -> None:
    """A host that cannot be reached has refused nobody."""
    assert how_refused(error_name) == how
