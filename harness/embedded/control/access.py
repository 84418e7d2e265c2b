"""Who is calling, and whether they may.

Authentication is by SigV4 over what arrived; the service a request is for is the one in the verified scope.
Authorisation asks the IAM policies of the caller for each (action, resource) of the call; the account's root may do
everything, and everybody may ask who they are.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from harness.embedded.control.answers import dialect_of
from harness.embedded.control.messages import ApiError
from harness.embedded.control.resources import ANY, needed_permissions
from harness.embedded.control.routing import GLOBAL_SERVICES, SERVICES
from harness.errors import PolicyDocumentError, SignatureError
from harness.iot.authorizer import SigV4Principal
from harness.iot.canonical import SignedRequest
from harness.iot.policy import PolicyDocument
from harness.iot.policy.variables import SOURCE_IP
from harness.iot.sigv4 import verify_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.embedded.control.messages import HttpRequest
    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.routing import ApiCall
    from harness.iot.authorizer import RegistryAuthorizer
    from harness.iot.registry import Credential

_SCOPE: Final = re.compile(
    r"Credential=[^/,\s]{1,128}/\d{8}/[^/,\s]{1,64}/(?P<service>[a-z0-9-]{1,64})/aws4_request", re.ASCII
)
"""Bounded, since anybody may send it: unbounded, the time to search a long header grows with its square."""

_SIGNED_HEADERS: Final = re.compile(r"[\s,]SignedHeaders=(?P<names>[^,\s]+)")
_MUST_BE_SIGNED: Final = ("x-amzn-", "x-amz-mqtt5-", "x-amz-tagging")
"""Headers that hold input of an operation."""
_NEVER_SIGNED: Final = frozenset({"x-amzn-trace-id"})

_MESSAGES: Final = {
    "missing": "Missing Authentication Token",
    "credential": "The security token included in the request is invalid.",
    "token": "The security token included in the request is invalid.",
    "expired": "The security token included in the request is expired",
}
_CODES: Final = {
    "missing": ("MissingAuthenticationTokenException", "MissingAuthenticationToken"),
    "format": ("IncompleteSignatureException", "IncompleteSignature"),
    "credential": ("UnrecognizedClientException", "InvalidClientTokenId"),
    "token": ("UnrecognizedClientException", "InvalidClientTokenId"),
    "expired": ("ExpiredTokenException", "ExpiredToken"),
}
_MISMATCH: Final = ("InvalidSignatureException", "SignatureDoesNotMatch")
_ALWAYS_ALLOWED: Final = frozenset({"sts:GetCallerIdentity"})
_BROKER_DECIDES: Final = frozenset({("iot-data", "Publish")})


def claimed_service(request: HttpRequest) -> str | None:
    """Return the service a signature claims to be for, unverified: only good for choosing how an error looks."""
    match = _SCOPE.search(request.header("authorization") or "")
    return SERVICES.get(match["service"]) if match else None


class Gate:
    """Lets requests in, or says why not.

    Args:
        find: access key id to credential.
        authorizer: decides from the registry that is in force.
        backend: knows the ARNs of what names stand for.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], Credential | None],
        authorizer: RegistryAuthorizer,
        backend: MotoBackend,
        clock: Callable[[], float],
    ) -> None:
        self._find = find
        self._authorizer = authorizer
        self._backend = backend
        self._clock = clock

    def authenticate(self, request: HttpRequest) -> tuple[Credential, str]:
        """Verify a request's signature.

        Returns:
            The caller's credential, and the signing name in the verified scope.

        Raises:
            ApiError: as the service that was claimed words it.
        """
        authorization = request.header("authorization")
        if authorization is None:
            raise _refused(request, "missing", "")
        signed_names = (match["names"] if (match := _SIGNED_HEADERS.search(authorization)) else "").split(";")
        for name, _ in request.headers:
            if name.lower().startswith(_MUST_BE_SIGNED) and name.lower() not in {*signed_names, *_NEVER_SIGNED}:
                raise _refused(request, "format", f"the header {name} is not among the signed ones")
        signed = SignedRequest(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_sha256=hashlib.sha256(request.body).hexdigest(),
        )
        try:
            credential, region, service = verify_header(
                signed, find=self._find, region=None, services=None, now=self._clock()
            )
        except SignatureError as error:
            expired = error.part == "token" and "expired" in error.reason
            raise _refused(request, "expired" if expired else error.part, error.reason) from None
        if SERVICES.get(service) not in GLOBAL_SERVICES and region != self._backend.region:
            reason = f"Credential should be scoped to a valid region, not '{region}': {self._backend.region} is served"
            raise _refused(request, "scope", reason)
        return credential, service

    def authorise(self, call: ApiCall, caller: Credential, *, remote: str | None) -> None:
        """Let a call pass, or raise.

        Args:
            call: what was asked for.
            caller: who signed it.
            remote: the address it came from; None for one that a service makes in the caller's name.

        Raises:
            ApiError: AccessDenied, as AWS words it, with the statement that decided or what was missing.
        """
        if (
            caller.role_arn is None
            or call.action in _ALWAYS_ALLOWED
            or (call.operation.service, call.operation.name) in _BROKER_DECIDES
        ):
            return
        if caller.identity_id is not None and call.operation.service == "cognito-identity":
            raise _denied(
                call, caller, ANY, "Cognito lets nobody call identity pool operations with an identity's credentials"
            )
        principal = SigV4Principal.of(caller)
        context = {} if remote is None else {SOURCE_IP: remote}
        for action, resource in needed_permissions(call, self._backend):
            decision = self._authorizer.authorize_arn(principal, action, resource, context)
            if not decision.allowed:
                raise _denied(call, caller, resource, decision.because, action=action)
            if resource == ANY and (place := self._scoped_deny(caller, action)):
                because = (
                    f"{place} denies it on some resources, and which one this call is about is not worked out here"
                )
                raise _denied(call, caller, resource, because, action=action)

    def _scoped_deny(self, caller: Credential, action: str) -> str | None:
        """Find a Deny on particular resources that speaks of an action; evaluating on ``*`` would overlook it."""
        role = self._authorizer.snapshot.roles.get(caller.role_arn or "")
        for name, text in (*(role.policies if role else ()), *caller.session_policies):
            try:
                document = PolicyDocument.parse(text, dialect="iam")
            except PolicyDocumentError:  # pragma: no cover - the authorizer has denied already
                return f"policy {name}"
            for statement in document.statements:
                covers = any(template.bind({}).matches(action.lower()) for template in statement.actions)
                if not statement.allows and covers is not statement.excludes_actions:
                    return f"policy {name}, statement {statement.sid or statement.number}"
        return None


def _refused(request: HttpRequest, part: str, reason: str) -> ApiError:
    service = claimed_service(request)
    message = _MESSAGES.get(part, reason)
    if service == "iot-data":
        return ApiError("ForbiddenException", message, status=403)
    dialect = dialect_of(service, request)
    code = _CODES.get(part, _MISMATCH)[dialect == "query"]
    return ApiError(code, message, status=400 if dialect == "json" else 403)


def _denied(call: ApiCall, caller: Credential, resource: str, because: str, *, action: str | None = None) -> ApiError:
    dialect = call.operation.protocol
    how = f"User: {caller.principal_arn} is not authorized to perform: {action or call.action} on resource: {resource}"
    code = "AccessDenied" if dialect == "query" else "AccessDeniedException"
    return ApiError(code, f"{how} because {because}", status=400 if dialect == "json" else 403)
