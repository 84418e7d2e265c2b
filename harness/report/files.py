"""Files that are whole or not there: written aside and renamed, and read with a sentence for what is not right."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from harness.errors import SettingsError
from harness.report.promises import Parsed

if TYPE_CHECKING:
    from collections.abc import Callable

_Parsed = TypeVar("_Parsed", bound=Parsed)


def write(path: Path, text: str) -> None:
    """Write a file at once; folders on the way to it are made.

    What is there and no ordinary file, as ``/dev/stdout`` is, is written to.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    path = Path(os.path.realpath(path))  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(aside).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(aside).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(aside).unlink()
        raise


def read(path: Path, parse: Callable[[str], _Parsed], *, what: str) -> _Parsed:
    """Read and parse a file.

    Args:
        path: of the file.
        parse: makes a value of its text, or raises pydantic's ValidationError, or ValueError with a reason.
        what: what the file was to be, and how one is made; follows "is not accepted: ".

    Raises:
        SettingsError: it is not there, is no text, or is not what it was to be; says where it is wrong.
    """
    try:
        return parse(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError("FILE", str(path), f"{what} ({error.strerror or error})") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError("FILE", str(path), f"{what} ({f'{where}: ' if where else ''}{first['msg']})") from None
    except UnicodeDecodeError:
        raise SettingsError("FILE", str(path), f"{what} (it is no text)") from None
    except ValueError as error:
        raise SettingsError("FILE", str(path), f"{what} ({error})") from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
