"""Calls that are made to fail on purpose: the fault ``fail_call``.

A fault is about one operation, lasts for a number of calls, and can be narrowed to calls that hold a text, so that
tests that run at the same time do not meet each other's. It strikes after authentication and authorisation: what may
not be called is still refused first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.embedded.control.routing import ApiCall

KIND: Final = "fail_call"
MAX_FAULTS: Final = 1_000
MAX_TIMES: Final = 1_000_000
_MEMBERS: Final = frozenset({"kind", "service", "operation", "code", "times", "contains", "status"})
_CODE: Final = re.compile(r"[A-Za-z][\w.]{0,127}", re.ASCII)
_STATUSES: Final = range(400, 600)
_KNOWN_STATUSES: Final = frozenset(HTTPStatus)
_MAX_TEXT: Final = 1_024


class FaultRefused(HarnessError):  # noqa: N818 - says what happened, as the other refusals do
    """A fault cannot be set; the message says why."""


@dataclass(slots=True, kw_only=True)
class _Fault:
    service: str
    operation: str
    code: str
    status: int
    contains: str | None
    left: int


class CallFaults:
    """The faults that are set; safe to use from many threads.

    Args:
        is_served: (service, operation) to whether a call of it can come.
    """

    def __init__(self, *, is_served: Callable[[str, str], bool]) -> None:
        self._is_served = is_served
        self._lock = threading.Lock()
        self._faults: dict[str, _Fault] = {}
        self._number = 0

    def set(self, members: Mapping[str, Any]) -> str:
        """Set a fault and return its id.

        Args:
            members: as the fault API takes them.

        Raises:
            FaultRefused: a member is missing, unknown or not acceptable.
        """
        fault = self._read(members)
        with self._lock:
            if len(self._faults) >= MAX_FAULTS:
                raise FaultRefused(f"{MAX_FAULTS} calls are to fail already: DELETE /faults first")
            self._number += 1
            fault_id = f"{KIND}-{self._number}"
            self._faults[fault_id] = fault
        return fault_id

    def clear(self, fault_id: str | None = None) -> bool:
        """Forget one fault, or all; return whether there was one of that id."""
        with self._lock:
            if fault_id is not None:
                return self._faults.pop(fault_id, None) is not None
            self._faults.clear()
            return True

    def strike(self, call: ApiCall, body: bytes) -> None:
        """Raise what a call was meant to fail with; do nothing for all others.

        Args:
            call: authorised, and about to run.
            body: as it came.

        Raises:
            ApiError: a fault is set for it.
        """
        if not self._faults:  # nearly always
            return
        with self._lock:
            for fault_id, fault in self._faults.items():
                if (fault.service, fault.operation) != (call.operation.service, call.operation.name):
                    continue
                if fault.contains is not None and not _holds(call, body, fault.contains):
                    continue
                fault.left -= 1
                if fault.left <= 0:
                    del self._faults[fault_id]
                raise ApiError(fault.code, f"This call was made to fail by the fault {fault_id}", status=fault.status)

    def _read(self, members: Mapping[str, Any]) -> _Fault:
        if unknown := set(members) - _MEMBERS:
            raise FaultRefused(f"{KIND} has no member {', '.join(sorted(unknown))}")
        service, operation, code = members.get("service"), members.get("operation"), members.get("code")
        if not isinstance(service, str) or not isinstance(operation, str) or not self._is_served(service, operation):
            raise FaultRefused(f"no operation {operation!r} of a service {service!r} is served here")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise FaultRefused("code is the name of an error, for example ProvisionedThroughputExceededException")
        times = _number(members.get("times", 1), range(1, MAX_TIMES + 1), "times")
        status = _number(members.get("status", 400), _STATUSES, "status")
        if status not in _KNOWN_STATUSES:
            raise FaultRefused(f"status {status} is none that HTTP names")
        contains = members.get("contains")
        if contains is not None and (not isinstance(contains, str) or not 0 < len(contains) <= _MAX_TEXT):
            raise FaultRefused(f"contains is a text of 1 to {_MAX_TEXT} characters, or null for any call")
        return _Fault(service=service, operation=operation, code=code, status=status, contains=contains, left=times)


def _number(value: Any, accepted: range, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in accepted:
        raise FaultRefused(f"{name} is a number from {accepted[0]} to {accepted[-1]}")
    return value


def _holds(call: ApiCall, body: bytes, text: str) -> bool:
    """Return whether a call holds a text: in its body as sent, or in its input, however that was escaped."""
    if text.encode("utf-8", "surrogatepass") in body:
        return True
    return any(text in one for one in _texts(call.params))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside a value; without recursion, since a caller chooses how deep the value is."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, bytes):
            yield one.decode("utf-8", "replace")
        else:
            yield str(one)
