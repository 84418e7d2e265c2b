"""One MQTT 5 connection of the AWS Common Runtime, as an event loop sees it.

Everything the runtime calls back goes through a `Handover`, so the state here changes on the loop's thread alone. The
runtime reconnects by itself; this module counts how often the connection came up and went down, and what ended it last.
What an end means is for its users to say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError

from harness.clients.waiting import Changes, wait
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from harness.clients.handover import Handover

T = TypeVar("T")

_GIVEN_UP_OFFLINE: Final = "AWS_ERROR_MQTT5_OPERATION_FAILED_DUE_TO_OFFLINE_QUEUE_POLICY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a connection, or an attempt at one, ended.

    Args:
        error_name: the runtime's name of it, ``AWS_ERROR_…`` or ``AWS_IO_…``.
        reason_code: of the CONNACK or DISCONNECT that said so; None when the peer said nothing.
        reason_string: what the peer added in words.
    """

    error_name: str
    reason_code: int | None = None
    reason_string: str | None = None

    def __str__(self) -> str:
        code = "" if self.reason_code is None else f" 0x{self.reason_code:02X}"
        return self.error_name + code + (f" {self.reason_string!r}" if self.reason_string else "")


class NativeClient(Protocol):
    """The part of `awscrt.mqtt5.Client` that is used here."""

    def start(self) -> None:
        """Connect, and reconnect whenever the connection is lost."""
        ...

    def stop(self, disconnect_packet: mqtt5.DisconnectPacket | None = None) -> None:
        """Disconnect for good."""
        ...

    def publish(self, publish_packet: mqtt5.PublishPacket) -> Future[Any]:
        """Send a PUBLISH; the future holds its PUBACK."""
        ...

    def subscribe(self, subscribe_packet: mqtt5.SubscribePacket) -> Future[Any]:
        """Send a SUBSCRIBE; the future holds its SUBACK."""
        ...

    def unsubscribe(self, unsubscribe_packet: mqtt5.UnsubscribePacket) -> Future[Any]:
        """Send an UNSUBSCRIBE; the future holds its UNSUBACK."""
        ...


