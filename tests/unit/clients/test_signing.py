"""The handshake's signature, checked with botocore's own signer."""

from __future__ import annotations

import hmac
import threading
from concurrent.futures import Future
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from awscrt import http, mqtt5

from harness.clients.credentials import GivenCredentials, TemporaryCredentials
from harness.clients.loopback import reached_at
from harness.clients.signing import HandshakeSigner, Signature, with_changed_signature

KEYS = TemporaryCredentials(access_key_id="ASIATEST", secret_access_key="secret", session_token="to/ken=")


def sign(signer: HandshakeSigner) -> dict[str, str]:
    """Let a signer sign a handshake as the runtime would; give the query."""
    headers = http.HttpHeaders(
        [
            ("Host", "broker.test"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Protocol", "mqtt"),
        ]
    )
    request = http.HttpRequest("GET", "/mqtt", headers)
    done: Future[None] = Future()
    signer(transform_args=mqtt5.WebsocketHandshakeTransformArgs(None, request, done))
    done.result(timeout=10)
    return dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))


def expected_signature(query: dict[str, str]) -> str:
    """Work out the signature by the steps of AWS's description, from what the query says."""
    signed = query["X-Amz-SignedHeaders"].split(";")
    values = {"host": "broker.test", "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-protocol": "mqtt"}
    pairs = sorted(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in query.items()
        if name not in ("X-Amz-Signature", "X-Amz-Security-Token")
    )
    empty = sha256(b"").hexdigest()
    canonical = "\n".join(
        ["GET", "/mqtt", "&".join(pairs), *(f"{name}:{values[name]}" for name in signed), "", ";".join(signed), empty]
    )
    _key, *scope = query["X-Amz-Credential"].split("/")
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", query["X-Amz-Date"], "/".join(scope), sha256(canonical.encode()).hexdigest()]
    )
    key = b"AWS4secret"
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def test_a_right_signature_is_what_aws_works_out() -> None:
    """Service iotdevicegateway, the region given, the session token appended and not signed."""
    signer = HandshakeSigner(source=GivenCredentials(KEYS), region="eu-central-1")

    query = sign(signer)

    assert query["X-Amz-Signature"] == expected_signature(query)
    assert query["X-Amz-Security-Token"] == "to/ken="
    assert query["X-Amz-Credential"].startswith("ASIATEST/")
    assert query["X-Amz-Credential"].endswith("/eu-central-1/iotdevicegateway/aws4_request")
    assert signer.used is KEYS


def test_a_changed_signature_differs_in_one_digit() -> None:
    """All the rest is right, so nothing but the comparison of signatures can refuse it."""
    query = sign(HandshakeSigner(source=GivenCredentials(KEYS), region="eu-central-1", signature=Signature.CHANGED))

    right = expected_signature(query)
    assert query["X-Amz-Signature"][1:] == right[1:]
    assert query["X-Amz-Signature"][0] != right[0]


def test_a_missing_signature_leaves_the_request_alone() -> None:
    """Nothing of SigV4 is in the URL, and no credentials were used."""
    signer = HandshakeSigner(source=GivenCredentials(KEYS), region="eu-central-1", signature=Signature.MISSING)

    assert sign(signer) == {}
    assert signer.used is None


class SlowSource:
    """Has nothing at hand; fetches."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.fetched_on: str | None = None

    def peek(self) -> None:
        """Have nothing."""

    def get(self) -> TemporaryCredentials:
        """Fetch."""
        self.fetched_on = threading.current_thread().name
        if self.fails:
            raise PermissionError("no guests today")
        return KEYS

    def discard(self, credentials: TemporaryCredentials) -> None:
        """Not asked for here."""
        raise NotImplementedError


def test_credentials_are_not_fetched_on_the_thread_that_asks() -> None:
    """The runtime's thread serves other connections meanwhile."""
    source = SlowSource()

    query = sign(HandshakeSigner(source=source, region="eu-central-1"))

    assert query["X-Amz-Signature"] == expected_signature(query)
    assert source.fetched_on != threading.current_thread().name


def test_a_failed_fetch_fails_the_handshake() -> None:
    """The runtime gets the error and reports the attempt as failed; nothing hangs."""
    with pytest.raises(PermissionError):
        sign(HandshakeSigner(source=SlowSource(fails=True), region="eu-central-1"))


@pytest.mark.parametrize(("digits", "changed"), [("0ab", "1ab"), ("fab", "0ab")])
def test_changing_a_signature_touches_its_first_digit(digits: str, changed: str) -> None:
    """Whatever the digit was, it is another one afterwards, and the rest of the path is as it was."""
    assert with_changed_signature(f"/mqtt?a=b&X-Amz-Signature={digits}") == f"/mqtt?a=b&X-Amz-Signature={changed}"


@pytest.mark.parametrize(
    ("host", "reached", "in_the_header"),
    [
        ("data.iot.us-east-1.localhost", "localhost", "data.iot.us-east-1.localhost"),
        ("localhost", "localhost", "broker.test"),
        ("x.iot.us-east-1.amazonaws.com", "x.iot.us-east-1.amazonaws.com", "broker.test"),
        ("x.localhost.example", "x.localhost.example", "broker.test"),
    ],
)
@pytest.mark.parametrize("signature", list(Signature))
def test_a_server_below_localhost_is_here_and_hears_its_own_name(
    host: str, reached: str, in_the_header: str, signature: Signature
) -> None:
    """RFC 6761: the connection goes to this machine, the Host header says the name; others are left alone."""
    request = http.HttpRequest("GET", "/mqtt", http.HttpHeaders([("Host", "broker.test")]))
    done: Future[None] = Future()
    signer = HandshakeSigner(source=GivenCredentials(KEYS), host=host, region="us-east-1", signature=signature)

    signer(mqtt5.WebsocketHandshakeTransformArgs(None, request, done))

    done.result(timeout=10)
    assert reached_at(host) == reached
    assert list(request.headers.get_values("Host")) == [in_the_header]
