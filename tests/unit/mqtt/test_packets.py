"""Packets as values."""

from __future__ import annotations

from harness.mqtt.packets import NO_PROPERTIES, Auth, Connect, PingReq, PingResp, Properties, PubAck, Publish, PubRec


def test_packets_are_equal_by_value_and_type() -> None:
    """Two packets are one value when type and fields agree, hash included; equal fields of another type are not."""
    assert PubAck(packet_id=1) == PubAck(packet_id=1)
    assert len({PubAck(packet_id=1), PubRec(packet_id=1), PingReq(), PingResp()}) == 4
    assert len({PubAck(packet_id=1), PubAck(packet_id=1), Publish(topic_name="a"), Publish(topic_name="a")}) == 2


def test_packets_carry_nothing_unless_told() -> None:
    """Defaults are what the wire says when a field is absent."""
    assert Properties() == NO_PROPERTIES
    assert Auth().properties is NO_PROPERTIES
    assert Connect(client_id="c").clean_start
    assert Publish(topic_name="a").packet_id is None
