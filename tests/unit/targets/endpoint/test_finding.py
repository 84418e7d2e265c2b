"""The endpoint target by URL: what it asks the emulator, and what it makes of the answers."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SettingsError, TargetUnavailable
from harness.targets.base import Credentials
from harness.targets.embedded import DEFAULT_STACK
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import FakeDeployment, FakeEmulator
    from harness.targets.endpoint import EndpointTarget


def test_it_asks_where_the_broker_is_and_deploys_the_stack(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    monkeypatch: pytest.MonkeyPatch,
    make_target: Callable[..., EndpointTarget],
) -> None:
    """With the keys that emulators document, whatever keys the user has for AWS; on AWS's own ports."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    target = make_target(emulator)

    environment = target.start()

    assert [operation for operation, _ in emulator.asked] == ["DescribeEndpoint", "GetCallerIdentity"]
    assert all("Credential=test/" in signature and "/us-east-1/" in signature for _, signature in emulator.asked)
    assert (environment.region, environment.account_id) == ("us-east-1", "000000000000")
    assert (environment.iot_endpoint, environment.mqtts_port, environment.wss_port) == ("localhost", 8883, 443)
    assert environment.control_plane_url == emulator.url
    assert (environment.ca_file, environment.admin_url, environment.ready) == (None, None, None)
    assert environment.is_shared
    assert environment.outputs.iot_wss_url == "wss://localhost/mqtt"
    assert environment.outputs.device_policy_name == "device-1"
    (deployment,) = deployments
    assert deployment.told == {
        "program": DEFAULT_STACK,
        "region": "us-east-1",
        "endpoint_url": emulator.url,
        "ca_file": None,
        "credentials": Credentials(access_key_id="test", secret_access_key="test"),
        "run_id": "r",
        "config": {"iotMqttsPort": "8883", "iotWssPort": "443"},
    }
    target.stop()
    target.stop()
    assert deployment.removals == 1


def test_what_is_said_stands_above_what_is_answered(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    tmp_path: Path,
    make_target: Callable[..., EndpointTarget],
) -> None:
    """Host, ports, CA, keys, receiver and program; the region is the emulator's."""
    emulator.address = "unknown.iot.eu-west-1.example.invalid:4510"
    (tmp_path / "Pulumi.yaml").touch()
    ca_file = make_server_identity(tmp_path).ca
    target = make_target(
        emulator,
        iot_endpoint="127.0.0.1",
        mqtts_port=18883,
        wss_port=18443,
        ca_file=ca_file,
        access_key_id="AKIAGIVEN",
        secret_access_key="given",
        receiver_url="https://localhost:9",
        receiver_secret="rule-secret",
        receiver_table="readings",
        stack=tmp_path,
    )

    environment = target.start()
    target.stop()

    outputs = environment.outputs
    assert environment.region == "eu-west-1"
    assert (environment.iot_endpoint, environment.mqtts_port, environment.wss_port) == ("127.0.0.1", 18883, 18443)
    assert (outputs.iot_endpoint, outputs.iot_mqtts_port) == ("127.0.0.1", 18883)
    assert outputs.iot_wss_url == "wss://127.0.0.1:18443/mqtt"
    assert outputs.ca_file == environment.ca_file == str(ca_file)
    assert "Credential=AKIAGIVEN/" in emulator.asked[0][1]
    told = deployments[0].told
    assert (told["program"], told["ca_file"], told["region"]) == (tmp_path, ca_file, "eu-west-1")
    assert told["config"] == {
        "iotMqttsPort": "18883",
        "iotWssPort": "18443",
        "caFile": str(ca_file),
        "receiverUrl": "https://localhost:9",
        "iotSecret": "rule-secret",
        "tableName": "readings",
    }
    assert "given" not in repr(target)
    assert "rule-secret" not in repr(environment)


