"""IAM and STS: documents are checked before moto stores them; sessions are made here.

Source: the API references of IAM and STS.
Differs: permissions boundaries are refused. The account's root may assume a role that trusts the account (on AWS it may
assume none), since the one key of this stand-in is the root's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.answers import encode_xml_result, xml_elements
from harness.embedded.control.messages import ApiError, not_served
from harness.embedded.control.outcome import Outcome
from harness.errors import PolicyDocumentError
from harness.iot.arn import partition
from harness.iot.policy import PolicyDocument, evaluate_trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.moto_backend import MotoBackend, TrustedRole
    from harness.embedded.control.outcome import Caller, Guard, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.iot.registry import Credential

_IDENTITY_DOCUMENTS: Final = ("PutRolePolicy", "PutUserPolicy", "PutGroupPolicy", "CreatePolicy", "CreatePolicyVersion")
_TRUST_DOCUMENTS: Final = {"CreateRole": "AssumeRolePolicyDocument", "UpdateAssumeRolePolicy": "PolicyDocument"}
_ATTACHMENTS: Final = ("AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy")
_DELETIONS: Final = {
    "DeletePolicy": ("policy", "PolicyArn"),
    "DeleteUser": ("user", "UserName"),
    "DeleteGroup": ("group", "GroupName"),
}
_OWN_USER: Final = ("GetUser", "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey")
_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_SESSION_SECONDS: Final = range(900, 43_201)
_REFUSED_MEMBERS: Final = ("SerialNumber", "TokenCode", "SourceIdentity")
_REFUSED_LISTS: Final = ("PolicyArns.", "Tags.", "TransitiveTagKeys.", "ProvidedContexts.")


class IamRules:
    """Guards of ``iam``.

    Args:
        backend: knows what is still used.
    """

    def __init__(self, backend: MotoBackend) -> None:
        self._backend = backend

    def guards(self) -> Mapping[str, Guard]:
        """Return what is looked at before moto runs it."""
        return {
            **dict.fromkeys(_IDENTITY_DOCUMENTS, self._check_identity),
            **dict.fromkeys(_TRUST_DOCUMENTS, self._check_trust),
            **dict.fromkeys(_OWN_USER, self._name_user),
            **dict.fromkeys(_ATTACHMENTS, self._refuse_policy_of_aws),
            **dict.fromkeys(_DELETIONS, self._check_unused),
            "CreateUser": self._refuse_boundary,
        }

    @staticmethod
    def _refuse_policy_of_aws(call: ApiCall, _caller: Caller) -> None:
        policy_arn = call.text("PolicyArn")
        if ":iam::aws:policy/" in policy_arn:
            raise not_served(f"the managed policy {policy_arn} of AWS")

    def _check_unused(self, call: ApiCall, _caller: Caller) -> None:
        kind, member = _DELETIONS[call.operation.name]
        if uses := self._backend.iam_uses(kind, call.text(member)):
            message = f"Cannot delete entity, first {' and '.join(uses)}."
            raise ApiError("DeleteConflict", message, status=409)

    @staticmethod
    def _refuse_boundary(call: ApiCall, _caller: Caller) -> None:
        if call.params.get("PermissionsBoundary"):
            raise not_served(f"{call.operation.name} with PermissionsBoundary")

    def _check_identity(self, call: ApiCall, _caller: Caller) -> None:
        _check_document(call.text("PolicyDocument"), dialect="iam")

    def _check_trust(self, call: ApiCall, caller: Caller) -> None:
        self._refuse_boundary(call, caller)
        _check_document(call.text(_TRUST_DOCUMENTS[call.operation.name]), dialect="trust")

    @staticmethod
    def _name_user(call: ApiCall, caller: Caller) -> ApiCall | None:
        """Put in the name that IAM takes from the caller's key when none is given."""
        if call.params.get("UserName"):
            return None
        _, is_user, path_and_name = (caller.credential.principal_arn if caller.credential else "").partition(":user/")
        if not is_user:
            raise ApiError("ValidationError", "Must specify userName when calling with non-User credentials")
        return replace(call, params={**call.params, "UserName": path_and_name.rpartition("/")[2]})


