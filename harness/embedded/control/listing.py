"""Pages of what moto lists whole: AWS answers as many at once as were asked for, and where to go on.

Source: botocore's models of ``iot`` and ``cognito-identity``.
Differs: in the order of names and ids, not of creation; ``ascendingOrder`` changes nothing. Without a size, all come at
once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.embedded.control.messages import ApiError, HttpResponse
from harness.embedded.control.paging import take_page
from harness.embedded.control.routing import invalid_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.routing import ApiCall


@dataclass(frozen=True, slots=True)
class _Listing:
    """Where the members of an answer are, and how its pages are asked for.

    Args:
        members: the list in the answer.
        key: what tells one from another; None for a list of texts.
        size: the input member that says how many.
        token: the input member that says where to go on.
        next_token: the output member that goes there.
    """

    members: str
    key: str | None
    size: str
    token: str
    next_token: str


_MARKER: Final = ("pageSize", "marker", "nextMarker")
_TOKEN: Final = ("maxResults", "nextToken", "nextToken")
_COGNITO: Final = ("MaxResults", "NextToken", "NextToken")

_LISTINGS: Final[Mapping[tuple[str, str], _Listing]] = {
    ("iot", "ListAttachedPolicies"): _Listing("policies", "policyName", *_MARKER),
    ("iot", "ListCertificates"): _Listing("certificates", "certificateId", *_MARKER),
    ("iot", "ListPolicies"): _Listing("policies", "policyName", *_MARKER),
    ("iot", "ListPrincipalThings"): _Listing("things", None, *_TOKEN),
    ("iot", "ListTargetsForPolicy"): _Listing("targets", None, *_MARKER),
    ("iot", "ListThingPrincipals"): _Listing("principals", None, *_TOKEN),
    ("cognito-identity", "ListIdentities"): _Listing("Identities", "IdentityId", *_COGNITO),
    ("cognito-identity", "ListIdentityPools"): _Listing("IdentityPools", "IdentityPoolId", *_COGNITO),
}


def take_listed(call: ApiCall, response: HttpResponse) -> HttpResponse:
    """Return the page that was asked for of an answer that holds all; any other answer as it is.

    Args:
        call: what was asked for.
        response: moto's answer.

    Raises:
        ApiError: the token is none of ours.
    """
    listing = _LISTINGS.get((call.operation.service, call.operation.name))
    if listing is None or response.status >= 300:
        return response
    answer: dict[str, Any] = json.loads(response.body)
    key = listing.key
    found = {str(each if key is None else each[key]): each for each in answer[listing.members]}
    try:
        page, more = take_page(
            found, max_results=call.params.get(listing.size), next_token=call.params.get(listing.token)
        )
    except ApiError:
        raise invalid_input(
            call.operation.service, f"{listing.token} is not one that {call.operation.name} answered"
        ) from None
    answer[listing.members] = page
    if more:
        answer[listing.next_token] = more["nextToken"]
    return HttpResponse(status=response.status, headers=response.headers, body=json.dumps(answer).encode())
