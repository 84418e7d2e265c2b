"""Doubles for the clients' neighbours: the runtime's MQTT client, and a target's admin API."""

from __future__ import annotations

import copy
import itertools
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError
from botocore.exceptions import ClientError
from cryptography import x509

from harness.clients.admin import AdminApi
from harness.clients.broadcast import BroadcastClient, WssEndpoint
from harness.clients.certificates import certificate_id, make_key, make_self_signed
from harness.clients.credentials import GivenCredentials, TemporaryCredentials
from harness.clients.message import Message
from harness.clients.rules import Rules
from harness.clients.stories import Stories
from harness.clients.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDPOINT = WssEndpoint(host="broker.test", region="eu-central-1", port=8443)
KEYS = TemporaryCredentials(access_key_id="ASIATEST", secret_access_key="secret", session_token="token")
OFFLINE = "AWS_ERROR_MQTT5_OPERATION_FAILED_DUE_TO_OFFLINE_QUEUE_POLICY"


def crt_error(name: str) -> AwsCrtError:
    """Make an error as the runtime raises it."""
    return AwsCrtError(code=1, name=name, message=name)


class FakeNative:
    """Plays `awscrt.mqtt5.Client`: calls back on a thread of its own, and answers as it was told.

    Attributes:
        on_start: called by `start`; connects by default.
        answers: topic or topic filter → reason code, or the name of the error that ends the connection; 0 by default.
        does_stop: whether `stop` is followed by the stopped event.
    """

    def __init__(self) -> None:
        self.options: mqtt5.ClientOptions = None
        self.on_start: Callable[[], None] = self.come_up
        self.answers: dict[str, int | str] = {}
        self.does_stop = True
        self.published: list[mqtt5.PublishPacket] = []
        self.subscribed: list[str] = []
        self.unsubscribed: list[str] = []
        self.stops = 0
        self.thread = ThreadPoolExecutor(max_workers=1)

    def start(self) -> None:
        """Do what the test said."""
        self.on_start()

    def stop(self, disconnect_packet: mqtt5.DisconnectPacket | None = None) -> None:
        """Say that it has stopped, unless it is to hang."""
        assert disconnect_packet is not None
        self.stops += 1
        if self.does_stop:
            self.thread.submit(self.options.on_lifecycle_event_stopped_fn, mqtt5.LifecycleStoppedData())

    def come_up(self, *, session_present: bool = False) -> None:
        """Connect."""
        connack = mqtt5.ConnackPacket(session_present=session_present, reason_code=mqtt5.ConnectReasonCode.SUCCESS)
        data = mqtt5.LifecycleConnectSuccessData(connack_packet=connack)
        self.thread.submit(self.options.on_lifecycle_event_connection_success_fn, data)

    def refuse(self, name: str, reason_code: int | None = None) -> None:
        """Fail to connect."""
        connack = None if reason_code is None else mqtt5.ConnackPacket(reason_code=reason_code, reason_string="no")
        data = mqtt5.LifecycleConnectFailureData(connack_packet=connack, exception=crt_error(name))
        self.thread.submit(self.options.on_lifecycle_event_connection_failure_fn, data)

    def go_down(self, name: str, reason_code: int | None = None) -> None:
        """Lose the connection."""
        packet = None if reason_code is None else mqtt5.DisconnectPacket(reason_code=reason_code)
        data = mqtt5.LifecycleDisconnectData(disconnect_packet=packet, exception=crt_error(name))
        self.thread.submit(self.options.on_lifecycle_event_disconnection_fn, data)

    def hear(self, topic: str, payload: bytes | None, **fields: Any) -> None:
        """Receive a PUBLISH."""
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, **{"qos": mqtt5.QoS.AT_LEAST_ONCE, **fields})
        data = mqtt5.PublishReceivedData(publish_packet=packet)
        self.thread.submit(self.options.on_publish_callback_fn, data)

    def publish(self, publish_packet: mqtt5.PublishPacket) -> Future[Any]:
        """Acknowledge as told, and send the message back as a loopback."""
        self.published.append(publish_packet)
        return self._answer(
            publish_packet.topic, lambda code: SimpleNamespace(puback=SimpleNamespace(reason_code=code))
        )

    def subscribe(self, subscribe_packet: mqtt5.SubscribePacket) -> Future[Any]:
        """Acknowledge as told."""
        topic_filter = subscribe_packet.subscriptions[0].topic_filter
        self.subscribed.append(topic_filter)
        return self._answer(topic_filter, lambda code: SimpleNamespace(reason_codes=[code]))

    def unsubscribe(self, unsubscribe_packet: mqtt5.UnsubscribePacket) -> Future[Any]:
        """Acknowledge as told."""
        topic_filter = unsubscribe_packet.topic_filters[0]
        self.unsubscribed.append(topic_filter)
        return self._answer(topic_filter, lambda code: SimpleNamespace(reason_codes=[code]))

    def _answer(self, subject: str, make: Callable[[int], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        answer = self.answers.get(subject, 0)

        def answer_later() -> None:
            if answer == "silence":
                return
            if isinstance(answer, int):
                future.set_result(make(answer))
            elif answer.startswith("local:"):
                future.set_exception(crt_error(answer.removeprefix("local:")))
            else:
                future.set_exception(crt_error(OFFLINE))
                code = 0x87 if answer == "AWS_ERROR_MQTT5_DISCONNECT_RECEIVED" else None
                self.go_down(answer, code)

        self.thread.submit(answer_later)
        return future


@pytest.fixture
def native() -> Iterator[FakeNative]:
    """The runtime's client of the test's only broadcast client."""
    fake = FakeNative()
    yield fake
    fake.thread.shutdown()


@pytest.fixture
def make_client(native: FakeNative) -> Callable[..., BroadcastClient]:
    """Makes a broadcast client on top of `native`."""

    class Guest(BroadcastClient):
        def _make_native(self, options: mqtt5.ClientOptions) -> Any:
            native.options = options
            return native

    def make(**arguments: Any) -> BroadcastClient:
        return Guest(
            **{
                "endpoint": ENDPOINT,
                "credentials": GivenCredentials(KEYS),
                "client_id": "public-1",
                "patience": 0.2,
                **arguments,
            }
        )

    return make


@dataclass
class FakeTarget:
    """An admin API on loopback.

    Attributes:
        records: what `GET /trace` tells.
        posted: what came by POST, with its path.
        authorization: of the last request.
        status: what is answered.
        asked: queries of `GET /trace`.
        does_wait: whether a `wait` is kept, as when nothing happens meanwhile.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    authorization: str | None = None
    status: int = 200
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    does_wait: bool = False
    url: str = ""

    def add(self, kind: str, **fields: Any) -> None:
        """Append a record."""
        seq = len(self.records) + 1
        base = {"seq": seq, "at": f"2026-11-21T20:01:02.{seq:03d}Z", "actor": "broker", "kind": kind}
        self.records.append({**base, "client_id": None, "principal": None, "topic": None, "detail": {}, **fields})

    @property
    def admin(self) -> AdminApi:
        """A client of it."""
        return AdminApi(self.url, "letmein")

    @property
    def trace(self) -> Trace:
        """A reader of its trace."""
        return Trace(self.admin)


@pytest.fixture
def fake_target() -> Iterator[FakeTarget]:
    """A target's admin API, listening on loopback."""
    fake = FakeTarget()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            fake.asked.append(query)
            if fake.does_wait:
                time.sleep(float(query["wait"][0]))
            since = int(query["since"][0])
            lines = [json.dumps(each) for each in fake.records if each["seq"] > since]
            self.answer("\n".join(lines).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.posted.append((self.path, body))
            self.answer(b'{"fault_id": "1"}')

        def answer(self, content: bytes) -> None:
            fake.authorization = self.headers["Authorization"]
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        fake.url = f"http://127.0.0.1:{server.server_port}/_thingwright"
        yield fake
        server.shutdown()


STACK_RULE = {
    "ruleName": "telemetry",
    "sql": "SELECT * FROM 'things/telemetry'",
    "awsIotSqlVersion": "2016-03-23",
    "createdAt": 1.0,
    "ruleDisabled": False,
    "actions": [
        {
            "http": {
                "url": "https://receiver.test/ingest",
                "confirmationUrl": "https://receiver.test/ingest",
                "headers": [
                    {"key": "X-Message-Id", "value": "${traceid()}"},
                    {"key": "x-iot-secret", "value": "the stack's"},
                ],
            }
        }
    ],
    "errorAction": {"sqs": {"queueUrl": "https://sqs.test/dead", "roleArn": "arn:aws:iam::1:role/rules"}},
}


class FakeIot:
    """Plays boto3's ``iot`` client as far as rules and destinations go.

    Attributes:
        rules: by name, as GetTopicRule answers them.
        destinations: by ARN, as GetTopicRuleDestination answers them.
        called: every call, with its parameters.
        outcomes: statuses that a destination takes on, one for each time it is asked about.
    """

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, Any]] = {"telemetry": copy.deepcopy(STACK_RULE)}
        self.destinations: dict[str, dict[str, Any]] = {}
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[str] = []
        self.is_closed = False

    def get_topic_rule(self, **parameters: Any) -> dict[str, Any]:
        """Answer as AWS does for rules that there are and that there are not."""
        self.called.append(("get_topic_rule", parameters))
        name = parameters["ruleName"]
        if name not in self.rules:
            error = {"Code": "UnauthorizedException", "Message": f"Access to topic rule '{name}' was denied"}
            raise ClientError({"Error": error}, "GetTopicRule")
        return {"rule": self.rules[name]}

    def create_topic_rule(self, **parameters: Any) -> dict[str, Any]:
        """Keep the rule."""
        self.called.append(("create_topic_rule", parameters))
        self.rules[parameters["ruleName"]] = {"ruleName": parameters["ruleName"], **parameters["topicRulePayload"]}
        return {}

    def delete_topic_rule(self, **parameters: Any) -> dict[str, Any]:
        """Forget the rule."""
        self.called.append(("delete_topic_rule", parameters))
        del self.rules[parameters["ruleName"]]
        return {}

    def create_topic_rule_destination(self, **parameters: Any) -> dict[str, Any]:
        """Keep the destination, to be confirmed."""
        self.called.append(("create_topic_rule_destination", parameters))
        arn = f"arn:aws:iot:eu-central-1:1:ruledestination/http/{len(self.destinations) + 1}"
        url = parameters["destinationConfiguration"]["httpUrlConfiguration"]
        self.destinations[arn] = {"arn": arn, "status": "IN_PROGRESS", "httpUrlProperties": url}
        return {"topicRuleDestination": self.destinations[arn]}

    def get_topic_rule_destination(self, **parameters: Any) -> dict[str, Any]:
        """Go on to the next status, if there is one, and answer."""
        destination = self.destinations[parameters["arn"]]
        if self.outcomes:
            destination["status"] = self.outcomes.pop(0)
        return {"topicRuleDestination": destination}

    def update_topic_rule_destination(self, **parameters: Any) -> dict[str, Any]:
        """Take on a status."""
        self.called.append(("update_topic_rule_destination", parameters))
        self.destinations[parameters["arn"]]["status"] = parameters["status"]
        return {}

    def delete_topic_rule_destination(self, **parameters: Any) -> dict[str, Any]:
        """Forget the destination."""
        self.called.append(("delete_topic_rule_destination", parameters))
        del self.destinations[parameters["arn"]]
        return {}

    def list_topic_rule_destinations(self, **parameters: Any) -> dict[str, Any]:
        """Answer with one destination a page."""
        start = int(parameters.get("nextToken", "0"))
        arns = list(self.destinations)
        summaries = [
            {"arn": arn, "httpUrlSummary": self.destinations[arn]["httpUrlProperties"]}
            for arn in arns[start : start + 1]
        ]
        more = {"nextToken": str(start + 1)} if start + 1 < len(arns) else {}
        return {"destinationSummaries": summaries, **more}

    def get_paginator(self, operation: str) -> SimpleNamespace:
        """List all rules."""
        assert operation == "list_topic_rules"
        return SimpleNamespace(paginate=lambda: [{"rules": [{"ruleName": name} for name in self.rules]}])

    def close(self) -> None:
        """Remember that."""
        self.is_closed = True


@pytest.fixture
def iot() -> FakeIot:
    """AWS IoT with the stack's rule."""
    return FakeIot()


@pytest.fixture
def rules(iot: FakeIot) -> Rules:
    """The rules of a test."""
    numbers = itertools.count(1)
    return Rules(make_iot=lambda: iot, make_name=lambda hint: f"{hint}-{next(numbers)}", stack_rule="telemetry")


@dataclass
class Scene:
    """Writes a trace as a stand-in does: what became of the messages of a test.

    Attributes:
        target: whose trace.
        stories: reads it.
        published_later: seconds by which the clock is ahead when something is written down.
    """

    target: FakeTarget
    stories: Stories
    published_later: float = 0.0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def message(self, payload: str = '{"deviceId":"sensor-1","temp":21.5}', **fields: Any) -> Message:
        """Send something, which has not arrived anywhere yet."""
        topic, sender = fields.pop("topic", "things/telemetry"), fields.pop("sender", "sensor-1")
        return Message(topic, payload.encode(), sender=sender, trace=self.target.trace, **fields)

    def publish(self, message: Message, **fields: Any) -> str:
        """Let the broker publish it; return its id."""
        message_id = f"message-{next(self.numbers)}"
        shown = message.payload[:256].decode(errors="replace")
        detail = {"qos": 1, "payload": shown, "payload_bytes": len(message.payload)}
        who = {"client_id": message.sender, "topic": message.topic, "message_id": message_id, **fields}
        self._add("publish", detail, **who)
        return message_id

    def rule(
        self, message_id: str, outcome: str = "matched", because: str = "no WHERE", rule: str = "telemetry"
    ) -> None:
        """Let a rule take it up."""
        self._about("rule", message_id, rule=rule, outcome=outcome, because=because)

    def http_try(self, message_id: str, number: int, status: int | None = None, **detail: Any) -> None:
        """Let its action post it."""
        url = "https://receiver.test/ingest"
        says = {"rule": "telemetry", "url": url, "status": status, "error": None, "milliseconds": 3.2, "again": False}
        self._about("http_try", message_id, number=number, **{**says, **detail})

    def action(self, message_id: str, outcome: str, tries: int, because: str = "", rule: str = "telemetry") -> None:
        """Let the action end."""
        self._about("action", message_id, rule=rule, action="http", outcome=outcome, because=because, tries=tries)

    def error_action(self, message_id: str, outcome: str = "ok", because: str = "") -> None:
        """Let the error action end."""
        self._about("error_action", message_id, rule="telemetry", action="sqs", outcome=outcome, because=because)

    def call(self, outcome: str, because: str | None, *, who: str = "assumed-role/receiver/pod-1") -> None:
        """Let somebody write to the table."""
        detail = {
            "service": "dynamodb",
            "operation": "BatchWriteItem",
            "outcome": outcome,
            "because": because,
            "status": 400,
        }
        self._add("api", detail, principal=f"arn:aws:sts::1:{who}")

    def stored(self, message: Message) -> str:
        """Let everything go well with a message; return its id."""
        message_id = self.publish(message)
        self.rule(message_id)
        self.http_try(message_id, 1, 200)
        self.action(message_id, "ok", 1)
        return message_id

    def _about(self, kind: str, message_id: str, **detail: Any) -> None:
        published = next(each for each in self.target.records if each.get("message_id") == message_id)
        self._add(kind, detail, **{name: published[name] for name in ("client_id", "topic", "message_id")})

    def _add(self, kind: str, detail: dict[str, Any], **fields: Any) -> None:
        now = datetime.now(UTC) + timedelta(seconds=self.published_later)
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.target.add(kind, at=at, detail=detail, **fields)


@pytest.fixture
def scene(fake_target: FakeTarget, rules: Rules) -> Scene:
    """A trace to write on, and the stories it tells."""
    return Scene(fake_target, Stories(trace=fake_target.trace, rules=rules, patience=0.2))


CERTIFICATE_ARN = "arn:aws:iot:eu-central-1:123456789012:cert/"


def refusal(operation: str, code: str = "AccessDeniedException", message: str = "no") -> ClientError:
    """Make an error as AWS answers it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@dataclass
class FakeRegistry:
    """Plays boto3's ``iot`` client as far as things go, as strict about the order of things as AWS is.

    Attributes:
        errors: operation → what it raises: always, or for a list one by one, until none is left.
        before: operation → what happens just before it, once: somebody else was faster.
        calls: operations in order, those that only look left out.
        asked: operations that only look.
        certificates: ID → status.
        policies: name → the documents of its versions; the last is in force.
        attached: (what, certificate ARN).
        attributes: thing's name → what it was made with.
        tags: policy's name → what it was made with.
        subjects: certificate's ID → the common name that was asked for.
    """

    errors: dict[str, Exception | list[Exception]] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    things: set[str] = field(default_factory=set)
    certificates: dict[str, str] = field(default_factory=dict)
    policies: dict[str, list[Any]] = field(default_factory=dict)
    attached: set[tuple[str, str]] = field(default_factory=set)
    attributes: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def _begin(self, operation: str) -> None:
        self.calls.append(operation)
        if (happens := self.before.pop(operation, None)) is not None:
            happens()
        error = self.errors.get(operation)
        if isinstance(error, list):
            error = error.pop(0) if error else None
        if error is not None:
            raise error

    def create_thing(self, *, thingName: str, attributePayload: Any = None) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("create_thing")
        self.things.add(thingName)
        self.attributes[thingName] = attributePayload

    def describe_thing(self, *, thingName: str) -> None:  # noqa: N803 - boto3's spelling
        """Say whether there is one."""
        self.asked.append("describe_thing")
        if thingName not in self.things:
            raise refusal("DescribeThing", "ResourceNotFoundException")

    def create_certificate_from_csr(self, *, certificateSigningRequest: str, setAsActive: bool) -> dict[str, str]:  # noqa: N803 - boto3's spelling
        """Issue something for the key that asks."""
        self._begin("create_certificate_from_csr")
        assert setAsActive
        request = x509.load_pem_x509_csr(certificateSigningRequest.encode())
        assert request.is_signature_valid
        pem = make_self_signed(make_key())
        its_id = certificate_id(pem)
        self.certificates[its_id] = "ACTIVE"
        self.subjects[its_id] = request.subject.rfc4514_string()
        return {"certificateId": its_id, "certificateArn": CERTIFICATE_ARN + its_id, "certificatePem": pem}

    def describe_certificate(self, *, certificateId: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        """Say what there is to say."""
        self.asked.append("describe_certificate")
        if certificateId not in self.certificates:
            raise refusal("DescribeCertificate", "ResourceNotFoundException")
        arn, status = CERTIFICATE_ARN + certificateId, self.certificates[certificateId]
        return {"certificateDescription": {"certificateArn": arn, "status": status}}

    def create_policy(self, *, policyName: str, policyDocument: str, tags: Any = None) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("create_policy")
        self.policies[policyName] = [json.loads(policyDocument)]
        self.tags[policyName] = tags

    def attach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("attach_policy")
        self.attached.add((policyName, target))

    def attach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - boto3's spelling
        """Keep it."""
        self._begin("attach_thing_principal")
        self.attached.add((thingName, principal))

    def update_certificate(self, *, certificateId: str, newStatus: str) -> None:  # noqa: N803 - boto3's spelling
        """Change it, unless it was revoked."""
        self._begin("update_certificate")
        if certificateId not in self.certificates:
            raise refusal("UpdateCertificate", "ResourceNotFoundException")
        assert self.certificates[certificateId] != "REVOKED"
        self.certificates[certificateId] = newStatus

    def detach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it; what is not attached does no harm."""
        self._begin("detach_policy")
        self.attached.discard((policyName, target))

    def detach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it."""
        self._begin("detach_thing_principal")
        if thingName not in self.things:
            raise refusal("DetachThingPrincipal", "ResourceNotFoundException")
        self.attached.discard((thingName, principal))

    def delete_certificate(self, *, certificateId: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where nothing holds it."""
        self._begin("delete_certificate")
        if certificateId not in self.certificates:
            raise refusal("DeleteCertificate", "ResourceNotFoundException")
        if self.certificates[certificateId] == "ACTIVE":
            raise refusal("DeleteCertificate", "CertificateStateException")
        if any(arn == CERTIFICATE_ARN + certificateId for _, arn in self.attached):
            raise refusal("DeleteCertificate", "DeleteConflictException")
        del self.certificates[certificateId]

    def delete_thing(self, *, thingName: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where nothing is attached; one that is not there does no harm."""
        self._begin("delete_thing")
        if any(name == thingName for name, _ in self.attached):
            message = f"Cannot delete. Thing {thingName} is still attached to one or more principals"
            raise refusal("DeleteThing", "InvalidRequestException", message)
        self.things.discard(thingName)

    def delete_policy(self, *, policyName: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, where it is attached to nothing and has one version."""
        self._begin("delete_policy")
        if policyName not in self.policies:
            raise refusal("DeletePolicy", "ResourceNotFoundException")
        if any(name == policyName for name, _ in self.attached) or len(self.policies[policyName]) > 1:
            raise refusal("DeletePolicy", "DeleteConflictException")
        del self.policies[policyName]

    def list_policy_versions(self, *, policyName: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        """Answer with all, which are numbered from the last."""
        self.asked.append("list_policy_versions")
        if policyName not in self.policies:
            raise refusal("ListPolicyVersions", "ResourceNotFoundException")
        last = len(self.policies[policyName])
        versions = [{"versionId": str(each), "isDefaultVersion": each == last} for each in range(1, last + 1)]
        return {"policyVersions": versions}

    def delete_policy_version(self, *, policyName: str, policyVersionId: str) -> None:  # noqa: N803 - boto3's spelling
        """Forget it, if it is not in force."""
        self._begin("delete_policy_version")
        assert policyVersionId
        if policyName not in self.policies:
            raise refusal("DeletePolicyVersion", "ResourceNotFoundException")
        self.policies[policyName].pop(0)

    def get_paginator(self, operation: str) -> SimpleNamespace:
        """Give what an operation lists, one a page."""

        def paginate(**parameters: str) -> Iterator[dict[str, Any]]:
            self.asked.append(operation)
            (subject,) = parameters.values()
            found = sorted(self.attached)
            items = {
                "list_attached_policies": ("policies", [n for n, arn in found if arn == subject]),
                "list_principal_things": ("things", [n for n, arn in found if arn == subject and n in self.things]),
                "list_thing_principals": ("principals", [arn for n, arn in found if n == subject]),
                "list_targets_for_policy": ("targets", [arn for n, arn in found if n == subject]),
            }
            member, listed = items[operation]
            if member == "policies":
                listed = [{"policyName": each} for each in listed if each not in self.things]  # type: ignore[misc]  # one shape of items is as good as the other
            yield from ({member: [each]} for each in listed)

        return SimpleNamespace(paginate=paginate)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not (self.things or self.policies or self.certificates or self.attached)


class CountingNames:
    """Makes names that count up."""

    def __init__(self) -> None:
        self.made = 0

    def thing_name(self, hint: str = "thing") -> str:
        """Give the next one."""
        return self.unique(hint)

    def unique(self, hint: str = "") -> str:
        """Give the next one."""
        self.made += 1
        return f"{hint}-{self.made}"


@pytest.fixture
def registry() -> FakeRegistry:
    """AWS IoT's registry of one test."""
    return FakeRegistry()


@pytest.fixture
def names() -> CountingNames:
    """Names of one test."""
    return CountingNames()


@dataclass
class ManualClock:
    """A clock that goes on only when somebody pauses.

    Attributes:
        seconds: what it shows.
        pauses: how long each pause was.
    """

    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Tell the time."""
        return self.seconds

    def pause(self, seconds: float) -> None:
        """Let it pass."""
        self.pauses.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> ManualClock:
    """The time of one test."""
    return ManualClock()
