"""``GET /v1/credentials``: the receiver's credentials, as a pod on EKS gets them from its Pod Identity agent.

SDKs find it by ``AWS_CONTAINER_CREDENTIALS_FULL_URI`` and send ``AWS_CONTAINER_AUTHORIZATION_TOKEN``. So the receiver
runs with a role and its policies, not with the account's root key, and a permission that its role lacks is missing
here too.

Source: pod-id-how-it-works and pod-id-role in the Amazon EKS user guide.
Differs: the token is one secret for the life of the process, not a service account's, which EKS renews; the answer has
the same members.
"""

from __future__ import annotations

import hmac
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from harness.embedded.control.messages import ApiError, HttpResponse, json_response
from harness.embedded.control.service_roles import session_arn, why_not_assumable

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.messages import HttpRequest
    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Touched
    from harness.embedded.control.tracing import Tracer
    from harness.iot.registry import Credential

PATH: Final = "/v1/credentials"
SERVICE: Final = "pods.eks.amazonaws.com"
_ACTIONS: Final = ("sts:AssumeRole", "sts:TagSession")
"""Pod Identity needs both: it tags its sessions with cluster, namespace and pod."""
_SESSION_NAME: Final = "receiver"
_SECONDS: Final = 3600.0


class PodIdentity:
    """Answers requests at `PATH`.

    Args:
        backend: has the role.
        credentials: where the session is made.
        token: who sends it gets credentials; empty for nobody.
        role_name: the receiver's role.
        commit: brings the broker up to date.
        tracer: takes a record of each answer.
    """

    def __init__(
        self,
        backend: MotoBackend,
        credentials: CredentialStore,
        *,
        token: str,
        role_name: str,
        commit: Callable[[Touched], None],
        tracer: Tracer,
    ) -> None:
        self._backend = backend
        self._credentials = credentials
        self._token = token.encode()
        self._role_name = role_name
        self._commit = commit
        self._tracer = tracer

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request.

        Raises:
            LinkError: the broker did not take the change.
        """
        try:
            self._check(request)
            credential = self._make_session()
        except ApiError as refusal:
            self._record(None, refusal)
            return json_response({"code": refusal.code, "message": refusal.message}, status=refusal.status)
        self._record(credential, None)
        expires_at = datetime.fromtimestamp(credential.expires_at or 0.0, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json_response(
            {
                "AccessKeyId": credential.access_key_id,
                "SecretAccessKey": credential.secret_access_key,
                "Token": credential.session_token,
                "AccountId": self._backend.account_id,
                "Expiration": expires_at,
            }
        )

    def _check(self, request: HttpRequest) -> None:
        if not self._token:
            raise ApiError("NotFound", "there is no receiver here that could have credentials", status=404)
        offered = [value for name, value in request.headers if name.lower() == "authorization"]
        sent = offered[0].encode("utf-8", "surrogateescape") if len(offered) == 1 else b""
        if not hmac.compare_digest(sent, self._token):
            raise ApiError("Unauthorized", "Authorization: the receiver's own token is needed", status=401)
        if request.header("origin") is not None:
            raise ApiError("Forbidden", "pages have no business here", status=403)
        if request.method != "GET":
            raise ApiError("MethodNotAllowed", f"{PATH} is asked by GET", status=405)

    def _make_session(self) -> Credential:
        with self._backend.lock:  # a role that is deleted meanwhile would leave its session behind
            role_arn = self._backend.iam_arn("role", self._role_name)
            role = self._backend.role(role_arn) if role_arn else None
            if role is None:
                raise ApiError("NotFound", f"the receiver's role {self._role_name} does not exist (yet)", status=404)
            because = why_not_assumable(role, service=SERVICE, actions=_ACTIONS)
            if because is not None:
                message = f"{SERVICE} may not assume the receiver's role {self._role_name}: {because}"
                raise ApiError("AccessDenied", message, status=403)
            session_name = f"{_SESSION_NAME}-{uuid.uuid4().hex[:8]}"
            credential, forgotten = self._credentials.make_session(
                principal_arn=session_arn(self._backend, role, session_name),
                principal_id=f"{role.role.unique_id}:{session_name}",
                role_arn=role.role.arn,
                seconds=_SECONDS,
            )
        self._commit({"credentials": frozenset({credential.access_key_id, *forgotten})})
        return credential

    def _record(self, credential: Credential | None, error: ApiError | None) -> None:
        """Record an answer as the call that the agent of EKS makes for it."""
        detail = {
            "service": "eks-auth",
            "operation": "AssumeRoleForPodIdentity",
            "outcome": error.code if error is not None else "ok",
            "because": error.message if error is not None else None,
            "status": error.status if error is not None else 200,
            "request_id": str(uuid.uuid4()),
            "access_key_id": credential.access_key_id if credential is not None else None,
        }
        self._tracer.append("api", principal=credential.principal_arn if credential else "anonymous", detail=detail)
