"""Run ids in names, read back."""

from __future__ import annotations

import pytest

from harness.targets.marks import Mark, find_mark
from harness.targets.names import LIFETIME_SECONDS, Names, make_run_id


def test_a_name_tells_whose_it_is_and_until_when() -> None:
    """Whatever is made of a run id, the run id can be read from it."""
    run_id = make_run_id(now=1_800_000_000)
    mark = Mark(run_id=run_id, expires_at=1_800_000_000 + int(LIFETIME_SECONDS))

    for name in (
        Names(run_id).unique("x" * 300),
        Names(run_id, worker="gw12").thing_name(),
        Names(run_id).unique("rule").replace("-", "_"),
        Names(run_id).topic_prefix("public/", "chat"),
        run_id.upper(),
    ):
        assert find_mark(name) == mark
    assert not mark.has_expired(mark.expires_at - 1)
    assert mark.has_expired(mark.expires_at)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "device-1",
        "tw12345678",
        "tw12345678-1234567",
        "tw12345678-123456789",
        "atw12345678-12345678",
        "tw1234567g-12345678",
        "tw12345678-12345678",
        "tw69999999-99999999",
    ],
)
def test_what_only_looks_like_a_mark_is_none(text: str) -> None:
    """Nothing of anybody else's is ever taken for ours."""
    assert find_mark(text) is None


def test_of_several_marks_the_last_to_expire_counts() -> None:
    """A run that is not over may name something after one that is."""
    dead, living = (make_run_id(now=now) for now in (1_800_000_000, 1_800_000_001))

    for name in (f"{dead}_{living}", f"rule-{living}-1-of-{dead}"):
        mark = find_mark(name)
        assert mark is not None
        assert mark.run_id == living


def test_a_mark_has_tags() -> None:
    """For whatever takes tags beside a name."""
    mark = find_mark("thing-tw6b49d200-0123abcd-7")
    assert mark is not None
    assert mark.tags == {"thingwright:run": "tw6b49d200-0123abcd", "thingwright:expires": "2027-01-15T08:00:00Z"}
