"""What the environment may say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from receiver.errors import SettingsError
from receiver.origins import Origin
from receiver.settings import Settings

NEEDED = {"TABLE_NAME": "readings", "AWS_REGION": "us-east-1", "IOT_SECRETS": "hush-hush"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set what has no default."""
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_three_variables_are_enough(environment: pytest.MonkeyPatch) -> None:
    """The rest has defaults, and the strict one where there is a choice."""
    settings = Settings.read()

    assert settings.sort_key == "received_at"
    assert settings.aws_endpoint_url is None
    assert settings.confirm_origins == ()
    assert settings.ttl_days is None
    assert settings.require_client_id is True
    assert (settings.host, settings.port) == (("127.0.0.1",), 8080)
    assert (settings.tls_cert, settings.tls_key, settings.log_level, settings.workers) == (None, None, "info", 1)


def test_all_can_be_said(environment: pytest.MonkeyPatch) -> None:
    """Lists by commas; an empty variable says nothing."""
    said = {
        "SORT_KEY": "Time",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4001",
        "IOT_SECRETS": "new, old",
        "CONFIRM_ORIGINS": "http://127.0.0.1:4001,https://a.example/",
        "TTL_DAYS": "30",
        "REQUIRE_CLIENT_ID": "false",
        "HOST": "127.0.0.1,::1",
        "PORT": "0",
        "TLS_CERT": "c.pem",
        "TLS_KEY": "k.pem",
        "LOG_LEVEL": "DEBUG",
        "WORKERS": "64",
    }
    for name, value in said.items():
        environment.setenv(name, value)
    settings = Settings.read()

    assert settings.sort_key == "Time"
    assert [secret.get_secret_value() for secret in settings.iot_secrets] == ["new", "old"]
    assert settings.confirm_origins == (Origin("http", "127.0.0.1", 4001), Origin("https", "a.example", 443))
    assert (settings.ttl_days, settings.require_client_id, settings.host, settings.port) == (
        30,
        False,
        ("127.0.0.1", "::1"),
        0,
    )
    assert (settings.tls_cert, settings.tls_key, settings.log_level) == (Path("c.pem"), Path("k.pem"), "debug")
    assert settings.workers == 64
    environment.setenv("TTL_DAYS", "")
    assert Settings.read().ttl_days is None


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(environment: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """An empty one is missing too: an empty secret would let everybody in."""
    environment.delenv(name) if value is None else environment.setenv(name, value)

    with pytest.raises(SettingsError, match=rf"^{name} is not set: give .*\.$"):
        Settings.read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TABLE_NAME", "a table"),
        ("TABLE_NAME", "x"),
        ("SORT_KEY", "deviceId"),
        ("SORT_KEY", "ttl"),
        ("SORT_KEY", "a b"),
        ("AWS_REGION", "evil.example/"),
        ("AWS_REGION", "us-east-1\n"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:4001"),
        ("CONFIRM_ORIGINS", "https://a,"),
        ("CONFIRM_ORIGINS", "*"),
        ("TTL_DAYS", "0"),
        ("TTL_DAYS", "soon"),
        ("REQUIRE_CLIENT_ID", "perhaps"),
        ("HOST", "127.0.0.1,"),
        ("HOST", "http://a"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("WORKERS", "two"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """One sentence: the variable, what it takes, what it had."""
    environment.setenv(name, value)

    with pytest.raises(SettingsError, match=rf"^{name} must be .*, not .*\.$") as caught:
        Settings.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["good-one,", ",", "has a blank", "grün", "tab\there"])
def test_a_secret_that_no_header_can_hold_is_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    """An empty one among others above all; and none is shown."""
    environment.setenv("IOT_SECRETS", value)

    with pytest.raises(SettingsError, match=r"^IOT_SECRETS must be [^,]* characters, separated by commas\.$"):
        Settings.read()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "CONFIRM_ORIGINS"])
@pytest.mark.parametrize(
    "rest", ["user:word@a", "a?token=word", "a/?token=word", "a/confirmdestination/word", "a#word"]
)
def test_a_url_with_more_than_an_origin_is_not_shown(environment: pytest.MonkeyPatch, name: str, rest: str) -> None:
    """A password, a signature, the token of a confirmation: it is refused without being repeated."""
    environment.setenv(name, f"https://{rest}")

    with pytest.raises(SettingsError, match=f"^{name} must be") as caught:
        Settings.read()
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("name", ["TLS_CERT", "TLS_KEY"])
def test_a_certificate_needs_its_key(environment: pytest.MonkeyPatch, name: str) -> None:
    """One without the other would be HTTP where somebody meant HTTPS."""
    environment.setenv(name, "x.pem")

    with pytest.raises(SettingsError, match="TLS_CERT and TLS_KEY go together"):
        Settings.read()


def test_secrets_do_not_print(environment: pytest.MonkeyPatch) -> None:
    """Whoever logs the settings logs no secret."""
    settings = Settings.read()

    assert "hush-hush" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    """They are read once; and no `.env` file is."""
    settings = Settings.read()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc] # that it cannot be is the point


def test_no_file_says_anything(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that happens to lie where the process starts is no setting."""
    (tmp_path / ".env").write_text("SORT_KEY=Time\n")
    environment.chdir(tmp_path)
    assert "SORT_KEY" not in os.environ

    assert Settings.read().sort_key == "received_at"
