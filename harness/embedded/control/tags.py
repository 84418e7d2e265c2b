"""Tags of policies and topic rules, which moto does not keep.

Source: tagging-iot in the AWS IoT developer guide; botocore's ``iot`` model.
Differs: of what can be tagged on AWS, only policies and rules are served; a thing or a certificate cannot be tagged
there either. All tags come on one page.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from harness.embedded.control.messages import ApiError
from harness.embedded.control.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.embedded.control.outcome import Caller, Handler
    from harness.embedded.control.routing import ApiCall

MAX_TAGS: Final = 50
"""Source: "Tag restrictions" in tagging-iot."""
_MAX_KEY: Final = 128
_MAX_VALUE: Final = 256
_RESERVED: Final = "aws:"


class Tags:
    """The tags of the account's policies and rules, and handlers of their operations.

    Args:
        arn_prefix: of everything in ``iot`` here: ``arn:aws:iot:<region>:<account>:``.
        has: kind, as ARNs spell it, to what tells whether there is one of a name.
    """

    def __init__(self, arn_prefix: str, *, has: Mapping[str, Callable[[str], bool]]) -> None:
        self._arn_prefix = arn_prefix
        self._has = has
        self._lock = threading.Lock()
        self._tags: dict[str, dict[str, str]] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here; moto has none of it."""
        return {"ListTagsForResource": self._list, "TagResource": self._add, "UntagResource": self._remove}

    def put(self, kind: str, name: str, tags: Mapping[str, str]) -> None:
        """Give something that was made just now its tags, whatever another of its name had."""
        with self._lock:
            self._tags[self._arn(kind, name)] = dict(tags)

    def forget(self, kind: str, name: str) -> None:
        """Forget the tags of something that is deleted."""
        with self._lock:
            self._tags.pop(self._arn(kind, name), None)

    def _list(self, call: ApiCall, _caller: Caller) -> Outcome:
        arn = self._existing(call)
        with self._lock:
            tags = self._tags.get(arn, {})
            return Outcome(result={"tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())]})

    def _add(self, call: ApiCall, _caller: Caller) -> Outcome:
        given = read_tags(call.params["tags"])
        arn = self._existing(call)
        with self._lock:
            tags = {**self._tags.get(arn, {}), **given}
            if len(tags) > MAX_TAGS:
                raise ApiError("LimitExceededException", f"A resource has {MAX_TAGS} tags at most", status=410)
            self._tags[arn] = tags
        return Outcome(result={})

    def _remove(self, call: ApiCall, _caller: Caller) -> Outcome:
        arn = self._existing(call)
        with self._lock:
            for key in call.params["tagKeys"]:
                self._tags.get(arn, {}).pop(key, None)
        return Outcome(result={})

    def _existing(self, call: ApiCall) -> str:
        arn = call.text("resourceArn")
        kind, _, name = arn.removeprefix(self._arn_prefix).partition("/")
        if not arn.startswith(self._arn_prefix) or kind not in self._has:
            kinds = " and ".join(sorted(self._has))
            raise _invalid(
                f"{arn[:200]} is not the ARN of something that has tags here: of {self._arn_prefix}, {kinds}"
            )
        if not self._has[kind](name):
            raise ApiError("ResourceNotFoundException", f"There is no {kind} {name}", status=404)
        return arn

    def _arn(self, kind: str, name: str) -> str:
        return f"{self._arn_prefix}{kind}/{name}"


def read_tags(given: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return tags as operations take them, ``[{"Key": …, "Value": …}, …]``, by key.

    Raises:
        ApiError: a key comes twice or belongs to AWS, or there are too many.
    """
    return _checked([(str(tag["Key"]), str(tag.get("Value") or "")) for tag in given or ()])


def read_tag_header(text: str | None) -> dict[str, str]:
    """Return tags as a header has them, ``key1=value1&key2=value2``, percent-encoded.

    Raises:
        ApiError: it is not of that form, or as `read_tags`.
    """
    try:
        pairs = parse_qsl(text or "", keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError:
        raise _invalid("tags are key1=value1&key2=value2") from None
    return _checked(pairs)


def _checked(pairs: list[tuple[str, str]]) -> dict[str, str]:
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise _invalid("A tag's key came more than once")
    if len(tags) > MAX_TAGS:
        raise _invalid(f"A resource has {MAX_TAGS} tags at most")
    for key, value in tags.items():
        if not 0 < len(key) <= _MAX_KEY or len(value) > _MAX_VALUE or key.lower().startswith(_RESERVED):
            raise _invalid(
                f"A tag's key has 1 to {_MAX_KEY} characters and does not begin with {_RESERVED!r}, its value has at "
                f"most {_MAX_VALUE}"
            )
    return tags


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidRequestException", message)
