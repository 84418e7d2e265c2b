"""The ledger of a deployment: what it is about to make and what it has made, line by line.

The deploying process writes a line before it makes a resource and one after, each in one go, so that they outlast its
death at any moment. Whoever takes the resources back reads the lines when that process is gone. A resource that was
announced and neither made nor refused may or may not be there.
"""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A resource as the ledger knows it.

    Args:
        type: type token.
        name: logical name.
        intent: what was known before it was made, as `ResourceType.intend` gave it.
        id: what Pulumi calls its id; None: whether it was made is not known.
    """

    type: str
    name: str
    intent: Mapping[str, Any]
    id: str | None = None

    @property
    def subject(self) -> str:
        """The resource as errors name it."""
        return f"{self.type} {self.name}"

    @property
    def title(self) -> str:
        """The resource with what finds it in the account, for who has to look for it."""
        what = self.id or next((str(each) for each in self.intent.values() if isinstance(each, str)), "")
        return f"{self.subject} ({what})" if what else self.subject


class Ledger:
    """The side that writes.

    Args:
        file: made when it is not there, for this user alone; lines are added to its end.
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = itertools.count(1)

    def announce(self, type_: str, name: str, intent: Mapping[str, Any]) -> Announcement:
        """Note that a resource is about to be made.

        Args:
            type_: type token.
            name: logical name.
            intent: what finds it again; no secret.
        """
        number = next(self._numbers)
        self._write({"number": number, "type": type_, "name": name, "intent": dict(intent)})
        return Announcement(lambda id_: self._write({"number": number, "id": id_}))

    def close(self) -> None:
        """Write no more; without effect when closed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, line: Mapping[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


class Announcement:
    """A resource that is about to be made.

    Args:
        write: adds its id to the ledger, None when it was refused.
    """

    def __init__(self, write: Callable[[str | None], None]) -> None:
        self._write = write
        self.is_made = False

    def note_made(self, id_: str) -> None:
        """Note that it was made, and its id."""
        self._write(id_)
        self.is_made = True

    def note_refused(self) -> None:
        """Note that it was refused, so that nothing was made."""
        self._write(None)


def read_ledger(file: Path) -> list[Noted]:
    """Return what was made or may have been made, in the order in which it was announced.

    Args:
        file: may be missing, and may end in the middle of a line: what such a line would announce was not begun.
    """
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    noted: dict[int, Noted] = {}
    for line in map(json.loads, lines):
        number = line["number"]
        if "type" in line:
            noted[number] = Noted(type=line["type"], name=line["name"], intent=line["intent"])
        elif line["id"] is None:
            del noted[number]
        else:
            one = noted[number]
            noted[number] = Noted(type=one.type, name=one.name, intent=one.intent, id=line["id"])
    return list(noted.values())
