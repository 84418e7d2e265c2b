"""Who may do what, from a registry snapshot.

A certificate is judged by the AWS IoT policies attached to it. A SigV4 principal is judged by the IAM policies of its
role; by the session policies of its credentials as well, if there are any; and, for an authenticated Cognito
identity, by the AWS IoT policies attached to the identity as well. Every layer must allow. A document that cannot be
evaluated denies everything and says so.

Source: iot-policies, iam-policies and cog-iot-policies in the AWS IoT developer guide.
Differs: policies attached to thing groups are not in the snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from harness.errors import PolicyDocumentError
from harness.iot import arn
from harness.iot.limits import MAX_VARIABLE_VALUE_CHARACTERS
from harness.iot.policy import BoundPolicies, Decision, Dialect, PolicyDocument, bind, variables
from harness.iot.principals import CertificatePrincipal, Principal, SigV4Principal, peer_address, principal_key
from harness.iot.quirks import Quirks
from harness.iot.registry import RegistrySnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.iot.policy import Context
    from harness.iot.registry import Credential, Thing
    from harness.mqtt.authorization import Action, ConnectionInfo

__all__ = ["DOUBLE_CHECKED", "CertificatePrincipal", "Principal", "RegistryAuthorizer", "SigV4Principal"]

_K = TypeVar("_K")
_V = TypeVar("_V")

_MAX_DECISIONS: Final = 32_768
_MAX_BOUND: Final = 8_192
_UNSAFE_IN_VALUES: Final = frozenset("*$+?#")

DOUBLE_CHECKED: Final = frozenset(
    {
        "iot:connect",
        "iot:publish",
        "iot:subscribe",
        "iot:receive",
        "iot:getthingshadow",
        "iot:updatethingshadow",
        "iot:deletethingshadow",
    }
)
"""What an authenticated Cognito identity needs an AWS IoT policy for, in lower case. Source: cog-iot-policies in the
AWS IoT developer guide."""


class RegistryAuthorizer:
    """Answers `harness.mqtt.authorization.Authorizer` from the snapshot that is in force.

    Args:
        snapshot: what holds at first.
        quirks: how AWS is taken to behave where it is not known.
    """

    def __init__(self, snapshot: RegistrySnapshot | None = None, *, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()
        self._version = 0
        self._state = _State(snapshot or RegistrySnapshot(), self._quirks)

    @property
    def snapshot(self) -> RegistrySnapshot:
        """What is in force."""
        return self._state.snapshot

    @property
    def version(self) -> int:
        """Grows with every `update`."""
        return self._version

    def update(self, snapshot: RegistrySnapshot) -> None:
        """Put a snapshot in force: the next question is answered by it."""
        self._state = _State(snapshot, self._quirks)
        self._version += 1

    def authorize(self, connection: ConnectionInfo, action: Action, resource: str) -> Decision:
        """Decide one MQTT action, or a publish over HTTPS.

        Args:
            connection: who asks; its ``principal`` is a `Principal`, its ``client_id`` empty where the protocol has
                none.
            action: without ``iot:``.
            resource: client id, topic name or topic filter, as sent.
        """
        state = self._state
        who = (connection.principal, connection.client_id, connection.remote, connection.server_name)
        key = (who, action, resource)
        decision = state.decisions.get(key)
        if decision is None:
            layers = state.bound.get(who)
            if layers is None:
                layers = _remember(state.bound, who, state.layers(*who), _MAX_BOUND)
            decision = _decide(layers, f"iot:{action}", state.arn(action, resource))
            _remember(state.decisions, key, decision, _MAX_DECISIONS)
        return decision

    def authorize_arn(
        self, principal: Principal, action: str, resource: str, context: Context | None = None
    ) -> Decision:
        """Decide one call of an AWS API.

        Args:
            principal: the verified caller.
            action: ``service:Operation``.
            resource: the ARN, or ``*`` for operations without a resource.
            context: what only this request knows, for example ``aws:SourceIp``; wins over what the principal brings.
        """
        state = self._state
        return _decide(state.layers(principal, "", "", None, context or {}), action, resource)

    def is_live(self, principal: object) -> str | None:
        """Return None while the connections of a principal may stay, else why not.

        An expired credential ends no connection: a signature counts when the connection is made.

        Source: protocols in the AWS IoT developer guide (a WebSocket connection lasts up to 24 hours).
        """
        snapshot = self._state.snapshot
        if isinstance(principal, CertificatePrincipal):
            certificate = snapshot.certificates.get(principal.certificate_id)
            if certificate is None:
                return f"certificate {principal.certificate_id} is not registered"
            return (
                None
                if certificate.status == "ACTIVE"
                else f"certificate {principal.certificate_id} is {certificate.status}"
            )
        if isinstance(principal, SigV4Principal):
            return (
                None
                if principal.access_key_id in snapshot.credentials
                else f"access key {principal.access_key_id} is gone"
            )
        return f"{type(principal).__name__} is no principal"

    def exclusive_thing(self, principal: object) -> str | None:
        """Return the name of the one thing a principal is exclusively attached to, if it is.

        Source: exclusive-thing in the AWS IoT developer guide.
        """
        key = principal_key(principal)
        thing = self._state.exclusive_thing_of.get(key) if key else None
        return thing.name if thing else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Policies that must allow; ``refusal`` stands for policies that are not there or cannot be evaluated.

    ``label`` begins the explanation of a denial; ``only`` lists the actions it is asked for, in lower case.
    """

    policies: BoundPolicies | None = None
    refusal: str = ""
    label: str = ""
    only: frozenset[str] | None = None

    def decide(self, action: str, resource: str) -> Decision:
        if self.policies is None:
            return Decision(allowed=False, because=self.refusal, action=action, resource=resource)
        decision = self.policies.decide(action, resource)
        if self.label and not decision.allowed:
            return replace(decision, because=f"{self.label}: {decision.because}")
        return decision


