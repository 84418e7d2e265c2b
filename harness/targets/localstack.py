"""The ``localstack`` target: a LocalStack container, started for this run and taken away after it.

Docker is driven by testcontainers (extra ``localstack``), which is not imported before a run asks for this target. What
answers then is an emulator like any other: the rest is `harness.targets.endpoint`'s, and what LocalStack lacks is found
by trying (`is_probed`).

Every port is published under its own number and on 127.0.0.1 only, since LocalStack puts its numbers into what it
answers: queue URLs hold 4566, DescribeEndpoint answers ``….iot.<region>.localhost.localstack.cloud:4510``, the first
port of the range that the broker's comes from. That name has to lead to 127.0.0.1, as the public name servers say of
all names below ``localhost.localstack.cloud``. So one LocalStack runs on a machine at a time, and Docker runs on the
machine that the tests run on.

That one port serves MQTT and WebSocket, and LocalStack tells them apart by the ALPN protocol that a client names in its
TLS handshake. Devices are documented to need ``x-amzn-mqtt-ca``; guests name ``http/1.1``, as they do on AWS's 443. So
``mqtts_port`` and ``wss_port`` are the same number here, by which the clients know it.

Differs: the image was never pulled where this was written (no Docker, no token). Its name, its tag, that it demands
``LOCALSTACK_AUTH_TOKEN`` (exit code 55 without a valid one) and the log line it is awaited by are from LocalStack's
documentation and from public repositories that run this tag, and so is the rule about ALPN: no client of ours ever
shook hands with LocalStack. Everything but LocalStack itself is unit-tested, the clients against a port that lets in
nobody who names no protocol.
Source: https://docs.localstack.cloud/aws/services/iot, …/aws/capabilities/config/configuration; https://blog.localstack.cloud/switching-to-calendar-versioning.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import httpx
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from harness.errors import SettingsError, TargetDied, TargetError, TargetUnavailable, TeardownError
from harness.targets.aws_clients import make_client
from harness.targets.base import Capability, Credentials, Environment
from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testcontainers.core.container import DockerContainer

IMAGE: Final = "localstack/localstack:2026.09.0"
"""The one image there is since March 2026; its tags are calendar versions."""

REGION: Final = "us-east-1"
GATEWAY_PORT: Final = 4566
BROKER_PORTS: Final = range(4510, 4560)
"""What LocalStack takes ports of its brokers and databases from."""

READY_LINE: Final = r"(?m)^Ready\.\s*$"
READY_WITHIN: Final = 180.0
"""Seconds from the container's start to its log line; the time of pulling the image is not in it."""

_TRIES: Final = 4
"""With its first IoT call LocalStack loads the service and starts the broker, which may outlast a call's timeout."""

_CA_WITHIN: Final = 30.0
_TAIL_LINES: Final = 30
_URL: Final = f"http://127.0.0.1:{GATEWAY_PORT}"
_CA_PATH: Final = "/_aws/iot/LocalStackIoTRootCA.pem"
_EXTRA: Final = 'The localstack target needs testcontainers: `pip install "thingwright[localstack]"`.'
_NOT_TAKEN: Final = MappingProxyType(
    {
        "ready_file": "--ready-file",
        "endpoint_url": "--endpoint-url",
        "iot_endpoint": "--iot-endpoint",
        "mqtts_port": "--mqtts-port",
        "wss_port": "--wss-port",
        "ca_file": "--ca-file",
        "stack_outputs": "--stack-outputs",
        "pulumi_stack": "--pulumi-stack",
    }
)
"""Options that say where something is: the container of this run is where we put it."""


def make_environment(token: str) -> dict[str, str]:
    """Return the container's environment variables.

    Args:
        token: LocalStack's auth token.
    """
    return {
        "LOCALSTACK_AUTH_TOKEN": token,
        "ENFORCE_IAM": "1",  # a policy that is too narrow shall fail here too
        "GATEWAY_LISTEN": f"0.0.0.0:{GATEWAY_PORT}",  # inside of the container; outside it is 127.0.0.1
        "LOCALSTACK_HOST": f"localhost.localstack.cloud:{GATEWAY_PORT}",
        "EXTERNAL_SERVICE_PORTS_START": str(BROKER_PORTS.start),
        "EXTERNAL_SERVICE_PORTS_END": str(BROKER_PORTS.stop),  # exclusive, like ours
        "AWS_DEFAULT_REGION": REGION,
        "PERSISTENCE": "0",
        "DISABLE_EVENTS": "1",  # a test run tells nobody of itself
    }


