"""Run a command beside a ministack: start it, wait until it is ready, run, end it whatever happened.

Usage: ``MINISTACK_PYTHON=E/bin/python python .ci/with_ministack.py COMMAND [ARGUMENT]…``. The command finds where
ministack is in ``HARNESS_ENDPOINT_URL``, ``HARNESS_IOT_ENDPOINT`` and ``HARNESS_CA_FILE``, and its ports as options in
``PYTEST_ADDOPTS``, so `pytest --target endpoint` needs nothing else; its exit code is ours.

ministack lives in an environment of its own, since it pins other versions of what this project uses too:
``python -m venv E && E/bin/pip install ministack==1.5.33 cryptography==50.0.2``. It does not require cryptography, but
without it has neither a certificate authority nor the listener with mutual TLS, so there would be no devices.

How it is started: policies and signatures are checked (AUTH), the gateway speaks TLS (USE_SSL) with a certificate that
ministack makes itself, everything is on 127.0.0.1 and ports that are free, and all its files are in a folder that goes
with it. Started by root, ministack would open port 443 too and has no setting against it: so that it cannot, this
script takes that port meanwhile and does not listen on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_WITHIN: Final = 120.0
STOPPED_WITHIN: Final = 10.0
TAIL_LINES: Final = 20
REGION: Final = "us-east-1"
IOT_ENDPOINT: Final = f"data.iot.{REGION}.localhost"
"""ministack knows its broker by a Host header like this one; names below localhost are this machine (RFC 6761)."""
PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT")
"""What ministack gets of our own environment: none of the user's AWS settings, and no proxy."""


class Ministack:
    """A ministack of our own.

    Args:
        folder: for all its files.
        python: the interpreter of its environment.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self._log = folder / "ministack.log"
        self._certificate = folder / "ministack-tls" / "server.crt"
        self._ca_file = folder / "ca.pem"
        self._gateway_port, self._mqtts_port = free_ports(2)
        settings = {
            "GATEWAY_PORT": str(self._gateway_port),
            "IOT_MTLS_PORT": str(self._mqtts_port),
            "IOT_MTLS_ENABLED": "1",
            "USE_SSL": "1",
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "TMPDIR": os.fspath(folder),
            "STATE_DIR": os.fspath(folder / "state"),
        }
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter that the caller named
                [python, "-m", "ministack"],
                env=kept | settings,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def url(self) -> str:
        """Base URL of its AWS APIs."""
        return f"https://localhost:{self._gateway_port}"

    def await_ready(self) -> None:
        """Return when it answers and devices can connect; end with a sentence when it died or took too long."""
        deadline = time.monotonic() + READY_WITHIN
        while not self._is_ready():
            if (code := self._process.poll()) is not None:
                sys.exit(f"ministack ended with exit code {code} before it was ready:\n{self.tail()}")
            if time.monotonic() > deadline:
                sys.exit(f"ministack was not ready within {READY_WITHIN:.0f} s:\n{self.tail()}")
            time.sleep(0.05)
        devices_ca = self._get("/_ministack/iot/ca.pem")
        self._ca_file.write_bytes(self._certificate.read_bytes() + b"\n" + devices_ca)

    def environment(self) -> dict[str, str]:
        """Return what tells a run at the endpoint target where everything is."""
        ports = f"--mqtts-port={self._mqtts_port} --wss-port={self._gateway_port}"
        return {
            "HARNESS_ENDPOINT_URL": self.url,
            "HARNESS_IOT_ENDPOINT": IOT_ENDPOINT,
            "HARNESS_CA_FILE": os.fspath(self._ca_file),
            "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} {ports}".strip(),
        }

    def has_died(self) -> bool:
        """Tell whether it has ended although nobody asked it to."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it, and make sure of it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])

    def _is_ready(self) -> bool:
        try:
            state = json.loads(self._get("/_ministack/ready"))
        except (OSError, ValueError):  # no certificate yet, nobody listens yet, 503, or half an answer
            return False
        if state.get("iot_mtls") in ("disabled", "degraded"):
            sys.exit(f"ministack has no listener for devices; is cryptography installed beside it?\n{self.tail()}")
        return True

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=os.fspath(self._certificate))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(self.url + path, timeout=STOPPED_WITHIN) as answer:
            body: bytes = answer.read()
        return body


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


@contextlib.contextmanager
def https_port_taken() -> Iterator[None]:
    """Keep port 443 of 127.0.0.1 from being opened; where it cannot be taken, ministack cannot open it either."""
    with socket.socket() as holder:
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", 443))
        yield


def main(command: Sequence[str]) -> int:
    """Run the command beside a ministack and give its exit code, or 1 when ministack did not live as long."""
    python = os.environ.get("MINISTACK_PYTHON")
    if not python:
        sys.exit(
            "MINISTACK_PYTHON has to be the interpreter of an environment with ministack: see .ci/with_ministack.py."
        )
    if shutil.which(python) is None:
        sys.exit(f"MINISTACK_PYTHON is {python}, and that is no program: see .ci/with_ministack.py.")
    if not command:
        sys.exit("usage: python .ci/with_ministack.py COMMAND [ARGUMENT]…")
    with tempfile.TemporaryDirectory() as folder, https_port_taken():
        server = Ministack(Path(folder), python)
        try:
            server.await_ready()
            environment = {**os.environ, **server.environment()}
            code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - what the caller asked for
            has_died = server.has_died()
        finally:
            server.stop()
        if has_died:
            print(f"ministack did not live as long as the command:\n{server.tail()}", file=sys.stderr)  # noqa: T201 - a script
    return code or int(has_died)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs and the server does not stay
    sys.exit(main(sys.argv[1:]))
