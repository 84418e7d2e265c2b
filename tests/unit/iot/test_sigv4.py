"""Signatures made by others (AWS's own example, the CRT, botocore) are accepted; one changed part and they are not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SignatureError
from harness.iot.registry import Credential
from harness.iot.sigv4 import (
    HTTPS_SERVICES,
    MISMATCH,
    MISSING,
    PARTS_WITH_MESSAGE,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    SignedRequest,
    signing_key,
    verify_header,
    verify_presigned_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEXAMPLE/token+with=signs"
GUEST = Credential(
    access_key_id="ASIAEXAMPLEGUEST0001",
    secret_access_key=SECRET,
    session_token=TOKEN,
    expires_at=2_000_000_000.0,
    principal_arn="arn:aws:sts::123456789012:assumed-role/guest/CognitoIdentityCredentials",
    principal_id="AROA1:CognitoIdentityCredentials",
)
USER = Credential(
    access_key_id="AKIDEXAMPLE", secret_access_key=SECRET, principal_arn="arn:aws:iam::1:user/eve", principal_id="AIDA1"
)
CREDENTIALS = {one.access_key_id: one for one in (GUEST, USER)}

CRT_SIGNATURE = "9dd16b1d92f0f1b9d7081cde90fea30f62870563e98a07ff2d6f62728e7629f4"
CRT_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=ASIAEXAMPLEGUEST0001%2F20261121%2Feu-west-1%2Fiotdevicegateway%2Faws4_request"
    "&X-Amz-Date=20261121T200148Z&X-Amz-SignedHeaders=connection%3Bhost"
    "&X-Amz-Security-Token=FwoGZXIvYXdzEXAMPLE%2Ftoken%2Bwith%3Dsigns"
    f"&X-Amz-Signature={CRT_SIGNATURE}"
)
CRT_NOW = datetime(2026, 11, 21, 20, 1, 48, tzinfo=UTC).timestamp()
CRT = SignedRequest(
    method="GET",
    path="/mqtt",
    query=CRT_QUERY,
    headers=[
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ],
)
"""What awscrt 0.36.1 sends for these (made-up) credentials; the signature is the CRT's own."""


def verify_url(request: SignedRequest, *, now: float = CRT_NOW, **changes: Any) -> Credential:
    """Verify a WebSocket URL of eu-west-1."""
    settings_: dict[str, Any] = {"find": CREDENTIALS.get, "region": "eu-west-1"}
    return verify_presigned_url(request, now=now, **(settings_ | changes))


def refusal(call: Callable[[], object]) -> SignatureError:
    """Return the error a call raises, having checked that it gives nothing away."""
    with pytest.raises(SignatureError) as caught:
        call()
    text = str(caught.value)
    assert SECRET not in text
    assert TOKEN not in text
    assert CRT_SIGNATURE not in text
    assert len(text) < 300
    return caught.value


# -- WebSocket URLs --------------------------------------------------------------------------------------------------


def test_the_crt_is_let_in() -> None:
    """Token outside the signature, `connection;host` signed, no port in Host, no X-Amz-Expires."""
    assert verify_url(CRT) is GUEST


def presign(  # noqa: PLR0913 - one parameter for each way in which clients differ
    *,
    host: str = "localhost:40002",
    service: str = "iotdevicegateway",
    region: str = "eu-west-1",
    expires: int = 86_400,
    token: str | None = TOKEN,
    sign_token: bool = False,
    access_key_id: str = GUEST.access_key_id,
    method: str = "GET",
    path: str = "/mqtt",
) -> tuple[SignedRequest, float]:
    """Let botocore sign a URL as browsers and paho-mqtt programs do; returns the request and the time of signing."""
    signed_token = token if sign_token else None
    request = AWSRequest(method, f"https://{host}{path}")
    SigV4QueryAuth(Credentials(access_key_id, SECRET, signed_token), service, region, expires=expires).add_auth(request)
    query = urlsplit(request.url).query
    if token and not sign_token:
        query += f"&X-Amz-Security-Token={quote(token, safe='')}"
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    return SignedRequest(method=method, path=path, query=query, headers=[("host", host)]), at


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"sign_token": True},
        {"host": "localhost"},
        {"host": "[::1]:40002"},
        {"host": "localhost:443"},
        {"expires": 1},
        {"access_key_id": USER.access_key_id, "token": None},
    ],
)
def test_generic_presigners_are_let_in(shape: dict[str, Any]) -> None:
    """Browsers and paho-mqtt: only `host` signed, with port; X-Amz-Expires; the token appended, or signed as well."""
    request, at = presign(**shape)

    assert verify_url(request, now=at).access_key_id in request.query


