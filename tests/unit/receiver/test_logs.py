"""Log lines: one JSON object each, without what must not be in them."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from receiver.logs import JsonLines, set_up_logging

if TYPE_CHECKING:
    import pytest


def record(message: str, **more: object) -> logging.LogRecord:
    """Make a record as the receiver's logger does."""
    made = logging.LogRecord("receiver", logging.INFO, "app.py", 1, message, (), None)
    made.created = 1_795_291_262.123
    made.__dict__.update(more)
    return made


def test_a_line_is_one_json_object() -> None:
    """Whatever is in it: no line break comes through."""
    line = JsonLines().format(record("one\ntwo", about={"message_id": "a\r\nb"}))

    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2026-11-21T20:01:02.123Z",
        "level": "info",
        "logger": "receiver",
        "message": "one\ntwo",
        "message_id": "a\r\nb",
    }


def test_an_exception_is_told_by_type_and_place() -> None:
    """What it says may be what a device said."""
    try:
        float("21.5 degrees")
    except ValueError:
        line = JsonLines().format(record("failed", exc_info=sys.exc_info()))

    told = json.loads(line)
    assert told["error"] == "ValueError"
    assert "test_logs.py:" in told["where"][-1]
    assert "21.5" not in line


def test_libraries_are_heard_from_warning_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the receiver's own level: they would write rows, signatures and tokens."""
    root, own = logging.getLogger(), logging.getLogger("receiver")
    monkeypatch.setattr(root, "handlers", [])
    level, own_level = root.level, own.level
    try:
        set_up_logging("debug")
        for name in ("botocore.endpoint", "httpx", "uvicorn.error"):
            assert not logging.getLogger(name).isEnabledFor(logging.INFO)
        own.debug("heard")
    finally:
        root.setLevel(level)
        own.setLevel(own_level)

    assert json.loads(capsys.readouterr().err)["message"] == "heard"
