"""One child of the supervisor: its environment, its report, its end."""

from __future__ import annotations

import os
import site
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
from harness.errors import TargetDied
from harness.targets.embedded.process import Child, Lifeline, make_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = str(Path(harness.__file__).resolve().parents[1])


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Start a child from the source of its program, which finds its configuration in ``config``."""
    lifeline = Lifeline()
    children = []

    def run(source: str) -> Child:
        script = tmp_path / "child.py"
        script.write_text(f"import json, os, sys, time\nconfig = json.load(open(sys.argv[2]))\n{source}\n", "utf-8")
        child = Child("the child", (str(script),), config={"a": 1}, folder=tmp_path, lifeline=lifeline)
        children.append(child)
        return child

    yield run
    lifeline.cut()
    for child in children:
        child.process.kill()
        child.process.wait()
        child.close()


def report_of(child: Child) -> dict[str, object]:
    """Read until the report is whole."""
    while (report := child.read_report()) is None:
        pass
    return report


def test_a_report_may_come_in_pieces(spawn: Callable[[str], Child]) -> None:
    """It is whole when its line is."""
    child = spawn(
        "out = config['report_fd']\n"
        "os.write(out, b'{\"a\"')\n"
        "time.sleep(0.05)\n"
        "os.write(out, b': 1}\\n')\n"
        "os.read(0, 1)"
    )
    assert report_of(child) == {"a": 1}


@pytest.mark.parametrize("written", [b"", b"no json\\n", b"[]\\n", b'{\\"a\\": 1'])
def test_a_report_that_is_none_is_a_death(written: bytes, spawn: Callable[[str], Child]) -> None:
    """Whatever the child wrote instead; its log tells more."""
    child = spawn(f"os.write(config['report_fd'], b'{written.decode()}')\nsys.exit('because')")
    with pytest.raises(TargetDied, match="because"):
        report_of(child)


def test_a_death_by_signal_names_the_signal(spawn: Callable[[str], Child]) -> None:
    """The kernel's or a person's."""
    child = spawn("os.kill(os.getpid(), 9)")
    assert child.wait(30)
    assert child.death().how == "was ended by SIGKILL"
    assert "without a word" in str(child.death())


def test_a_tail_is_short(spawn: Callable[[str], Child]) -> None:
    """The end of a long log, in lines that can be printed."""
    child = spawn(
        "sys.stderr.write('x' * 100 + '\\n')\n"
        "for n in range(10000): print(n)\n"
        "sys.stdout.flush()\n"
        "os.write(2, b'\\xff')"
    )
    assert child.wait(30)
    tail = child.tail()
    assert len(tail) == 30
    assert tail[-2:] == ("9999", "\ufffd")
    child.log.unlink()
    assert child.tail() == ()


FORKING = """
import os, sys
from harness.targets.embedded.process import Lifeline
lifeline = Lifeline()
gate_read, gate_write = os.pipe()
if os.fork() == 0:
    os.read(gate_read, 1)
    os._exit(0)
watched = os.dup(lifeline.read_end)
lifeline.cut()
ended = os.read(watched, 1) == b""
os.write(gate_write, b"!")
os.wait()
sys.exit(0 if ended else "the fork held it")
"""


def test_a_fork_does_not_hold_the_lifeline(python: str) -> None:
    """A process that a test suite forks, and that lives on, does not keep the children alive."""
    subprocess.run([python, "-c", FORKING], env={**os.environ, "PYTHONPATH": ROOT}, check=True, timeout=30)


def test_a_child_finds_this_package_where_its_parent_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout by its folder, or by the user's own module path when that led there; what is installed by nothing."""
    monkeypatch.setattr(site, "getsitepackages", list)  # these tests may themselves run against an installed package
    assert make_environment({})["PYTHONPATH"] == ROOT
    given = f"/elsewhere{os.pathsep}{ROOT}"
    assert make_environment({"PYTHONPATH": given})["PYTHONPATH"] == given
    assert make_environment({"PYTHONPATH": "/elsewhere"})["PYTHONPATH"] == ROOT
    monkeypatch.chdir(ROOT)
    assert make_environment({"PYTHONPATH": f"{os.pathsep}harness"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}{ROOT}/harness"
    monkeypatch.setattr(site, "getsitepackages", lambda: [ROOT])
    assert "PYTHONPATH" not in make_environment({"PYTHONPATH": "/elsewhere"})


def test_an_environment_keeps_what_running_takes() -> None:
    """And nothing else that the user has set."""
    made = make_environment(
        {"PATH": "/bin", "LANG": "de_DE.UTF-8", "AWS_PROFILE": "x", "FLASK_DEBUG": "1", "PYTHONHOME": "/x"}
    )
    assert made["PATH"] == "/bin"
    assert made["LANG"] == "de_DE.UTF-8"
    assert not {"AWS_PROFILE", "FLASK_DEBUG", "PYTHONHOME"} & set(made)


def test_a_child_without_a_configuration_gets_arguments_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a program that knows nothing of this package; no file is left with what it was told."""
    monkeypatch.setenv("SECRET", "of the user")
    script = tmp_path / "child.py"
    script.write_text(
        "import json, os, sys\n"
        "lifeline, report = int(sys.argv[2]), int(sys.argv[4])\n"
        "told = {'names': sys.argv[1::2], 'environment': dict(os.environ), 'is_pipe': os.fstat(lifeline).st_mode}\n"
        "os.write(report, json.dumps(told).encode() + b'\\n')\n",
        "utf-8",
    )
    lifeline = Lifeline()
    child = Child(
        "the child", (str(script),), environment={"PORT": "0", "NO_PROXY": "x"}, folder=tmp_path, lifeline=lifeline
    )
    told = report_of(child)
    assert child.wait(30)
    child.close()
    child.close()
    lifeline.cut()

    assert told["names"] == ["--lifeline-fd", "--report-fd"]
    seen = told["environment"]
    assert isinstance(seen, dict)
    assert (seen["PORT"], seen["NO_PROXY"], seen["AWS_EC2_METADATA_DISABLED"]) == ("0", "x", "true")
    assert "SECRET" not in seen
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child.py", "the-child.log"]
    assert not child.may_end


def test_a_child_that_cannot_be_started_leaves_no_descriptors(tmp_path: Path) -> None:
    """Its pipes are closed with the error."""
    lifeline = Lifeline()
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(OSError, match="No such file"):
        Child("x", (), config={}, folder=tmp_path / "missing", lifeline=lifeline)
    assert len(list(Path("/dev/fd").iterdir())) == before
    lifeline.cut()
