"""Who may do what: which policies hold for whom, and what their variables are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot import authorizer as module
from harness.iot.authorizer import CertificatePrincipal, RegistryAuthorizer, SigV4Principal
from harness.iot.cognito import GUEST_SESSION_POLICIES
from harness.iot.quirks import Quirks
from harness.iot.registry import Certificate, Credential, IotPolicy, RegistryChange, RegistrySnapshot, Role, Thing
from harness.mqtt.authorization import Action, Authorizer, ConnectionInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

ARN = "arn:aws:iot:us-east-1:123456789012:"
CERT_ARN = ARN + "cert/ab12"
IDENTITY = "us-east-1:11111111-2222-3333-4444-555555555555"
ROLE_ARN = "arn:aws:iam::123456789012:role/guest"


def document(*statements: tuple[str, object, object], condition: Mapping[str, Any] | None = None) -> str:
    """Write a policy of (effect, action, resource without its ARN's beginning)."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": effect,
                    "Action": action,
                    "Resource": "*" if resource == "*" else f"{ARN}{resource}",
                    "Condition": condition or {},
                }
                for effect, action, resource in statements
            ],
        }
    )


EVERYTHING = document(("Allow", "*", "*"))
GUEST_POLICY = document(
    ("Allow", "iot:Connect", "client/public-*"),
    ("Allow", ["iot:Publish", "iot:RetainPublish", "iot:Receive"], "topic/public/*"),
    ("Allow", "iot:Subscribe", "topicfilter/public/*"),
)
CERTIFICATE = Certificate(certificate_id="ab12", arn=CERT_ARN, status="ACTIVE", pem="PEM")
GUEST = Credential(
    access_key_id="ASIA1",
    secret_access_key="s",
    session_token="t",
    principal_arn="arn:aws:sts::123456789012:assumed-role/guest/CognitoIdentityCredentials",
    principal_id="AROA1:CognitoIdentityCredentials",
    role_arn=ROLE_ARN,
    session_policies=GUEST_SESSION_POLICIES,
    identity_id=IDENTITY,
)
MEMBER = replace(GUEST, is_authenticated=True, session_policies=())
USER = Credential(
    access_key_id="AKIA1",
    secret_access_key="s",
    principal_arn="arn:aws:iam::123456789012:user/staff/eve",
    principal_id="AIDA1",
    role_arn="arn:aws:iam::123456789012:user/staff/eve",
)
ROOT = Credential(
    access_key_id="AKIAROOT",
    secret_access_key="s",
    principal_arn="arn:aws:iam::123456789012:root",
    principal_id="123456789012",
)


def device(
    policy: str | None = None, *, thing: Thing | None = None, quirks: Quirks | None = None, region: str = "us-east-1"
) -> RegistryAuthorizer:
    """Make an authorizer that knows one certificate, perhaps with a policy called `device` and a thing."""
    policies = {"device": IotPolicy(name="device", document=policy, targets=(CERT_ARN,))} if policy else {}
    return RegistryAuthorizer(
        RegistrySnapshot(
            region=region,
            certificates={"ab12": CERTIFICATE},
            policies=policies,
            things={thing.name: thing} if thing else {},
        ),
        quirks=quirks,
    )


def caller(
    credential: Credential, *role_policies: str, quirks: Quirks | None = None, **iot_policies: str
) -> RegistryAuthorizer:
    """Make an authorizer that knows one credential, its role's policies and the identity's IoT policies."""
    role = Role(
        arn=credential.role_arn or "",
        unique_id="AROA1",
        policies=tuple((f"p{number}", text) for number, text in enumerate(role_policies, start=1)),
    )
    return RegistryAuthorizer(
        RegistrySnapshot(
            roles={role.arn: role},
            credentials={credential.access_key_id: credential},
            policies={
                name: IotPolicy(name=name, document=text, targets=(IDENTITY,)) for name, text in iot_policies.items()
            },
        ),
        quirks=quirks,
    )


def connection(principal: object = None, client_id: str = "d-1", **more: Any) -> ConnectionInfo:
    """Make the broker's view of a connection."""
    facts: dict[str, Any] = {"transport": "mqtts", "remote": "192.0.2.1:5000"}
    return ConnectionInfo(
        connection_id="c1",
        principal=CertificatePrincipal.of(CERTIFICATE) if principal is None else principal,
        client_id=client_id,
        **(facts | more),
    )


