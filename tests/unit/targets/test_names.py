"""Names that keep runs, workers and tests apart."""

from __future__ import annotations

import re

import pytest

from harness.targets.names import Names, make_run_id


def test_run_ids_differ() -> None:
    """And say when they expire, in hexadecimal digits."""
    ids = {make_run_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"tw[0-9a-f]{8}-[0-9a-f]{8}", each) for each in ids)


def test_names_differ_within_a_run_and_between_workers() -> None:
    """Two workers of one run never meet."""
    names = [Names("1234abcd"), Names("1234abcd", worker="gw0"), Names("1234abcd", worker="gw1")]
    made = [each.unique("x") for each in names for _ in range(50)]
    assert len(set(made)) == 150
    assert made[:2] == ["x-1234abcd-1", "x-1234abcd-2"]
    assert made[50] == "x-1234abcd-gw0-1"


def test_a_worker_knows_its_own_names() -> None:
    """And not those of another worker, whose number may begin alike, nor of another run."""
    names = [Names("1234abcd", worker="gw1"), Names("1234abcd", worker="gw10"), Names("5678abcd", worker="gw1")]
    made = [each.unique("x") for each in names]
    assert [[names_of.mark in each for each in made] for names_of in names] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert Names("1234abcd").mark in Names("1234abcd").unique()


@pytest.mark.parametrize("hint", ["", "test_a[1-ä/#+]", "x" * 300, "---", "a.b c"])
def test_a_name_fits_everywhere(hint: str) -> None:
    """Topic level, client id, thing name, IAM role name: at most 64 plain characters, whatever the hint."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", Names("1234abcd", worker="gw12").unique(hint))


def test_a_topic_prefix_ends_with_a_slash() -> None:
    """So that a topic is the prefix and a word."""
    assert Names("r").topic_prefix("public/", "chat") == "public/chat-r-1/"
    assert Names("r").topic_prefix("") == "r-1/"


def test_a_client_id_has_its_prefix() -> None:
    """The policy asks for it."""
    assert Names("r").client_id("public-", "guest") == "public-guest-r-1"
    assert Names("r").thing_name() == "thing-r-1"


@pytest.mark.parametrize(("run_id", "worker"), [("", ""), ("a/b", ""), ("a", "b+"), ("ä", "")])
def test_a_run_id_is_plain(run_id: str, worker: str) -> None:
    """It goes into names that AWS restricts."""
    with pytest.raises(ValueError, match="not a run id"):
        Names(run_id, worker=worker)


def test_names_show_whose_they_are() -> None:
    """In a failure message."""
    assert repr(Names("r", worker="gw0")) == "Names('r', worker='gw0')"
