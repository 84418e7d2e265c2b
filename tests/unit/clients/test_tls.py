"""One TLS context per authority."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from awscrt import http
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.clients.certificates import make_key, make_self_signed, private_pem
from harness.clients.tls import device_context, shared_context
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from pathlib import Path

    from awscrt import io

    from harness.targets.embedded.certificates import ServerIdentity


def write_authority(path: Path) -> str:
    """Write a fresh self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return str(path)


def named_by(
    context: io.ClientTlsContext, identity: ServerIdentity, *, certificate_pem: str | None = None
) -> str | None:
    """Shake hands with a server that knows both protocols and perhaps a device; give the protocol that was named."""
    knowing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    knowing.load_cert_chain(identity.certificate, identity.key)
    knowing.set_alpn_protocols(["x-amzn-mqtt-ca", "http/1.1"])
    if certificate_pem is not None:  # a device insists on being asked for it
        knowing.verify_mode = ssl.CERT_REQUIRED
        knowing.load_verify_locations(cadata=certificate_pem)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> str | None:
            accepted, _ = listener.accept()
            with knowing.wrap_socket(accepted, server_side=True) as connection:
                return connection.selected_alpn_protocol()

        chosen = thread.submit(serve)
        options = context.new_connection_options()
        options.set_server_name("localhost")
        connecting = http.HttpClientConnection.new(
            "127.0.0.1", listener.getsockname()[1], tls_connection_options=options
        )
        connecting.exception()  # it does not matter what becomes of the connection after the handshake
        return chosen.result()


def test_clients_with_the_same_authority_share_a_context(tmp_path: Path) -> None:
    """Making one costs five times as much as connecting with it."""
    one, other = write_authority(tmp_path / "one.pem"), write_authority(tmp_path / "other.pem")

    assert shared_context(one, port=8443) is shared_context(one, port=9443)
    assert shared_context(one, port=8443) is not shared_context(other, port=8443)


def test_a_port_that_mqtt_shares_has_a_context_of_its_own(tmp_path: Path) -> None:
    """There, and only there, ALPN says that a WebSocket follows: on 443, and where both are on another port."""
    authority = write_authority(tmp_path / "ca.pem")

    on_443, alone, beside_mqtt = (
        shared_context(authority, port=port, is_port_shared=is_port_shared)
        for port, is_port_shared in ((443, False), (8443, False), (8443, True))
    )

    assert on_443 is beside_mqtt
    assert alone is not on_443


@pytest.mark.parametrize(("port", "is_port_shared"), [(443, False), (443, True), (4510, True), (8443, False)])
def test_a_guest_names_http_where_mqtt_may_be_meant(tmp_path: Path, *, port: int, is_port_shared: bool) -> None:
    """On a port where there is no such question it names nothing."""
    identity = make_server_identity(tmp_path)
    context = shared_context(str(identity.ca), port=port, is_port_shared=is_port_shared)

    assert named_by(context, identity) == (None if port == 8443 else "http/1.1")


@pytest.mark.parametrize(("port", "is_port_shared"), [(443, False), (443, True), (4510, True), (8883, False)])
def test_a_device_names_mqtt_where_a_websocket_may_be_meant(tmp_path: Path, *, port: int, is_port_shared: bool) -> None:
    """On a port that speaks nothing but MQTT it names nothing."""
    identity, key = make_server_identity(tmp_path), make_key()
    certificate_pem = make_self_signed(key)
    context = device_context(
        str(identity.ca),
        port=port,
        certificate_pem=certificate_pem,
        private_key_pem=private_pem(key),
        is_port_shared=is_port_shared,
    )

    named = named_by(context, identity, certificate_pem=certificate_pem)

    assert named == (None if port == 8883 else "x-amzn-mqtt-ca")


def test_an_authority_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """A second stand-in may use the file name of the first."""
    path = tmp_path / "ca.pem"
    before = shared_context(write_authority(path), port=8443)

    assert shared_context(write_authority(path), port=8443) is not before


def test_without_an_authority_the_systems_are_used() -> None:
    """As on AWS."""
    assert shared_context(None, port=443) is shared_context(None, port=443)


def test_a_device_has_a_context_of_its_own(tmp_path: Path) -> None:
    """It holds the device's key; on the port of HTTPS, too, where ALPN has to say that MQTT follows."""
    authority = write_authority(tmp_path / "ca.pem")
    key = make_key()
    identity = {"certificate_pem": make_self_signed(key), "private_key_pem": private_pem(key)}

    contexts = [device_context(ca_file, port=port, **identity) for ca_file in (authority, None) for port in (443, 8883)]

    assert len({id(each) for each in contexts}) == 4
    assert shared_context(authority, port=443) not in contexts
