"""The target's trace: what it decided and why, for failure messages and refusals.

A trace is read forward from where it was last read, so one `Trace` per run asks the target only for what is new.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from itertools import takewhile
from json import dumps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from harness.clients.message import listed
from harness.clients.waiting import EXPLAIN_WITHIN
from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from harness.clients.admin import AdminApi
    from harness.clients.refusal import How

Record: TypeAlias = dict[str, Any]

_KEPT: Final = 20_000
_SHOWN: Final = 15
_DENIALS_SHOWN: Final = 5
_LONGEST_VALUE: Final = 120
_CERTIFICATE_ID: Final = re.compile(r"\b[0-9a-f]{64}\b")
_LONGEST_REASON: Final = 600


class Trace:
    """Reads a target's trace.

    Args:
        admin: the target's admin API.
    """

    def __init__(self, admin: AdminApi) -> None:
        self._admin = admin
        self._lock = threading.Lock()
        self._last_seq = 0
        self._records: deque[Record] = deque(maxlen=_KEPT)

    async def records(self) -> list[Record]:
        """Return all records up to now, oldest first; at most the last 20,000."""
        return await asyncio.to_thread(self._read)

    async def since(self, seq: int) -> list[Record]:
        """Return the records after a sequence number, oldest first."""
        newer = list(takewhile(lambda record: record["seq"] > seq, reversed(await self.records())))
        return newer[::-1]

    async def tail(self, *, client_ids: Collection[str] = (), topic: str | None = None) -> list[str]:
        """Return the last lines of the trace that concern these clients or this topic, denials of theirs first of all.

        Never raises: a failure message does without, rather than be hidden by another failure.

        Args:
            client_ids: whose lines; empty means everybody's.
            topic: lines about this topic count too.
        """
        try:
            records = await self.records()
        except TargetUnavailable as error:
            return [f"(no trace: {error})"]
        who = set(client_ids)
        told = [each for each in records if not is_consent(each)]
        mine = [each for each in told if each.get("client_id") in who or (topic and each.get("topic") == topic)]
        mine = mine or told
        shown = mine[-_SHOWN:]
        denials = [each for each in mine[:-_SHOWN] if is_denial(each)][-_DENIALS_SHOWN:]
        return [line(each) for each in (*denials, *shown)]

    async def denials(self, *, client_ids: Collection[str], topic: str) -> list[str]:
        """Return what these clients were denied on a topic, one line for each cause and at most eight.

        Never raises, as `tail` does not.

        Args:
            client_ids: whose denials.
            topic: as the clients wrote it.
        """
        try:
            records = await self.records()
        except TargetUnavailable:
            return []
        who: dict[tuple[str, str], list[str]] = {}
        for record in records:
            if record.get("client_id") in client_ids and record.get("topic") == topic and is_denial(record):
                clients = who.setdefault((str(detail(record).get("action")), str(detail(record).get("because"))), [])
                if record["client_id"] not in clients:
                    clients.append(record["client_id"])
        return [f"{action} was denied to {listed(clients)}: {why}" for (action, why), clients in who.items()][-8:]

    async def why_connection_refused(
        self, *, client_id: str, how: How, access_key_id: str | None, within: float = EXPLAIN_WITHIN
    ) -> str | None:
        """Tell why a client was not let in.

        Args:
            client_id: who tried; the target knows it only once there was a CONNECT.
            how: how the refusal showed.
            access_key_id: what the upgrade was signed with; None when it was not signed.
            within: seconds to wait for the trace to tell.
        """

        def fits(record: Record) -> bool:
            if how == "upgrade-403":
                return record["kind"] == "upgrade_refused" and detail(record).get("access_key_id") == access_key_id
            if how == "tls":
                return bool(record["kind"] == "tls_refused")
            return record.get("client_id") == client_id and (
                record["kind"] == "connect_refused" or is_denial(record, action="iot:Connect")
            )

        return await self._because(fits, within=within)

    async def why_device_refused(
        self, *, client_id: str, certificate_id: str, is_registered: bool, since: str, within: float = EXPLAIN_WITHIN
    ) -> str | None:
        """Tell why a device was not let in.

        A certificate that nobody registered ends the handshake before anybody knows its id: then a handshake that
        failed meanwhile without naming a certificate is taken for the device's, unless others failed for other
        reasons.

        Args:
            client_id: who tried.
            certificate_id: SHA-256 of what it presented.
            is_registered: whether the target should know the certificate.
            since: when it tried, written as the trace writes times.
            within: seconds to wait for the trace to tell.
        """

        def names_it(record: Record) -> bool:
            if certificate_id not in f"{record.get('principal')} {detail(record).get('because')}":
                return False
            is_about_client = record["kind"] == "connect_refused" or is_denial(record, action="iot:Connect")
            return record["kind"] == "tls_refused" or (is_about_client and record.get("client_id") == client_id)

        def may_be_it(record: Record) -> bool:
            if record["kind"] != "tls_refused" or detail(record).get("door") != "mqtts" or record.get("principal"):
                return False
            return str(record.get("at")) >= since and not _CERTIFICATE_ID.search(str(detail(record).get("because")))

        because = await self._because(names_it, within=within if is_registered else 0.0)
        return because or await self._because(may_be_it, within=0.0 if is_registered else within, is_sure=False)

    async def why_operation_refused(
        self, *, client_id: str, action: str, resource: str, within: float = EXPLAIN_WITHIN
    ) -> str | None:
        """Tell why something a connected client asked for was refused.

        Args:
            client_id: who asked.
            action: ``iot:Publish`` (a retained message takes ``iot:RetainPublish`` as well) or ``iot:Subscribe``.
            resource: the topic or topic filter, as the client wrote it.
            within: seconds to wait for the trace to tell.
        """
        decided = ("iot:Publish", "iot:RetainPublish") if action == "iot:Publish" else (action,)
        packet = action.removeprefix("iot:").lower()

        def fits(record: Record) -> bool:
            if record["kind"] == "refusal":  # no policy was asked: a limit, a reserved topic, something not served
                who_and_what = (record.get("client_id"), record.get("topic"), detail(record).get("packet"))
                return who_and_what == (client_id, resource, packet)
            return (
                record.get("client_id") == client_id
                and is_denial(record)
                and detail(record).get("action") in decided
                and str(detail(record).get("resource", "")).endswith(resource)
            )

        return await self._because(fits, within=within)

    async def _because(self, fits: Callable[[Record], bool], *, within: float, is_sure: bool = True) -> str | None:
        """Return the reason of the newest record that fits; where it may be anybody's, only if all that fit agree."""
        deadline = time.monotonic() + within  # of the many who ask at once, each waits no longer than one alone

        def newest_reason() -> Iterator[str]:
            for record in reversed(self._read()):
                if fits(record) and (because := detail(record).get("because")):
                    yield str(because)

        def look() -> str | None:
            reasons = list(newest_reason())
            if not reasons and self._read(until=deadline):
                reasons = list(newest_reason())
            return reasons[0] if reasons and (is_sure or len(set(reasons)) == 1) else None

        try:
            return await asyncio.to_thread(look)
        except TargetUnavailable:
            return None

    def _read(self, *, until: float = 0.0) -> list[Record]:
        with self._lock:
            wait = round(max(0.0, until - time.monotonic()), 3)
            for record in self._admin.get_lines("trace", since=self._last_seq, wait=wait):
                if record["seq"] > self._last_seq:
                    self._last_seq = record["seq"]
                    self._records.append(record)
            return list(self._records)