class Connection:
    """A connection that can be awaited; it belongs to the event loop of its handover.

    Args:
        options: everything but the callbacks, which are set here.
        handover: carries callbacks to the event loop.
        on_message: called on the loop's thread with each PUBLISH and when it was received (`time.monotonic` seconds).
        on_up: called on the loop's thread each time the connection comes up, with whether the broker resumed a session.
        on_down: called on the loop's thread each time the connection, or an attempt, ends.
        make_client: makes the native client.
    """

    def __init__(
        self,
        options: mqtt5.ClientOptions,
        *,
        handover: Handover,
        on_message: Callable[[mqtt5.PublishPacket, float], None],
        on_up: Callable[[bool], None],
        on_down: Callable[[Ended], None],
        make_client: Callable[[mqtt5.ClientOptions], NativeClient] = mqtt5.Client,
    ) -> None:
        self.is_up = False
        self.ups = 0
        self.downs = 0
        self.ended: Ended | None = None
        self.changes = Changes()
        self._is_stopped = False
        self._handover = handover
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        options.on_publish_callback_fn = self._received
        options.on_lifecycle_event_connection_success_fn = lambda data: handover.put(self._came_up, data)
        options.on_lifecycle_event_connection_failure_fn = lambda data: handover.put(self._failed, data)
        options.on_lifecycle_event_disconnection_fn = lambda data: handover.put(self._went_down, data)
        options.on_lifecycle_event_stopped_fn = lambda data: handover.put(self._stopped, data)
        self._client: NativeClient | None = make_client(options)

    async def start(self, *, within: float) -> Ended | None:
        """Connect for the first time.

        Returns:
            None when the connection is up, else how the attempt ended; the runtime then goes on trying until `stop`.

        Raises:
            TimeoutError: neither happened.
        """
        self._native().start()
        await self.changes.until(lambda: self.ups or self.downs or None, within=within)
        return None if self.ups else self.ended

    async def publish(self, packet: mqtt5.PublishPacket, *, within: float) -> int | Ended:
        """Publish; at QoS 1 wait for the PUBACK.

        Returns:
            The PUBACK's reason code, 0 at QoS 0; or how the connection ended before it came.

        Raises:
            AwsCrtError: the runtime does not send such a packet.
            TimeoutError: neither happened.
        """
        completion = await self._perform(lambda client: client.publish(packet), within=within)
        return completion if isinstance(completion, Ended) else int(completion.puback.reason_code or 0)

    async def subscribe(self, topic_filter: str, *, qos: int, within: float) -> int | Ended:
        """Subscribe and wait for the SUBACK.

        Returns:
            The SUBACK's reason code for the filter; or how the connection ended before it came.

        Raises:
            AwsCrtError: the runtime does not send such a packet.
            TimeoutError: neither happened.
        """
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic_filter, mqtt5.QoS(qos))])
        suback = await self._perform(lambda client: client.subscribe(packet), within=within)
        return suback if isinstance(suback, Ended) else int(suback.reason_codes[0])

    async def unsubscribe(self, topic_filter: str, *, within: float) -> int | Ended:
        """Unsubscribe and wait for the UNSUBACK; returns and raises as `subscribe` does."""
        packet = mqtt5.UnsubscribePacket([topic_filter])
        unsuback = await self._perform(lambda client: client.unsubscribe(packet), within=within)
        return unsuback if isinstance(unsuback, Ended) else int(unsuback.reason_codes[0])

    async def stop(self, *, within: float) -> None:
        """Disconnect and let go of the native client; without effect when that has happened.

        Raises:
            TimeoutError: it does not stop.
        """
        if self._client is not None:
            if not self._is_stopped:
                self._client.stop(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION))
            await self.changes.until(lambda: self._is_stopped or None, within=within)
            self._client = None

    async def until_down(self, downs: int, *, within: float) -> Ended:
        """Wait until the connection has ended more often than this.

        Raises:
            TimeoutError: it did not.
        """
        return await self.changes.until(lambda: self.ended if self.downs > downs else None, within=within)

    async def _perform(self, begin: Callable[[NativeClient], Future[T]], *, within: float) -> T | Ended:
        await self.changes.until(lambda: self.is_up or self._client is None or None, within=within)
        downs = self.downs
        operation = self._handover.completion(begin(self._native()))
        operation.add_done_callback(lambda _: self.changes.notify())

        def look() -> T | Ended | None:
            if operation.done():
                error = operation.exception()
                if error is None:
                    return operation.result()
                if not (isinstance(error, AwsCrtError) and error.name == _GIVEN_UP_OFFLINE):
                    raise error
            return self.ended if self.downs > downs else None

        return await self.changes.until(look, within=within)

    def _native(self) -> NativeClient:
        if self._client is None:
            raise HarnessError("this client was stopped")
        return self._client

    # On the runtime's threads: nothing but a hand-over.

    def _received(self, data: mqtt5.PublishReceivedData) -> None:
        self._handover.put(self._deliver, (data.publish_packet, time.monotonic()))

    # On the loop's thread.

    def _deliver(self, received: tuple[mqtt5.PublishPacket, float]) -> None:
        self._on_message(*received)

    def _came_up(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        self.is_up = True
        self.ups += 1
        self._on_up(bool(data.connack_packet.session_present))
        self.changes.notify()

    def _failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self._end(data.exception, data.connack_packet)

    def _went_down(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self._end(data.exception, data.disconnect_packet)

    def _stopped(self, _data: mqtt5.LifecycleStoppedData) -> None:
        self.is_up = False
        self._is_stopped = True
        self.changes.notify()

    def _end(self, error: Exception, packet: mqtt5.ConnackPacket | mqtt5.DisconnectPacket | None) -> None:
        self.is_up = False
        self.downs += 1
        code = None if packet is None or packet.reason_code is None else int(packet.reason_code)
        self.ended = Ended(
            error_name=getattr(error, "name", type(error).__name__),
            reason_code=code,
            reason_string=None if packet is None else packet.reason_string,
        )
        self._on_down(self.ended)
        self.changes.notify()


async def stopped(connection: Connection | None, *, within: float) -> bool:
    """Stop a connection if there is one; tell whether it stopped in time."""
    try:
        if connection is not None:
            await wait(connection.stop(within=within), within=within)
    except TimeoutError:
        return False
    return True
