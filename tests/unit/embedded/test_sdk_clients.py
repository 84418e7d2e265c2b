"""Real clients against the broker process: each publishes and receives.

Trust in a wrong server certificate is not tested here: awscrt reports such failures only after 10 to 30 s.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0


class Mqtt5Client:
    """An awscrt MQTT 5 client whose callbacks end in futures."""

    def __init__(self, build: Callable[..., mqtt5.Client]) -> None:
        self.connected: Future[Any] = Future()
        self.stopped: Future[None] = Future()
        self.received: Future[tuple[str, bytes]] = Future()
        self.client = build(
            on_lifecycle_connection_success=self.connected.set_result,
            on_lifecycle_connection_failure=lambda data: self.connected.set_exception(data.exception),
            on_lifecycle_stopped=lambda _: self.stopped.set_result(None),
            on_publish_received=self._receive,
        )
        self.client.start()

    def _receive(self, data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        self.received.set_result((packet.topic, packet.payload))

    def publish_to_itself(self, topic: str) -> tuple[str, bytes]:
        """Subscribe, publish, receive."""
        self.connected.result(PATIENCE)
        subscription = mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS.AT_LEAST_ONCE)
        suback = self.client.subscribe(mqtt5.SubscribePacket(subscriptions=[subscription])).result(PATIENCE)
        assert suback.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
        publish = mqtt5.PublishPacket(topic=topic, payload=b"hello", qos=mqtt5.QoS.AT_LEAST_ONCE)
        completion = self.client.publish(publish).result(PATIENCE)
        assert completion.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
        return self.received.result(PATIENCE)

    def stop(self) -> None:
        """Stop and wait until it has stopped."""
        self.client.stop()
        self.stopped.result(PATIENCE)


@pytest.fixture
def run_mqtt5() -> Iterator[Callable[..., Mqtt5Client]]:
    """Start awscrt MQTT 5 clients and stop them."""
    clients: list[Mqtt5Client] = []

    def run(build: Callable[..., mqtt5.Client]) -> Mqtt5Client:
        clients.append(Mqtt5Client(build))
        return clients[-1]

    yield run
    for client in clients:
        client.stop()


@pytest.fixture
def device(broker: Any, certificates: Any) -> Any:
    """A registered device that may do everything."""
    identity = certificates.client("sdk")
    broker.admit(identity)
    return identity


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.0.1"])
def test_awscrt_talks_mqtt_5_over_websocket(broker: Any, run_mqtt5: Callable[..., Mqtt5Client], endpoint: str) -> None:
    """The way of broadcast clients; an address in the place of the name does too."""
    guest = broker.make_guest(f"ASIACRT{endpoint}")

    def build(**callbacks: Any) -> mqtt5.Client:
        return mqtt5_client_builder.websockets_with_default_aws_signing(
            region="eu-west-1",
            credentials_provider=auth.AwsCredentialsProvider.new_static(
                guest.access_key_id, guest.secret_access_key, guest.session_token
            ),
            endpoint=endpoint,
            port=broker.ports["wss_port"],
            ca_filepath=str(broker.certificates.ca_file),
            client_id=f"crt-wss-{endpoint}",
            **callbacks,
        )

    topic = f"sdk/crt-wss/{endpoint}"
    assert run_mqtt5(build).publish_to_itself(topic) == (topic, b"hello")


def test_awscrt_talks_mqtt_5_over_mutual_tls(broker: Any, device: Any, run_mqtt5: Callable[..., Mqtt5Client]) -> None:
    """The way of devices."""

    def build(**callbacks: Any) -> mqtt5.Client:
        return mqtt5_client_builder.mtls_from_path(
            str(device.certificate_file),
            str(device.key_file),
            endpoint="localhost",
            port=broker.ports["mqtts_port"],
            ca_filepath=str(broker.certificates.ca_file),
            client_id="crt-mtls",
            **callbacks,
        )

    assert run_mqtt5(build).publish_to_itself("sdk/crt-mtls") == ("sdk/crt-mtls", b"hello")


def test_awsiotsdk_talks_mqtt_3_over_mutual_tls(broker: Any, device: Any) -> None:
    """The older client asks for a stored session by default."""
    received: Future[tuple[str, bytes]] = Future()
    connection = mqtt_connection_builder.mtls_from_path(
        str(device.certificate_file),
        str(device.key_file),
        endpoint="localhost",
        port=broker.ports["mqtts_port"],
        ca_filepath=str(broker.certificates.ca_file),
        client_id="sdk-v3",
    )
    assert connection.connect().result(PATIENCE) == {"session_present": False}
    subscribed, _ = connection.subscribe(
        "sdk/v3",
        mqtt.QoS.AT_LEAST_ONCE,
        callback=lambda topic, payload, **_: received.set_result((topic, payload)),
    )
    assert subscribed.result(PATIENCE)["qos"] == mqtt.QoS.AT_LEAST_ONCE

    published, _ = connection.publish("sdk/v3", b"hello", mqtt.QoS.AT_LEAST_ONCE)
    published.result(PATIENCE)

    assert received.result(PATIENCE) == ("sdk/v3", b"hello")
    connection.disconnect().result(PATIENCE)


@pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5], ids=["3.1.1", "5"])
def test_paho_talks_over_a_presigned_websocket(broker: Any, protocol: int) -> None:
    """A client without AWS code: the URL is all it needs."""
    guest = broker.make_guest(f"ASIAPAHO{protocol}")
    received: Future[tuple[str, bytes]] = Future()
    topic = f"sdk/paho/{protocol}"
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=f"paho-{protocol}", transport="websockets", protocol=protocol
    )
    client.tls_set_context(broker.tls())
    client.ws_set_options(path=broker.signed_path(guest))
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda client, *_: client.publish(topic, b"hello", qos=1)
    client.on_message = lambda _client, _data, message: received.set_result((message.topic, message.payload))
    client.connect("localhost", broker.ports["wss_port"])
    client.loop_start()
    try:
        assert received.result(PATIENCE) == (topic, b"hello")
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_clients_talk_over_mutual_tls(broker: Any, device: Any, version: str) -> None:
    """The shell's way."""
    if not (shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")):
        pytest.skip("mosquitto_pub and mosquitto_sub (Debian: mosquitto-clients) are not installed")
    topic = f"sdk/mosquitto/{version}"
    options = [
        *("-h", "localhost", "-p", str(broker.ports["mqtts_port"]), "-V", version, "-q", "1", "-t", topic),
        *("--cafile", str(broker.certificates.ca_file)),
        *("--cert", str(device.certificate_file), "--key", str(device.key_file)),
    ]
    listener = subprocess.Popen(
        ["mosquitto_sub", *options, "-i", f"mosquitto-sub-{version}", "-C", "1", "-W", "30"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with listener:
        broker.awaited(lambda each: (each["kind"], each["topic"]) == ("subscribe", topic))
        subprocess.run(
            ["mosquitto_pub", *options, "-i", f"mosquitto-pub-{version}", "-m", "hello"], check=True, timeout=PATIENCE
        )
        assert listener.communicate(timeout=PATIENCE)[0] == "hello\n"


def test_a_client_is_cut_off_by_a_fault_and_comes_back(broker: Any, run_mqtt5: Callable[..., Mqtt5Client]) -> None:
    """The client sees a broken network, not a refusal, and connects again by itself."""
    guest = broker.make_guest("ASIAFAULT")
    connections = threading.Semaphore(0)

    def build(**callbacks: Any) -> mqtt5.Client:
        callbacks["on_lifecycle_connection_success"] = lambda _: connections.release()
        return mqtt5_client_builder.websockets_with_default_aws_signing(
            region="eu-west-1",
            credentials_provider=auth.AwsCredentialsProvider.new_static(
                guest.access_key_id, guest.secret_access_key, guest.session_token
            ),
            endpoint="localhost",
            port=broker.ports["wss_port"],
            ca_filepath=str(broker.certificates.ca_file),
            client_id="crt-fault",
            min_reconnect_delay_ms=10,
            max_reconnect_delay_ms=20,
            **callbacks,
        )

    run_mqtt5(build)
    assert connections.acquire(timeout=PATIENCE)

    broker.ask("faults_set", fault={"kind": "disconnect", "client_id": "crt-fault"})

    assert connections.acquire(timeout=PATIENCE)
