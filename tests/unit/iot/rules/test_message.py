"""A message: parsed once, shared by all rules."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from harness.iot.rules import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.iot.rules import RuleMessage


def test_a_payload_is_parsed_once_for_each_way_of_reading_numbers(make_message: Callable[..., RuleMessage]) -> None:
    """All rules of a version share the document; 10.0 is an Int in one of them."""
    message = make_message(b'{"a": 10.0}')

    assert message.document(whole=True) is message.document(whole=True)
    assert repr(message.document(whole=True)) == "{'a': 10}"
    assert repr(message.document(whole=False)) == f"{{'a': {Decimal('10.0')!r}}}"


@pytest.mark.parametrize(
    ("payload", "because", "is_json"),
    [
        (b"temp=21", "the payload is not JSON: Expecting value at character 1", False),
        (b"1e1000", "the payload is JSON that a rule cannot hold: a number beyond 9.99E999", True),
    ],
)
def test_an_unreadable_payload_is_an_error_each_time(
    payload: bytes, because: str, *, is_json: bool, make_message: Callable[..., RuleMessage]
) -> None:
    """For every rule that asks; it is parsed once all the same."""
    message = make_message(payload)

    for _ in range(2):
        with pytest.raises(PayloadError) as caught:
            message.attributes(whole=True)
        assert (caught.value.because, caught.value.is_json) == (because, is_json)


@pytest.mark.parametrize(
    ("payload", "attributes"),
    [(b"", {}), (b"{}", {}), (b'{"a":1}', {"a": 1}), (b"[1]", {}), (b'"text"', {}), (b"null", {})],
)
def test_attributes_are_the_members_of_an_object(
    payload: bytes, attributes: dict[str, object], make_message: Callable[..., RuleMessage]
) -> None:
    """Source: binary-payloads: an empty payload is treated like an empty object."""
    assert make_message(payload).attributes(whole=True) == attributes


@pytest.mark.parametrize(
    ("topic", "seen"),
    [
        ("a/b", "a/b"),
        ("$aws/rules/my_rule/a/b", "a/b"),
        ("$aws/rules/my_rule", ""),
        ("$aws/events/presence/connected/d-1", "$aws/events/presence/connected/d-1"),
    ],
)
def test_rules_do_not_see_the_prefix_of_basic_ingest(
    topic: str, seen: str, make_message: Callable[..., RuleMessage]
) -> None:
    """Source: iot-sql-functions, `topic`: the initial prefix is not available."""
    assert make_message(topic=topic).rule_topic() == seen


def test_a_message_does_not_show_what_it_parsed(make_message: Callable[..., RuleMessage]) -> None:
    """Its repr is what it was made of."""
    assert "_documents" not in repr(make_message())
