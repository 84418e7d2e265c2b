"""Which reason code may stand in which packet.

Source: MQTT 5.0 §2.4 table 2-6 and the tables of §3.2.2.2, §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.9.3, §3.11.3,
§3.14.2.1, §3.15.2.1; MQTT 3.1.1 §3.2.2.3 and §3.9.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.errors import ProtocolViolation
from harness.mqtt.packets import PacketType, ProtocolVersion, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

_PUBLISH_OUTCOMES: Final = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_RELEASE_OUTCOMES: Final = frozenset({0x00, 0x92})

_V5: Final[Mapping[PacketType, frozenset[int]]] = {
    PacketType.CONNACK: frozenset({0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0x9E), 0x9F}),
    PacketType.PUBACK: _PUBLISH_OUTCOMES,
    PacketType.PUBREC: _PUBLISH_OUTCOMES,
    PacketType.PUBREL: _RELEASE_OUTCOMES,
    PacketType.PUBCOMP: _RELEASE_OUTCOMES,
    PacketType.SUBACK: frozenset({0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}),
    PacketType.UNSUBACK: frozenset({0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}),
    PacketType.DISCONNECT: frozenset(
        {0x00, 0x04, *range(0x80, 0x84), 0x87, 0x89, *range(0x8B, 0x91), *range(0x93, 0xA3)},
    ),
    PacketType.AUTH: frozenset({0x00, 0x18, 0x19}),
}

_V311: Final[Mapping[PacketType, frozenset[int]]] = {
    PacketType.CONNACK: frozenset(range(6)),
    PacketType.SUBACK: frozenset({0x00, 0x01, 0x02, 0x80}),
}

REASON_CODES: Final[Mapping[ProtocolVersion, Mapping[PacketType, frozenset[int]]]] = {
    ProtocolVersion.V311: _V311,
    ProtocolVersion.V5: _V5,
}


def check_reason_code(code: int, *, packet_type: PacketType, version: ProtocolVersion) -> int:
    """Refuse a reason code that has no place in the packet it came in.

    Args:
        code: as received.
        packet_type: of a packet that carries reason codes in this version.
        version: of the connection.

    Returns:
        The code.

    Raises:
        ProtocolViolation: reason code 0x82.

    Source: MQTT 5.0 [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.9.3-2], [MQTT-3.14.2-1], [MQTT-3.15.2-1] and their like;
        MQTT 3.1.1 [MQTT-3.9.3-2].
    """
    if code not in REASON_CODES[version][packet_type]:
        raise ProtocolViolation(
            ReasonCode.PROTOCOL_ERROR,
            f"reason code 0x{code:02X} has no place in {packet_type.name}, §2.4",
        )
    return code
