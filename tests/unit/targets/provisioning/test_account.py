"""AWS calls of a deployment: who is named when one fails."""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.base import Credentials
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.marks import find_mark
from harness.targets.provisioning.account import Account, auto_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def endpoint() -> Iterator[ThreadingHTTPServer]:
    """A server that answers GetId-like calls with what is put into ``answer`` and keeps the requests' headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            server.seen.append(dict(self.headers))  # type: ignore[attr-defined] # the server carries its records
            status, body = server.answer  # type: ignore[attr-defined] # the same
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("x-amzn-RequestId", "request-1")
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined] # the same
    server.answer = (200, {"IdentityPoolId": "eu-central-1:1"})  # type: ignore[attr-defined] # the same
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def account(endpoint: ThreadingHTTPServer) -> Iterator[Account]:
    """An account at that server."""
    account = Account(
        region="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{endpoint.server_address[1]}",
        credentials=Credentials(access_key_id="AKIAOWN", secret_access_key="own"),
    )
    yield account
    account.close()


def create_pool(account: Account) -> dict[str, Any]:
    """Make the call that the tests look at."""
    return account.call(
        "a pool",
        "cognito-identity",
        "CreateIdentityPool",
        IdentityPoolName="p",
        AllowUnauthenticatedIdentities=True,
        AllowClassicFlow=None,
    )


def test_a_call_is_signed_with_the_given_keys_whatever_the_user_has_set(
    account: Account, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, profile, region, endpoint, proxy and CA bundle of the user play no part."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_PROFILE": "nobody",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/nonexistent",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_MAX_ATTEMPTS": "nonsense",
        "AWS_RETRY_MODE": "nonsense",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "AWS_CONFIG_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)

    assert create_pool(account)["IdentityPoolId"] == "eu-central-1:1"

    (headers,) = endpoint.seen
    assert re.search(r"Credential=AKIAOWN/\d{8}/eu-central-1/cognito-identity/", headers["Authorization"])
    assert "X-Amz-Security-Token" not in headers


def test_a_warmed_up_account_calls_the_endpoint_it_got_later(account: Account, endpoint: Any) -> None:
    """Models are read before there is an endpoint; the placeholder is not called."""
    url, account.endpoint_url = account.endpoint_url, None
    account.warm_up(("cognito-identity",))
    account.endpoint_url = url

    create_pool(account)
    create_pool(account)

    assert len(endpoint.seen) == 2


def test_a_refused_call_names_resource_operation_and_request(account: Account, endpoint: Any) -> None:
    """What AWS support asks for is in the error."""
    endpoint.answer = (400, {"__type": "LimitExceededException", "message": "too many pools"})

    with pytest.raises(ProvisioningError) as caught:
        create_pool(account)

    assert str(caught.value) == (
        "a pool (cognito-identity:CreateIdentityPool): LimitExceededException: too many pools [request request-1]"
    )


def test_a_call_that_cannot_be_made_names_resource_and_operation(account: Account) -> None:
    """An endpoint where nobody listens, or a parameter that cannot be."""
    account.endpoint_url = "http://127.0.0.1:9"
    with pytest.raises(ProvisioningError, match=r"a pool \(cognito-identity:CreateIdentityPool\): .*127\.0\.0\.1:9"):
        create_pool(account)
    with pytest.raises(ProvisioningError, match="Parameter validation failed"):
        account.call("x", "cognito-identity", "CreateIdentityPool", IdentityPoolName=1)


def test_an_unknown_operation_is_a_mistake_of_the_table(account: Account) -> None:
    """The tables name operations as AWS does."""
    with pytest.raises(LookupError):
        account.call("x", "cognito-identity", "create_identity_pool")


def test_names_end_with_seven_digits_and_fit() -> None:
    """As Pulumi makes them; the logical name gives way to AWS's limit."""
    assert re.fullmatch(r"guest-[0-9a-f]{7}", auto_name("guest", longest=64))
    assert re.fullmatch(r"g{56}-[0-9a-f]{7}", auto_name("g" * 100, longest=64))
    assert auto_name("guest", longest=64) != auto_name("guest", longest=64)
    assert re.fullmatch(r"telemetry_[0-9a-f]{7}", auto_name("telemetry", longest=128, separator="_"))


RUN_ID = "tw6b3f0a21-9c4e11d2"


