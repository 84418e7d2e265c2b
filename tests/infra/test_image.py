"""The receiver's image, as far as that can be proved without building one.

What its Dockerfile says is read, and carried out below a folder of the test's own: the same files, the same packages by
the same hashes, the same command, as a user that owns nothing of it. What the base image brings is not proved here: an
interpreter of this machine takes its place.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "receiver"
NOBODY = 65_534
SETTINGS = {"TABLE_NAME": "readings", "AWS_REGION": "us-east-1", "IOT_SECRETS": "made-up", "LOG_LEVEL": "warning"}
PACKAGES = {"prometheus_client": "prometheus-client", "pydantic_settings": "pydantic-settings"}
"""Modules whose packages have other names."""

RUN_BY_NAME = {"httptools", "uvloop"}
"""What uvicorn and asyncio use where it is there: the faster parser and the faster loop."""


@dataclass
class Stage:
    """One stage of a Dockerfile: its base, and its instructions in order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Give the arguments of all instructions of a name."""
        return [argument for instruction, argument in self.instructions if instruction == name]

    def one(self, name: str) -> str:
        """Give the only one's."""
        (argument,) = self.all(name)
        return argument


def read_dockerfile() -> tuple[dict[str, str], list[Stage]]:
    """Give the arguments before the first stage, and the stages."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            stages.append(Stage(argument))
        elif stages and name:
            stages[-1].instructions.append((name, argument.strip()))
        elif name == "ARG":
            key, _, value = argument.partition("=")
            arguments[key] = value
    return arguments, stages


ARGUMENTS, STAGES = read_dockerfile()
BUILD, FINAL = STAGES


def environment() -> dict[str, str]:
    """Give what the image's ENV says."""
    return dict(pair.split("=", 1) for said in FINAL.all("ENV") for pair in said.split())


