"""The one place where sockets, broker, registry, rules and trace meet.

Everything happens on one event loop, in turns. During a turn connections hand what they received to the broker; at its
end `Hub` runs once: it writes the broker's events into the trace, publishes the lifecycle events they call for, shows
messages to the rules, sends what each connection has to send in one write, and sets the clock for the next deadline. So
a burst costs one write per connection, however many messages it holds, and a lone message waits for nothing: rules go
to work on it when all that is written (`harness.embedded.rules.engine`).
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from harness.embedded.rules.engine import RuleEngine
from harness.embedded.rules.lazy_client import LazyHttpClient, receivers_tls
from harness.embedded.trace import Trace
from harness.embedded.trace_records import Descriptions, make_record
from harness.errors import HarnessError
from harness.iot.authorizer import RegistryAuthorizer
from harness.iot.lifecycle import LifecycleEvents
from harness.iot.limits import broker_options
from harness.iot.principals import SigV4Principal
from harness.iot.registry import Credential, RegistryChange, RegistrySnapshot
from harness.mqtt.authorization import ConnectionInfo
from harness.mqtt.broker import Broker
from harness.mqtt.events import Delivered, DisconnectReason, Published, Queued
from harness.mqtt.packets import NO_PROPERTIES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from harness.embedded.config import BrokerConfig
    from harness.embedded.rules.records import RuleRecord
    from harness.embedded.tls import TlsContexts
    from harness.embedded.trace_records import Record
    from harness.iot.quirks import Quirks
    from harness.mqtt.broker import PublishResult
    from harness.mqtt.connection import Connection
    from harness.mqtt.packets import Publish


class UnknownAccessKeyError(HarnessError):
    """A publish was asked for in the name of an access key that the registry does not have."""


class Flushable(Protocol):
    """What stands behind a `Connection.shell`."""

    def flush(self) -> None:
        """Write what the connection has to send, and close it if it is to be closed."""
        ...

    def abort(self) -> None:
        """Cut the connection off at once."""
        ...


class Hub:
    """Broker, registry, rules and trace of one process, driven by its event loop.

    Args:
        config: of the process.
        quirks: how AWS is taken to behave where it is not known.
        tls: where registered certificates become trusted.
        loop: the running loop; its clock is the broker's.

    Attributes:
        broker: of MQTT.
        trace: what happened.
        rules: what is done with messages beside the broker.

    Raises:
        OSError: a CA file of the configuration cannot be read.
    """

    def __init__(
        self, *, config: BrokerConfig, quirks: Quirks, tls: TlsContexts, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._propagation = quirks.propagation_delay
        root = Credential(
            access_key_id=config.access_key_id,
            secret_access_key=config.secret_access_key,
            principal_arn=f"arn:aws:iam::{config.account_id}:root",
            principal_id=config.account_id,
        )
        self._authorizer = RegistryAuthorizer(
            RegistrySnapshot(
                account_id=config.account_id, region=config.region, credentials={root.access_key_id: root}
            ),
            quirks=quirks,
        )
        self.broker = Broker(options=broker_options(quirks), authorizer=self._authorizer, make_id=make_id)
        self._lifecycle = LifecycleEvents(
            make_id=lambda: uuid.uuid4().hex, exclusive_thing=self._authorizer.exclusive_thing
        )
        descriptions = Descriptions(region=config.region, account_id=config.account_id)
        self.trace = Trace(describe=descriptions.describe, capacity=config.trace_capacity)
        ca_files = (config.ca_file, *config.http_ca_files) if config.ca_file else config.http_ca_files
        self.rules = RuleEngine(
            quirks=quirks,
            client=LazyHttpClient(receivers_tls(ca_files), loop=loop),
            record=self._record_rule,
            make_id=make_id,
            loop=loop,
        )
        self._readers: set[asyncio.Future[None]] = set()
        self._pending: deque[tuple[float, RegistryChange, Mapping[str, str]]] = deque()
        self._accepted_version = 0
        self._is_turn_due = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    # -- connections -------------------------------------------------------------------------------------------------

    def open_connection(
        self, shell: Flushable, *, principal: object, transport: str, remote: str, server_name: str | None
    ) -> Connection:
        """Let the broker talk to an authenticated peer; it still has to CONNECT."""
        connection = self.broker.open_connection(
            principal=principal, transport=transport, remote=remote, server_name=server_name, now=self._loop.time()
        )
        connection.shell = shell
        self.wake()
        return connection

    def wake(self) -> None:
        """Run once at the end of this turn of the loop: the broker was given something."""
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._turn)

    def publish(self, publish: Publish, info: ConnectionInfo) -> PublishResult:
        """Publish for a principal without a connection."""
        result = self.broker.publish(publish, info=info, now=self._loop.time())
        self.wake()
        return result

    def publish_as(self, access_key_id: str, publish: Publish) -> PublishResult:
        """Publish for the holder of an access key, whose signature the control plane has checked.

        Raises:
            UnknownAccessKeyError: there is no such key.
        """
        credential = self.find_credential(access_key_id)
        if credential is None:
            raise UnknownAccessKeyError(f"there is no access key {access_key_id}")
        info = ConnectionInfo(
            connection_id=make_id(),
            principal=SigV4Principal.of(credential),
            transport="iot-data",
            remote="",
        )
        return self.publish(publish, info)

    def disconnect(self, client_id: str) -> bool:
        """Cut a client's connection as a broken network does: no DISCONNECT, no TLS farewell.

        Returns:
            Whether there was such a client.
        """
        connection = self.broker.connections.get(client_id)
        if connection is None:
            return False
        shell: Flushable = connection.shell
        self.broker.disconnect(
            client_id,
            reason=DisconnectReason.CONNECTION_LOST,
            reason_code=None,
            now=self._loop.time(),
            because="the fault API cut the connection",
        )
        shell.abort()
        self.wake()
        return True

    def shut_down(self, *, reason_code: int) -> int:
        """Tell every client that this is the end, without wills; return how many there were."""
        client_ids = list(self.broker.connections)
        for client_id in client_ids:
            self.broker.disconnect(
                client_id,
                reason=DisconnectReason.SERVER_INITIATED_DISCONNECT,
                reason_code=reason_code,
                now=self._loop.time(),
                send_will=False,
                because="the broker shuts down",
            )
        self._turn()
        return len(client_ids)

    # -- registry ----------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> RegistrySnapshot:
        """The registry in force."""
        return self._authorizer.snapshot

    def find_credential(self, access_key_id: str) -> Credential | None:
        """Return a credential of the registry in force."""
        return self.snapshot.credentials.get(access_key_id)

    def why_not_live(self, principal: object) -> str | None:
        """Return None when a principal may connect, else why not."""
        return self._authorizer.is_live(principal)

    def change_registry(
        self, change: RegistryChange, *, account: Mapping[str, str] | None = None, delay: float | None = None
    ) -> int:
        """Put a change in force, live connections included; or, with a delay, later and in order.

        Args:
            change: what changed.
            account: ``account_id`` and ``region`` where they changed.
            delay: seconds until it holds; None for what the quirk says.

        Returns:
            The version of the registry that has the change.

        Raises:
            ssl.SSLError: a certificate cannot be read; nothing changed.
            HarnessError: a rule cannot be run; nothing changed.
        """
        delay = self._propagation if delay is None else delay
        self.rules.prepare(change)
        self._tls.trust(certificate.pem for certificate in change.put.get("certificates", ()))
        self._accepted_version += 1
        if delay <= 0 and not self._pending:
            self._put_in_force(change, account or {})
        else:
            due = self._loop.time() + max(delay, 0.0)
            self._pending.append((max(due, self._pending[-1][0] if self._pending else due), change, account or {}))
            self._loop.call_at(self._pending[-1][0], self._put_next_in_force)
        return self._accepted_version

    def _put_next_in_force(self) -> None:
        _, change, account = self._pending.popleft()
        self._put_in_force(change, account)

    def _put_in_force(self, change: RegistryChange, account: Mapping[str, str]) -> None:
        before = self.snapshot
        snapshot = replace(
            before,
            account_id=account.get("account_id", before.account_id),
            region=account.get("region", before.region),
        )
        self._authorizer.update(snapshot.apply(change))
        self.rules.update(self.snapshot)
        if change.put.get("certificates") or change.drop.get("certificates") or change.drop.get("credentials"):
            self.broker.reauthenticate(self.why_not_live, self._loop.time())
            self.wake()

    # -- trace -------------------------------------------------------------------------------------------------------

    def record(self, record: Record) -> int:
        """Write a record into the trace and return its number."""
        self.trace.add(record, at=time.time())
        self._tell_readers()
        return self.trace.last_seq

    def _record_rule(self, record: RuleRecord) -> None:
        self.trace.add(record, at=time.time(), held_bytes=record.held_bytes)
        self._tell_readers()

    def record_refusal(self, kind: str, **detail: Any) -> None:
        """Write into the trace that somebody was not let in."""
        self.record(make_record(kind, **detail))

    def next_record(self) -> asyncio.Future[None]:
        """Return a future that is done when the trace has grown; cancel it when it is not needed any more."""
        reader: asyncio.Future[None] = self._loop.create_future()
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return reader

    def _tell_readers(self) -> None:
        for reader in list(self._readers):
            if not reader.done():
                reader.set_result(None)

    # -- the end of a turn -------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_turn_due = False
        now = self._loop.time()
        self._take_events(now)
        while dirty := self.broker.take_dirty():
            for connection in dirty:
                if connection.shell is not None:
                    connection.shell.flush()
        self._take_events(now)
        deadline = self.broker.next_deadline()
        if deadline is not None and (self._alarm is None or deadline < self._alarm_at):
            self._set_alarm(deadline)

    def _take_events(self, now: float) -> None:
        while events := self.broker.take_events():
            at = time.time()
            for event in events:
                if isinstance(event, Delivered | Queued):
                    self.trace.add(event, at=at, count=len(event.client_ids))
                elif isinstance(event, Published):
                    held_bytes = _held_bytes(event)
                    self.trace.add(event, at=at, held_bytes=held_bytes)
                    self.rules.offer(event, at, held_bytes)
                else:
                    self.trace.add(event, at=at)
                    for topic_name, payload in self._lifecycle.messages(event, at):
                        self.broker.publish_from_broker(topic_name, payload, now)
            self._tell_readers()

    def _set_alarm(self, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.broker.tick(self._loop.time())
        self.wake()


def _held_bytes(event: Published) -> int:
    """Count what a message keeps in memory: its payload, and of its properties what may be large."""
    properties = event.properties
    if properties is NO_PROPERTIES:
        return len(event.payload)
    texts = sum(len(name) + len(value) for name, value in properties.user_properties)
    return len(event.payload) + len(properties.correlation_data or b"") + texts


def make_id() -> str:
    """Make a message, request or connection id: a random UUID."""
    return str(uuid.uuid4())
