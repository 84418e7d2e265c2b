"""The kit's files: what is written, with which modes, what reads it again, and what its script starts."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from harness.clients.certificates import make_key, make_self_signed, private_pem
from harness.errors import HarnessError, SettingsError
from harness.kit import (
    AUTHORITY,
    CERTIFICATE,
    DESCRIPTION,
    PRIVATE_KEY,
    PUBLIC_KEY,
    SCRIPT,
    Kit,
    KitFolder,
    read_kit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KIT = Kit(
    thing_name="dev:1_a-b",
    client_id="dev:1_a-b",
    endpoint="localhost",
    mqtts_port=40003,
    region="us-east-1",
    telemetry_topic="things/telemetry",
)
TOOL = """#!/bin/sh
echo {name}
for each in "$@"; do echo "$each"; done
echo "in $(pwd)"
"""


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The files of a kit whose certificate and key belong together."""
    key = make_key()
    return {
        CERTIFICATE: make_self_signed(key),
        PRIVATE_KEY: private_pem(key),
        PUBLIC_KEY: "public",
        AUTHORITY: make_self_signed(make_key()),
        DESCRIPTION: KIT.to_json(),
        SCRIPT: KIT.script(),
    }


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, str]) -> Path:
    """A kit's folder, under a name with a space and an umlaut."""
    return KitFolder(tmp_path / "mein kit ä").write(files)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 300 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def make_bin(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder for PATH with what a script needs of the system, and tools that tell how they were called."""

    def make(*tools: str) -> Path:
        made = tmp_path / "bin"
        made.mkdir()
        for name in ("sh", "dirname"):
            (made / name).symlink_to(shutil.which(name) or name)
        for name in tools:
            (made / name).write_text(TOOL.format(name=name), "utf-8")
            (made / name).chmod(0o755)
        return made

    return make


def start(script: Path, *arguments: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a kit's script through sh, from the folder above it, with nothing in the environment but what is given."""
    return subprocess.run(
        ["sh", f"{script.parent.name}/{script.name}", *arguments],
        cwd=script.parent.parent,
        env={"PATH": str(path), **variables},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def mode(path: Path) -> int:
    """Give the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_kit_is_read_as_it_was_written(folder: Path, files: dict[str, str]) -> None:
    """Where to connect and with what comes back, under any path."""
    read = read_kit(folder)

    assert read.kit == KIT
    assert (read.certificate_pem, read.private_key_pem) == (files[CERTIFICATE], files[PRIVATE_KEY])
    assert read.authority.read_text("utf-8") == files[AUTHORITY]


def test_kit_prints_no_key(folder: Path) -> None:
    """Neither a log nor a traceback shows the private key."""
    assert "PRIVATE KEY" not in repr(read_kit(folder))


def test_kit_holds_nothing_of_the_operator_s(folder: Path) -> None:
    """The description says where to connect and no more: who has a kit is one device."""
    described = json.loads((folder / DESCRIPTION).read_text("utf-8"))

    assert described == {
        "thingName": "dev:1_a-b",
        "clientId": "dev:1_a-b",
        "endpoint": "localhost",
        "mqttsPort": 40003,
        "region": "us-east-1",
        "telemetryTopic": "things/telemetry",
        "isPortShared": False,
    }


def test_only_the_owner_reads_the_key(tmp_path: Path, files: dict[str, str]) -> None:
    """The private key has mode 0600 from the start, whatever the umask lets through; the script can be run."""
    before = os.umask(0)
    try:
        folder = KitFolder(tmp_path / "kit").write(files)
    finally:
        os.umask(before)

    assert {path.name: mode(path) for path in folder.iterdir()} == {
        CERTIFICATE: 0o644,
        PRIVATE_KEY: 0o600,
        PUBLIC_KEY: 0o644,
        AUTHORITY: 0o644,
        DESCRIPTION: 0o644,
        SCRIPT: 0o755,
    }


def test_archive_is_for_its_owner_and_keeps_the_modes(tmp_path: Path, files: dict[str, str]) -> None:
    """The archive has mode 0600 and holds every file under its mode; a colon is no part of a file's name."""
    archive = KitFolder(tmp_path / "out").write_archive(KIT.thing_name, files)

    assert (archive.name, mode(archive)) == ("connection-kit-dev_1_a-b.zip", 0o600)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert {entry.filename: entry.external_attr >> 16 for entry in opened.infolist()} == {
            name: 0o100000 | {PRIVATE_KEY: 0o600, SCRIPT: 0o755}.get(name, 0o644) for name in files
        }
        assert {name: opened.read(name).decode() for name in opened.namelist()} == files


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed here")
def test_unzip_restores_the_modes(tmp_path: Path, files: dict[str, str]) -> None:
    """What a user unpacks is a kit again, with a key that nobody else reads and a script that runs."""
    archive = KitFolder(tmp_path / "out").write_archive(KIT.thing_name, files)
    unpacked = tmp_path / "un packed"

    subprocess.run(["unzip", "-q", str(archive), "-d", str(unpacked)], check=True)

    assert (mode(unpacked / PRIVATE_KEY), mode(unpacked / SCRIPT) & 0o700) == (0o600, 0o700)
    assert read_kit(unpacked).kit == KIT


def test_folder_may_be_there_when_it_is_empty(tmp_path: Path, files: dict[str, str]) -> None:
    """An empty folder of the user's is taken, and stays when it is cleared again."""
    folder = KitFolder(tmp_path)
    folder.write(files)

    folder.clear()

    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_was_made_goes_again(tmp_path: Path, files: dict[str, str]) -> None:
    """Clearing leaves nothing of a folder that was not there before."""
    folder = KitFolder(tmp_path / "new")
    folder.write(files)

    folder.clear()

    assert not (tmp_path / "new").exists()


def test_clearing_leaves_what_others_put_there(tmp_path: Path, files: dict[str, str]) -> None:
    """A file that somebody else put into the folder meanwhile is not removed, nor is the folder."""
    folder = KitFolder(tmp_path / "new")
    folder.write(files)
    (tmp_path / "new/notes").touch()

    folder.clear()

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes"]


@pytest.mark.parametrize("kind", ["not empty", "a file", "a link to nothing", "below nothing", "below a file"])
def test_folder_is_refused(tmp_path: Path, kind: str) -> None:
    """A kit is not mixed with other files, and a folder that cannot be made is named."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    out = {
        "not empty": tmp_path,
        "a file": tmp_path / "file",
        "a link to nothing": tmp_path / "link",
        "below nothing": tmp_path / "no/such",
        "below a file": tmp_path / "file/kit",
    }[kind]

    with pytest.raises(SettingsError, match="--out="):
        KitFolder(out)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("as_zip", [False, True])
def test_disk_that_is_full_names_the_file(tmp_path: Path, files: dict[str, str], *, as_zip: bool) -> None:
    """What cannot be written is named with the reason, and what was written until then can be cleared."""
    folder = KitFolder(tmp_path / "kit")

    with pytest.raises(HarnessError, match=r"kit/\S+ could not be written \(File too large\)"):
        folder.write_archive("dev-1", files) if as_zip else folder.write(files)

    assert list((tmp_path / "kit").iterdir()) != []
    folder.clear()
    assert not (tmp_path / "kit").exists()


def test_folder_without_a_kit_says_where_kits_come_from(tmp_path: Path) -> None:
    """An empty folder, and the archive itself, are no kit: the sentence says what makes one."""
    (tmp_path / "kit.zip").touch()

    for path in (tmp_path, tmp_path / "kit.zip", tmp_path / "nowhere"):
        with pytest.raises(SettingsError, match=r"`thingwright kit NAME --out DIR` makes one, and `unzip"):
            read_kit(path)


@pytest.mark.parametrize("name", [CERTIFICATE, PRIVATE_KEY, AUTHORITY])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nx\n", b"\xff\xfe", "ä".encode()])
def test_kit_with_a_file_that_is_no_use_names_it(folder: Path, name: str, content: bytes | None) -> None:
    """A file that is missing, empty, cut off or not text is named, before anything is connected."""
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)

    with pytest.raises(SettingsError, match=f"a kit (with its|whose) {name}"):
        read_kit(folder)


def test_kit_with_a_folder_for_a_file_names_it(folder: Path) -> None:
    """What cannot be read is named with the system's reason."""
    (folder / CERTIFICATE).unlink()
    (folder / CERTIFICATE).mkdir()

    with pytest.raises(SettingsError, match=f"{CERTIFICATE} can be read \\(Is a directory\\)"):
        read_kit(folder)


def test_kit_with_a_passphrase_is_refused(folder: Path) -> None:
    """Nobody is asked for a passphrase, so the key must have none."""
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / PRIVATE_KEY).write_bytes(make_key().private_bytes(*form))

    with pytest.raises(SettingsError, match=f"{PRIVATE_KEY} is PEM, without a passphrase"):
        read_kit(folder)


def test_kit_with_another_key_is_refused(folder: Path) -> None:
    """A key that is not the certificate's is told here: the broker would only hang up."""
    (folder / PRIVATE_KEY).write_text(private_pem(make_key()), "utf-8")

    with pytest.raises(SettingsError, match=f"{PRIVATE_KEY} belongs to its {CERTIFICATE}"):
        read_kit(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"thingName": 5}, "thingName"),
        ({"mqttsPort": "8883"}, "mqttsPort"),
        ({"mqttsPort": True}, "mqttsPort"),
        ({"mqttsPort": 0}, "mqttsPort"),
        ({"mqttsPort": 65536}, "mqttsPort"),
        ({"telemetryTopic": ["things/telemetry"]}, "telemetryTopic"),
        ({"isPortShared": None}, "isPortShared"),
        ({"isPortShared": 1}, "isPortShared"),
    ],
)
def test_description_that_lacks_something_says_what(folder: Path, change: dict[str, object], named: str) -> None:
    """A value that is missing or of another kind is named; a value nobody asks for does no harm."""
    described = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    (folder / DESCRIPTION).write_text(json.dumps(described | {"more": 1}), "utf-8")
    assert read_kit(folder).kit == KIT
    (folder / DESCRIPTION).write_text(json.dumps(described | change), "utf-8")

    with pytest.raises(SettingsError, match=f"{DESCRIPTION} says {named}$"):
        read_kit(folder)


