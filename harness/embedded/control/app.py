"""The control plane as a function from request to answer.

In order: admin API and preflight apart; verify the signature; find the operation in the model of the service it was
made for; refuse what is not served; ask the policies; run it, here or in moto; tell the broker what changed and wait
for it; answer. The trace gets one record for each call, refused ones included.
"""

from __future__ import annotations

import gc
import logging
import socket
import threading
import uuid
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.embedded.control.access import Gate, claimed_service
from harness.embedded.control.admin import PREFIX, AdminApi
from harness.embedded.control.answers import cors_headers, encode_error, encode_result, preflight
from harness.embedded.control.aws_calls import AwsCalls
from harness.embedded.control.call_faults import CallFaults
from harness.embedded.control.certificates import Certificates
from harness.embedded.control.cognito import IdentityPools
from harness.embedded.control.credentials import CredentialStore
from harness.embedded.control.destinations import Destinations
from harness.embedded.control.feed import RegistryFeed
from harness.embedded.control.identity import IamRules, SecurityTokens
from harness.embedded.control.listing import take_listed
from harness.embedded.control.messages import ApiError, Headers, HttpRequest, HttpResponse, json_response
from harness.embedded.control.moto_backend import MotoBackend
from harness.embedded.control.operations import WHOLE_SERVICES, check_served, is_served, refuse_service, touched_by
from harness.embedded.control.outcome import Caller, Outcome
from harness.embedded.control.pod_identity import PATH as CREDENTIALS_PATH
from harness.embedded.control.pod_identity import PodIdentity
from harness.embedded.control.publishing import Publishing
from harness.embedded.control.routing import SERVICES, ApiCall, Catalogue
from harness.embedded.control.rules import TopicRules
from harness.embedded.control.supervisor_line import SupervisorLine
from harness.embedded.control.tags import Tags
from harness.embedded.control.things import Things
from harness.embedded.control.tracing import Tracer
from harness.embedded.link import LinkError
from harness.iot.arn import iot_arn
from harness.iot.registry import Credential, RegistryChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Any

    from harness.embedded.control.broker_link import BrokerLink
    from harness.embedded.control.config import ControlConfig
    from harness.embedded.control.outcome import Guard, Handler, Touched

_log = logging.getLogger(__name__)

_FIRST_READS: Final = (
    ("cognito-identity", "ListIdentityPools"),
    ("iam", "ListRoles"),
    ("iot", "ListThings"),
    ("dynamodb", "ListTables"),
    ("sqs", "ListQueues"),
)
"""A call of each makes moto load and build all it needs for the service."""


