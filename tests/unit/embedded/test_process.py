"""The broker process: how it starts, what it tells its supervisor, and how it ends."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("door", ["mqtts", "wss"])
def test_a_broker_listens_on_every_address_at_the_port_it_reports(start_broker: Callable[..., Any], door: str) -> None:
    """IPv4 and IPv6 share the port, since clients pick either for localhost."""
    broker = start_broker()
    addresses = ["127.0.0.1", "::1"] if socket.has_ipv6 else ["127.0.0.1"]

    for address in addresses:
        socket.create_connection((address, broker.ports[f"{door}_port"]), timeout=10).close()


def test_a_broker_ends_with_code_0_on_sigterm(start_broker: Callable[..., Any]) -> None:
    """The supervisor's way to end it is no failure."""
    assert start_broker().stop() == 0


def test_a_broker_ends_when_its_lifeline_closes(start_broker: Callable[..., Any]) -> None:
    """A parent that dies takes its children along."""
    broker = start_broker()

    broker.cut_lifeline()

    assert broker.process.wait(10) == 0


def test_a_broker_leaves_ctrl_c_to_its_supervisor(start_broker: Callable[..., Any]) -> None:
    """The terminal sends SIGINT to the whole group; only the supervisor answers it."""
    broker = start_broker()

    broker.process.send_signal(signal.SIGINT)

    assert broker.ask("ping")["ok"]


def test_a_broker_says_why_it_cannot_start(start_broker: Callable[..., Any]) -> None:
    """A certificate that is not there: exit code 1 and the reason on stderr."""
    broker = start_broker(tls_cert="nowhere.pem")

    assert broker.process.wait(10) == 1
    assert broker.ports == {}
    assert "No such file" in broker.errors_file.read_text()


def test_a_broker_refuses_a_configuration_that_misses_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value is named."""
    config = tmp_path / "config.json"
    config.write_text("{}")
    interrupt, terminate = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        assert main(["--config", str(config)]) == 1
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)

    assert "region" in capsys.readouterr().err


def test_a_broker_listens_at_the_port_it_is_told(start_broker: Callable[..., Any]) -> None:
    """Users may fix the ports, as AWS's are fixed."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    assert start_broker(mqtts_port=port).ports["mqtts_port"] == port


def test_a_broker_does_not_start_when_its_port_is_taken(start_broker: Callable[..., Any]) -> None:
    """A fixed port is not exchanged for another one in silence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = start_broker(wss_port=taken.getsockname()[1])

        assert broker.process.wait(10) == 1
    assert "in use" in broker.errors_file.read_text()