@pytest.mark.parametrize(
    ("signed", "received", "port"),
    [
        ("localhost", "localhost:40002", None),
        ("localhost:40002", "localhost", 40002),
    ],
)
def test_a_host_may_be_signed_without_the_port_it_is_sent_with(signed: str, received: str, port: int | None) -> None:
    """Users sign the bare endpoint as DescribeEndpoint gives it."""
    request, at = presign(host=signed)

    assert verify_url(replace(request, headers=[("Host", received)]), now=at, port=port) is GUEST


def test_the_order_of_parameters_does_not_matter() -> None:
    """They are sorted before they are signed."""
    shuffled = "&".join(reversed(CRT.query.split("&")))

    assert verify_url(replace(CRT, query=shuffled)) is GUEST


@pytest.mark.parametrize(("seconds", "is_in"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_a_url_is_good_for_five_minutes_either_way(seconds: int, *, is_in: bool) -> None:
    """Source: AWS's error texts name the bounds."""
    now = CRT_NOW + seconds

    if is_in:
        assert verify_url(CRT, now=now) is GUEST
    else:
        assert refusal(lambda: verify_url(CRT, now=now)).part == "date"


@pytest.mark.parametrize(
    ("seconds", "reason", "body_bytes"),
    [
        (
            900,
            "Signature expired: 20261121T200148Z is now earlier than 20261121T201148Z (20261121T201648Z - 5 min.)",
            163,
        ),
        (
            -900,
            (
                "Signature not yet current: 20261121T200148Z is still later than "
                "20261121T195148Z (20261121T194648Z + 5 min.)"
            ),
            171,
        ),
    ],
)
def test_a_wrong_clock_is_told_in_aws_words(seconds: int, reason: str, body_bytes: int) -> None:
    """The length of the whole answer is the one seen in public logs."""
    error = refusal(lambda: verify_url(CRT, now=CRT_NOW + seconds))

    assert (error.part, error.reason) == ("date", reason)
    assert len(f'{{"message":"{error.reason}","traceId":"{"x" * 36}"}}') == body_bytes


def test_other_aws_texts_have_the_lengths_seen_in_logs() -> None:
    """Source: content lengths of refused upgrades in public logs."""
    assert len(f'{{"message":"{MISMATCH}","traceId":"{"x" * 36}"}}') == 241
    assert len(f'{{"message":"{MISSING}","traceId":"{"x" * 36}"}}') == 91
    assert {"date", "signature", "missing"} == PARTS_WITH_MESSAGE


def test_x_amz_expires_lengthens_nothing() -> None:
    """URLs signed for a day die after five minutes all the same."""
    request, at = presign(expires=172_800)

    assert refusal(lambda: verify_url(request, now=at + 301)).part == "date"


CHANGED_QUERY = [
    (CRT_SIGNATURE, CRT_SIGNATURE[:-1] + "5", "signature"),
    (CRT_SIGNATURE, CRT_SIGNATURE.upper(), "signature"),
    (CRT_SIGNATURE, "é", "signature"),
    (CRT_SIGNATURE, "%ED%A0%80", "signature"),
    ("X-Amz-Date=20261121T200148Z", "X-Amz-Date=20261121T200149Z", "signature"),
    ("X-Amz-SignedHeaders=connection%3Bhost", "X-Amz-SignedHeaders=host", "signature"),
    ("X-Amz-SignedHeaders=connection%3Bhost", "X-Amz-SignedHeaders=cookie%3Bhost", "signature"),
    ("X-Amz-SignedHeaders=connection%3Bhost", "X-Amz-SignedHeaders=connection", "format"),
    ("X-Amz-SignedHeaders=connection%3Bhost", "X-Amz-SignedHeaders=", "format"),
    ("&X-Amz-Security-Token", "&extra=1&X-Amz-Security-Token", "signature"),
    ("ASIAEXAMPLEGUEST0001", "AKIDEXAMPLE", "signature"),
    ("ASIAEXAMPLEGUEST0001", "ASIAUNKNOWN", "credential"),
    ("ASIAEXAMPLEGUEST0001", "", "format"),
    ("%2Feu-west-1", "%2Fus-east-1", "scope"),
    ("%2Fiotdevicegateway", "%2Fiotdata", "scope"),
    ("%2F20261121%2F", "%2F20261120%2F", "scope"),
    ("%2Faws4_request", "%2Faws5_request", "format"),
    ("%2Faws4_request", "", "format"),
    ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "format"),
    ("&X-Amz-Date=20261121T200148Z", "", "format"),
    ("X-Amz-Date=20261121T200148Z", "X-Amz-Date=2026-11-21T20:01:48Z", "scope"),
    ("X-Amz-Date=20261121T200148Z", "X-Amz-Date=20261121T200148", "format"),
    ("X-Amz-Date=20261121T200148Z", "X-Amz-Date=20261121T256199Z", "format"),
    ("X-Amz-Date=20261121T200148Z", "X-Amz-Date=20261121T20014%D9%A8Z", "format"),
    ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=", "format"),
    ("X-Amz-Date", "X-Amz-Date=20261121T200148Z&X-Amz-Date", "format"),
    ("Security-Token=FwoG", "Security-Token=Xwog", "token"),
    ("&X-Amz-Security-Token=FwoGZXIvYXdzEXAMPLE%2Ftoken%2Bwith%3Dsigns", "", "token"),
]


@pytest.mark.parametrize(("old", "new", "part"), CHANGED_QUERY)
def test_one_changed_part_of_the_url_is_refused(old: str, new: str, part: str) -> None:
    """Each row changes one thing of a good URL; the error says which part disagreed, and no more."""
    assert old in CRT.query

    assert refusal(lambda: verify_url(replace(CRT, query=CRT.query.replace(old, new)))).part == part


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"path": "/other"},
        {"headers": [("Host", "elsewhere"), ("Connection", "Upgrade")]},
        {"headers": [("Host", "localhost"), ("Connection", "close")]},
        {"headers": [("Host", "localhost"), ("Host", "localhost"), ("Connection", "Upgrade")]},
        {"headers": [("Connection", "Upgrade")]},
        {"headers": []},
    ],
)
def test_one_changed_part_of_the_request_is_refused(change: dict[str, Any]) -> None:
    """Method, path and every signed header are covered, and must be there."""
    error = refusal(lambda: verify_url(replace(CRT, **change)))

    assert error.part == "signature"
    assert error.reason.startswith(MISMATCH)


