"""The account that is swept: which one, and boto3 clients that reach it and no other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from harness.errors import SettingsError, TargetUnavailable
from harness.targets import ready
from harness.targets.aws_clients import make_client, make_own_client, own_region
from harness.targets.base import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

_AWS_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn")


class Account:
    """An account in one region; many threads may share it.

    Args:
        place: where it is, in words.
        region: AWS region.
        make: service to a new boto3 client.
    """

    def __init__(self, place: str, *, region: str, make: Callable[[str], Any]) -> None:
        self.place = place
        self.region = region
        self._make = make
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def check(self, accepted: Collection[str]) -> str:
        """Make sure that it is one of the accounts that may be swept.

        Args:
            accepted: account ids.

        Returns:
            Its id.

        Raises:
            TargetUnavailable: it is another one, or does not say which one it is.
        """
        try:
            account_id = str(self.client("sts").get_caller_identity()["Account"])
        except (BotoCoreError, ClientError) as error:
            raise TargetUnavailable(
                f"STS does not say which account this is, so nothing was swept: {error}. Check the credentials."
            ) from error
        if account_id not in accepted:
            raise TargetUnavailable(
                f"This is account {account_id}, and to be swept is {', '.join(accepted)}: nothing was touched. Take "
                "other credentials (AWS_PROFILE), or allow that account by --aws-account."
            )
        return account_id


def open_ready(ready_file: Path, *, region: str | None) -> Account:
    """Return the account of a running ``thingwright serve``.

    Args:
        ready_file: what it wrote.
        region: the only one that is accepted; None: whichever it plays.

    Raises:
        SettingsError: it plays another region.
        TargetUnavailable: there is no such file, or its process is gone.
    """
    told = ready.read(ready_file)
    if region not in {None, told.region}:
        raise SettingsError("--region", region, f"{told.region}, which the stand-in plays")
    credentials = Credentials(access_key_id=told.access_key_id, secret_access_key=told.secret_access_key)
    return _open(told.control_plane_url, region=told.region, credentials=credentials, ca_file=None)


def open_endpoint(endpoint_url: str, *, region: str, credentials: Credentials, ca_file: Path | None) -> Account:
    """Return the account of an emulator.

    Args:
        endpoint_url: base URL of its AWS APIs.
        region: AWS region.
        credentials: what it takes; never the user's own.
        ca_file: PEM file of the CA of its certificate; None: the system's.

    Raises:
        SettingsError: the URL is none, or AWS's own.
    """
    try:
        parts = urlsplit(endpoint_url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise SettingsError("--endpoint-url", endpoint_url, "http://HOST[:PORT] or https://HOST[:PORT]")
    if f".{host}".endswith(_AWS_DOMAINS):
        raise SettingsError("--endpoint-url", endpoint_url, "an emulator's; AWS itself is swept with --aws-account ID")
    return _open(endpoint_url, region=region, credentials=credentials, ca_file=ca_file)


def open_aws(*, region: str | None) -> Account:
    """Return the account that boto3's own settings lead to.

    Args:
        region: AWS region; None: the one of the settings.

    Raises:
        TargetUnavailable: there is no region, or the settings cannot be used.
    """
    chosen = region or own_region()
    if not chosen:
        raise TargetUnavailable("Which region is to be swept? Give --region NAME, or set AWS_REGION.")
    return Account("AWS", region=chosen, make=lambda service: make_own_client(service, region=chosen))


def _open(endpoint_url: str, *, region: str, credentials: Credentials, ca_file: Path | None) -> Account:
    def make(service: str) -> Any:
        return make_client(
            service,
            region=region,
            endpoint_url=endpoint_url,
            credentials=credentials,
            ca_file=str(ca_file) if ca_file is not None else None,
        )

    return Account(endpoint_url, region=region, make=make)
