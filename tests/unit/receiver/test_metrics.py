"""The exposition: always there, bounded, complete from the start."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import values
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import receiver
from receiver.metrics import Metrics, forget, keep, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.receiver.conftest import Service


async def test_every_series_is_there_from_the_start(service: Service) -> None:
    """At zero, so that the first failure is a rise; all with one prefix."""
    answer = await service.client.get("/metrics")

    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(name.startswith(("receiver_", "process_")) for name in families)
    outcomes = {s.labels["outcome"] for s in families["receiver_requests"].samples if s.name.endswith("_total")}
    assert outcomes == {
        *("stored", "wrong_secret", "foreign_device", "invalid"),
        *("too_large", "write_failed", "abandoned", "error"),
    }
    samples = [s for family in families.values() for s in family.samples if not s.name.endswith("_created")]
    assert {s.name for s in samples if s.value and s.name.startswith("receiver_")} == {"receiver_build_info"}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=one", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=x.y", "text/plain; version=0.0.4"),
        (";;;,,,=", "text/plain; version=0.0.4"),
    ],
)
async def test_metrics_are_always_answered(service: Service, accept: str, content_type: str) -> None:
    """Whatever a load balancer or Prometheus accepts."""
    answer = await service.client.get("/metrics", headers={"accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content_type)
    assert "receiver_rows_written_total 0.0" in answer.text


async def test_two_applications_count_for_themselves(make_service: Callable[..., Service]) -> None:
    """A registry each."""
    one, other = make_service(), make_service()
    await one.post()

    assert await one.metric("receiver_requests_total", outcome="stored") == 1
    assert await other.metric("receiver_requests_total", outcome="stored") == 0


def test_the_version_is_the_projects() -> None:
    """Also where the files are without their distribution, as in an image."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]

    assert receiver.__version__ == project["version"]
    assert f'receiver_build_info{{version="{receiver.__version__}"}} 1.0'.encode() in Metrics().expose("")[0]


def test_openmetrics_is_what_its_own_parser_reads() -> None:
    """To its end, which tells that nothing was cut off."""
    page, _ = Metrics().expose("application/openmetrics-text;version=1.0.0")

    assert page.endswith(b"\n# EOF\n")
    names = {family.name for family in parse_openmetrics(page.decode())}
    assert {"receiver_requests", "receiver_batch_rows", "receiver_queue_limit_rows"} <= names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder for several workers; what this process counts is its own again afterwards."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    return tmp_path


def work(folder: Path, *, worker: int) -> Metrics:
    """Do what a worker does, as this process."""
    share(folder, worker=worker)
    return Metrics()


def samples(metrics: Metrics) -> dict[str, float]:
    """Give all samples, by name and labels."""
    lines = metrics.expose("")[0].decode().splitlines()
    return {name: float(value) for line in lines if line[0] != "#" for name, _, value in [line.rpartition(" ")]}


def test_workers_count_as_one(folder: Path) -> None:
    """Sums, of living workers' gauges too, and of histograms; one version; all series of one worker, at zero."""
    one, other = work(folder, worker=0), work(folder, worker=1)
    assert {name for name, value in samples(one).items() if value} == {
        f'receiver_build_info{{version="{receiver.__version__}"}}'
    }
    for metrics, times in ((one, 2), (other, 3)):
        metrics.rows_written.inc(times)
        metrics.requests["stored"].inc(times)
        metrics.queued_rows.set(times)
        metrics.queue_limit_rows.set(100)
        metrics.in_progress.inc()
        metrics.batch_rows.observe(times)

    told = samples(one)
    assert told == samples(other)
    assert told["receiver_rows_written_total"] == 5
    assert told['receiver_requests_total{outcome="stored"}'] == 5
    assert (told["receiver_queued_rows"], told["receiver_queue_limit_rows"]) == (5, 200)
    assert told["receiver_requests_in_progress"] == 2
    assert [told[f'receiver_batch_rows_bucket{{le="{le}"}}'] for le in ("1.0", "2.0", "5.0", "+Inf")] == [0, 1, 2, 2]
    assert (told["receiver_batch_rows_sum"], told["receiver_batch_rows_count"]) == (5, 2)


def test_one_process_and_several_have_the_same_series(folder: Path) -> None:
    """Whoever writes a query need not know how many workers there are."""
    shared = set(samples(work(folder, worker=0)))
    keep()
    alone = {name for name in samples(Metrics()) if "_created" not in name and not name.startswith("process_")}

    assert shared == alone


def test_a_worker_counts_on_where_a_dead_one_ended(folder: Path) -> None:
    """Under its number; what was only true of the dead one is forgotten."""
    one, other = work(folder, worker=0), work(folder, worker=1)
    for metrics in (one, other):
        metrics.rows_written.inc(3)
        metrics.queued_rows.set(7)
        metrics.queue_limit_rows.set(100)
    forget(folder, worker=1)
    told = samples(one)
    assert (told["receiver_queued_rows"], told["receiver_queue_limit_rows"]) == (7, 100)
    assert told["receiver_rows_written_total"] == 6

    new = work(folder, worker=1)
    new.rows_written.inc()
    assert samples(one)["receiver_rows_written_total"] == 7
    assert samples(one)["receiver_queued_rows"] == 7
    assert len(list(folder.iterdir())) == len(list(folder.glob("*_0.db"))) * 2


def test_a_file_that_another_worker_is_just_making_does_not_disturb(folder: Path) -> None:
    """It is empty for a moment."""
    metrics = work(folder, worker=0)
    (folder / "counter_1.db").touch()

    assert samples(metrics)["receiver_rows_written_total"] == 0


def test_a_file_that_has_just_gone_does_not_disturb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look into the folder and the look into the file."""
    metrics = work(folder, worker=0)
    original = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, what: [*original(path, what), path / "gauge_livesum_1.db"])

    assert samples(metrics)["receiver_rows_written_total"] == 0


def test_a_process_of_its_own_heeds_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the environment names for something else."""
    work(folder, worker=0).rows_written.inc(5)
    monkeypatch.setenv("prometheus_multiproc_dir", str(folder))
    keep()

    assert samples(Metrics())["receiver_rows_written_total"] == 0
    assert not {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"} & set(os.environ)
