"""No secret in a report: in no failure, however much of it is shown, and in nothing that was written meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.clients.certificates import make_key, private_pem
from harness.secrecy import Secrets

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite

pytest_plugins = ["pytester"]

SECRET = "Zq7-correct_horse+battery/staple=Zq8"
KEY = "vK3nPz8LrWq1XyT5Bd0cMh6JfGs2AuEoYi9Rk4Nw"
SHORTEST_PIECE = 4


def pieces_of(secret: str, text: str) -> set[str]:
    """What a text shows of a secret, in pieces of as many characters as nobody writes by chance."""
    size = SHORTEST_PIECE + 2
    return {secret[at : at + size] for at in range(len(secret) - size + 1)} & {
        text[at : at + size] for at in range(len(text) - size + 1)
    }


LEAKS = """
import json
import logging
import os
import warnings
import pytest
from harness.errors import HarnessError

SECRET = os.environ["HARNESS_IOT_SECRET"]


def send(headers, body):
    cut = ["x" * 90 + SECRET[:30] + "y" * 150, headers]
    print("sent", headers)
    logging.getLogger("wire").warning("body %s", body)
    raise HarnessError(f"refused: {headers}")


def deliver(environment):
    headers = [{"key": "X-Iot-Secret", "value": SECRET}, {"key": "Authorization", "value": environment.admin_token}]
    credentials = environment.credentials.secret_access_key
    try:
        send(headers, json.dumps(headers).encode() * 3)
    except HarnessError as error:
        raise ExceptionGroup(credentials, [error, ValueError(SECRET)]) from error


def test_call(environment):
    deliver(environment)


@pytest.fixture
def set_up(environment):
    deliver(environment)


@pytest.fixture
def teardown(environment):
    yield
    deliver(environment)


def test_set_up(set_up): pass

def test_teardown(teardown): pass

def test_skipped(environment): pytest.skip(SECRET)

@pytest.mark.xfail
def test_expected(environment): deliver(environment)

def test_expected_late(environment): pytest.xfail(SECRET)

@pytest.mark.xfail(reason=SECRET)
def test_unexpected(environment): pass

def test_warned(environment): warnings.warn(SECRET)

def test_subtest(environment, subtests):
    with subtests.test(SECRET[:3]):
        print(SECRET)
        deliver(environment)

def test_passes(environment):
    print("said", SECRET)
    logging.getLogger("wire").warning(environment.admin_token)

def test_interrupted(environment):
    print(SECRET)
    os.environ["INTERRUPT"] == "no" or interrupt(SECRET)

def interrupt(value):
    raise KeyboardInterrupt(value)
"""

LONG_TARGET = """
import dataclasses

READY = dataclasses.replace(READY, secret_access_key=os.environ["KEY"], admin_token=os.environ["KEY"][::-1])
"""


@pytest.fixture
def leaky(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `LEAKS` and `LONG_TARGET` read; `suite` has taken away what was there."""
    del suite
    monkeypatch.setenv("HARNESS_IOT_SECRET", SECRET)
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("INTERRUPT", "no")


