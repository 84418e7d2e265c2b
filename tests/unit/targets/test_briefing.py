"""What is decided for one start: all of it new, none of it shown."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from harness.targets.embedded import SupervisorOptions
from harness.targets.embedded.briefing import Briefing
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("secret_access_key", "admin_token", "receiver_token", "iot_secret")


@pytest.fixture
def briefing(tmp_path: Path) -> Briefing:
    """A briefing for an imagined start."""
    return Briefing.make(SupervisorOptions(), folder=tmp_path, addresses=["127.0.0.1"], control_port=4711)


def test_a_briefing_shows_no_secret(briefing: Briefing) -> None:
    """Neither in its representation nor in anything it is part of."""
    shown = repr([briefing])

    assert "4711" in shown
    assert [name for name in SECRETS if getattr(briefing, name) in shown] == []


def test_a_briefing_is_new_every_time(briefing: Briefing, tmp_path: Path) -> None:
    """Names and secrets are of this start alone, and long enough not to be guessed."""
    other = Briefing.make(SupervisorOptions(), folder=tmp_path, addresses=["127.0.0.1"], control_port=4711)
    names = (*SECRETS, "access_key_id", "table_name", "receiver_role_name")

    assert {name for name in names if getattr(briefing, name) == getattr(other, name)} == set()
    assert min(len(getattr(briefing, name)) for name in SECRETS) >= 40
    assert {each.name for each in fields(Briefing) if not each.repr} == set(SECRETS)


def test_a_secret_of_the_rule_can_stand_in_a_list_and_in_a_header(briefing: Briefing) -> None:
    """The receiver splits its setting at commas; the header is ASCII without spaces."""
    assert set(briefing.iot_secret) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_everybody_is_told_of_the_ca_that_signs(briefing: Briefing, tmp_path: Path) -> None:
    """The file is named before it is there."""
    identity = make_server_identity(tmp_path)

    assert briefing.ca_file == str(identity.ca)
    assert briefing.for_control(link_fd=3, listen_fds=[4], supervisor_fd=None)["http_ca_files"] == [str(identity.ca)]
    assert briefing.for_broker(identity, link_fd=3)["ca_file"] == str(identity.ca)
    start = briefing.start_line(mqtts_port=1, wss_port=2, receiver_url="https://localhost:3")
    assert start["config"]["caFile"] == str(identity.ca)
