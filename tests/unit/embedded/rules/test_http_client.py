"""The HTTP client of rules against a real HTTPS server: what it sends, and how it tells what came of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from harness.embedded.rules.exchange import Answer, NoAnswer
from harness.embedded.rules.http_client import LOOPBACK_ONLY, HttpClient, LoopbackResolver, NotLoopbackError
from harness.embedded.rules.lazy_client import receivers_tls
from harness.iot.rules import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from harness.iot.rules import HttpRequest

PATIENCE = 30.0


@pytest.fixture
async def client(tls: ssl.SSLContext) -> AsyncIterator[HttpClient]:
    """A client that trusts the receiver's CA and nobody else."""
    made = HttpClient(tls)
    yield made
    await made.aclose()


@pytest.fixture
def post(client: HttpClient, request_to: Callable[..., HttpRequest]) -> Callable[..., Awaitable[Any]]:
    """Post to a URL."""

    async def post(url: str, *, within: float = PATIENCE, **more: Any) -> Answer | NoAnswer:
        return await client.post(request_to(url, **more), within=within)

    return post


async def test_a_request_has_the_headers_of_the_rule_and_no_others_of_its_own(post: Any, receiver: Any) -> None:
    """A neutral name, nothing of the library, and header names that occur twice."""
    answer = await post(
        f"{receiver.url}/ingest?a=b",
        body=b'{"temp":1}',
        headers=(("content-type", "application/json"), ("X-Iot-Secret", "s"), ("X-Twice", "1"), ("X-Twice", "2")),
    )

    (arrived,) = receiver.requests
    assert isinstance(answer, Answer)
    assert (answer.status, answer.reason, answer.body_bytes) == (200, "Reason 200", 0)
    assert arrived.line == "POST /ingest?a=b HTTP/1.1"
    assert arrived.body == b'{"temp":1}'
    assert arrived.header("x-twice") == ["1", "2"]
    assert sorted({name.lower() for name, _ in arrived.headers}) == [
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-iot-secret",
        "x-twice",
    ]
    assert arrived.header("user-agent") == ["iot-http-action"]


async def test_a_rule_may_name_its_own_user_agent(post: Any, receiver: Any) -> None:
    """Then that is the only one."""
    await post(receiver.url, headers=(("content-type", "a/b"), ("user-agent", "mine")))

    assert receiver.requests[0].header("user-agent") == ["mine"]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", "/"),
        ("/a%20b", "/a%20b"),
        ("/a%2Fb/%7Ec", "/a%2Fb/%7Ec"),
        ("/a//b/../c", "/a//b/../c"),
        ("/a?x=%7E&y=1+2", "/a?x=%7E&y=1+2"),
        ("/a#part", "/a"),
    ],
)
async def test_a_url_is_sent_as_it_was_compared_with_the_destination(
    post: Any, receiver: Any, path: str, sent: str
) -> None:
    """Nothing is encoded, decoded or resolved anew."""
    assert isinstance(await post(receiver.url + path), Answer)

    assert receiver.requests[0].line == f"POST {sent} HTTP/1.1"


async def test_requests_share_a_kept_connection(post: Any, receiver: Any) -> None:
    """A connection serves one request after the other."""
    for _ in range(3):
        answer = await post(receiver.url)
        assert not answer.is_connection_closed()

    assert receiver.connections == 1


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 429, 503])
async def test_any_answer_is_an_answer_and_no_redirect_is_followed(
    post: Any, receiver: Any, reply: Any, status: int
) -> None:
    """What it means is decided elsewhere."""
    receiver.answers(reply(status, Location=f"{receiver.url}/elsewhere", Set_Cookie="a=b; Path=/"))

    answer = await post(f"{receiver.url}/here")
    await post(f"{receiver.url}/here")

    assert answer.status == status
    assert [arrived.line for arrived in receiver.requests] == ["POST /here HTTP/1.1"] * 2
    assert receiver.requests[1].header("cookie") == []


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, 0),
        (100, 100),
        (MAX_ANSWER_BYTES, MAX_ANSWER_BYTES),
        (MAX_ANSWER_BYTES + 1, MAX_ANSWER_BYTES + 1),
        (1_000_000, MAX_ANSWER_BYTES + 1),
    ],
)
async def test_an_answer_is_counted_up_to_the_limit(post: Any, receiver: Any, reply: Any, size: int, told: int) -> None:
    """A longer one is not read to its end; the next request is answered all the same."""
    receiver.answers(reply(200, b"x" * size))

    answer = await post(receiver.url)

    assert answer.body_bytes == told
    assert (await post(receiver.url)).status == 200


async def test_an_answer_without_end_is_not_read_to_its_end(post: Any, receiver: Any, raw_reply: Any) -> None:
    """What came is enough to know."""
    head = b"HTTP/1.1 500 Reason\r\nContent-Length: 1000000000\r\n\r\n"
    receiver.answers(raw_reply(data=head + b"x" * (MAX_ANSWER_BYTES + 1), then="hang"))

    answer = await post(receiver.url)

    assert (answer.status, answer.body_bytes) == (500, MAX_ANSWER_BYTES + 1)


