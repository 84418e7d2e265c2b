"""The canonical form of an HTTP request: what Signature Version 4 signs.

Source: reference_sigv-create-signed-request in the IAM user guide, "Create a canonical request".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What of an HTTP request is signed.

    Args:
        method: in upper case.
        path: as on the request line, still percent-encoded, without the query.
        query: as on the request line, without ``?``.
        headers: names in any case, in the order received.
        body_sha256: 64 hex digits; None for an empty body.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body_sha256: str | None = None


def query_parameters(query: str) -> list[tuple[str, str, str]]:
    """Return decoded name, decoded value and raw text of each parameter. A plus sign is a plus sign."""
    parameters = []
    for raw in query.split("&") if query else ():
        name, _, value = raw.partition("=")
        parameters.append((unquote(name), unquote(value), raw))
    return parameters


def canonical_queries(parameters: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return the canonical query: encoded anew, and, where it differs, as the client wrote it."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value, _ in parameters)
    written = sorted(raw.partition("=")[::2] for _, _, raw in parameters)
    return tuple(dict.fromkeys("&".join(f"{name}={value}" for name, value in pairs) for pairs in (encoded, written)))


def canonical_path(path: str) -> str:
    """Return a path without empty and relative segments, encoded once more: topics keep their ``%2F`` as ``%252F``."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    trailing = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + trailing, safe="/~")


def collect_headers(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return lower-case names to values, white space collapsed, several of a name joined by commas."""
    collected: dict[str, str] = {}
    for name, value in headers:
        key, text = name.lower(), " ".join(value.split())
        collected[key] = f"{collected[key]},{text}" if key in collected else text
    return collected


def host_spellings(host: str, port: int | None) -> tuple[str, ...]:
    """Return the spellings of Host that a client may have signed."""
    bare = re.sub(r":\d+$", "", host)
    with_port = (f"{bare}:{port}",) if port is not None else ()
    return tuple(dict.fromkeys((host, bare, *with_port)))
