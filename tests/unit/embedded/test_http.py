"""The HTTP side of a connection: whole requests out of any split of the bytes, bounded."""

from __future__ import annotations

import pytest

from harness.embedded.http import MAX_HEAD_BYTES, HttpAnswer, HttpConnection, HttpError

POST = b"POST /topics/a?qos=1 HTTP/1.1\r\nHost: localhost\r\nX-Name:  some value \r\nContent-Length: 5\r\n\r\nhello"


def test_a_request_is_read_however_it_is_split() -> None:
    """Nothing is decoded: path and query stay as signed."""
    http = HttpConnection(max_body_bytes=100)
    requests = []
    for octet in POST:
        http.receive_data(bytes((octet,)))
        requests.append(http.next_request())

    assert requests[:-1] == [None] * (len(POST) - 1)
    request = requests[-1]
    assert request is not None
    assert (request.method, request.path, request.query, request.body) == ("POST", "/topics/a", "qos=1", b"hello")
    assert request.header("x-name") == "some value"
    assert request.header("x-other") is None
    assert not request.asks_for_upgrade


def test_a_connection_is_kept_for_the_next_request() -> None:
    """HTTP/1.1 without Connection: close."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(POST + POST)

    for is_last in (False, True):
        assert http.next_request() is not None
        assert http.next_request() is None
        data = http.answer(HttpAnswer(status=200, headers=(("x-a", "b"),), body=b"ok"))
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"x-a: b\r\n" in data.lower()
        assert b"content-length: 2\r\n" in data.lower()
        assert data.endswith(b"\r\n\r\nok")
        assert http.is_idle is is_last
    assert not http.is_done


@pytest.mark.parametrize(
    ("request_bytes", "must_close"),
    [
        (POST, True),
        (POST.replace(b"Host:", b"Connection: close\r\nHost:"), False),
        (POST.replace(b"1.1", b"1.0"), False),
    ],
    ids=["we wish", "the client wishes", "HTTP/1.0"],
)
def test_a_connection_ends_with_its_answer_when_either_side_wishes(request_bytes: bytes, *, must_close: bool) -> None:
    """The answer says so."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(request_bytes)
    assert http.next_request() is not None

    data = http.answer(HttpAnswer(status=403, must_close=must_close))

    assert b"connection: close" in data.lower()
    assert http.is_done
    assert http.next_request() is None


def test_an_answer_to_head_has_no_body() -> None:
    """Its length is told all the same."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    http.next_request()

    data = http.answer(HttpAnswer(status=404, body=b"not found"))

    assert data.endswith(b"\r\n\r\n")
    assert b"content-length: 9" in data.lower()


def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    """Some clients ask before they send a body."""
    http = HttpConnection(max_body_bytes=100)
    head, _, body = POST.replace(b"Host:", b"Expect: 100-continue\r\nHost:").rpartition(b"hello")[0], b"", b"hello"
    http.receive_data(head)

    assert http.next_request() is None
    assert http.data_to_send().startswith(b"HTTP/1.1 100 ")
    assert http.data_to_send() == b""
    http.receive_data(body)
    assert http.next_request() is not None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x10\x00\x00\x00\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1), 431),
        (POST.replace(b"Length: 5", b"Length: 101") + b"x" * 96, 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=["no HTTP", "no Host", "head too long", "body too long", "bad chunk"],
)
def test_a_request_is_refused_when_it_cannot_be_read(data: bytes, status: int) -> None:
    """The error says how to answer, and the answer ends the connection."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(data)

    with pytest.raises(HttpError) as refusal:
        http.next_request()

    assert refusal.value.status == status
    answer = http.answer(HttpAnswer(status=status, must_close=True))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert http.is_done


def test_an_upgrade_hands_over_what_came_early() -> None:
    """Bytes behind the request belong to the next protocol."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x82\x80")
    request = http.next_request()
    assert request is not None
    assert request.asks_for_upgrade

    data, early = http.switch_protocol([("Upgrade", "websocket")])

    assert data.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert early == b"\x82\x80"
    assert http.is_done


def test_a_connection_is_done_when_the_client_has_stopped_sending() -> None:
    """The end of the stream, and what comes after it."""
    http = HttpConnection(max_body_bytes=100)

    http.receive_data(b"")
    assert http.next_request() is None
    assert http.is_done

    http.receive_data(b"late")
    assert http.next_request() is None


def test_a_second_answer_is_swallowed() -> None:
    """An error after the answer has nobody to go to."""
    http = HttpConnection(max_body_bytes=100)
    http.receive_data(POST)
    http.next_request()
    http.answer(HttpAnswer(status=200, must_close=True))

    assert http.answer(HttpAnswer(status=400)) == b""