async def test_an_answer_is_not_unpacked(post: Any, receiver: Any, reply: Any) -> None:
    """A few bytes cannot become gigabytes, and a lie about them is no failure."""
    receiver.answers(reply(200, b"no gzip at all", Content_Encoding="gzip"))

    assert (await post(receiver.url)).body_bytes == 14


@pytest.mark.parametrize(
    "how",
    [{"Connection": "close"}, {"version": "1.0"}, {"Connection": "close", "then": "close"}],
    ids=["says-close", "http-1.0", "says-and-does"],
)
async def test_a_connection_that_ends_with_its_answer_is_told(
    post: Any, receiver: Any, reply: Any, how: dict[str, str]
) -> None:
    """By a header, or by the old version."""
    receiver.answers(reply(503, **how))

    answer = await post(receiver.url)

    assert (answer.status, answer.is_connection_closed()) == (503, True)


async def test_a_connection_that_is_closed_later_without_a_word_is_told_from_then_on(
    post: Any, receiver: Any, reply: Any
) -> None:
    """The answer does not say so, the connection does."""
    receiver.answers(reply(503, b"later", then="close"))

    answer = await post(receiver.url)

    await receiver.until(lambda: receiver.closed == 1)
    async with asyncio.timeout(PATIENCE):
        while not answer.is_connection_closed():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0)
    assert answer.status == 503


async def test_what_becomes_of_a_connection_in_later_use_says_nothing_about_an_earlier_answer(
    post: Any, receiver: Any, reply: Any, raw_reply: Any
) -> None:
    """Otherwise a request would not be tried again because another one was given up."""
    receiver.answers(reply(503), raw_reply(then="hang"))
    answer = await post(receiver.url)

    late = await post(receiver.url, within=0.05)

    assert late.kind == "timeout"
    assert receiver.connections == 1
    assert not answer.is_connection_closed()


async def test_a_connection_without_an_answer_is_lost(post: Any, receiver: Any, raw_reply: Any) -> None:
    """The request went out once: nothing is repeated behind the back of whoever counts tries."""
    receiver.answers(raw_reply(then="close"))

    lost = await post(receiver.url)

    assert lost == NoAnswer(kind="lost", message=f"localhost:{receiver.port} closed the connection without an answer")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "cut its answer short"),
        (b"nonsense\r\n\r\n", "did not answer with HTTP"),
    ],
)
async def test_an_answer_that_is_none_is_lost(
    post: Any, receiver: Any, raw_reply: Any, data: bytes, because: str
) -> None:
    """Cut short, or something else than HTTP."""
    receiver.answers(raw_reply(data=data, then="close"))

    lost = await post(receiver.url)

    assert lost.kind == "lost"
    assert lost.message.endswith(because)


async def test_a_receiver_that_never_answers_is_given_up_in_time(post: Any, receiver: Any, raw_reply: Any) -> None:
    """And its connection is not used again."""
    receiver.answers(raw_reply(then="hang"))

    late = await post(receiver.url, within=0.05)

    assert late == NoAnswer(kind="timeout", message=f"localhost:{receiver.port} did not answer within 0.05 s")
    assert (await post(receiver.url)).status == 200
    assert receiver.connections == 2


async def test_a_receiver_that_does_not_end_its_answer_is_given_up_in_time(
    post: Any, receiver: Any, raw_reply: Any
) -> None:
    """The status alone is no answer."""
    receiver.answers(raw_reply(data=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", then="hang"))

    assert (await post(receiver.url, within=0.05)).kind == "timeout"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 503 No\r\nContent-Length: 99999\r\n\r\n" + b"x" * 20_000,
    ],
)
async def test_a_connection_that_was_given_up_is_cut_off(post: Any, identity: Any, data: bytes) -> None:
    """Without a TLS farewell, which a receiver that hangs would not answer: its connections would pile up."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identity.certificate, identity.key)

    def serve_one(listening: socket.socket) -> str:
        plain, _ = listening.accept()
        try:
            with tls.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as peer:
                while peer.recv(4096):
                    peer.sendall(data)
        except OSError:
            return "cut off"
        return "farewell"

    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = asyncio.get_running_loop().run_in_executor(None, serve_one, listening)
        await post(f"https://localhost:{listening.getsockname()[1]}", within=0.5)

        assert await served == "cut off"


async def test_a_receiver_that_is_not_there_cannot_be_reached(post: Any, nowhere: str) -> None:
    """Neither by IPv4 nor by IPv6."""
    refused = await post(nowhere)

    assert refused.kind == "connect"
    assert refused.message == f"{nowhere.removeprefix('https://')} cannot be reached: Connection refused"


async def test_a_certificate_of_a_foreign_authority_is_refused(
    post: Any, make_receiver: Any, foreign_identity: Any
) -> None:
    """Nothing is sent to whoever it is."""
    stranger = await make_receiver(foreign_identity)

    refused = await post(stranger.url)

    assert refused.kind == "tls"
    assert refused.message.startswith(f"localhost:{stranger.port} is not to be trusted: ")
    assert stranger.requests == []


async def test_a_certificate_for_another_name_is_refused(post: Any, receiver: Any) -> None:
    """The name in the URL is what is verified; the same receiver under its own name is fine."""
    refused = await post(receiver.url.replace("localhost", "other.localhost"))

    assert refused.kind == "tls"
    assert "other.localhost" in refused.message
    assert receiver.requests == []
    assert (await post(receiver.url)).status == 200


async def test_a_further_authority_can_be_trusted(
    make_receiver: Any, request_to: Any, identity: Any, foreign_identity: Any
) -> None:
    """A receiver of the user's own, under a CA of their own."""
    client = HttpClient(receivers_tls([str(identity.ca), str(foreign_identity.ca)]))
    try:
        for receiver in (await make_receiver(), await make_receiver(foreign_identity)):
            answer = await client.post(request_to(receiver.url), within=PATIENCE)
            assert isinstance(answer, Answer)
    finally:
        await client.aclose()


