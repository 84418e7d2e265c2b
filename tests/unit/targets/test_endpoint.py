"""The endpoint target: by ready file and by URL, what it asks, what it refuses, and what it takes away again."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError, SettingsError, TargetUnavailable, TeardownError
from harness.targets import ready as ready_files
from harness.targets.base import Capability, Credentials
from harness.targets.embedded import DEFAULT_STACK, Supervisor, SupervisorOptions
from harness.targets.embedded.certificates import make_server_identity
from harness.targets.endpoint import Address, EndpointTarget
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions
from harness.targets.ready import ReadyFile

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTPUTS: dict[str, Any] = {
    "region": "us-east-1",
    "iotEndpoint": "as-described",
    "iotMqttsPort": 1.0,
    "iotWssUrl": "wss://as-described:1/mqtt",
    "caFile": None,
    "identityPoolId": "us-east-1:1",
    "clientIdPrefix": "public-",
    "topicPrefix": "public/",
    "telemetryTopic": "things/telemetry",
    "devicePolicyName": "device-1",
}


class FakeEmulator:
    """Answers DescribeEndpoint and GetCallerIdentity as told, and keeps who asked.

    Args:
        tls: to speak HTTPS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.address: str | None = "localhost"
        self.account: str | None = "000000000000"
        self.asked: list[tuple[str, str]] = []
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                emulator.asked.append(("DescribeEndpoint", self.headers["Authorization"]))
                told = {} if emulator.address is None else {"endpointAddress": emulator.address}
                self.answer(json.dumps(told), status=403 if emulator.address is None else 200)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                emulator.asked.append(("GetCallerIdentity", self.headers["Authorization"]))
                result = f"<GetCallerIdentityResult><Account>{emulator.account}</Account></GetCallerIdentityResult>"
                wanted = f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"
                refusal = "<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>"
                self.answer(wanted if emulator.account else refusal, status=200 if emulator.account else 403)

            def answer(self, text: str, *, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Keep the output clean."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def emulator() -> Iterator[FakeEmulator]:
    """An emulator on loopback."""
    emulator = FakeEmulator()
    yield emulator
    emulator.close()


class FakeDeployment:
    """Deploys nothing, and says what it was told."""

    made: list[FakeDeployment]
    outputs: dict[str, Any] = OUTPUTS
    lacking: dict[str, str] = {}  # noqa: RUF012 - replaced by tests, never changed
    trouble: Exception | None = None
    left: TeardownError | None = None

    def __init__(self, **told: Any) -> None:
        self.told = told
        self.removals = 0
        self.made.append(self)

    def deploy(self) -> dict[str, Any]:
        """Deploy."""
        if self.trouble:
            raise self.trouble
        return self.outputs

    def remove(self) -> None:
        """Remove."""
        self.removals += 1
        if self.left:
            raise self.left


@pytest.fixture
def deployments(monkeypatch: pytest.MonkeyPatch) -> list[FakeDeployment]:
    """In the place of real ones: those that were made."""

    class Fresh(FakeDeployment):
        made: list[FakeDeployment] = []  # noqa: RUF012 - of this test alone

    monkeypatch.setattr("harness.targets.deploying.StackDeployment", Fresh)
    return Fresh.made


def make_target(emulator: FakeEmulator, *, now: Any = None, **options: Any) -> EndpointTarget:
    """Make the target for an emulator."""
    more = {"now": now} if now else {}
    return EndpointTarget(TargetOptions(endpoint_url=emulator.url, **options), names=Names("r"), **more)


# By ready file.


@pytest.fixture
def ready_file(tmp_path: Path) -> Path:
    """A ready file of this process."""
    path = tmp_path / "ready.json"
    ready = ReadyFile(
        pid=os.getpid(),
        region="us-east-1",
        account_id="123456789012",
        control_plane_url="http://127.0.0.1:1",
        iot_endpoint="localhost",
        mqtts_port=2,
        wss_port=3,
        ca_file="ca.pem",
        access_key_id="AKIAOWN",
        secret_access_key="own-secret",
        admin_url="http://127.0.0.1:1/_thingwright",
        admin_token="own-token",
        outputs=OUTPUTS,
    )
    ready_files.write(path, ready)
    return path


def test_it_knows_what_the_ready_file_says(ready_file: Path) -> None:
    """And nothing else; stopping it stops nothing."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file), names=Names("r"))
    target.check_options()
    environment = target.start()
    target.check()
    target.stop()

    assert environment.target == "endpoint"
    assert environment.is_shared
    assert environment.outputs.identity_pool_id == "us-east-1:1"
    assert environment.credentials == Credentials(access_key_id="AKIAOWN", secret_access_key="own-secret")
    assert environment.admin_url == "http://127.0.0.1:1/_thingwright"
    assert environment.names.unique() == "r-1"
    assert environment.with_names(Names("s")).names.run_id == "s"
    assert "own-secret" not in repr(environment)
    assert "own-token" not in repr(environment)
    assert ready_file.exists()
    assert (target.is_probed, target.lacks, target.capabilities) == (False, {}, frozenset(Capability))


def test_it_needs_a_server_that_runs() -> None:
    """It says how to get one."""
    target = EndpointTarget(TargetOptions())

    for step in (target.check_options, target.start):
        with pytest.raises(TargetUnavailable, match=r"HARNESS_READY_FILE.*HARNESS_ENDPOINT_URL"):
            step()


def test_it_notices_that_the_stand_in_is_gone(ready_file: Path) -> None:
    """A ready file that is removed means an end; a path alone is a ready file."""
    target = EndpointTarget(ready_file)
    target.start()
    ready_file.unlink()

    for step in (target.check, target.check_options):
        with pytest.raises(TargetUnavailable):
            step()


def test_it_may_play_another_target(ready_file: Path) -> None:
    """One that starts a server and leaves the rest to this one."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file), name="localstack")

    assert target.name == target.start().target == "localstack"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iot_endpoint", "localhost"),
        ("mqtts_port", 8883),
        ("wss_port", 443),
        ("receiver_url", "https://localhost"),
        ("receiver_table", "readings"),
    ],
)
def test_a_ready_file_leaves_nothing_to_be_said(ready_file: Path, name: str, value: Any) -> None:
    """What goes with a URL is refused, not ignored."""
    target = EndpointTarget(TargetOptions(ready_file=ready_file, **{name: value}))

    with pytest.raises(SettingsError, match=f"--{name.replace('_', '-')}=.*goes with --endpoint-url"):
        target.check_options()


