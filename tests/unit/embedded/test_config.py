"""The configuration file of the broker process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.embedded.config import read_config
from harness.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

VALUES: dict[str, Any] = {
    "region": "eu-west-1",
    "account_id": "123456789012",
    "access_key_id": "AKIA",
    "secret_access_key": "very-secret",
    "lifeline_fd": 3,
    "link_fd": 4,
    "report_fd": 5,
    "host_addresses": ["127.0.0.1", "::1"],
    "tls_cert": "cert.pem",
    "tls_key": "key.pem",
}


def write(path: Path, **changes: Any) -> Path:
    """Write a configuration file; a value changed to None is left out."""
    file = path / "config.json"
    file.write_text(json.dumps({name: value for name, value in {**VALUES, **changes}.items() if value is not None}))
    return file


def test_a_configuration_has_defaults_for_what_may_be_left_out(tmp_path: Path) -> None:
    """Any port, no quirks, the usual endpoint; what only the control plane needs is passed over."""
    config = read_config(write(tmp_path, admin_token="token", state_dir="/somewhere"))

    assert (config.mqtts_port, config.wss_port, config.quirks, config.iot_endpoint) == (0, 0, {}, "localhost")
    assert config.host_addresses == ("127.0.0.1", "::1")
    assert (config.ca_file, config.http_ca_files) == ("", ())


def test_a_configuration_may_name_authorities_for_http_actions(tmp_path: Path) -> None:
    """None at all is fine, unlike no address to listen on."""
    assert read_config(write(tmp_path, http_ca_files=[])).http_ca_files == ()
    assert read_config(write(tmp_path, http_ca_files=["a.pem", "b.pem"])).http_ca_files == ("a.pem", "b.pem")


def test_a_configuration_keeps_its_secret(tmp_path: Path) -> None:
    """It may be printed."""
    assert "very-secret" not in repr(read_config(write(tmp_path)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", None),
        ("region", 1),
        ("lifeline_fd", None),
        ("lifeline_fd", "3"),
        ("lifeline_fd", True),
        ("link_fd", -1),
        ("host_addresses", []),
        ("host_addresses", [1]),
        ("http_ca_files", [1]),
        ("http_ca_files", "ca.pem"),
        ("ca_file", 1),
        ("quirks", ["a"]),
        ("secret_access_key", 5),
    ],
)
def test_a_configuration_is_refused_by_the_name_of_the_wrong_value(tmp_path: Path, name: str, value: Any) -> None:
    """Missing, or not of its type."""
    with pytest.raises(SettingsError) as refusal:
        read_config(write(tmp_path, **{name: value}))

    assert refusal.value.variable == name


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_configuration_is_refused_when_it_is_no_json_object(tmp_path: Path, text: str) -> None:
    """The file itself is named."""
    file = tmp_path / "config.json"
    file.write_text(text)

    with pytest.raises(SettingsError) as refusal:
        read_config(file)

    assert refusal.value.variable == "--config"
