"""AWS calls that the broker asks for, in the name of a rule's role.

The broker has no credentials. It names the role, and only what rules may do at all runs: the role must let
``iot.amazonaws.com`` assume it at that moment, and its policies must allow the call, as for any other caller. The
session that is made for it is handed to nobody, and used again for some minutes while the role is there.

Source: iot-create-role and rule-error-handling in the AWS IoT developer guide.
Differs: AWS's session names are not documented; here it is the rule's name.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError, HttpResponse
from harness.embedded.control.outcome import Caller
from harness.embedded.control.service_roles import session_arn, why_not_assumable
from harness.iot.arn import iot_arn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.control.access import Gate
    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Touched
    from harness.embedded.control.routing import ApiCall, Catalogue
    from harness.iot.registry import Credential

RULES_SERVICE: Final = "iot.amazonaws.com"

ALLOWED: Final = frozenset({("sqs", "SendMessage")})
"""What rules ask for; an action that runs here adds its operation."""

_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_MAX_SESSION_NAME: Final = 64
_SESSION_SECONDS: Final = 900.0
_USED_UNTIL_SECONDS_BEFORE_END: Final = 600.0
_MAX_SESSIONS: Final = 1_000
"""Sessions that are used again; with one more they are made anew."""


class AwsCalls:
    """Answers ``aws_call``.

    Args:
        backend: has the roles.
        credentials: where sessions are made.
        commit: makes a session known where policies are asked.
        clock: seconds since the epoch.
        catalogue: makes calls of the services' models.
        gate: decides whether the role's policies allow a call.
        run: runs a call that is authorised.
        record: adds a call to the trace.
    """

    def __init__(
        self,
        backend: MotoBackend,
        credentials: CredentialStore,
        *,
        commit: Callable[[Touched], None],
        clock: Callable[[], float],
        catalogue: Catalogue,
        gate: Gate,
        run: Callable[[ApiCall, Caller], HttpResponse],
        record: Callable[[Caller, str, ApiCall, HttpResponse, ApiError | None], None],
    ) -> None:
        self._backend = backend
        self._credentials = credentials
        self._commit = commit
        self._clock = clock
        self._sessions: dict[tuple[str, str], str] = {}
        self._catalogue = catalogue
        self._gate = gate
        self._run = run
        self._record = record

    def answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one call.

        Args:
            message: ``op``, ``service``, ``operation``, ``params``, ``role_arn``, ``session`` (the rule's name).

        Returns:
            The operation's result, as the service answers it.

        Raises:
            ApiError: it may not run, or failed.
        """
        if message.get("op") != "aws_call":
            raise ApiError("UnknownOperation", f"there is no operation {message.get('op')!r}; there is aws_call")
        service, operation = message.get("service"), message.get("operation")
        if (service, operation) not in ALLOWED:
            raise ApiError("UnknownOperation", f"rules do not call {operation!r} of {service!r} here")
        params = message.get("params")
        if not isinstance(params, dict):
            raise ApiError("InvalidRequest", "params is an object")
        call = self._catalogue.make(str(service), str(operation), params)
        caller = Caller(credential=None, request_id=str(uuid.uuid4()), host="")
        response, error = HttpResponse(status=500), None
        try:
            credential = self._assume(str(message.get("role_arn")), str(message.get("session")))
            caller = replace(caller, credential=credential)
            self._gate.authorise(call, credential, remote=None)
            response = self._run(call, caller)
            return _result(response)
        except ApiError as refusal:
            error = refusal
            response = HttpResponse(status=refusal.status)
            raise
        finally:
            self._record(caller, call.operation.service, call, response, error)

    def _assume(self, role_arn: str, rule_name: str) -> Credential:
        if not _SESSION_NAME.fullmatch(rule_name):
            raise ApiError("InvalidRequest", "session is the name of a rule")
        session_name = rule_name[:_MAX_SESSION_NAME]
        with self._backend.lock:  # a role that is deleted meanwhile would leave its session behind
            role = self._backend.role(role_arn)
            because = why_not_assumable(role, service=RULES_SERVICE, context=rule_context(self._backend, rule_name))
            if role is None or because is not None:
                what = f"{RULES_SERVICE} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
                raise ApiError("AccessDenied", f"{what} because {because}", status=403)
            known = self._credentials.find(self._sessions.get((role_arn, session_name), ""))
            if known is not None and (known.expires_at or 0.0) - self._clock() > _USED_UNTIL_SECONDS_BEFORE_END:
                return known
            made, forgotten = self._credentials.make_session(
                principal_arn=session_arn(self._backend, role, session_name),
                principal_id=f"{role.role.unique_id}:{session_name}",
                role_arn=role.role.arn,
                seconds=_SESSION_SECONDS,
            )
        self._commit({"credentials": frozenset({made.access_key_id, *forgotten})})
        if len(self._sessions) >= _MAX_SESSIONS:
            self._sessions.clear()
        self._sessions[role_arn, session_name] = made.access_key_id  # only now is it known where policies are asked
        return made


def rule_context(backend: MotoBackend, rule_name: str) -> Mapping[str, str]:
    """Return what a trust policy can ask for so that only this account's rules, or one of them, use a role.

    Source: cross-service-confused-deputy-prevention in the AWS IoT developer guide.
    """
    return {
        "aws:SourceAccount": backend.account_id,
        "aws:SourceArn": iot_arn(backend.region, backend.account_id, f"rule/{rule_name}"),
    }


def _result(response: HttpResponse) -> Mapping[str, Any]:
    try:
        result = json.loads(response.body) if response.body else {}
    except ValueError:
        result = {}
    if response.status < 300:
        return result if isinstance(result, dict) else {}
    code = str(result.get("__type") or "Error").rpartition("#")[2]
    raise ApiError(code, str(result.get("message") or result.get("Message") or ""), status=response.status)