def test_kit_of_an_earlier_version_is_read(folder: Path) -> None:
    """It says nothing of whether its port is shared, and it was not."""
    described = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    del described["isPortShared"]
    (folder / DESCRIPTION).write_text(json.dumps(described), "utf-8")

    assert read_kit(folder).kit == KIT


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null"])
def test_description_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    """Whatever stands in the file, the answer is a sentence."""
    (folder / DESCRIPTION).write_text(text, "utf-8")

    with pytest.raises(SettingsError, match=f"{DESCRIPTION} says thingName"):
        read_kit(folder)


def test_script_starts_the_simulator_where_the_kit_is(folder: Path, make_bin: Callable[..., Path]) -> None:
    """Through sh, from elsewhere, with options passed on as they are; CDPATH leads nowhere else."""
    elsewhere = folder.parent / "elsewhere" / folder.name
    elsewhere.mkdir(parents=True)

    done = start(
        folder / SCRIPT,
        *("--rate", "2", "a b"),
        path=make_bin("thingwright", "mosquitto_pub"),
        CDPATH=str(elsewhere.parent),
        LC_ALL="C",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        *("thingwright", "device", "--kit", ".", "--rate", "2", "a b"),
        f"in {folder.resolve()}",
    ]


def test_script_publishes_once_without_thingwright(folder: Path, make_bin: Callable[..., Path]) -> None:
    """Where mosquitto_pub is all there is, it publishes one reading with the kit's own files."""
    done = start(folder / SCRIPT, path=make_bin("mosquitto_pub"))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "thingwright is not installed: one reading by mosquitto_pub.",
        *("mosquitto_pub", "-V", "5", "-q", "1", "-h", "localhost", "-p", "40003"),
        *("-i", "dev:1_a-b", "-t", "things/telemetry"),
        *("--cafile", AUTHORITY, "--cert", CERTIFICATE, "--key", PRIVATE_KEY),
        *("-m", '{"deviceId": "dev:1_a-b", "temp": 21.5}'),
        f"in {folder.resolve()}",
    ]