def allows(
    authorizer: RegistryAuthorizer, action: Action, resource: str, principal: object = None, **more: Any
) -> bool:
    """Ask for one action."""
    return authorizer.authorize(connection(principal, **more), action, resource).allowed


def test_it_is_what_the_broker_asks_for() -> None:
    """The protocol of `harness.mqtt.authorization`."""
    authorizer: Authorizer = RegistryAuthorizer()

    assert authorizer.version == 0


# -- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "action", "resource", "allowed"),
    [
        (("Allow", "iot:Connect", "client/d-1"), "Connect", "d-1", True),
        (("Allow", "iot:Connect", "client/d-2"), "Connect", "d-1", False),
        (("Allow", "iot:Publish", "topic/a/b"), "Publish", "a/b", True),
        (("Allow", "iot:Publish", "topic/a/b"), "Publish", "a/c", False),
        (("Allow", "iot:Publish", "topic/a"), "RetainPublish", "a", False),
        (("Allow", "iot:RetainPublish", "topic/a"), "RetainPublish", "a", True),
        (("Allow", "iot:Subscribe", "topicfilter/a/+/#"), "Subscribe", "a/+/#", True),
        (("Allow", "iot:Subscribe", "topic/a"), "Subscribe", "a", False),
        (("Allow", "iot:Receive", "topic/a"), "Receive", "a", True),
        (("Allow", "iot:Receive", "topicfilter/a"), "Receive", "a", False),
        (("Deny", "*", "*"), "Connect", "d-1", False),
    ],
)
def test_an_action_has_its_resource(
    policy: tuple[str, str, str], action: Action, resource: str, *, allowed: bool
) -> None:
    """Source: iot-action-resources: client, topic and topicfilter."""
    assert allows(device(document(policy)), action, resource) is allowed


def test_resources_are_those_of_region_and_account() -> None:
    """A policy for another region allows nothing here."""
    policy = document(("Allow", "iot:Connect", "client/*"))

    assert allows(device(policy), "Connect", "d-1")
    decision = device(policy, region="cn-north-1").authorize(connection(), "Connect", "d-1")
    assert not decision.allowed
    assert decision.resource == "arn:aws-cn:iot:cn-north-1:123456789012:client/d-1"


def test_a_certificate_without_policy_may_do_nothing() -> None:
    """And the denial says that none is attached."""
    decision = device().authorize(connection(), "Connect", "d-1")

    assert not decision.allowed
    assert decision.because == (
        f"no statement allows iot:Connect on {ARN}client/d-1; no policy is attached to certificate ab12"
    )


def test_policies_of_other_targets_do_not_hold() -> None:
    """Several policies of one target hold together."""
    policies = {
        "one": IotPolicy(name="one", document=document(("Allow", "iot:Connect", "client/*")), targets=(CERT_ARN,)),
        "two": IotPolicy(name="two", document=document(("Allow", "iot:Publish", "topic/a")), targets=("x", CERT_ARN)),
        "other": IotPolicy(name="other", document=EVERYTHING, targets=("x",)),
    }
    authorizer = RegistryAuthorizer(RegistrySnapshot(policies=policies))

    assert allows(authorizer, "Connect", "d-1")
    assert allows(authorizer, "Publish", "a")
    assert not allows(authorizer, "Publish", "b")


def test_iam_policies_do_not_hold_for_certificates() -> None:
    """A role called like the certificate changes nothing."""
    role = Role(arn=CERT_ARN, unique_id="AROA1", policies=(("all", EVERYTHING),))

    assert not allows(RegistryAuthorizer(RegistrySnapshot(roles={CERT_ARN: role})), "Connect", "d-1")


