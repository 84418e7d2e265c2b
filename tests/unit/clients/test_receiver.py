"""The receiver from outside: what was posted to it, what it answered, what it has counted."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients.receiver import ReceiverView, RunningReceiver
from harness.errors import ExpectationError, HarnessError, TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Scene

METRICS = """\
# HELP receiver_requests_total Messages posted by rules.
# TYPE receiver_requests_total counter
receiver_requests_total{outcome="stored"} %d
receiver_requests_total{outcome="wrong_secret"} %d
# HELP receiver_rows_written_total Rows in the table.
# TYPE receiver_rows_written_total counter
receiver_rows_written_total %d
# HELP receiver_requests_in_progress Messages being worked on.
# TYPE receiver_requests_in_progress gauge
receiver_requests_in_progress 7
"""


@dataclass
class FakeMetrics:
    """A receiver on loopback that exposes what it is told to.

    Attributes:
        counts: stored, wrong_secret and rows written.
        status: what is answered.
    """

    counts: list[int] = field(default_factory=lambda: [3, 0, 3])
    status: int = 200
    url: str = ""
    tls: ssl.SSLContext | None = None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own issue for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("receiver") / "certificate.pem"
    kept_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + kept_key)
    return file


@pytest.fixture
def fake(certificate: Path) -> Iterator[FakeMetrics]:
    """A receiver that exposes metrics over TLS."""
    fake = FakeMetrics(tls=ssl.create_default_context(cafile=certificate))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/metrics"
            content = (METRICS % tuple(fake.counts)).encode()
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        fake.url = f"https://127.0.0.1:{server.server_port}"
        yield fake
        server.shutdown()


@pytest.fixture
def view(fake: FakeMetrics, scene: Scene) -> ReceiverView:
    """The receiver, seen by a test."""
    return ReceiverView(fake.url + "/", stories=scene.stories, tls=fake.tls, patience=5)


async def test_metrics_are_read_by_name_and_labels(view: ReceiverView, fake: FakeMetrics) -> None:
    """As Prometheus would see them."""
    metrics = await view.metrics()

    assert metrics["receiver_requests_total", frozenset({("outcome", "stored")})] == 3
    assert metrics["receiver_requests_in_progress", frozenset()] == 7
    assert (view.url, view.ingest_url) == (fake.url, fake.url + "/ingest")


async def test_what_was_counted_before_the_test_does_not_count(view: ReceiverView, fake: FakeMetrics) -> None:
    """The difference is the test's, with the labels it names and all others together."""
    await view.begin_counting()
    fake.counts = [4, 2, 4]

    assert await view.counted("receiver_requests_total") == 3
    assert await view.counted("receiver_requests_total", outcome="wrong_secret") == 2
    assert await view.counted("receiver_requests_total", outcome="something else") == 0


async def test_a_metric_that_there_is_not_is_named(view: ReceiverView) -> None:
    """A count of nothing would hide a typing error."""
    with pytest.raises(HarnessError) as failure:
        await view.counted("receiver_request_total")

    assert str(failure.value) == (
        "the receiver has no metric receiver_request_total; it has receiver_requests_in_progress, "
        "receiver_requests_total, receiver_rows_written_total"
    )


async def test_a_failure_tells_what_was_counted(view: ReceiverView, fake: FakeMetrics) -> None:
    """What has grown since the test began, and nothing else."""
    assert await view.told() == []  # nobody knows since when
    await view.begin_counting()
    assert await view.told() == ["the receiver has counted nothing since the test began"]
    fake.counts = [3, 1, 3]

    assert await view.told() == [
        "the receiver has counted since the test began, other tests of the same time included:",
        '  receiver_requests_total{outcome="wrong_secret"} +1',
    ]
    fake.status = 500
    assert await view.told() == [f"The receiver at {fake.url} answered 500 to GET /metrics"]


async def test_a_receiver_that_is_down_is_named(scene: Scene, fake: FakeMetrics) -> None:
    """Which one, and how it did not answer."""
    view = ReceiverView("https://127.0.0.1:1", stories=scene.stories, tls=fake.tls)

    with pytest.raises(TargetUnavailable, match=r"The receiver at https://127\.0\.0\.1:1 does not answer: ."):
        await view.metrics()


