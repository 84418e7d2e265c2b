"""What the errors of AWS calls mean: gone, unknown altogether, to be tried later, or no answer at all.

They are told apart by the error that `ProvisioningError` was raised from, never by which product answered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from botocore import exceptions
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from harness.errors import ProvisioningError

_GONE_CODES: Final = frozenset(
    {
        *("ResourceNotFoundException", "NoSuchEntity", "NoSuchEntityException", "NotFoundException"),
        *("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
    }
)
"""What AWS calls the error that something is not there."""

_UNKNOWN_STATUSES: Final = frozenset({404, 405, 501})
_UNKNOWN_CODES: Final = frozenset(
    {
        *("UnknownOperation", "InvalidAction", "NotImplemented", "UnsupportedOperation", "OperationNotSupported"),
        *("NotSupported", "UnsupportedAction", "MethodNotAllowed"),
    }
)
_INVALID: Final = ("InvalidRequest", "BadRequest", "ValidationException", "ValidationError")
_UNSUPPORTED: Final = re.compile(r"unsupported|not supported|not implemented|unknown (operation|path)", re.IGNORECASE)
_LATER_CODES: Final = frozenset(
    {
        *("DeleteConflict", "Conflict", "ConflictingResourceUpdate", "ConcurrentModification", "ResourceInUse"),
        *("InvalidIdentityPoolConfiguration", "ResourceConflict", "TransactionConflict"),
        *("Throttling", "Throttled", "TooManyRequests", "RequestLimitExceeded", "LimitExceeded", "SlowDown"),
        *("RequestThrottled", "ProvisionedThroughputExceeded", "PriorRequestNotComplete"),
    }
)
_SERVER_ERROR: Final = 500


def error_code(error: ProvisioningError) -> str | None:
    """Return AWS's name of the error that a call was answered with; None when there was no such answer."""
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, exceptions.ClientError) else None


def error_status(error: ProvisioningError) -> int | None:
    """Return the HTTP status of the error that a call was answered with; None when there was no such answer."""
    cause = error.__cause__
    if not isinstance(cause, exceptions.ClientError):
        return None
    status: int | None = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def means_gone(error: ProvisioningError) -> bool:
    """Tell whether a call was refused since what it is about is not there."""
    return error_code(error) in _GONE_CODES


def means_later(error: ProvisioningError) -> bool:
    """Tell whether the same call may succeed later: a conflict, throttling, a failure of the other side, no answer."""
    code, status = error_code(error), error_status(error)
    if code is None:
        return is_unreachable(error)
    if means_unknown_operation(error):
        return False
    return code.removesuffix("Exception") in _LATER_CODES or (status is not None and status >= _SERVER_ERROR)


def is_refusal(error: ProvisioningError) -> bool:
    """Tell whether a call was answered with a refusal, so that it has changed nothing."""
    status = error_status(error)
    return status is not None and status < _SERVER_ERROR


def is_unreachable(error: ProvisioningError) -> bool:
    """Tell whether a call got no answer at all: no connection, or none that lasted."""
    return isinstance(error.__cause__, (exceptions.HTTPClientError, exceptions.ConnectionError))


def means_unknown_operation(error: ProvisioningError) -> bool:
    """Tell whether a call was refused since the other side does not know its operation at all.

    Emulators say so in many ways: by status 404, 405 or 501, by a name of the error, by the word "unsupported" in a
    refusal of the request, or by an answer that is none to this operation. A thing that is not there is something
    else, and so is a refusal by policy.
    """
    if isinstance(error.__cause__, (ResponseParserError, KeyError)):
        return True
    code, status = error_code(error), error_status(error)
    if code is None or code in _GONE_CODES:
        return False
    if status in _UNKNOWN_STATUSES or code.removesuffix("Exception").removesuffix("Error") in _UNKNOWN_CODES:
        return True
    return code.startswith(_INVALID) and _UNSUPPORTED.search(error.reason) is not None