class _State:
    """One snapshot, its indexes, and what was worked out under it."""

    def __init__(self, snapshot: RegistrySnapshot, quirks: Quirks) -> None:
        self.snapshot = snapshot
        self._quirks = quirks
        self.decisions: dict[object, Decision] = {}
        self.bound: dict[object, Sequence[_Layer]] = {}

    @cached_property
    def _policies_of(self) -> Mapping[str, list[tuple[str, str]]]:
        index: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for policy in self.snapshot.policies.values():
            for target in policy.targets:
                index[target].append((policy.name, policy.document))
        return index

    @cached_property
    def exclusive_thing_of(self) -> Mapping[str, Thing]:
        return {key: thing for thing in self.snapshot.things.values() for key in thing.exclusive_principals}

    def arn(self, action: Action, resource: str) -> str:
        region, account_id = self.snapshot.region, self.snapshot.account_id
        if action == "Connect":
            return arn.client_arn(region, account_id, resource)
        make = arn.topicfilter_arn if action == "Subscribe" else arn.topic_arn
        return make(region, account_id, resource)

    def layers(
        self, principal: object, client_id: str, remote: str, server_name: str | None, extra: Context | None = None
    ) -> Sequence[_Layer]:
        """Return what must allow, the most telling first."""
        context: dict[str, str | tuple[str, ...]] = {}
        if client_id:
            context[variables.CLIENT_ID] = client_id
        if remote:
            context[variables.SOURCE_IP] = peer_address(remote)
        if server_name:
            context[variables.DOMAIN_NAME] = server_name
        if isinstance(principal, CertificatePrincipal):
            context |= self._thing_context(principal.arn, client_id)
            return (
                self._iot_layer(principal.arn, f"certificate {principal.certificate_id}", {**context, **(extra or {})}),
            )
        if not isinstance(principal, SigV4Principal):
            return (_Layer(refusal=f"{type(principal).__name__} is no principal"),)
        credential = self.snapshot.credentials.get(principal.access_key_id)
        if credential is None:
            return (_Layer(refusal=f"access key {principal.access_key_id} is gone"),)
        context |= _caller_context(credential)
        if credential.identity_id:
            context |= self._thing_context(credential.identity_id, client_id)
        return self._credential_layers(credential, {**context, **(extra or {})})

    def _credential_layers(self, credential: Credential, context: Context) -> Sequence[_Layer]:
        layers = []
        if credential.role_arn is not None:
            role = self.snapshot.roles.get(credential.role_arn)
            if role is None:
                layers.append(_Layer(refusal=f"{credential.role_arn} does not exist"))
            else:
                layers.append(_layer(role.policies, "iam", context, absence=f"{role.arn} has no policy"))
        if credential.session_policies:
            layers.append(
                _layer(credential.session_policies, "iam", context, label="the session policies of the credentials")
            )
        if credential.identity_id and credential.is_authenticated:
            only = DOUBLE_CHECKED
            if self._quirks.authenticated_retain_needs_iot_policy == "yes":
                only |= {"iot:retainpublish"}
            layer = self._iot_layer(credential.identity_id, f"identity {credential.identity_id}", context)
            layers.append(replace(layer, label="the AWS IoT policies of the identity", only=only))
        return layers

    def _iot_layer(self, target: str, name: str, context: Context) -> _Layer:
        return _layer(self._policies_of.get(target, ()), "iot", context, absence=f"no policy is attached to {name}")

    def _thing_context(self, key: str, client_id: str) -> dict[str, str]:
        """Return what policies may know of the thing a connection speaks for.

        Args:
            key: certificate ARN or Cognito identity id, as things are attached to it.
            client_id: empty where the protocol has none; then there is no thing.
        """
        if not client_id:
            return {}
        thing = self.exclusive_thing_of.get(key) or self.snapshot.things.get(client_id)
        is_attached = thing is not None and (key in thing.principals or key in thing.exclusive_principals)
        context = {variables.THING_ATTACHED: "true" if is_attached else "false"}
        if thing is None or (not is_attached and self._quirks.thing_variables == "attached"):
            return context
        context[variables.THING_NAME] = thing.name
        if thing.type_name is not None:
            context[variables.THING_TYPE] = thing.type_name
        for name, value in thing.attributes:
            if len(value) <= MAX_VARIABLE_VALUE_CHARACTERS and _UNSAFE_IN_VALUES.isdisjoint(value):
                context[variables.thing_attribute(name)] = value
        return context