def detail(record: Record) -> Record:
    """Return what a record says beyond who and when."""
    return record.get("detail") or {}


def is_denial(record: Record, *, action: str | None = None) -> bool:
    """Tell whether a record is a decision that denied something."""
    says = detail(record)
    return record["kind"] == "decision" and says.get("allowed") is False and action in (None, says.get("action"))


def is_consent(record: Record) -> bool:
    """Tell whether a record is a decision that allowed something: what came of it has a record of its own."""
    return record["kind"] == "decision" and detail(record).get("allowed") is True


def line(record: Record) -> str:
    """Write a record as one line."""
    says = detail(record)
    words = [f"#{record['seq']}", str(record.get("at", ""))[11:23], str(record.get("actor", ""))]
    if record["kind"] == "decision":
        words += ["allowed" if says.get("allowed") else "DENIED", str(record.get("client_id") or "")]
        words += [str(says.get("action")), f"because {says.get('because')}"]
    else:
        words += [str(record["kind"]), *(str(record[name]) for name in ("client_id", "topic") if record.get(name))]
        words += [f"{name}={_short(value, name)}" for name, value in says.items() if value is not None]
    return " ".join(word for word in words if word)


def _short(value: Any, name: str) -> str:
    text = dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    longest = _LONGEST_REASON if name == "because" else _LONGEST_VALUE
    return text if len(text) <= longest else f"{text[:longest]}…"
