"""Operations found in models: what is read, what is refused, and that moto's router agrees."""

from __future__ import annotations

import json
from typing import Any

import moto.core.utils
import pytest

from harness.embedded.control.messages import ApiError, HttpRequest
from harness.embedded.control.moto_backend import MotoBackend
from harness.embedded.control.operations import _SERVED, check_served, touched_by
from harness.embedded.control.routing import ApiCall, Catalogue

CATALOGUE = Catalogue(MotoBackend.load_model, check=check_served)


def read(service: str, method: str, path: str, *, query: str = "", body: bytes = b"", **headers: str) -> ApiCall:
    """Read one request; header names with ``_`` for ``-``."""
    items = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return CATALOGUE.read(service, HttpRequest(method=method, path=path, query=query, headers=items, body=body))


def test_a_rest_call_takes_each_member_from_its_place() -> None:
    """Path, query, header and body, decoded and typed; what the model does not know is left out."""
    attach = read(
        "iot", "PUT", "/things/a%3Ab/principals", X_Amzn_Principal="arn:x", query="thingPrincipalType=EXCLUSIVE_THING"
    )
    create = read("iot", "POST", "/keys-and-certificate", query="setAsActive=true&other=1", body=b'{"x": 1}')
    update = read(
        "iot", "PATCH", "/things/t", body=b'{"removeThingType": true, "thingName": "other", "thingTypeName": null}'
    )

    assert (attach.operation.name, attach.params) == (
        "AttachThingPrincipal",
        {"thingName": "a:b", "principal": "arn:x", "thingPrincipalType": "EXCLUSIVE_THING"},
    )
    assert (create.operation.name, create.params) == ("CreateKeysAndCertificate", {"setAsActive": True})
    assert update.params == {"thingName": "t", "removeThingType": True}
    assert attach.action == "iot:AttachThingPrincipal"


@pytest.mark.parametrize(
    ("service", "request_parts", "code"),
    [
        ("iot", {"method": "GET", "path": "/"}, "UnknownOperationException"),
        ("iot", {"method": "POST", "path": "/nothing"}, "UnknownOperationException"),
        ("iot", {"method": "GET", "path": "/things/a/b"}, "UnknownOperationException"),
        ("iot", {"method": "GET", "path": "/things/%ff"}, "InvalidRequestException"),
        ("iot", {"method": "GET", "path": "/things", "query": "maxResults=x"}, "InvalidRequestException"),
        ("iot", {"method": "GET", "path": "/things", "query": "a=%ff"}, "InvalidRequestException"),
        ("iot", {"method": "GET", "path": "/things", "query": "maxResults=1&maxResults=2"}, "InvalidRequestException"),
        ("iot", {"method": "POST", "path": "/policies/p", "body": b"["}, "SerializationException"),
        ("iot", {"method": "POST", "path": "/policies/p", "body": b"[]"}, "InvalidRequestException"),
        ("iot", {"method": "POST", "path": "/policies/p", "body": b"[" * 100_000}, "SerializationException"),
        ("iot", {"method": "POST", "path": "/policies/p", "body": b'{"policyDocument": 1}'}, "InvalidRequestException"),
        ("iot", {"method": "POST", "path": "/rules/r", "body": b'{"sql": ""}'}, "InvalidRequestException"),
        ("iot", {"method": "POST", "path": "/thing-groups/g", "body": b"{}"}, "NotImplemented"),
        ("dynamodb", {"method": "POST", "path": "/"}, "UnknownOperationException"),
        (
            "dynamodb",
            {"method": "POST", "path": "/", "X_Amz_Target": "DynamoDB_20120810.X"},
            "UnknownOperationException",
        ),
        (
            "dynamodb",
            {"method": "GET", "path": "/", "X_Amz_Target": "DynamoDB_20120810.ListTables"},
            "UnknownOperationException",
        ),
        (
            "dynamodb",
            {"method": "POST", "path": "/x", "X_Amz_Target": "DynamoDB_20120810.ListTables"},
            "UnknownOperationException",
        ),
        (
            "dynamodb",
            {"method": "POST", "path": "/", "X_Amz_Target": "DynamoDB_20120810.ImportTable"},
            "NotImplemented",
        ),
        ("sts", {"method": "POST", "path": "/", "body": b"Action=GetCallerIdentity&Version=1"}, "InvalidAction"),
        ("sts", {"method": "POST", "path": "/", "body": b"Action=Nonsense"}, "InvalidAction"),
        ("sts", {"method": "POST", "path": "/", "body": b"Action"}, "MalformedQueryString"),
        ("sts", {"method": "POST", "path": "/", "body": b"\xff"}, "MalformedQueryString"),
        ("sts", {"method": "POST", "path": "/", "body": b""}, "InvalidAction"),
        ("sts", {"method": "POST", "path": "/", "body": b"Action=GetSessionToken"}, "NotImplemented"),
    ],
)
def test_a_request_that_names_no_operation_or_does_not_fit_is_refused(
    service: str, request_parts: dict[str, Any], code: str
) -> None:
    """Each with the error that says what was wrong."""
    with pytest.raises(ApiError) as caught:
        read(service, **request_parts)

    assert caught.value.code == code


