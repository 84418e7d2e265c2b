"""The URLs of HTTP actions and their destinations.

Source: https-rule-action and http-action-destination in the AWS IoT developer guide.
Differs: a path with a ``.`` or ``..`` segment is refused, since it would leave the confirmed prefix once resolved; AWS
does not say what it does. So is a number in place of a host (``2130706433``, ``127.1``), which some clients take for an
address. What a confirmed URL is a prefix of begins with the whole of it, and has the same host and port:
``https://host`` is no prefix of ``https://host.example`` nor of ``https://host:8443``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.iot.quirks import DestinationPorts

MAX_URL_CHARACTERS: Final = 2000
_SCHEME: Final = "https://"
_AWS_PORTS: Final = (443, 8443)
_LAST_PORT: Final = 65_535

_CHARACTERS: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_NUMERIC_HOST: Final = re.compile(r"[0-9.]+")
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_DOT_SEGMENT: Final = re.compile(r"(?:/|%2[fF]|%5[cC])(?:\.|%2[eE]){1,2}(?:/|%2[fF]|%5[cC]|$)")


def flaw(url: str, *, ports: DestinationPorts) -> str | None:
    """Say why HTTP actions cannot post to a URL; None when they can.

    Args:
        url: without expressions in it.
        ports: which ports it may name.
    """
    if len(url) > MAX_URL_CHARACTERS:
        return f"a URL has at most {MAX_URL_CHARACTERS} characters, not {len(url)}"
    if not url.startswith(_SCHEME):
        return "a URL begins with https://"
    if not _CHARACTERS.fullmatch(url):
        return "a URL consists of the characters that RFC 3986 names; all others are percent-encoded"
    return _flaw_of_authority(authority(url), ports) or _flaw_of_path(url)


def authority(url: str) -> str:
    """Return what stands between ``https://`` and the path: host, and port if there is one."""
    return re.split(r"[/?#]", url[len(_SCHEME) :], maxsplit=1)[0]


def is_prefix(confirmed: str, url: str) -> bool:
    """Tell whether a URL begins with a confirmed one, on the same host and port."""
    return url.startswith(confirmed) and authority(confirmed) == authority(url)


def _flaw_of_authority(where: str, ports: DestinationPorts) -> str | None:  # noqa: PLR0911 - one for each flaw
    if "@" in where:
        return "a URL names no user"
    if where.startswith("["):
        return "a URL names its host by name or IPv4 address; IPv6 addresses are not taken"
    host, colon, port = where.partition(":")
    if not _HOST.fullmatch(host):
        return "a URL names a host"
    if _NUMERIC_HOST.fullmatch(host) and not _IPV4.fullmatch(host):
        return "an IPv4 address is four numbers from 0 to 255, as in 127.0.0.1"
    if not colon:
        return None
    if not (port.isdecimal() and len(port) <= len(str(_LAST_PORT)) and 0 < int(port) <= _LAST_PORT):
        return f"a port is a number from 1 to {_LAST_PORT}"
    if ports == "443-and-8443" and int(port) not in _AWS_PORTS:
        return "HTTP actions post to the ports 443 and 8443 only"
    return None


def _flaw_of_path(url: str) -> str | None:
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return "a path has no . and .. segments" if _DOT_SEGMENT.search(path) else None