@pytest.mark.parametrize("query", ["", "x=1", "=&", "x-amz-date=1"])
def test_a_url_without_signature_is_told_so(query: str) -> None:
    """Source: the answer of AWS to a request without any credential."""
    error = refusal(lambda: verify_url(replace(CRT, query=query)))

    assert (error.part, error.reason) == ("missing", "Missing Authentication Token")


def test_a_secret_that_was_changed_is_refused() -> None:
    """The same key with another secret: somebody else's signature."""
    other = replace(GUEST, secret_access_key="another")

    assert refusal(lambda: verify_url(CRT, find=lambda _: other)).part == "signature"


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        (replace(GUEST, expires_at=CRT_NOW), TOKEN_EXPIRED),
        (replace(GUEST, expires_at=CRT_NOW - 1), TOKEN_EXPIRED),
        (replace(GUEST, session_token="another"), TOKEN_INVALID),
        (replace(GUEST, session_token=None), TOKEN_INVALID),
        (replace(GUEST, session_token=TOKEN + "x", expires_at=0), TOKEN_INVALID),
    ],
)
def test_a_token_must_be_the_keys_and_live(credential: Credential, reason: str) -> None:
    """Only after the signature was found good: a stranger learns nothing of tokens."""
    error = refusal(lambda: verify_url(CRT, find=lambda _: credential))

    assert (error.part, error.reason) == ("token", reason)


