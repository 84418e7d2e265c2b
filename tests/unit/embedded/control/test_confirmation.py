"""The confirmation request, against something that speaks TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.control.confirmation import Confirmation, ConfirmationFailed, find_ipv4, send_confirmation
from harness.targets.embedded.certificates import make_server_identity

if TYPE_CHECKING:
    from pathlib import Path

ARN = "arn:aws:iot:eu-central-1:111122223333:ruledestination/http/1"


def confirmation(url: str) -> Confirmation:
    """Return what a destination is asked."""
    return Confirmation(arn=ARN, url=url, token="t0ken", enable_url="http://127.0.0.1:1/confirmdestination/t0ken")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/?confirmationToken=t0ken"),
        ("/", "/?confirmationToken=t0ken"),
        ("/ingest", "/ingest/?confirmationToken=t0ken"),
        ("/ingest/", "/ingest/?confirmationToken=t0ken"),
        ("/a?b=c", "/a/?b=c&confirmationToken=t0ken"),
    ],
)
def test_a_destination_is_asked_as_aws_documents_it(
    receiver: Any, server_identity: Any, path: str, target: str
) -> None:
    """A slash, the token in the query, two headers, and four members; no secret header, which is the rule's."""
    send_confirmation(confirmation(receiver.url + path), ca_files=[str(server_identity.ca)])

    line, headers, body = receiver.receive()
    assert line == f"POST {target} HTTP/1.1"
    assert headers["x-amz-rules-engine-message-type"] == "DestinationConfirmation"
    assert headers["x-amz-rules-engine-destination-arn"] == ARN
    assert (headers["content-type"], headers["host"]) == ("application/json", receiver.url.removeprefix("https://"))
    assert body == {
        "arn": ARN,
        "confirmationToken": "t0ken",
        "enableUrl": "http://127.0.0.1:1/confirmdestination/t0ken",
        "messageType": "DestinationConfirmation",
    }


def test_nothing_secret_is_shown() -> None:
    """The token would confirm."""
    assert "t0ken" not in repr(confirmation("https://localhost/"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: https://localhost:1/\r\n\r\n", "answered the confirmation request with"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "status 403"),
        (b"HTTP/1.1 500\r\n\r\n", "status 500"),
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP/1.1"),
        (b"x" * 20_000, "does not speak HTTP/1.1"),
    ],
)  # fmt: skip
def test_an_answer_without_success_is_a_failure(receiver: Any, server_identity: Any, answer: bytes, says: str) -> None:
    """A redirect is not followed: only what was registered is asked."""
    receiver.answer = lambda _: answer

    with pytest.raises(ConfirmationFailed, match=says):
        send_confirmation(confirmation(receiver.url), ca_files=[str(server_identity.ca)])
    assert receiver.requests.qsize() == 1


def test_only_the_configured_authorities_are_trusted(receiver: Any, server_identity: Any, tmp_path: Path) -> None:
    """Neither another one nor none; with several files any of them."""
    other = make_server_identity(tmp_path).ca

    for ca_files in ([], [str(other)]):
        with pytest.raises(ConfirmationFailed, match=r"certificate of localhost:[0-9]+ is not trusted"):
            send_confirmation(confirmation(receiver.url), ca_files=ca_files)
    assert receiver.requests.empty()
    send_confirmation(confirmation(receiver.url), ca_files=[str(other), str(server_identity.ca)])


def test_the_certificate_must_be_the_hosts(receiver: Any, server_identity: Any) -> None:
    """Another name for the same address is not what the certificate speaks of."""
    url = receiver.url.replace("localhost", "receiver.test")

    with pytest.raises(ConfirmationFailed, match="not trusted: Hostname mismatch"):
        send_confirmation(confirmation(url), ca_files=[str(server_identity.ca)], resolve=lambda *_: ["127.0.0.1"])
    assert receiver.requests.empty()


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "0.0.0.0", "8.8.8.8"])  # noqa: S104 - nothing is bound
def test_what_is_not_on_this_machine_is_not_called(
    monkeypatch: pytest.MonkeyPatch, server_identity: Any, address: str
) -> None:
    """Whoever may create a destination must not make this process knock at other doors."""
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a connection was opened"))

    with pytest.raises(ConfirmationFailed, match="is not on this machine"):
        send_confirmation(
            confirmation("https://receiver.test/"), ca_files=[str(server_identity.ca)], resolve=lambda *_: [address]
        )


def test_the_address_that_was_looked_at_is_the_one_that_is_called(receiver: Any, server_identity: Any) -> None:
    """A name that changes between two look-ups leads nowhere else: there is only one."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    send_confirmation(confirmation(receiver.url), ca_files=[str(server_identity.ca)], resolve=lambda *_: answers.pop(0))

    assert answers == [["10.0.0.1"]]


def test_a_host_without_an_address_is_a_failure() -> None:
    """Look-ups fail as OSError, and as UnicodeError for names that are none."""

    def fail(*_: object) -> list[str]:
        raise socket.gaierror

    with pytest.raises(ConfirmationFailed, match=r"nowhere\.test has no IPv4 address"):
        send_confirmation(confirmation("https://nowhere.test/"), ca_files=[], resolve=fail)
    with pytest.raises(ConfirmationFailed, match="has no IPv4 address"):
        send_confirmation(confirmation(f"https://{'x' * 70}/"), ca_files=[])
    assert find_ipv4("localhost", 1) == ["127.0.0.1"]


def test_where_nobody_listens_or_speaks_tls_the_request_fails(server_identity: Any) -> None:
    """Refused, and answered with something else."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer_without_tls() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer_without_tls)
        thread.start()
        with pytest.raises(ConfirmationFailed, match=r"does not speak TLS as it should|cannot be reached"):
            send_confirmation(confirmation(f"https://localhost:{port}/"), ca_files=[str(server_identity.ca)])
        thread.join()
    with pytest.raises(ConfirmationFailed, match="cannot be reached: Connection refused"):
        send_confirmation(confirmation(f"https://localhost:{port}/"), ca_files=[str(server_identity.ca)])


def test_what_answers_nothing_is_not_waited_for(server_identity: Any) -> None:
    """There is an end to it; here at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://localhost:{listening.getsockname()[1]}/"
        with pytest.raises(ConfirmationFailed, match=r"did not answer within 0\.01 s"):
            send_confirmation(confirmation(url), ca_files=[str(server_identity.ca)], within=0.01)


def test_what_answers_byte_by_byte_is_not_waited_for_either(server_identity: Any) -> None:
    """The end is that of the whole answer, not of each byte."""
    gone = threading.Event()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server_identity.certificate, server_identity.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://localhost:{listening.getsockname()[1]}/"

        def drip() -> None:
            plain, _ = listening.accept()
            with contextlib.suppress(OSError), tls.wrap_socket(plain, server_side=True) as peer:
                for _ in range(60):
                    peer.sendall(b"H")
                    if gone.wait(0.02):
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(ConfirmationFailed, match=r"did not answer within 0\.3 s"):
            send_confirmation(confirmation(url), ca_files=[str(server_identity.ca)], within=0.3)
        gone.set()
        thread.join()
