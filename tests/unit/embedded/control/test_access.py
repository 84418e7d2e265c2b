"""Who is let in: signatures, the operations nobody signs, and IAM policies."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def error_of(call: Callable[[], object]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


# --- signatures


@pytest.mark.parametrize(
    ("service", "call", "unknown", "mismatch", "status"),
    [
        ("iot", "list_things", "UnrecognizedClientException", "InvalidSignatureException", 403),
        ("dynamodb", "list_tables", "UnrecognizedClientException", "InvalidSignatureException", 400),
        ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch", 403),
    ],
)
def test_a_caller_with_a_wrong_key_or_secret_is_refused_as_each_protocol_words_it(
    stand: Any, service: str, call: str, unknown: str, mismatch: str, status: int
) -> None:
    """An unknown key, and the root's key with another secret; the root itself is served."""
    nobody = {"AccessKeyId": "AKIANOBODYNOBODYNOBO", "SecretAccessKey": "x"}
    impostor = {"AccessKeyId": stand.config.access_key_id, "SecretAccessKey": "x"}

    assert error_of(getattr(stand.client(service, nobody), call))[::2] == (unknown, status)
    assert error_of(getattr(stand.client(service, impostor), call))[::2] == (mismatch, status)
    getattr(stand.client(service), call)()


def test_a_session_is_refused_with_another_token_and_after_its_end(stand: Any, make_guest: Any) -> None:
    """Token and expiry of temporary credentials count in every call."""
    guest = make_guest()["credentials"]
    forged = {**guest, "SessionToken": "x"}

    assert stand.client("sts", guest).get_caller_identity()["Arn"].endswith("/CognitoIdentityCredentials")
    assert error_of(stand.client("sts", forged).get_caller_identity)[0] == "InvalidClientTokenId"
    stand.control_plane._credentials.expire(guest["AccessKeyId"])
    assert error_of(stand.client("sts", guest).get_caller_identity)[0] == "ExpiredToken"
    assert error_of(stand.client("iot", guest).list_things)[0] == "ExpiredTokenException"


def test_a_signature_for_another_region_is_refused_where_a_service_has_regions(stand: Any) -> None:
    """IoT belongs to one region; iam and sts answer whatever they are signed for."""
    code, message, _ = error_of(stand.client("iot", region="us-west-2").list_things)

    assert code == "InvalidSignatureException"
    assert "not 'us-west-2'" in message
    assert stand.client("sts", region="us-west-2").get_caller_identity()["Account"] == stand.config.account_id


def test_a_service_that_is_not_served_answers_by_name(stand: Any) -> None:
    """501 with the service's name, and only to who may know."""
    code, message, status = error_of(stand.client("sns").list_topics)

    assert (code, status) == ("NotImplemented", 501)
    assert "'sns' is not served" in message


@pytest.mark.parametrize("operation", ["create_thing_group", "list_jobs", "create_role_alias"])
def test_an_operation_that_is_not_served_answers_by_name(stand: Any, operation: str) -> None:
    """What moto would do without effect on the broker is refused."""
    arguments = {
        "create_thing_group": {"thingGroupName": "g"},
        "create_role_alias": {"roleAlias": "a", "roleArn": "arn:aws:iam::111122223333:role/a"},
    }
    code, message, status = error_of(lambda: getattr(stand.client("iot"), operation)(**arguments.get(operation, {})))

    assert (code, status) == ("NotImplemented", 501)
    assert message == f"{''.join(word.capitalize() for word in operation.split('_'))} is not served yet"


# --- unsigned


