"""Lines for people: flushed one by one, safe in any encoding, and never more than text.

What strangers publish ends up on somebody's terminal, so control characters are shown instead of obeyed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_HIDDEN = frozenset((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_SHOWN = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _HIDDEN}
_SHOWN |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\t"}


def printable(text: str) -> str:
    """Give the text on one line, with control and direction-changing characters as their escapes; tabs stay."""
    return text.translate(_SHOWN)


class Terminal:
    """Standard output and error of a command.

    Args:
        out: where results go; None means standard output, made safe for characters its encoding lacks.
        err: where complaints go; None means standard error, likewise.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or _made_safe(sys.stdout)
        self._err = err or _made_safe(sys.stderr)

    @property
    def is_live(self) -> bool:
        """Whether somebody watches a terminal that can redraw lines."""
        return self._out.isatty() and not self.console().is_dumb_terminal

    def line(self, text: str) -> None:
        """Print one line at once, also when piped."""
        self._out.write(printable(text) + "\n")
        self._out.flush()

    def error(self, sentence: str) -> None:
        """Print what went wrong to standard error; several lines stay several lines."""
        self._err.write("\n".join(map(printable, sentence.splitlines())) + "\n")
        self._err.flush()

    def console(self) -> Console:
        """Give a rich console on the same output; rich itself minds ``NO_COLOR`` and the width."""
        from rich.console import Console  # noqa: PLC0415 - only a live display needs it

        return Console(file=self._out, highlight=False, markup=False, emoji=False)


def _made_safe(stream: TextIO | None) -> TextIO:
    if stream is None:  # started with its descriptor closed, as by `>&-`
        return Path(os.devnull).open("w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:  # tests and embedders put other objects in its place
        reconfigure(errors="replace")
    return stream