def test_a_port_in_the_answer_is_that_of_wss(
    emulator: FakeEmulator, deployments: list[FakeDeployment], make_target: Callable[..., EndpointTarget]
) -> None:
    """Unless another one is said."""
    emulator.address = "localhost:4510"

    answered, said = (make_target(emulator, **options).start() for options in ({}, {"wss_port": 18443}))

    assert (answered.iot_endpoint, answered.wss_port, answered.mqtts_port) == ("localhost", 4510, 8883)
    assert answered.outputs.iot_wss_url == "wss://localhost:4510/mqtt"
    assert said.wss_port == 18443
    assert len(deployments) == 2


def test_a_broker_that_is_named_needs_no_describe_endpoint(
    emulator: FakeEmulator, deployments: list[FakeDeployment], make_target: Callable[..., EndpointTarget]
) -> None:
    """An emulator may not know where it is; an IPv6 address has its brackets in a URL."""
    emulator.address = None

    environment = make_target(emulator, iot_endpoint="[::1]:18443").start()

    assert (environment.iot_endpoint, environment.wss_port) == ("::1", 18443)
    assert environment.outputs.iot_wss_url == "wss://[::1]:18443/mqtt"
    assert deployments


@pytest.fixture
def some_hosts_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts below ``.invalid``, without a question to a name server beyond this machine."""
    resolve = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror
        return resolve(host, *rest, **more)

    monkeypatch.setattr("harness.targets.endpoint.socket.getaddrinfo", look_up)


@pytest.mark.usefixtures("deployments", "some_hosts_are_unknown")
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nowhere.invalid", "answers nowhere.invalid, which this machine cannot resolve: say with --iot-endpoint=HOST"),
        ("a-ats.iot.us-east-1.amazonaws.com", "no host of an emulator: say with --iot-endpoint=HOST"),
        ("", "no host of an emulator: say with --iot-endpoint=HOST"),
        ("wss://localhost/mqtt", "no host of an emulator: say with --iot-endpoint=HOST"),
        (None, r"refuses DescribeEndpoint .*: check the URL, and set HARNESS_ACCESS_KEY_ID"),
    ],
)
def test_an_answer_that_leads_nowhere_is_told_of(
    emulator: FakeEmulator, address: str | None, told: str, make_target: Callable[..., EndpointTarget]
) -> None:
    """In one sentence that names what to say; an emulator that answers with AWS's own host leads nobody there."""
    emulator.address = address

    with pytest.raises(TargetUnavailable, match=told):
        make_target(emulator).start()


@pytest.mark.usefixtures("some_hosts_are_unknown")
def test_a_named_broker_has_to_be_known_here(
    emulator: FakeEmulator, make_target: Callable[..., EndpointTarget]
) -> None:
    """Its own option is what to correct."""
    with pytest.raises(SettingsError, match=r"--iot-endpoint='nowhere\.invalid' is not accepted"):
        make_target(emulator, iot_endpoint="nowhere.invalid").start()


def test_keys_that_are_refused_are_told_of(emulator: FakeEmulator, make_target: Callable[..., EndpointTarget]) -> None:
    """By the names of the variables."""
    emulator.account = None

    with pytest.raises(TargetUnavailable, match=r"refuses GetCallerIdentity .*HARNESS_SECRET_ACCESS_KEY"):
        make_target(emulator).start()


def test_a_url_where_nobody_answers_is_told_of(
    make_target: Callable[..., EndpointTarget], make_emulator: Callable[..., FakeEmulator]
) -> None:
    """The run ends with it."""
    emulator = make_emulator()
    emulator.close()

    with pytest.raises(TargetUnavailable, match=r"does not answer as AWS does .*start the emulator"):
        make_target(emulator).start()


@pytest.mark.usefixtures("deployments")
def test_the_ca_file_verifies_the_control_plane_too(
    tmp_path: Path, make_target: Callable[..., EndpointTarget], make_emulator: Callable[..., FakeEmulator]
) -> None:
    """Without it the certificate is nobody's, and the sentence says which option is missing."""
    identity = make_server_identity(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    emulator = make_emulator(context)
    environment = make_target(emulator, ca_file=identity.ca).start()
    client = environment.client("sts")
    assert client.get_caller_identity()["Account"] == "000000000000"
    client.close()
    with pytest.raises(TargetUnavailable, match="cannot be verified: give --ca-file=F"):
        make_target(emulator).start()
