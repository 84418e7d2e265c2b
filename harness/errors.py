"""Every error this project raises, as one tree.

HarnessError
├── SettingsError             a setting is not one of the accepted values
├── TargetError
│   ├── TargetUnavailable     something the target needs is missing: the run stops with what to do
│   ├── TargetDied            a process of the target ended by itself
│   ├── ProvisioningError     a resource could not be made, or is of an unknown type
│   └── TeardownError         something was left behind
├── BudgetExceeded            a run is about to make or send more than it may
├── ProtocolError             a peer broke MQTT; ``reason_code`` is what to send back
│   ├── MalformedPacket       bytes that are not MQTT
│   └── ProtocolViolation     MQTT that is not allowed now
├── PolicyDocumentError       JSON pointer into the document
├── RuleSqlError              line, column, caret, what was expected
├── SignatureError            which part of a signature disagreed
├── ConnectionRefused         who refused a connection, at which step, why
├── OperationRefused          a connected client asked for something and was refused
└── ExpectationError          also an AssertionError: what a test awaited and did not get

Attributes come first; messages are composed from them. No message holds a secret or a whole URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class HarnessError(Exception):
    """Base of every error raised on purpose by this project."""


class SettingsError(HarnessError):
    """A setting has a value that is not accepted.

    Args:
        variable: the option or environment variable, as the user types it.
        value: what was seen.
        accepted: what would have been accepted, in words.
    """

    def __init__(self, variable: str, value: object, accepted: str) -> None:
        self.variable = variable
        self.value = value
        self.accepted = accepted
        super().__init__(f"{variable}={value!r} is not accepted: {accepted}")


class TargetError(HarnessError):
    """Something about the target a run was pointed at."""


class TargetUnavailable(TargetError):  # noqa: N818 - the name says the state, as in the house's error tree
    """The target cannot be used here: what is missing and what to do, in one sentence."""


class TargetDied(TargetError):  # noqa: N818 - says what happened
    """A process of the target ended by itself.

    Args:
        process: which one, for example ``broker``.
        how: how it ended, in words that follow its name.
        tail: the last lines of its log.
    """

    def __init__(self, process: str, how: str, *, tail: Sequence[str] = ()) -> None:
        self.process = process
        self.how = how
        self.tail = tuple(tail)
        lines = [f"The {process} {how}" + ("; the end of its log:" if self.tail else ", without a word in its log.")]
        super().__init__("\n".join([*lines, *(f"  {line}" for line in self.tail)]))


class ProvisioningError(TargetError):
    """A resource of the stack could not be made.

    Args:
        resource: type token and name, for example ``aws:iam/role:Role guest``.
        call: the AWS operation that failed, None when there is none for this resource.
        reason: what was wrong.
        request_id: AWS's request id, when there is one.
    """

    def __init__(self, resource: str, *, reason: str, call: str | None = None, request_id: str | None = None) -> None:
        self.resource = resource
        self.call = call
        self.reason = reason
        self.request_id = request_id
        where = f" ({call})" if call else ""
        tail = f" [request {request_id}]" if request_id else ""
        super().__init__(f"{resource}{where}: {reason}{tail}")


class TeardownError(TargetError):
    """Something was left behind.

    Args:
        left_behind: what, one line each.
        remedy: the command that removes it, or what to do.
    """

    def __init__(self, left_behind: Sequence[str], *, remedy: str) -> None:
        self.left_behind = tuple(left_behind)
        self.remedy = remedy
        super().__init__(f"left behind: {', '.join(self.left_behind)}; {remedy}")


class BudgetExceeded(HarnessError):  # noqa: N818 - says what happened
    """A run is about to make or send more than it may; nothing of it was made or sent.

    Args:
        what: ``things`` or ``messages``.
        limit: how many the run may have.
        option: the option that sets the limit, for example ``--max-things``.
    """

    def __init__(self, what: str, *, limit: int, option: str) -> None:
        self.what = what
        self.limit = limit
        self.option = option
        super().__init__(f"this run may have {limit:,} {what} and no more: if it needs them, raise {option}")


class ProtocolError(HarnessError):
    """A peer broke MQTT.

    Args:
        reason_code: MQTT 5 reason code to send back, 0x80 to 0xFF.
        message: what was wrong, with the specification's number where there is one.
    """

    def __init__(self, reason_code: int, message: str) -> None:
        self.reason_code = reason_code
        super().__init__(f"{message} (0x{reason_code:02X})")


class MalformedPacket(ProtocolError):  # noqa: N818 - MQTT's own term
    """Bytes that are not MQTT."""


class ProtocolViolation(ProtocolError):  # noqa: N818 - MQTT's own term
    """MQTT that is not allowed now."""


class PolicyDocumentError(HarnessError):
    """A policy document is not valid, or asks for something this project does not evaluate.

    Args:
        pointer: JSON pointer to the place, for example ``/Statement/0/Condition``.
        reason: what was wrong there.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        self.pointer = pointer
        self.reason = reason
        super().__init__(f"{pointer or '/'}: {reason}")