THING = Thing(
    name="d-1",
    type_name="sensor",
    attributes=(("colour", "red"), ("wild", "a*"), ("plus", "a+"), ("long", "x" * 1025), ("full", "x" * 1024)),
    principals=(CERT_ARN,),
)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("iot:ClientId", "d-1"),
        ("aws:SourceIp", "192.0.2.1"),
        ("iot:DomainName", "endpoint.example"),
        ("iot:Connection.Thing.ThingName", "d-1"),
        ("iot:Connection.Thing.ThingTypeName", "sensor"),
        ("iot:Connection.Thing.IsAttached", "true"),
        ("iot:Connection.Thing.Attributes[colour]", "red"),
        ("iot:Connection.Thing.Attributes[full]", "x" * 1024),
    ],
)
def test_a_variable_has_its_value(variable: str, value: str) -> None:
    """Source: basic-policy-variables and thing-policy-variables; the twin: another value is refused."""
    authorizer = device(document(("Allow", "iot:Publish", f"topic/x/${{{variable}}}")), thing=THING)

    assert allows(authorizer, "Publish", f"x/{value}", server_name="endpoint.example")
    assert not allows(authorizer, "Publish", "x/other", server_name="endpoint.example")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("iot:Connection.Thing.Attributes[wild]", "a*"),
        ("iot:Connection.Thing.Attributes[plus]", "a+"),
        ("iot:Connection.Thing.Attributes[long]", "x" * 1025),
        ("iot:Connection.Thing.Attributes[none]", ""),
        ("cognito-identity.amazonaws.com:sub", ""),
    ],
)
def test_a_variable_has_no_value(variable: str, value: str) -> None:
    """Source: cert-policy-variables, limitations: attributes with `* $ + ? #` or above 1,024 characters stay unset."""
    authorizer = device(document(("Allow", "iot:Publish", f"topic/x/${{{variable}}}")), thing=THING)

    assert not allows(authorizer, "Publish", f"x/{value}")
    assert not allows(authorizer, "Publish", f"x/${{{variable}}}")


THING_VARIABLE = document(("Allow", "iot:Connect", "client/${iot:Connection.Thing.ThingName}"))


@pytest.mark.parametrize(
    ("thing", "client_id", "attached", "registered"),
    [
        (THING, "d-1", True, True),
        (THING, "d-2", False, False),
        (replace(THING, principals=()), "d-1", False, True),
        (replace(THING, principals=("another",)), "d-1", False, True),
        (replace(THING, principals=(), exclusive_principals=(CERT_ARN,)), "d-1", True, True),
        (None, "d-1", False, False),
    ],
)
def test_a_thing_is_the_one_named_like_the_client(
    thing: Thing | None, client_id: str, *, attached: bool, registered: bool
) -> None:
    """It must be attached to the certificate; a quirk takes the registered name for enough."""
    loose = Quirks(thing_variables="registered")

    assert allows(device(THING_VARIABLE, thing=thing), "Connect", client_id, client_id=client_id) is attached
    assert (
        allows(device(THING_VARIABLE, thing=thing, quirks=loose), "Connect", client_id, client_id=client_id)
        is registered
    )


def test_an_exclusive_thing_overrides_the_client_id() -> None:
    """Source: exclusive-thing: the principal has only that thing, whatever the client calls itself."""
    policy = document(("Allow", "iot:Publish", "topic/x/${iot:Connection.Thing.ThingName}"))
    exclusive = device(policy, thing=replace(THING, principals=(), exclusive_principals=(CERT_ARN,)))
    principal = CertificatePrincipal.of(CERTIFICATE)

    assert allows(exclusive, "Publish", "x/d-1", client_id="anything")
    assert not allows(device(policy, thing=THING), "Publish", "x/d-1", client_id="anything")
    assert exclusive.exclusive_thing(principal) == "d-1"
    assert device(policy, thing=THING).exclusive_thing(principal) is None
    assert exclusive.exclusive_thing("a stranger") is None


@pytest.mark.parametrize(("principals", "wanted"), [((CERT_ARN,), "true"), ((), "false")])
def test_is_attached_says_whether_the_thing_is_the_principals(principals: tuple[str, ...], wanted: str) -> None:
    """Also when there is no such thing at all."""
    policy = document(
        ("Allow", "iot:Connect", "*"), condition={"StringEquals": {"iot:Connection.Thing.IsAttached": wanted}}
    )

    assert allows(device(policy, thing=replace(THING, principals=principals)), "Connect", "d-1")
    assert allows(device(policy), "Connect", "d-1") is (wanted == "false")


def test_over_https_there_is_no_client_and_no_thing() -> None:
    """Source: thing-policy-variables: only over MQTT; the twin without variables is allowed."""
    by_thing = document(("Allow", "iot:Publish", "topic/${iot:Connection.Thing.ThingName}"))
    by_client = document(("Allow", "iot:Publish", "topic/${iot:ClientId}"))
    plain = document(("Allow", "iot:Publish", "topic/d-1"))

    answers = [allows(device(one, thing=THING), "Publish", "d-1", client_id="") for one in (by_thing, by_client, plain)]

    assert answers == [False, False, True]


