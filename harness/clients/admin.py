"""HTTP to a target's admin API: plain, on loopback, with a bearer token and without the user's proxies."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from json import dumps, loads
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from harness.errors import TargetUnavailable

_TIMEOUT: Final = 15.0
_FIRST_ERROR: Final = 400


class AdminApi:
    """Calls the admin API; blocking, one connection per call, safe to use from many threads.

    Args:
        url: the base URL, ``http://host:port/path``.
        token: the bearer token; never printed.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = urlsplit(url)
        self._token = token

    def __repr__(self) -> str:
        return f"AdminApi({self._url.geturl()!r})"

    def get_lines(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Return the JSON lines at a path below the base URL."""
        return [loads(line) for line in self._request("GET", path, query=query).splitlines() if line.strip()]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back."""
        answer: dict[str, Any] = loads(self._request("POST", path, body=body) or b"{}")
        return answer

    def delete(self, path: str, **query: object) -> None:
        """Delete what is at a path below the base URL."""
        self._request("DELETE", path, query=query)

    def _request(
        self, method: str, path: str, *, query: dict[str, object] | None = None, body: dict[str, Any] | None = None
    ) -> bytes:
        connection = HTTPConnection(self._url.hostname or "", self._url.port, timeout=_TIMEOUT)
        where = f"{self._url.path.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, where, body=None if body is None else dumps(body).encode(), headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise TargetUnavailable(
                f"The target's admin API does not answer ({error}): does the target still run?"
            ) from error
        finally:
            connection.close()
        if response.status >= _FIRST_ERROR:
            said = content[:500].decode("utf-8", "replace")
            raise TargetUnavailable(f"The target's admin API refused {method} {path} with {response.status}: {said}")
        return content