def sent_to_build() -> set[str]:
    """Give the files that `.dockerignore` lets through, by the rules that it uses: the last one that fits decides."""
    lines = [line for line in (FOLDER / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    sent = set()
    for file in FOLDER.iterdir():
        is_ignored = False
        for line in lines:
            if fnmatch.fnmatch(file.name, line.removeprefix("!")):
                is_ignored = not line.startswith("!")
        if not is_ignored and file.is_file():
            sent.add(file.name)
    return sent


def copied(argument: str) -> tuple[set[str], str]:
    """Give the files that a COPY takes from the folder, and where they go; each of its patterns must take some."""
    *patterns, target = argument.split()
    found = [{name for name in sent_to_build() if fnmatch.fnmatch(name, pattern)} for pattern in patterns]
    assert all(found), argument
    return set().union(*found), target


def test_the_base_is_pinned() -> None:
    """An exact version, the same for both stages; a digest can be given."""
    assert {stage.base.split(" ")[0] for stage in STAGES} == {"${PYTHON_IMAGE}"}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", ARGUMENTS["PYTHON_IMAGE"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    minor = ".".join(ARGUMENTS["PYTHON_IMAGE"].split(":")[1].split(".")[:2])
    assert f"Programming Language :: Python :: {minor}" in project["classifiers"]
    assert f'image.version="{project["version"]}"' in FINAL.one("LABEL")


def test_the_image_holds_the_program_and_nothing_else() -> None:
    """Every module, and no test, no list, no Dockerfile; there are no folders that a pattern would miss."""
    files, target = copied(BUILD.all("COPY")[1])

    assert target == "/app/receiver/"
    assert files == {file.name for file in FOLDER.glob("*.py")} | {"py.typed"}
    assert [path for path in FOLDER.rglob("*.py") if path.parent != FOLDER] == []
    assert copied(BUILD.all("COPY")[0]) == ({"requirements.txt"}, "./")
    assert FINAL.all("COPY") == ["--from=build /opt/receiver /opt/receiver", "--from=build /app /app"]
    assert sent_to_build() == files | {"requirements.txt"}


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A number, which Kubernetes can check, and commands without a shell, which would keep signals to itself."""
    user = [int(part) for part in FINAL.one("USER").split(":")]
    assert min(user) >= 1000
    last = [name for name, _ in FINAL.instructions].index("USER")
    assert not any(name in ("RUN", "COPY", "ADD") for name, _ in FINAL.instructions[last:])
    assert json.loads(FINAL.one("ENTRYPOINT")) == ["python", "-m", "receiver"]
    _, _, command = FINAL.one("HEALTHCHECK").partition("CMD ")
    assert json.loads(command)[0] == "python"
    assert FINAL.one("EXPOSE") == environment()["PORT"] == "8080"
    assert environment()["HOST"] == "0.0.0.0"  # noqa: S104 - a container is reached from outside itself
    assert environment()["PYTHONUNBUFFERED"] == "1"
    assert FINAL.all("CMD") + FINAL.all("ADD") == []


def required(name: str) -> dict[str, str]:
    """Give what a requirements file says of packages: the specifier, without hashes."""
    text = (FOLDER / name).read_text("utf-8")
    return dict(re.findall(r"^([a-z][a-z0-9.-]*)([=<>~!][^\s;\\]*)", text, flags=re.MULTILINE))


def test_what_the_receiver_imports_is_required() -> None:
    """By name, not through another package; and nothing else is."""
    roots: set[str] = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                roots.add(node.module.partition(".")[0])
    foreign = roots - set(sys.stdlib_module_names) - {"receiver"}

    assert {PACKAGES.get(name, name) for name in foreign} | RUN_BY_NAME == set(required("requirements.in"))


def test_the_lower_bounds_are_the_projects() -> None:
    """What is tested is what the image may hold."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = dict(re.match(r"([A-Za-z0-9.-]+)(?:\[.*\])?([^;]*)", line).groups() for line in project["dependencies"])  # type: ignore[union-attr] # they all match

    asked = required("requirements.in")
    assert asked == {name: bounds.get(name, "not there").strip() for name in asked}


def test_every_package_is_pinned_by_its_hash() -> None:
    """Those asked for, at or above their lower bound, and those that they need; from wherever, which is not said."""
    pinned, asked = required("requirements.txt"), required("requirements.in")
    assert all(version.startswith("==") for version in pinned.values())
    for name, bound in asked.items():
        assert numbers(pinned[name]) >= numbers(bound), name
    text = (FOLDER / "requirements.txt").read_text("utf-8")
    blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--[a-z-]*(index|find|host))", text, flags=re.MULTILINE)


def numbers(specifier: str) -> tuple[int, ...]:
    """Give a version's leading numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", specifier)[:2])


@dataclass
class Image:
    """What the Dockerfile makes, below a folder.

    Args:
        root: stands for the image's root.
        as_user: what a command is begun with, to be run as a user that owns nothing here.
    """

    root: Path
    as_user: list[str]

    def place(self, text: str) -> str:
        """Give an absolute path of the image as one of this machine."""
        return re.sub(r"(?<![\w/])/(opt/receiver|app|build)\b", rf"{self.root}/\1", text)

    def command(self, argument: str) -> list[str]:
        """Give a command of the image."""
        _, *rest = json.loads(argument)
        return [*self.as_user, str(self.root / "opt/receiver/bin/python"), *rest]

    def environment(self, **more: str) -> dict[str, str]:
        """Give the image's, on loopback, with what a container gets besides."""
        said = {name: self.place(value) for name, value in environment().items() if name != "PATH"}
        return said | {"HOST": "127.0.0.1", "PORT": "0", **SETTINGS, **more}

    def files(self) -> dict[str, int]:
        """Give all files with their times."""
        return {str(path): path.lstat().st_mtime_ns for path in self.root.rglob("*")}

    @contextmanager
    def run(self, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Run the receiver; give the process and its port."""
        report, report_end = os.pipe()
        process = subprocess.Popen(
            [*self.command(FINAL.one("ENTRYPOINT")), "--report-fd", str(report_end)],
            cwd=self.root / "app",
            env=self.environment(**more),
            pass_fds=[report_end],
            stdin=subprocess.DEVNULL,
        )
        os.close(report_end)
        try:
            with os.fdopen(report) as reported:
                yield process, json.loads(reported.readline())["port"]
        finally:
            process.kill()
            process.wait()

    def check_health(self, port: int) -> int:
        """Run what HEALTHCHECK says; give its exit code."""
        _, _, command = FINAL.one("HEALTHCHECK").partition("CMD ")
        done = subprocess.run(
            self.command(command), env=self.environment(PORT=str(port)), check=False, capture_output=True, timeout=60
        )
        return done.returncode


def interpreter(as_user: list[str]) -> str:
    """Find an interpreter that another user may run, the image's minor version if there is one."""
    minor = ".".join(ARGUMENTS["PYTHON_IMAGE"].split(":")[1].split(".")[:2])
    for candidate in (shutil.which(f"python{minor}"), getattr(sys, "_base_executable", None), "/usr/bin/python3"):
        if candidate is None:
            continue
        # Where it is in the end: a shim in a home would be run by its owner alone.
        program = "import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print(sys._base_executable)"
        done = subprocess.run([candidate, "-c", program], check=False, capture_output=True, text=True, timeout=60)
        found = done.stdout.strip()
        if (
            done.returncode == 0
            and subprocess.run([*as_user, found, "-c", ""], check=False, timeout=60).returncode == 0
        ):
            return found
    pytest.skip("not proven: there is no Python that another user may run")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Carry the build stage out, with pip against the configured index, and take every right to write away."""
    as_user: list[str] = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("not proven: there is no setpriv")
        as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"]
        as_user.append("env")  # what setpriv itself starts, it may still look for with root's rights
    python = interpreter(as_user)
    root = Path(tempfile.mkdtemp(prefix="receiver-image-")).resolve()
    made = Image(root, as_user)
    try:
        root.chmod(0o755)
        (root / "build").mkdir()
        for argument in BUILD.all("COPY"):
            files, target = copied(argument)
            folder = root / "build" if target == "./" else Path(made.place(target))
            folder.mkdir(parents=True, exist_ok=True)
            for name in files:
                shutil.copy(FOLDER / name, folder)
        subprocess.run([python, "-m", "venv", root / "base"], check=True, timeout=300)
        for argument in BUILD.all("RUN"):
            program, *rest = (made.place(part) for part in json.loads(argument))
            assert program == "python"
            kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            subprocess.run([root / "base/bin/python", *rest], check=True, cwd=root / "build", env=kept, timeout=900)
        check = [root / "base/bin/python", "-m", "pip", "--python", root / "opt/receiver/bin/python", "check"]
        subprocess.run(check, check=True, timeout=300)
        shutil.rmtree(root / "base")
        shutil.rmtree(root / "build")
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o555 | 0o444)
        yield made
    finally:
        for path in [root, *root.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(root)


@pytest.fixture
def place_to_write() -> Iterator[Path]:
    """Make what is mounted at /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-tmp-"))
    folder.chmod(0o777)  # the system's own is like that
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_image_holds_is_enough(image: Image, place_to_write: Path, workers: str) -> None:
    """It answers, it is healthy, it ends when told with code 0; and it has written nowhere but to /tmp."""
    before = image.files()
    with image.run(WORKERS=workers, TMPDIR=str(place_to_write)) as (process, port):
        for path in ("livez", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
                assert answer.status == 200
                page = answer.read().decode()
        assert "receiver_rows_written_total 0.0" in page
        assert "receiver_build_info{" in page
        assert [path.name[:9] for path in place_to_write.iterdir()] == ["receiver-"][: int(workers) - 1]
        assert image.check_health(port) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert image.check_health(port) != 0

    assert list(place_to_write.iterdir()) == []
    assert image.files() == before


def test_whoever_runs_the_image_cannot_write_to_it(image: Image, place_to_write: Path) -> None:
    """So that the test above would have failed at whatever needs to: elsewhere the same user can write."""
    places = [image.root / "app/receiver", image.root / "opt/receiver/lib", image.root, place_to_write]
    codes = [
        subprocess.run(
            [*image.as_user, "touch", place / "new"], check=False, capture_output=True, timeout=60
        ).returncode
        for place in places
    ]

    assert [code == 0 for code in codes] == [False, False, False, True]


def test_the_image_prints_its_document_without_settings(image: Image) -> None:
    """For whoever has the image alone."""
    done = subprocess.run(
        [*image.command(FINAL.one("ENTRYPOINT")), "--openapi"],
        cwd=image.root / "app",
        env={},
        check=True,
        capture_output=True,
        timeout=60,
    )

    assert "/ingest" in json.loads(done.stdout)["paths"]


def test_the_image_can_install_nothing(image: Image) -> None:
    """Neither what is run has pip, nor what that stands on."""
    done = subprocess.run(
        [*image.command('["python", "-c", "import pip"]')], check=False, capture_output=True, env={}, timeout=60
    )

    assert b"No module named 'pip'" in done.stderr
    assert "ensurepip" in FINAL.one("RUN")
    assert "site-packages/*" in FINAL.one("RUN")
