"""The private folder of a supervisor: configurations, logs and the server's key of its children.

A supervisor that is killed cannot remove its folder; the next one does. Whether a folder still belongs to somebody is
told by a lock that its owner holds on a file in it: the system releases the lock when the owner ends, however it ends,
and no process id that was given out again can be mistaken for the owner's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

_PREFIX: Final = "thingwright-"
_LOCK: Final = "owner.lock"


class PrivateFolder:
    """A fresh folder below the system's folder for temporary files, mode 0700, until `remove`."""

    def __init__(self) -> None:
        import fcntl  # noqa: PLC0415 - not on Windows, where this module is imported and nothing is started

        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            # Locked before it has its name: a lock file that others can see is never without its owner's lock.
            aside = self.path / f"{_LOCK}.new"
            self._lock = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            # Where a file system knows no locks, the folder stays without a lock file, and nobody else removes it.
            with contextlib.suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                aside.rename(self.path / _LOCK)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove the folder with all that is in it; without effect when that has happened."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def remove_abandoned() -> None:
    """Remove the folders of this user's supervisors that were killed; what cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    """Remove a folder that is this user's alone, holds a lock file, and whose lock nobody holds.

    Raises:
        OSError: there is no lock file, somebody holds the lock, or the folder is just being removed.
    """
    import fcntl  # noqa: PLC0415 - not on Windows, where nothing is started

    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700:
        return
    lock = os.open(Path(entry.path) / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(lock)
