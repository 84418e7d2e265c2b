"""One message or a batch: which rows become of it, who is believed, and what is refused with its place."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receiver.errors import ForeignDevice, InvalidMessage, MessageRefused
from receiver.messages import MAX_ELEMENTS, Messages, Told

NOW = datetime(2026, 11, 21, 20, 1, 2, 123_456, tzinfo=UTC)
MESSAGES = Messages(require_client_id=True, ttl_days=None)
TRUSTFUL = Messages(require_client_id=False, ttl_days=7)
NOTHING = Told()

IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=8)
READINGS = st.fixed_dictionaries(
    {"deviceId": st.text(min_size=1, max_size=8), "temp": st.integers(-999, 999) | st.just(21.5)},
    optional={"ts": st.text(max_size=4) | st.integers(0, 9), "more": st.lists(st.none() | st.text(max_size=3))},
)


def element(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Make what a batching rule selects; None leaves a field out."""
    made = {"deviceId": f"d{number}", "temp": number, "message_id": f"m{number}", "received_at": 1_000 + number}
    made["client_id"] = made["deviceId"]
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def body_of(*elements: Any) -> bytes:
    """Write a batch."""
    return json.dumps(elements).encode()


def ids_of(*elements: Any, told: Told = NOTHING, messages: Messages = MESSAGES) -> list[str]:
    """Give the ids of a batch's rows."""
    return [row.message_id for row in messages.rows_of(body_of(*elements), told, now=NOW)]


def refusal_of(*elements: Any, told: Told = NOTHING, messages: Messages = MESSAGES) -> MessageRefused:
    """Post a batch that is refused."""
    with pytest.raises(MessageRefused) as caught:
        ids_of(*elements, told=told, messages=messages)
    return caught.value


def test_a_batch_is_a_row_for_each_element() -> None:
    """With the time and the id that the rule has selected, in order."""
    rows = MESSAGES.rows_of(body_of(element(1), element(2)), NOTHING, now=NOW)

    assert [(row.device_id, row.sort_key, row.message_id) for row in rows] == [
        ("d1", "1970-01-01T00:00:01.001Z#m1", "m1"),
        ("d2", "1970-01-01T00:00:01.002Z#m2", "m2"),
    ]


def test_an_element_without_an_id_is_known_by_its_own_bytes() -> None:
    """As they stand in the body, whatever is before and after them."""
    raw = b'{"temp" :1.0,\t"deviceId":"\\u0064", "received_at":7 }'
    for body in (b"[%s]", b' [ {"deviceId":"e","temp":2} ,\n%s\n]\n', b'[{"deviceId":"\xc3\xbc","temp":2},%s]'):
        row = TRUSTFUL.rows_of(body % raw, NOTHING, now=NOW)[-1]
        assert row.message_id == hashlib.sha256(b"7" + raw).hexdigest()[:32]


@given(st.lists(st.tuples(READINGS, IDS, st.none() | st.integers(0, 9)), min_size=1, max_size=MAX_ELEMENTS))
def test_a_batch_gives_the_rows_that_its_messages_give_one_by_one(
    parts: list[tuple[dict[str, Any], str, int | None]],
) -> None:
    """What is in headers for the one is in the elements of the other, and the bytes are the same."""
    bodies, alone = [], {}
    for fields, message_id, received_at in parts:
        told = Told(message_id=message_id, received_at="" if received_at is None else str(received_at), client_id="n/a")
        selected = {**fields, "message_id": message_id, "client_id": "n/a"}
        if received_at is not None:
            selected["received_at"] = received_at
        bodies.append(json.dumps(selected).encode())
        row = MESSAGES.row_of(bodies[-1], told, now=NOW)
        assume(alone.setdefault((row.device_id, row.sort_key), row) == row)

    assert MESSAGES.rows_of(b"[%s]" % b",".join(bodies), NOTHING, now=NOW) == list(alone.values())


