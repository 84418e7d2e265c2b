"""The process: configuration, report, lifeline, signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import pytest

from harness.embedded.control.config import read_config
from harness.embedded.link import FrameDecoder, encode_frame
from harness.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = {
    "region": "eu-central-1",
    "account_id": "111122223333",
    "access_key_id": "AKIAROOT",
    "secret_access_key": "secret",
    "admin_token": "token",
}


class Child:
    """A control plane in a process of its own, this test being supervisor and broker."""

    def __init__(self, folder: Path, *, answers: bool = True, **settings: Any) -> None:
        ours, theirs = socket.socketpair()
        report_read, report_write = os.pipe()
        lifeline_read, self.lifeline = os.pipe()
        fds = {"link_fd": theirs.fileno(), "report_fd": report_write, "lifeline_fd": lifeline_read}
        config = folder / "config.json"
        config.write_text(json.dumps({**CONFIG, **fds, **settings}), encoding="utf-8")
        self.broker = ours
        if answers:
            threading.Thread(target=self._answer, daemon=True).start()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.embedded.control", "--config", str(config)],
            pass_fds=[
                *fds.values(),
                *(fd for name, fd in settings.items() if name.endswith("_fd")),
                *settings.get("listen_fds", ()),
            ],
            stderr=subprocess.PIPE,
        )
        theirs.close()
        os.close(report_write)
        os.close(lifeline_read)
        with os.fdopen(report_read, encoding="utf-8") as report:
            self.report = report.readline() if answers else ""

    def end(self) -> tuple[int, bytes]:
        """Wait for the process and return its exit code and what it said."""
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.communicate()
        self.broker.close()
        if self.lifeline >= 0:
            os.close(self.lifeline)

    def _answer(self) -> None:
        decoder = FrameDecoder()
        with contextlib.suppress(OSError):  # the child may end with something of ours unread
            while data := self.broker.recv(65536):
                for message in decoder.receive_data(data):
                    self.broker.sendall(encode_frame({"id": message["id"], "ok": True}))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a control plane."""
    children = []

    def start(**settings: Any) -> Child:
        children.append(Child(tmp_path, **settings))
        return children[-1]

    yield start
    for child in children:
        child.close()


def test_a_control_plane_serves_boto3_until_its_lifeline_closes(start: Any) -> None:
    """It reports its port once it accepts connections, ignores Ctrl-C, and does not outlive its parent."""
    child = start()
    client = boto3.client(
        "sts",
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{json.loads(child.report)['port']}",
        aws_access_key_id="AKIAROOT",
        aws_secret_access_key="secret",
        config=botocore.config.Config(proxies={}),
    )

    child.process.send_signal(signal.SIGINT)
    assert client.get_caller_identity()["Account"] == "111122223333"
    client.close()
    os.close(child.lifeline)
    child.lifeline = -1

    assert child.end() == (0, b"")


def test_a_control_plane_accepts_on_sockets_it_was_given(start: Any) -> None:
    """Who connected before it started is answered; the port it reports is theirs, whatever else it was told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        early = socket.create_connection(address, timeout=30)
        child = start(listen_fds=[listening.fileno()], port=1, host_addresses=["192.0.2.1"])
    with early:
        early.sendall(b"GET /_thingwright/status HTTP/1.1\r\n\r\n")
        assert early.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert json.loads(child.report) == {"port": address[1]}
    child.process.terminate()

    assert child.end() == (0, b"")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


def test_a_control_plane_ends_in_order_on_sigterm(start: Any) -> None:
    """Exit code 0, and nothing on its log."""
    child = start()
    child.process.terminate()

    assert child.end() == (0, b"")


def test_a_control_plane_ends_on_sigterm_while_it_waits_for_the_broker(start: Any) -> None:
    """Before it is ready, too: a broker that answers nothing does not hold it."""
    child = start(answers=False)
    assert child.broker.recv(1)
    child.process.terminate()

    assert child.end() == (0, b"")


def test_a_control_plane_that_cannot_start_says_why(start: Any) -> None:
    """Exit code 1 and one line; never the value of a secret."""
    child = start(secret_access_key=7, host_addresses=["127.0.0.1"])

    code, said = child.end()
    assert (child.report, code) == ("", 1)
    assert said.decode().startswith("control plane: secret_access_key=")


@pytest.mark.parametrize("missing", sorted(CONFIG))
def test_a_configuration_without_what_is_needed_is_refused(tmp_path: Path, missing: str) -> None:
    """The setting is named."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**CONFIG, missing: None}), encoding="utf-8")

    with pytest.raises(SettingsError, match=missing):
        read_config(path)


def test_a_configuration_is_read_with_its_defaults_and_switches(tmp_path: Path) -> None:
    """Members for others are left alone; secrets are not printed."""
    path = tmp_path / "config.json"
    quirks = {"http-publish-denied": "401"}
    path.write_text(json.dumps({**CONFIG, "quirks": quirks, "state_dir": "/x", "port": 0}), encoding="utf-8")

    config = read_config(path)

    assert (config.iot_endpoint, config.host_addresses) == ("localhost", ("127.0.0.1", "::1"))
    assert (config.listen_fds, config.url, config.http_ca_files, config.supervisor_fd) == ((), "", (), None)
    assert (config.receiver_token, config.receiver_role_name) == ("", "")
    assert config.quirks.http_publish_denied == "401"
    assert "secret'" not in repr(config)


def test_a_configuration_says_who_may_get_the_receivers_role(tmp_path: Path) -> None:
    """Lists become tuples; the token is not printed."""
    path = tmp_path / "config.json"
    told = {
        "listen_fds": [5, 6],
        "url": "http://127.0.0.1:1",
        "http_ca_files": ["/a.pem", "/b.pem"],
        "receiver_token": "s3cret",
        "receiver_role_name": "receiver-1",
        "supervisor_fd": 7,
    }
    path.write_text(json.dumps({**CONFIG, **told}), encoding="utf-8")

    config = read_config(path)

    assert (config.listen_fds, config.http_ca_files) == ((5, 6), ("/a.pem", "/b.pem"))
    assert (config.url, config.receiver_token) == ("http://127.0.0.1:1", "s3cret")
    assert (config.receiver_role_name, config.supervisor_fd) == ("receiver-1", 7)
    assert "s3cret" not in repr(config)
