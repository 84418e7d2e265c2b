"""The endpoint target by URL: what is refused before anybody is asked, and what an address may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SettingsError
from harness.targets.endpoint import Address, EndpointTarget
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from pathlib import Path


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
