"""What Prometheus is told. Label values come from closed sets, never from a request.

One process keeps its values to itself. Several workers (`receiver.workers`) keep theirs in the files of one folder, so
that whichever is asked gives the sum of all. A file belongs to a worker's number, not to its process id: the worker
that takes a dead one's place goes on counting where that one ended. What is only true of a living worker, such as rows
that wait, is forgotten when it dies.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.registry import Collector

from receiver import __version__
from receiver.errors import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

RequestOutcome: TypeAlias = Literal[
    "stored", "wrong_secret", "foreign_device", "invalid", "too_large", "write_failed", "abandoned", "error"
]
ConfirmationOutcome: TypeAlias = Literal[
    "confirmed", "untrusted", "invalid", "too_large", "not_confirmed", "busy", "abandoned", "error"
]

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""By which the client library knows the folder of several processes. Other servers than ours use it as well."""

_WRITE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)
_BATCH_BUCKETS: Final = (1, 2, 5, 10, 15, 20, 25)


class Metrics:
    """Counters of one application, in a registry of its own. Every series exists from the start, at zero.

    ``requests``, ``confirmations`` and ``write_failures`` are counters by outcome or kind.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._family(
            "receiver_requests",
            "Messages and batches posted by rules, by what became of them.",
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
            "receiver_write_failures",
            "Requests whose rows could not be written, by why.",
            "kind",
            get_args(FailureKind),
        )
        self.rows_written = self._counter("receiver_rows_written", "Rows known to be in the table.")
        self.throttles = self._counter(
            "receiver_throttles", "Answers of DynamoDB that throttle: errors, and rows given back unwritten."
        )
        self.duplicates = self._counter(
            "receiver_duplicates", "Rows with a key that was written or under way shortly before: tries repeated."
        )
        self.write_seconds = self._histogram(
            "receiver_write_seconds", "Time that the rows of a request took, waiting included.", _WRITE_BUCKETS
        )
        self.batch_rows = self._histogram("receiver_batch_rows", "Rows of one call to DynamoDB.", _BATCH_BUCKETS)
        self.in_progress = self._gauge("receiver_requests_in_progress", "Messages and batches being worked on.")
        self.queued_rows = self._gauge("receiver_queued_rows", "Rows accepted and not yet known to be in the table.")
        self.queue_limit_rows = self._gauge(
            "receiver_queue_limit_rows", "Rows that may wait; further ones are refused."
        )
        build = Gauge(
            "receiver_build_info",
            "The version that runs.",
            ["version"],
            multiprocess_mode="max",
            registry=self.registry,
        )
        build.labels(version=__version__).set(1)
        self._exposed = self.registry
        if folder := os.environ.get(_FOLDER_VARIABLE):
            self._exposed = CollectorRegistry()
            self._exposed.register(_Folder(Path(folder)))
        else:
            ProcessCollector(registry=self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(name, help_text, registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, multiprocess_mode="livesum", registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(name, help_text, buckets=tuple(buckets), registry=self.registry)

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
            return encode(self._exposed), content_type
        except (TypeError, ValueError):
            return generate_latest(self._exposed), CONTENT_TYPE_PLAIN_0_0_4


class _Folder(Collector):
    """Sums what all workers have in their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Give all metrics."""
        merged: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(list(self._files()))  # type: ignore[no-untyped-call] # it has no types
        return merged

    def _files(self) -> Iterable[str]:
        for file in self._folder.glob("*.db"):
            with contextlib.suppress(FileNotFoundError):  # of a worker that has just died
                if file.stat().st_size:  # else another worker is just making it, and there is nothing to read yet
                    yield str(file)


def share(folder: Path, *, worker: int) -> None:
    """Keep what this process counts in files that other workers read; before the first `Metrics` is made.

    Args:
        folder: all workers' own, and empty before the first of them.
        worker: its number, whose files it goes on with.
    """
    os.environ[_FOLDER_VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call] # as above


def keep() -> None:
    """Keep what this process counts to itself, whatever its environment says."""
    for name in (_FOLDER_VARIABLE, _FOLDER_VARIABLE.lower()):
        os.environ.pop(name, None)
    values.ValueClass = values.MutexValue


def forget(folder: Path, *, worker: int) -> None:
    """Remove what was only true while a worker lived. What it has counted stays."""
    multiprocess.mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call] # as above
