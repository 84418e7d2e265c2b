"""Command line over ready file over environment over default."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SettingsError, TargetUnavailable
from harness.settings import ClientSettings
from harness.targets import ready

POOL = "eu-west-1:fb817d42-1d97-4fd6-a332-c4699f28f931"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests counts."""
    for name in ("IOT_ENDPOINT_HOST", "AWS_REGION", "IDENTITY_POOL_ID", "PUBLIC_TOPIC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_ready_file(tmp_path: Path) -> Any:
    """Write a ready file of this very process, which therefore runs."""

    def make(outputs: dict[str, Any]) -> Path:
        path = tmp_path / "ready.json"
        content = ready.ReadyFile(
            pid=os.getpid(),
            region="us-east-1",
            account_id="123456789012",
            control_plane_url="http://127.0.0.1:40001",
            iot_endpoint="localhost",
            mqtts_port=40003,
            wss_port=40002,
            ca_file=__file__,
            access_key_id="AKIAEXAMPLE",
            secret_access_key="s3cret",
            admin_url="http://127.0.0.1:40001/_thingwright",
            admin_token="t0ken",
            outputs=outputs,
        )
        ready.write(path, content)
        return path

    return make


def test_client_settings_take_the_documented_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four variables of the example session are enough."""
    monkeypatch.setenv("IOT_ENDPOINT_HOST", "abc-ats.iot.us-east-1.amazonaws.com")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("IDENTITY_POOL_ID", POOL)
    monkeypatch.setenv("PUBLIC_TOPIC", "public/other")

    settings = ClientSettings.of({})

    assert settings.endpoint == "abc-ats.iot.us-east-1.amazonaws.com"
    assert (settings.region, settings.identity_pool_id, settings.topic) == ("us-east-1", POOL, "public/other")
    assert (settings.message, settings.port, settings.count) == ("Hello, World!", 443, None)


def test_client_settings_prefer_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option wins over its variable, and one that was not given does not."""
    monkeypatch.setenv("IOT_ENDPOINT_HOST", "from.environment")
    monkeypatch.setenv("PUBLIC_TOPIC", "public/from-environment")

    settings = ClientSettings.of({"endpoint": "from.option", "topic": None, "identity_pool_id": POOL, "message": ""})

    assert (settings.endpoint, settings.topic, settings.message) == ("from.option", "public/from-environment", "")


def test_client_settings_ignore_variables_nobody_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``PORT`` or ``MESSAGE`` exported for something else is not taken, nor an empty variable."""
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("MESSAGE", "from elsewhere")
    monkeypatch.setenv("PUBLIC_TOPIC", "")

    settings = ClientSettings.of({"endpoint": "localhost", "identity_pool_id": POOL})

    assert (settings.port, settings.message, settings.topic) == (443, "Hello, World!", "public/broadcast")


def test_client_settings_take_the_region_from_the_pool() -> None:
    """A pool's id begins with its region, so nobody needs to say it twice."""
    assert ClientSettings.of({"endpoint": "localhost", "identity_pool_id": POOL}).region == "eu-west-1"


def test_client_settings_take_everything_from_a_ready_file(
    monkeypatch: pytest.MonkeyPatch, make_ready_file: Any
) -> None:
    """A ready file names one running stand-in; exported AWS variables lead nobody elsewhere, options still do."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("IOT_ENDPOINT_HOST", "real.iot.amazonaws.com")
    path = make_ready_file({"identityPoolId": "us-east-1:1", "topicPrefix": "guests/", "clientIdPrefix": "guest-"})

    settings = ClientSettings.of({"topic": "guests/other"}, ready_file=path)

    assert (settings.endpoint, settings.port, settings.region) == ("localhost", 40002, "us-east-1")
    assert (settings.endpoint_url, settings.ca_file) == ("http://127.0.0.1:40001", Path(__file__))
    assert (settings.identity_pool_id, settings.client_id_prefix) == ("us-east-1:1", "guest-")
    assert settings.topic == "guests/other"
    assert ClientSettings.of({}, ready_file=path).topic == "guests/broadcast"
    assert "t0ken" not in repr(settings)


@pytest.fixture
def make_outputs(tmp_path: Path) -> Any:
    """Write the outputs of a stack on AWS, with other values where a test says so."""

    def make(**others: Any) -> Path:
        path = tmp_path / "outputs.json"
        outputs = {
            "region": "eu-west-1",
            "iotEndpoint": "a1-ats.iot.eu-west-1.amazonaws.com",
            "iotMqttsPort": 8883,
            "iotWssUrl": "wss://a1-ats.iot.eu-west-1.amazonaws.com/mqtt",
            "identityPoolId": POOL,
            "clientIdPrefix": "guest-",
            "topicPrefix": "guests/",
            "telemetryTopic": "things/telemetry",
            "devicePolicyName": "device-policy",
        }
        path.write_text(json.dumps(outputs | others), "utf-8")
        return path

    return make


def test_client_settings_take_everything_from_the_outputs_of_a_stack(
    monkeypatch: pytest.MonkeyPatch, make_outputs: Any
) -> None:
    """The outputs name one stack: an exported region must not lead elsewhere; options still win."""
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    settings = ClientSettings.of({"message": "Hi"}, stack_outputs=make_outputs())

    assert (settings.endpoint, settings.port) == ("a1-ats.iot.eu-west-1.amazonaws.com", 443)
    assert (settings.region, settings.identity_pool_id, settings.message) == ("eu-west-1", POOL, "Hi")
    assert (settings.topic, settings.client_id_prefix) == ("guests/broadcast", "guest-")
    assert (settings.ca_file, settings.endpoint_url, settings.admin_url, settings.admin_token) == (None,) * 4


def test_client_settings_take_port_and_ca_from_outputs(make_outputs: Any) -> None:
    """A stack that is not at AWS's own port and CA tells so."""
    path = make_outputs(iotWssUrl="wss://localhost:40002/mqtt", caFile=__file__)

    settings = ClientSettings.of({}, stack_outputs=path)

    assert (settings.port, settings.ca_file) == (40002, Path(__file__))


def test_client_settings_refuse_two_sources_and_broken_outputs(make_ready_file: Any, make_outputs: Any) -> None:
    """One stack at a time, and one that tells what a guest needs."""
    with pytest.raises(SettingsError, match="--ready-file"):
        ClientSettings.of({}, ready_file=make_ready_file({}), stack_outputs=make_outputs())
    with pytest.raises(TargetUnavailable, match="identityPoolId"):
        ClientSettings.of({}, stack_outputs=make_outputs(identityPoolId=7))


def test_client_settings_refuse_a_stand_in_without_stack(make_ready_file: Any) -> None:
    """Guests need an identity pool; the complaint says how there came to be none."""
    with pytest.raises(TargetUnavailable, match="--no-stack"):
        ClientSettings.of({}, ready_file=make_ready_file({}))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"identity_pool_id": POOL}, "--endpoint="),
        ({"endpoint": "wss://localhost/mqtt", "identity_pool_id": POOL}, "bare host"),
        ({"endpoint": "localhost:8443", "identity_pool_id": POOL}, "bare host"),
        ({"endpoint": "localhost"}, "--identity-pool-id="),
        ({"endpoint": "localhost", "identity_pool_id": "no-region"}, "--identity-pool-id="),
        ({"endpoint": "localhost", "identity_pool_id": ":1"}, "--identity-pool-id="),
        ({"endpoint": "localhost", "identity_pool_id": "a b:1"}, "--identity-pool-id="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "region": "a b"}, "--region="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "topic": ""}, "--topic="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "topic": "public/a+", "message": ""}, "--topic="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "topic": "public/#"}, "no message"),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "message": "\udcff"}, "text in UTF-8"),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "port": 0}, "--port="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "count": 0}, "--count="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "ca_file": "/nonexistent/ca.pem"}, "--ca-file="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "endpoint_url": "localhost:4566"}, "--endpoint-url="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "endpoint_url": "http://"}, "--endpoint-url="),
        ({"endpoint": "localhost", "identity_pool_id": POOL, "endpoint_url": "http://a b"}, "--endpoint-url="),
    ],
)
def test_client_settings_refuse_what_cannot_work(flags: dict[str, Any], complaint: str) -> None:
    """What cannot work is refused before anything is connected, naming the option."""
    with pytest.raises(SettingsError, match=complaint):
        ClientSettings.of(flags)


@pytest.mark.parametrize("topic", ["#", "public/#", "public/+/x", "public//x"])
def test_client_settings_take_a_filter_where_nothing_is_published(topic: str) -> None:
    """A listener may listen to many topics."""
    settings = ClientSettings.of({"endpoint": "localhost", "identity_pool_id": POOL, "topic": topic, "message": ""})

    assert settings.topic == topic


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566", "http://[::1]:4566/", "https://emulator.example/path"])
def test_client_settings_take_any_http_url(url: str) -> None:
    """Where Cognito and STS are may be an address, a name, a path."""
    settings = ClientSettings.of({"endpoint": "localhost", "identity_pool_id": POOL, "endpoint_url": url})

    assert settings.endpoint_url == url


def test_client_settings_read_a_message_as_utf8_whatever_the_locale() -> None:
    """What a terminal sent as UTF-8 is published as typed, also where Python took it for ASCII."""
    as_ascii = "grün ✅".encode().decode("ascii", "surrogateescape")

    settings = ClientSettings.of({"endpoint": "localhost", "identity_pool_id": POOL, "message": as_ascii})

    assert settings.message == "grün ✅"