# By URL: what is refused before anybody is asked.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"endpoint_url": "localhost:4566"}, "--endpoint-url='localhost' is not accepted: http:// or https://"),
        ({"endpoint_url": "ftp://localhost"}, "--endpoint-url=.*http:// or https://"),
        ({"endpoint_url": "http://"}, "--endpoint-url=.*HOST"),
        ({"endpoint_url": "http://localhost:port"}, "--endpoint-url=.*HOST"),
        ({"endpoint_url": "http://localhost/path"}, "--endpoint-url=.*without user, path and query"),
        ({"endpoint_url": "http://me:hidden@localhost"}, "--endpoint-url=.*without user, path and query"),
        ({"endpoint_url": "https://iot.us-east-1.amazonaws.com"}, "AWS itself is --target aws"),
        ({"endpoint_url": "https://iot.cn-north-1.AMAZONAWS.com.cn:443"}, "AWS itself is --target aws"),
        ({"endpoint_url": "https://amazonaws.com."}, "AWS itself is --target aws"),
        ({"iot_endpoint": "wss://localhost"}, "--iot-endpoint=.*without scheme and path"),
        ({"iot_endpoint": "local host/x"}, "--iot-endpoint=.*without scheme and path"),
        ({"iot_endpoint": "me@localhost"}, "--iot-endpoint=.*without scheme and path"),
        ({"iot_endpoint": "localhost:x"}, "--iot-endpoint=.*without scheme and path"),
        ({"iot_endpoint": "a-ats.iot.eu-west-1.amazonaws.com"}, "--iot-endpoint=.*AWS itself is --target aws"),
        ({"mqtts_port": 0}, "--mqtts-port=0 is not accepted: a port"),
        ({"wss_port": 65_536}, "--wss-port=65536 is not accepted: a port"),
        ({"receiver_url": "http://localhost", "receiver_secret": "s"}, "--receiver-url=.*https://HOST"),
        ({"receiver_url": "https://localhost"}, "HARNESS_IOT_SECRET=.*the secret that the receiver"),
        ({"receiver_url": "https://localhost", "receiver_secret": "hidden"}, "--receiver-table=.*the TABLE_NAME of"),
        ({"receiver_table": "readings"}, "--receiver-table='readings' .*goes with --receiver-url"),
        (
            {"receiver_url": "https://localhost", "receiver_secret": "hidden", "receiver_table": "a b"},
            "--receiver-table='a b' .*a DynamoDB table's name",
        ),
        ({"access_key_id": "AKIA"}, "HARNESS_SECRET_ACCESS_KEY="),
        ({"secret_access_key": "hidden"}, "HARNESS_ACCESS_KEY_ID="),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], told: str) -> None:
    """Without a question to anybody, and without a secret in the sentence."""
    target = EndpointTarget(TargetOptions(**{"endpoint_url": "http://localhost:1", **options}))

    with pytest.raises(SettingsError, match=told) as refused:
        target.check_options()
    assert "hidden" not in str(refused.value)


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    """A CA file without certificates, a folder without a program, a ready file beside the URL."""
    (tmp_path / "ca.pem").write_text("no certificate")
    for options, told in (
        ({"ca_file": tmp_path / "gone.pem"}, "--ca-file=.*a PEM file"),
        ({"ca_file": tmp_path / "ca.pem"}, "--ca-file=.*a PEM file"),
        ({"stack": tmp_path}, r"iot_stack=.*Pulumi\.yaml"),
        ({"ready_file": tmp_path / "ready.json"}, "--ready-file=.*not both"),
    ):
        target = EndpointTarget(TargetOptions(endpoint_url="http://localhost:1", **options))  # type: ignore[arg-type] # one of several
        with pytest.raises(SettingsError, match=told):
            target.check_options()


