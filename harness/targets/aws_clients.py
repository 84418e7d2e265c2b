"""boto3 clients that take nothing from the user's AWS settings.

A run with real keys, a profile, an endpoint, a proxy or a CA bundle in its environment must not touch that account,
nor fail because of them. So every configuration value comes from here or is botocore's own default; environment
variables and shared files are not read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigChainFactory
from botocore.credentials import CredentialResolver

if TYPE_CHECKING:
    from harness.targets.base import Credentials

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 15.0
_ATTEMPTS: Final = 2
"""A server that accepts and never answers is told of after half a minute, not after a minute and a half."""


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
