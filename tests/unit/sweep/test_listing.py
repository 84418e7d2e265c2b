"""What an answer that is none means."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from harness.sweep.listing import is_gone, is_not_offered


def refusal(code: str, message: str = "", *, status: int = 400) -> ClientError:
    """Make what boto3 raises."""
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "ListTopicRuleDestinations")  # type: ignore[arg-type]  # the members that count


@pytest.mark.parametrize(
    "error",
    [
        refusal("NotImplemented", status=501),
        refusal("InternalFailure", "API for service 'iot' not yet implemented or pro feature", status=501),
        refusal("UnknownOperationException"),
        refusal("InvalidAction"),
        refusal("404", "Not Found", status=404),
        refusal("InvalidRequestException", "Unsupported IoT path: GET /destinations"),
        ResponseParserError("Unable to parse response, invalid XML"),
    ],
)
def test_a_service_that_is_not_there_is_known_by_its_answer(error: Exception) -> None:
    """By code, status or words, or since it is no answer of AWS's at all."""
    assert is_not_offered(error)


@pytest.mark.parametrize(
    "error",
    [
        refusal("AccessDenied", "not supported for this user", status=403),
        refusal("ThrottlingException", "Rate exceeded"),
        refusal("InvalidRequestException", "nextToken is not valid"),
        refusal("ResourceNotFoundException", status=404),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
)
def test_a_service_that_refuses_is_there(error: Exception) -> None:
    """Something may be left in it."""
    assert not is_not_offered(error)


def test_what_is_gone_is_known_by_the_services_own_words() -> None:
    """Each service has another; nothing else counts."""
    for code in ("ResourceNotFoundException", "NoSuchEntity", "AWS.SimpleQueueService.NonExistentQueue"):
        assert is_gone(refusal(code))
    assert not is_gone(refusal("AccessDenied"))
    assert not is_gone(ResponseParserError("x"))
