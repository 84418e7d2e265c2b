"""HTTP to the admin API, and the faults set through it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from harness.clients.admin import AdminApi
from harness.clients.faults import Faults
from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from conftest import FakeTarget


def test_the_token_goes_with_every_request(fake_target: FakeTarget) -> None:
    """And nowhere else: it is not printed."""
    fake_target.add("connect")

    assert fake_target.admin.get_lines("trace", since=0)[0]["kind"] == "connect"
    assert fake_target.authorization == "Bearer letmein"
    assert "letmein" not in repr(fake_target.admin)


async def test_faults_are_posted_by_kind(fake_target: FakeTarget) -> None:
    """One fault, one request, below the base URL."""
    faults = Faults(fake_target.admin)

    await faults.expire_credentials("ASIATEST")
    await faults.disconnect("public-1")

    assert fake_target.posted == [
        ("/_thingwright/faults", {"kind": "expire_credentials", "access_key_id": "ASIATEST"}),
        ("/_thingwright/faults", {"kind": "disconnect", "client_id": "public-1"}),
    ]


def test_a_refused_request_says_what_was_answered(fake_target: FakeTarget) -> None:
    """Status and body are in the message."""
    fake_target.status = 400

    with pytest.raises(TargetUnavailable, match=r"refused POST faults with 400: .*fault_id"):
        fake_target.admin.post("faults", {"kind": "earthquake"})


def test_a_target_that_is_gone_is_called_so() -> None:
    """Nobody listens there any more."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(TargetUnavailable, match="does the target still run"):
        AdminApi(f"http://127.0.0.1:{port}/_thingwright", "letmein").get_lines("trace", since=0)


def test_the_users_proxies_are_not_asked(fake_target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would never reach loopback."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert fake_target.admin.get_lines("trace", since=0) == []
