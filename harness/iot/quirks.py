"""Every place where the stand-in may differ from AWS, or where nobody could say how AWS behaves: a named switch each.

A quirk has a default (the best supported answer), the values it accepts, its source and one sentence on what it
decides. Users set them with ``--quirk NAME=VALUE``; the code reads them as attributes. A fact that is documented is
no quirk: it lives in `harness.iot.limits`.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from harness.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_DELAY_SECONDS: Final = 3600.0

ConnectDenied = Literal["close", "connack"]
PublishDeniedQos0 = Literal["disconnect", "ignore"]
PublishDeniedQos1 = Literal["puback", "disconnect"]
SubscribeDenied = Literal["close", "suback"]
InvalidFilter = Literal["close", "suback"]
Qos2Publish = Literal["ignore", "close"]
Qos2Subscribe = Literal["ignore", "downgrade", "close"]
WillDelay = Literal["ignored", "honoured"]
DisconnectWithWill = Literal["publish", "discard"]
MissingSni = Literal["refuse", "accept"]
EndpointType = Literal["iot:Data", "iot:Data-ATS"]
HttpPublishDenied = Literal["403", "401"]
ThingVariables = Literal["attached", "registered"]
RetainDoubleCheck = Literal["yes", "no"]
ConfirmedDestination = Literal["ENABLED", "DISABLED"]
UndefinedInTemplate = Literal["empty", "fail"]
DestinationPorts = Literal["any", "443-and-8443"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One switch, as the user meets it.

    Args:
        name: as typed after ``--quirk``.
        default: the value without the option.
        accepted: the values; empty for a number of seconds.
        decides: one sentence: what differs between the values.
        source: where the default comes from.
    """

    name: str
    default: str
    accepted: tuple[str, ...]
    decides: str
    source: str


