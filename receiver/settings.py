"""What the receiver is told: the environment, read once and passed down."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from receiver.errors import SettingsError
from receiver.origins import Origin, parse_origin

ROW_ATTRIBUTES: Final = frozenset({"deviceId", "temperature", "ts", "message_id", "ttl"})
"""What a row holds besides its sort key."""

_SECRET: Final = re.compile(r"[\x21-\x7e]+")
_NOT_TO_SHOW: Final = re.compile(r"[@?#]|://[^/]*/.")
"""Of a URL: user and password, a query, or a path, such as that of a confirmation with its token."""


def _split(value: object) -> object:
    """Split a comma-separated text; a trailing comma or an empty element stays visible."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _as_origin(value: object) -> object:
    return parse_origin(value) if isinstance(value, str) else value


def _strip_lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """All settings; each is the environment variable of its name in capitals, and an empty one counts as absent.

    Args:
        table_name: DynamoDB table, or its ARN.
        sort_key: name of the table's sort key.
        aws_region: of the table and of AWS IoT.
        aws_endpoint_url: where DynamoDB answers; None: AWS.
        iot_secrets: accepted values of ``X-Iot-Secret``, comma-separated; the first is the current one.
        confirm_origins: where a destination's ``enableUrl`` may lead, comma-separated; empty: AWS IoT in the region.
        ttl_days: days until a row expires; None: never.
        require_client_id: refuse readings whose ``deviceId`` is not the MQTT client id that the rule tells.
        host: addresses to listen at, comma-separated, all with one port.
        port: 0 takes any free one.
        tls_cert: PEM chain; with ``tls_key``, or neither: HTTP, as behind a load balancer that ends TLS.
        tls_key: its private key, not encrypted.
        log_level: of the receiver's own lines.
        workers: processes that share the addresses; 1: this one alone.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    table_name: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{3,1024}$"), Field(description="the name of a DynamoDB table")
    ]
    sort_key: Annotated[
        str,
        StringConstraints(pattern=r"^[^\s\x00-\x1f]{1,255}$"),
        Field(description="the name of the table's sort key, other than the row's further attributes"),
    ] = "received_at"
    aws_region: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$"),
        Field(description="the name of an AWS region, such as us-east-1"),
    ]
    aws_endpoint_url: Annotated[
        str | None,
        StringConstraints(pattern=r"^https?://[^\s/@?#]+/?$"),
        Field(description="an http:// or https:// URL without path and user information"),
    ] = None
    iot_secrets: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        BeforeValidator(_split),
        Field(min_length=1, description="one or more texts of visible ASCII characters, separated by commas"),
    ]
    confirm_origins: Annotated[
        tuple[Annotated[Origin, BeforeValidator(_as_origin)], ...],
        NoDecode,
        BeforeValidator(_split),
        Field(description="origins such as https://iot.us-east-1.amazonaws.com, separated by commas"),
    ] = ()
    ttl_days: Annotated[int | None, Field(ge=1, le=36_500, description="a number of days, 1 to 36500")] = None
    require_client_id: Annotated[bool, Field(description="true or false")] = True
    host: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]+$")], ...],
        NoDecode,
        BeforeValidator(_split),
        Field(min_length=1, description="addresses to listen at, separated by commas"),
    ] = ("127.0.0.1",)
    port: Annotated[int, Field(ge=0, le=65_535, description="a port number, 0 for any free one")] = 8080
    tls_cert: Annotated[Path | None, Field(description="a PEM file")] = None
    tls_key: Annotated[Path | None, Field(description="a PEM file")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(_strip_lower),
        Field(description="debug, info, warning or error"),
    ] = "info"
    workers: Annotated[int, Field(ge=1, le=64, description="a number of processes, 1 to 64")] = 1

    @field_validator("iot_secrets")
    @classmethod
    def _have_visible_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_SECRET.fullmatch(secret.get_secret_value()) for secret in secrets):
            raise ValueError
        return secrets

    @field_validator("sort_key")
    @classmethod
    def _have_a_sort_key_of_its_own(cls, sort_key: str) -> str:
        if sort_key in ROW_ATTRIBUTES:
            raise ValueError
        return sort_key

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: a variable is missing or not accepted.
        """
        try:
            settings = cls()  # type: ignore[call-arg] # the environment gives them
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None
        if (settings.tls_cert is None) != (settings.tls_key is None):
            raise SettingsError("TLS_CERT and TLS_KEY go together: set both for HTTPS, or neither for HTTP.")
        return settings


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0])
    wanted = Settings.model_fields[field].description
    if first["type"] == "missing":
        return f"{field.upper()} is not set: give {wanted}."
    seen = str(first["input"])
    if field == "iot_secrets" or _NOT_TO_SHOW.search(seen):
        return f"{field.upper()} must be {wanted}."
    return f"{field.upper()} must be {wanted}, not {seen!r}."
