"""Five kinds of client on one stand-in, everything registered through boto3: whatever one says, all hear."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import paho.mqtt.client as paho
import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness.targets.endpoint import EndpointTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from harness.targets.base import Environment
    from tests.unit.conftest import Serving

PATIENCE = 30.0
TOPIC = "fleet/hello"
SHELL = "mosquitto"
CLIENTS = ("awscrt 5 over WSS", "awscrt 5 over mTLS", "awsiotsdk 3.1.1 over mTLS", "paho 5 over WSS", SHELL)


@dataclass(frozen=True)
class Kit:
    """A device's files, and where to go with them."""

    environment: Environment
    certificate: Path
    key: Path

    @property
    def server(self) -> dict[str, Any]:
        """The arguments that the SDK's builders have in common."""
        return {
            "endpoint": self.environment.iot_endpoint,
            "port": self.environment.mqtts_port,
            "ca_filepath": self.environment.ca_file,
        }


class Heard:
    """What every client heard, by its name."""

    def __init__(self) -> None:
        self._said: dict[str, set[bytes]] = {}
        self._changed = threading.Condition()

    def by(self, listener: str) -> Callable[[bytes], None]:
        """Return what a listener calls with each payload."""

        def add(payload: bytes) -> None:
            with self._changed:
                self._said.setdefault(listener, set()).add(payload)
                self._changed.notify_all()

        return add

    def missing(self, payload: bytes) -> list[str]:
        """Wait until all have heard it; give the names of those who have not when patience ends."""

        def deaf() -> list[str]:
            return [name for name in CLIENTS if payload not in self._said.get(name, ())]

        with self._changed:
            self._changed.wait_for(lambda: not deaf(), PATIENCE)
            return deaf()


@pytest.fixture(scope="module")
def environment(serving: Serving) -> Iterator[Environment]:
    """A ``thingwright serve --no-stack`` in a process of its own; it has to end well."""
    with serving("--no-stack") as ready_file:
        yield EndpointTarget(ready_file).start()


@pytest.fixture(scope="module")
def kit(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A certificate with a policy for the topic, made as a fleet's owner makes them."""
    folder = tmp_path_factory.mktemp("kit")
    iot = environment.client("iot")
    keys = iot.create_keys_and_certificate(setAsActive=True)
    arn = f"arn:aws:iot:{environment.region}:{environment.account_id}"
    statement = [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{arn}:client/device-*"},
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": f"{arn}:topic/{TOPIC}"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": f"{arn}:topicfilter/{TOPIC}"},
    ]
    policy = {"Version": "2012-10-17", "Statement": statement}
    iot.create_policy(policyName="devices", policyDocument=json.dumps(policy))
    iot.attach_policy(policyName="devices", target=keys["certificateArn"])
    iot.create_thing(thingName="device-1")
    iot.attach_thing_principal(thingName="device-1", principal=keys["certificateArn"])
    certificate, key = folder / "device.pem.crt", folder / "private.pem.key"
    certificate.write_text(keys["certificatePem"])
    key.write_text(keys["keyPair"]["PrivateKey"])
    return Kit(environment, certificate, key)


