"""Reasons in published files tell of no machine, no account and no key."""

from __future__ import annotations

import platform

import pytest

from harness.report.scrubbing import LONGEST, scrubbed


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("Could not connect to the endpoint URL: http://127.0.0.1:4566/", "Could not connect to the endpoint URL: …"),
        ("see https://user:hunter2@mine.example.org/a?b=c, please", "see … please"),
        ("User: arn:aws:iam::123456789012:user/me is not authorized", "User: … is not authorized"),
        ("account 123456789012 is closed", "account … is closed"),
        ("refused by 10.0.0.7:8883", "refused by …"),
        ("refused by [::1]:8883", "refused by …"),
        ("refused by ::1", "refused by …"),
        ("refused by localhost:8883", "refused by …"),
        ("abc123-ats.iot.eu-central-1.amazonaws.com refused", "… refused"),
        ("no such file: /srv/me/secret/ca.pem", "no such file: …"),
        (r"no such file: C:\Users\me\ca.pem", "no such file: …"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key … is unknown"),
        ("eu-central-1:01234567-89ab-cdef-0123-456789abcdef has no role", "… has no role"),
        ("certificate 0123456789abcdef0123456789abcdef01234567 is unknown", "certificate … is unknown"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ("LOCALSTACK_AUTH_TOKEN=ls-ab12 was refused", "LOCALSTACK_AUTH_TOKEN=… was refused"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1 was refused", "… was refused"),
        ('{"secretAccessKey": "abc"}', '{"secretAccessKey": …}'),
        ("rule tw6b3f0a21-9c4e11d2 is there", "rule … is there"),
        ("one\n  two\x1b[31m three", "one two [31m three"),
    ],
)
def test_what_identifies_somebody_is_left_out(reason: str, shown: str) -> None:
    """Whatever library wrote the sentence."""
    assert scrubbed(reason) == shown


@pytest.mark.parametrize(
    "reason",
    [
        "DescribeEndpoint answered 501: NotImplemented",
        "a certificate that nobody registered gets in",
        "a guest may subscribe to things/telemetry and to #",
        "mosquitto_pub (Debian: mosquitto-clients) is not installed",
        "2 of 5 cases did not run",
        "HTTP 403 within 5.0 s; MQTT 3.1.1 is served at /mqtt",
        "tests/e2e/test_fan_out.py::test_qos[1]",
    ],
)
def test_what_explains_stays(reason: str) -> None:
    """A reason that says nothing is no reason."""
    assert scrubbed(reason) == reason


def test_the_name_of_the_machine_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it looks like a word."""
    monkeypatch.setattr(platform, "node", lambda: "buildbox")

    assert scrubbed("no route to buildbox") == "no route to …"


def test_a_reason_is_a_sentence_not_a_log() -> None:
    """What is longer is cut, and says so."""
    shown = scrubbed("word " * 200)

    assert len(shown) <= LONGEST
    assert shown.endswith("word…")
