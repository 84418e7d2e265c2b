"""What the project says of itself: README, tox, CI and the wheel agree, and nothing is silenced without a reason."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

DEMO = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/thingwright demo"
CHECK = "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox"

TEXT_SUFFIXES = {".py", ".md", ".toml", ".ini", ".yml", ".yaml", ".json", ".txt", ".tf", ".in", ".example", ""}
NOT_OURS = {".git", ".venv", ".tox", ".hypothesis", "mutants", "build", "dist"}
GENERATED = ("_cache", "__pycache__", ".egg-info")


def fenced(language: str) -> list[str]:
    """Give the contents of the README's fenced blocks of one language."""
    return [block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]


def own_files() -> list[Path]:
    """Give the project's own text files: what is checked in, or would be."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(GENERATED)]
        paths = (Path(folder, name) for name in names if not name.startswith(".coverage"))
        found += [path for path in paths if path.suffix in TEXT_SUFFIXES]
    return sorted(found)


def absolute_imports(path: Path) -> set[str]:
    """Give the modules that a file imports by their full names."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names: set[str] = set()
    for node in tree:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


@pytest.mark.parametrize("command", [DEMO, CHECK])
def test_readme_gives_each_command_a_block_of_its_own(command: str) -> None:
    """Each of the two commands is one line that can be pasted alone."""
    assert command in fenced("bash")


def test_ci_runs_the_readme_command() -> None:
    """CI runs what a newcomer is told to run, letter by letter, and the hosted workflow runs that."""
    assert CHECK in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert "run: .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")


def test_ci_pins_its_actions_and_asks_for_little() -> None:
    """Actions are pinned by commit, and the token may only read."""
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")

    used = re.findall(r"uses: (\S+)", workflow)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
    assert re.search(r"^permissions:\n  contents: read$", workflow, re.MULTILINE)


def test_ci_covers_every_python_that_is_declared() -> None:
    """The classifiers, the workflow's matrix and the README name the same interpreters."""
    prefix = "Programming Language :: Python :: 3."
    declared = [name.removeprefix(prefix) for name in PYPROJECT["project"]["classifiers"] if name.startswith(prefix)]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")

    assert re.search(r"python: \[(.*)\]", workflow)[1] == ", ".join(f'"3.{minor}"' for minor in declared)
    assert f"Python 3.{declared[0]} to 3.{declared[-1]}" in README


def test_tox_without_arguments_runs_everything_a_merge_needs() -> None:
    """Plain `tox` runs all of the code's checks, the targets that need no account, and the platform's tools."""
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")

    assert tox["tox"]["env_list"] == "check, targets, infra"
    assert "pytest tests/infra" in tox["testenv:infra"]["commands"]
    commands = tox["testenv:check"]["commands"]
    for needed in ("{[testenv:lint]commands}", "mypy", "pytest tests/unit", "tests/e2e", "--fail-under=100"):
        assert needed in commands
    for name in ("unit", "e2e", "e2e-endpoint", "demo", "lint", "fmt"):
        assert f"testenv:{name}" in tox


def test_documents_name_only_tox_environments_that_exist() -> None:
    """Every `tox -e NAME` in a document is an environment of tox.ini."""
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in own_files() if path.suffix == ".md"]

    named = {name for text in texts for names in re.findall(r"tox -e ([\w,-]+)", text) for name in names.split(",")}
    assert named
    assert sorted(name for name in named if f"testenv:{name}" not in tox) == []


def test_readme_shows_only_options_that_exist() -> None:
    """Every `thingwright COMMAND --option` in the README is one the command has."""
    from harness import cli  # noqa: PLC0415 - the other tests here need no typer

    commands = cli.typer.main.get_command(cli.app).commands
    shown = re.findall(r"thingwright (\w+)(?: [a-z]+-\d+)?((?: --[\w-]+(?: (?:\"[^\"]*\"|[\w.:=-]+))?)*)", README)
    assert {name for name, _ in shown} >= {"demo", "serve", "client", "listen", "publish", "outputs", "kit", "device"}
    wrong = [
        f"{name} {option}"
        for name, options in shown
        for option in re.findall(r"--[\w-]+", options)
        if name in commands and option not in {text for parameter in commands[name].params for text in parameter.opts}
    ]
    assert wrong == []


