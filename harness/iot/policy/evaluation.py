"""Decisions, and why.

Default deny; an explicit Deny wins over any Allow; else one Allow is enough. A decision names the statement that made
it. When no statement allows, it names the nearest miss: a statement whose condition failed, else one with the same
action for another resource, else one with the same resource for another action.

Source: reference_policies_evaluation-logic in the IAM user guide; iot-policies in the AWS IoT developer guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.iot.policy.document import PolicyDocument, Statement
    from harness.iot.policy.pattern import Context, Pattern

_ACCOUNT_ID: Final = 4
"""Index of the account id in an ARN split at its colons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a request is allowed, and why.

    Args:
        allowed: the answer.
        because: the deciding statement, or what was missing, as a sentence without full stop.
        action: what was asked, for example ``iot:Publish``.
        resource: the ARN it was asked for.
        policy_name: the policy of the deciding statement; None when no statement decided.
        statement: its Sid, or its number from 1; None when no statement decided.
        effect: ``Allow`` or ``Deny``, of the deciding statement; None when no statement decided.
    """

    allowed: bool
    because: str
    action: str
    resource: str
    policy_name: str | None = None
    statement: str | None = None
    effect: str | None = None


class BoundStatement:
    """A statement with the values of one principal in: actions and resources are all that is left to compare."""

    __slots__ = ("_actions", "_resources", "_statement", "label", "policy_name", "statement_name", "unmet")

    def __init__(self, policy_name: str, statement: Statement, context: Context) -> None:
        self._statement = statement
        self._actions = tuple(template.bind(context) for template in statement.actions)
        self._resources = tuple(template.bind(context) for template in statement.resources)
        unmet = (condition.unmet(context) for condition in statement.conditions)
        self.unmet = next((reason for reason in unmet if reason is not None), None)
        self.policy_name = policy_name
        self.statement_name = statement.sid or str(statement.number)
        self.label = f"policy {policy_name}, statement {self.statement_name}"

    @property
    def allows(self) -> bool:
        """Whether the statement's effect is Allow."""
        return self._statement.allows

    def covers_action(self, folded_action: str) -> bool:
        """Return whether the statement speaks of an action, given in lower case."""
        return any(p.matches(folded_action) for p in self._actions) is not self._statement.excludes_actions

    def covers_resource(self, resource: str) -> bool:
        """Return whether the statement speaks of a resource."""
        for pattern in self._resources:  # a loop, not any(): this is the hot path of every first delivery
            if pattern.matches(resource):
                return not self._statement.excludes_resources
        return self._statement.excludes_resources

    def decide(self, action: str, resource: str) -> Decision:
        """Return the decision that this statement makes."""
        verb = "allows" if self.allows else "denies"
        return Decision(
            allowed=self.allows,
            because=f"{self.label} {verb} {action} on {self.shown_resource(resource)}",
            action=action,
            resource=resource,
            policy_name=self.policy_name,
            statement=self.statement_name,
            effect="Allow" if self.allows else "Deny",
        )

    def shown_actions(self) -> str:
        """Return the actions the statement speaks of, for people."""
        listed = ", ".join(self._statement.action_names)
        return f"everything but {listed}" if self._statement.excludes_actions else listed

    def shown_resource(self, resource: str) -> str:
        """Return the pattern that matches a resource, else the one most like it."""
        if self._statement.excludes_resources:
            return f"everything but {', '.join(pattern.text for pattern in self._resources)}"
        for pattern in self._resources:
            if pattern.matches(resource):
                return pattern.text
        nearest = max(self._resources, key=lambda pattern: _likeness(pattern, resource))
        return (
            f"{nearest.text} ({', '.join(nearest.unresolved)} has no value here)"
            if nearest.unresolved
            else nearest.text
        )

    def likeness(self, resource: str) -> int:
        """Return how near the nearest pattern comes to a resource."""
        return max(_likeness(pattern, resource) for pattern in self._resources)


