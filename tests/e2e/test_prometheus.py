"""Promise: Prometheus sees what the receiver stores, and says so when the receiver is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import MakePrometheus
    from harness import Rows, Topics
    from harness.device_fixtures import MakeDevice
    from harness.telemetry_fixtures import MakeReceiver, MakeRule

pytestmark = [pytest.mark.e2e, pytest.mark.needs("HTTP_ACTION", "FAULTS")]


async def test_prometheus_counts_a_reading_and_misses_a_receiver_that_is_killed(
    make_device: MakeDevice,
    make_receiver: MakeReceiver,
    make_rule: MakeRule,
    make_prometheus: MakePrometheus,
    rows: Rows,
    topics: Topics,
) -> None:
    """The row is in what is scraped over HTTPS; ReceiverDown fires while the receiver is dead, not before or after."""
    own = await make_receiver()
    prometheus = await make_prometheus(own)
    await make_rule(topic=topics.own_telemetry, url=own.ingest_url)
    device = await make_device(may_publish=topics.own_telemetry)
    await prometheus.expect('up{job="iot-receiver"}', 1)

    await device.publish_reading(temp=21.5, topic=topics.own_telemetry)
    await rows.expect(device_id=device.thing_name)

    await prometheus.expect('receiver_rows_written_total{namespace="apps", job="iot-receiver"}', 1)
    await prometheus.expect('receiver_requests_total{namespace="apps", job="iot-receiver", outcome="stored"}', 1)
    assert await prometheus.expect_rules_evaluated() == []
    assert "ReceiverDown" not in await prometheus.alerts()

    await own.stop("kill")

    alert = await prometheus.expect_alert("ReceiverDown")
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["summary"] == "No receiver answers"
    assert await prometheus.values('ALERTS{alertname="ReceiverDown", alertstate="pending"}[5m]')

    await own.start()

    await prometheus.expect('up{job="iot-receiver"}', 1)
    await prometheus.expect('absent(ALERTS{alertname="ReceiverDown"})', 1)
