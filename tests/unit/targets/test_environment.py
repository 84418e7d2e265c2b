"""What a run gets from a target: outputs, clients, and one sentence when something is missing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from botocore import UNSIGNED

from harness.errors import SettingsError, TargetUnavailable
from harness.targets import ready as ready_files
from harness.targets.aws_clients import make_session
from harness.targets.base import Capability, Credentials, Environment
from harness.targets.embedded import DEFAULT_STACK, EmbeddedTarget
from harness.targets.names import Names
from harness.targets.options import TargetOptions
from harness.targets.outputs import StackOutputs
from harness.targets.ready import ReadyFile
from harness.targets.registry import TARGETS, make_target

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {
    "region": "us-east-1",
    "iotEndpoint": "localhost",
    "iotMqttsPort": 2.0,
    "iotWssUrl": "wss://localhost:3/mqtt",
    "identityPoolId": "us-east-1:1",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-1",
    "colour": "blue",
}


def make_ready(**more: Any) -> ReadyFile:
    """Make the content of a ready file of this process."""
    values: dict[str, Any] = {
        "pid": os.getpid(),
        "region": "us-east-1",
        "account_id": "123456789012",
        "control_plane_url": "http://127.0.0.1:1",
        "iot_endpoint": "localhost",
        "mqtts_port": 2,
        "wss_port": 3,
        "ca_file": "ca.pem",
        "access_key_id": "AKIAOWN",
        "secret_access_key": "own-secret",
        "admin_url": "http://127.0.0.1:1/_thingwright",
        "admin_token": "own-token",
        "outputs": OUTPUTS,
        **more,
    }
    return ReadyFile(**values)


def test_without_a_stack_the_outputs_say_so(tmp_path: Path) -> None:
    """A stand-in without a stack serves devices; for guests it names what is missing."""
    path = tmp_path / "ready.json"
    ready_files.write(path, make_ready(outputs={}))
    environment = Environment.from_ready("embedded", ready_files.read(path), names=Names("r"))

    with pytest.raises(TargetUnavailable, match="without --no-stack"):
        _ = environment.outputs


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"identityPoolId": None}, "identityPoolId is None"),
        ({"iotMqttsPort": 2.5}, "iotMqttsPort is 2.5"),
        ({"iotMqttsPort": True}, "iotMqttsPort is True"),
        ({"caFile": 1}, "caFile is 1"),
    ],
)
def test_an_output_of_another_type_is_named(change: dict[str, Any], told: str) -> None:
    """A stack that is not this project's does not get far."""
    with pytest.raises(TargetUnavailable, match=told):
        StackOutputs.parse({**OUTPUTS, **change})


def test_a_missing_output_is_named() -> None:
    """With its own name, not Python's."""
    with pytest.raises(TargetUnavailable, match="output clientIdPrefix is missing"):
        StackOutputs.parse({name: value for name, value in OUTPUTS.items() if name != "clientIdPrefix"})


def test_outputs_are_written_as_they_were_read() -> None:
    """Numbers are whole, a CA that is the system's is none, unknown names are gone."""
    parsed = StackOutputs.parse(OUTPUTS)
    assert parsed.iot_mqtts_port == 2
    expected = {**OUTPUTS, "caFile": None, "iotMqttsPort": 2}
    del expected["colour"]
    assert parsed.to_json() == expected
    assert StackOutputs.parse(parsed.to_json()) == parsed


def environment_with(**more: Any) -> Environment:
    """Make the environment of a ready file."""
    return Environment.from_ready("embedded", make_ready(**more), names=Names("r"))


def test_a_client_takes_nothing_from_the_users_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither from variables nor from files; the endpoint, region and keys are the environment's."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\n[profile nobody]\n", "utf-8")
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "someone-else",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_CA_BUNDLE": "/nonexistent",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)

    client = environment_with().client("iot")

    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.region_name == "us-east-1"
    assert client._request_signer._credentials.access_key == "AKIAOWN"
    assert client._endpoint.http_session._proxy_config._proxies == {}
    client.close()


