"""Keeps secrets out of what a run reports: the text of failures, and what tests and libraries wrote meanwhile.

pytest shows arguments and, with ``--showlocals``, local variables of every frame, libraries' frames included: a rule's
headers, guests' keys. Terminal, JUnit XML and pytest-xdist's controller get all of it from reports, so it is taken out
of these, in the process that made them.

A secret is known because the run was given it, or because something beside a failure names it: a header
``X-Iot-Secret``, a ``SecretKey`` in an answer. What is shown is often cut (``'abc...xyz'``), so names are looked for
in the frames themselves, and pieces of what is known are taken out as well. Private keys are known by their PEM.

Differs: what is written past reports stays as it is: ``-s``, ``log_cli``, a debugger; so do names that a suite itself
makes of a secret: of cases, of subtests, of properties.
"""

from __future__ import annotations

import json
import re
import reprlib
from contextlib import suppress
from functools import lru_cache
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import pytest

if TYPE_CHECKING:
    import warnings
    from collections.abc import Callable, Generator, Iterable, Iterator

VARIABLES: Final = (
    "HARNESS_IOT_SECRET",
    "HARNESS_SECRET_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LOCALSTACK_AUTH_TOKEN",
    "PULUMI_ACCESS_TOKEN",
    "PULUMI_CONFIG_PASSPHRASE",
)
"""Environment variables that hold secrets of a run."""

_MASK: Final = "…"
_SHORTEST: Final = 8
"""Characters: whatever is shorter is a word such as ``test``, and stands in many places."""
_SHORTEST_PIECE: Final = 4

_QUOTE: Final = r"\\{0,7}['\"]"
"""Also as it stands in a text within a text within a text; bounded, or a row of backslashes would take forever."""

_VALUE: Final = rf"(?P<quote>{_QUOTE})(?P<value>[^'\"\\\s]{{{_SHORTEST},}})(?P=quote)"
_NAME: Final = (
    r"(?:secret(?:_?access)?(?:_?key)?s?|passw(?:or)?d|passphrase|private_?key"
    r"|(?:session|security|admin|access|auth|bearer)[-_]?token)"
)
_NAMED: Final = (
    rf"{_NAME}(?:{_QUOTE})?\s*(?:[:=]|,\s*{_QUOTE}value{_QUOTE}\s*:)\s*b?{_VALUE}",  # of a variable, of a header
    rf"{_QUOTE}value{_QUOTE}\s*:\s*{_VALUE}\s*,\s*{_QUOTE}key{_QUOTE}\s*:\s*{_QUOTE}[\w-]*{_NAME}{_QUOTE}",
    rf"x-[\w-]*{_NAME}{_QUOTE}\s*,\s*b?{_VALUE}",  # of a header in a list of pairs
    rf"x-[\w-]*{_NAME}(?:=|:\s?)(?P<value>[\w.~%+/=-]{{{_SHORTEST},}})",  # of a header in its text, in a URL
    rf"\bbearer\s+(?P<value>[\w.~+/=-]{{{_SHORTEST},}})",
    rf"\bsecret_key={_QUOTE}[^'\"]*{_QUOTE},\s*token={_VALUE}",  # of botocore's credentials
)
_NAMES: Final = tuple(re.compile(each, re.IGNORECASE) for each in _NAMED)
_NAME_ALONE: Final = re.compile(_NAME, re.IGNORECASE)

_CUT: Final = re.compile(r"\.{3,}|…+")
_COLOUR: Final = r"(?:\x1b\[[\d;]*m)*"
_JOINT: Final = rf"{_COLOUR}['\"]{_COLOUR}[ \t]*{_COLOUR}\n(?:E\s)?(?:[ \t+-]|\x1b\[[\d;]*m)*+b?{_COLOUR}['\"]{_COLOUR}"
"""Between two lines of a long text, as pytest shows it with ``-vv``: bytes are broken anywhere."""

