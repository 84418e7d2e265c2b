"""Signature Version 4, the verifying side.

Two doors: `verify_presigned_url` for WebSocket upgrades, whose signature is in the query, and `verify_header` for
HTTP calls, whose signature is in ``Authorization``. Both look up the access key, check scope, date, signature and
session token, in this order, and raise a `SignatureError` that carries AWS's own words where they are known; no error
holds a secret, a signature or a URL. Nothing here reads a clock or a socket.

Source: reference_sigv-create-signed-request in the IAM user guide; the WebSocket variant as the AWS SDKs send it.
Differs: ``Date`` is not accepted in the place of ``X-Amz-Date``, nor chunked (``STREAMING-…``) or asymmetric
signatures.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Final

from harness.errors import SignatureError
from harness.iot.canonical import (
    SignedRequest,
    canonical_path,
    canonical_queries,
    collect_headers,
    host_spellings,
    query_parameters,
)
from harness.iot.limits import SIGNATURE_WINDOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from harness.iot.registry import Credential

    Find = Callable[[str], Credential | None]

__all__ = [
    "HTTPS_SERVICES",
    "MISMATCH",
    "MISSING",
    "PARTS_WITH_MESSAGE",
    "TOKEN_EXPIRED",
    "TOKEN_INVALID",
    "WEBSOCKET_SERVICE",
    "SignedRequest",
    "signing_key",
    "verify_header",
    "verify_presigned_url",
]

WEBSOCKET_SERVICE: Final = "iotdevicegateway"
"""The service that WebSocket URLs are signed for."""
HTTPS_SERVICES: Final = frozenset({"iotdata", WEBSOCKET_SERVICE})
"""The services that the data endpoint takes over HTTPS: boto3 signs for the first, AWS's pages name the second."""

