"""Origins of the web, and the URLs that a destination's confirmation may ask to fetch.

Anyone can post a confirmation: it carries no secret. So it must not become a way to make this process fetch things. A
URL is taken apart by one strict pattern, its origin must be one that is trusted, exactly, and what is fetched is put
together anew from the trusted origin and a path of known shape. No second parser ever sees the URL as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.errors import UntrustedUrl

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DNS_SUFFIXES: Final = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}
"""Of the partitions that have one of their own, by how their regions begin."""

_ORIGIN: Final = (
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)
_BARE_ORIGIN: Final = re.compile(_ORIGIN, re.IGNORECASE | re.ASCII)
_TOKEN: Final = r"([a-z0-9._~=+/-]|%(2b|2f|3d))+"  # noqa: S105 - the shape of a token, none itself
_ENABLE_URL: Final = re.compile(rf"{_ORIGIN}(?P<path>/confirmdestination/{_TOKEN})", re.IGNORECASE | re.ASCII)
_SLASH: Final = re.compile("/|%2f", re.IGNORECASE)  # what is decoded too early elsewhere would be a path
_MAX_URL_LENGTH: Final = 4096
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host in lower case and port; what two URLs must share to be of one origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_origin(text: str) -> Origin:
    """Read a bare origin; a trailing slash may stand.

    Raises:
        ValueError: it is none, or has more to it: user information, a path, a query.
    """
    match = _BARE_ORIGIN.fullmatch(text.removesuffix("/"))
    if match is None or not 0 < (origin := _origin_of(match)).port <= _MAX_PORT:
        raise ValueError
    return origin


def aws_iot_origin(region: str) -> Origin:
    """Give the origin of AWS IoT's control plane in a region.

    Source: AWS General Reference, AWS IoT Core endpoints; botocore, partitions.json.
    """
    suffix = _DNS_SUFFIXES.get(region.partition("-")[0], "amazonaws.com")
    return Origin("https", f"iot.{region}.{suffix}", 443)


def url_to_fetch(enable_url: str, *, trusted: Iterable[Origin]) -> str:
    """Give the URL to fetch for an ``enableUrl``.

    Args:
        enable_url: as it came.
        trusted: origins it may have.

    Raises:
        UntrustedUrl: it has another origin, or is not the path of a confirmation; the message does not repeat it.

    Source: AWS IoT API Reference, ConfirmTopicRuleDestination: ``GET /confirmdestination/{confirmationToken+}``.
    """
    match = _ENABLE_URL.fullmatch(enable_url) if len(enable_url) <= _MAX_URL_LENGTH else None
    if match is None:
        raise UntrustedUrl("enableUrl is not the URL of a destination's confirmation")
    if not {".", ".."}.isdisjoint(_SLASH.split(match["path"])):
        raise UntrustedUrl("enableUrl has a path that leads elsewhere")
    wanted = _origin_of(match)
    for origin in trusted:
        if origin == wanted:
            return f"{origin}{match['path']}"
    raise UntrustedUrl("enableUrl has an origin that this receiver is not told to trust (CONFIRM_ORIGINS)")


def _origin_of(match: re.Match[str]) -> Origin:
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    return Origin(scheme, match["host"].lower(), port)