def make_container(token: str) -> DockerContainer:
    """Return the container, not yet started; Docker is asked whether it is there.

    The reaper of testcontainers (Ryuk) stays on, unless the user has turned it off: it removes the container of a run
    that was killed.

    Args:
        token: LocalStack's auth token.

    Raises:
        TargetUnavailable: testcontainers is not installed, or Docker does not answer.
    """
    _require_testcontainers()
    from docker.errors import DockerException  # noqa: PLC0415 - an extra: imported where it is needed
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - the same
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415 - the same

    try:
        container = DockerContainer(IMAGE)
    except DockerException as error:
        raise TargetUnavailable(
            f"The localstack target needs Docker, and it does not answer ({_first_line(error)}): start Docker, or take "
            "--target embedded, which needs none."
        ) from error
    container.env.update(make_environment(token))
    ports = cast("dict[str, Any]", container.ports)  # testcontainers' type knows no addresses; docker's own does
    ports.update({f"{port}/tcp": ("127.0.0.1", port) for port in (GATEWAY_PORT, *BROKER_PORTS)})
    container.with_kwargs(extra_hosts={"host.docker.internal": "host-gateway"})  # a receiver on this machine
    # It looks whether the container still runs, too: a token that is not valid is told of at once.
    container.waiting_for(LogMessageWaitStrategy(READY_LINE).with_startup_timeout(int(READY_WITHIN)))
    return container