def test_a_credential_is_good_until_the_second_it_expires() -> None:
    """The allowed twin of the expired one."""
    credential = replace(GUEST, expires_at=CRT_NOW + 1)

    assert verify_url(CRT, find=lambda _: credential) is credential


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"region": "ap-south-1"}, "not 'ap-south-1': this is eu-west-1."),
        ({"service": "iotdata"}, "correct service: 'iotdevicegateway', not 'iotdata'."),
        ({"region": "x" * 500}, f"not '{'x' * 40}': this is"),
        ({"service": "x" * 500}, f"not '{'x' * 40}'."),
    ],
)
def test_a_foreign_scope_is_refused_though_well_signed(shape: dict[str, Any], reason: str) -> None:
    """The error names what was signed for, cut short, and what is served."""
    request, at = presign(**shape)

    error = refusal(lambda: verify_url(request, now=at))

    assert error.part == "scope"
    assert reason in error.reason


# -- Authorization headers -------------------------------------------------------------------------------------------

LIST_USERS = SignedRequest(
    method="GET",
    path="/",
    query="Action=ListUsers&Version=2010-05-08",
    headers=[
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("Host", "iam.amazonaws.com"),
        ("X-Amz-Date", "20150830T123600Z"),
        (
            "Authorization",
            (
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
                "SignedHeaders=content-type;host;x-amz-date, "
                "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
            ),
        ),
    ],
)
"""The worked example of AWS's own documentation of Signature Version 4."""
LIST_USERS_NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()


def verify(request: SignedRequest, *, now: float = LIST_USERS_NOW, **changes: Any) -> tuple[Credential, str, str]:
    """Verify a call of any region and service."""
    settings_: dict[str, Any] = {"find": CREDENTIALS.get, "region": None, "services": None}
    return verify_header(request, now=now, **(settings_ | changes))


def with_header(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    """Return a request with one header changed, added or taken away."""
    kept = [header for header in request.headers if header[0].lower() != name.lower()]
    return replace(request, headers=kept if value is None else [*kept, (name, value)])


def test_aws_own_example_is_let_in() -> None:
    """Key, scope and signature are those of the documentation; so is the derived key."""
    assert verify(LIST_USERS) == (USER, "us-east-1", "iam")
    assert signing_key(SECRET, "20150830", "us-east-1", "iam").hex() == (
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    )


def sign(
    method: str = "POST",
    url: str = "http://127.0.0.1:40001/",
    *,
    service: str = "iot",
    data: bytes = b"",
    headers: dict[str, str] | None = None,
    token: str | None = TOKEN,
    signer: type[SigV4Auth] = SigV4Auth,
) -> tuple[SignedRequest, float]:
    """Let botocore sign a call; returns it as a server receives it, and the time of signing."""
    request = AWSRequest(method, url, headers=headers or {}, data=data)
    access_key_id = GUEST.access_key_id if token else USER.access_key_id
    signer(Credentials(access_key_id, SECRET, token), service, "eu-west-1").add_auth(request)
    parts = urlsplit(url)
    received = SignedRequest(
        method=method,
        path=parts.path or "/",
        query=parts.query,
        headers=[("Host", parts.netloc), *((name, str(value)) for name, value in request.headers.items())],
        body_sha256=hashlib.sha256(data).hexdigest(),
    )
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    return received, at


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"token": None},
        {"method": "GET", "url": "http://127.0.0.1:40001/endpoint?endpointType=iot%3AData-ATS"},
        {"url": "https://localhost:40002/topics/public%2Fa%2Fb?qos=1&retain=true", "service": "iotdata", "data": b"hi"},
        {"url": "https://localhost/topics/%24aws%2Frules%2Fx/%C3%A9~%20%25", "service": "iotdevicegateway"},
        {"data": b"Action=GetCallerIdentity&Version=2011-06-15", "service": "sts"},
        {"data": b"{}", "headers": {"X-Amz-Target": "DynamoDB_20120810.PutItem"}, "service": "dynamodb"},
        {"url": "http://127.0.0.1:40001/a//b/../c/./d/?x=1&x=0&empty"},
        {"method": "PUT", "url": "http://127.0.0.1:40001/bucket//a%2Fb", "service": "s3", "signer": S3SigV4Auth},
        {"headers": {"X-Amz-Meta": "  a   b  "}},
    ],
)
def test_what_botocore_signs_is_let_in(shape: dict[str, Any]) -> None:
    """JSON, query and REST calls; session tokens; topics in the path; a body."""
    request, at = sign(**shape)

    credential, region, service = verify(request, now=at)

    assert credential is (USER if "token" in shape else GUEST)
    assert (region, service) == ("eu-west-1", shape.get("service", "iot"))