def test_a_client_called_plus_opens_one_filter_only() -> None:
    """Source: basic-policy-variables warns of it: `my/+/topic`; a client called `*` opens `my/*/topic` alone."""
    authorizer = device(document(("Allow", "iot:Subscribe", "topicfilter/my/${iot:ClientId}/topic")))

    assert allows(authorizer, "Subscribe", "my/+/topic", client_id="+")
    assert not allows(authorizer, "Subscribe", "my/x/topic", client_id="+")
    assert not allows(authorizer, "Subscribe", "my/x/topic", client_id="*")


# -- SigV4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("Connect", "public-1", True),
        ("Connect", "private-1", False),
        ("Publish", "public/a", True),
        ("Publish", "things/telemetry", False),
        ("RetainPublish", "public/a", True),
        ("Subscribe", "public/#", True),
        ("Subscribe", "#", False),
        ("Receive", "public/a", True),
        ("Receive", "things/telemetry", False),
    ],
)
def test_a_guest_may_do_what_its_role_allows(action: Action, resource: str, *, allowed: bool) -> None:
    """The role's IAM policies alone: an IoT policy of the identity changes nothing for guests."""
    principal = SigV4Principal.of(GUEST)

    assert allows(caller(GUEST, GUEST_POLICY), action, resource, principal) is allowed
    assert allows(caller(GUEST, GUEST_POLICY, all=EVERYTHING), action, resource, principal) is allowed


def test_a_denied_guest_reads_why() -> None:
    """The failure message of the design: policy, statement and pattern of the nearest miss."""
    decision = caller(GUEST, GUEST_POLICY).authorize(
        connection(SigV4Principal.of(GUEST), "public-1"), "Subscribe", "things/telemetry"
    )

    assert decision.because == (
        f"no statement allows iot:Subscribe on {ARN}topicfilter/things/telemetry; "
        f"nearest: policy p1, statement 3 allows iot:Subscribe on {ARN}topicfilter/public/*"
    )


def test_session_policies_limit_a_role() -> None:
    """Source: iam-roles in the Cognito guide: what both allow is allowed."""
    authorizer = caller(GUEST, EVERYTHING)
    principal = SigV4Principal.of(GUEST)

    assert authorizer.authorize_arn(principal, "iot:Publish", ARN + "topic/a").allowed
    decision = authorizer.authorize_arn(principal, "iam:CreateUser", "*")
    assert not decision.allowed
    assert decision.because.startswith(
        "the session policies of the credentials: no statement allows iam:CreateUser on *"
    )
    unlimited = caller(replace(GUEST, session_policies=()), EVERYTHING)
    assert unlimited.authorize_arn(principal, "iam:CreateUser", "*").allowed


@pytest.mark.parametrize(
    ("role", "session", "allowed"),
    [
        (("Allow", "iot:*", "*"), ("Allow", "iot:Publish", "*"), True),
        (("Allow", "iot:Connect", "*"), ("Allow", "*", "*"), False),
        (("Allow", "*", "*"), ("Allow", "iot:Connect", "*"), False),
        (("Allow", "*", "*"), ("Deny", "iot:Publish", "*"), False),
        (("Deny", "iot:Publish", "*"), ("Allow", "*", "*"), False),
    ],
)
def test_role_and_session_must_both_allow(
    role: tuple[str, str, str], session: tuple[str, str, str], *, allowed: bool
) -> None:
    """An intersection, in which a Deny on either side wins."""
    credential = replace(GUEST, session_policies=(("session", document(session)),))

    assert allows(caller(credential, document(role)), "Publish", "a", SigV4Principal.of(credential)) is allowed


def test_a_member_needs_an_iot_policy_as_well() -> None:
    """Source: cog-iot-policies: an authenticated identity is checked twice; without an IoT policy it may do nothing."""
    principal = SigV4Principal.of(MEMBER)
    half = document(("Allow", ["iot:Publish", "iot:Connect"], "*"))

    without = caller(MEMBER, EVERYTHING).authorize(connection(principal), "Publish", "a")
    assert not without.allowed
    assert without.because.startswith("the AWS IoT policies of the identity: no statement allows iot:Publish on")
    assert without.because.endswith(f"no policy is attached to identity {IDENTITY}")
    assert allows(caller(MEMBER, EVERYTHING, half=half), "Publish", "a", principal)
    assert not allows(caller(MEMBER, EVERYTHING, half=half), "Subscribe", "a", principal)
    assert not allows(caller(MEMBER, GUEST_POLICY, all=EVERYTHING), "Publish", "a", principal)


