"""Pages of a list that is sorted by key: what `maxResults` and `nextToken` ask for."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, TypeVar

from harness.embedded.control.messages import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def take_page(
    found: Mapping[str, T], *, max_results: int | None, next_token: str | None
) -> tuple[list[T], dict[str, str]]:
    """Return one page in the order of keys.

    A token names the last key of the page before, so that what is added or deleted meanwhile neither repeats nor hides
    anything else.

    Args:
        found: all there is, by key.
        max_results: None for all.
        next_token: None for the first page.

    Returns:
        The page, and ``{"nextToken": …}`` when there is more.

    Raises:
        ApiError: the token is none of ours.
    """
    after = _read(next_token) if next_token else ""
    keys = sorted(key for key in found if key > after)
    page = keys if max_results is None else keys[:max_results]
    has_more = len(page) < len(keys)
    token = {"nextToken": base64.b64encode(page[-1].encode()).decode("ascii")} if has_more else {}
    return [found[key] for key in page], token


def _read(token: str) -> str:
    try:
        return base64.b64decode(token.encode("ascii"), validate=True).decode("utf-8")
    except (UnicodeError, binascii.Error):
        raise ApiError("InvalidRequestException", "nextToken is not one that this list answered") from None