def test_an_unsigned_request_reaches_operations_that_nobody_signs(stand: Any, make_guest: Any) -> None:
    """GetId is one; nothing was sent but the body and the target."""
    body = json.dumps({"IdentityPoolId": make_guest()["pool_id"]}).encode()

    status, headers, answer = stand.post(body, X_Amz_Target="AWSCognitoIdentityService.GetId")

    assert status == 200
    assert json.loads(answer)["IdentityId"].startswith(stand.config.region)
    assert headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/things", {}, b""),
        ("GET", "/", {}, b""),
        ("GET", "/moto-api/data.json", {}, b""),
        ("POST", "/moto-api/reset", {}, b""),
        ("GET", "/moto-api/", {"Host": "moto_api"}, b""),
        ("GET", "/static/x", {}, b""),
        ("GET", "/latest/meta-data/iam", {}, b""),
        ("GET", "/things", {"Host": "iot.eu-central-1.amazonaws.com"}, b""),
        ("GET", "/iot_us-east-1/things", {}, b""),
        ("GET", "/eu-central-1_abc/.well-known/jwks.json", {}, b""),
        ("POST", "/", {"X_Amz_Target": "AWSCognitoIdentityService.ListIdentityPools"}, b"{}"),
        ("POST", "/", {"X_Amz_Target": "AWSCognitoIdentityService.Nonsense"}, b"{}"),
        ("POST", "/", {"X_Amz_Target": "DynamoDB_20120810.ListTables"}, b"{}"),
        ("POST", "/", {"Content_Type": "application/x-www-form-urlencoded"}, b"Action=GetCallerIdentity"),
        ("POST", "/", {"Content_Type": "application/x-www-form-urlencoded"}, b"Action=ListUsers&Version=2010-05-08"),
        ("GET", "/things?X-Amz-Signature=abc", {}, b""),
    ],
)
def test_an_unsigned_request_reaches_nothing_else(
    stand: Any, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """The backend's own doors, every signed operation, and whatever only looks like an unsigned one."""
    status, answered, answer = stand.post(body, path=path, method=method, **headers)

    assert status in {400, 403}
    assert b"Missing Authentication Token" in answer
    assert answered["x-amzn-requestid"]


def test_an_unsigned_operation_that_is_not_served_answers_by_name(stand: Any) -> None:
    """GetOpenIdToken would be a token that nobody can verify."""
    status, _, answer = stand.post(b'{"IdentityId": "x"}', X_Amz_Target="AWSCognitoIdentityService.GetOpenIdToken")

    assert status == 501
    assert b"GetOpenIdToken of cognito-identity is not served yet" in answer


def test_a_page_may_ask_whether_it_may_call_and_read_the_answer(stand: Any) -> None:
    """CORS as cognito-identity answers it; nothing of it without an Origin, nor for IAM."""
    target = "AWSCognitoIdentityService.GetId"
    status, preflight, _ = stand.post(
        method="OPTIONS", Origin="https://a.example", Access_Control_Request_Headers="x-amz-target"
    )
    _, with_origin, _ = stand.post(b"{}", X_Amz_Target=target, Origin="https://a.example")
    _, without, _ = stand.post(b"{}", X_Amz_Target=target)

    assert (status, preflight["access-control-allow-headers"]) == (200, "x-amz-target")
    assert preflight["access-control-allow-origin"] == with_origin["access-control-allow-origin"] == "*"
    assert "x-amzn-ErrorType" in with_origin["access-control-expose-headers"]
    assert "access-control-allow-origin" not in without


# --- the call authorised is the call that runs


def test_a_request_that_names_two_operations_is_refused(stand: Any) -> None:
    """Scope and path say iot, X-Amz-Target says DynamoDB; and the other way about."""
    target = {"X_Amz_Target": "DynamoDB_20120810.ListTables"}

    assert stand.send_signed("GET", "/things", service="iot", **target)[0] == 400
    assert stand.send_signed("POST", "/", service="iot", body=b"{}", **target)[0] == 400
    assert stand.send_signed("POST", "/", service="cognito-identity", body=b"{}", **target)[0] == 400
    assert stand.send_signed("POST", "/", service="sts", body=b"Action=GetCallerIdentity", **target)[0] == 400
    assert stand.send_signed("POST", "/?Action=DeleteTable", service="dynamodb", body=b"{}", **target)[0] == 400
    assert stand.send_signed("POST", "/", service="dynamodb", body=b"{}", **target)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/things/kept?Action=DeleteThing",
        "/things/kept?thingName=other&Action=DeleteThing",
        "/things/kept?x-amz-target=a.DeleteThing",
    ],
)
def test_a_query_string_does_not_turn_a_read_into_a_deletion(stand: Any, path: str) -> None:
    """The backend looks for Action before it looks at the path; what it gets was made from the authorised operation."""
    stand.client("iot").create_thing(thingName="kept")

    status, _, body = stand.send_signed("GET", path, service="iot")

    assert (status, json.loads(body)["thingName"]) == (200, "kept")
    assert stand.client("iot").list_things()["things"][0]["thingName"] == "kept"


def test_a_body_or_header_does_not_turn_one_operation_into_another(stand: Any) -> None:
    """A JSON body that reads as a form, a form with another Action inside a value, and a header named Action."""
    iot = stand.client("iot")
    iot.create_thing(thingName="kept")
    smuggled = json.dumps(
        {"attributePayload": {"attributes": {"a": "1"}}, "x": "&Action=DeleteThing&thingName=kept&"}
    ).encode()

    assert stand.send_signed("PATCH", "/things/kept", service="iot", body=smuggled)[0] == 200
    assert stand.send_signed("GET", "/things/kept", service="iot", Action="DeleteThing")[0] == 200
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert stand.send_signed("PATCH", "/things/kept", service="iot", body=b"Action=DeleteThing", **form)[0] == 400
    assert stand.send_signed("POST", "/", service="iam", body=b"Action=ListUsers&Action=CreateUser", **form)[0] == 400
    assert iot.describe_thing(thingName="kept")["attributes"] == {"a": "1"}


