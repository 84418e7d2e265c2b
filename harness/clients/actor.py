"""What a guest and a device have in common: they connect, subscribe, publish, and remember what they heard.

How one of them proves who it is, and where it connects to, is its own module's affair.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self

from awscrt import mqtt5

from harness.clients.connection import Connection, Ended, NativeClient, stopped
from harness.clients.handover import Handover
from harness.clients.inbox import Delivery, Inbox
from harness.clients.loopback import reached_at
from harness.clients.message import Message, as_payload
from harness.clients.refusal import FIRST_FAILURE, Action, Refusal, how_refused
from harness.clients.settling import is_let_in, refused
from harness.clients.trace import detail, is_consent
from harness.clients.waiting import PATIENCE, STOP_WITHIN
from harness.errors import (
    ConnectionRefused,
    ExpectationError,
    HarnessError,
    OperationRefused,
    TargetUnavailable,
    TeardownError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from awscrt import io

    from harness.clients.message import Payload
    from harness.clients.refusal import How
    from harness.clients.spending import Budget
    from harness.clients.trace import Trace

_AWS_LIMITS: Final = mqtt5.ExtendedValidationAndFlowControlOptions.AWS_IOT_CORE_DEFAULTS
"""Among them: at most 100 publishes a second from one connection."""
_RECONNECT_AFTER_MS: Final = 1_000
"""AWS accepts one connection attempt a second from a client id."""
_RECONNECT_AT_LATEST_MS: Final = 4_000


class Endpoint(Protocol):
    """Where to connect to."""

    @property
    def host(self) -> str:
        """Bare host name or address."""
        ...

    @property
    def port(self) -> int:
        """TCP port."""
        ...


class Actor(ABC):
    """One MQTT 5 client: connects, subscribes, publishes, and remembers what it heard.

    It reconnects by itself when its connection breaks and subscribes again to what it had subscribed to. It belongs to
    the event loop it connects on.

    Args:
        client_id: MQTT client id.
        endpoint: where to connect to.
        patience: seconds a wait for something that should come may take.
        trace: the target's trace, where it has one: refusals and failures quote it.
        handover: shared by the actors of one test; one of its own when None.
        has_metrics: whether to name the SDK in the user name, as AWS's builders do.
        settles_within: seconds it may take until a change of what it may do holds, as on AWS; 0: it holds at once.
        budget: how many messages the run may have; None: as many as it likes.
    """

    def __init__(
        self,
        *,
        client_id: str,
        endpoint: Endpoint,
        patience: float = PATIENCE,
        trace: Trace | None = None,
        handover: Handover | None = None,
        has_metrics: bool = True,
        settles_within: float = 0.0,
        budget: Budget | None = None,
    ) -> None:
        self.client_id = client_id
        self.endpoint = endpoint
        self.inbox = Inbox(self.client_id, patience=patience, trace=trace)
        self._patience = patience
        self._trace = trace
        self._handover = handover
        self._has_metrics = has_metrics
        self._settles_within = settles_within
        self._budget = budget
        self._connection: Connection | None = None
        self._subscriptions: dict[str, int] = {}
        self._restored = 0
        self._not_restored = ""
        self._restoring: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client_id!r})"

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.has_stopped()  # whether or not it did: why it could not enter is what there is to tell
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def connections(self) -> int:
        """How often it has been connected so far, the present connection included."""
        return self._connection.ups if self._connection else 0

    def condition(self) -> str:
        """Say in a few words whether it is connected and what it listens to."""
        connection = self._connection
        if connection is None:
            return "is not connected"
        listens = f"listens to {', '.join(self._subscriptions)}" if self._subscriptions else "has not subscribed"
        if connection.is_up:
            again = f" for the {connection.ups}. time" if connection.ups > 1 else ""
            if self._not_restored:
                return f"is connected{again}, could not subscribe again to {self._not_restored}"
            return f"is connected{again}, {listens}"
        return f"lost its connection ({connection.ended or 'it was stopped'}), {listens}"

    async def connect(self, *, insist: bool = False) -> None:
        """Connect and wait for the CONNACK.

        Args:
            insist: take no refusal for an answer as long as what lets this one in may not yet hold; without effect
                where changes hold at once.

        Raises:
            ConnectionRefused: the broker, or what stands before it, did not let this client in; says how and, where
                known, why.
            TargetUnavailable: the endpoint cannot be reached.
        """
        __tracebackhide__ = True
        refusal = await self._try_connect()
        if refusal is not None and not (insist and await is_let_in(self._up(), within=self._settles_within)):
            await self.has_stopped()  # whether or not it did: the refusal is what there is to tell
            raise ConnectionRefused(self.client_id, how=refusal.how, because=refusal.because)

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Subscribe and wait for the SUBACK.

        Args:
            topic_filter: topic name, ``+`` and ``#`` allowed.
            qos: highest quality of service for deliveries, 0 or 1.

        Raises:
            OperationRefused: it was not granted; says how and, where known, why.
            ExpectationError: the broker did not answer in time.
        """
        __tracebackhide__ = True
        if (refusal := await self._try_subscribe(topic_filter, qos=qos)) is not None:
            raise self._refused(refusal)

    async def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe and wait for the UNSUBACK.

        Raises:
            HarnessError: the broker did not accept it.
            ExpectationError: the broker did not answer in time.
        """
        __tracebackhide__ = True
        outcome = await self._answer(
            self._up().unsubscribe(topic_filter, within=self._patience), f"an UNSUBACK for {topic_filter!r}"
        )
        if isinstance(outcome, Ended) or outcome >= FIRST_FAILURE:
            raise HarnessError(f"{self.client_id} could not unsubscribe from {topic_filter!r}: {outcome}")
        self._subscriptions.pop(topic_filter, None)

    async def publish(self, topic: str, payload: Payload, *, qos: int = 1, retain: bool = False) -> Message:
        """Publish; at QoS 1 return once the broker has acknowledged it.

        Args:
            topic: topic name.
            payload: text, bytes, or a value to be sent as JSON.
            qos: 0 or 1.
            retain: have the broker keep it for later subscribers.

        Raises:
            BudgetExceeded: the run may send no more; nothing was sent.
            OperationRefused: the broker did not take it; says how and, where known, why.
            ExpectationError: the broker did not answer in time.
        """
        __tracebackhide__ = True
        message = self._message(topic, payload, qos=qos)
        await self._send(message, retain=retain)
        return message

    async def expect_refusal(
        self,
        *,
        connect: bool = False,
        subscribe: str | None = None,
        publish: str | None = None,
        payload: Payload = "refuse me",
        qos: int = 1,
        retain: bool = False,
    ) -> Refusal:
        """Try one thing that has to be refused.

        Where changes take their time, it is tried again until it is refused: what was taken from this client may have
        been there a moment ago.

        Args:
            connect: try to connect.
            subscribe: topic filter to subscribe to.
            publish: topic name to publish to.
            payload: what to publish.
            qos: quality of service to publish or subscribe with; a QoS 0 publish is refused by a closed connection.
            retain: publish a message for the broker to keep.

        Returns:
            What was tried, how it was refused and, where known, why.

        Raises:
            BudgetExceeded: the run may send no more.
            ExpectationError: it was granted, where changes take their time again and again; or the broker did not
                answer in time.
            ValueError: not exactly one thing to try.
        """
        __tracebackhide__ = True
        if (connect, subscribe is not None, publish is not None).count(True) != 1:
            raise ValueError("expect_refusal takes exactly one of connect=True, subscribe=… and publish=…")
        action: Action
        attempt: Callable[[], Awaitable[Refusal | None]]
        undo: Callable[[], Awaitable[None]]
        if subscribe is not None:
            action, resource = "iot:Subscribe", subscribe
            attempt = partial(self._try_subscribe, subscribe, qos=qos)
            undo = partial(self.unsubscribe, subscribe)
        elif publish is not None:
            action, resource = "iot:Publish", publish
            content = as_payload(payload)
            attempt = partial(self._try_forbidden, publish, content, qos=qos, retain=retain)
            undo = _leave_it
        else:
            action, resource = "iot:Connect", self.client_id
            attempt, undo = self._try_to_come_in, self._get_out
        if (refusal := await refused(attempt, undo=undo, within=self._settles_within)) is not None:
            return refusal
        within = f" within {self._settles_within:g} s" if self._settles_within else ""
        raise ExpectationError(
            f"{self.client_id} was to be refused to {_in_words(action, resource)}{within}, and was allowed to",
            near_misses=await self._why_allowed(action, resource),
            trace=await self._tail(),
        )

    @asynccontextmanager
    async def expect_reconnect(self) -> AsyncIterator[None]:
        """Expect that the connection breaks within the block; leave it when it is back with all its subscriptions.

        Raises:
            ExpectationError: it is not back in time.
        """
        __tracebackhide__ = True
        before = self._up().ups
        yield
        try:
            await self._up().changes.until(lambda: self._restored > before or None, within=self._patience)
        except TimeoutError:
            raise ExpectationError(
                f"{self.client_id} was to be connected again within {self._patience:g} s; it {self.condition()}",
                trace=await self._tail(),
            ) from None

    async def stop(self) -> None:
        """Disconnect for good; without effect when that has happened.

        Raises:
            TeardownError: it does not stop.
        """
        if not await self.has_stopped():
            raise TeardownError([self.client_id], remedy=f"it did not stop within {STOP_WITHIN:g} s")

    async def has_stopped(self) -> bool:
        """Disconnect for good and tell whether that worked."""
        for task in self._restoring:
            task.cancel()
        has_stopped = await stopped(self._connection, within=STOP_WITHIN)
        self.inbox.close()
        return has_stopped

    async def _try_connect(self) -> Refusal | None:
        if self._connection is not None:
            raise HarnessError(f"{self.client_id} connects once; make another client")
        await self._prepare()
        self._handover = self._handover or Handover()
        self._connection = Connection(
            self._options(),
            handover=self._handover,
            on_message=self._deliver,
            on_up=self._came_up,
            on_down=self._went_down,
            make_client=self._make_native,
        )
        try:
            ended = await self._connection.start(within=self._patience)
        except TimeoutError:
            ended = Ended(error_name=f"no answer within {self._patience:g} s")
        if ended is None:
            return None
        if (how := how_refused(ended.error_name)) is None:
            await self.has_stopped()  # whether or not it did: the endpoint is what there is to tell of
            raise TargetUnavailable(f"{self.client_id} cannot reach {self.endpoint.host}:{self.endpoint.port}: {ended}")
        because = await self._why_not_let_in(self._trace, how) if self._trace else None
        return Refusal(action="iot:Connect", resource=self.client_id, how=how, because=because)

    async def _try_to_come_in(self) -> Refusal | None:
        if (refusal := await self._try_connect()) is not None:
            await self.stop()
        return refusal

    async def _get_out(self) -> None:
        """End the connection for good, and be as before the first."""
        if not await stopped(self._connection, within=STOP_WITHIN):
            raise TeardownError([self.client_id], remedy=f"it did not stop within {STOP_WITHIN:g} s")
        self._connection = None

    async def _try_forbidden(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> Refusal | None:
        return await self._try_publish(self._message(topic, payload, qos=qos), retain=retain, awaits_end=True)

    async def _try_subscribe(self, topic_filter: str, *, qos: int) -> Refusal | None:
        __tracebackhide__ = True
        outcome = await self._answer(
            self._up().subscribe(topic_filter, qos=qos, within=self._patience), f"a SUBACK for {topic_filter!r}"
        )
        if isinstance(outcome, int) and outcome < FIRST_FAILURE:
            self._subscriptions[topic_filter] = qos
            return None
        return await self._refusal("iot:Subscribe", topic_filter, outcome, acknowledgement="suback")

    async def _send(self, message: Message, *, retain: bool = False) -> None:
        """Publish a message.

        Raises:
            OperationRefused: the broker did not take it.
            ExpectationError: the broker did not answer in time.
        """
        __tracebackhide__ = True
        if (refusal := await self._try_publish(message, retain=retain)) is not None:
            raise self._refused(refusal)

    async def _try_publish(self, message: Message, *, retain: bool = False, awaits_end: bool = False) -> Refusal | None:
        __tracebackhide__ = True
        connection, topic, qos = self._up(), message.topic, message.qos
        if self._budget is not None:
            self._budget.take_messages()
        downs = connection.downs
        packet = mqtt5.PublishPacket(topic=topic, payload=message.payload, qos=mqtt5.QoS(qos), retain=retain)
        outcome = await self._answer(
            connection.publish(packet, within=self._patience),
            f"a PUBACK for {topic!r}" if qos else f"a connection to publish to {topic!r}",
        )
        if qos == 0 and outcome == 0 and awaits_end:
            try:
                outcome = await connection.until_down(downs, within=self._patience)
            except TimeoutError:
                return None
        if isinstance(outcome, int) and outcome < FIRST_FAILURE:
            return None
        return await self._refusal("iot:Publish", topic, outcome, acknowledgement="puback")

    def _message(self, topic: str, payload: Payload, *, qos: int) -> Message:
        return Message(
            topic, as_payload(payload), qos=qos, sender=self.client_id, patience=self._patience, trace=self._trace
        )

    async def _why_allowed(self, action: Action, resource: str) -> list[str]:
        """Tell what allowed what should have been refused; never raises, since a failure is about to be told."""
        try:
            records = await self._trace.records() if self._trace else []
        except TargetUnavailable:
            return []
        for record in reversed(records):
            says = detail(record)
            if (
                is_consent(record)
                and (record.get("client_id"), says.get("action")) == (self.client_id, action)
                and str(says.get("resource")).endswith(f"/{resource}")
            ):
                return [f"{action} was allowed to {self.client_id}: {says.get('because')}"]
        return []

    async def _tail(self) -> list[str]:
        return await self._trace.tail(client_ids=[self.client_id]) if self._trace else []

    async def _answer(self, answering: Awaitable[int | Ended], what: str) -> int | Ended:
        """Await the broker's answer.

        Raises:
            ExpectationError: none came in time; says how the connection stands.
        """
        __tracebackhide__ = True
        try:
            return await answering
        except TimeoutError:
            raise ExpectationError(
                f"{self.client_id} was to get {what} within {self._patience:g} s; it {self.condition()}",
                trace=await self._tail(),
            ) from None

    async def _refusal(self, action: Action, resource: str, outcome: int | Ended, *, acknowledgement: How) -> Refusal:
        how = acknowledgement if isinstance(outcome, int) else how_refused(outcome.error_name) or "hang-up"
        because = None
        if self._trace is not None:
            because = await self._trace.why_operation_refused(
                client_id=self.client_id, action=action, resource=resource
            )
        return Refusal(action=action, resource=resource, how=how, because=because)

    def _refused(self, refusal: Refusal) -> OperationRefused:
        return OperationRefused(
            self.client_id, action=refusal.action, resource=refusal.resource, how=refusal.how, because=refusal.because
        )

    def _make_native(self, options: mqtt5.ClientOptions) -> NativeClient:
        native: NativeClient = mqtt5.Client(options)
        return native

    def _up(self) -> Connection:
        if self._connection is None:
            raise HarnessError(f"{self.client_id} is not connected: await its connect() first")
        return self._connection

    def _options(self) -> mqtt5.ClientOptions:
        endpoint = self.endpoint
        return mqtt5.ClientOptions(
            host_name=reached_at(endpoint.host),
            port=endpoint.port,
            tls_ctx=self._tls_context(),
            connect_options=mqtt5.ConnectPacket(client_id=self.client_id, keep_alive_interval_sec=1_200),
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            # Whatever was under way when a connection ended is reported and not repeated: a refusal must not become a
            # loop.
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            extended_validation_and_flow_control_options=_AWS_LIMITS,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.NONE,
            min_reconnect_delay_ms=_RECONNECT_AFTER_MS,
            max_reconnect_delay_ms=_RECONNECT_AT_LATEST_MS,
            disable_metrics=not self._has_metrics,
        )

    # Called on the loop's thread by the connection.

    def _deliver(self, packet: mqtt5.PublishPacket, received_at: float) -> None:
        if self._budget is not None:
            self._budget.count_delivery()
        self.inbox.deliver(
            Delivery(
                topic=packet.topic,
                payload=bytes(packet.payload or b""),
                qos=int(packet.qos),
                retain=bool(packet.retain),
                properties=tuple((each.name, each.value) for each in packet.user_properties or ()),
                received_at=received_at,
            )
        )

    def _came_up(self, is_resumed: bool) -> None:  # noqa: FBT001 - a callback with one argument
        connection = self._up()
        if connection.ups > 1 and not is_resumed and self._subscriptions:
            task = asyncio.get_running_loop().create_task(self._restore(connection, connection.ups))
            self._restoring.add(task)
            task.add_done_callback(self._restoring.discard)
        else:
            self._restored = connection.ups

    async def _restore(self, connection: Connection, ups: int) -> None:
        """Subscribe again to everything; what fails is told by `condition`, since nobody awaits this."""
        self._not_restored = ""
        for topic_filter, qos in list(self._subscriptions.items()):
            try:
                outcome = await connection.subscribe(topic_filter, qos=qos, within=self._patience)
            except Exception as error:  # noqa: BLE001 - a task boundary: `condition` hands it on
                outcome = Ended(error_name=type(error).__name__)
            if isinstance(outcome, Ended) or outcome >= FIRST_FAILURE:
                why = str(outcome) if isinstance(outcome, Ended) else f"0x{outcome:02X}"
                self._not_restored = f"{topic_filter} ({why})"
                return
        self._restored = max(self._restored, ups)
        connection.changes.notify()

    def _went_down(self, ended: Ended) -> None:  # noqa: B027 - not everybody does something about it
        """Take in how the connection, or an attempt at one, ended."""

    # What a guest does in one way and a device in another.

    @abstractmethod
    async def _prepare(self) -> None:
        """Get what connecting takes and what cannot be had without waiting."""

    @abstractmethod
    def _tls_context(self) -> io.ClientTlsContext:
        """Return whom this one trusts and, over mutual TLS, what it presents."""

    @abstractmethod
    async def _why_not_let_in(self, trace: Trace, how: How) -> str | None:
        """Ask the trace why this one was not let in."""


async def _leave_it() -> None:
    """Take nothing back: what was published is."""


def _in_words(action: Action, resource: str) -> str:
    verb = action.removeprefix("iot:").lower()
    return verb if verb == "connect" else f"{verb} to {resource!r}"
