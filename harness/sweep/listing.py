"""Asking AWS for lists: page by page, side by side, and what it means when there is no answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

S = TypeVar("S")
T = TypeVar("T")

AT_ONCE: Final = 8
"""Calls side by side: AWS lets an account describe ten certificates per second."""

_GONE: Final = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchEntity",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
_NOT_OFFERED: Final = frozenset(
    {
        "404",  # a path that the server does not know, and an answer that is none of AWS's
        "405",
        "InvalidAction",
        "NotImplemented",
        "NotImplementedException",
        "UnknownOperation",
        "UnknownOperationException",
        "UnknownService",
        "UnsupportedOperation",
    }
)
_NOT_IMPLEMENTED: Final = 501
_INVALID: Final = frozenset({"InvalidRequestException", "ValidationException"})
_SAYS_NOT_OFFERED: Final = (
    "not implemented",
    "not supported",
    "not yet implemented",
    "unknown operation",
    "unsupported",
)
"""What emulators say in words where AWS has no error for it; AWS says none of it of a list that it has."""


def list_all(client: Any, operation: str, member: str, **parameters: Any) -> Iterator[Any]:
    """Give what an operation lists, page by page.

    Args:
        client: boto3's.
        operation: its method, one that has a paginator.
        member: the list in each page.
        **parameters: the operation's.
    """
    for page in client.get_paginator(operation).paginate(**parameters):
        yield from page.get(member, ())


def side_by_side(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Do the same with many, a few at a time; what they gave, in order."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sweep") as threads:
        return list(threads.map(work, items))


def code_of(error: BaseException) -> str:
    """Return AWS's name of an error; empty when it is none of AWS's."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_gone(error: BaseException) -> bool:
    """Tell whether a call failed because what it was about is not there."""
    return code_of(error) in _GONE


def is_not_offered(error: BaseException) -> bool:
    """Tell whether a call failed because nobody there serves it, as with an emulator that lacks a service."""
    if isinstance(error, ResponseParserError):
        return True
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    said = str(error.response.get("Error", {}).get("Message", "")).lower()
    is_said = code_of(error) in _INVALID and any(words in said for words in _SAYS_NOT_OFFERED)
    return is_said or code_of(error) in _NOT_OFFERED or status == _NOT_IMPLEMENTED
