"""The ``endpoint`` target: a stand-in or an emulator of AWS that already runs somewhere else.

A stand-in of this project is known by its ready file, stack included. Any other emulator is known by the URL of its AWS
APIs: they tell where its broker is and whose account it is, and this project's Pulumi program is deployed to it for the
run. What it can is not read from a list of products but tried (`harness.targets.probed`).
"""

from __future__ import annotations

import re
import shlex
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from harness.errors import ProvisioningError, SettingsError, TargetError, TargetUnavailable
from harness.targets import ready
from harness.targets.base import Capability, Credentials, Environment
from harness.targets.embedded.options import DEFAULT_STACK
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions
from harness.targets.outputs import StackOutputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.targets.marks import Mark

_REGION_WITHOUT_A_NAME: Final = "us-east-1"
_REGION_IN_HOST: Final = re.compile(r"(?:^|\.)iot\.([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.")
_AWS: Final = re.compile(r"(?:^|\.)amazonaws\.com(?:\.cn)?\.?$", re.IGNORECASE)
_TABLE: Final = re.compile(r"[A-Za-z0-9._-]{3,255}")
_CREATE_DESTINATION: Final = "iot:CreateTopicRuleDestination"
_KEYS_OF_EMULATORS: Final = "test"
_MQTTS_PORT: Final = 8883
_WSS_PORT: Final = 443
_BETWEEN_CHECKS: Final = 5.0
"""Seconds in which a server that answered counts as running: `check` is called around every test."""


class _Deployment(Protocol):
    @property
    def lacking(self) -> Mapping[str, str]: ...

    def deploy(self) -> dict[str, Any]: ...

    def remove(self) -> None: ...

    def mark_of_table(self, name: str) -> Mark | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker is said to be.

    Args:
        host: bare.
        port: of MQTT over WebSocket and HTTPS; None where none is named.
    """

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Read ``host`` or ``host:port``; None when it is neither."""
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not host or parts.netloc != text or parts.username is not None:
            return None
        return cls(host=host, port=port)

    @property
    def is_aws(self) -> bool:
        """Whether it is a host of AWS itself."""
        return is_aws_host(self.host)

    @property
    def region(self) -> str | None:
        """The region that the host names as AWS's own do, ``….iot.eu-west-1.…``; None when it names none."""
        found = _REGION_IN_HOST.search(self.host)
        return found[1] if found else None


def is_aws_host(host: str) -> bool:
    """Tell whether a host is one of AWS itself, in China or elsewhere."""
    return _AWS.search(host) is not None


