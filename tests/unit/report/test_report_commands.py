"""`thingwright report`: which files are read, what is written where, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import parse

import pytest
import typer
from typer.testing import CliRunner, Result

from harness import report_commands
from harness.report import validation_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.report.conftest import MakeRecord, MakeRun

    Report = Callable[..., Result]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun, make_record: MakeRecord) -> Report:
    """Runs the command in a folder with `good.json`, `bad.json` (a promise failed) and `garbage.json`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_AWS_VALIDATION", raising=False)
    make_run(make_record("a.py::x")).write(Path("good.json"))
    make_run(make_record("a.py::x", failed=1), label="bad").write(Path("bad.json"))
    Path("garbage.json").write_text("{}", "utf-8")
    app = typer.Typer()
    app.callback()(lambda: None)
    report_commands.add_to(app)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["report", *arguments])

    return run


def test_the_page_is_printed_unless_told_otherwise(report: Report) -> None:
    """Without AWS where there is no file about it."""
    result = report("good.json", "bad.json")

    assert result.exit_code == 0
    assert "| Promise | embedded | bad |\n" in result.stdout
    assert "from `good.json`, `bad.json`;" in result.stdout


def test_everything_is_written_at_once(report: Report) -> None:
    """Three forms of one table; one of them may go to standard output."""
    result = report("good.json", "--markdown", "made/page.md", "--json", "-", "--junit", "junit.xml")

    assert result.exit_code == 0
    assert "| a.py::x holds. | proven |\n" in Path("made/page.md").read_text("utf-8")
    assert json.loads(result.stdout)["promises"][0]["cells"]["embedded"]["outcome"] == "proven"
    assert parse("junit.xml").getroot().tag == "testsuites"  # noqa: S314 - just written


def test_the_projects_own_file_about_aws_is_found(report: Report) -> None:
    """From the root of the repository, where the command is run."""
    validation_file.write(Path("tests/e2e/aws_validation.json"), validation_file.make({}))

    assert "| Promise | embedded | aws |\n" in report("good.json").stdout


def test_another_file_about_aws_is_named(report: Report) -> None:
    """And has to be there then."""
    validation_file.write(Path("mine.json"), validation_file.make({}))

    assert "| Promise | embedded | aws |\n" in report("good.json", "--aws-validation", "mine.json").stdout
    missing = report("good.json", "--aws-validation", "nowhere.json")
    assert missing.exit_code == 2
    assert "nowhere.json" in missing.stderr


@pytest.mark.parametrize(("file", "code"), [("good.json", 0), ("bad.json", 1)])
def test_a_failed_promise_is_an_exit_code_for_who_asks(report: Report, file: str, code: int) -> None:
    """The report is written all the same."""
    assert report(file).exit_code == 0

    result = report(file, "--check", "--markdown", "page.md")

    assert result.exit_code == code
    assert Path("page.md").is_file()


def test_garbage_is_one_sentence(report: Report) -> None:
    """Exit code 2, and nothing is written."""
    result = report("good.json", "garbage.json", "--markdown", "page.md")

    assert result.exit_code == 2
    assert result.stderr.startswith("thingwright: FILE='garbage.json' is not accepted: an evidence file, ")
    assert result.stderr.count("\n") == 1
    assert not Path("page.md").exists()


def test_standard_output_holds_one_form(report: Report) -> None:
    """Two on top of each other nobody could read."""
    result = report("good.json", "--json", "-", "--junit", "-")

    assert result.exit_code == 2
    assert "for one of them" in result.stderr


def test_files_of_one_name_are_told_apart(report: Report) -> None:
    """As when each job of a workflow leaves an `evidence.json` in a folder of its own."""
    for folder, file in (("one", "good.json"), ("two", "bad.json")):
        Path(folder).mkdir()
        Path(file).rename(Path(folder, "evidence.json"))

    result = report("one/evidence.json", "two/evidence.json")

    assert "from `one/evidence.json`, `two/evidence.json`;" in result.stdout
    assert "| Promise | embedded | bad |\n" in result.stdout
