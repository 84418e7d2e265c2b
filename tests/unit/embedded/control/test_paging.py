"""Pages of a list."""

from __future__ import annotations

import pytest

from harness.embedded.control.messages import ApiError
from harness.embedded.control.paging import take_page


def test_pages_follow_each_other_whatever_is_added_or_deleted_meanwhile() -> None:
    """A token names where the page before ended, not how many were on it."""
    found = {"b": 2, "a": 1, "d": 4, "ü": 5}
    page, more = take_page(found, max_results=2, next_token=None)
    assert page == [1, 2]

    del found["b"]
    found["c"] = 3
    page, more = take_page(found, max_results=2, next_token=more["nextToken"])
    assert page == [3, 4]
    assert take_page(found, max_results=2, next_token=more["nextToken"]) == ([5], {})


def test_without_a_number_all_come_at_once() -> None:
    """And there is no further page."""
    assert take_page({"a": 1, "b": 2}, max_results=None, next_token=None) == ([1, 2], {})
    assert take_page({}, max_results=1, next_token=None) == ([], {})


@pytest.mark.parametrize("token", ["a", "/w==", "ä"])
def test_a_token_that_was_made_up_is_refused(token: str) -> None:
    """Not base64, not UTF-8, not ASCII."""
    with pytest.raises(ApiError, match="nextToken"):
        take_page({"a": 1}, max_results=1, next_token=token)