def test_input_in_an_unsigned_header_is_refused(stand: Any) -> None:
    """Whoever sees a signed request cannot exchange the principal in it."""
    signed = stand.sign("GET", "/principals/things", service="iot")

    status, _, body = stand.post(path="/principals/things", method="GET", **signed, X_Amzn_Principal="someone")

    assert (status, b"x-amzn-principal" in body.lower()) == (403, True)
    assert stand.send_signed("GET", "/principals/things", service="iot", X_Amzn_Principal="someone")[0] == 200


# --- IAM


def allow(action: str, resource: str = "*", effect: str = "Allow") -> dict[str, str]:
    """Return one statement."""
    return {"Effect": effect, "Action": action, "Resource": resource}


def test_a_user_may_do_what_a_policy_allows_on_that_resource_and_nothing_else(stand: Any, make_user: Any) -> None:
    """A permission scoped to one table holds for that table."""
    key = make_user(allow("dynamodb:DescribeTable", "arn:aws:dynamodb:*:*:table/mine"))
    dynamodb = stand.client("dynamodb", key)

    assert error_of(lambda: dynamodb.describe_table(TableName="mine"))[0] == "ResourceNotFoundException"
    code, message, status = error_of(lambda: dynamodb.describe_table(TableName="other"))
    assert (code, status) == ("AccessDeniedException", 400)
    assert message.startswith(
        "User: arn:aws:iam::111122223333:user/u is not authorized to perform: dynamodb:DescribeTable"
    )
    assert "on resource: arn:aws:dynamodb:eu-central-1:111122223333:table/other because " in message
    assert "nearest: policy p, statement 1" in message


def test_a_user_without_policies_may_only_ask_who_they_are(stand: Any, make_user: Any) -> None:
    """GetCallerIdentity needs no permission; IAM words its refusal in XML."""
    key = make_user()

    assert stand.client("sts", key).get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:user/u"
    assert error_of(stand.client("iam", key).list_roles)[::2] == ("AccessDenied", 403)
    assert error_of(stand.client("iot", key).list_things)[::2] == ("AccessDeniedException", 403)


def test_an_explicit_deny_wins_over_an_allow(stand: Any, make_user: Any) -> None:
    """On the resource it names, and only there."""
    key = make_user(allow("iot:*"), allow("iot:CreateThing", "arn:aws:iot:*:*:thing/secret", "Deny"))
    iot = stand.client("iot", key)

    assert error_of(lambda: iot.create_thing(thingName="secret"))[0] == "AccessDeniedException"
    assert iot.create_thing(thingName="public")["thingName"] == "public"


def test_a_deny_on_some_resource_refuses_a_call_whose_resource_is_unknown(stand: Any, make_user: Any) -> None:
    """ListTables has no resource here: a scoped Deny of it might apply, so the call is refused; others pass."""
    key = make_user(allow("dynamodb:*"), allow("dynamodb:ListT*", "arn:aws:dynamodb:*:*:table/secret", "Deny"))
    dynamodb = stand.client("dynamodb", key)

    assert "denies it on some resources" in error_of(dynamodb.list_tables)[1]
    assert dynamodb.describe_endpoints()["Endpoints"]


def test_permissions_of_groups_and_attached_policies_count(stand: Any, make_user: Any) -> None:
    """What a user may do is the sum of all policies."""
    key = make_user()
    iam = stand.client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("iot:ListThings")]})
    iam.create_group(GroupName="g")
    iam.put_group_policy(GroupName="g", PolicyName="p", PolicyDocument=document)
    iot = stand.client("iot", key)
    assert error_of(iot.list_things)[0] == "AccessDeniedException"

    iam.add_user_to_group(GroupName="g", UserName="u")
    assert iot.list_things()["things"] == []
    iam.remove_user_from_group(GroupName="g", UserName="u")
    assert error_of(iot.list_things)[0] == "AccessDeniedException"

    policy_arn = iam.create_policy(PolicyName="attached", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="u", PolicyArn=policy_arn)
    assert iot.list_things()["things"] == []