class SecurityTokens:
    """Handlers of ``sts``.

    Args:
        backend: has roles.
        credentials: where sessions are made.
    """

    def __init__(self, backend: MotoBackend, credentials: CredentialStore) -> None:
        self._backend = backend
        self._credentials = credentials

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto."""
        return {"GetCallerIdentity": self._get_caller_identity, "AssumeRole": self._assume_role}

    def _get_caller_identity(self, _call: ApiCall, caller: Caller) -> Outcome:
        credential = _signed(caller)
        inner = xml_elements(
            {"Arn": credential.principal_arn, "UserId": credential.principal_id, "Account": self._backend.account_id}
        )
        return Outcome(result=encode_xml_result("sts", "GetCallerIdentity", inner, request_id=caller.request_id))

    def _assume_role(self, call: ApiCall, caller: Caller) -> Outcome:
        credential = _signed(caller)
        role_arn, session_name = call.text("RoleArn"), call.text("RoleSessionName")
        for member in call.params:
            if member in _REFUSED_MEMBERS or member.startswith(_REFUSED_LISTS):
                raise not_served(f"AssumeRole with {member.partition('.')[0]}")
        if not _SESSION_NAME.fullmatch(session_name):
            raise ApiError(
                "ValidationError",
                f"Value '{session_name[:80]}' at 'roleSessionName' must have 2 to 64 letters, digits or +=,.@_-",
            )
        policy = call.params.get("Policy")
        if policy:
            _check_document(policy, dialect="iam")
        seconds = _session_seconds(call)
        arn_prefix = f"arn:{partition(self._backend.region)}:sts::{self._backend.account_id}"
        with self._backend.lock:  # a role that is deleted meanwhile would leave its session behind
            role = self._trusting_role(role_arn, credential, call.params)
            if seconds > role.max_session_seconds:
                message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                raise ApiError("ValidationError", message)
            made, forgotten = self._credentials.make_session(
                principal_arn=f"{arn_prefix}:assumed-role/{role.name}/{session_name}",
                principal_id=f"{role.role.unique_id}:{session_name}",
                role_arn=role.role.arn,
                seconds=seconds,
                session_policies=(("session policy", policy),) if policy else (),
            )
        return Outcome(
            result=encode_xml_result("sts", "AssumeRole", _session_xml(made), request_id=caller.request_id),
            touched={"credentials": frozenset({made.access_key_id, *forgotten})},
        )

    def _trusting_role(self, role_arn: str, caller: Credential, params: Mapping[str, Any]) -> TrustedRole:
        role = self._backend.role(role_arn)
        because = f"{role_arn} does not exist"
        if role is not None:
            document = PolicyDocument.parse(role.trust_policy, dialect="trust")
            context = {"sts:ExternalId": params["ExternalId"]} if params.get("ExternalId") else {}
            # A session is trusted by its own ARN or by that of its role.
            for principal in dict.fromkeys((caller.role_arn or caller.principal_arn, caller.principal_arn)):
                decision = evaluate_trust(
                    document, action="sts:AssumeRole", kind="AWS", principal=principal, context=context
                )
                if decision.allowed:
                    return role
                because = decision.because
        what = f"sts:AssumeRole on resource: {role_arn}"
        message = f"User: {caller.principal_arn} is not authorized to perform: {what} because {because}"
        raise ApiError("AccessDenied", message, status=403)


def _session_seconds(call: ApiCall) -> int:
    text = call.params.get("DurationSeconds", "3600")
    if not (text.isascii() and text.isdigit()) or int(text) not in _SESSION_SECONDS:
        accepted = f"a number from {_SESSION_SECONDS[0]} to {_SESSION_SECONDS[-1]}"
        message = f"Value '{text[:20]}' at 'durationSeconds' must be {accepted}"
        raise ApiError("ValidationError", message)
    return int(text)


def _session_xml(made: Credential) -> str:
    expires_at = datetime.fromtimestamp(made.expires_at or 0.0, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    credentials = {
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": made.secret_access_key,
        "SessionToken": made.session_token or "",
        "Expiration": expires_at,
    }
    user = {"AssumedRoleId": made.principal_id, "Arn": made.principal_arn}
    return (
        f"<Credentials>{xml_elements(credentials)}</Credentials><AssumedRoleUser>{xml_elements(user)}</AssumedRoleUser>"
    )


def _signed(caller: Caller) -> Credential:
    if caller.credential is None:  # pragma: no cover - neither operation goes unsigned
        raise ApiError("MissingAuthenticationToken", "Missing Authentication Token", status=403)
    return caller.credential


def _check_document(text: str, *, dialect: Any) -> None:
    try:
        PolicyDocument.parse(text, dialect=dialect)
    except PolicyDocumentError as error:
        raise ApiError("MalformedPolicyDocument", f"Syntax errors in policy: {error}") from None