@pytest.fixture(scope="module")
def signer(environment: Environment) -> Credentials:
    """An IAM user who may do the same over WebSocket."""
    iam = environment.client("iam")
    iam.create_user(UserName="dashboard")
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName="dashboard", PolicyName="all-of-iot", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="dashboard")["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def connect_mqtt5(
    build: Callable[..., mqtt5.Client], hear: Callable[[bytes], None], ends: list[Callable[[], object]]
) -> Callable[[bytes], object]:
    """Connect and subscribe an awscrt client; give what publishes with it."""
    connected, stopped = threading.Event(), threading.Event()
    client = build(
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_stopped=lambda _: stopped.set(),
        on_publish_received=lambda data: hear(data.publish_packet.payload),
    )
    ends.append(lambda: (client.stop(), stopped.wait(PATIENCE)))
    client.start()
    assert connected.wait(PATIENCE)
    subscription = mqtt5.Subscription(topic_filter=TOPIC, qos=mqtt5.QoS.AT_LEAST_ONCE)
    assert client.subscribe(mqtt5.SubscribePacket(subscriptions=[subscription])).result(PATIENCE).reason_codes == [1]
    return lambda payload: client.publish(
        mqtt5.PublishPacket(topic=TOPIC, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
    ).result(PATIENCE)


def awscrt_over_wss(kit: Kit, signer: Credentials, hear: Any, ends: Any) -> Callable[[bytes], object]:
    """The SDK's MQTT 5 client, signing its own handshake."""
    provider = auth.AwsCredentialsProvider.new_static(signer.access_key, signer.secret_key)

    def build(**callbacks: Any) -> mqtt5.Client:
        return mqtt5_client_builder.websockets_with_default_aws_signing(
            region=kit.environment.region,
            credentials_provider=provider,
            client_id="dashboard-crt",
            **{**kit.server, "port": kit.environment.wss_port},
            **callbacks,
        )

    return connect_mqtt5(build, hear, ends)


def awscrt_over_mtls(kit: Kit, hear: Any, ends: Any) -> Callable[[bytes], object]:
    """The SDK's MQTT 5 client with a certificate."""

    def build(**callbacks: Any) -> mqtt5.Client:
        return mqtt5_client_builder.mtls_from_path(
            str(kit.certificate), str(kit.key), client_id="device-crt", **kit.server, **callbacks
        )

    return connect_mqtt5(build, hear, ends)


def awsiotsdk_over_mtls(kit: Kit, hear: Any, ends: Any) -> Callable[[bytes], object]:
    """The SDK's MQTT 3.1.1 client with a certificate."""
    connection = mqtt_connection_builder.mtls_from_path(
        str(kit.certificate), str(kit.key), client_id="device-sdk", **kit.server
    )
    connection.connect().result(PATIENCE)
    ends.append(lambda: connection.disconnect().result(PATIENCE))
    subscribed: Future[Any] = connection.subscribe(
        TOPIC, mqtt.QoS.AT_LEAST_ONCE, callback=lambda *_args, payload, **_: hear(payload)
    )[0]
    subscribed.result(PATIENCE)
    return lambda payload: connection.publish(TOPIC, payload, mqtt.QoS.AT_LEAST_ONCE)[0].result(PATIENCE)


def paho_over_wss(kit: Kit, signer: Credentials, hear: Any, ends: Any) -> Callable[[bytes], object]:
    """A client without AWS code, on a URL that botocore signed."""
    request = AWSRequest("GET", f"https://{kit.environment.iot_endpoint}:{kit.environment.wss_port}/mqtt")
    SigV4QueryAuth(signer, "iotdevicegateway", kit.environment.region, expires=300).add_auth(request)
    url = urlsplit(request.url)
    subscribed = threading.Event()
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="dashboard-paho", transport="websockets", protocol=paho.MQTTv5
    )
    client.tls_set_context(ssl.create_default_context(cafile=kit.environment.ca_file))
    client.ws_set_options(path=f"{url.path}?{url.query}")
    client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _data, message: hear(message.payload)
    client.connect(kit.environment.iot_endpoint, kit.environment.wss_port)
    client.loop_start()
    ends.append(lambda: (client.disconnect(), client.loop_stop()))
    assert subscribed.wait(PATIENCE)
    return lambda payload: client.publish(TOPIC, payload, qos=1).wait_for_publish(PATIENCE)


def wait_for_subscription(environment: Environment, client_id: str) -> None:
    """Wait until the trace tells of it: mosquitto_sub itself says nothing of its SUBACK."""
    since, deadline = 0, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = httpx.get(
            f"{environment.admin_url}/trace",
            params={"since": since, "wait": 1},
            headers={"Authorization": f"Bearer {environment.admin_token}"},
            trust_env=False,
        )
        records = [json.loads(line) for line in answer.text.splitlines()]
        if any((each["kind"], each["client_id"]) == ("subscribe", client_id) for each in records):
            return
        since = records[-1]["seq"] if records else since
    pytest.fail(f"{client_id} never subscribed")


def mosquitto_over_mtls(kit: Kit, hear: Any, ends: Any) -> Callable[[bytes], object]:
    """The shell's clients."""
    options = [
        *("-h", kit.environment.iot_endpoint, "-p", str(kit.environment.mqtts_port), "-q", "1", "-t", TOPIC),
        *("--cafile", kit.environment.ca_file, "--cert", str(kit.certificate), "--key", str(kit.key)),
    ]
    listener = subprocess.Popen(["mosquitto_sub", *options, "-i", "device-sub"], stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    lines = iter(listener.stdout.readline, "")
    reader = threading.Thread(target=lambda: [hear(line.strip().encode()) for line in lines], daemon=True)
    reader.start()

    def end() -> None:
        with listener:
            listener.terminate()
            reader.join(PATIENCE)

    ends.append(end)
    wait_for_subscription(kit.environment, "device-sub")
    return lambda payload: subprocess.run(
        ["mosquitto_pub", *options, "-i", "device-pub", "-m", payload.decode()], check=True, timeout=PATIENCE
    )


def test_every_kind_of_client_hears_every_other(kit: Kit, signer: Credentials) -> None:
    """AWS's SDKs, paho and mosquitto publish and receive through one stand-in; so does boto3 over HTTPS."""
    if not (shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")):
        pytest.skip("mosquitto_pub and mosquitto_sub (Debian: mosquitto-clients) are not installed")
    heard = Heard()
    ends: list[Callable[[], object]] = []
    try:
        speakers = {
            CLIENTS[0]: awscrt_over_wss(kit, signer, heard.by(CLIENTS[0]), ends),
            CLIENTS[1]: awscrt_over_mtls(kit, heard.by(CLIENTS[1]), ends),
            CLIENTS[2]: awsiotsdk_over_mtls(kit, heard.by(CLIENTS[2]), ends),
            CLIENTS[3]: paho_over_wss(kit, signer, heard.by(CLIENTS[3]), ends),
            SHELL: mosquitto_over_mtls(kit, heard.by(SHELL), ends),
        }
        iot_data = kit.environment.client("iot-data")
        speakers["boto3"] = lambda payload: iot_data.publish(topic=TOPIC, payload=payload, qos=1)

        for speaker, say in speakers.items():
            payload = f"hello from {speaker}".encode()
            say(payload)
            assert heard.missing(payload) == [], speaker
    finally:
        for end in reversed(ends):
            end()