def test_an_access_key_that_is_inactive_or_deleted_is_unknown(stand: Any, make_user: Any) -> None:
    """Keys follow their state in IAM, at once."""
    key = make_user(allow("iot:*"))
    iam, iot = stand.client("iam"), stand.client("iot", key)
    assert iot.list_things()["things"] == []

    iam.update_access_key(UserName="u", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert error_of(iot.list_things)[0] == "UnrecognizedClientException"
    iam.update_access_key(UserName="u", AccessKeyId=key["AccessKeyId"], Status="Active")
    assert iot.list_things()["things"] == []
    iam.delete_access_key(UserName="u", AccessKeyId=key["AccessKeyId"])
    assert error_of(iot.list_things)[0] == "UnrecognizedClientException"
    assert key["AccessKeyId"] not in stand.broker.snapshot.credentials


def test_a_guest_never_calls_identity_pool_operations_nor_what_the_session_policies_leave_out(
    stand: Any, make_guest: Any
) -> None:
    """Whatever the role says: Cognito stops the one, the session policies the other; iot survives."""
    guest = make_guest(allow("*"))["credentials"]

    assert (
        "Cognito lets nobody"
        in error_of(lambda: stand.client("cognito-identity", guest).list_identity_pools(MaxResults=1))[1]
    )
    assert "session policies" in error_of(stand.client("iam", guest).list_roles)[1]
    assert stand.client("iot", guest).list_things()["things"] == []


def test_every_call_leaves_one_record_in_the_trace(stand: Any, make_user: Any) -> None:
    """Who, what, with which outcome; never a secret."""
    key = make_user()
    stand.client("sts", key).get_caller_identity()
    error_of(stand.client("iot", key).list_things)

    with stand.broker.changed:
        stand.broker.changed.wait_for(lambda: len(stand.broker.trace()) >= 4, timeout=10)
    records = stand.broker.trace()
    assert [(r["detail"]["operation"], r["detail"]["outcome"]) for r in records[-2:]] == [
        ("GetCallerIdentity", "ok"),
        ("ListThings", "AccessDeniedException"),
    ]
    assert records[-1]["principal"] == "arn:aws:iam::111122223333:user/u"
    assert key["SecretAccessKey"] not in json.dumps(stand.broker.trace())


def test_a_header_of_a_hundred_credentials_is_refused_at_once(stand: Any) -> None:
    """Looking for the claimed service takes time in proportion to the header, not to its square."""
    started_at = time.perf_counter()
    status, _, _ = stand.post(Authorization="Credential=" * 5_900)

    assert status == 403
    assert time.perf_counter() - started_at < 1.0


def test_a_signed_header_list_that_comes_twice_hides_no_unsigned_header(stand: Any) -> None:
    """A list put before the signed one does not count: the principal was not signed."""
    headers = stand.sign("GET", "/principals/things", service="iot")
    forged = headers["Authorization"].replace(" Credential", " SignedHeaders=host;x-amzn-principal, Credential")

    status, _, body = stand.post(
        path="/principals/things", method="GET", **{**headers, "Authorization": forged, "x-amzn-principal": "other"}
    )

    assert (status, json.loads(body)["message"]) == (403, "the Authorization header names SignedHeaders twice")


def test_a_caller_is_judged_by_the_members_that_its_operation_reads(stand: Any) -> None:
    """A RoleName on PutUserPolicy, a QueueUrl on CreateQueue: what the operation does not read, no policy looks at."""
    iam = stand.client("iam")
    iam.create_user(UserName="admin")
    iam.create_user(UserName="clerk")
    account = stand.config.account_id
    allowed = [f"arn:aws:iam::{account}:role/clerk-*", f"arn:aws:sqs:eu-central-1:{account}:mine"]
    statement = {"Effect": "Allow", "Action": ["iam:*", "sqs:*"], "Resource": allowed}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_user_policy(UserName="clerk", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="clerk")["AccessKey"]
    pair = (key["AccessKeyId"], key["SecretAccessKey"], None)
    form = {
        "Action": "PutUserPolicy",
        "RoleName": "clerk-1",
        "UserName": "admin",
        "PolicyName": "p",
        "PolicyDocument": document,
    }

    put = stand.send_signed(
        "POST",
        "/",
        body=urlencode(form).encode(),
        service="iam",
        key=pair,
        Content_Type="application/x-www-form-urlencoded",
    )
    queue = json.dumps({"QueueName": "theirs", "QueueUrl": "mine"}).encode()
    create = stand.send_signed("POST", "/", body=queue, service="sqs", key=pair, X_Amz_Target="AmazonSQS.CreateQueue")

    assert (put[0], b"user/admin" in put[2]) == (403, True)
    assert iam.list_user_policies(UserName="admin")["PolicyNames"] == []
    assert (create[0], b":theirs" in create[2]) == (400, True)


def test_a_policy_may_look_at_where_a_call_comes_from(stand: Any, make_user: Any) -> None:
    """The address of the caller is known here as it is at the broker."""

    def only_from(address: str) -> dict[str, Any]:
        condition = {"StringEquals": {"aws:SourceIp": address}}
        return {"Effect": "Allow", "Action": "iot:*", "Resource": "*", "Condition": condition}

    here, elsewhere = make_user(only_from("127.0.0.1")), make_user(only_from("192.0.2.1"), name="elsewhere")

    assert stand.client("iot", here).list_things()["things"] == []
    assert error_of(stand.client("iot", elsewhere).list_things)[0] == "AccessDeniedException"