class BoundPolicies:
    """The statements that hold for one principal, ready to answer.

    Args:
        statements: in the order of the policies.
        absence: how to say that there is none, for example ``no policy is attached to certificate ab12``.
    """

    __slots__ = ("_absence", "_applicable", "_statements")

    def __init__(self, statements: Sequence[BoundStatement], *, absence: str = "there is no policy") -> None:
        self._statements = tuple(statements)
        self._absence = absence
        self._applicable: dict[str, tuple[BoundStatement, ...]] = {}

    def decide(self, action: str, resource: str) -> Decision:
        """Decide one request.

        Args:
            action: ``service:Operation``; letter case does not matter.
            resource: the ARN, letter case matters; ``*`` for actions without a resource.
        """
        applicable = self._applicable.get(action)
        if applicable is None:
            applicable = self._applicable[action] = self._about(action.lower())
        allowing: BoundStatement | None = None
        for statement in applicable:
            if (allowing is None or not statement.allows) and statement.covers_resource(resource):
                if not statement.allows:
                    return statement.decide(action, resource)
                allowing = statement
        if allowing is not None:
            return allowing.decide(action, resource)
        return Decision(
            allowed=False,
            because=f"no statement allows {action} on {resource}; {self._nearest_miss(action, resource)}",
            action=action,
            resource=resource,
        )

    def _about(self, folded_action: str) -> tuple[BoundStatement, ...]:
        """Return the statements whose conditions hold and that speak of an action; `decide` remembers them."""
        return tuple(one for one in self._statements if one.unmet is None and one.covers_action(folded_action))

    def _nearest_miss(self, action: str, resource: str) -> str:
        if not self._statements:
            return self._absence
        candidates = [statement for statement in self._statements if statement.allows]
        here = [one for one in candidates if one.covers_action(action.lower())]
        for one in here:
            if one.covers_resource(resource):
                return f"nearest: {one.label} would allow it, but for its condition {one.unmet}"
        if here:
            nearest = max(here, key=lambda one: one.likeness(resource))
            return f"nearest: {nearest.label} allows {action} on {nearest.shown_resource(resource)}"
        for one in candidates:
            if one.covers_resource(resource):
                return f"nearest: {one.label} allows {one.shown_actions()} on {one.shown_resource(resource)}"
        return "no statement speaks of either"


def bind(
    policies: Iterable[tuple[str, PolicyDocument]], context: Context, *, absence: str = "there is no policy"
) -> BoundPolicies:
    """Join policies with the facts of one principal.

    Args:
        policies: (name, document).
        context: the values of variables and condition keys.
        absence: how to say that there is no policy at all.
    """
    return BoundPolicies(
        [BoundStatement(name, statement, context) for name, document in policies for statement in document.statements],
        absence=absence,
    )


def evaluate(
    policies: Sequence[tuple[str, PolicyDocument]], *, action: str, resource: str, context: Context
) -> Decision:
    """Decide one request once; `bind` first where there are many.

    Args:
        policies: (name, document); the statements of all of them hold together.
        action: for example ``iot:Publish``.
        resource: the ARN.
        context: the values of variables and condition keys.
    """
    return bind(policies, context).decide(action, resource)


def evaluate_trust(document: PolicyDocument, *, action: str, kind: str, principal: str, context: Context) -> Decision:
    """Decide whether a principal may assume the role that a trust policy belongs to.

    Args:
        document: in the ``trust`` dialect.
        action: ``sts:AssumeRole`` or ``sts:AssumeRoleWithWebIdentity``.
        kind: ``AWS``, ``Service`` or ``Federated``.
        principal: the ARN of an AWS principal, the name of a service (``iot.amazonaws.com``) or of an identity provider
            (``cognito-identity.amazonaws.com``).
        context: the values of condition keys.

    Returns:
        The decision; its resource is the principal. Trust in an account alone (``…:root``) still needs the caller's
        own policies to allow the call.

    Source: reference_policies_elements_principal in the IAM user guide; iam-roles in the Cognito developer guide.
    """
    folded = action.lower()
    allowing: Decision | None = None
    misses = []
    for statement in document.statements:
        bound = BoundStatement("trust", statement, context)
        label = f"trust policy, statement {bound.statement_name}"
        if not bound.covers_action(folded):
            misses.append(f"{label} is about {bound.shown_actions()}")
        elif not _is_principal(statement, kind, principal):
            trusted = ", ".join(f"{kind} {name}" for kind, names in statement.principals.items() for name in names)
            misses.append(f"{label} trusts {trusted}")
        elif bound.unmet is not None:
            misses.append(f"{label} asks for {bound.unmet}")
        elif allowing is None or not statement.allows:
            verb, effect = ("allows", "Allow") if statement.allows else ("denies", "Deny")
            decision = Decision(
                allowed=statement.allows,
                because=f"{label} {verb} {action} to {principal}",
                action=action,
                resource=principal,
                policy_name="trust",
                statement=bound.statement_name,
                effect=effect,
            )
            if not statement.allows:
                return decision
            allowing = decision
    because = f"no statement allows {action} to {principal}; {'; '.join(misses)}"
    return allowing or Decision(allowed=False, because=because, action=action, resource=principal)


def _is_principal(statement: Statement, kind: str, principal: str) -> bool:
    names = statement.principals.get(kind, ())
    if kind != "AWS":
        return principal in names
    parts = principal.split(":", 5)
    if len(parts) <= _ACCOUNT_ID + 1:
        return principal in names or "*" in names
    account, resource = parts[_ACCOUNT_ID:]
    in_account = f"{parts[0]}:{parts[1]}:iam::{account}:"
    if not {"*", principal, account, f"{in_account}root"}.isdisjoint(names):
        return True
    kind_of_caller, _, rest = resource.partition("/")
    role_name = rest.partition("/")[0]
    return kind_of_caller == "assumed-role" and any(
        name.startswith(f"{in_account}role/") and name.rpartition("/")[2] == role_name for name in names
    )


def _likeness(pattern: Pattern, resource: str) -> int:
    """Return how many first characters agree."""
    length = min(len(pattern.text), len(resource))
    return next((i for i in range(length) if pattern.text[i] != resource[i]), length)
