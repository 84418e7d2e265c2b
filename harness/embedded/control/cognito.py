"""Identity pools: guests' identities, the roles of pools, and credentials that STS and the broker know.

moto has pools and lists identities; roles and credentials are kept here. Only guests are served: an operation that
names ``Logins`` is refused, not treated as a guest's.

Source: authentication-flow and iam-roles in the Amazon Cognito developer guide.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError, not_served
from harness.embedded.control.outcome import Outcome
from harness.embedded.control.tags import MAX_TAGS
from harness.errors import PolicyDocumentError
from harness.iot.arn import partition
from harness.iot.cognito import GUEST_SESSION_POLICIES, IDENTITY_PROVIDER, SESSION_NAME
from harness.iot.limits import COGNITO_CREDENTIALS_SECONDS
from harness.iot.policy import Decision, PolicyDocument, evaluate_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.control.credentials import CredentialStore
    from harness.embedded.control.moto_backend import IdentityPool, MotoBackend, TrustedRole
    from harness.embedded.control.outcome import Caller, Guard, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.iot.policy import Context

_ASSUME: Final = "sts:AssumeRoleWithWebIdentity"
_ROLE_KINDS: Final = frozenset({"authenticated", "unauthenticated"})
_BAD_POOL: Final = "Invalid identity pool configuration. Check assigned IAM roles for this pool."


class IdentityPools:
    """Handlers and guards of ``cognito-identity``.

    Args:
        backend: has pools and roles.
        credentials: where sessions are made.
        clock: seconds since the epoch.
    """

    def __init__(self, backend: MotoBackend, credentials: CredentialStore, *, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._credentials = credentials
        self._clock = clock
        self._roles: dict[str, dict[str, Any]] = {}
        self._pool_of: dict[str, str] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto."""
        return {
            "DeleteIdentities": self._delete_identities,
            "DescribeIdentity": self._describe_identity,
            "GetId": self._get_id,
            "GetCredentialsForIdentity": self._get_credentials,
            "SetIdentityPoolRoles": self._set_roles,
            "GetIdentityPoolRoles": self._get_roles,
            "ListTagsForResource": self._list_tags,
            "TagResource": self._add_tags,
            "UntagResource": self._remove_tags,
        }

    def guards(self) -> Mapping[str, Guard]:
        """Return what is looked at before moto runs it."""
        return {
            "CreateIdentityPool": self._check_flow,
            "UpdateIdentityPool": self._check_update,
            "DescribeIdentityPool": self._check_exists,
            "DeleteIdentityPool": self._forget_roles,
            "ListIdentities": self._check_exists,
        }

    def _get_id(self, call: ApiCall, _caller: Caller) -> Outcome:
        pool = self._pool(call.text("IdentityPoolId"))
        _refuse_logins(call)
        _check_guests(pool)
        identity_id = f"{self._backend.region}:{uuid.uuid4()}"
        self._backend.add_identity(pool.pool_id, identity_id, at=self._clock())
        self._pool_of[identity_id] = pool.pool_id
        return Outcome(result={"IdentityId": identity_id})

    def _describe_identity(self, call: ApiCall, _caller: Caller) -> Outcome:
        identity_id = call.text("IdentityId")
        described = self._backend.identity(self._pool_of.get(identity_id, ""), identity_id)
        if described is None:
            raise ApiError("ResourceNotFoundException", f"Identity '{identity_id}' not found.")
        return Outcome(result=described)

    def _delete_identities(self, call: ApiCall, _caller: Caller) -> Outcome:
        """Delete guests; the credentials they have been given stay valid until they expire, as STS never revokes any.

        Differs: AWS does not say what becomes of an id that there is not; here it counts as deleted.
        """
        for identity_id in call.params["IdentityIdsToDelete"]:
            pool_id = self._pool_of.pop(identity_id, None)
            if pool_id is not None:
                self._backend.remove_identity(pool_id, identity_id)
        return Outcome(result={"UnprocessedIdentityIds": []})

    def _list_tags(self, call: ApiCall, _caller: Caller) -> Outcome:
        return Outcome(result={"Tags": dict(self._pool_of_arn(call).tags)})

    def _add_tags(self, call: ApiCall, _caller: Caller) -> Outcome:
        given = call.params.get("Tags") or {}
        with self._backend.lock:
            pool = self._pool_of_arn(call)
            tags = {**pool.tags, **given}
            if len(tags) > MAX_TAGS or any(key.lower().startswith("aws:") for key in given):
                message = f"A pool has {MAX_TAGS} tags at most, and none whose key begins with 'aws:'"
                raise ApiError("InvalidParameterException", message)
            self._backend.set_pool_tags(pool.pool_id, tags)
        return Outcome(result={})

    def _remove_tags(self, call: ApiCall, _caller: Caller) -> Outcome:
        with self._backend.lock:
            pool = self._pool_of_arn(call)
            left = {key: value for key, value in pool.tags.items() if key not in call.params["TagKeys"]}
            self._backend.set_pool_tags(pool.pool_id, left)
        return Outcome(result={})

    def _pool_of_arn(self, call: ApiCall) -> IdentityPool:
        arn, region = call.text("ResourceArn"), self._backend.region
        prefix = f"arn:{partition(region)}:cognito-identity:{region}:{self._backend.account_id}:identitypool/"
        if not arn.startswith(prefix):
            raise ApiError(
                "InvalidParameterException", f"{arn[:200]} is not the ARN of an identity pool of this account"
            )
        return self._pool(arn.removeprefix(prefix))

    def _get_credentials(self, call: ApiCall, _caller: Caller) -> Outcome:
        identity_id = call.text("IdentityId")
        pool_id = self._pool_of.get(identity_id)
        pool = self._backend.identity_pool(pool_id) if pool_id else None
        if pool is None:
            raise ApiError("ResourceNotFoundException", f"Identity '{identity_id}' not found.")
        _refuse_logins(call)
        if call.params.get("CustomRoleArn"):
            raise not_served("GetCredentialsForIdentity with CustomRoleArn")
        _check_guests(pool)
        arn_prefix = f"arn:{partition(self._backend.region)}:sts::{self._backend.account_id}"
        with self._backend.lock:  # a role that is deleted meanwhile would leave its session behind
            role = self._guest_role(pool)
            credential, forgotten = self._credentials.make_session(
                principal_arn=f"{arn_prefix}:assumed-role/{role.name}/{SESSION_NAME}",
                principal_id=f"{role.role.unique_id}:{SESSION_NAME}",
                role_arn=role.role.arn,
                seconds=COGNITO_CREDENTIALS_SECONDS,
                session_policies=GUEST_SESSION_POLICIES,
                identity_id=identity_id,
            )
        return Outcome(
            result={
                "IdentityId": identity_id,
                "Credentials": {
                    "AccessKeyId": credential.access_key_id,
                    "SecretKey": credential.secret_access_key,
                    "SessionToken": credential.session_token,
                    "Expiration": credential.expires_at,
                },
            },
            touched={"credentials": frozenset({credential.access_key_id, *forgotten})},
        )

    def _guest_role(self, pool: IdentityPool) -> TrustedRole:
        """Return the pool's role for guests, if it trusts the pool.

        Raises:
            ApiError: there is none, or its trust policy does not let this pool's guests in.
        """
        role_arn = self._roles.get(pool.pool_id, {}).get("Roles", {}).get("unauthenticated")
        if role_arn is None:
            raise ApiError(
                "InvalidIdentityPoolConfigurationException", f"{_BAD_POOL} The pool has no unauthenticated role."
            )
        role = self._backend.role(role_arn)
        if role is None:
            raise ApiError("InvalidIdentityPoolConfigurationException", f"{_BAD_POOL} {role_arn} does not exist.")
        decision = _trust(role.trust_policy, pool.pool_id, "unauthenticated")
        if not decision.allowed:
            because = f"AccessDenied -- Not authorized to perform {_ASSUME}: {decision.because}"
            raise ApiError("InvalidIdentityPoolConfigurationException", f"{_BAD_POOL} {because}")
        return role

    def _set_roles(self, call: ApiCall, _caller: Caller) -> Outcome:
        pool = self._pool(call.text("IdentityPoolId"))
        roles = call.params["Roles"]
        if unknown := sorted(set(roles) - _ROLE_KINDS):
            raise ApiError(
                "InvalidParameterException",
                f"Roles has the keys authenticated and unauthenticated, not {', '.join(unknown)}",
            )
        if call.params.get("RoleMappings"):
            raise not_served("SetIdentityPoolRoles with RoleMappings")
        prefix = f"arn:{partition(self._backend.region)}:iam::{self._backend.account_id}:role/"
        for role_arn in roles.values():
            if not role_arn.startswith(prefix):
                raise ApiError("InvalidParameterException", f"{role_arn} is not a role of this account")
        self._roles[pool.pool_id] = {"Roles": dict(roles)}
        return Outcome(result={})

    def _get_roles(self, call: ApiCall, _caller: Caller) -> Outcome:
        pool = self._pool(call.text("IdentityPoolId"))
        return Outcome(result={"IdentityPoolId": pool.pool_id, **self._roles.get(pool.pool_id, {})})

    def _check_exists(self, call: ApiCall, _caller: Caller) -> None:
        self._pool(call.text("IdentityPoolId"))

    def _check_update(self, call: ApiCall, caller: Caller) -> None:
        self._check_exists(call, caller)
        self._check_flow(call, caller)

    @staticmethod
    def _check_flow(call: ApiCall, _caller: Caller) -> None:
        if call.params.get("AllowClassicFlow"):
            raise not_served("AllowClassicFlow")

    def _forget_roles(self, call: ApiCall, caller: Caller) -> None:
        self._check_exists(call, caller)
        self._roles.pop(call.text("IdentityPoolId"), None)

    def _pool(self, pool_id: str) -> IdentityPool:
        pool = self._backend.identity_pool(pool_id)
        if pool is None:
            raise ApiError("ResourceNotFoundException", f"IdentityPool '{pool_id}' not found.")
        return pool


def _refuse_logins(call: ApiCall) -> None:
    if call.params.get("Logins"):
        raise not_served(f"{call.operation.name} with Logins (authenticated identities)")


def _check_guests(pool: IdentityPool) -> None:
    if not pool.allows_guests:
        raise ApiError("NotAuthorizedException", "Unauthenticated access is not supported for this identity pool.")


@lru_cache(maxsize=256)
def _trust(trust_policy: str, pool_id: str, kind: str) -> Decision:
    try:
        document = PolicyDocument.parse(trust_policy, dialect="trust")
    except PolicyDocumentError as error:  # pragma: no cover - refused when it was created
        return Decision(allowed=False, because=str(error), action=_ASSUME, resource=IDENTITY_PROVIDER)
    context: Context = {f"{IDENTITY_PROVIDER}:aud": pool_id, f"{IDENTITY_PROVIDER}:amr": (kind,)}
    return evaluate_trust(document, action=_ASSUME, kind="Federated", principal=IDENTITY_PROVIDER, context=context)