class RuleSqlError(HarnessError):
    """A rule's SQL, or an expression of a substitution template, cannot be parsed or asks for what is not evaluated.

    Args:
        sql: the whole text.
        line: counted from 1.
        column: counted from 1, in characters.
        expected: what would have been accepted there, or what is wrong, in words.
    """

    def __init__(self, sql: str, *, line: int, column: int, expected: str) -> None:
        self.sql = sql
        self.line = line
        self.column = column
        self.expected = expected
        lines = sql.splitlines()
        shown = lines[line - 1] if 0 < line <= len(lines) else ""
        caret = "".join("\t" if one == "\t" else " " for one in shown[: column - 1].ljust(column - 1)) + "^"
        super().__init__(f"line {line}, column {column}: {expected}\n  {shown}\n  {caret}")


class SignatureError(HarnessError):
    """A request is not signed, or not by whom it says.

    Args:
        part: which part disagreed: ``missing``, ``credential``, ``token``, ``scope``, ``date``, ``signature`` or
            ``format``.
        reason: one sentence; never the secret, never the whole URL.
    """

    def __init__(self, part: str, reason: str) -> None:
        self.part = part
        self.reason = reason
        super().__init__(f"{part}: {reason}")


class ConnectionRefused(HarnessError):  # noqa: N818 - reads as what happened
    """A client was not let in.

    Args:
        client_id: who tried.
        how: the step that refused: one of the values of `harness.clients.Refusal.how`.
        because: why, when known.
    """

    def __init__(self, client_id: str, *, how: str, because: str | None = None) -> None:
        self.client_id = client_id
        self.how = how
        self.because = because
        super().__init__(f"{client_id} was refused ({how})" + (f": {because}" if because else ""))


class OperationRefused(HarnessError):  # noqa: N818 - reads as what happened
    """A connected client asked for something and was refused.

    Args:
        client_id: who asked.
        action: what for, for example ``iot:Subscribe``.
        resource: the topic or topic filter, as the client wrote it.
        how: the step that refused: one of the values of `harness.clients.Refusal.how`.
        because: why, when known.
    """

    def __init__(self, client_id: str, *, action: str, resource: str, how: str, because: str | None = None) -> None:
        self.client_id = client_id
        self.action = action
        self.resource = resource
        self.how = how
        self.because = because
        super().__init__(
            f"{client_id} was refused {action} on {resource!r} ({how})" + (f": {because}" if because else "")
        )


class ExpectationError(HarnessError, AssertionError):
    """What a test awaited did not come.

    Args:
        wanted: what was awaited, in words.
        near_misses: what came instead, one line each.
        trace: the last lines of the target's trace, one line each.
    """

    def __init__(self, wanted: str, *, near_misses: Sequence[str] = (), trace: Sequence[str] = ()) -> None:
        self.wanted = wanted
        self.near_misses = tuple(near_misses)
        self.trace = tuple(trace)
        lines = [wanted]
        if self.near_misses:
            lines += ["near misses:", *(f"  {line}" for line in self.near_misses)]
        if self.trace:
            lines += ["last lines of the trace:", *(f"  {line}" for line in self.trace)]
        super().__init__("\n".join(lines))
