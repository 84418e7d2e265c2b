"""The snapshot, its changes, and their way through JSON."""

from __future__ import annotations

import json

import pytest

from harness.iot.registry import Certificate, Credential, IotPolicy, RegistryChange, RegistrySnapshot, Role, Thing

CERTIFICATE = Certificate(certificate_id="ab12", arn="arn:cert", status="ACTIVE", pem="PEM")
THING = Thing(name="d-1", attributes=(("colour", "red"),), principals=("arn:cert",))
POLICY = IotPolicy(name="device", document="{}", targets=("arn:cert",))
ROLE = Role(arn="arn:role", unique_id="AROA1", policies=(("guest", "{}"),))
CREDENTIAL = Credential(
    access_key_id="ASIA1",
    secret_access_key="wJalr-secret",
    session_token="FwoG-token",
    expires_at=1000.5,
    principal_arn="arn:sts",
    principal_id="AROA1:x",
    role_arn="arn:role",
    session_policies=(("scope", "{}"),),
)
CHANGE = RegistryChange(
    put={
        "certificates": (CERTIFICATE,),
        "things": (THING,),
        "policies": (POLICY,),
        "roles": (ROLE,),
        "credentials": (CREDENTIAL,),
    },
    drop={"things": ("old",)},
)


def test_a_change_survives_json() -> None:
    """Tuples become lists and tuples again; nothing is lost."""
    assert RegistryChange.from_json(json.loads(json.dumps(CHANGE.to_json()))) == CHANGE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"put": {"nonsense": []}, "drop": {}}, KeyError),
        ({"put": {}, "drop": {"nonsense": ["a"]}}, KeyError),
        ({"put": {"policies": [{"name": "a", "document": "{}", "colour": "red"}]}, "drop": {}}, TypeError),
        ({"put": {"policies": [{"name": "a"}]}, "drop": {}}, TypeError),
    ],
)
def test_a_change_refuses_what_is_no_record(data: dict[str, object], error: type[Exception]) -> None:
    """Unknown tables and fields, and missing fields, are errors."""
    with pytest.raises(error):
        RegistryChange.from_json(data)


def test_a_change_is_false_when_nothing_changed() -> None:
    """So callers can skip it."""
    assert not RegistryChange()
    assert CHANGE
    assert RegistryChange(drop={"things": ("a",)})


def test_a_snapshot_applies_a_change_one_version_on() -> None:
    """The old snapshot stays as it was; unknown keys to drop do no harm."""
    before = RegistrySnapshot(things={"old": Thing(name="old")})

    after = before.apply(CHANGE).apply(RegistryChange(drop={"certificates": ("ab12",), "roles": ("none",)}))

    assert (before.version, after.version) == (0, 2)
    assert before.things.keys() == {"old"}
    assert after.things == {"d-1": THING}
    assert after.certificates == {}
    assert after.credentials == {"ASIA1": CREDENTIAL}
    assert (after.account_id, after.region) == (before.account_id, before.region)


def test_a_difference_leads_from_one_snapshot_to_the_next() -> None:
    """Only what changed is put or dropped; equal snapshots have none."""
    before = RegistrySnapshot(things={"a": Thing(name="a"), "b": Thing(name="b")}, roles={"arn:role": ROLE})
    after = RegistrySnapshot(
        things={"b": Thing(name="b", type_name="t"), "c": Thing(name="c")}, roles={"arn:role": ROLE}
    )

    change = before.difference(after)

    assert change.put == {"things": (Thing(name="b", type_name="t"), Thing(name="c"))}
    assert change.drop == {"things": ("a",)}
    assert before.apply(change).things == after.things
    assert not after.difference(after)


def test_a_credential_does_not_print_its_secrets() -> None:
    """Its repr may reach a log; the secrets may not."""
    assert "secret" not in repr(CREDENTIAL).replace("secret_access_key", "")
    assert "token" not in repr(CREDENTIAL)