@given(
    path=st.text(min_size=0, max_size=30).map(
        lambda text: quote(text.encode("utf-8", "ignore"), safe="/~+:@!$&'()*,;=")
    ),
    parameters=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    data=st.binary(max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_whatever_botocore_signs_is_let_in(path: str, parameters: list[tuple[str, str]], data: bytes) -> None:
    """Any path, any query, any body: both sides agree on the canonical request."""
    encoded = (tuple(quote(part.encode("utf-8", "ignore"), safe="-_.~") for part in pair) for pair in parameters)
    query = "&".join(f"{name}={value}" for name, value in encoded)
    request, at = sign(url=f"http://127.0.0.1:40001/{path.lstrip('/')}" + (f"?{query}" if query else ""), data=data)

    assert verify(request, now=at) == (GUEST, "eu-west-1", "iot")
    assert refusal(lambda: verify(replace(request, path=request.path + "x"), now=at)).part == "signature"
    assert refusal(lambda: verify(replace(request, query=request.query + "&x=1"), now=at)).part == "signature"


AUTHORIZATION = LIST_USERS.headers[-1][1]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("6f2b5d7", "6f2b5d8", "signature"),
        ("AKIDEXAMPLE", "ASIAEXAMPLEGUEST0001", "token"),
        ("AKIDEXAMPLE", "AKIAUNKNOWN", "credential"),
        ("20150830", "20150831", "scope"),
        ("us-east-1", "us-east-2", "signature"),
        ("/iam/", "/sts/", "signature"),
        ("/iam/", "//", "format"),
        ("/aws4_request", "/aws4_request/more", "format"),
        ("content-type;", "", "signature"),
        ("content-type;", "content-md5;content-type;", "signature"),
        ("content-type;host;x-amz-date", "host;content-type;x-amz-date", "signature"),
        ("host;", "", "format"),
        (";x-amz-date", "", "format"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "format"),
        ("AWS4-HMAC-SHA256 ", "Bearer ", "format"),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", "format"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 SignedHeaders=host, ", "format"),
        ("Signature=", "Signatur=", "format"),
        (", Signature=", ", Signature=, Extra=", "format"),
        ("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7", "Signature=", "format"),
    ],
)
def test_one_changed_part_of_the_header_is_refused(old: str, new: str, part: str) -> None:
    """Each row changes one thing of AWS's own example."""
    assert old in AUTHORIZATION
    changed = with_header(LIST_USERS, "Authorization", AUTHORIZATION.replace(old, new))

    assert refusal(lambda: verify(changed)).part == part


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("Authorization", None, "missing"),
        ("Authorization", "", "format"),
        ("X-Amz-Date", None, "format"),
        ("X-Amz-Date", "20150830T123601Z", "signature"),
        ("X-Amz-Date", "20150831T003600Z", "scope"),
        ("Content-Type", "text/plain", "signature"),
        ("Host", "sts.amazonaws.com", "signature"),
        ("X-Amz-Target", "Service.Operation", "format"),
        ("X-Amz-Security-Token", "a token that this key has not", "token"),
        ("X-Amz-Content-Sha256", "0" * 64, "signature"),
        ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "format"),
        ("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "format"),
    ],
)
def test_one_changed_header_is_refused(name: str, value: str | None, part: str) -> None:
    """What is signed is covered; what decides (the target of a JSON call) must be signed."""
    assert refusal(lambda: verify(with_header(LIST_USERS, name, value))).part == part