def _about(accepted: object, *, decides: str, source: str) -> dict[str, Any]:
    return {"accepted": get_args(accepted), "decides": decides, "source": source}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """One value for every switch; `QUIRKS` describes them."""

    connect_denied_v311: ConnectDenied = field(
        default="close",
        metadata=_about(
            ConnectDenied,
            decides="An MQTT 3.1.1 CONNECT that no policy allows: closed without CONNACK, or CONNACK 5 goes first.",
            source="MQTTnet#452, mongoose-os#178, aws-sdk-ios#764: closed, no CONNACK",
        ),
    )
    publish_denied_v5_qos0: PublishDeniedQos0 = field(
        default="disconnect",
        metadata=_about(
            PublishDeniedQos0,
            decides="An MQTT 5 PUBLISH of QoS 0 that no policy allows: DISCONNECT 135, or dropped in silence.",
            source="DG:mqtt lists DISCONNECT 135; whether it always comes is unverified",
        ),
    )
    publish_denied_v5_qos1: PublishDeniedQos1 = field(
        default="puback",
        metadata=_about(
            PublishDeniedQos1,
            decides="An MQTT 5 PUBLISH of QoS 1 that no policy allows: PUBACK 135 and no more, or DISCONNECT 135.",
            source="DG:mqtt; aws-iot-device-sdk-python-v2#462 shows the connection surviving",
        ),
    )
    subscribe_denied_v311: SubscribeDenied = field(
        default="close",
        metadata=_about(
            SubscribeDenied,
            decides="An MQTT 3.1.1 SUBSCRIBE that no policy allows: the socket is closed, or SUBACK 0x80.",
            source="aws-iot-device-sdk-js#125 (closed); today's behaviour is unverified",
        ),
    )
    invalid_filter_v311: InvalidFilter = field(
        default="close",
        metadata=_about(
            InvalidFilter,
            decides="An MQTT 3.1.1 filter that is too long, too deep or reserved: closed, or SUBACK 0x80.",
            source="unverified; MQTT 5 clients get SUBACK 143 (DG:cwl-format)",
        ),
    )
    qos2_publish_v311: Qos2Publish = field(
        default="ignore",
        metadata=_about(
            Qos2Publish,
            decides="An MQTT 3.1.1 PUBLISH of QoS 2: no answer, or the socket is closed.",
            source="aws-c-mqtt#120: ignored",
        ),
    )
    qos2_subscribe_v311: Qos2Subscribe = field(
        default="ignore",
        metadata=_about(
            Qos2Subscribe,
            decides="An MQTT 3.1.1 SUBSCRIBE of QoS 2: no SUBACK, or QoS 1 is granted, or the socket is closed.",
            source="DG:mqtt: no SUBACK is sent",
        ),
    )
    will_delay: WillDelay = field(
        default="ignored",
        metadata=_about(
            WillDelay,
            decides="The MQTT 5 property Will Delay Interval: not regarded, or the will waits.",
            source="not in the property table of DG:mqtt; unverified",
        ),
    )
    disconnect_with_will: DisconnectWithWill = field(
        default="publish",
        metadata=_about(
            DisconnectWithWill,
            decides="An MQTT 5 DISCONNECT of reason 4 (with will) or an error: the will is published, or discarded.",
            source="MQTT 5.0 §3.14.4; that AWS does so is unverified",
        ),
    )
    missing_sni: MissingSni = field(
        default="refuse",
        metadata=_about(
            MissingSni,
            decides="A TLS client that names no server (SNI): refused, or served.",
            source="DG:mqtt refuses; DG:protocols only recommends SNI",
        ),
    )
    default_endpoint_type: EndpointType = field(
        default="iot:Data",
        metadata=_about(
            EndpointType,
            decides="DescribeEndpoint without a type: which endpoint it answers.",
            source="unverified",
        ),
    )
    http_publish_denied: HttpPublishDenied = field(
        default="403",
        metadata=_about(
            HttpPublishDenied,
            decides="The HTTP status of a publish that no policy allows.",
            source="403 in public logs; botocore's model says 401",
        ),
    )
    thing_variables: ThingVariables = field(
        default="attached",
        metadata=_about(
            ThingVariables,
            decides="${iot:Connection.Thing.…} has a value when the thing is attached, or once it exists.",
            source="DG:thing-policy-variables says attached; the name alone was seen to do",
        ),
    )
    authenticated_retain_needs_iot_policy: RetainDoubleCheck = field(
        default="yes",
        metadata=_about(
            RetainDoubleCheck,
            decides="Whether an authenticated identity needs iot:RetainPublish in its IoT policy too.",
            source="DG:cog-iot-policies lists the doubly checked actions and does not name RetainPublish",
        ),
    )
    confirmed_destination: ConfirmedDestination = field(
        default="ENABLED",
        metadata=_about(
            ConfirmedDestination,
            decides="The status of a rule destination once confirmed; DISABLED waits for UpdateTopicRuleDestination.",
            source="botocore: ENABLED; older and newer pages of DG:http-action-destination ask for an update",
        ),
    )
    undefined_in_template: UndefinedInTemplate = field(
        default="empty",
        metadata=_about(
            UndefinedInTemplate,
            decides="A substitution template whose expression is Undefined: the empty string, or the action fails.",
            source="DG:iot-sql-data-types (Undefined alone is the empty string); in templates unverified",
        ),
    )
    http_destination_ports: DestinationPorts = field(
        default="any",
        metadata=_about(
            DestinationPorts,
            decides="The ports that HTTP actions and destinations may name; AWS takes 443 and 8443 only.",
            source="DG:https-rule-action; a laptop's receiver listens where there is room",
        ),
    )
    propagation_delay: float = field(
        default=0.0,
        metadata=_about(
            float,
            decides="Seconds until a change of policies, certificates or credentials holds.",
            source="DG:iot-policies: 6 to 8 minutes; here a change holds at once unless asked otherwise",
        ),
    )

    def with_values(self, settings: Iterable[str]) -> Quirks:
        """Return these quirks with some set anew.

        Args:
            settings: ``NAME=VALUE`` each; the last one of a name holds.

        Raises:
            SettingsError: no ``=``, an unknown name or a value that is not accepted.
        """
        mapping: dict[str, str] = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise SettingsError("--quirk", setting, "NAME=VALUE")
            mapping[name] = value
        return self.with_mapping(mapping)

    def with_mapping(self, mapping: Mapping[str, str | float]) -> Quirks:
        """Return these quirks with some set anew, from name to value; reads what `to_mapping` wrote.

        Raises:
            SettingsError: an unknown name or a value that is not accepted.
        """
        known = {_name(f): f for f in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in mapping.items():
            if name not in known:
                raise SettingsError("--quirk", name, f"a name of {', '.join(known)}")
            changes[known[name].name] = _parse(known[name], value)
        return replace(self, **changes)

    def to_mapping(self) -> dict[str, str | float]:
        """Return every quirk's name and value, for a configuration file."""
        return {_name(f): getattr(self, f.name) for f in fields(self)}


def _name(quirk: Field[Any]) -> str:
    return quirk.name.replace("_", "-")


def _parse(quirk: Field[Any], value: str | float) -> str | float:
    accepted: tuple[str, ...] = quirk.metadata["accepted"]
    if accepted:
        if value not in accepted:
            raise SettingsError(f"--quirk {_name(quirk)}", value, " or ".join(accepted))
        return value
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_DELAY_SECONDS:
        raise SettingsError(f"--quirk {_name(quirk)}", value, f"seconds from 0 to {_MAX_DELAY_SECONDS:g}")
    return seconds


QUIRKS: Final = tuple(
    Quirk(
        name=_name(f),
        default=f"{f.default:g}" if isinstance(f.default, float) else str(f.default),
        accepted=f.metadata["accepted"],
        decides=f.metadata["decides"],
        source=f.metadata["source"],
    )
    for f in fields(Quirks)
)
"""Every switch, for ``--help`` and the documentation."""
