"""The admin API below ``/_thingwright``: trace, faults, status. For the harness, not for what is under test.

Whoever has no token learns nothing, not even which paths exist; a browser's page is refused even with one.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from harness.embedded.control.broker_link import BrokerRefused
from harness.embedded.control.call_faults import KIND as FAIL_CALL
from harness.embedded.control.call_faults import FaultRefused
from harness.embedded.control.messages import HttpResponse, json_response
from harness.embedded.control.supervisor_line import SupervisorGone, SupervisorRefused
from harness.embedded.link import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.embedded.control.broker_link import BrokerLink
    from harness.embedded.control.call_faults import CallFaults
    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.feed import RegistryFeed
    from harness.embedded.control.messages import HttpRequest
    from harness.embedded.control.supervisor_line import SupervisorLine

PREFIX: Final = "/_thingwright"
MAX_WAIT_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 10.0
_RECEIVER_FAULTS: Final = ("stop_receiver", "start_receiver", "freeze_receiver", "thaw_receiver")
_OWN_FAULTS: Final = ("expire_credentials", FAIL_CALL, *_RECEIVER_FAULTS)
_BROKER_FAULTS: Final = ("disconnect",)
_RECEIVER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_HOW_TO_STOP: Final = ("kill", "term")
_MAIN_RECEIVER: Final = "main"


class AdminApi:
    """Answers requests below `PREFIX`.

    Args:
        token: who sends it may do everything here.
        link: the broker keeps trace and connections.
        credentials: to let expire.
        feed: tells the broker about it.
        call_faults: calls that are to fail.
        supervisor: starts and stops receivers; None where there is none.
    """

    def __init__(
        self,
        *,
        token: str,
        link: BrokerLink,
        credentials: CredentialStore,
        feed: RegistryFeed,
        call_faults: CallFaults,
        supervisor: SupervisorLine | None,
    ) -> None:
        self._expected = f"Bearer {token}".encode()
        self._link = link
        self._credentials = credentials
        self._feed = feed
        self._call_faults = call_faults
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._faults = 0
        self._is_main_stopped = False

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
        return _answer_errors(route, request)

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
        if kind == "expire_credentials":
            return self._expire(fault)
        if kind == FAIL_CALL:
            return json_response({"fault_id": self._call_faults.set(fault)})
        if kind in _RECEIVER_FAULTS:
            return self._ask_supervisor(kind, fault)
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
        return json_response({"fault_id": self._fault_id("expire"), "expired": len(expired)})

    def _ask_supervisor(self, op: str, fault: dict[str, Any]) -> HttpResponse:
        """Have a receiver stopped, started, frozen or thawed; the answer has its URL."""
        accepted = {"kind", "name", "how"} if op == "stop_receiver" else {"kind", "name"}
        if unknown := set(fault) - accepted:
            raise FaultRefused(f"{op} has no member {', '.join(sorted(unknown))}")
        name, how = fault.get("name", _MAIN_RECEIVER), fault.get("how", "term")
        if not isinstance(name, str) or not _RECEIVER_NAME.fullmatch(name):
            raise FaultRefused("name is a receiver's: letters, digits and hyphens, 64 at most")
        if how not in _HOW_TO_STOP:
            raise FaultRefused(f"how is {' or '.join(_HOW_TO_STOP)}")
        if self._supervisor is None:
            raise FaultRefused("there is no receiver here to stop or start")
        if op == "stop_receiver":
            answer = self._stop(self._supervisor, name, how)
        else:
            answer = self._supervisor.ask(op, name=name)
            if op == "start_receiver":
                self._is_main_stopped = self._is_main_stopped and name != _MAIN_RECEIVER
        return json_response({"fault_id": self._fault_id("receiver"), "url": answer.get("url")})

    def _stop(self, supervisor: SupervisorLine, name: str, how: str) -> dict[str, Any]:
        was_stopped = self._is_main_stopped
        # Before it is asked: a request that gets no answer may have stopped it all the same.
        self._is_main_stopped = was_stopped or name == _MAIN_RECEIVER
        try:
            return supervisor.ask("stop_receiver", name=name, how=how)
        except SupervisorRefused:
            self._is_main_stopped = was_stopped
            raise

    def _fault_id(self, kind: str) -> str:
        with self._lock:
            self._faults += 1
            return f"{kind}-{self._faults}"

    def _clear_faults(self, request: HttpRequest) -> HttpResponse:
        """Clear all faults, or the one call that was to fail with the given id."""
        query = parse_qs(request.query, keep_blank_values=True)
        if unknown := set(query) - {"fault_id"}:
            raise FaultRefused(f"DELETE /faults has no parameter {', '.join(sorted(unknown))}; it has fault_id")
        if "fault_id" in query:
            self._call_faults.clear(query["fault_id"][-1])  # one that has struck for the last time is gone already
            return json_response({})
        self._call_faults.clear()
        self._link.request("faults_clear")
        if self._is_main_stopped and self._supervisor is not None:
            self._supervisor.ask("start_receiver", name=_MAIN_RECEIVER)
            self._is_main_stopped = False
        return json_response({})


def _answer_errors(route: Callable[[HttpRequest], HttpResponse], request: HttpRequest) -> HttpResponse:
    try:
        return route(request)
    except BrokerRefused as refusal:
        return json_response({"message": refusal.message, "code": refusal.code}, status=400)
    except (FaultRefused, SupervisorRefused) as refusal:
        return json_response({"message": str(refusal)}, status=400)
    except (LinkError, SupervisorGone) as error:
        return json_response({"message": str(error)}, status=503)
