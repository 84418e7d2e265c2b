"""What a run may cost, and what it leaves to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target=embedded", "--max-things=11"], (11, 20_000)),
        (["--target=embedded", "--max-messages=7", "-n2"], (100, 3)),
        (["--target=embedded", "--max-messages=1", "-n2"], (100, 1)),
        (["--target=aws", "--aws-account=123456789012"], (200, 20_000)),
        (["--target=embedded"], None),
    ],
)
def test_a_run_may_be_given_a_budget(suite: Suite, arguments: list[str], told: tuple[int, int] | None) -> None:
    """On AWS always; workers have equal parts of it, and the header says what all of them have."""
    result = suite(
        f"""
        from harness.run import NAME

        def test_it(request):
            budget = request.config.pluginmanager.get_plugin(NAME).budget
            assert (budget and (budget.things, budget.messages)) == {told}
        """,
        *arguments,
    )

    result.assert_outcomes(passed=1)
    if told:
        result.stdout.fnmatch_lines("thingwright: at most *--max-things*--max-messages*USD*")
    else:
        result.stdout.no_fnmatch_line("*USD*")


@pytest.mark.parametrize(
    "arguments", [(), ("-q",), ("-qq",), ("--no-header",), ("-q", "-n2"), ("-n2",), ("-v",)], ids=" ".join
)
def test_the_budget_is_told_once_however_little_is(suite: Suite, arguments: tuple[str, ...]) -> None:
    """Before anything runs, with a header and without: who pays wants to know."""
    result = suite("def test_it(target): pass", "--target=embedded", "--max-things=11", *arguments)

    lines = result.stdout.str().splitlines()
    (told,) = [number for number, line in enumerate(lines) if "USD" in line]
    assert lines[told].startswith("thingwright: at most 11 things (--max-things) and 20,000 messages")
    assert not any("passed" in line or "100%" in line for line in lines[:told])


@pytest.mark.parametrize(
    "arguments", [("-q",), ("-q", "--max-things=11", "--collect-only"), ("-q", "-n2")], ids=" ".join
)
def test_a_run_without_a_budget_tells_of_none(suite: Suite, arguments: tuple[str, ...]) -> None:
    """Nor does one that only lists, whose output others read."""
    result = suite("def test_it(target): pass", "--target=embedded", *arguments)

    result.stdout.no_fnmatch_line("*USD*")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_run_leaves_evidence_where_it_is_asked_to(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester, way: str
) -> None:
    """A file that tells what was proven at which target."""
    if way == "environment":
        monkeypatch.setenv("HARNESS_EVIDENCE", "evidence.json")

    result = suite(
        "def test_it(target): pass",
        "--target=embedded",
        *(["--evidence=evidence.json"] if way == "option" else []),
    )

    result.assert_outcomes(passed=1)
    assert "embedded" in (pytester.path / "evidence.json").read_text("utf-8")
