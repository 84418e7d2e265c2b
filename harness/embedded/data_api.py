"""What HTTP requests may ask of the data endpoint: the upgrade to MQTT at ``/mqtt``, and ``POST /topics/<topic>``.

No request gets anywhere without a principal: the registered certificate of the connection on the mutual-TLS port, a
Signature Version 4 otherwise (in the URL for the upgrade, in the headers for a publish). Who is not known, or not
correctly signed, is answered before the path is looked at.

Source: AWS IoT Core, "HTTPS"; botocore ``iot-data`` Publish signs as ``iotdata``, the guide says ``iotdevicegateway``.
Differs: the other operations of ``iot-data`` (shadows, retained messages, connections) are answered 404 by name.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

from harness.embedded.aws_answers import failure, published
from harness.embedded.trace_records import make_record
from harness.embedded.websocket import UpgradeError, answer_upgrade
from harness.errors import HarnessError, SignatureError
from harness.iot.canonical import SignedRequest
from harness.iot.principals import SigV4Principal
from harness.iot.sigv4 import HTTPS_SERVICES, PARTS_WITH_MESSAGE, verify_header, verify_presigned_url
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.packets import Properties, Publish, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.http import HttpAnswer, HttpRequest
    from harness.embedded.trace_records import Record
    from harness.iot.registry import Credential
    from harness.mqtt.broker import PublishResult

_T = TypeVar("_T")

UPGRADE_PATH: Final = "/mqtt"
TOPICS_PATH: Final = "/topics/"

_PAYLOAD_FORMATS: Final = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}

_REFUSALS: Final = {
    int(ReasonCode.PACKET_TOO_LARGE): 413,
    int(ReasonCode.QUOTA_EXCEEDED): 429,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The connection becomes a WebSocket of this principal; ``headers`` go into the answer 101."""

    principal: SigV4Principal
    headers: list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The connection a request came on.

    Attributes:
        certificate: the registered certificate's principal, None on the port that does not ask for one.
        remote: address of the peer, as text.
        server_name: as asked for in TLS, None without one.
        port: the listener's.
    """

    certificate: object | None
    remote: str
    server_name: str | None
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataApi:
    """Answers the HTTP requests of both listeners.

    Args:
        region: which signatures must be for.
        find_credential: access key id to credential, None when there is none.
        publish: the broker's door for publishes without a connection.
        record: takes a trace record.
        make_id: makes request ids.
        wall_clock: seconds since the epoch.
        denied_status: what a publish is answered that no policy allows.
    """

    region: str
    find_credential: Callable[[str], Credential | None]
    publish: Callable[[Publish, ConnectionInfo], PublishResult]
    record: Callable[[Record], object]
    make_id: Callable[[], str]
    wall_clock: Callable[[], float]
    denied_status: int = 403

    def answer(self, request: HttpRequest, caller: Caller) -> HttpAnswer | Upgrade:
        """Answer a request, or let the connection be upgraded."""
        is_upgrade = request.path == UPGRADE_PATH and caller.certificate is None
        try:
            principal = caller.certificate or self._verify(request, caller, in_url=is_upgrade)
        except SignatureError as error:
            self.record(
                make_record(
                    "upgrade_refused" if is_upgrade else "http_refused",
                    because=error.reason,
                    part=error.part,
                    access_key_id=_claimed_access_key_id(request),
                    remote=caller.remote,
                )
            )
            message = error.reason if error.part in PARTS_WITH_MESSAGE else None
            return self._failure(403, message, must_close=is_upgrade)
        if is_upgrade:
            assert isinstance(principal, SigV4Principal)  # noqa: S101 - no certificate here: _verify made it
            return self._upgrade(request, principal)
        if request.path.startswith(TOPICS_PATH):
            if request.method != "POST":
                return self._failure(405, f"{request.method} is not allowed on {TOPICS_PATH}")
            return self._publish(request, principal, caller)
        return self._failure(404, f"{request.method} {request.path} is not served by this endpoint")

    def _verify(self, request: HttpRequest, caller: Caller, *, in_url: bool) -> SigV4Principal:
        signed = SignedRequest(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_sha256=hashlib.sha256(request.body).hexdigest(),
        )
        now = self.wall_clock()
        if in_url:
            credential = verify_presigned_url(
                signed, find=self.find_credential, region=self.region, now=now, port=caller.port
            )
        else:
            credential, _, _ = verify_header(
                signed,
                find=self.find_credential,
                region=self.region,
                services=HTTPS_SERVICES,
                now=now,
                port=caller.port,
            )
        return SigV4Principal.of(credential)

    def _upgrade(self, request: HttpRequest, principal: SigV4Principal) -> HttpAnswer | Upgrade:
        try:
            headers = answer_upgrade(request.method, request.http_version, request.headers)
        except UpgradeError as error:
            self.record(
                make_record(
                    "upgrade_refused",
                    principal=principal.display,
                    because=error.reason,
                    access_key_id=principal.access_key_id,
                )
            )
            spoken = (("Sec-WebSocket-Version", "13"),) if error.status == 426 else ()
            return self._failure(error.status, error.reason, must_close=True, headers=spoken)
        return Upgrade(principal=principal, headers=headers)

    def _publish(self, request: HttpRequest, principal: object, caller: Caller) -> HttpAnswer:
        try:
            publish = read_publish(request)
        except InvalidRequestError as error:
            return self._failure(400, str(error))
        info = ConnectionInfo(
            connection_id=self.make_id(),
            principal=principal,
            transport="https",
            remote=caller.remote,
            server_name=caller.server_name,
        )
        result = self.publish(publish, info)
        if result.message_id is not None:
            return published(result.message_id)
        if result.decision is not None and not result.decision.allowed:
            return self._failure(self.denied_status, None)
        return self._failure(_REFUSALS.get(result.reason_code, 400), result.because)

    def _failure(self, status: int, message: str | None, **more: Any) -> HttpAnswer:
        return failure(status, message, trace_id=self.make_id(), **more)


class InvalidRequestError(HarnessError):
    """A publish request has a parameter that is not accepted."""


def read_publish(request: HttpRequest) -> Publish:
    """Turn a Publish request into the packet it stands for.

    Returns:
        A PUBLISH with packet id 1 when QoS is 1: there is no session that could give it another.

    Raises:
        InvalidRequestError: names the parameter.

    Source: botocore ``iot-data`` Publish: parameters ``qos, retain, contentType, responseTopic, messageExpiry``,
    headers ``x-amz-mqtt5-user-properties``, ``-payload-format-indicator``, ``-correlation-data``.
    """
    try:
        topic_name = unquote(request.path.removeprefix(TOPICS_PATH), errors="strict")
        query = dict(parse_qsl(request.query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise InvalidRequestError("the topic or a parameter is not UTF-8") from None
    qos = _number(query, "qos", most=1) or 0
    return Publish(
        topic_name=topic_name,
        payload=request.body,
        qos=qos,
        retain=_choice(query, "retain", _BOOLEANS) or False,
        packet_id=1 if qos else None,
        properties=Properties(
            content_type=query.get("contentType"),
            response_topic=query.get("responseTopic"),
            message_expiry_interval=_number(query, "messageExpiry", most=0xFFFF_FFFF),
            payload_format_indicator=_choice(
                {"payload-format-indicator": request.header("x-amz-mqtt5-payload-format-indicator")},
                "payload-format-indicator",
                _PAYLOAD_FORMATS,
            ),
            correlation_data=_bytes(request.header("x-amz-mqtt5-correlation-data"), "correlation-data"),
            user_properties=_user_properties(request.header("x-amz-mqtt5-user-properties")),
        ),
    )


def _claimed_access_key_id(request: HttpRequest) -> str | None:
    """Return the access key id a request says it is signed with, for the trace; nothing is checked."""
    claims = (
        dict(parse_qsl(request.query)).get("X-Amz-Credential")
        or (request.header("authorization") or "").partition("Credential=")[2]
    )
    return claims.partition("/")[0][:128] or None


def _number(values: Mapping[str, str], name: str, *, most: int) -> int | None:
    if name not in values:
        return None
    text = values[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most):
        raise InvalidRequestError(f"{name} is not a number from 0 to {most}")
    return int(text)


def _choice(values: Mapping[str, str | None], name: str, accepted: Mapping[str, _T]) -> _T | None:
    text = values.get(name)
    if text is None:
        return None
    if text not in accepted:
        raise InvalidRequestError(f"{name} is not one of {', '.join(accepted)}")
    return accepted[text]


def _bytes(text: str | None, name: str) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # not ASCII, or binascii.Error
        raise InvalidRequestError(f"{name} is not base64") from None


def _user_properties(text: str | None) -> tuple[tuple[str, str], ...]:
    """Read a base64 JSON array of objects with one key each; boto3 wraps one given as text once more."""
    raw = _bytes(text, "user-properties")
    if raw is None:
        return ()
    try:
        entries = json.loads(raw)
        if isinstance(entries, str):
            entries = json.loads(entries)
        pairs = [pair for entry in entries for pair in entry.items()]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise InvalidRequestError("user-properties is not a JSON array of objects") from None
    if not all(isinstance(value, str) for _, value in pairs):
        raise InvalidRequestError("a user property is not a string")
    return tuple(pairs)
