"""Roles that an AWS service assumes: whether a role lets it, and who it is then.

Used where a service acts in an account's name: rules (``iot.amazonaws.com``) and workloads
(``pods.eks.amazonaws.com``). The decision is made anew at each use, so that a changed trust policy holds at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.errors import PolicyDocumentError
from harness.iot.arn import partition
from harness.iot.policy import PolicyDocument, evaluate_trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.embedded.control.moto_backend import MotoBackend, TrustedRole
    from harness.iot.policy import Context


def why_not_assumable(
    role: TrustedRole | None,
    *,
    service: str,
    actions: tuple[str, ...] = ("sts:AssumeRole",),
    context: Context | None = None,
) -> str | None:
    """Say why a service may not assume a role, or return None when it may.

    Args:
        role: None for one that does not exist.
        service: for example ``iot.amazonaws.com``.
        actions: all must be allowed.
        context: condition keys, against confused deputies: ``aws:SourceArn``, ``aws:SourceAccount``.
    """
    if role is None:
        return "the role does not exist"
    try:
        document = _parse(role.trust_policy)
    except PolicyDocumentError as error:  # pragma: no cover - refused when it was created
        return f"its trust policy cannot be read: {error}"
    for action in actions:
        decision = evaluate_trust(document, action=action, kind="Service", principal=service, context=context or {})
        if not decision.allowed:
            return decision.because
    return None


def session_arn(backend: MotoBackend, role: TrustedRole, session_name: str) -> str:
    """Return the ARN of who acts in a role's name."""
    return f"arn:{partition(backend.region)}:sts::{backend.account_id}:assumed-role/{role.name}/{session_name}"


def role_arns(payload: dict[str, Any]) -> Iterator[str]:
    """Yield every role that a rule hands to IoT, in order: each member ``roleArn``, wherever it stands.

    Without recursion, since a caller chooses how deep a payload is.
    """
    waiting: list[Any] = [payload]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += reversed(one.values())
            if isinstance(role_arn := one.get("roleArn"), str):
                yield role_arn
        elif isinstance(one, list):
            waiting += reversed(one)


@lru_cache(maxsize=256)
def _parse(trust_policy: str) -> PolicyDocument:
    return PolicyDocument.parse(trust_policy, dialect="trust")