class ControlPlane:
    """All of the control plane but its socket.

    Args:
        config: of this process.
        link: to the broker.
        clock: seconds since the epoch.
    """

    def __init__(self, config: ControlConfig, link: BrokerLink, *, clock: Callable[[], float]) -> None:
        self._config = config
        self._link = link
        self._backend = MotoBackend(account_id=config.account_id, region=config.region)
        self._credentials = CredentialStore(_root(config), clock=clock)
        self._feed = RegistryFeed(read=self._read, send=self._send, account_id=config.account_id, region=config.region)
        self._tracer = Tracer(link)
        self._catalogue = Catalogue(self._backend.load_model, check=check_served)
        self._gate = Gate(
            find=self._credentials.find, authorizer=self._feed.authorizer, backend=self._backend, clock=clock
        )
        self._call_faults = CallFaults(is_served=self._is_served)
        self._supervisor = _supervisor(config)
        self._admin = AdminApi(
            token=config.admin_token,
            link=link,
            credentials=self._credentials,
            feed=self._feed,
            call_faults=self._call_faults,
            supervisor=self._supervisor,
        )
        self._pod_identity = PodIdentity(
            self._backend,
            self._credentials,
            token=config.receiver_token,
            role_name=config.receiver_role_name,
            commit=self._feed.commit,
            tracer=self._tracer,
        )
        self._certificates = Certificates(self._backend, clock=clock)
        self._destinations = Destinations(
            self._backend,
            quirks=config.quirks,
            url=config.url,
            ca_files=config.http_ca_files,
            clock=clock,
            commit=self._feed.commit,
            record=lambda detail: self._tracer.append("confirmation", principal=None, detail=detail),
        )
        self._tags = Tags(
            iot_arn(config.region, config.account_id, ""),
            has={
                "policy": lambda name: bool(self._backend.read("policies", [name])),
                "rule": lambda name: bool(self._rules.records([name])),
            },
        )
        self._rules = TopicRules(self._backend, self._destinations, self._tags, quirks=config.quirks, clock=clock)
        self._handlers, self._guards = self._make_handlers(clock)
        self._service_locks = {"dynamodb": threading.Lock()}
        aws_calls = AwsCalls(
            self._backend,
            self._credentials,
            commit=self._feed.commit,
            clock=clock,
            catalogue=self._catalogue,
            gate=self._gate,
            run=self._run_authorised,
            record=self._record,
        )
        link.answer_asks(aws_calls.answer)

    def start(self) -> None:
        """Bring the broker the first snapshot.

        Raises:
            LinkError: the broker did not take it.
        """
        self._feed.commit({"credentials": None})

    def warm_up(self) -> None:
        """Load what the first calls would otherwise wait for, in the order a stack asks for it."""
        for service, name in _FIRST_READS:
            operation = self._catalogue.operations(service)[name]
            self._backend.invoke(ApiCall(operation=operation, params={}), access_key_id=None)
        self._catalogue.warm_up("sts")
        self._catalogue.warm_up("iot-data")
        self._certificates.warm_up()
        self._rules.warm_up()
        gc.freeze()  # what was loaded stays: each full collection would hold all calls up to walk it

    def close(self) -> None:
        """End the threads."""
        self._destinations.close()
        if self._supervisor is not None:
            self._supervisor.close()
        self._tracer.close()
        self._feed.close()

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request; never raises."""
        request_id = str(uuid.uuid4())
        further: Headers = ()
        if request.path == PREFIX or request.path.startswith(f"{PREFIX}/"):
            response = self._admin.answer(request)
        elif request.path == CREDENTIALS_PATH:
            response = self._answer_pod_identity(request)
        elif request.method == "OPTIONS":
            response = preflight(request)
        else:
            response, service = self._serve(request, request_id)
            further = cors_headers(request, service)
        if response.header("x-amzn-RequestId") is None:
            further = (*further, ("x-amzn-RequestId", request_id))
        return HttpResponse(status=response.status, headers=(*response.headers, *further), body=response.body)

    # --- one call
    # ---------------------------------------------------------------------------------------------------------------

    def _serve(self, request: HttpRequest, request_id: str) -> tuple[HttpResponse, str | None]:
        """Return the answer and the service it is an answer of."""
        caller = Caller(credential=None, request_id=request_id, host=request.header("host") or "")
        service = claimed_service(request)
        call: ApiCall | None = None
        error: ApiError | None = None
        try:
            signing_name, caller = self._identify(request, caller)
            call = self._find_call(request, signing_name)
            service = call.operation.service
            if caller.credential is not None and not call.operation.is_unsigned:
                self._gate.authorise(call, caller.credential, remote=request.remote)
            response = self._run_authorised(call, caller, request.body)
        except ApiError as refusal:
            error = refusal
        except LinkError as failure:
            error = ApiError("InternalFailure", f"The broker did not take the change: {failure}", status=500)
        except Exception:  # noqa: BLE001 - a thread's boundary: logged in full, and the caller gets the id to find it by
            _log.exception("request %s failed", request_id)
            message = f"The control plane failed on this call; its log says why ({request_id})"
            error = ApiError("InternalFailure", message, status=500)
        if error is not None:
            response = encode_error(error, service=service, request=request, request_id=request_id)
        self._record(caller, service, call, response, error)
        return response, service

    def _identify(self, request: HttpRequest, caller: Caller) -> tuple[str | None, Caller]:
        """Return the signing name in the verified scope, None for a request that goes unsigned, and who sent it."""
        if repeated := request.repeated_header():
            raise ApiError("InvalidRequestException", f"the header {repeated} came more than once")
        if self._catalogue.is_unsigned(request):
            return None, caller
        credential, signing_name = self._gate.authenticate(request)
        return signing_name, replace(caller, credential=credential)

    def _find_call(self, request: HttpRequest, signing_name: str | None) -> ApiCall:
        if signing_name is None:
            return self._catalogue.read_unsigned(request)
        if signing_name not in SERVICES:
            raise refuse_service(signing_name)
        return self._catalogue.read(SERVICES[signing_name], request)

    def _run_authorised(self, call: ApiCall, caller: Caller, body: bytes = b"") -> HttpResponse:
        self._call_faults.strike(call, body)
        key = (call.operation.service, call.operation.name)
        handler = self._handlers.get(key)
        if handler is not None:
            outcome = handler(call, caller)
        else:
            with self._lock_of(call.operation.service):
                outcome = self._run_in_moto(call, caller)
        result = outcome.result
        response = result if isinstance(result, HttpResponse) else encode_result(call.operation.service, result)
        if response.status < 300:
            touched = outcome.touched or touched_by(call)
            self._feed.commit(self._with_credentials(touched))
        return response

    def _lock_of(self, service: str) -> AbstractContextManager[object]:
        """Return what to hold while moto runs an operation, a read too: it walks what other threads would change.

        A table is written by the receiver and read by tests at the same moment. SQS holds its callers for as long as
        they want to wait for a message, so that it cannot be called by one at a time.
        """
        if service not in WHOLE_SERVICES:
            return self._backend.lock
        return self._service_locks.get(service, nullcontext())

    def _run_in_moto(self, call: ApiCall, caller: Caller) -> Outcome:
        guard = self._guards.get((call.operation.service, call.operation.name))
        instead = guard(call, caller) if guard is not None else None
        if isinstance(instead, Outcome):
            return instead
        response = self._backend.invoke(instead or call, access_key_id=caller.access_key_id, host=caller.host)
        return Outcome(result=take_listed(call, response))

    def _with_credentials(self, touched: Touched) -> Touched:
        """Work out which credentials a change of IAM touched: only moto knows which keys users have.

        In one step: with what another caller read earlier, a key deleted meanwhile would come back.
        """
        if touched.get("credentials", ()) is not None:
            return touched
        with self._backend.lock:
            changed = self._credentials.replace_access_keys(self._backend.read("credentials", None).values())
            changed |= self._credentials.end_sessions_without_role(self._backend.read("roles", None))
        return {**touched, "credentials": frozenset(changed)}

    def _record(
        self, caller: Caller, service: str | None, call: ApiCall | None, response: HttpResponse, error: ApiError | None
    ) -> None:
        outcome = error.code if error is not None else "ok" if response.status < 300 else "error"
        request_id = response.header("x-amzn-RequestId") or caller.request_id
        detail = {
            "service": service,
            "operation": call.operation.name if call else None,
            "outcome": outcome,
            "because": error.message if error is not None else None,
            "status": response.status,
            "request_id": request_id,
            "access_key_id": caller.access_key_id,
        }
        self._tracer.append("api", principal=caller.display, detail=detail)

    # --- what comes in no signed request
    # --------------------------------------------------------------------------------------------------------------

    def _answer_pod_identity(self, request: HttpRequest) -> HttpResponse:
        try:
            return self._pod_identity.answer(request)
        except LinkError as failure:
            return json_response({"message": f"The broker did not take the change: {failure}"}, status=503)

    def _is_served(self, service: str, name: str) -> bool:
        if service not in SERVICES.values():
            return False
        operation = self._catalogue.operations(service).get(name)
        return operation is not None and is_served(operation)

    # --- wiring
    # -----------------------------------------------------------------------------------------------------------------

    def _make_handlers(
        self, clock: Callable[[], float]
    ) -> tuple[dict[tuple[str, str], Handler], dict[tuple[str, str], Guard]]:
        config = self._config
        things = Things(self._backend, endpoint=config.iot_endpoint, quirks=config.quirks, tags=self._tags)
        pools = IdentityPools(self._backend, self._credentials, clock=clock)
        handlers = {
            "iot": {
                **things.handlers(),
                **self._certificates.handlers(),
                **self._rules.handlers(),
                **self._destinations.handlers(),
                **self._tags.handlers(),
            },
            "iot-data": Publishing(self._link, quirks=config.quirks).handlers(),
            "sts": SecurityTokens(self._backend, self._credentials).handlers(),
            "cognito-identity": pools.handlers(),
        }
        guards = {
            "iot": {**things.guards(), **self._certificates.guards()},
            "iam": IamRules(self._backend).guards(),
            "cognito-identity": pools.guards(),
        }
        return (
            {(service, name): handler for service, table in handlers.items() for name, handler in table.items()},
            {(service, name): guard for service, table in guards.items() for name, guard in table.items()},
        )

    def _read(self, table: str, keys: Iterable[str] | None) -> dict[str, Any]:
        own: dict[str, Callable[[Iterable[str] | None], dict[str, Any]]] = {
            "credentials": self._credentials.records,
            "destinations": self._destinations.records,
            "rules": self._rules.records,
        }
        return own[table](keys) if table in own else self._backend.read(table, keys)

    def _send(self, change: RegistryChange) -> None:
        self._link.request(
            "registry", change=change.to_json(), account_id=self._config.account_id, region=self._config.region
        )


def _supervisor(config: ControlConfig) -> SupervisorLine | None:
    if config.supervisor_fd is None:
        return None
    return SupervisorLine(socket.socket(fileno=config.supervisor_fd))


def _root(config: ControlConfig) -> Credential:
    return Credential(
        access_key_id=config.access_key_id,
        secret_access_key=config.secret_access_key,
        principal_arn=f"arn:aws:iam::{config.account_id}:root",
        principal_id=config.account_id,
    )