@pytest.mark.parametrize("url", ["http://localhost:4566/", "https://emulator.example.com", "http://notamazonaws.com"])
def test_other_urls_are_accepted(url: str) -> None:
    """Nobody is asked yet, so nobody has to be there."""
    target = EndpointTarget(TargetOptions(endpoint_url=url))
    target.check_options()

    assert target.is_probed


@pytest.mark.parametrize(
    ("text", "address", "region"),
    [
        ("localhost", Address(host="localhost"), None),
        ("localhost:4510", Address(host="localhost", port=4510), None),
        (
            "000000000000.iot.eu-west-1.localhost.localstack.cloud:4510",
            Address(host="000000000000.iot.eu-west-1.localhost.localstack.cloud", port=4510),
            "eu-west-1",
        ),
        ("a1-ats.iot.us-gov-west-1.example.com", Address(host="a1-ats.iot.us-gov-west-1.example.com"), "us-gov-west-1"),
        ("iot.nowhere.example.com", Address(host="iot.nowhere.example.com"), None),
        ("", None, None),
        ("https://localhost", None, None),
        ("a/b", None, None),
    ],
)
def test_an_address_may_name_a_port_and_a_region(text: str, address: Address | None, region: str | None) -> None:
    """As emulators answer DescribeEndpoint."""
    parsed = Address.parse(text)

    assert parsed == address
    assert (parsed.region if parsed else None) == region


# By URL: what it asks and what it makes of the answers.


