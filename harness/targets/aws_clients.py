"""boto3 clients of two kinds: those that take nothing from the user's AWS settings, and the user's own.

`make_client` is for stand-ins and emulators. A run with real keys, a profile, an endpoint, a proxy or a CA bundle in
its environment must not touch that account, nor fail because of them. So every configuration value comes from there or
is botocore's own default; environment variables and shared files are not read.

`make_own_client` is for AWS: everything but the region is as the user has configured it for boto3.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import (
    BOTOCORE_DEFAUT_SESSION_VARIABLES,
    ConfigChainFactory,
    ConfiguredEndpointProvider,
)
from botocore.credentials import CredentialResolver
from botocore.exceptions import BotoCoreError

from harness.errors import TargetUnavailable

if TYPE_CHECKING:
    from harness.targets.base import Credentials

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 15.0
_ATTEMPTS: Final = 2
"""A server that accepts and never answers is told of after half a minute, not after a minute and a half."""

_OWN_ATTEMPTS: Final = 8
"""AWS throttles accounts: waiting up to 20 s between attempts, these outlast a minute of it."""

_OWN_SETTINGS: Final = ("AWS_", "BOTO_", "HOME", "USERPROFILE")
"""What the names of the variables begin with that decide whose credentials boto3 finds."""

_making_own: Final = threading.Lock()
"""boto3's sessions make one client at a time."""


def make_session(*, region: str, credentials: Credentials | None) -> boto3.Session:
    """Return a boto3 session with these settings and botocore's defaults, whatever the user's settings are.

    Args:
        region: AWS region.
        credentials: None for requests that are not signed.
    """
    core = botocore.session.Session()
    store = core.get_component("config_store")
    chain = ConfigChainFactory(session=core, environ={})
    for name, (_in_file, _in_environment, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        value = os.devnull if name in ("config_file", "credentials_file") else default
        provider = chain.create_config_chain(instance_name=name, default=value, conversion_func=convert)
        store.set_config_provider(name, provider)
    if credentials is None:
        core.register_component("credential_provider", CredentialResolver(providers=[]))  # nor are any looked for
    else:
        core.set_credentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    return boto3.Session(botocore_session=core, region_name=region)


def make_client(
    service: str,
    *,
    region: str,
    endpoint_url: str | None,
    credentials: Credentials | None,
    ca_file: str | None = None,
    session: boto3.Session | None = None,
) -> Any:
    """Return a boto3 client.

    Args:
        service: boto3's name of the service.
        region: AWS region.
        endpoint_url: where all calls go; None means AWS itself.
        credentials: None sends unsigned requests.
        ca_file: PEM file for an https endpoint; None means the system's.
        session: reused for many clients, which saves reading the models again; made from the other arguments when None.
    """
    config = Config(
        signature_version=UNSIGNED if credentials is None else None,
        proxies={},  # not None: that would read HTTP_PROXY and its like
        ignore_configured_endpoint_urls=True,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=50,
    )
    session = session or make_session(region=region, credentials=credentials)
    return session.client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        verify=ca_file or True,
        config=config,
    )


def make_own_client(
    service: str,
    *,
    region: str,
    unsigned: bool = False,
    iot_endpoint: str | None = None,
    credentials: Credentials | None = None,
) -> Any:
    """Return a boto3 client with the user's own AWS settings: credentials, endpoints, proxies, CA bundle.

    All clients of one process share boto3's session, so that whoever has to give a code for a role gives it once.

    Args:
        service: boto3's name of the service.
        region: AWS region, whatever the user's settings say of it.
        unsigned: send no signature.
        iot_endpoint: bare host of the data endpoint, where ``iot-data`` goes unless the settings name another.
        credentials: somebody else's, for example a guest's; None means the user's.

    Raises:
        TargetUnavailable: there are no credentials, or the settings cannot be used.
    """
    given: dict[str, Any] = {}
    if credentials is not None:
        given["aws_access_key_id"] = credentials.access_key_id
        given["aws_secret_access_key"] = credentials.secret_access_key
        given["aws_session_token"] = credentials.session_token
    try:
        with _making_own:
            session = own_session()
            if not unsigned and credentials is None and session.get_credentials() is None:
                raise TargetUnavailable(NO_CREDENTIALS)
            if service == "iot-data" and iot_endpoint and not _has_own_endpoint(session, service):
                given["endpoint_url"] = f"https://{iot_endpoint}"
            return session.client(service, region_name=region, config=_own_config(unsigned=unsigned), **given)
    except (BotoCoreError, ValueError) as error:  # a profile that is not there, a file that is none, a URL that is none
        raise _unusable(error) from error


NO_CREDENTIALS: Final = (
    "There are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with "
    "`aws sso login`."
)
"""What to do where boto3 finds none."""


def own_session() -> boto3.Session:
    """Return boto3's session with the user's own settings as they are now; the same one while they do not change.

    Raises:
        BotoCoreError: the settings cannot be used.
    """
    return _own_session(frozenset(item for item in os.environ.items() if item[0].startswith(_OWN_SETTINGS)))


def own_region() -> str | None:
    """Return the region that the user's settings name; None when they name none.

    Raises:
        TargetUnavailable: the settings cannot be used.
    """
    try:
        with _making_own:
            return os.environ.get("AWS_REGION") or own_session().region_name
    except BotoCoreError as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> TargetUnavailable:
    return TargetUnavailable(f"The AWS settings of this shell cannot be used: {' '.join(str(error).split())}")


@lru_cache(maxsize=4)
def _own_session(_settings: frozenset[tuple[str, str]]) -> boto3.Session:
    return boto3.Session()


def _own_config(*, unsigned: bool) -> Config:
    return Config(
        signature_version=UNSIGNED if unsigned else None,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": _OWN_ATTEMPTS},
        max_pool_connections=50,
    )


def _has_own_endpoint(session: boto3.Session, service: str) -> bool:
    """Tell whether the user's settings name an endpoint for a service, or one for all."""
    core = session._session  # noqa: SLF001 - boto3 has no way of its own to ask
    if core.get_config_variable("ignore_configured_endpoint_urls"):
        return False
    provider = ConfiguredEndpointProvider(
        full_config=core.full_config, scoped_config=core.get_scoped_config(), client_name=service
    )
    return provider.provide() is not None