def test_a_header_that_is_not_signed_may_change() -> None:
    """Proxies add and clients forget: only what is signed is covered."""
    assert verify(with_header(LIST_USERS, "User-Agent", "curl"))[0] is USER


def test_two_authorization_headers_are_refused() -> None:
    """Nobody can choose which one counts."""
    doubled = replace(LIST_USERS, headers=[*LIST_USERS.headers, ("authorization", AUTHORIZATION)])

    assert refusal(lambda: verify(doubled)).part == "format"


def test_a_body_must_be_the_one_that_was_signed() -> None:
    """With and without x-amz-content-sha256."""
    request, at = sign(data=b"{}")
    other = hashlib.sha256(b"[]").hexdigest()
    announced = with_header(request, "X-Amz-Content-Sha256", request.body_sha256)

    assert verify(request, now=at)[0] is GUEST
    assert verify(announced, now=at)[0] is GUEST
    assert refusal(lambda: verify(replace(request, body_sha256=other), now=at)).part == "signature"
    assert refusal(lambda: verify(replace(request, body_sha256=None), now=at)).part == "signature"
    assert (
        "not that of the body received" in refusal(lambda: verify(replace(announced, body_sha256=other), now=at)).reason
    )


class UnsignedPayload(S3SigV4Auth):  # type: ignore[misc]  # botocore publishes no types
    """S3's signer when the body is left out of the signature."""

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - botocore's signature
        """Return what stands for the body."""
        return "UNSIGNED-PAYLOAD"


def test_only_s3_takes_a_body_that_is_not_signed() -> None:
    """Source: UNSIGNED-PAYLOAD is an option of S3."""
    to_s3, at = sign("PUT", "https://localhost/b/k", service="s3", data=b"x", signer=UnsignedPayload)

    assert verify(replace(to_s3, body_sha256="0" * 64), now=at)[0] is GUEST
    error = refusal(lambda: verify(with_header(LIST_USERS, "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")))
    assert error.reason == "iam does not take UNSIGNED-PAYLOAD"


@pytest.mark.parametrize("service", sorted(HTTPS_SERVICES))
def test_the_data_endpoint_takes_both_names_of_its_service(service: str) -> None:
    """boto3 signs for iotdata, AWS's pages say iotdevicegateway."""
    request, at = sign(url="https://localhost:40002/topics/a", service=service)

    assert verify(request, now=at, region="eu-west-1", services=HTTPS_SERVICES)[2] == service
    assert refusal(lambda: verify(request, now=at, region="eu-west-1", services=("iam",))).part == "scope"
    assert refusal(lambda: verify(request, now=at, region="eu-west-2", services=HTTPS_SERVICES)).part == "scope"


@pytest.mark.parametrize("seconds", [301, -301])
def test_a_call_is_good_for_five_minutes_either_way(seconds: int) -> None:
    """The same window as for URLs."""
    assert verify(LIST_USERS, now=LIST_USERS_NOW + seconds * 300 / 301)[0] is USER
    assert refusal(lambda: verify(LIST_USERS, now=LIST_USERS_NOW + seconds)).part == "date"