_BEGIN: Final = r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
_END: Final = r"-----END (?:[A-Z]+ )*PRIVATE KEY-----"
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=]+")
_BREAK: Final = r"(?:\\{1,7}[nr]|[\s'\"])"
_KEYS: Final = (
    re.compile(rf"(?P<begin>{_BEGIN})(?P<body>[^-]+)(?P<end>{_END})"),
    re.compile(
        rf"(?P<begin>{_BEGIN})(?:{_BREAK}+[A-Za-z0-9+/=]{{16,}})+(?:{_BREAK}*[A-Za-z0-9+/=]+(?=\.\.\.|…))?(?P<end>)"
    ),
    re.compile(rf"(?P<begin>{_BEGIN}){_BREAK}*[A-Za-z0-9+/=]+(?=\.\.\.|…)(?P<end>)"),
    re.compile(rf"(?P<begin>\.\.\.|…)(?:{_BREAK}|[A-Za-z0-9+/=]++)++(?P<end>{_END})"),
)
"""A private key as PEM: whole, and what is left of it before a cut and behind one."""


class Secrets:
    """What is to be taken out of texts, in every form in which it is written there."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._all_forms = ""

    def add(self, values: Iterable[str | None]) -> None:
        """Note secrets; what is too short to be one is not noted."""
        further = {each for each in values if each and len(each) >= _SHORTEST} - self._known
        if further:
            self._known |= further
            forms = {form for each in self._known for form in _forms(each)}
            self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))  # one may hold another
            self._all_forms = "\0".join(self._forms)

    def find(self, text: str) -> None:
        """Note what a text calls a secret, and the lines of private keys, which a comparison shows one by one."""
        found = {match["value"] for name in _NAMES for match in name.finditer(text)}
        found = {each for each in found if not _NAME_ALONE.fullmatch(each)}  # ``password='password'``
        self.add(found | {unquote(each) for each in found})
        if "PRIVATE KEY-----" in text:
            for key in _KEYS[0].finditer(text):
                self.add(each for each in re.split(f"{_BREAK}+", key["body"]) if _BASE64.fullmatch(each))

    def find_in_frames(self, error: BaseException) -> None:
        """Note what the variables of an error's frames call a secret, and those of the errors that led to it."""
        seen: set[int] = set()
        shown = _Long().repr
        for each in _errors(error):
            self.find(shown(each))
            for name, value in _variables(each):
                if isinstance(value, str | bytes):
                    self.find(f"{name}={shown(value)}")  # perhaps its name alone tells
                elif id(value) not in seen:  # most are handed from frame to frame
                    seen.add(id(value))
                    self.find(shown(value))

    def hide(self, text: str) -> str:
        """Return a text with ``…`` in the place of each secret, and of each piece that was left of one."""
        joined = re.sub(_JOINT, "", text)
        if joined != text:
            for form in self._forms:
                if form in joined:
                    text = _over_lines(form).sub(_MASK, text)
        for form in self._forms:
            text = text.replace(form, _MASK)
        if _CUT.search(text):
            text = self._hide_pieces(text)
        if "PRIVATE KEY-----" in text:
            for key in _KEYS:
                text = key.sub(rf"\g<begin>{_MASK}\g<end>", text)
        return text

    def _hide_pieces(self, text: str) -> str:
        """Take out what stands directly before a cut and begins a secret, or behind one and ends it."""
        parts, last = [], 0
        for cut in _CUT.finditer(text):
            start, end = cut.span()
            before = after = 0
            if start - last >= _SHORTEST_PIECE and text[start - _SHORTEST_PIECE : start] in self._all_forms:
                before = max(_begins(form, text[max(last, start - len(form)) : start]) for form in self._forms)
            if text[end : end + _SHORTEST_PIECE] in self._all_forms:
                after = max((_ends(form, text[end : end + len(form)]) for form in self._forms), default=0)
            parts += [text[last : start - before], _MASK if before else "", cut[0], _MASK if after else ""]
            last = end + after
        return "".join([*parts, text[last:]])