class EndpointTarget:
    """Runs at a server that was started elsewhere, and leaves it as it was.

    Args:
        options: a ready file, or a URL and what goes with it; a path alone is a ready file.
        names: makes the names of everything the run creates; fresh ones when None.
        name: the target that this is part of, where another one has started the server.
        now: seconds of a clock that never goes back.
    """

    patience: float = 20.0

    def __init__(
        self,
        options: TargetOptions | Path | None,
        *,
        names: Names | None = None,
        name: str = "endpoint",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._options = options if isinstance(options, TargetOptions) else TargetOptions(ready_file=options)
        self._names = names or Names(make_run_id())
        self._now = now
        self._emulator: _Emulator | None = None
        self._lock = threading.Lock()  # who stops a target that is just starting waits, and then takes the stack away

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All, but what a stack without a rule cannot show."""
        return frozenset(Capability) - self.lacks.keys()

    @property
    def lacks(self) -> Mapping[Capability, str]:
        """What the deployed stack lacks, and why; what the server lacks shows when it is tried."""
        return MappingProxyType(self._emulator.lacks if self._emulator else {})

    @property
    def is_probed(self) -> bool:
        """True for a server that is known by its URL alone."""
        return self._options.endpoint_url is not None

    def check_options(self) -> None:
        """Make sure that the options tell of one server, and that a ready file's stand-in runs.

        Raises:
            SettingsError: they contradict each other, or one has a value that is not accepted.
            TargetUnavailable: there is neither file nor URL, or the file tells of nothing that runs.
        """
        options = self._options
        if options.endpoint_url is not None:
            check_url_options(options)
            return
        for option, value in (
            ("--iot-endpoint", options.iot_endpoint),
            ("--mqtts-port", options.mqtts_port),
            ("--wss-port", options.wss_port),
            ("--ca-file", options.ca_file),
            ("--receiver-url", options.receiver_url),
            ("--receiver-table", options.receiver_table),
        ):
            if value is not None:
                raise SettingsError(option, str(value), "it goes with --endpoint-url, a ready file says it by itself")
        self._read()

    def start(self) -> Environment:
        """Read the ready file, or find out where everything is and deploy the stack.

        Raises:
            SettingsError: as for `check_options`.
            TargetUnavailable: the same; or nothing answers, or the broker's host is unknown here.
            ProvisioningError: the stack could not be deployed.
        """
        if self._options.endpoint_url is None:
            self.check_options()
            return Environment.from_ready(self.name, self._read(), names=self._names, is_shared=True)
        with self._lock:
            self.check_options()
            emulator = _Emulator(self._options, target=self.name, names=self._names, now=self._now)
            environment = emulator.start()
            self._emulator = emulator
            return environment

    def check(self) -> None:
        """Make sure that the server still answers; asked again after some seconds only.

        Raises:
            TargetUnavailable: it does not; or the ready file is gone, or another stand-in took its place.
        """
        if self._options.endpoint_url is None:
            self._read()
        elif self._emulator:
            self._emulator.check()

    def stop(self) -> None:
        """Take the stack away again; the server stays, whoever started it stops it.

        Raises:
            TeardownError: something of the stack is left.
        """
        with self._lock:
            if self._emulator:
                self._emulator.stop()

    def _read(self) -> ready.ReadyFile:
        if self._options.ready_file is None:
            raise TargetUnavailable(
                f"The {self.name} target needs a server that runs: give --ready-file=F (or HARNESS_READY_FILE) of a "
                "`thingwright serve --ready-file F`, or --endpoint-url=URL (or HARNESS_ENDPOINT_URL) of an emulator."
            )
        return ready.read(self._options.ready_file)


def check_url_options(options: TargetOptions) -> None:
    """Find what is wrong with a URL and what goes with it, without asking anybody.

    Raises:
        SettingsError: one of them is not accepted; names it.
    """
    if options.ready_file is not None:
        raise SettingsError("--ready-file", str(options.ready_file), "either a ready file or --endpoint-url, not both")
    _check_url("--endpoint-url", options.endpoint_url or "", schemes=("http", "https"))
    if is_aws_host(urlsplit(options.endpoint_url or "").hostname or ""):
        raise SettingsError("--endpoint-url", options.endpoint_url, "an emulator's URL; AWS itself is --target aws")
    _check_broker(options)
    check_receiver(options)
    if (options.access_key_id is None) != (options.secret_access_key is None):
        missing = "HARNESS_ACCESS_KEY_ID" if options.access_key_id is None else "HARNESS_SECRET_ACCESS_KEY"
        raise SettingsError(missing, "", "both HARNESS_ACCESS_KEY_ID and HARNESS_SECRET_ACCESS_KEY, or neither")
    if options.stack is not None and not (options.stack / "Pulumi.yaml").is_file():
        raise SettingsError("iot_stack", str(options.stack), "the folder of a Pulumi program, with a Pulumi.yaml")


def check_receiver(options: TargetOptions) -> None:
    """Find what is wrong with a receiver's URL and what goes with it.

    Raises:
        SettingsError: one of them is not accepted, or missing; names it.
    """
    table = options.receiver_table
    if options.receiver_url is None:
        if table is not None:
            raise SettingsError("--receiver-table", table, "it goes with --receiver-url")
        return
    _check_url("--receiver-url", options.receiver_url, schemes=("https",))
    if not options.receiver_secret:
        raise SettingsError("HARNESS_IOT_SECRET", "", "the secret that the receiver of --receiver-url expects")
    if table is None and options.stack is None:  # another program may have its rows elsewhere
        raise SettingsError("--receiver-table", "", "the TABLE_NAME of the receiver of --receiver-url")
    if table is not None and not _TABLE.fullmatch(table):
        raise SettingsError("--receiver-table", table, "a DynamoDB table's name: 3 to 255 of A-Z a-z 0-9 . _ -")


def _check_broker(options: TargetOptions) -> None:
    if options.iot_endpoint is not None:
        address = Address.parse(options.iot_endpoint)
        if address is None:
            raise SettingsError("--iot-endpoint", options.iot_endpoint, "a host without scheme and path")
        if address.is_aws:
            raise SettingsError("--iot-endpoint", options.iot_endpoint, "an emulator's; AWS itself is --target aws")
    for option, port in (("--mqtts-port", options.mqtts_port), ("--wss-port", options.wss_port)):
        if port is not None and not 1 <= port <= 65_535:
            raise SettingsError(option, port, "a port, 1 to 65535")
    if options.ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(options.ca_file)
        except OSError:  # ssl.SSLError is one
            raise SettingsError("--ca-file", str(options.ca_file), "a PEM file of CA certificates") from None


def _check_url(option: str, url: str, *, schemes: tuple[str, ...]) -> None:
    accepted = f"{' or '.join(f'{scheme}://' for scheme in schemes)}HOST[:PORT], without user, path and query"
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise SettingsError(option, "…", accepted) from None
    has_more = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in schemes or not is_whole or has_more:
        told = f"{parts.scheme}://{parts.hostname}…" if is_whole else parts.scheme  # the rest may be a secret
        raise SettingsError(option, told, accepted)


@dataclass(slots=True, kw_only=True)
class _Found:
    """What a server tells of itself, and the user's options in its place."""

    host: str
    mqtts_port: int
    wss_port: int
    region: str
    account_id: str


@dataclass(slots=True)
class _Emulator:
    """A server known by its URL, from the first question to the removal of the stack.

    Args:
        options: checked.
        target: the target's name.
        names: the run's.
        now: seconds of a clock that never goes back.
        lacks: what the stack lacks, once it is deployed.
    """

    options: TargetOptions
    target: str
    names: Names
    now: Callable[[], float]
    lacks: dict[Capability, str] = field(default_factory=dict)
    _deployment: _Deployment | None = None
    _client: Any = None
    _answered_at: float = 0.0
    _checking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Base URL of its AWS APIs, without a slash at its end."""
        return (self.options.endpoint_url or "").rstrip("/")

    @property
    def credentials(self) -> Credentials:
        """Of the run's own, never those of the user's AWS settings."""
        return Credentials(
            access_key_id=self.options.access_key_id or _KEYS_OF_EMULATORS,
            secret_access_key=self.options.secret_access_key or _KEYS_OF_EMULATORS,
        )

    @property
    def _ca_file(self) -> str | None:
        return str(self.options.ca_file.absolute()) if self.options.ca_file else None

    def start(self) -> Environment:
        found = self._find()
        environment = Environment(
            target=self.target,
            region=found.region,
            account_id=found.account_id,
            iot_endpoint=found.host,
            mqtts_port=found.mqtts_port,
            wss_port=found.wss_port,
            names=self.names,
            control_plane_url=self.url,
            ca_file=self._ca_file,
            credentials=self.credentials,
            is_shared=True,
            owns_stack=True,
        )
        try:
            outputs = self._deploy(found)
        except BaseException as error:
            self._remove_after(error)
            raise
        self._client = environment.client("sts")
        self._answered_at = self.now()
        return replace(environment, stack_outputs=outputs)

    def check(self) -> None:
        """Ask again whether it answers, unless it has just done so."""
        with self._checking:
            if self._client is not None and self.now() - self._answered_at >= _BETWEEN_CHECKS:
                self._ask(self._client.get_caller_identity, is_refusal_fine=True)
                self._answered_at = self.now()

    def stop(self) -> None:
        """Take the stack away; without effect when that has happened."""
        with self._checking:
            if self._client is not None:
                self._client.close()
                self._client = None
        if self._deployment is not None:
            deployment, self._deployment = self._deployment, None
            try:
                deployment.remove()
            except KeyboardInterrupt:
                self._deployment = deployment  # whoever stops again removes what is left
                raise

    def _find(self) -> _Found:
        given = Address.parse(self.options.iot_endpoint) if self.options.iot_endpoint else None
        iot = self._make_client("iot", region=_REGION_WITHOUT_A_NAME)
        try:
            told = self._ask(lambda: iot.describe_endpoint(endpointType="iot:Data-ATS"), is_refusal_fine=bool(given))
        finally:
            iot.close()
        text = str(told.get("endpointAddress", "")) if told else ""
        described = Address.parse(text)
        if given is None and (described is None or described.is_aws):
            raise TargetUnavailable(
                f"DescribeEndpoint of {self.url} answers {text!r}, and that is no host of an emulator: "
                "say with --iot-endpoint=HOST where its broker is."
            )
        address = given or described
        assert address is not None  # noqa: S101 - for the type checker: without either it was refused above
        self._resolve(address.host, is_given=given is not None)
        region = (described.region if described else None) or address.region or _REGION_WITHOUT_A_NAME
        sts = self._make_client("sts", region=region)
        try:
            identity = self._ask(sts.get_caller_identity)
        finally:
            sts.close()
        return _Found(
            host=address.host,
            mqtts_port=self.options.mqtts_port or _MQTTS_PORT,
            wss_port=self.options.wss_port or address.port or _WSS_PORT,
            region=region,
            account_id=str(identity["Account"]),
        )

    def _resolve(self, host: str, *, is_given: bool) -> None:
        if host.lower().endswith(".localhost"):
            return  # this machine, whatever its resolver knows (RFC 6761); the clients go by the same rule
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            if is_given:
                raise SettingsError("--iot-endpoint", host, "a host that this machine can resolve") from None
            raise TargetUnavailable(
                f"DescribeEndpoint of {self.url} answers {host}, which this machine cannot resolve: "
                "say with --iot-endpoint=HOST where the broker is."
            ) from None

    def _deploy(self, found: _Found) -> StackOutputs:
        from harness.targets.deploying import StackDeployment  # noqa: PLC0415 - not for ready files

        options = self.options
        config = {"iotMqttsPort": str(found.mqtts_port), "iotWssPort": str(found.wss_port)}
        if self._ca_file:
            config["caFile"] = self._ca_file
        if options.receiver_url and options.receiver_secret:
            config |= {"receiverUrl": options.receiver_url, "iotSecret": options.receiver_secret}
        if options.receiver_table:
            config["tableName"] = options.receiver_table
        self._deployment = deployment = StackDeployment(
            program=options.stack or DEFAULT_STACK,
            region=found.region,
            endpoint_url=self.url,
            ca_file=options.ca_file,
            credentials=self.credentials,
            run_id=self.names.run_id,
            config=config,
        )
        try:
            told = StackOutputs.parse(deployment.deploy())
        except ProvisioningError as error:
            if options.receiver_table is not None and "ResourceInUse" in error.reason:
                mark = deployment.mark_of_table(options.receiver_table)
                raise TargetUnavailable(self._whose_table(options.receiver_table, mark, region=found.region)) from None
            if error.call == _CREATE_DESTINATION and "ResourceAlreadyExists" in error.reason:
                raise TargetUnavailable(
                    f"A destination for the receiver {options.receiver_url} is there already: a receiver serves one "
                    "run at a time, so wait for the other one. If a run that was killed has left it, `aws iot "
                    f"--endpoint-url {self.url} --region {found.region} list-topic-rule-destinations` shows its ARN, "
                    "and delete-topic-rule-destination removes it."
                ) from None
            raise
        self._note_lacking(told, deployment.lacking)
        host = f"[{found.host}]" if ":" in found.host else found.host
        authority = host if found.wss_port == _WSS_PORT else f"{host}:{found.wss_port}"
        return replace(
            told,
            iot_endpoint=found.host,
            iot_mqtts_port=found.mqtts_port,
            iot_wss_url=f"wss://{authority}/mqtt",
            ca_file=self._ca_file,
        )

    def _whose_table(self, table: str, mark: Mark | None, *, region: str) -> str:
        """Say why a table that is there already is in the way, and what removes it; it is never removed unasked."""
        there = f"The table {table} is there already"
        one_at_a_time = "A receiver serves one run at a time, so wait for"
        if mark is None:
            return (
                f"{there}: no tag says which run made it. {one_at_a_time} the other one, or delete the table if a "
                "run that was killed has left it."
            )
        sweep = shlex.join(
            [
                *("thingwright", "sweep", "--delete", "--endpoint-url", self.url),
                *(("--region", region) if region != _REGION_WITHOUT_A_NAME else ()),
                *(("--ca-file", self._ca_file) if self._ca_file else ()),
            ]
        )
        if mark.has_expired(time.time()):
            return f"{there}: the run {mark.run_id} left it, which is over. `{sweep}` removes what has its mark."
        return (
            f"{there}: the run {mark.run_id} made it. {one_at_a_time} that one; if it was killed, "
            f"`{sweep} --run {mark.run_id}` removes what has its mark."
        )

    def _note_lacking(self, outputs: StackOutputs, lacking: Mapping[str, str]) -> None:
        """Say why there is no rule or no destination, where there is none."""
        why = " ".join(lacking.values())
        if not why and self.options.receiver_url is None:
            why = "no receiver was named with --receiver-url, so the stack has no rule"
        why = why or "the stack has no rule"
        if outputs.rule_name is None:
            self.lacks[Capability.HTTP_ACTION] = why
        if outputs.destination_arn is None:
            self.lacks[Capability.DESTINATION_CONFIRMATION] = why

    def _remove_after(self, error: BaseException) -> None:
        """Take away what a start that failed has made, without hiding why it failed."""
        try:
            self.stop()
        except TargetError as left:
            error.add_note(str(left))

    def _make_client(self, service: str, *, region: str) -> Any:
        from harness.targets.aws_clients import make_client  # noqa: PLC0415 - boto3 takes 0.2 s to import

        return make_client(
            service, region=region, endpoint_url=self.url, credentials=self.credentials, ca_file=self._ca_file
        )

    def _ask(self, call: Callable[[], Any], *, is_refusal_fine: bool = False) -> Any:
        """Make an AWS call.

        Args:
            call: makes it.
            is_refusal_fine: any answer will do; None stands for one that is a refusal.

        Raises:
            TargetUnavailable: nobody answers, or the answer is a refusal.
        """
        from botocore.exceptions import BotoCoreError, ClientError, SSLError  # noqa: PLC0415 - as above
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 - as above

        try:
            return call()
        except ClientError as error:
            if is_refusal_fine:
                return None
            told = error.response.get("Error", {})
            raise TargetUnavailable(
                f"{self.url} refuses {error.operation_name} ({told.get('Code')}): check the URL, and set "
                "HARNESS_ACCESS_KEY_ID and HARNESS_SECRET_ACCESS_KEY to keys that it accepts."
            ) from None
        except SSLError:
            raise TargetUnavailable(
                f"The certificate of {self.url} cannot be verified: give --ca-file=F with the CA that signed it."
            ) from None
        except (BotoCoreError, ResponseParserError) as error:
            raise TargetUnavailable(
                f"{self.url} does not answer as AWS does ({type(error).__name__}): start the emulator, or correct "
                "--endpoint-url."
            ) from None