async def test_a_receiver_with_another_certificate_is_not_believed(scene: Scene, fake: FakeMetrics) -> None:
    """The stack's CA is what counts."""
    view = ReceiverView(fake.url, stories=scene.stories, tls=ssl.create_default_context())

    with pytest.raises(TargetUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await view.metrics()


async def test_deliveries_are_the_tries_of_a_message(view: ReceiverView, scene: Scene) -> None:
    """In order, once the last of them is over."""
    message = scene.message()
    message_id = scene.publish(message)
    scene.rule(message_id)
    scene.http_try(message_id, 1, 503, again=True)
    scene.http_try(message_id, 2, 200)
    scene.action(message_id, "ok", 2)

    assert [each.status for each in await view.deliveries(message)] == [503, 200]
    assert (await view.expect_delivery(message)).number == 2
    assert (await view.expect_delivery(message, status=200)).number == 2


async def test_a_wrong_secret_is_named_by_the_failure_alone(
    view: ReceiverView, scene: Scene, fake: FakeMetrics
) -> None:
    """The answer, and what the receiver counted it as."""
    await view.begin_counting()
    message = scene.message()
    message_id = scene.publish(message)
    scene.rule(message_id)
    scene.http_try(message_id, 1, 403)
    fake.counts[1] += 1
    scene.action(message_id, "failed", 1, "StatusCode: 403. Reason: Forbidden.")
    scene.error_action(message_id)

    with pytest.raises(ExpectationError) as failure:
        await view.expect_delivery(message)

    assert failure.value.wanted == (
        '\'{"deviceId":"sensor-1","temp":21.5}\' was to be answered with success, and was answered 403'
    )
    assert failure.value.near_misses[1:] == (
        "  rule telemetry matched",
        "  try 1: POST https://receiver.test/ingest was answered 403 Forbidden",
        "  rule telemetry gave up after 1 try: StatusCode: 403. Reason: Forbidden.",
        "  the error action of rule telemetry sent it to the dead-letter queue",
        "the receiver has counted since the test began, other tests of the same time included:",
        '  receiver_requests_total{outcome="wrong_secret"} +1',
    )
    assert (await view.expect_delivery(message, status=403)).status == 403


async def test_a_message_that_was_not_posted_was_not_answered(view: ReceiverView, scene: Scene) -> None:
    """Neither is one whose last try got no answer."""
    unposted, unanswered = scene.message("1"), scene.message("2")
    scene.rule(scene.publish(unposted), "not_matched", "WHERE false is false")
    message_id = scene.publish(unanswered)
    scene.rule(message_id)
    scene.http_try(message_id, 1, error="Connection refused")
    scene.action(message_id, "failed", 1, "Connection refused")
    scene.error_action(message_id)

    for message, outcome in ((unposted, "was not posted"), (unanswered, "was not")):
        with pytest.raises(ExpectationError) as failure:
            await view.expect_delivery(message, status=422)
        assert failure.value.wanted == f"'{message.text}' was to be answered 422, and {outcome}"


async def test_a_receiver_of_a_tests_own_is_stopped_and_started(scene: Scene, fake: FakeMetrics) -> None:
    """By its name, and it knows whether it runs."""

    class FakeFaults:
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        async def stop_receiver(self, name: str, *, how: str) -> None:
            self.calls.append(("stop", name, how))

        async def start_receiver(self, name: str) -> str:
            self.calls.append(("start", name))
            return fake.url

        async def freeze_receiver(self, name: str) -> None:
            self.calls.append(("freeze", name))

        async def thaw_receiver(self, name: str) -> None:
            self.calls.append(("thaw", name))

    faults = FakeFaults()
    receiver = RunningReceiver("r-1", fake.url, faults=faults, stories=scene.stories, tls=fake.tls)
    assert receiver.ingest_url == f"{fake.url}/ingest?for=r-1"

    await receiver.stop()
    assert not receiver.is_running
    await receiver.start()
    assert receiver.is_running
    await receiver.freeze()
    await receiver.thaw()
    assert receiver.is_running
    await receiver.stop("term")

    assert faults.calls == [
        ("stop", "r-1", "kill"),
        ("start", "r-1"),
        ("freeze", "r-1"),
        ("thaw", "r-1"),
        ("stop", "r-1", "term"),
    ]