@pytest.mark.parametrize("change", [{"mqtts_port": 443}, {"is_port_shared": True}], ids=str)
def test_script_names_mqtt_where_a_websocket_may_be_meant(
    tmp_path: Path, files: dict[str, str], make_bin: Callable[..., Path], change: dict[str, Any]
) -> None:
    """On a port that serves both, whoever names no protocol in the handshake may not be let in."""
    folder = KitFolder(tmp_path / "kit").write(files | {SCRIPT: replace(KIT, **change).script()})

    done = start(folder / SCRIPT, path=make_bin("mosquitto_pub"))

    assert (done.returncode, done.stderr) == (0, "")
    assert "--tls-alpn x-amzn-mqtt-ca -m" in " ".join(done.stdout.splitlines())


def test_script_says_what_to_install(folder: Path, make_bin: Callable[..., Path]) -> None:
    """Where nothing is installed, one sentence says what to install."""
    done = start(folder / SCRIPT, path=make_bin())

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Install thingwright or mosquitto_pub to connect with this kit.\n"


def test_script_takes_a_topic_as_it_is(tmp_path: Path, files: dict[str, str], make_bin: Callable[..., Path]) -> None:
    """No character of a stack's topic is the shell's to interpret."""
    topic = "things/$(touch evil)'`x`"
    folder = KitFolder(tmp_path / "kit").write(files | {SCRIPT: replace(KIT, telemetry_topic=topic).script()})

    done = start(folder / SCRIPT, path=make_bin("mosquitto_pub"))

    assert topic in done.stdout.splitlines()
    assert not (folder / "evil").exists()
