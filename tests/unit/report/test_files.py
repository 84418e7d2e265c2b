"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.report import files


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    """And nothing is left beside it."""
    path = tmp_path / "made" / "on the way" / "it.json"

    files.write(path, "Grüße\n")

    assert path.read_bytes() == "Grüße\n".encode()
    assert [each.name for each in path.parent.iterdir()] == ["it.json"]


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written aside first."""
    path = tmp_path / "it.json"
    files.write(path, "old")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")

    assert path.read_text("utf-8") == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["it.json"]


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    """Whoever shares a file goes on sharing it; a link still leads to it."""
    path, link = tmp_path / "it.json", tmp_path / "link.json"
    path.write_text("old", "utf-8")
    path.chmod(0o640)
    link.symlink_to(path)

    files.write(link, "new")

    assert (link.is_symlink(), path.read_text("utf-8"), path.stat().st_mode & 0o777) == (True, "new", 0o640)


def test_a_new_file_is_as_open_as_any(tmp_path: Path) -> None:
    """Not as closed as a temporary one: other steps of a CI job read it."""
    before = os.umask(0o022)
    try:
        files.write(tmp_path / "it.json", "new")
    finally:
        os.umask(before)

    assert (tmp_path / "it.json").stat().st_mode & 0o777 == 0o644


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    """As `/dev/stdout` and pipes are."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(pipe, "new")
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)
