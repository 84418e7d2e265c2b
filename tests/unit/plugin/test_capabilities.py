"""Markers, capabilities that a target lacks, and the count at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.plugin.conftest import Suite, TargetLog

pytest_plugins = ["pytester"]


def test_what_a_target_cannot_prove_is_skipped_and_counted(suite: Suite) -> None:
    """By marker or by fixture, with the capability's name; an ordinary skip is an ordinary skip."""
    result = suite(
        """
        import pytest
        from harness.run import needs

        @pytest.fixture
        @needs("POLICY", "HTTP_ACTION")
        def own(target):
            raise AssertionError("set up although it cannot work")

        @pytest.mark.needs("POLICY", "FAULTS")
        def test_marked(target): pass

        def test_fixture(faults): pass

        def test_own(own): pass

        def test_can(target): pass

        def test_other(target): pytest.skip("for another reason")

        def test_without_target(): pass
        """,
        "--target=embedded",
        "-rs",
    )

    result.assert_outcomes(passed=2, skipped=4)
    result.stdout.fnmatch_lines(
        [
            "thingwright on embedded: 1 passed, 1 skipped, 3 not proven (lacking FAULTS 2, HTTP_ACTION 1)",
            "SKIPPED *not proven: the embedded target lacks FAULTS: nobody made faults here",
        ]
    )


def test_a_report_holds_what_the_target_lacks_and_why(suite: Suite, pytester: pytest.Pytester) -> None:
    """As properties of the test, for whoever reads reports."""
    suite(
        """
        import pytest

        @pytest.mark.needs("FAULTS")
        def test_it(target): pass
        """,
        "--target=embedded",
        "--junit-xml=report.xml",
        "-o",
        "junit_family=xunit1",
    )

    report = (pytester.path / "report.xml").read_text("utf-8")
    for name, value in (("target", "embedded"), ("lacks", "FAULTS"), ("because", "nobody made faults here")):
        assert f'<property name="thingwright-{name}" value="{value}" />' in report


def test_a_fixture_that_replaces_another_has_needs_of_its_own(suite: Suite, pytester: pytest.Pytester) -> None:
    """Those of the replaced one count only where it is used after all."""
    pytester.makepyfile(
        test_extending="""
        import pytest

        @pytest.fixture
        def own(own): pass

        def test_it(own): pass
        """
    )

    result = suite(
        """
        import pytest

        @pytest.fixture
        def own(target): pass

        def test_it(own): pass
        """,
        "--target=embedded",
        "-v",
        further="""
import pytest
from harness.run import needs

@pytest.fixture
@needs("FAULTS")
def own(target): pass
""",
    )

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("test_extending.py::test_it SKIPPED*")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_that_nobody_knows_is_tried_before_tests_are_skipped(
    suite: Suite, workers: int, target_log: TargetLog, probed: str
) -> None:
    """Once, by whoever runs it; what was found missing is skipped with the reason, and so is what it lacks anyway."""
    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICY")
        def test_probed(target): pass

        @pytest.mark.needs("FAULTS")
        def test_declared(target): pass

        @pytest.mark.needs("TRACE")
        def test_can(target):
            assert "POLICY" not in target.capabilities
        """,
        "--target=embedded",
        "-rs",
        f"-n{workers}",
        further=probed,
    )

    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED *not proven: the embedded target lacks POLICY: a stranger was let in",
            "SKIPPED *not proven: the embedded target lacks FAULTS: nobody made faults here",
        ]
    )
    assert target_log()[:3] == ["start", "probe", "stop"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("needed", ["POLICY", "TRACE"])
def test_what_is_left_behind_fails_the_run(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, needed: str, workers: int, probed: str
) -> None:
    """Also where every test was skipped, and where no process that runs tests has the target."""
    monkeypatch.setenv("TROUBLE", "left")

    result = suite(
        f"""
        import pytest

        @pytest.mark.needs("{needed}")
        def test_it(target): pass
        """,
        "--target=embedded",
        f"-n{workers}",
        further=probed,
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("*left behind: policy device; `thingwright sweep`")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stderr.no_fnmatch_line("*Traceback*")


def test_an_unknown_capability_is_an_error(suite: Suite) -> None:
    """A misspelt one would skip nothing, or everything."""
    result = suite(
        """
        import pytest

        @pytest.mark.needs("POLICIES")
        def test_marked(target): pass
        """,
        "--target=embedded",
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*capability='POLICIES' is not accepted: one of GUESTS, *")


@pytest.mark.parametrize(
    ("arguments", "is_accepted"),
    [
        ('"mqtt.takeover", source="DG:mqtt"', True),
        ('"mqtt.takeover", source="DG:mqtt", differs="one copy only"', True),
        ('"mqtt.takeover"', False),
        ('source="DG:mqtt"', False),
        ('"mqtt.takeover", source="DG:mqtt", note="x"', False),
    ],
)
def test_a_behaviour_names_its_source(suite: Suite, arguments: str, *, is_accepted: bool) -> None:
    """What has no source is nobody's behaviour."""
    result = suite(
        f"""
        import pytest

        @pytest.mark.behaviour({arguments})
        def test_it(target): pass
        """,
        "--target=embedded",
    )

    assert result.ret == (pytest.ExitCode.OK if is_accepted else pytest.ExitCode.USAGE_ERROR)


def test_a_behaviour_without_a_source_is_named_by_a_worker_too(suite: Suite) -> None:
    """A distributed run goes on with its other tests."""
    result = suite(
        """
        import pytest

        @pytest.mark.behaviour("mqtt.takeover")
        def test_it(target): pass

        def test_other(): pass
        """,
        "--target=embedded",
        "-n2",
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*test_it: behaviour takes one id and source=*")