class LocalStackTarget:
    """Runs at a LocalStack container of its own.

    Args:
        options: ``localstack_token`` is needed; ``stack`` and what is said of a receiver are as for
            ``endpoint``; a receiver on this machine has the host name ``host.docker.internal``.
        names: makes the names of everything the run creates; fresh ones when None.
    """

    name: ClassVar[str] = "localstack"
    is_probed: ClassVar[bool] = True
    patience: ClassVar[float] = 30.0
    versions: ClassVar[Mapping[str, str]] = MappingProxyType({"localstack": IMAGE})

    def __init__(self, options: TargetOptions, *, names: Names | None = None) -> None:
        self._options = options
        self._names = names or Names(make_run_id())
        self._container: DockerContainer | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._endpoint: EndpointTarget | None = None
        self._lock = threading.RLock()  # who stops a target that is just starting waits, and then takes it away

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the emulator target found; before `start`, all that may be there."""
        return self._endpoint.capabilities if self._endpoint else frozenset(Capability)

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """Why each missing capability is missing; nothing is known before `start`."""
        return self._endpoint.lacks if self._endpoint else MappingProxyType({})

    def check_options(self) -> None:
        """Find what can be found wrong without asking Docker.

        Raises:
            SettingsError: an option is not for this target.
            TargetUnavailable: there is no token, or testcontainers is not installed.
        """
        for field, option in _NOT_TAKEN.items():
            if (value := getattr(self._options, field)) is not None:
                raise SettingsError(option, str(value), "nothing: the localstack target starts a container of its own")
        self._token()
        _require_testcontainers()

    def start(self) -> Environment:
        """Start the container, wait until it is ready, and deploy the stack into it.

        Raises:
            SettingsError: an option is not for this target.
            TargetUnavailable: token, testcontainers, Docker, the image, the service or its name are missing.
            TargetDied: the container ended, or was not ready in time; with the end of its log.
            TargetError: the stack could not be deployed.
        """
        with self._lock:
            self.check_options()
            self._container = make_container(self._token())
            try:
                self._run(self._container)
                self._endpoint = self._make_endpoint()
                # Nobody else has it, and whatever the run makes goes with the container.
                return replace(self._endpoint.start(), is_shared=False)
            except BaseException as error:
                try:
                    self.stop()
                except TeardownError as left:
                    error.add_note(str(left))
                raise

    def check(self) -> None:
        """Make sure that the container still runs.

        Raises:
            TargetUnavailable: it was not started.
            TargetDied: it does not run any more; with the end of its log.
        """
        if self._container is None or self._endpoint is None:
            raise TargetUnavailable("The localstack target was not started.")
        from docker.errors import DockerException  # noqa: PLC0415 - an extra: imported where it is needed

        try:
            self._container.reload()
            status = self._container.status
        except (DockerException, OSError) as error:  # somebody removed it, or Docker is gone
            raise self._died(f"cannot be found any more ({_first_line(error)})") from None
        if status != "running":
            raise self._died(f"is {status} instead of running")
        self._endpoint.check()

    def stop(self) -> None:
        """Take the container away with all that is in it; without effect when not started or already stopped.

        Raises:
            TeardownError: the container is still there.
        """
        with self._lock, contextlib.ExitStack() as last_first:
            endpoint, self._endpoint = self._endpoint, None
            container, self._container = self._container, None
            folder, self._folder = self._folder, None
            if folder is not None:
                last_first.callback(folder.cleanup)
            if container is not None:
                last_first.callback(_remove, container)
            if endpoint is not None:
                with contextlib.suppress(TargetError):  # what it cannot take out of the container goes with that
                    endpoint.stop()

    def _run(self, container: DockerContainer) -> None:
        """Start the container and return when it is ready."""
        from docker.errors import DockerException  # noqa: PLC0415 - an extra: imported where it is needed
        from testcontainers.core.exceptions import ContainerConnectException  # noqa: PLC0415 - the same

        # What testcontainers raises holds the whole log, the token perhaps among it: ours shows its end without it.
        try:
            container.start()
        except TimeoutError:
            raise self._died(f"was not ready within {READY_WITHIN:.0f} s") from None
        except (DockerException, OSError, ContainerConnectException) as error:  # the last: the reaper's
            reason = self._without_token(_first_line(error))
            raise TargetUnavailable(
                f"Docker could not start {IMAGE} ({reason}): see that it can be pulled and that nothing else, such as "
                f"another LocalStack, has the ports {GATEWAY_PORT} and {BROKER_PORTS.start} to {BROKER_PORTS.stop - 1}."
            ) from None
        except RuntimeError:
            raise self._died("ended before it was ready") from None

    def _make_endpoint(self) -> EndpointTarget:
        """Return the emulator that has started, as the ``endpoint`` target would be told of it."""
        host, port = _find_broker()
        _require_loopback(host, port)
        self._folder = TemporaryDirectory(prefix="thingwright-localstack-")
        ca_file = Path(self._folder.name, "ca.pem")
        ca_file.write_bytes(_read_ca())
        found = TargetOptions(
            endpoint_url=_URL,
            iot_endpoint=host,
            mqtts_port=port,
            wss_port=port,
            ca_file=ca_file,
            stack=self._options.stack,
            receiver_url=self._options.receiver_url,
            receiver_secret=self._options.receiver_secret,
            receiver_table=self._options.receiver_table,
        )
        return EndpointTarget(found, names=self._names, name=self.name)

    def _died(self, how: str) -> TargetDied:
        """Return the error that tells what became of the container, with the end of its log."""
        lines: list[str] = []
        if self._container is not None:
            with contextlib.suppress(Exception):  # a log that cannot be read must not hide what happened
                text = "\n".join(stream.decode("utf-8", "replace") for stream in self._container.get_logs())
                lines = [line for line in self._without_token(text).splitlines() if line.strip()]
        return TargetDied("LocalStack container", how, tail=lines[-_TAIL_LINES:])

    def _token(self) -> str:
        if not self._options.localstack_token:
            raise TargetUnavailable(
                "The localstack target needs a LocalStack auth token: set LOCALSTACK_AUTH_TOKEN, in CI to a CI token, "
                "or take --target embedded, which needs none."
            )
        return self._options.localstack_token

    def _without_token(self, text: str) -> str:
        return text.replace(self._token(), "***")


def _require_testcontainers() -> None:
    if find_spec("testcontainers") is None:
        raise TargetUnavailable(_EXTRA)


def _find_broker() -> tuple[str, int]:
    """Ask where the broker is, which starts it, and return its host and port.

    Raises:
        TargetUnavailable: the service does not answer, or does not say where the broker is.
    """
    credentials = Credentials(access_key_id="test", secret_access_key="test")  # noqa: S106 - what LocalStack documents
    iot = make_client("iot", region=REGION, endpoint_url=_URL, credentials=credentials)
    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            address = str(iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"])
        except ReadTimeoutError as error:
            failure = error
        except (BotoCoreError, ClientError) as error:
            failure = error
            break
        else:
            host, _, port = address.partition(":")
            if host and port.isdecimal():
                return host, int(port)
            raise TargetUnavailable(f"LocalStack answers {address!r} to DescribeEndpoint, which is no host and port.")
    raise TargetUnavailable(
        f"LocalStack's IoT service does not answer ({failure}): it is not part of every plan, so see which plan the "
        "token in LOCALSTACK_AUTH_TOKEN belongs to."
    )


def _require_loopback(host: str, port: int) -> None:
    """Make sure that a name leads to this machine, where the container's ports are.

    Raises:
        TargetUnavailable: it leads elsewhere, or nowhere.
    """
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        found, seen = set(), f"it is not known: {error}"
    else:
        seen = f"it leads to {', '.join(sorted(found))}"
    if not found or not all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found):
        raise TargetUnavailable(
            f"The name of LocalStack's broker, {host}, has to lead to 127.0.0.1, and {seen}: some name servers filter "
            f"such answers, so put the line `127.0.0.1 {host}` into the hosts file."
        )


def _read_ca() -> bytes:
    """Return LocalStack's root certificate, PEM, made anew by each container.

    Raises:
        TargetUnavailable: it is not there.
    """
    try:
        answer = httpx.get(_URL + _CA_PATH, timeout=_CA_WITHIN, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise TargetUnavailable(f"LocalStack does not give the CA of its broker at {_CA_PATH}: {error}") from error
    if b"-----BEGIN CERTIFICATE-----" not in answer.content:
        raise TargetUnavailable(f"What LocalStack gives at {_CA_PATH} is no certificate in PEM.")
    return answer.content


def _remove(container: DockerContainer) -> None:
    """Remove a container, running or not, that there may be.

    Raises:
        TeardownError: it is still there.
    """
    from docker.errors import DockerException, NotFound  # noqa: PLC0415 - an extra: imported where it is needed

    try:
        container.stop()
    except NotFound:
        return  # somebody was faster
    except (DockerException, OSError) as error:
        identifier = container.get_wrapped_container().short_id
        raise TeardownError(
            [f"LocalStack's container {identifier} ({_first_line(error)})"],
            remedy=f"remove it with `docker rm --force --volumes {identifier}`",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
