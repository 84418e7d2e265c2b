"""HTTPS publishing: signed by botocore, as boto3 does it, and refused in AWS's words."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness.embedded.data_api import InvalidRequestError, read_publish
from harness.embedded.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def ask(broker: Any, raw: Callable[..., Any]) -> Callable[..., tuple[int, dict[str, str], dict[str, Any]]]:
    """Send a signed request and return status, headers and JSON of the answer."""

    def send(
        method: str,
        target: str,
        body: bytes = b"",
        *,
        credential: Any = None,
        service: str = "iotdata",
        headers: dict[str, str] | None = None,
        before_sending: Callable[[bytes], bytes] = bytes,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        host = f"localhost:{broker.ports['wss_port']}"
        request = AWSRequest(method, f"https://{host}{target}", data=body, headers=headers or {})
        if credential is not None:
            keys = Credentials(credential.access_key_id, credential.secret_access_key, credential.session_token)
            SigV4Auth(keys, service, "eu-west-1").add_auth(request)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        peer = raw("wss")
        peer.send("\r\n".join([*lines, "", ""]).encode() + before_sending(body))
        status, answered, content = peer.receive_answer()
        return status, answered, json.loads(content)

    return send


@pytest.mark.parametrize("service", ["iotdata", "iotdevicegateway"])
def test_an_operator_publishes_with_a_signature(broker: Any, ask: Callable[..., Any], service: str) -> None:
    """Both service names that AWS's own documents use are taken."""
    operator = broker.make_guest("AKIAPUBLISH", session_token=None, expires_at=None)

    status, headers, answer = ask(
        "POST", f"/topics/https%2F{service}?qos=1", b"hello", credential=operator, service=service
    )

    assert (status, answer) == (200, {"message": "OK", "traceId": headers["x-amzn-requestid"]})
    record = next(each for each in broker.trace() if each["message_id"] == answer["traceId"])
    assert (record["kind"], record["topic"], record["detail"]["qos"]) == ("publish", f"https/{service}", 1)


def test_the_account_publishes_with_its_root_key(ask: Callable[..., Any]) -> None:
    """The key of the ready file works before the control plane has said anything."""

    class Root:
        access_key_id, secret_access_key, session_token = "AKIAROOT", "root-secret", None

    assert ask("POST", "/topics/https/root", b"hello", credential=Root)[0] == 200


def test_a_publish_is_refused_when_its_body_was_changed_after_signing(broker: Any, ask: Callable[..., Any]) -> None:
    """The signature covers the body."""
    operator = broker.make_guest("AKIACHANGED")

    status, _, answer = ask(
        "POST", "/topics/https/changed", b"hello", credential=operator, before_sending=lambda _: b"jello"
    )

    assert status == 403
    assert answer["message"].startswith("The request signature we calculated does not match")


def test_a_publish_is_refused_when_it_is_not_signed(broker: Any, ask: Callable[..., Any]) -> None:
    """Nobody publishes without a principal."""
    seen = broker.ask("status")["trace_seq"]

    status, headers, answer = ask("POST", "/topics/https/unsigned", b"hello")

    assert (status, headers["x-amzn-errortype"]) == (403, "ForbiddenException:")
    assert answer["message"] == "Missing Authentication Token"
    assert [each["kind"] for each in broker.trace(seen)] == ["http_refused"]


def test_a_publish_is_refused_when_no_policy_allows_it(broker: Any, ask: Callable[..., Any]) -> None:
    """The answer says nothing, the trace says why."""
    guest = broker.make_guest("ASIAHTTPDENIED", on="arn:aws:iot:eu-west-1:123456789012:topic/public/*")

    assert ask("POST", "/topics/public%2Fa", b"hello", credential=guest)[0] == 200
    status, _, answer = ask("POST", "/topics/private%2Fa", b"hello", credential=guest)

    assert (status, answer["message"]) == (403, None)
    record = next(each for each in broker.trace() if (each["kind"], each["topic"]) == ("decision", "private/a"))
    assert "topic/public/*" in record["detail"]["because"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/topics/a", 405),
        ("GET", "/", 404),
        ("GET", "/things/a/shadow", 404),
        ("POST", "/topics/a?qos=2", 400),
        ("POST", "/topics/a%2F%23", 400),
        ("POST", "/topics/a?retain=maybe", 400),
        ("POST", "/topics/%FF", 400),
        ("POST", "/topics/a?contentType=%00", 400),
    ],
)
def test_a_signed_request_is_refused_by_name_when_it_is_not_served(
    broker: Any, ask: Callable[..., Any], method: str, target: str, status: int
) -> None:
    """What we do not do, and what nobody may ask for, is said."""
    operator = broker.make_guest("AKIAODD")

    answered, _, answer = ask(method, target, credential=operator)

    assert answered == status
    assert answer["message"]


