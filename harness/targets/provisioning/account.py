"""The AWS account that a program is deployed to: calls through boto3, names and tags."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from harness.errors import ProvisioningError
from harness.targets.aws_clients import make_client, make_session
from harness.targets.provisioning.refusals import means_gone, means_unknown_operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.base import Credentials
    from harness.targets.marks import Mark

_CHANCE_DIGITS: Final = 7


class Account:
    """Makes AWS calls and says which resource they were for when one fails.

    Args:
        region: AWS region.
        endpoint_url: where all calls go; None means AWS itself.
        credentials: the operator's.
        ca_file: PEM file that checks an https endpoint; None means the system's.
        mark: what names and tags of everything made here say; None: they say nothing.
    """

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None,
        credentials: Credentials,
        ca_file: str | None = None,
        mark: Mark | None = None,
    ) -> None:
        self.region = region
        self.endpoint_url = endpoint_url
        self.mark = mark
        self._credentials = credentials
        self._ca_file = ca_file
        self._session = make_session(region=region, credentials=credentials)
        self._clients: dict[str, Any] = {}

    def call(self, subject: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one AWS call.

        Args:
            subject: the resource or question it is for, as the error shows it.
            service: boto3's name of the service.
            operation: as AWS spells it, for example ``CreateRole``.
            parameters: of the operation; those that are None are left out.

        Raises:
            ProvisioningError: the call failed.
        """
        try:
            client = self._client(service)
            method = getattr(client, _method_name(client, operation))
            answer: dict[str, Any] = method(**_given(parameters))
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            raise _failure(subject, f"{service}:{operation}", error) from error
        return answer

    def every(self, subject: str, service: str, operation: str, member: str, **parameters: Any) -> list[Any]:
        """List something whole, page by page.

        Args:
            subject: the resource or question it is for, as the error shows it.
            service: boto3's name of the service.
            operation: one that lists, as AWS spells it, for example ``ListTopicRules``.
            member: of the answer, which holds a page of what is listed.
            parameters: of the operation; those that are None are left out.

        Raises:
            ProvisioningError: the call failed, or what came is no answer to it.
        """
        listed: list[Any] = []
        try:
            client = self._client(service)
            method = _method_name(client, operation)
            if client.can_paginate(method):
                pages = client.get_paginator(method).paginate(**_given(parameters))
            else:
                pages = iter((getattr(client, method)(**_given(parameters)),))
            for page in pages:
                listed += page[member]
        except KeyError as error:
            raise ProvisioningError(
                subject, call=f"{service}:{operation}", reason=f"the answer has no {member}"
            ) from error
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            raise _failure(subject, f"{service}:{operation}", error) from error
        return listed

    def call_if_there(self, subject: str, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """Make one AWS call about a thing; None when there is no such thing (any more).

        Raises:
            ProvisioningError: the call failed for another reason.
        """
        try:
            return self.call(subject, service, operation, **parameters)
        except ProvisioningError as error:
            if means_gone(error):
                return None
            raise

    def every_if_there(self, subject: str, service: str, operation: str, member: str, **parameters: Any) -> list[Any]:
        """List something about a thing; nothing when there is no such thing, or when nothing of the sort is known.

        Raises:
            ProvisioningError: the call failed for another reason.
        """
        try:
            return self.every(subject, service, operation, member, **parameters)
        except ProvisioningError as error:
            if means_gone(error) or means_unknown_operation(error):
                return []
            raise

    def auto_name(self, name: str, *, longest: int, separator: str = "-") -> str:
        """Return a physical name for a resource that was declared without one; see `auto_name`."""
        return auto_name(name, longest=longest, separator=separator, mark=self.mark)

    def owns(self, name: str) -> bool:
        """Tell whether nobody else makes things of that name: it carries the mark."""
        return self.mark is not None and self.mark.run_id in name.replace("_", "-").lower()

    def tags(self, declared: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the tags of a resource: those that the program declares, and the mark's."""
        return {**(declared or {}), **(self.mark.tags if self.mark is not None else {})}

    def warm_up(self, services: tuple[str, ...]) -> None:
        """Read the models of services before there is an endpoint to call."""
        for service in services:
            make_client(
                service,
                region=self.region,
                endpoint_url="http://127.0.0.1:9",
                credentials=self._credentials,
                session=self._session,
            ).close()

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = make_client(
                service,
                region=self.region,
                endpoint_url=self.endpoint_url,
                credentials=self._credentials,
                ca_file=self._ca_file,
                session=self._session,
            )
        return self._clients[service]

    def close(self) -> None:
        """Close the connections of every client."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def auto_name(name: str, *, longest: int, separator: str = "-", mark: Mark | None = None) -> str:
    """Return the physical name that Pulumi would give: the logical one and 7 random hexadecimal digits.

    With a mark, its run id stands between the two.

    Args:
        name: logical name of the resource.
        longest: characters that AWS allows; the logical name is cut to fit.
        separator: what stands between the parts, for types whose names take no hyphen.
        mark: of the run that it is made for.
    """
    parts = [secrets.token_hex(4)[:_CHANCE_DIGITS]]
    if mark is not None:
        parts.insert(0, mark.run_id.replace("-", separator))
    tail = "".join(separator + part for part in parts)
    return name[: longest - len(tail)] + tail


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _failure(subject: str, call: str, error: Exception) -> ProvisioningError:
    if not isinstance(error, ClientError):
        return ProvisioningError(subject, call=call, reason=str(error))
    details = error.response.get("Error", {})
    return ProvisioningError(
        subject,
        call=call,
        reason=f"{details.get('Code', 'unknown error')}: {details.get('Message', '')}".rstrip(": "),
        request_id=error.response.get("ResponseMetadata", {}).get("RequestId"),
    )


def _method_name(client: Any, operation: str) -> str:
    for method, name in client.meta.method_to_api_mapping.items():
        if name == operation:
            return str(method)
    raise LookupError(operation)