@pytest.mark.usefixtures("leaky")
@pytest.mark.parametrize(
    "arguments",
    [
        ("-l", "--full-trace"),
        ("-l", "--full-trace", "-vv"),
        ("-l", "--full-trace", "-vv", "-rA", "--color=yes"),
        ("-l", "--tb=long"),
        ("--tb=short", "-rA"),
        ("--tb=native", "-rA"),
        ("--tb=line", "-rA"),
        ("-l", "--full-trace", "-n1", "-vv"),
    ],
    ids=" ".join,
)
def test_no_report_shows_a_secret(suite: Suite, pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """Neither in frames and messages nor in output, on the terminal and in JUnit XML; all else stays to be read."""
    result = suite(
        *(LEAKS, *arguments, "--target=embedded", "--junitxml=j.xml", "-ojunit_logging=all"),
        *("-Wdefault::UserWarning", "-oxfail_strict=false"),
        further=LONG_TARGET,
    )

    shown = result.stdout.str() + result.stderr.str() + (pytester.path / "j.xml").read_text("utf-8")
    assert result.parseoutcomes()["failed"] == 3
    assert result.parseoutcomes()["errors"] == 2
    assert {secret: pieces_of(secret, shown) for secret in (SECRET, KEY, KEY[::-1])} == {
        SECRET: set(),
        KEY: set(),
        KEY[::-1]: set(),
    }
    assert "refused: [{'key': 'X-Iot-Secret', 'value': '…'}" in shown
    assert "said …" in shown


@pytest.mark.usefixtures("leaky")
def test_an_interrupted_run_shows_no_secret(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was is shown with its arguments, past all reports."""
    monkeypatch.setenv("INTERRUPT", "yes")

    result = suite(LEAKS, "--full-trace", "--target=embedded", "-k", "interrupted", further=LONG_TARGET)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert pieces_of(SECRET, result.stdout.str()) == set()
    result.stdout.fnmatch_lines(["value = '…'", "E *KeyboardInterrupt: …"])


@pytest.mark.usefixtures("leaky")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_collected_shows_no_secret(suite: Suite, pytester: pytest.Pytester, workers: int) -> None:
    """A module that fails while it is imported, and what it wrote."""
    result = suite(
        """
        import os

        print("importing", os.environ["HARNESS_IOT_SECRET"])
        raise ValueError(os.environ["HARNESS_IOT_SECRET"])
        """,
        *("-l", "--full-trace", "--target=embedded", "--junitxml=j.xml", f"-n{workers}"),
    )

    assert result.parseoutcomes()["errors"] == 1
    assert pieces_of(SECRET, result.stdout.str() + (pytester.path / "j.xml").read_text("utf-8")) == set()
    result.stdout.fnmatch_lines(["E *ValueError: …"])


@pytest.mark.usefixtures("leaky")
def test_an_error_of_pytest_itself_shows_no_secret(suite: Suite) -> None:
    """Such as a hook of the suite's that fails."""
    hook = """
def pytest_collection_modifyitems():
    raise ValueError(os.environ["HARNESS_IOT_SECRET"])
"""
    result = suite("def test_it(target): pass", "-l", "--target=embedded", further=hook)

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert pieces_of(SECRET, result.stdout.str() + result.stderr.str()) == set()
    result.stdout.fnmatch_lines(["INTERNALERROR> *ValueError: …"])


def test_words_are_no_secrets(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators take `test`, which stands in every test's name."""
    monkeypatch.setenv("HARNESS_IOT_SECRET", "test")

    result = suite("def test_it(target): assert 'test' == target.name", "-l", "--target=embedded")

    result.stdout.fnmatch_lines(["*def test_it(target): assert 'test' == target.name", "FAILED *::test_it*"])
    result.stdout.no_fnmatch_line("*…*")


def test_a_report_of_somebodys_own_kind_shows_no_secret(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is made of: in doubt it becomes plain text."""
    monkeypatch.setenv("HARNESS_IOT_SECRET", SECRET)
    own = f"""
import pytest


class Own:
    def __str__(self):
        return "own words of {SECRET}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    report.longrepr = Own() if report.failed else report.longrepr
    return report
"""
    result = suite("def test_it(target): assert False", "--target=embedded", further=own)

    assert pieces_of(SECRET, result.stdout.str()) == set()
    result.stdout.fnmatch_lines("own words of …")


# What is known, and in which forms it is found.


@pytest.mark.parametrize(
    "text",
    [
        "{'key': 'X-Iot-Secret', 'value': 'KEY'}",
        "{'value': 'KEY', 'key': 'X-Iot-Secret'}",
        '{"headers": [{"key": "x-iot-secret", "value": "KEY"}]}',
        r"b'{\"key\": \"X-Iot-Secret\", \"value\": \"KEY\"}'",
        "{'X-Iot-Secret': 'KEY'}",
        "{'AccessKeyId': 'ASIA1', 'SecretKey': 'KEY'}",
        "'SessionToken': 'KEY'",
        "secret_access_key='KEY'",
        "iot_secret = 'KEY'",
        "headers={'X-Amz-Security-Token': b'KEY'}",
        "wss://host/mqtt?X-Amz-Date=1&X-Amz-Security-Token=KEY",
        "{'Authorization': 'Bearer KEY'}",
        "[('X-Iot-Secret', 'KEY'), ('Accept', '*')]",
        "[(b'x-iot-secret', b'KEY')]",
        r"b'POST / HTTP/1.1\r\nX-Iot-Secret: KEY\r\n'",
        "ReadOnlyCredentials(access_key='ASIA1', secret_key='other-key', token='KEY', account_id=None)",
    ],
)
def test_a_secret_is_known_by_what_names_it(text: str) -> None:
    """A header, an answer of Cognito, a variable, a signed URL."""
    secrets = Secrets()

    secrets.find(text.replace("KEY", KEY))

    assert secrets.hide(f"<{KEY}>") == "<…>"


@pytest.mark.parametrize(
    "text",
    [
        "SECRET_HEADER = 'X-Iot-Secret'",
        "{'key': 'X-Message-Id', 'value': 'a-long-message-id'}",
        "{'nextToken': 'page-two-of-many'}",
        "secret = make_secret('by-some-means')",
        "secret='short'",
        "{'user': 'u', 'password': 'password'}",
        "private_key_pem = '-----BEGIN EC PRIVATE KEY-----'",
    ],
)
def test_other_things_are_not_taken_for_secrets(text: str) -> None:
    """Whatever is hidden without need is missed when somebody looks for a mistake."""
    secrets = Secrets()

    secrets.find(text)

    assert secrets.hide(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a {SECRET} b {SECRET}", "a … b …"),
        (repr(SECRET[:9]) + "...", repr(SECRET[:9]) + "..."),
        (f"'{SECRET[:9]}...", "'…..."),
        (f"...{SECRET[-9:]}'", "...…'"),
        (f"{SECRET[:20]}...{SECRET[-20:]}", "…...…"),
        (f"{SECRET[:3]}... and so on", f"{SECRET[:3]}... and so on"),
        (f"b'xx{SECRET[:11]}'\n   b'{SECRET[11:]}yy'", "b'xx…yy'"),
        (f"E  b'xx{SECRET[:11]}'\nE     b'{SECRET[11:20]}'\nE     b'{SECRET[20:]}yy'", "E  b'xx…yy'"),
        (f"b'{SECRET[:11]}\x1b[39m'\n \x1b[33m+ b\x1b[39m\x1b[33m'{SECRET[11:]}'", "b'…'"),
        (f"{SECRET[:9]}......{SECRET[-9:]}", "…......…"),
        ("?secret=Zq7-correct_horse%2Bbattery%2Fstaple%3DZq8&", "?secret=…&"),
        (json.dumps({"a": SECRET}), '{"a": "…"}'),
    ],
)
def test_a_secret_is_hidden_in_every_form(text: str, expected: str) -> None:
    """Whole, cut at either end as pytest cuts, broken over lines, and as in a URL."""
    secrets = Secrets()
    secrets.add([SECRET, None, "", "test", "short"])

    hidden = secrets.hide(text)

    assert hidden == expected
    assert secrets.hide(hidden) == hidden


def test_a_secret_with_quotes_is_hidden_as_python_and_json_write_it() -> None:
    """A header's value may be any visible ASCII."""
    secret = 'it\'s "quoted" \\ once'
    secrets = Secrets()
    secrets.add([secret])

    assert "quoted" not in secrets.hide(repr({"a": secret}))
    assert "quoted" not in secrets.hide(json.dumps({"a": secret}))


def test_a_secret_that_holds_another_is_hidden_whole() -> None:
    """The longer one first."""
    secrets = Secrets()
    secrets.add(["12345678", "0123456789"])

    assert secrets.hide("0123456789 12345678") == "… …"


def test_a_private_key_is_hidden_however_much_of_it_is_shown() -> None:
    """Whole, as Python writes it, and cut in its middle; who it is for stays."""
    pem = private_pem(make_key(platform="linux"))
    body = "".join(pem.splitlines()[1:-1])
    secrets = Secrets()

    for text in (pem, repr(pem), json.dumps({"key": pem}), f"{pem[:80]}...{pem[-80:]}", repr(pem)[:70] + "..."):
        hidden = secrets.hide(f"thing-1 {text}")
        assert pieces_of(body, hidden) == set()
        assert hidden.startswith("thing-1 ")
        assert "PRIVATE KEY-----" in hidden


def test_a_private_key_is_hidden_where_a_comparison_shows_it_line_by_line() -> None:
    """Its lines stand apart then, with signs and colours between them, which stay."""
    pem, other = (private_pem(make_key(platform="linux")) for _ in range(2))
    secrets = Secrets()
    secrets.find(repr([pem, other]))
    text = "".join(
        f"E  \x1b[9{sign}m{'+-'[sign]} {line}\x1b[39;49;00m\n" for sign in (0, 1) for line in pem.splitlines()
    )
    secrets.find(text)

    hidden = secrets.hide(text)

    assert pieces_of("".join(pem.splitlines()[1:-1]), hidden) == set()
    assert "\nE  \x1b[91m- …\x1b[39;49;00m\n" in hidden


@pytest.mark.parametrize(
    "text", ["." * 300_000, "'" + "\n" * 100_000, "b'abc'\n  b'def'\n" * 5_000], ids=["dots", "empty lines", "lines"]
)
def test_long_output_is_looked_through_in_time_that_grows_with_its_length_alone(text: str) -> None:
    """Progress dots, empty lines: neither takes hours, nor changes."""
    secrets = Secrets()
    secrets.add(f"{SECRET}{number}" * 20 for number in range(1_000))

    assert secrets.hide(text) == text


def test_no_more_of_a_variable_is_read_than_a_failure_may_cost() -> None:
    """Lists in lists: a number of values that nobody counts to."""
    huge: list[object] = []
    for _ in range(8):
        huge = [huge] * 200
    secrets = Secrets()

    with pytest.raises(ZeroDivisionError) as failed:
        assert len(huge) / 0
    secrets.find_in_frames(failed.value)

    assert len(huge) == 200


def test_frames_of_all_errors_are_looked_into() -> None:
    """Of causes, of members of groups; what cannot be shown is passed over."""

    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError

    def fail(number: int) -> None:
        shy, session_token = Shy(), f"{KEY}{number}"
        raise ValueError(shy is session_token)

    errors: list[Exception] = []
    for number in range(3):
        try:
            fail(number)
        except ValueError as error:
            errors.append(error)
    group = ExceptionGroup("both", errors[:2])
    group.__cause__ = errors[2]
    errors[2].__context__ = group
    secrets = Secrets()

    secrets.find_in_frames(group)

    assert [secrets.hide(f"{KEY}{number}") for number in range(4)] == ["…", "…", "…", f"{KEY}3"]
