"""The connection kit of a device: the files that let it in, written and read.

A kit is what the AWS console's *Connect one device* gives: the certificate, the key pair, the authority that the
broker's certificate is checked with, a script; and one JSON file that says where to connect. It holds what the device
needs and nothing of the operator's: no AWS key, no token. `harness.registration` makes what is in it,
`harness.simulator` reads it again, as does any other MQTT client.

Source: iot-quick-start in the AWS IoT developer guide, for the names of the files.
Differs: the console's script fetches the SDK and its sample; this one starts what is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import zipfile
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

CERTIFICATE: Final = "device.pem.crt"
PRIVATE_KEY: Final = "private.pem.key"
PUBLIC_KEY: Final = "public.pem.key"
AUTHORITY: Final = "AmazonRootCA1.pem"
SCRIPT: Final = "start.sh"
DESCRIPTION: Final = "kit.json"

_MODES: Final = {PRIVATE_KEY: 0o600, SCRIPT: 0o755}
_OTHER_MODE: Final = 0o644
_PORTS: Final = range(1, 65_536)
_HTTPS_PORT: Final = 443

_SCRIPT_TEXT: Final = """\
#!/bin/sh
# Reports readings as {name} until Ctrl+C. Options go to `thingwright device`: --rate, --count, --temp.
set -eu
CDPATH= cd -- "$(dirname -- "$0")"
if command -v thingwright >/dev/null 2>&1; then
    exec thingwright device --kit . "$@"
fi
if command -v mosquitto_pub >/dev/null 2>&1; then
    echo "thingwright is not installed: one reading by mosquitto_pub."
    exec mosquitto_pub -V 5 -q 1 -h {host} -p {port} -i {name} -t {topic} \\
        --cafile {authority} --cert {certificate} --key {key}{alpn} -m '{{"deviceId": "{name}", "temp": 21.5}}'
fi
echo "Install thingwright or mosquitto_pub to connect with this kit." >&2
exit 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Where a device connects, and as whom.

    Args:
        thing_name: its thing.
        client_id: what it has to call itself: its thing's name.
        endpoint: bare host of the broker.
        mqtts_port: MQTT with client certificate.
        region: AWS region.
        telemetry_topic: where it reports.
        is_port_shared: whether WebSockets are served on that port as well, so that a device has to name the ALPN
            protocol ``x-amzn-mqtt-ca``; on 443 it has to anyway.
    """

    thing_name: str
    client_id: str
    endpoint: str
    mqtts_port: int
    region: str
    telemetry_topic: str
    is_port_shared: bool = False

    def to_json(self) -> str:
        """Return what ``kit.json`` holds."""
        return json.dumps({_camel(each.name): getattr(self, each.name) for each in fields(self)}, indent=2) + "\n"

    def script(self) -> str:
        """Return what ``start.sh`` holds."""
        return _SCRIPT_TEXT.format(
            name=self.client_id,
            host=shlex.quote(self.endpoint),
            port=self.mqtts_port,
            topic=shlex.quote(self.telemetry_topic),
            authority=AUTHORITY,
            certificate=CERTIFICATE,
            key=PRIVATE_KEY,
            alpn=" --tls-alpn x-amzn-mqtt-ca" if self.is_port_shared or self.mqtts_port == _HTTPS_PORT else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KitFiles:
    """A kit as it is read from its folder; the private key is never printed.

    Args:
        kit: where to connect.
        folder: where its files are.
        certificate_pem: the device's certificate.
        private_key_pem: its private key.
    """

    kit: Kit
    folder: Path
    certificate_pem: str
    private_key_pem: str = field(repr=False)

    @property
    def authority(self) -> Path:
        """The authority that the broker's certificate is checked with, PEM."""
        return self.folder / AUTHORITY


