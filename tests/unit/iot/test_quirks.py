"""The switches for what differs from AWS or is not known of it."""

from __future__ import annotations

import json

import pytest

from harness.errors import SettingsError
from harness.iot.quirks import QUIRKS, Quirks


def test_quirks_have_their_defaults_without_settings() -> None:
    """The defaults follow the evidence."""
    quirks = Quirks().with_values([])

    assert quirks == Quirks()
    assert (quirks.subscribe_denied_v311, quirks.publish_denied_v5_qos1, quirks.propagation_delay) == (
        "close",
        "puback",
        0.0,
    )


def test_quirks_take_values_by_name_the_last_one_holds() -> None:
    """`--quirk` may be given often."""
    quirks = Quirks().with_values(
        ["subscribe-denied-v311=suback", "propagation-delay=1.5", "missing-sni=accept", "missing-sni=refuse"]
    )

    assert quirks.subscribe_denied_v311 == "suback"
    assert quirks.propagation_delay == 1.5
    assert quirks.missing_sni == "refuse"


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        ("subscribe-denied-v311", "NAME=VALUE"),
        ("subscribe_denied_v311=close", "subscribe-denied-v311"),
        ("nonsense=1", "a name of connect-denied-v311"),
        ("subscribe-denied-v311=maybe", "close or suback"),
        ("subscribe-denied-v311=", "close or suback"),
        ("propagation-delay=soon", "seconds from 0 to 3600"),
        ("propagation-delay=-1", "seconds from 0 to 3600"),
        ("propagation-delay=nan", "seconds from 0 to 3600"),
        ("propagation-delay=3601", "seconds from 0 to 3600"),
    ],
)
def test_quirks_refuse_what_they_do_not_know(setting: str, accepted: str) -> None:
    """A typing error names what would have been accepted."""
    with pytest.raises(SettingsError, match="--quirk") as caught:
        Quirks().with_values([setting])

    assert accepted in caught.value.accepted


def test_quirks_survive_a_configuration_file() -> None:
    """What one process writes, the other reads."""
    quirks = Quirks().with_values(["connect-denied-v311=connack", "propagation-delay=2"])

    assert Quirks().with_mapping(json.loads(json.dumps(quirks.to_mapping()))) == quirks


def test_every_quirk_is_documented() -> None:
    """Name, default, values, meaning and source are there, and the default is one of the values."""
    assert [quirk.name for quirk in QUIRKS] == list(Quirks().to_mapping())
    for quirk in QUIRKS:
        assert quirk.decides.endswith(".")
        assert quirk.source
        assert not quirk.accepted or quirk.default in quirk.accepted