def test_a_member_calls_other_apis_by_its_role_alone() -> None:
    """The double check is for the data plane; shadows over HTTP belong to it."""
    principal = SigV4Principal.of(MEMBER)
    authorizer = caller(MEMBER, EVERYTHING)

    assert authorizer.authorize_arn(principal, "iot:DescribeEndpoint", "*").allowed
    assert authorizer.authorize_arn(principal, "dynamodb:GetItem", "*").allowed
    assert not authorizer.authorize_arn(principal, "iot:GetThingShadow", ARN + "thing/d-1").allowed


def test_a_members_retained_publish_is_checked_twice_unless_told_otherwise() -> None:
    """A quirk: AWS's list of doubly checked actions does not name RetainPublish."""
    principal = SigV4Principal.of(MEMBER)
    publish = document(("Allow", "iot:Publish", "*"))
    once = Quirks().with_values(["authenticated-retain-needs-iot-policy=no"])

    assert not allows(caller(MEMBER, EVERYTHING, publish=publish), "RetainPublish", "a", principal)
    assert allows(caller(MEMBER, EVERYTHING, publish=publish, quirks=once), "RetainPublish", "a", principal)


@pytest.mark.parametrize(
    ("credential", "variable", "value"),
    [
        (GUEST, "cognito-identity.amazonaws.com:sub", IDENTITY),
        (GUEST, "aws:userid", "AROA1:CognitoIdentityCredentials"),
        (GUEST, "aws:PrincipalArn", ROLE_ARN),
        (GUEST, "iot:ClientId", "d-1"),
        (GUEST, "aws:SourceIp", "192.0.2.1"),
        (USER, "aws:username", "eve"),
        (USER, "aws:userid", "AIDA1"),
        (USER, "aws:PrincipalArn", "arn:aws:iam::123456789012:user/staff/eve"),
    ],
)
def test_a_variable_of_a_caller_has_its_value(credential: Credential, variable: str, value: str) -> None:
    """Source: reference_policies_variables; the twin: another value is refused."""
    authorizer = caller(credential, document(("Allow", "iot:Publish", f"topic/x/${{{variable}}}")))
    principal = SigV4Principal.of(credential)

    assert allows(authorizer, "Publish", f"x/{value}", principal)
    assert not allows(authorizer, "Publish", "x/other", principal)


@pytest.mark.parametrize(
    ("credential", "variable"), [(GUEST, "aws:username"), (USER, "cognito-identity.amazonaws.com:sub")]
)
def test_a_variable_of_another_kind_of_caller_has_no_value(credential: Credential, variable: str) -> None:
    """A role session has no user name, a user no identity."""
    authorizer = caller(credential, document(("Allow", "iot:Publish", f"topic/${{{variable}}}")))

    assert not allows(authorizer, "Publish", "", SigV4Principal.of(credential))


def test_a_members_things_are_those_of_its_identity() -> None:
    """Source: thing-policy-variables: principals are certificates or authenticated identities."""
    thing = Thing(name="d-1", principals=(IDENTITY,))
    authorizer = caller(MEMBER, EVERYTHING, device=THING_VARIABLE)
    authorizer.update(replace(authorizer.snapshot, things={"d-1": thing}))
    principal = SigV4Principal.of(MEMBER)

    assert allows(authorizer, "Connect", "d-1", principal)
    assert not allows(authorizer, "Connect", "d-2", principal, client_id="d-2")


def test_root_may_do_everything_but_what_its_session_forbids() -> None:
    """The account's root has no role; session policies limit it too."""
    principal = SigV4Principal.of(ROOT)
    limited = replace(ROOT, session_policies=(("session", document(("Allow", "iot:*", "*"))),))

    decision = caller(ROOT).authorize_arn(principal, "iam:CreateUser", "*")
    assert (decision.allowed, decision.because) == (True, "the account's root may do everything")
    assert not caller(limited).authorize_arn(principal, "iam:CreateUser", "*").allowed
    assert caller(limited).authorize_arn(principal, "iot:ListThings", "*").allowed


def test_a_call_may_bring_its_own_context() -> None:
    """The control plane knows the peer's address; it wins over what the principal brings."""
    authorizer = caller(
        USER, document(("Allow", "*", "*"), condition={"StringEquals": {"aws:SourceIp": "::1", "aws:userid": "x"}})
    )
    principal = SigV4Principal.of(USER)

    assert authorizer.authorize_arn(
        principal, "iot:ListThings", "*", {"aws:SourceIp": "::1", "aws:userid": "x"}
    ).allowed
    assert not authorizer.authorize_arn(principal, "iot:ListThings", "*", {"aws:SourceIp": "::1"}).allowed
    assert not authorizer.authorize_arn(principal, "iot:ListThings", "*").allowed