class KitFolder:
    """The folder a kit is written to: new or empty, so that no kit is mixed with another.

    Args:
        path: of the folder.

    Raises:
        SettingsError: it is neither, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: list[Path] = []
        self._is_new = True
        try:
            path.mkdir()
        except FileExistsError:
            self._is_new = False
            if not path.is_dir() or any(path.iterdir()):
                raise SettingsError("--out", str(path), "a folder that is new or empty") from None
        except OSError as error:
            raise SettingsError("--out", str(path), f"a folder that can be made ({error.strerror})") from None

    def write(self, files: Mapping[str, str]) -> Path:
        """Write loose files; return the folder.

        Raises:
            HarnessError: one of them cannot be written.
        """
        for name, content in files.items():
            with self._open(name, _MODES.get(name, _OTHER_MODE)) as file:
                file.write(content.encode("utf-8"))
        return self.path

    def write_archive(self, thing_name: str, files: Mapping[str, str]) -> Path:
        """Write one archive, from which ``unzip`` restores the modes; return its path.

        Raises:
            HarnessError: it cannot be written.
        """
        name = f"connection-kit-{thing_name.replace(':', '_')}.zip"
        # The archive holds the private key, so nobody else may read it either.
        with self._open(name, 0o600) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, content in files.items():
                entry = zipfile.ZipInfo(each, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix: the modes count
                entry.external_attr = (0o100000 | _MODES.get(each, _OTHER_MODE)) << 16
                archive.writestr(entry, content)
        return self.path / name

    def clear(self) -> None:
        """Remove what was written here, and the folder if it was made here and nobody else uses it."""
        for path in self._written:
            path.unlink(missing_ok=True)
        if self._is_new:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    @contextlib.contextmanager
    def _open(self, name: str, mode: int) -> Iterator[BinaryIO]:
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
            self._written.append(path)
            with os.fdopen(descriptor, "w+b") as file:
                yield file
        except OSError as error:
            raise HarnessError(f"{path} could not be written ({error.strerror})") from error


def read_kit(folder: Path) -> KitFiles:
    """Read a kit's folder.

    Raises:
        SettingsError: it is not the folder of a kit, or a file of it is missing or no use.
    """
    kit = _read_description(folder)
    texts = {name: _read_text(folder, name) for name in (CERTIFICATE, PRIVATE_KEY, AUTHORITY)}
    _check_pems(folder, texts)
    return KitFiles(kit=kit, folder=folder, certificate_pem=texts[CERTIFICATE], private_key_pem=texts[PRIVATE_KEY])


def _read_description(folder: Path) -> Kit:
    if not (folder / DESCRIPTION).is_file():
        raise _not_accepted(
            folder,
            f"the folder of a kit, with its {DESCRIPTION}: `thingwright kit NAME --out DIR` makes one, "
            "and `unzip FILE.zip -d DIR` unpacks one",
        )
    try:
        told = json.loads(_read_text(folder, DESCRIPTION))
    except (ValueError, RecursionError):
        told = None
    members: dict[str, Any] = told if isinstance(told, dict) else {}
    values: dict[str, Any] = {}
    for each in fields(Kit):
        name = _camel(each.name)
        if name not in members and each.default is not MISSING:
            continue  # a kit of an earlier version
        values[each.name] = value = members.get(name)
        if not _is_good(each.name, value):
            raise _not_accepted(folder, f"a kit whose {DESCRIPTION} says {name}")
    return Kit(**values)


def _is_good(name: str, value: object) -> bool:
    if name == "mqtts_port":
        return type(value) is int and value in _PORTS
    if name == "is_port_shared":
        return isinstance(value, bool)
    return isinstance(value, str) and bool(value)


def _read_text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text("utf-8")
    except FileNotFoundError:
        raise _not_accepted(folder, f"a kit with its {name}") from None
    except OSError as error:
        raise _not_accepted(folder, f"a kit whose {name} can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _not_accepted(folder, f"a kit whose {name} is text") from None


def _check_pems(folder: Path, texts: Mapping[str, str]) -> None:
    """Say which file is wrong; the TLS library would say no more than that something is."""
    from cryptography import x509  # noqa: PLC0415 - takes longer to import than all the rest of this module
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    name = CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(texts[CERTIFICATE].encode())
        name = PRIVATE_KEY
        key = load_pem_private_key(texts[PRIVATE_KEY].encode(), password=None)
        name = AUTHORITY
        x509.load_pem_x509_certificates(texts[AUTHORITY].encode())
    except (ValueError, TypeError):  # TypeError: the key is encrypted
        raise _not_accepted(folder, f"a kit whose {name} is PEM, without a passphrase") from None
    if certificate.public_key() != key.public_key():
        raise _not_accepted(folder, f"a kit whose {PRIVATE_KEY} belongs to its {CERTIFICATE}")


def _not_accepted(folder: Path, accepted: str) -> SettingsError:
    return SettingsError("--kit", str(folder), accepted)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
