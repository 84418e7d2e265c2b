"""The receiver as seen from outside: what was posted to it, how it answered, what it has counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness.clients.message import quoted
from harness.clients.waiting import PATIENCE
from harness.errors import ExpectationError, HarnessError, TargetUnavailable

if TYPE_CHECKING:
    from harness.clients.destinations import Destination
    from harness.clients.faults import Faults
    from harness.clients.message import Message
    from harness.clients.stories import Stories
    from harness.clients.story import Try

Sample: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name and its labels."""

INGEST: Final = "/ingest"
"""Path below the receiver's URL where readings go, and where destinations are confirmed."""

_FIRST_SUCCESS: Final = 200
_FIRST_REDIRECT: Final = 300
_SHOWN: Final = 8


class ReceiverView:
    """Looks at a receiver.

    Args:
        url: its base URL.
        tls: `ssl.SSLContext` that its certificate is checked with; True: httpx's own.
        stories: what became of messages.
        patience: seconds that it may take to answer.
    """

    def __init__(self, url: str, *, stories: Stories, tls: Any = True, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self._stories = stories
        self._patience = patience
        self._tls = tls
        self._counted_before: dict[Sample, float] | None = None

    @property
    def ingest_url(self) -> str:
        """Where rules post readings."""
        return self.url + INGEST

    async def deliveries(self, message: Message) -> list[Try]:
        """Wait until nothing more will become of a message, and return what its rules tried, in order.

        They are the tries of all rules, wherever they post to.

        Raises:
            ExpectationError: it is still on its way, or no rule listens to its topic.
            TargetUnavailable: the target has no trace.
        """
        __tracebackhide__ = True
        return (await self._stories.until_over(message)).tries

    async def expect_delivery(self, message: Message, *, status: int | None = None) -> Try:
        """Wait until nothing more will become of a message, whose last try has to be answered as expected.

        Args:
            message: what was published.
            status: of the answer; None means any success, 200 to 299.

        Raises:
            ExpectationError: it was answered otherwise, or not posted at all; tells what became of it.
            TargetUnavailable: the target has no trace.
        """
        __tracebackhide__ = True
        story = await self._stories.until_over(message)
        last = story.tries[-1] if story.tries else None
        seen = last.status if last else None
        fits = seen == status if status else seen is not None and _FIRST_SUCCESS <= seen < _FIRST_REDIRECT
        if last is not None and fits:
            return last
        outcome = "was not posted" if last is None else "was not" if seen is None else f"was answered {seen}"
        raise ExpectationError(
            f"{quoted(message.payload)} was to be answered {status or 'with success'}, and {outcome}",
            near_misses=[*await self._stories.told(message), *await self.told()],
            trace=await self._stories.tail(message.sender),
        )

    async def metrics(self) -> dict[Sample, float]:
        """Return what it exposes for Prometheus, by name and labels.

        Raises:
            TargetUnavailable: it does not answer, or not with metrics.
        """
        try:
            # A client for each look: a receiver may have been stopped and started since the last.
            async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._patience) as http:
                response = await http.get(f"{self.url}/metrics")
        except httpx.HTTPError as error:
            raise TargetUnavailable(
                f"The receiver at {self.url} does not answer: {error or type(error).__name__}"
            ) from error
        if response.status_code != httpx.codes.OK:
            raise TargetUnavailable(f"The receiver at {self.url} answered {response.status_code} to GET /metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }

    async def begin_counting(self) -> None:
        """Remember what it has counted by now; `counted` and failure messages tell what came on top."""
        self._counted_before = await self.metrics()

    async def counted(self, name: str, **labels: str) -> float:
        """Return by how much a metric has grown since the test began, summed over all labels that are not given.

        What other tests do to the same receiver at the same time counts too.

        Args:
            name: as exposed, for example ``receiver_rows_written_total``.
            labels: values to look at; of labels that are not given any value counts.

        Raises:
            HarnessError: nothing was counted under that name, ever; says what there is.
            TargetUnavailable: it does not answer.
        """
        now = await self.metrics()
        if name not in {sample for sample, _ in now}:
            there = ", ".join(sorted({sample for sample, _ in now if not sample.endswith("_created")}))
            raise HarnessError(f"the receiver has no metric {name}; it has {there}")
        wanted = labels.items()
        before = self._counted_before or {}
        return sum(
            value - before.get((sample, has), 0.0)
            for (sample, has), value in now.items()
            if sample == name and wanted <= dict(has).items()
        )

    async def told(self) -> list[str]:
        """Tell what it has counted since the test began, for a failure message; never raises."""
        if self._counted_before is None:
            return []
        try:
            now = await self.metrics()
        except TargetUnavailable as error:
            return [str(error)]
        grown = {
            sample: value - self._counted_before.get(sample, 0.0)
            for sample, value in now.items()
            if sample[0].endswith("_total") and value > self._counted_before.get(sample, 0.0)
        }
        if not grown:
            return ["the receiver has counted nothing since the test began"]
        lines = [f"  {_named(sample)} +{value:g}" for sample, value in sorted(grown.items(), key=str)[:_SHOWN]]
        return ["the receiver has counted since the test began, other tests of the same time included:", *lines]


class RunningReceiver(ReceiverView):
    """A further receiver of the target, for one test to stop and start.

    Args:
        name: what the target calls it; letters, digits and hyphens.
        url: its base URL, the same for all its life.
        faults: stops and starts it.
        stories: what became of messages.
        tls: `ssl.SSLContext` that its certificate is checked with; True: httpx's own.
        patience: seconds that it may take to answer.

    Attributes:
        destination: lets rules post to it; None until somebody has made one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        faults: Faults,
        stories: Stories,
        tls: Any = True,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(url, stories=stories, tls=tls, patience=patience)
        self.name = name
        self.is_running = True
        self.destination: Destination | None = None
        self._faults = faults

    @property
    def ingest_url(self) -> str:
        """Where rules post readings, with its name, of which the receiver takes no notice.

        A destination has neither name nor tags: by its URL a sweep knows whose it is.
        """
        return f"{super().ingest_url}?for={self.name}"

    async def stop(self, how: Literal["kill", "term"] = "kill") -> None:
        """End it; returns once it accepts no connections.

        Args:
            how: ``kill``, as a machine that is lost, or ``term``, as an orderly shutdown.
        """
        await self._faults.stop_receiver(self.name, how=how)
        self.is_running = False

    async def start(self) -> None:
        """Start it again, where it was; returns once it accepts connections."""
        await self._faults.start_receiver(self.name)
        self.is_running = True

    async def freeze(self) -> None:
        """Let it stand still, until `thaw` or `stop`."""
        await self._faults.freeze_receiver(self.name)

    async def thaw(self) -> None:
        """Let it go on where it was, with all that was sent to it meanwhile."""
        await self._faults.thaw_receiver(self.name)


def _named(sample: Sample) -> str:
    name, labels = sample
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels))
    return f"{name}{{{shown}}}" if shown else name
