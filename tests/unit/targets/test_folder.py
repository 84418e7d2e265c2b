"""The private folder: whose it is, and what is left alone."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from harness.targets.embedded.folder import PrivateFolder, remove_abandoned

if TYPE_CHECKING:
    from pathlib import Path


def make_abandoned(folder: Path) -> Path:
    """Leave a folder as a killed supervisor leaves it."""
    folder.mkdir(mode=0o700)
    (folder / "owner.lock").touch()
    (folder / "server.key").touch()
    return folder


def test_a_folder_is_private_and_goes(private_temp: Path) -> None:
    """Nobody else reads it; removing it twice does no harm."""
    folder = PrivateFolder()
    assert folder.path.parent == private_temp
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700

    folder.remove()
    folder.remove()

    assert list(private_temp.iterdir()) == []


def test_an_abandoned_folder_is_removed_and_one_in_use_is_not(private_temp: Path) -> None:
    """The lock tells them apart, also within one process."""
    abandoned = make_abandoned(private_temp / "thingwright-killed")
    folder = PrivateFolder()

    remove_abandoned()

    assert not abandoned.exists()
    assert folder.path.exists()
    folder.remove()


@pytest.mark.parametrize("why", ["no lock", "another mode", "a link", "another name", "another user"])
def test_what_may_be_somebody_elses_stays(why: str, private_temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is removed only when it is certain whose it was."""
    name = "something-else" if why == "another name" else "thingwright-killed"
    if why == "a link":
        elsewhere = make_abandoned(private_temp / "elsewhere")
        (private_temp / name).symlink_to(elsewhere, target_is_directory=True)
    else:
        make_abandoned(private_temp / name)
    if why == "no lock":
        (private_temp / name / "owner.lock").unlink()
    if why == "another mode":
        (private_temp / name).chmod(0o750)
    if why == "another user":
        monkeypatch.setattr(os, "getuid", lambda: -1)

    remove_abandoned()

    assert (private_temp / name / "server.key").exists()


def test_a_missing_temporary_folder_is_nobodys_error(private_temp: Path) -> None:
    """Cleaning up after others never stops a start."""
    private_temp.rmdir()

    remove_abandoned()


def test_without_locks_the_folder_is_there_and_nobody_removes_it(
    private_temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems know no locks."""

    def refuse(*_arguments: object) -> None:
        raise OSError

    monkeypatch.setattr("fcntl.flock", refuse)
    folder = PrivateFolder()
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(private_temp))

    remove_abandoned()

    assert folder.path.exists()
    folder.remove()