def _caller_context(credential: Credential) -> dict[str, str]:
    context = {
        variables.USER_ID: credential.principal_id,
        variables.PRINCIPAL_ARN: credential.role_arn or credential.principal_arn,
    }
    _, is_user, name = credential.principal_arn.partition(":user/")
    if is_user:
        context[variables.USER_NAME] = name.rpartition("/")[2]
    if credential.identity_id:
        context[variables.COGNITO_SUB] = credential.identity_id
    return context


def _layer(
    policies: Iterable[tuple[str, str]],
    dialect: Dialect,
    context: Context,
    *,
    label: str = "",
    absence: str = "there is no policy",
) -> _Layer:
    documents = []
    for name, text in policies:
        try:
            documents.append((name, _parse(text, dialect)))
        except PolicyDocumentError as error:
            return _Layer(refusal=f"policy {name} cannot be evaluated: {error}")
    return _Layer(policies=bind(documents, context, absence=absence), label=label)


@lru_cache(maxsize=4096)
def _parse(text: str, dialect: Dialect) -> PolicyDocument:
    return PolicyDocument.parse(text, dialect=dialect)


def _decide(layers: Sequence[_Layer], action: str, resource: str) -> Decision:
    allowed = None
    for layer in layers:
        if layer.only is None or action.lower() in layer.only:
            decision = layer.decide(action, resource)
            if not decision.allowed:
                return decision
            allowed = allowed or decision
    return allowed or Decision(
        allowed=True, because="the account's root may do everything", action=action, resource=resource
    )


def _remember(memory: dict[_K, _V], key: _K, value: _V, limit: int) -> _V:
    """Keep a value; a full memory starts anew, which bounds it at no cost per look-up."""
    if len(memory) >= limit:
        memory.clear()
    memory[key] = value
    return value
