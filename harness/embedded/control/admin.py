"""The admin API below ``/_thingwright``: trace, faults, status. For the harness, not for what is under test.

Whoever has no token learns nothing, not even which paths exist; a browser's page is refused even with one.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from harness.embedded.control.broker_link import BrokerRefused
from harness.embedded.control.messages import HttpResponse, json_response
from harness.embedded.link import LinkError

if TYPE_CHECKING:
    from harness.embedded.control.broker_link import BrokerLink
    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.feed import RegistryFeed
    from harness.embedded.control.messages import HttpRequest

PREFIX: Final = "/_thingwright"
MAX_WAIT_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 10.0
_OWN_FAULTS: Final = ("expire_credentials",)
_BROKER_FAULTS: Final = ("disconnect",)


class AdminApi:
    """Answers requests below `PREFIX`.

    Args:
        token: who sends it may do everything here.
        link: the broker keeps trace and connections.
        credentials: to let expire.
        feed: tells the broker about it.
    """

    def __init__(self, *, token: str, link: BrokerLink, credentials: CredentialStore, feed: RegistryFeed) -> None:
        self._expected = f"Bearer {token}".encode()
        self._link = link
        self._credentials = credentials
        self._feed = feed
        self._expirations = 0

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        offered = (request.header("authorization") or "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(offered, self._expected):
            refusal = json_response({"message": "Authorization: Bearer <admin token> is needed"}, status=401)
            return HttpResponse(
                status=401, headers=(*refusal.headers, ("www-authenticate", "Bearer")), body=refusal.body
            )
        if request.header("origin") is not None:
            return json_response({"message": "pages have no business here"}, status=403)
        routes = {
            ("GET", "/trace"): self._trace,
            ("GET", "/status"): self._status,
            ("POST", "/faults"): self._set_fault,
            ("DELETE", "/faults"): self._clear_faults,
        }
        route = routes.get((request.method, request.path.removeprefix(PREFIX)))
        if route is None:
            served = ", ".join(f"{method} {PREFIX}{path}" for method, path in routes)
            return json_response({"message": f"nothing here; there is {served}"}, status=404)
        try:
            return route(request)
        except BrokerRefused as refusal:
            return json_response({"message": refusal.message, "code": refusal.code}, status=400)
        except LinkError as error:
            return json_response({"message": str(error)}, status=503)

    def _trace(self, request: HttpRequest) -> HttpResponse:
        query = parse_qs(request.query)
        try:
            since = int(query.get("since", ["0"])[0])
            wait = float(query.get("wait", ["0"])[0])
        except ValueError:
            return json_response({"message": "since is a number of records, wait a number of seconds"}, status=400)
        wait = wait if 0.0 <= wait <= MAX_WAIT_SECONDS else MAX_WAIT_SECONDS
        answer = self._link.request("trace", since=since, wait=wait, within=wait + _MARGIN_SECONDS)
        lines = "".join(
            json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n" for record in answer["records"]
        )
        headers = (("content-type", "application/x-ndjson"), ("x-thingwright-next", str(answer["next"])))
        return HttpResponse(status=200, headers=headers, body=lines.encode("utf-8", "surrogatepass"))

    def _status(self, _request: HttpRequest) -> HttpResponse:
        answer = self._link.request("status")
        return json_response({name: value for name, value in answer.items() if name not in {"id", "ok"}})

    def _set_fault(self, request: HttpRequest) -> HttpResponse:
        try:
            fault = json.loads(request.body)
        except (ValueError, RecursionError):
            fault = None
        if not isinstance(fault, dict):
            return json_response({"message": "a fault is a JSON object with a kind"}, status=400)
        kind = fault.get("kind")
        if kind in _OWN_FAULTS:
            return self._expire(fault)
        if kind in _BROKER_FAULTS:
            return json_response({"fault_id": self._link.request("faults_set", fault=fault)["fault_id"]})
        known = ", ".join((*_OWN_FAULTS, *_BROKER_FAULTS))
        return json_response({"message": f"there is no fault {kind!r}; there is {known}"}, status=400)

    def _expire(self, fault: dict[str, Any]) -> HttpResponse:
        key = fault.get("access_key_id")
        if unknown := set(fault) - {"kind", "access_key_id"}:
            return json_response(
                {"message": f"expire_credentials has no member {', '.join(sorted(unknown))}"}, status=400
            )
        if key is not None and not isinstance(key, str):
            return json_response(
                {"message": "access_key_id is an access key of session credentials, or null for all"}, status=400
            )
        expired = self._credentials.expire(key)
        if key is not None and not expired:
            return json_response({"message": f"there are no session credentials {key}"}, status=404)
        self._feed.commit({"credentials": frozenset(expired)} if expired else {})
        self._expirations += 1
        return json_response({"fault_id": f"expire-{self._expirations}", "expired": len(expired)})

    def _clear_faults(self, _request: HttpRequest) -> HttpResponse:
        self._link.request("faults_clear")
        return json_response({})
