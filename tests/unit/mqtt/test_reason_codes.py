"""Which reason code may stand where, against table 2-6 as paho-mqtt has it."""

from __future__ import annotations

import pytest
from paho.mqtt.reasoncodes import ReasonCode as PahoReasonCode

from harness.errors import ProtocolViolation
from harness.mqtt.packets import PacketType, ProtocolVersion, ReasonCode
from harness.mqtt.reason_codes import REASON_CODES, check_reason_code

WITH_CODES = (
    PacketType.CONNACK,
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.SUBACK,
    PacketType.UNSUBACK,
    PacketType.DISCONNECT,
    PacketType.AUTH,
)


@pytest.mark.parametrize("packet_type", WITH_CODES)
def test_a_packet_carries_the_codes_of_table_2_6(packet_type: PacketType) -> None:
    """For every packet, all 256 codes: allowed exactly where another implementation's table has them."""
    theirs = {
        code
        for code, uses in PahoReasonCode.names.items()
        if any(packet_type in packet_types for packet_types in uses.values())
    }
    if packet_type is PacketType.CONNACK:
        theirs.add(0x99)  # of a will's payload: in §3.2.2.2, but not in paho's table

    for code in range(256):
        if code in theirs:
            assert check_reason_code(code, packet_type=packet_type, version=ProtocolVersion.V5) == code
        else:
            with pytest.raises(ProtocolViolation) as caught:
                check_reason_code(code, packet_type=packet_type, version=ProtocolVersion.V5)
            assert caught.value.reason_code == ReasonCode.PROTOCOL_ERROR
            assert f"0x{code:02X} has no place in {packet_type.name}" in str(caught.value)


def test_every_code_has_a_name_and_a_place() -> None:
    """`ReasonCode` names exactly the codes that some packet of MQTT 5 may carry."""
    placed = frozenset().union(*REASON_CODES[ProtocolVersion.V5].values())

    assert placed == {*ReasonCode}
    assert placed == PahoReasonCode.names.keys()
    assert set(REASON_CODES[ProtocolVersion.V5]) == set(WITH_CODES)


def test_mqtt_3_1_1_has_return_codes() -> None:
    """CONNACK has 0 to 5, SUBACK the granted QoS or 0x80; nothing else carries a code."""
    assert REASON_CODES[ProtocolVersion.V311] == {
        PacketType.CONNACK: {0, 1, 2, 3, 4, 5},
        PacketType.SUBACK: {0, 1, 2, 0x80},
    }