@pytest.mark.parametrize(("size", "status"), [(128 * 1024, 200), (128 * 1024 + 1, 413)])
def test_a_publish_is_bounded_by_the_payload_limit(
    broker: Any, ask: Callable[..., Any], size: int, status: int
) -> None:
    """128 KB and not a byte more."""
    operator = broker.make_guest("AKIALARGE")

    assert ask("POST", "/topics/https/large", b"x" * size, credential=operator)[0] == status


def request(target: str, **headers: str) -> HttpRequest:
    """Make a publish request as it comes from the parser."""
    path, _, query = target.partition("?")
    given = tuple((f"x-amz-mqtt5-{name.replace('_', '-')}", value) for name, value in headers.items())
    return HttpRequest(method="POST", path=path, query=query, http_version="1.1", headers=given, body=b"body")


def test_a_publish_request_carries_every_property() -> None:
    """Parameters and headers of botocore's model."""
    publish = read_publish(
        request(
            "/topics/a%2Fb%20c?qos=1&retain=true&contentType=text%2Fplain&responseTopic=r&messageExpiry=60",
            user_properties=base64.b64encode(b'[{"a":"1"},{"b":"2"}]').decode(),
            payload_format_indicator="UTF8_DATA",
            correlation_data=base64.b64encode(b"\x00\x01").decode(),
        )
    )

    assert (publish.topic_name, publish.payload, publish.qos, publish.retain) == ("a/b c", b"body", 1, True)
    properties = publish.properties
    assert (properties.content_type, properties.response_topic) == ("text/plain", "r")
    assert (properties.message_expiry_interval, properties.payload_format_indicator) == (60, 1)
    assert properties.correlation_data == b"\x00\x01"
    assert properties.user_properties == (("a", "1"), ("b", "2"))


def test_a_publish_request_may_wrap_its_user_properties_twice() -> None:
    """So does boto3 when it is given text."""
    wrapped = base64.b64encode(json.dumps('[{"a":"1"}]').encode()).decode()

    assert read_publish(request("/topics/a", user_properties=wrapped)).properties.user_properties == (("a", "1"),)


def test_a_publish_request_needs_nothing_but_a_topic() -> None:
    """QoS 0, not retained, no properties."""
    publish = read_publish(request("/topics/a/b"))

    assert (publish.topic_name, publish.qos, publish.retain, publish.packet_id) == ("a/b", 0, False, None)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/topics/a?qos=-1", {}),
        ("/topics/a?qos=one", {}),
        ("/topics/a?messageExpiry=4294967296", {}),
        ("/topics/a?contentType=%FF", {}),
        ("/topics/a", {"payload_format_indicator": "JSON"}),
        ("/topics/a", {"correlation_data": "?"}),
        ("/topics/a", {"correlation_data": "\u00e9"}),
        ("/topics/a", {"user_properties": "?"}),
        ("/topics/a", {"user_properties": base64.b64encode(b"{}x").decode()}),
        ("/topics/a", {"user_properties": base64.b64encode(b'["a"]').decode()}),
        ("/topics/a", {"user_properties": base64.b64encode(b"1").decode()}),
        ("/topics/a", {"user_properties": base64.b64encode(b"[" * 9_000).decode()}),
        ("/topics/a", {"user_properties": base64.b64encode(b'[{"a":1}]').decode()}),
    ],
)
def test_a_publish_request_is_refused_when_a_part_of_it_is_not_accepted(target: str, headers: dict[str, str]) -> None:
    """Every parameter is checked, not guessed."""
    with pytest.raises(InvalidRequestError):
        read_publish(request(target, **headers))
