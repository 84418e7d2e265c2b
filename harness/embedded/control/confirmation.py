"""The confirmation request: one POST that asks a rule destination to show that it wants what rules will send it.

What is called is a URL that a caller of an API chose, so nothing follows from it but this one request: over TLS that
is verified, to a loopback address, without redirect, proxy or credentials, and with an end in time. Of the answer only
the status counts and only its first line is read.

Source: http-action-destination in the AWS IoT developer guide (shape of the request; always IPv4).
Differs: only loopback addresses are called. The CAs trusted are those of the configuration, not public ones.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WITHIN_SECONDS: Final = 5.0
_HTTPS_PORT: Final = 443
_READ_BYTES: Final = 1024
_MAX_STATUS_LINE_BYTES: Final = 8_192
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")


class ConfirmationFailed(HarnessError):  # noqa: N818 - says what happened
    """The destination was not reached, or did not answer with success; the message is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What a destination is asked.

    Args:
        arn: the destination's.
        url: its confirmation URL.
        token: 256 random bits.
        enable_url: fetching it confirms; it holds the token.
    """

    arn: str
    url: str
    token: str = field(repr=False)
    enable_url: str = field(repr=False)


def find_ipv4(host: str, port: int) -> list[str]:
    """Return the IPv4 addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def send_confirmation(
    confirmation: Confirmation,
    *,
    ca_files: Sequence[str],
    within: float = WITHIN_SECONDS,
    resolve: Callable[[str, int], list[str]] = find_ipv4,
) -> None:
    """Send one confirmation request and wait for its answer.

    Args:
        confirmation: what to ask, of whom.
        ca_files: PEM files of the CAs to trust.
        within: seconds for all of it, name look-up apart.
        resolve: host and port to IPv4 addresses.

    Raises:
        ConfirmationFailed: there was no answer of status 2xx.
    """
    parts = urlsplit(confirmation.url)
    host, port = parts.hostname or "", parts.port or _HTTPS_PORT
    address = _loopback_address(host, port, resolve)
    deadline = time.monotonic() + within
    try:
        context = _tls(ca_files)
        with socket.create_connection((address, port), timeout=within) as plain:
            plain.settimeout(_left(deadline))
            with context.wrap_socket(plain, server_hostname=host) as sock:
                sock.settimeout(_left(deadline))
                sock.sendall(_request(confirmation))
                status = _read_status(sock, deadline)
    except ssl.SSLCertVerificationError as error:
        raise ConfirmationFailed(f"the certificate of {host}:{port} is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise ConfirmationFailed(f"{host}:{port} does not speak TLS as it should: {error.reason or error}") from None
    except TimeoutError:
        raise ConfirmationFailed(f"{host}:{port} did not answer within {within:g} s") from None
    except OSError as error:
        raise ConfirmationFailed(f"{host}:{port} cannot be reached: {error.strerror or error}") from None
    if not 200 <= status < 300:
        raise ConfirmationFailed(f"{host}:{port} answered the confirmation request with status {status}")


def _loopback_address(host: str, port: int, resolve: Callable[[str, int], list[str]]) -> str:
    """Return an address to connect to; the one that was looked at, so that no second look-up can say otherwise."""
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):
        raise ConfirmationFailed(f"{host} has no IPv4 address") from None
    loopback = [address for address in addresses if ipaddress.IPv4Address(address).is_loopback]
    if not loopback:
        raise ConfirmationFailed(f"{host} is not on this machine, and this stand-in calls nothing else")
    return loopback[0]


def _tls(ca_files: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in ca_files:
        context.load_verify_locations(cafile=path)
    return context


def _request(confirmation: Confirmation) -> bytes:
    parts = urlsplit(confirmation.url)
    query = "&".join(filter(None, [parts.query, urlencode({"confirmationToken": confirmation.token})]))
    target = urlunsplit(("", "", f"{parts.path.removesuffix('/')}/", query, ""))
    body = json.dumps(
        {
            "arn": confirmation.arn,
            "confirmationToken": confirmation.token,
            "enableUrl": confirmation.enable_url,
            "messageType": "DestinationConfirmation",
        }
    ).encode()
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "x-amz-rules-engine-message-type: DestinationConfirmation",
        f"x-amz-rules-engine-destination-arn: {confirmation.arn}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _read_status(sock: ssl.SSLSocket, deadline: float) -> int:
    received = b""
    while b"\n" not in received:
        if len(received) > _MAX_STATUS_LINE_BYTES:
            raise ConfirmationFailed("what answered does not speak HTTP/1.1")
        sock.settimeout(_left(deadline))
        data = sock.recv(_READ_BYTES)
        if not data:
            raise ConfirmationFailed("the destination closed the connection without an answer")
        received += data
    match = _STATUS_LINE.match(received)
    if match is None:
        raise ConfirmationFailed("what answered does not speak HTTP/1.1")
    return int(match[1])


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
