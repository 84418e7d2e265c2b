"""AWS calls of a deployment: who is named when one fails."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.base import Credentials
from harness.targets.provisioning.account import Account, auto_name

if TYPE_CHECKING:
    from collections.abc import Iterator


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