def test_a_query_call_is_read_from_a_form_or_from_a_query_string() -> None:
    """Both are ways AWS takes; the flat spelling stays."""
    form = read("iam", "POST", "/", body=b"Action=TagRole&Version=2010-05-08&RoleName=r&Tags.member.1.Key=a%20b")
    query = read("sts", "GET", "/", query="Action=GetCallerIdentity&Version=2011-06-15")

    assert (form.operation.name, form.params) == ("TagRole", {"RoleName": "r", "Tags.member.1.Key": "a b"})
    assert (query.action, query.params) == ("sts:GetCallerIdentity", {})


def test_a_required_member_is_asked_for_by_name() -> None:
    """As a handler needs it."""
    call = read("sts", "POST", "/", body=b"Action=AssumeRole")

    with pytest.raises(ApiError, match="Missing required parameter RoleArn"):
        call.text("RoleArn")


ODD = ["a", ".", "..", "a b", "%2F", "a/b", "ä", "principals", "x?Action=DeleteThing", "x#y", "{a}", "+"]


@pytest.mark.parametrize("value", ODD)
def test_moto_runs_what_was_read_or_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the values in a path are: moto's router finds the same operation, or the call is refused."""
    backend = MotoBackend(account_id="111122223333", region="eu-central-1")
    reached: list[str] = []

    class App:
        def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
            reached.append(environ["PATH_INFO"])
            start_response("200 OK", [])
            return []

    monkeypatch.setattr(backend, "_apps", {"iot": App()})
    names = sorted(name for service, name in _SERVED if service == "iot")
    for name in names:
        operation = CATALOGUE.operations("iot")[name]
        shape = operation.model.input_shape
        labels = {m for m, s in shape.members.items() if s.serialization.get("location") == "uri"} if shape else set()
        call = ApiCall(operation=operation, params=dict.fromkeys(labels, value))
        try:
            backend.invoke(call, access_key_id="AKIAX")
        except ApiError as refusal:
            assert "look like another operation" in refusal.message  # noqa: PT017 - either way is right

    assert len(reached) >= len(names) / 3


def test_moto_looks_through_botocore_s_services_once() -> None:
    """Not with a new loader for each model that is asked for: that is a fifth of what the first calls cost."""
    assert moto.core.utils.create_loader() is moto.core.utils.create_loader()  # type: ignore[attr-defined] # botocore's


def test_every_served_operation_is_in_its_model() -> None:
    """A misspelt row of the table would serve nothing."""
    assert [key for key in sorted(_SERVED) if key[1] not in CATALOGUE.operations(key[0])] == []


def test_an_operation_touches_the_record_it_names() -> None:
    """One key where the input names it, the whole table where it does not."""
    body = json.dumps({"policyDocument": "{}"}).encode()

    assert touched_by(read("iot", "POST", "/policies/p", body=body)) == {"policies": frozenset({"p"})}
    assert touched_by(read("iot", "GET", "/things")) == {}
    assert touched_by(read("iam", "POST", "/", body=b"Action=DeleteUser&UserName=u")) == {
        "roles": None,
        "credentials": None,
    }
