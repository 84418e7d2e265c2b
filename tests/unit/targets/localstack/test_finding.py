"""What the LocalStack target finds in the container: the broker, its name, its CA."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetUnavailable
from harness.targets.base import Capability
from harness.targets.localstack import LocalStackTarget
from harness.targets.names import Names

if TYPE_CHECKING:
    from pathlib import Path

    from harness.targets.options import TargetOptions
    from tests.unit.targets.localstack.conftest import Answers, MadeUpDocker, MadeUpEndpoint, ResolveTo


def test_start_hands_the_emulator_what_it_found(
    docker: MadeUpDocker, options: TargetOptions, emulator: type[MadeUpEndpoint], tmp_path: Path
) -> None:
    """Broker and CA are where LocalStack says; stack and receiver are the user's; the environment is the run's."""
    (tmp_path / "Pulumi.yaml").write_text("name: made-up\n")
    receiver = {"receiver_url": "https://host.docker.internal:4", "receiver_secret": "shh", "receiver_table": "rows"}
    names = Names("run-1")
    target = LocalStackTarget(replace(options, stack=tmp_path, **receiver), names=names)  # type: ignore[arg-type] # of text

    environment = target.start()

    (found,) = emulator.told
    assert environment.target == "localstack"
    assert environment.names is names
    assert environment.iot_endpoint == "000000000000.iot.us-east-1.localhost"
    assert (environment.mqtts_port, environment.wss_port) == (4510, 4510)
    assert not environment.is_shared
    assert found.stack == tmp_path
    assert {name: getattr(found, name) for name in receiver} == receiver
    assert found.ca_file
    assert found.ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert target.is_probed
    assert target.capabilities == frozenset(Capability) - {Capability.HTTP_ACTION}
    assert target.lacks == {Capability.HTTP_ACTION: "nobody posts"}

    target.stop()
    target.stop()

    assert not found.ca_file.exists()
    assert docker.container.removed == [{"force": True, "v": True}]


def test_a_service_that_the_plan_lacks_is_one_sentence(
    docker: MadeUpDocker, options: TargetOptions, gateway: type[Answers]
) -> None:
    """LocalStack refuses calls of services that the token does not pay for."""
    gateway.status = 400

    with pytest.raises(TargetUnavailable, match=r"IoT service does not answer .*not part of every plan"):
        LocalStackTarget(options).start()

    assert docker.container.removed


def test_an_endpoint_without_a_port_is_refused(
    docker: MadeUpDocker, options: TargetOptions, gateway: type[Answers]
) -> None:
    """LocalStack names the port of its broker; an answer without one is not guessed at."""
    gateway.address = "somewhere.localhost"

    with pytest.raises(TargetUnavailable, match=r"'somewhere\.localhost' to DescribeEndpoint"):
        LocalStackTarget(options).start()

    assert docker.container.removed


@pytest.mark.parametrize("address", ["192.0.2.1", ""])
def test_a_name_that_does_not_lead_to_this_machine_is_refused(
    docker: MadeUpDocker,
    gateway: type[Answers],
    options: TargetOptions,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    resolve_to: ResolveTo,
) -> None:
    """A name server that filters loopback answers, or a wrong one, is told of with the line that mends it."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("Name or service not known")

    lead = resolve_to(address) if address else fail
    here = resolve_to("127.0.0.1")
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, *a, **k: (here if host == "127.0.0.1" else lead)(host, *a, **k)
    )

    with pytest.raises(
        TargetUnavailable, match=rf"(it leads to {address}|is not known).*`127.0.0.1 {gateway.address[:-5]}`"
    ):
        LocalStackTarget(options).start()

    assert docker.container.removed


@pytest.mark.parametrize(("ca", "why"), [(b"", "does not give the CA"), (b"<html>", "no certificate in PEM")])
def test_a_ca_that_is_none_is_refused(
    docker: MadeUpDocker, gateway: type[Answers], options: TargetOptions, ca: bytes, why: str
) -> None:
    """Without LocalStack's CA no client can connect, so nothing is deployed."""
    gateway.ca = ca

    with pytest.raises(TargetUnavailable, match=why):
        LocalStackTarget(options).start()

    assert docker.container.removed