def test_it_asks_where_the_broker_is_and_deploys_the_stack(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
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
    emulator: FakeEmulator, deployments: list[FakeDeployment], tmp_path: Path
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


def test_a_port_in_the_answer_is_that_of_wss(emulator: FakeEmulator, deployments: list[FakeDeployment]) -> None:
    """Unless another one is said."""
    emulator.address = "localhost:4510"

    answered, said = (make_target(emulator, **options).start() for options in ({}, {"wss_port": 18443}))

    assert (answered.iot_endpoint, answered.wss_port, answered.mqtts_port) == ("localhost", 4510, 8883)
    assert answered.outputs.iot_wss_url == "wss://localhost:4510/mqtt"
    assert said.wss_port == 18443
    assert len(deployments) == 2


def test_a_broker_that_is_named_needs_no_describe_endpoint(
    emulator: FakeEmulator, deployments: list[FakeDeployment]
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
def test_an_answer_that_leads_nowhere_is_told_of(emulator: FakeEmulator, address: str | None, told: str) -> None:
    """In one sentence that names what to say; an emulator that answers with AWS's own host leads nobody there."""
    emulator.address = address

    with pytest.raises(TargetUnavailable, match=told):
        make_target(emulator).start()


@pytest.mark.usefixtures("some_hosts_are_unknown")
def test_a_named_broker_has_to_be_known_here(emulator: FakeEmulator) -> None:
    """Its own option is what to correct."""
    with pytest.raises(SettingsError, match=r"--iot-endpoint='nowhere\.invalid' is not accepted"):
        make_target(emulator, iot_endpoint="nowhere.invalid").start()


def test_keys_that_are_refused_are_told_of(emulator: FakeEmulator) -> None:
    """By the names of the variables."""
    emulator.account = None

    with pytest.raises(TargetUnavailable, match=r"refuses GetCallerIdentity .*HARNESS_SECRET_ACCESS_KEY"):
        make_target(emulator).start()


def test_a_url_where_nobody_answers_is_told_of() -> None:
    """The run ends with it."""
    emulator = FakeEmulator()
    emulator.close()

    with pytest.raises(TargetUnavailable, match=r"does not answer as AWS does .*start the emulator"):
        make_target(emulator).start()


@pytest.mark.usefixtures("deployments")
def test_the_ca_file_verifies_the_control_plane_too(tmp_path: Path) -> None:
    """Without it the certificate is nobody's, and the sentence says which option is missing."""
    identity = make_server_identity(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    emulator = FakeEmulator(context)
    try:
        environment = make_target(emulator, ca_file=identity.ca).start()
        client = environment.client("sts")
        assert client.get_caller_identity()["Account"] == "000000000000"
        client.close()
        with pytest.raises(TargetUnavailable, match="cannot be verified: give --ca-file=F"):
            make_target(emulator).start()
    finally:
        emulator.close()


# The stack's life.


def test_why_the_stack_has_no_rule_is_known(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody named a receiver, or the emulator has no such thing; with a rule nothing is missing."""
    receiver = {"receiver_url": "https://localhost", "receiver_secret": "s", "receiver_table": "readings"}
    both = {Capability.HTTP_ACTION, Capability.DESTINATION_CONFIRMATION}

    without = make_target(emulator)
    assert without.capabilities == frozenset(Capability)
    without.start()
    monkeypatch.setattr(FakeDeployment, "lacking", {"ruleName": "CreateTopicRuleDestination is unknown."})
    refused = make_target(emulator, **receiver)
    refused.start()
    monkeypatch.setattr(FakeDeployment, "outputs", {**OUTPUTS, "ruleName": "r", "destinationArn": "arn:aws:iot:d"})
    whole = make_target(emulator, **receiver)
    whole.start()

    assert dict.fromkeys(both, "no receiver was named with --receiver-url, so the stack has no rule") == without.lacks
    assert without.capabilities == frozenset(Capability) - both
    assert dict.fromkeys(both, "CreateTopicRuleDestination is unknown.") == refused.lacks
    assert whole.lacks == {}
    assert len(deployments) == 3


@pytest.mark.parametrize("left", [None, TeardownError(["table readings"], remedy="delete it")])
def test_a_stack_that_fails_half_way_is_taken_away(
    emulator: FakeEmulator,
    deployments: list[FakeDeployment],
    monkeypatch: pytest.MonkeyPatch,
    left: TeardownError | None,
) -> None:
    """What is left of it is added to why it failed, and hides nothing."""
    monkeypatch.setattr(FakeDeployment, "trouble", ProvisioningError("a role", reason="no such thing"))
    monkeypatch.setattr(FakeDeployment, "left", left)
    target = make_target(emulator)

    with pytest.raises(ProvisioningError, match="no such thing") as failed:
        target.start()

    assert deployments[0].removals == 1
    assert getattr(failed.value, "__notes__", []) == ([str(left)] if left else [])
    target.stop()
    assert deployments[0].removals == 1


def test_a_removal_that_is_interrupted_is_taken_up_again(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl+C loses no sight of the stack: the next stop removes it, and the one after that has nothing to do."""
    target = make_target(emulator)
    target.start()
    monkeypatch.setattr(FakeDeployment, "left", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        target.stop()
    monkeypatch.setattr(FakeDeployment, "left", None)

    target.stop()
    target.stop()

    assert deployments[0].removals == 2


def test_a_receivers_table_that_is_there_already_is_explained(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has it, or one that was killed left it; without a table of one's own it is the program's trouble."""
    taken = ProvisioningError("a table", reason="ResourceInUseException: Table already exists: readings")
    monkeypatch.setattr(FakeDeployment, "trouble", taken)
    receiver = {"receiver_url": "https://localhost", "receiver_secret": "s", "receiver_table": "readings"}

    with pytest.raises(TargetUnavailable, match=r"The table readings is there already: .* delete the table"):
        make_target(emulator, **receiver).start()
    with pytest.raises(ProvisioningError, match="Table already exists"):
        make_target(emulator).start()
    assert [each.removals for each in deployments] == [1, 1]


def test_outputs_that_are_not_a_stacks_are_refused(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of somebody else's is taken away again."""
    monkeypatch.setattr(FakeDeployment, "outputs", {"colour": "blue"})

    with pytest.raises(TargetUnavailable, match="output region is missing"):
        make_target(emulator).start()
    assert deployments[0].removals == 1


def test_what_cannot_be_taken_away_is_told_of_once(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one who stops it."""
    target = make_target(emulator)
    target.start()
    monkeypatch.setattr(FakeDeployment, "left", TeardownError(["table readings"], remedy="delete it"))

    with pytest.raises(TeardownError, match="table readings"):
        target.stop()
    target.stop()
    assert deployments[0].removals == 1


def test_who_stops_a_target_that_is_starting_takes_its_stack_away(
    emulator: FakeEmulator, deployments: list[FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He waits for the deployment: nothing is left when he is done."""
    is_deploying, may_go_on = threading.Event(), threading.Event()

    def deploy(_: FakeDeployment) -> dict[str, Any]:
        is_deploying.set()
        may_go_on.wait()
        return OUTPUTS

    monkeypatch.setattr(FakeDeployment, "deploy", deploy)
    target = make_target(emulator)
    starting = threading.Thread(target=target.start)
    starting.start()
    is_deploying.wait()
    stopping = threading.Thread(target=target.stop)
    stopping.start()
    may_go_on.set()
    starting.join()
    stopping.join()

    assert deployments[0].removals == 1


@pytest.mark.usefixtures("deployments")
def test_it_asks_now_and_then_whether_the_server_answers() -> None:
    """Around every test would be too often; a refusal is an answer, silence is none."""
    clock = [0.0]
    emulator = FakeEmulator()
    try:
        target = make_target(emulator, now=lambda: clock[0])
        target.check()
        target.start()
        asked = len(emulator.asked)
        target.check()
        assert len(emulator.asked) == asked
        clock[0] += 60
        emulator.account = None
        target.check()
        target.check()
        assert len(emulator.asked) == asked + 1
    finally:
        emulator.close()

    target.check()
    clock[0] += 60
    with pytest.raises(TargetUnavailable, match="does not answer as AWS does"):
        target.check()
    target.stop()
    target.check()


# For real.


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs Linux or macOS")
def test_a_stand_in_without_a_stack_gets_one_by_its_url() -> None:
    """Pulumi's program runs there as anywhere; afterwards nothing of it is left."""
    supervisor = Supervisor(SupervisorOptions(stack=None))
    try:
        ready = supervisor.start()
        run_id = make_run_id()
        target = EndpointTarget(
            TargetOptions(
                endpoint_url=ready.control_plane_url,
                mqtts_port=ready.mqtts_port,
                wss_port=ready.wss_port,
                ca_file=Path(ready.ca_file),
                access_key_id=ready.access_key_id,
                secret_access_key=ready.secret_access_key,
            ),
            names=Names(run_id),
        )
        environment = target.start()
        iot = environment.client("iot")
        policies = [each["policyName"] for each in iot.list_policies()["policies"]]
        target.stop()
        left = iot.list_policies()["policies"]
        iot.close()
    finally:
        supervisor.stop()

    assert environment.account_id == ready.account_id
    assert environment.outputs.iot_wss_url == f"wss://{ready.iot_endpoint}:{ready.wss_port}/mqtt"
    assert environment.outputs.device_policy_name in policies
    assert run_id in environment.outputs.device_policy_name
    assert left == []