async def test_something_else_than_tls_is_refused(post: Any) -> None:
    """A port where plain text is spoken."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        refused = await post(f"https://localhost:{server.sockets[0].getsockname()[1]}")

    assert refused.kind in {"tls", "connect"}


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "[2001:db8::1]"])
async def test_an_address_that_is_not_loopback_is_not_connected_to(
    post: Any, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A stand-in leaves the machine alone, whatever a rule says."""
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: pytest.fail("connected"))

    refused = await post(f"https://{host}/ingest")

    assert refused.kind == "name"
    assert refused.message == f"{host.strip('[]')}:443 is not asked: {LOOPBACK_ONLY}"


def found_at(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let names be looked up with these results."""

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_of_another_machine_is_not_connected_to(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from a name that nobody knows."""
    found_at(monkeypatch, "192.0.2.1")
    elsewhere = await post("https://receiver.example")
    found_at(monkeypatch)
    nowhere = await post("https://receiver.example")

    assert elsewhere == NoAnswer(kind="name", message=f"receiver.example:443 is not asked: {LOOPBACK_ONLY}")
    assert nowhere == NoAnswer(kind="name", message="receiver.example:443 cannot be found: Name or service not known")


async def test_only_the_loopback_addresses_of_a_name_are_used_and_ipv4_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name may have others besides."""
    found_at(monkeypatch, "::1", "192.0.2.1", "127.0.0.1", "127.0.0.1")

    found = await LoopbackResolver().resolve("receiver.example", 443)

    assert [(each["host"], each["port"]) for each in found] == [("127.0.0.1", 443), ("::1", 443)]


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "a.localhost"])
async def test_the_machines_own_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """RFC 6761: whatever a name server says."""
    found_at(monkeypatch, "192.0.2.1")

    assert [each["host"] for each in await LoopbackResolver().resolve(name, 443)] == ["127.0.0.1", "::1"]
    with pytest.raises(NotLoopbackError):
        await LoopbackResolver().resolve("localhost.example", 443)


@pytest.mark.parametrize(
    ("more", "because"),
    [
        ({"headers": (("X-A", "a\r\nX-B: b"),)}, "cannot be written as HTTP"),
        ({"url": "https:///path"}, "the URL is not valid"),
        ({"url": "https://localhost:port/"}, "the URL is not valid"),
        ({"url": "https://127.1/"}, "canonical"),
        ({"url": "http://localhost/"}, "the URL is not valid"),
    ],
)
async def test_a_request_that_cannot_be_written_is_not_sent(
    post: Any, receiver: Any, more: dict[str, Any], because: str
) -> None:
    """Actions do not make such requests; if one did, nothing would be smuggled in with it."""
    refused = await post(**{"url": receiver.url, **more})

    assert refused.kind == "unsendable"
    assert because in refused.message
    assert receiver.requests == []


async def test_no_setting_of_the_environment_counts(
    post: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch, nowhere: str, tmp_path: Path
) -> None:
    """Neither a proxy nor a netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login user password secret")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, nowhere.replace("https", "http"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    assert (await post(receiver.url)).status == 200
    assert receiver.requests[0].header("authorization") == []


async def test_connections_are_opened_by_the_loop_itself(
    post: Any, receiver: Any, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket is opened beside the event loop, answered or refused: libuv may end the process over it."""

    async def open_beside(**_: Any) -> None:
        pytest.fail("aiohttp opened a socket of its own")

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", open_beside)

    assert (await post(receiver.url)).status == 200
    assert isinstance(await post(nowhere), NoAnswer)