class Secrecy:
    """Takes secrets out of reports; a pytest plugin.

    Args:
        config: pytest's.
        known: gives the secrets that the run knows so far; None and trivial values do no harm.
    """

    def __init__(self, config: pytest.Config, known: Callable[[], Iterable[str | None]]) -> None:
        self._config = config
        self._known = known
        self._secrets = Secrets()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Hide what a test's failure and its output show; the output of those that pass is looked at once, below."""
        report = yield
        if call.excinfo is not None:
            self._hide_in(report, call.excinfo)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Hide the same of what could not be collected."""
        report = yield
        call = getattr(report, "call", None)
        self._hide_in(report, call.excinfo if call else None)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hide what other plugins have added since, and what they have made themselves."""
        self._hide_in(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Hide the same where collecting is reported."""
        self._hide_in(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Hide what a warning says."""
        self._learn()
        said = str(warning_message.message)
        hidden = self._secrets.hide(said)
        if hidden != said:
            warning_message.message = hidden

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Hide what the end of pytest itself shows."""
        self._learn(excinfo)
        self._hidden(excrepr)

    @pytest.hookimpl(trylast=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Hide what ``--full-trace`` shows of where a run was interrupted."""
        self._learn(excinfo)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        self._hidden(getattr(reporter, "_keyboardinterrupt_memo", None))

    def _hide_in(
        self,
        report: pytest.TestReport | pytest.CollectReport,
        error: pytest.ExceptionInfo[BaseException] | None = None,
    ) -> None:
        reason: object = getattr(report, "wasxfail", None)
        if report.longrepr is None and not report.sections and not reason:
            return  # as of most tests that pass
        self._learn(error)
        if isinstance(report, pytest.TestReport) and isinstance(reason, str):
            report.wasxfail = self._secrets.hide(reason)
        for _, content in report.sections:
            self._secrets.find(content)
        report.sections = [(name, self._secrets.hide(content)) for name, content in report.sections]
        if report.longrepr is None:
            return
        self._secrets.find(report.longreprtext)
        report.longrepr = self._hidden(report.longrepr)
        text = report.longreprtext
        hidden = self._secrets.hide(text)
        if hidden != text:  # somebody's own kind of text, of which nobody knows where its words are
            report.longrepr = hidden

    def _learn(self, error: pytest.ExceptionInfo[BaseException] | None = None) -> None:
        self._secrets.add(self._known())
        if error is not None:
            self._secrets.find_in_frames(error.value)

    def _hidden(self, shown: Any) -> Any:
        """Return a part of what pytest is going to show, without secrets; its own objects are changed in place."""
        if isinstance(shown, str):
            return self._secrets.hide(shown)
        if type(shown) is list and shown and all(isinstance(each, str) for each in shown):
            return self._hidden_lines(shown)
        if type(shown) in (list, tuple):
            return type(shown)(self._hidden(each) for each in shown)
        if hasattr(shown, "toterminal") and type(shown).__module__.startswith("_pytest."):
            for name, each in vars(shown).items():
                setattr(shown, name, self._hidden(each))
        return shown

    def _hidden_lines(self, lines: list[str]) -> list[str]:
        """Hide also what goes over several lines."""
        has_ends = any(each.endswith("\n") for each in lines)
        whole = ("" if has_ends else "\n").join(lines)
        hidden = self._secrets.hide(whole)
        if hidden == whole:
            return lines
        return hidden.splitlines(keepends=True) if has_ends else hidden.split("\n")


def _errors(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that led to it or are part of it, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]
            waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _variables(error: BaseException) -> list[tuple[str, Any]]:
    """Give the variables of all frames that an error came through; a list, so that none of them goes meanwhile."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return [each for frame in frames for each in frame.f_locals.items()]


class _Long(reprlib.Repr):
    """As `repr`, but for what nobody would read to its end; so much and no more for one error."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 12
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 200
        self.maxstring = self.maxother = 20_000
        self._left = 50_000

    def repr(self, x: object) -> str:
        with suppress(Exception):  # somebody else's __repr__: then pytest cannot show it either
            return super().repr(x)
        return ""

    def repr1(self, x: object, level: int) -> str:
        self._left -= 1
        return super().repr1(x, level) if self._left > 0 else self.fillvalue

    def repr_bytes(self, x: bytes, level: int) -> str:
        del level
        return repr(x[: self.maxother])


def _forms(secret: str) -> set[str]:
    """Give a secret as it is, as in Python and JSON text, and as in a URL."""
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}


@lru_cache(maxsize=256)
def _over_lines(form: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{_JOINT})?".join(map(re.escape, form)))


def _begins(form: str, text: str) -> int:
    """Return how many of a text's last characters begin a secret; 0 when too few to tell."""
    if text[-_SHORTEST_PIECE:] not in form:
        return 0
    sizes = range(min(len(form), len(text)), _SHORTEST_PIECE - 1, -1)
    return next((size for size in sizes if text.endswith(form[:size])), 0)


def _ends(form: str, text: str) -> int:
    """Return how many of a text's first characters end a secret; 0 when too few to tell."""
    if text[:_SHORTEST_PIECE] not in form:
        return 0
    sizes = range(min(len(form), len(text)), _SHORTEST_PIECE - 1, -1)
    return next((size for size in sizes if text.startswith(form[-size:])), 0)
