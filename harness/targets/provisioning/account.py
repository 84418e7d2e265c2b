"""The AWS account that a program is deployed to: calls through boto3, and names as Pulumi makes them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from harness.errors import ProvisioningError
from harness.targets.aws_clients import make_client, make_session

if TYPE_CHECKING:
    from harness.targets.base import Credentials


class Account:
    """Makes AWS calls and says which resource they were for when one fails.

    Args:
        region: AWS region.
        endpoint_url: where all calls go; None means AWS itself.
        credentials: the operator's.
    """

    def __init__(self, *, region: str, endpoint_url: str | None, credentials: Credentials) -> None:
        self.region = region
        self.endpoint_url = endpoint_url
        self._credentials = credentials
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
            answer: dict[str, Any] = method(**{name: value for name, value in parameters.items() if value is not None})
        except ClientError as error:
            details = error.response.get("Error", {})
            raise ProvisioningError(
                subject,
                call=f"{service}:{operation}",
                reason=f"{details.get('Code', 'unknown error')}: {details.get('Message', '')}".rstrip(": "),
                request_id=error.response.get("ResponseMetadata", {}).get("RequestId"),
            ) from error
        except BotoCoreError as error:
            raise ProvisioningError(subject, call=f"{service}:{operation}", reason=str(error)) from error
        return answer

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
                session=self._session,
            )
        return self._clients[service]

    def close(self) -> None:
        """Close the connections of every client."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def auto_name(name: str, *, longest: int, separator: str = "-") -> str:
    """Return the physical name that Pulumi would give: the logical one and 7 random hexadecimal digits.

    Args:
        name: logical name of the resource.
        longest: characters that AWS allows; the logical name is cut to fit.
        separator: what stands between the two, for types whose names take no hyphen.
    """
    return f"{name[: longest - 8]}{separator}{secrets.token_hex(4)[:7]}"


def _method_name(client: Any, operation: str) -> str:
    for method, name in client.meta.method_to_api_mapping.items():
        if name == operation:
            return str(method)
    raise LookupError(operation)
