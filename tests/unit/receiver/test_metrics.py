"""The exposition: always there, bounded, complete from the start."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver import metrics as metrics_module
from receiver.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.receiver.conftest import Service


async def test_every_series_is_there_from_the_start(service: Service) -> None:
    """At zero, so that the first failure is a rise; all with one prefix."""
    answer = await service.client.get("/metrics")

    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(name.startswith("receiver_") for name in families)
    outcomes = {s.labels["outcome"] for s in families["receiver_requests"].samples if s.name.endswith("_total")}
    assert outcomes == {
        *("stored", "wrong_secret", "foreign_device", "invalid"),
        *("too_large", "write_failed", "abandoned", "error"),
    }
    samples = [s for family in families.values() for s in family.samples if not s.name.endswith("_created")]
    assert {s.name for s in samples if s.value} == {"receiver_build_info"}


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

    assert await one.metric("receiver_rows_written_total") == 1
    assert await other.metric("receiver_rows_written_total") == 0


def test_a_copy_without_its_distribution_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image may hold the files alone."""

    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(metrics_module, "version", unknown)

    assert b'receiver_build_info{version="unknown"} 1.0' in Metrics().expose("")[0]