def test_a_client_can_be_somebody_else() -> None:
    """A guest's credentials, no credentials, another region."""
    environment = environment_with()
    guest = environment.client(
        "iot-data", credentials=Credentials(access_key_id="ASIA1", secret_access_key="s", session_token="t")
    )
    stranger = environment.client("cognito-identity", unsigned=True)
    foreign = environment.client("iot", region="eu-west-1")

    assert guest._request_signer._credentials.token == "t"
    assert guest.meta.endpoint_url == "http://127.0.0.1:1"
    assert stranger._request_signer._credentials is None
    assert foreign.meta.region_name == "eu-west-1"
    for client in (guest, stranger, foreign):
        client.close()


def test_who_signs_nothing_looks_for_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking would end at the metadata service of a machine in the cloud: a connection beyond loopback."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")

    assert make_session(region="us-east-1", credentials=None).get_credentials() is None


def test_an_https_control_plane_is_verified_with_the_environments_ca(tmp_path: Path) -> None:
    """The one file checks all of its servers; without TLS there is nothing to check."""
    ca_file = str(tmp_path / "ca.pem")
    secure = environment_with(control_plane_url="https://127.0.0.1:1", ca_file=ca_file).client("iot")
    plain = environment_with(ca_file=ca_file).client("iot")

    assert secure._endpoint.http_session._verify == ca_file
    assert plain._endpoint.http_session._verify is True
    for client in (secure, plain):
        client.close()


def test_on_aws_a_client_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials by boto3's chain, endpoints as configured, the region the stack's."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    environment = Environment(
        target="aws",
        region="eu-west-1",
        iot_endpoint="broker.example.com",
        mqtts_port=8883,
        wss_port=443,
        names=Names("r"),
        has_own_settings=True,
    )

    own = environment.client("iot")
    guest = environment.client("iot-data", credentials=Credentials(access_key_id="ASIA1", secret_access_key="s"))
    stranger = environment.client("cognito-identity", unsigned=True, region="us-west-2")

    assert own._request_signer._credentials.access_key == "AKIAREAL"
    assert own.meta.endpoint_url == "http://127.0.0.1:9"
    assert own.meta.region_name == "eu-west-1"
    assert guest._request_signer._credentials.access_key == "ASIA1"
    assert stranger.meta.region_name == "us-west-2"
    assert stranger.meta.config.signature_version is UNSIGNED
    for client in (own, guest, stranger):
        client.close()


@pytest.mark.parametrize("outputs", [OUTPUTS, {}])
def test_an_environment_goes_through_json(outputs: dict[str, Any]) -> None:
    """Another process of the run gets all of it, but for names, which are its own."""
    environment = environment_with(outputs=outputs)
    names = Names("r", worker="gw1")

    told = json.loads(json.dumps(environment.to_json()))

    assert Environment.from_json(told, names=names) == environment.with_names(names)


def test_an_environment_of_an_account_goes_through_json() -> None:
    """Nothing known, nothing made up."""
    environment = Environment(
        target="aws", region="eu-west-1", iot_endpoint="b", mqtts_port=8883, wss_port=443, names=Names("r")
    )

    told = json.loads(json.dumps(environment.to_json()))

    assert Environment.from_json(told, names=environment.names) == environment


def test_every_target_that_is_offered_can_be_made(tmp_path: Path) -> None:
    """By its name, with a sentence for the help text; and no other."""
    assert set(TARGETS) == {"embedded", "endpoint", "localstack", "aws"}
    for name in TARGETS:
        target = make_target(name, TargetOptions(ready_file=tmp_path / "ready.json"))
        assert target.name == name
        assert Capability.POLICY in target.capabilities
        assert target.lacks.keys().isdisjoint(target.capabilities)
        assert isinstance(target.is_probed, bool)
        assert target.patience > 0
        target.stop()
    with pytest.raises(SettingsError, match="one of embedded, endpoint, localstack, aws"):
        make_target("moon")


def test_the_embedded_target_deploys_this_projects_stack_or_the_one_that_is_named(tmp_path: Path) -> None:
    """The default is the program in infra, which the wheel carries."""
    assert (DEFAULT_STACK / "Pulumi.yaml").is_file()
    embedded = make_target("embedded")
    assert isinstance(embedded, EmbeddedTarget)
    embedded.check_options()
    assert (embedded.lacks, embedded.is_probed) == ({}, False)
    target = make_target("embedded", TargetOptions(stack=tmp_path))
    for step in (target.check_options, target.start):
        with pytest.raises(SettingsError, match=r"Pulumi\.yaml"):
            step()