def test_names_of_a_run_hold_its_id_and_fit() -> None:
    """Whatever the separator, the mark is found in them; the logical name gives way."""
    mark = find_mark(RUN_ID)
    assert mark is not None

    assert re.fullmatch(rf"guest-{RUN_ID}-[0-9a-f]{{7}}", auto_name("guest", longest=64, mark=mark))
    assert re.fullmatch(rf"g{{36}}-{RUN_ID}-[0-9a-f]{{7}}", auto_name("g" * 100, longest=64, mark=mark))
    name = auto_name("telemetry", longest=128, separator="_", mark=mark)
    assert re.fullmatch(r"telemetry_tw6b3f0a21_9c4e11d2_[0-9a-f]{7}", name)
    assert find_mark(name) == mark


def test_an_account_owns_what_its_mark_is_in(account: Account) -> None:
    """In either spelling; without a mark it owns nothing."""
    names = [f"a-{RUN_ID}-guests", f"A_{RUN_ID.upper().replace('-', '_')}_telemetry"]
    assert not any(map(account.owns, names))

    account.mark = find_mark(RUN_ID)

    assert all(map(account.owns, names))
    assert not account.owns("a-tw6b3f0a21-00000000-guests")


def test_tags_are_those_declared_and_the_marks(account: Account) -> None:
    """The mark's win: who sweeps relies on them."""
    assert account.tags() == {}
    assert account.tags({"a": "b"}) == {"a": "b"}

    account.mark = find_mark(RUN_ID)

    assert account.tags({"a": "b", "thingwright:run": "mine"}) == {
        "a": "b",
        "thingwright:run": RUN_ID,
        "thingwright:expires": "2027-01-07T03:44:33Z",
    }


def test_what_is_not_there_is_no_error_for_who_asks_so(account: Account, endpoint: Any) -> None:
    """Other refusals are."""
    endpoint.answer = (400, {"__type": "ResourceNotFoundException", "message": "no such pool"})
    ask = {"IdentityPoolId": "eu-central-1:1"}

    assert account.call_if_there("x", "cognito-identity", "DeleteIdentityPool", **ask) is None
    with pytest.raises(ProvisioningError, match="no such pool"):
        account.call("x", "cognito-identity", "DeleteIdentityPool", **ask)
    endpoint.answer = (400, {"__type": "NotAuthorizedException", "message": "no"})
    with pytest.raises(ProvisioningError, match="NotAuthorized"):
        account.call_if_there("x", "cognito-identity", "DeleteIdentityPool", **ask)


def list_pools(account: Account, *, if_there: bool = False) -> list[Any]:
    """List pools, page by page."""
    every = account.every_if_there if if_there else account.every
    return every("pools", "cognito-identity", "ListIdentityPools", "IdentityPools", MaxResults=1)


def test_a_list_is_read_to_its_end(account: Account, endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, for as long as there is a next one."""
    pages = iter(
        (
            (200, {"IdentityPools": [{"IdentityPoolId": "a"}], "NextToken": "2"}),
            (200, {"IdentityPools": [{"IdentityPoolId": "b"}]}),
        )
    )
    monkeypatch.setattr(type(endpoint), "answer", property(lambda _server: next(pages)), raising=False)
    vars(endpoint).pop("answer")

    assert list_pools(account) == [{"IdentityPoolId": "a"}, {"IdentityPoolId": "b"}]


def test_a_list_may_be_unknown(account: Account, endpoint: Any) -> None:
    """An error for who needs it, nothing for who takes things away; a refusal is one for both."""
    for answer in (
        (200, {"Buckets": []}),
        (400, {"__type": "UnknownOperationException", "message": "what?"}),
        (400, {"__type": "ResourceNotFoundException", "message": "no"}),
    ):
        endpoint.answer = answer
        with pytest.raises(ProvisioningError, match="cognito-identity:ListIdentityPools"):
            list_pools(account)
        assert list_pools(account, if_there=True) == []
    endpoint.answer = (400, {"__type": "NotAuthorizedException", "message": "no"})
    with pytest.raises(ProvisioningError, match="NotAuthorized"):
        list_pools(account, if_there=True)


def test_an_https_endpoint_is_checked_with_the_ca_it_is_told(endpoint: Any, tmp_path: Path) -> None:
    """And refused without it."""
    identity = make_server_identity(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    endpoint.socket = context.wrap_socket(endpoint.socket, server_side=True)

    def make(ca_file: str | None) -> Account:
        return Account(
            region="eu-central-1",
            endpoint_url=f"https://127.0.0.1:{endpoint.server_address[1]}",
            credentials=Credentials(access_key_id="AKIAOWN", secret_access_key="own"),
            ca_file=ca_file,
        )

    trusting, doubting = make(str(identity.ca)), make(None)
    assert create_pool(trusting)["IdentityPoolId"] == "eu-central-1:1"
    with pytest.raises(ProvisioningError, match="CERTIFICATE_VERIFY_FAILED"):
        create_pool(doubting)
    trusting.close()
    doubting.close()
