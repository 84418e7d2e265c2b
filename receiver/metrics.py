"""What Prometheus is told. Label values come from closed sets, never from a request."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from receiver.errors import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RequestOutcome: TypeAlias = Literal[
    "stored", "wrong_secret", "foreign_device", "invalid", "too_large", "write_failed", "abandoned", "error"
]
ConfirmationOutcome: TypeAlias = Literal[
    "confirmed", "untrusted", "invalid", "too_large", "not_confirmed", "busy", "abandoned", "error"
]

_WRITE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)


class Metrics:
    """Counters of one application, in a registry of its own. Every series exists from the start, at zero.

    ``requests``, ``confirmations`` and ``write_failures`` are counters by outcome or kind.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._family(
            "receiver_requests",
            "Messages posted by rules, by what became of them.",
            "outcome",
            get_args(RequestOutcome),
        )
        self.confirmations = self._family(
            "receiver_confirmations",
            "Destination confirmations, by what became of them.",
            "outcome",
            get_args(ConfirmationOutcome),
        )
        self.write_failures = self._family(
            "receiver_write_failures", "Rows that could not be written, by why.", "kind", get_args(FailureKind)
        )
        self.rows_written = Counter("receiver_rows_written", "Rows in the table.", registry=self.registry)
        self.write_seconds = Histogram(
            "receiver_write_seconds",
            "Time that a row took, waiting included.",
            buckets=_WRITE_BUCKETS,
            registry=self.registry,
        )
        self.in_progress = Gauge("receiver_requests_in_progress", "Messages being worked on.", registry=self.registry)
        build = Gauge("receiver_build_info", "The version that runs.", ["version"], registry=self.registry)
        build.labels(version=_version()).set(1)

    def _family(self, name: str, help_text: str, label: str, values: Iterable[str]) -> Mapping[str, Counter]:
        counter = Counter(name, help_text, [label], registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Give the exposition and its content type.

        Args:
            accept: the request's ``Accept`` header. One that the client library cannot work with gets the plain format:
                a load balancer takes every other answer than this page for a reason to send nothing here any more.
        """
        try:
            encode, content_type = choose_encoder(accept)
            return encode(self.registry), content_type
        except (TypeError, ValueError):
            return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4


def _version() -> str:
    try:
        return version("thingwright")
    except PackageNotFoundError:
        return "unknown"
