"""Lines for people: flushed, safe in any encoding, and never more than text."""

from __future__ import annotations

import io

import pytest

from harness.terminal import Terminal, printable


class CountingStream(io.StringIO):
    """A stream that counts how often it was flushed."""

    flushes = 0

    def flush(self) -> None:
        """Count."""
        self.flushes += 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello, World!", "Hello, World!"),
        ("✅ Received: 🎉", "✅ Received: 🎉"),
        ("tab\tstays", "tab\tstays"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
    ],
)
def test_printable_shows_control_characters_instead_of_obeying_them(text: str, shown: str) -> None:
    """A stranger's payload stays one line and moves no cursor."""
    assert printable(text) == shown


def test_terminal_flushes_every_line() -> None:
    """A line is there for the reader of a pipe as soon as it was printed."""
    out = CountingStream()
    terminal = Terminal(out, io.StringIO())

    terminal.line("[connecting]")
    terminal.line("[connected]")

    assert out.getvalue() == "[connecting]\n[connected]\n"
    assert out.flushes == 2


def test_terminal_keeps_the_lines_of_an_error_apart() -> None:
    """A failure of several lines is not squeezed into one, and still moves no cursor."""
    err = io.StringIO()

    Terminal(io.StringIO(), err).error("first\nsecond \x1b[31mred")

    assert err.getvalue() == "first\nsecond \\x1b[31mred\n"


def test_terminal_replaces_what_an_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ASCII-only standard output gets a question mark, not an exception."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))

    Terminal().line("[Client 1] ✅ Received: ä")

    assert raw.getvalue() == b"[Client 1] ? Received: ?\n"


def test_terminal_without_standard_output_prints_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command started with closed descriptors works, unheard."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    terminal = Terminal()

    terminal.line("[connecting]")
    terminal.error("refused")

    assert not terminal.is_live
    terminal._out.close()
    terminal._err.close()


def test_terminal_is_not_live_when_piped() -> None:
    """Without somebody watching nothing is redrawn, whatever the environment says of colours."""
    assert not Terminal(io.StringIO(), io.StringIO()).is_live


def test_terminal_is_not_live_when_the_terminal_cannot_redraw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dumb terminal gets plain lines; any other is live."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)

    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal(out, io.StringIO()).is_live
    monkeypatch.setenv("TERM", "xterm")
    assert Terminal(out, io.StringIO()).is_live