def test_readme_tests_are_tests_that_run() -> None:
    """The tests in the README stand, word for word, among the end-to-end tests."""
    run = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/e2e").glob("*.py")))
    run = re.sub(r"(\w+): [\w.\[\], ]+(?=[,)])", r"\1", run).replace(") -> None:", "):")  # the README leaves types out

    tests = [re.sub(r"\A((from|import) .*\n)+\n*", "", block) for block in fenced("python")]
    missing = [block.splitlines()[0] for block in tests if block not in run]
    assert missing == []


def test_readme_has_no_blanks() -> None:
    """Nothing is left to be filled in."""
    assert re.findall(r"@@\w*|TODO|TBD|XXX", README) == []


def test_every_silenced_rule_has_a_reason() -> None:
    """A `noqa` and a `type: ignore` name their rule and, after a dash, their reason."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own_files()
        if path.suffix == ".py" and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*(noqa|type:\s*ignore)", line)
        and not re.search(r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[\w, -]+\])\s+(#|-) \S", line)
    ]
    assert bare == []


def test_every_ignored_lint_rule_has_a_reason() -> None:
    """Each rule that pyproject ignores carries a comment on its line, or stands in a list that does."""
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[tool.ruff.lint]")[1].split("[tool.mypy]")[0]
    bare = [line for line in section.splitlines() if re.search(r'"[A-Z]+\d+"', line) and "#" not in line]

    assert bare == []


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    """No absolute path of a home or a working directory is checked in."""
    places = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|workspaces)/\w")
    found = [
        str(path.relative_to(ROOT))
        for path in own_files()
        if path != Path(__file__) and places.search(path.read_text(encoding="utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize("group", ["test", "lint", "typing"])
def test_dependency_groups_are_apart(group: str) -> None:
    """What users install holds no tool of ours, and each kind of tool has its group."""
    names = {re.split(r"[\[<>=; ]", text)[0] for text in PYPROJECT["project"]["dependencies"]}
    mine = {re.split(r"[<>=; ]", text)[0] for text in PYPROJECT["dependency-groups"][group] if isinstance(text, str)}

    assert mine
    assert names & mine == set()


def test_every_import_is_declared() -> None:
    """What the packages import is among the dependencies in its own right, not because something else needs it."""
    declared = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["localstack"]]
    named = {re.split(r"[\[<>=; ]", text)[0].lower() for text in declared}
    distributions = packages_distributions()
    roots = {
        name.partition(".")[0]
        for folder in ("harness", "receiver", "infra")
        for path in (ROOT / folder).rglob("*.py")
        for name in absolute_imports(path)
    }
    ours = set(sys.stdlib_module_names) | {"harness", "receiver"}
    ours |= {"awsiot", "grafana_foundation_sdk"}  # of awsiotsdk, a namespace on disk, and of the group `infra`
    ours |= {path.stem for path in (ROOT / "infra/monitoring").rglob("*.py")}  # scripts import what lies beside them
    missing = {
        root
        for root in roots - ours
        if not named & {name.lower().replace("_", "-") for name in distributions.get(root, [root])}
    }

    assert sorted(missing) == []


def test_wheel_carries_what_runs_from_it(tmp_path: Path) -> None:
    """The wheel holds both packages, their typing markers, the stack's program and the licence, and no tests."""
    pytest.importorskip("hatchling", reason="the build backend is not installed here")
    builder = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", builder, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )

    names = zipfile.ZipFile(tmp_path / built.stdout.split()[-1]).namelist()
    needed = {"harness/cli.py", "harness/py.typed", "harness/plugin.py", "receiver/__init__.py"}
    needed |= {"receiver/__main__.py", "infra/receiver-policy.json"}
    needed |= {f"infra/pulumi/{path.name}" for path in (ROOT / "infra/pulumi").iterdir() if path.is_file()}
    assert sorted(needed - set(names)) == []
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if name.startswith(("tests/", "benchmarks/", ".ci/"))] == []
