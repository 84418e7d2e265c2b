"""Where the command begins."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from harness.__main__ import main


def test_an_interruption_while_the_command_is_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and the exit code of an interruption."""

    class Interrupting(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "harness.cli", Interrupting("harness.cli"))

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"