MISSING: Final = "Missing Authentication Token"
MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
TOKEN_INVALID: Final = "The security token included in the request is invalid."  # noqa: S105 - AWS's sentence, no token
TOKEN_EXPIRED: Final = "The security token included in the request is expired"  # noqa: S105 - the same
PARTS_WITH_MESSAGE: Final = frozenset({"missing", "date", "signature"})
"""The parts of a `SignatureError` whose reason AWS IoT puts into the body of its HTTP 403; for the others ``message``
is null."""

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_EMPTY_SHA256: Final = hashlib.sha256().hexdigest()
_DATE: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_SINGLY_ENCODED: Final = "s3"
"""The one service whose path is signed as sent, and which takes unsigned payloads."""
_SHOWN: Final = 40
"""Characters of a stranger's text that an error shows at most."""
_ALWAYS_SIGNED: Final = ("host",)
_SIGNED_IN_HEADER: Final = ("host", "x-amz-date", "x-amz-target")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a request says of its signature."""

    access_key_id: str
    scope: tuple[str, str, str]
    date: str
    signed_headers: tuple[str, ...]
    signature: str
    token: str | None


def verify_presigned_url(
    request: SignedRequest,
    *,
    find: Find,
    region: str,
    now: float,
    services: Collection[str] = (WEBSOCKET_SERVICE,),
    port: int | None = None,
) -> Credential:
    """Return who signed a WebSocket URL.

    The signature may leave out the session token (AWS IoT's own way) or cover it (generic presigners); ``Host`` may
    have been signed with or without the port. ``X-Amz-Expires`` is signed like any other parameter and otherwise
    ignored.

    Args:
        request: the upgrade request.
        find: access key id to credential.
        region: the only region accepted.
        now: seconds since the epoch.
        services: the services accepted in the scope.
        port: the listener's, for clients that leave it out of ``Host`` but sign it.

    Raises:
        SignatureError: with ``part`` and ``reason``.

    Source: mqtt-ws in the AWS IoT developer guide; captured handshakes of awscrt, paho-mqtt and browsers.
    """
    parameters = query_parameters(request.query)
    if not any(name.startswith("X-Amz-") for name, _, _ in parameters):
        raise SignatureError("missing", MISSING)
    values: dict[str, str] = {}
    for name, value, _ in parameters:
        if name.startswith("X-Amz-"):
            if name in values:
                raise SignatureError("format", f"{name[:_SHOWN]} occurs twice")
            values[name] = value
    for name in ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"):
        if not values.get(name):
            raise SignatureError("format", f"{name} is missing")
    if values["X-Amz-Algorithm"] != _ALGORITHM:
        raise SignatureError("format", f"X-Amz-Algorithm is not {_ALGORITHM}")
    claim = _claim(
        credential=values["X-Amz-Credential"],
        date=values["X-Amz-Date"],
        signed_headers=values["X-Amz-SignedHeaders"],
        signature=values["X-Amz-Signature"],
        token=values.get("X-Amz-Security-Token"),
        must_be_signed=_ALWAYS_SIGNED,
    )
    without_signature = [one for one in parameters if one[0] != "X-Amz-Signature"]
    without_token = [one for one in without_signature if one[0] != "X-Amz-Security-Token"]
    queries = (*canonical_queries(without_token), *canonical_queries(without_signature))
    return _verify(
        request,
        claim,
        queries=queries,
        payload_hash=_EMPTY_SHA256,
        find=find,
        region=region,
        services=services,
        now=now,
        port=port,
    )


def verify_header(
    request: SignedRequest,
    *,
    find: Find,
    region: str | None,
    services: Collection[str] | None,
    now: float,
    port: int | None = None,
) -> tuple[Credential, str, str]:
    """Return who signed an HTTP call, and for which region and service.

    Args:
        request: the call.
        find: access key id to credential.
        region: the only region accepted; None accepts all, for a caller that routes by it.
        services: the services accepted in the scope; None accepts all, likewise.
        now: seconds since the epoch.
        port: the listener's, for clients that leave it out of ``Host`` but sign it.

    Raises:
        SignatureError: with ``part`` and ``reason``.
    """
    headers = collect_headers(request.headers)
    authorization = headers.get("authorization")
    if authorization is None:
        raise SignatureError("missing", MISSING)
    fields = _authorization_fields(authorization)
    if "x-amz-date" not in headers:
        raise SignatureError("format", "the header X-Amz-Date is missing")
    claim = _claim(
        credential=fields["Credential"],
        date=headers["x-amz-date"],
        signed_headers=fields["SignedHeaders"],
        signature=fields["Signature"],
        token=headers.get("x-amz-security-token"),
        must_be_signed=[name for name in _SIGNED_IN_HEADER if name == "host" or name in headers],
    )
    credential = _verify(
        request,
        claim,
        queries=canonical_queries(query_parameters(request.query)),
        payload_hash=_payload_hash(headers, request.body_sha256 or _EMPTY_SHA256, claim.scope[2]),
        find=find,
        region=region,
        services=services,
        now=now,
        port=port,
    )
    return credential, claim.scope[1], claim.scope[2]


def _claim(
    *,
    credential: str,
    date: str,
    signed_headers: str,
    signature: str,
    token: str | None,
    must_be_signed: Iterable[str],
) -> _Claim:
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise SignatureError("format", "the credential is not <access key>/<date>/<region>/<service>/aws4_request")
    names = tuple(signed_headers.split(";"))
    for name in must_be_signed:
        if name not in names:
            raise SignatureError("format", f"the header {name} is not among the signed ones")
    return _Claim(
        access_key_id=parts[0],
        scope=(parts[1], parts[2], parts[3]),
        date=date,
        signed_headers=names,
        signature=signature,
        token=token,
    )


def _verify(  # noqa: PLR0913 - the whole of what a signature depends on
    request: SignedRequest,
    claim: _Claim,
    *,
    queries: Iterable[str],
    payload_hash: str,
    find: Find,
    region: str | None,
    services: Collection[str] | None,
    now: float,
    port: int | None,
) -> Credential:
    credential = find(claim.access_key_id)
    if credential is None:
        raise SignatureError("credential", TOKEN_INVALID)
    _check_scope(claim, region, services)
    _check_date(claim.date, now)
    headers = collect_headers(request.headers)
    if missing := [name for name in claim.signed_headers if name not in headers]:
        raise SignatureError("signature", f"{MISMATCH} (signed, but not sent: {', '.join(missing)[:_SHOWN]})")
    path = request.path if claim.scope[2] == _SINGLY_ENCODED else canonical_path(request.path)
    key = signing_key(credential.secret_access_key, *claim.scope)
    is_genuine = False
    for query, host in product(queries, host_spellings(headers["host"], port)):
        lines = "".join(f"{name}:{host if name == 'host' else headers[name]}\n" for name in claim.signed_headers)
        canonical = f"{request.method}\n{path}\n{query}\n{lines}\n{';'.join(claim.signed_headers)}\n{payload_hash}"
        is_genuine |= hmac.compare_digest(_signature(key, claim, canonical), _bytes(claim.signature))
    if not is_genuine:
        raise SignatureError("signature", MISMATCH)
    _check_token(credential, claim.token, now)
    return credential


def _check_scope(claim: _Claim, region: str | None, services: Collection[str] | None) -> None:
    day, scope_region, service = claim.scope
    if region is not None and scope_region != region:
        raise SignatureError(
            "scope", f"Credential should be scoped to a valid region, not {scope_region[:_SHOWN]!r}: this is {region}."
        )
    if services is not None and service not in services:
        accepted = "' or '".join(sorted(services))
        raise SignatureError(
            "scope", f"Credential should be scoped to correct service: '{accepted}', not {service[:_SHOWN]!r}."
        )
    if day != claim.date[:8]:
        raise SignatureError("scope", "Date in Credential scope does not match X-Amz-Date.")


def _check_date(date: str, now: float) -> None:
    """Refuse a signature whose date is more than five minutes from now.

    Source: the error texts of AWS, which name both bounds.
    """
    try:
        signed_at = datetime.fromisoformat(date) if _DATE.fullmatch(date) else None
    except ValueError:
        signed_at = None
    if signed_at is None:
        raise SignatureError("format", "X-Amz-Date is not a date as 20060102T150405Z")
    seconds = signed_at.timestamp() - now
    if abs(seconds) <= SIGNATURE_WINDOW_SECONDS:
        return
    window = timedelta(seconds=SIGNATURE_WINDOW_SECONDS)
    here = datetime.fromtimestamp(now, tz=UTC)
    if seconds < 0:
        bound, words, sign = here - window, "Signature expired: {} is now earlier than {} ({} {} 5 min.)", "-"
    else:
        bound, words, sign = here + window, "Signature not yet current: {} is still later than {} ({} {} 5 min.)", "+"
    raise SignatureError("date", words.format(date, _stamp(bound), _stamp(here), sign))


def _check_token(credential: Credential, token: str | None, now: float) -> None:
    if not hmac.compare_digest(_bytes(token or ""), _bytes(credential.session_token or "")):
        raise SignatureError("token", TOKEN_INVALID)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise SignatureError("token", TOKEN_EXPIRED)


def _authorization_fields(authorization: str) -> Mapping[str, str]:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != _ALGORITHM:
        raise SignatureError("format", f"the Authorization header does not begin with {_ALGORITHM}")
    fields: dict[str, str] = {}
    for field in rest.split(","):
        name, _, value = field.strip().partition("=")
        if name in fields:
            raise SignatureError("format", f"the Authorization header names {name[:_SHOWN]} twice")
        fields[name] = value
    if fields.keys() != {"Credential", "SignedHeaders", "Signature"} or not all(fields.values()):
        raise SignatureError("format", "the Authorization header does not name Credential, SignedHeaders and Signature")
    return fields


def _payload_hash(headers: Mapping[str, str], body_sha256: str, service: str) -> str:
    """Return what stands for the body in the canonical request.

    Only S3 takes a body that the signature does not cover.
    """
    announced = headers.get("x-amz-content-sha256", body_sha256)
    if announced == _UNSIGNED_PAYLOAD:
        if service == _SINGLY_ENCODED:
            return announced
        raise SignatureError("format", f"{service[:_SHOWN]} does not take {_UNSIGNED_PAYLOAD}")
    if not _HEX64.fullmatch(announced):
        raise SignatureError("format", "x-amz-content-sha256 is not the SHA-256 of the body")
    if not hmac.compare_digest(announced, body_sha256):
        raise SignatureError("signature", f"{MISMATCH} (x-amz-content-sha256 is not that of the body received)")
    return announced


@lru_cache(maxsize=1024)
def signing_key(secret_access_key: str, day: str, region: str, service: str) -> bytes:
    """Return the key derived for one day, region and service.

    Args:
        secret_access_key: the secret itself.
        day: ``yyyymmdd``.
        region: of the scope.
        service: of the scope.
    """
    key = _bytes(f"AWS4{secret_access_key}")
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, _bytes(part), "sha256")
    return key


def _signature(key: bytes, claim: _Claim, canonical_request: str) -> bytes:
    hashed = hashlib.sha256(_bytes(canonical_request)).hexdigest()
    text = f"{_ALGORITHM}\n{claim.date}\n{'/'.join(claim.scope)}/aws4_request\n{hashed}"
    return hmac.digest(key, _bytes(text), "sha256").hex().encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%SZ")