# -- what cannot be answered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorizer", "principal", "because"),
    [
        (caller(GUEST), SigV4Principal.of(replace(GUEST, access_key_id="ASIA2")), "access key ASIA2 is gone"),
        (
            RegistryAuthorizer(RegistrySnapshot(credentials={"ASIA1": GUEST})),
            SigV4Principal.of(GUEST),
            f"{ROLE_ARN} does not exist",
        ),
        (caller(GUEST), SigV4Principal.of(GUEST), f"{ROLE_ARN} has no policy"),
        (caller(GUEST, EVERYTHING), "a stranger", "str is no principal"),
        (
            caller(GUEST, EVERYTHING, '{"Statement": {"Effect": "Deny"}}'),
            SigV4Principal.of(GUEST),
            "policy p2 cannot be evaluated: /Statement: neither Action and NotAction",
        ),
        (
            device("{}"),
            CertificatePrincipal.of(CERTIFICATE),
            "policy device cannot be evaluated: /: Statement is missing",
        ),
    ],
)
def test_what_cannot_be_answered_is_denied(authorizer: RegistryAuthorizer, principal: object, because: str) -> None:
    """Never an exception on the broker's loop, never an accidental Allow."""
    decision = authorizer.authorize(connection(principal), "Publish", "a")

    assert not decision.allowed
    assert because in decision.because


# -- change and memory -----------------------------------------------------------------------------------------------


def test_a_change_holds_at_once() -> None:
    """A new snapshot, a new version, new answers; the same question before and after."""
    authorizer = device(document(("Allow", "iot:Publish", "topic/a")))
    assert allows(authorizer, "Publish", "a")

    authorizer.update(authorizer.snapshot.apply(RegistryChange(drop={"policies": ("device",)})))

    assert (authorizer.version, authorizer.snapshot.policies) == (1, {})
    assert not allows(authorizer, "Publish", "a")


def test_an_answer_is_remembered_for_the_same_question_only() -> None:
    """Asked again, the very same decision; another client, address or topic is another question."""
    authorizer = device(document(("Allow", "iot:Publish", "topic/${iot:ClientId}")))
    first = authorizer.authorize(connection(), "Publish", "d-1")

    assert authorizer.authorize(connection(), "Publish", "d-1") is first
    assert not allows(authorizer, "Publish", "d-1", client_id="d-2")
    assert not allows(authorizer, "Subscribe", "d-1")
    assert authorizer.authorize(connection(remote="192.0.2.9"), "Publish", "d-1") is not first


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose topics and ids: what is remembered of them has an end."""
    monkeypatch.setattr(module, "_MAX_DECISIONS", 10)
    monkeypatch.setattr(module, "_MAX_BOUND", 5)
    authorizer = device(document(("Allow", "iot:Publish", "topic/*")))

    for number in range(100):
        assert allows(authorizer, "Publish", f"t{number}", client_id=f"c{number}")
        assert len(authorizer._state.decisions) <= 10
        assert len(authorizer._state.bound) <= 5


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("ACTIVE", None),
        ("INACTIVE", "certificate ab12 is INACTIVE"),
        ("REVOKED", "certificate ab12 is REVOKED"),
        ("PENDING_TRANSFER", "certificate ab12 is PENDING_TRANSFER"),
        ("REGISTER_INACTIVE", "certificate ab12 is REGISTER_INACTIVE"),
        ("PENDING_ACTIVATION", "certificate ab12 is PENDING_ACTIVATION"),
    ],
)
def test_only_an_active_certificate_is_live(status: str, why: str | None) -> None:
    """Source: x509-client-certs."""
    snapshot = RegistrySnapshot(certificates={"ab12": replace(CERTIFICATE, status=status)})

    assert RegistryAuthorizer(snapshot).is_live(CertificatePrincipal.of(CERTIFICATE)) == why


def test_who_is_gone_is_not_live() -> None:
    """A deleted certificate or key ends connections; an expired key does not, as on AWS."""
    expired = replace(GUEST, expires_at=0.0)

    assert RegistryAuthorizer().is_live(CertificatePrincipal.of(CERTIFICATE)) == "certificate ab12 is not registered"
    assert RegistryAuthorizer().is_live(SigV4Principal.of(GUEST)) == "access key ASIA1 is gone"
    assert RegistryAuthorizer().is_live("a stranger") == "str is no principal"
    assert caller(expired).is_live(SigV4Principal.of(expired)) is None