@given(st.binary() | st.text(alphabet='[]{}",:\\1e- deviceIdtemp', max_size=60).map(str.encode), IDS, IDS, IDS)
def test_whatever_comes_is_taken_or_refused(body: bytes, message_id: str, received_at: str, client_id: str) -> None:
    """Any bytes with any headers: no other exception."""
    told = Told(message_id=message_id, received_at=received_at, client_id=client_id)
    for read in (MESSAGES.row_of, MESSAGES.rows_of, TRUSTFUL.row_of, TRUSTFUL.rows_of):
        try:
            read(body, told, now=NOW)
        except MessageRefused:
            continue


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"temp": None}, "temp is missing"),
        ({"temp": "hot"}, "temp must be a number"),
        ({"deviceId": ""}, "deviceId must be a non-empty string"),
        ({"message_id": "a#b"}, "message_id must be"),
        ({"message_id": 7}, "message_id must be"),
        ({"received_at": "1000"}, "received_at must be a time in milliseconds since 1970, as a number"),
        ({"received_at": -1}, "received_at must be a time"),
        ({"client_id": 7}, "client_id must be a string"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_an_element_that_is_wrong_is_named(wrong: dict[str, Any], because: str, place: int) -> None:
    """Counted from 0; nothing of the others is stored either."""
    elements = [element(number) for number in range(3)]
    assert len(ids_of(*elements)) == 3

    elements[place] |= wrong
    elements[place] = {name: value for name, value in elements[place].items() if value is not None}
    error = refusal_of(*elements)
    assert isinstance(error, InvalidMessage)
    assert error.element == place
    assert str(error).startswith(f"element {place}: {because}")


@pytest.mark.parametrize("wrong", [None, True, 7, "text", [], [element()], [[element()]]])
def test_an_element_is_an_object(wrong: Any) -> None:
    """Not an array in turn."""
    error = refusal_of(element(1), wrong)

    assert (str(error), error.element) == ("element 1: a message must be a JSON object", 1)


def test_a_batch_has_one_to_25_elements() -> None:
    """No more are looked at."""
    elements = [element(number) for number in range(MAX_ELEMENTS + 1)]
    assert len(ids_of(*elements[:-1])) == MAX_ELEMENTS

    assert str(refusal_of(*elements)) == "the body must be an array of at most 25 messages"
    assert str(refusal_of()) == "the body must not be an empty array"
    with pytest.raises(InvalidMessage, match="at most 25 messages"):
        MESSAGES.rows_of(body_of(*elements)[:-1] + b", no JSON", NOTHING, now=NOW)


def test_elements_that_say_the_same_are_one_row() -> None:
    """A batch may hold a message twice; DynamoDB would refuse to write a key twice in one call."""
    assert ids_of(element(1), element(2), element(1)) == ["m1", "m2"]
    assert ids_of(element(1), element(1, more="not in a row")) == ["m1"]


@pytest.mark.parametrize("changes", [{"temp": 7}, {"ts": "later"}])
def test_elements_that_contradict_each_other_are_refused(changes: dict[str, Any]) -> None:
    """Neither of them is the right one for that key."""
    assert len(ids_of(element(1), element(2, **changes))) == 2

    error = refusal_of(element(1), element(2), element(1, **changes))
    assert (error.because, error.element) == (
        "an earlier element of the same device, time and id says something else",
        2,
    )


@pytest.mark.parametrize("changes", [{"deviceId": "other", "client_id": "other"}, {"received_at": 9}])
def test_one_id_of_several_devices_or_times_is_several_rows(changes: dict[str, Any]) -> None:
    """The key is all three together."""
    assert ids_of(element(1), element(1, temp=5, **changes)) == ["m1", "m1"]


def test_fields_of_all_elements_come_before_the_devices() -> None:
    """As with single messages: the first thing wrong is the answer."""
    error = refusal_of(element(1, client_id="d2"), element(2, temp="hot"))

    assert (type(error), error.element) == (InvalidMessage, 1)


def test_each_element_speaks_for_its_own_device() -> None:
    """HTTPS publishes apart, which have no client."""
    assert ids_of(element(1), element(2, client_id="n/a")) == ["m1", "m2"]

    error = refusal_of(element(1), element(2, client_id="d1"))
    assert isinstance(error, ForeignDevice)
    assert error.element == 1
    assert ids_of(element(1), element(2, client_id="d1"), messages=TRUSTFUL) == ["m1", "m2"]


@pytest.mark.parametrize("client_id", [None, ""])
def test_an_element_without_a_client_says_what_the_rule_lacks(client_id: str | None) -> None:
    """So that whoever reads the dead letter knows what to do."""
    error = refusal_of(element(1), element(2, client_id=client_id or None), told=Told(client_id="d2", message_id="m2"))

    assert isinstance(error, ForeignDevice)
    assert str(error) == (
        "element 1: client_id is missing: add clientid() AS client_id to the rule's SELECT (REQUIRE_CLIENT_ID)"
    )
    assert ids_of(element(1, client_id=client_id), messages=TRUSTFUL) == ["m1"]


def test_headers_of_a_batch_are_its_last_message_s() -> None:
    """They are true of that one alone, and taken for no other."""
    told = Told(message_id="m2", received_at="1002", client_id="d2")
    assert ids_of(element(1), element(2), told=told) == ["m1", "m2"]

    https = Told(message_id="", received_at="1002", client_id="n/a")
    rows = MESSAGES.rows_of(body_of(element(1), element(2, message_id=None, client_id="n/a")), https, now=NOW)
    assert rows[0].sort_key == "1970-01-01T00:00:01.001Z#m1"
    assert len(rows[1].message_id) == 32


def test_a_device_s_own_array_is_no_batch() -> None:
    """A rule without batching passes it on, with headers of its own; the device cannot know its message's trace id."""
    forged = [element(1), element(2)]
    told = Told(message_id="11111111-2222-3333-4444-555555555555", received_at="1002", client_id="d2")
    for messages in (MESSAGES, TRUSTFUL):
        error = refusal_of(*forged, told=told, messages=messages)
        assert isinstance(error, InvalidMessage)
        assert error.because.startswith("the body must be a JSON object: it is no batch")
        assert error.element is None


def test_a_device_s_own_array_speaks_for_that_device_where_the_rule_tells_no_id() -> None:
    """The client is then all that is known of the message."""
    told = Told(client_id="d1")
    assert ids_of(element(1), element(1, message_id="other"), told=told) == ["m1", "other"]

    for forged in (element(2), element(2, client_id="n/a")):
        error = refusal_of(element(1), forged, told=told)
        assert isinstance(error, ForeignDevice)
        assert str(error).startswith("element 1: client_id is not X-Client-Id")


@pytest.mark.parametrize(
    ("told", "name"), [(Told(message_id="a#b"), "Message-Id"), (Told(received_at="x"), "Received")]
)
def test_headers_are_checked_also_where_they_are_not_used(told: Told, name: str) -> None:
    """A rule that sends what it should not is told so, with or without batching."""
    for read, body in ((MESSAGES.rows_of, body_of(element())), (MESSAGES.row_of, json.dumps(element()).encode())):
        with pytest.raises(InvalidMessage, match=f"^X-{name}"):
            read(body, told, now=NOW)


def test_rows_of_a_batch_expire_as_others_do() -> None:
    """Counted from each element's own time."""
    (row,) = TRUSTFUL.rows_of(body_of(element(1)), NOTHING, now=NOW)

    assert row.ttl == 1 + 7 * 86_400
