"""``serve`` with children that take no time: the ready file, signals, deaths, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import harness
from harness import cli
from harness.targets import ready as ready_files
from harness.targets.embedded import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.targets.embedded import SupervisorOptions

    Eventually = Callable[[Callable[[], object]], None]
    ProcessesOf = Callable[[Path], list[int]]


COMMAND = """
import pathlib, sys
from harness.targets.embedded import SupervisorOptions, serve
script, program, ready_file, *modes = sys.argv[1:]
options = SupervisorOptions(
    stack=pathlib.Path(program),
    control_command=(script, "control", modes[0]),
    broker_command=(script, "broker", modes[1]),
    deployment_command=(script, "deployment", modes[2]),
    receiver_command=(script, "receiver", modes[3]),
)
sys.exit(serve(ready_file=pathlib.Path(ready_file), options=options))
"""


@pytest.fixture
def start(
    make_options: Callable[..., SupervisorOptions], tmp_path: Path, private_temp: Path, python: str
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``serve`` as a process of its own, with children of the given modes."""
    started = []

    def run(
        *,
        control: str = "lives",
        broker: str = "lives",
        deployment: str = "lives",
        receiver: str = "lives",
        ready_file: Path | None = None,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(python, "-c", COMMAND, str(tmp_path / "fäke child.py"), str(tmp_path / "a program")),
                *(str(ready_file or tmp_path / "ready.json"), control, broker, deployment, receiver),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={
                "PATH": os.environ["PATH"],
                "TMPDIR": str(private_temp),
                "PYTHONPATH": str(Path(harness.__file__).parents[1]),
                "LC_ALL": "C",
                "HTTP_PROXY": "http://127.0.0.1:9",
                "AWS_PROFILE": "nobody",
            },
            start_new_session=True,
        )
        started.append(process)
        return process

    make_options(stack=True)
    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_serve_says_where_everything_is_and_writes_the_ready_file(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """One glance tells a person, the file tells a program; it is complete, private, and gone at the end."""
    process = start()
    ready_file = tmp_path / "ready.json"
    eventually(ready_file.exists)

    content = json.loads(ready_file.read_text("utf-8"))
    assert stat.S_IMODE(ready_file.stat().st_mode) == 0o600
    assert list(content) == [
        *("pid", "region", "account_id", "control_plane_url", "iot_endpoint", "mqtts_port", "wss_port", "ca_file"),
        *("access_key_id", "secret_access_key", "admin_url", "admin_token", "receiver_url", "outputs"),
    ]
    assert content["pid"] == process.pid
    assert content["outputs"]["identityPoolId"] == "us-east-1:0"
    assert Path(content["ca_file"]).exists()

    process.terminate()
    out, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert "wss://localhost:3/mqtt" in out
    assert "us-east-1:0" in out
    assert f"  Receiver          {content['receiver_url']}\n" in out
    assert content["secret_access_key"] not in out
    assert content["admin_token"] not in out
    assert not ready_file.exists()
    assert list(tmp_path.joinpath("temp").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code", "last"),
    [(signal.SIGTERM, 0, "ready.json"), (signal.SIGINT, 130, "Stopped."), (signal.SIGHUP, 129, "ready.json")],
)
def test_serve_ends_on_a_signal_with_its_exit_code(
    number: int,
    code: int,
    last: str,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    private_temp: Path,
    eventually: Eventually,
    processes_of: ProcessesOf,
) -> None:
    """Ctrl-C adds one line; nobody is left, nothing is left."""
    process = start()
    eventually((tmp_path / "ready.json").exists)

    os.killpg(process.pid, number)

    out, err = process.communicate()
    assert (process.returncode, err) == (code, "")
    assert last in out.splitlines()[-1]
    assert processes_of(tmp_path) == []
    assert list(private_temp.iterdir()) == []


@pytest.mark.parametrize("moment", ["control-plane.json", "deployment.json", "receiver.log", "broker.json", "ready"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_serve_at_any_moment(
    moment: str,
    number: int,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    private_temp: Path,
    eventually: Eventually,
    processes_of: ProcessesOf,
) -> None:
    """However and whenever it ends, set-up included, its children end too."""
    process = start()
    if moment == "ready":
        eventually((tmp_path / "ready.json").exists)
    else:
        eventually(lambda: list(private_temp.glob(f"*/{moment}")))

    process.send_signal(number)
    process.communicate()

    eventually(lambda: processes_of(tmp_path) == [])
    assert process.returncode == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[number]


@pytest.mark.parametrize(
    ("modes", "told"),
    [
        ({"control": "dies"}, "control cannot bind its port"),
        ({"broker": "leaves"}, "had enough"),
        ({"receiver": "dies"}, "The receiver ended with exit code 1"),
        ({"receiver": "leaves"}, "The receiver ended with exit code 1"),
        ({"deployment": "fails"}, "aws:iam/role:Role guest (iam:CreateRole)"),
    ],
)
def test_serve_ends_with_the_reason_when_a_child_dies(
    modes: dict[str, str],
    told: str,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    processes_of: ProcessesOf,
) -> None:
    """Exit code 1, and the tail of the log on standard error."""
    process = start(**modes)

    _out, err = process.communicate()

    assert process.returncode == 1
    assert told in err
    assert processes_of(tmp_path) == []


def test_a_second_serve_works_beside_the_first(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """And ending one leaves the other."""
    first, second = start(), start(ready_file=tmp_path / "second.json")
    eventually((tmp_path / "ready.json").exists)
    eventually((tmp_path / "second.json").exists)

    first.terminate()
    first.communicate()

    assert ready_files.read(tmp_path / "second.json").pid == second.pid


def test_a_ready_file_in_use_is_not_taken(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """The second serve says whose it is and leaves it alone."""
    first = start()
    eventually((tmp_path / "ready.json").exists)

    second = start()
    _out, err = second.communicate()

    assert second.returncode == 1
    assert f"process {first.pid}, which still runs" in err
    assert ready_files.read(tmp_path / "ready.json").pid == first.pid


def test_an_old_ready_file_is_replaced(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """What a killed serve left behind stands in nobody's way."""
    first = start()
    eventually((tmp_path / "ready.json").exists)
    first.kill()
    first.communicate()

    second = start()
    eventually(lambda: f'"pid": {second.pid}' in _text(tmp_path / "ready.json"))


def test_the_folder_of_a_killed_serve_goes_with_the_next_start(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, private_temp: Path, eventually: Eventually
) -> None:
    """It holds keys, and nobody else will remove it; the folder of one that runs stays."""
    first, neighbour = start(), start(ready_file=tmp_path / "neighbour.json")
    for name in ("ready.json", "neighbour.json"):
        eventually((tmp_path / name).exists)
    first.kill()
    first.communicate()
    left = {path.name for path in private_temp.iterdir()}
    assert len(left) == 2

    start(ready_file=tmp_path / "third.json")
    eventually((tmp_path / "third.json").exists)

    now = {path.name for path in private_temp.iterdir()}
    assert len(now) == 2
    assert len(now & left) == 1
    assert Path(ready_files.read(tmp_path / "neighbour.json").ca_file).exists()
    assert neighbour.poll() is None


def test_a_file_that_is_no_ready_file_is_not_overwritten(
    make_options: Callable[..., SupervisorOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the hand costs nobody a file."""
    precious = tmp_path / "thesis.txt"
    precious.write_text("all of it", "utf-8")

    assert serve(ready_file=precious, no_stack=True, options=make_options()) == 1

    assert precious.read_text("utf-8") == "all of it"
    assert "an old ready file" in capsys.readouterr().err


def test_a_ready_file_needs_a_folder(
    make_options: Callable[..., SupervisorOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is said before anything is started."""
    assert serve(ready_file=tmp_path / "no" / "ready.json", no_stack=True, options=make_options()) == 1
    assert "a folder that exists" in capsys.readouterr().err


def test_a_quirk_is_a_name_and_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    """The mistake is shown as it was typed."""
    assert serve(no_stack=True, quirks=["faster"]) == 1
    assert "--quirk='faster' is not accepted: NAME=VALUE" in capsys.readouterr().err


def test_serve_hands_quirks_on_and_gives_the_signals_back(
    make_options: Callable[..., SupervisorOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that goes on, its signal handlers are as they were."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    lines: list[str] = []

    def echo(line: str) -> None:
        lines.append(line)
        if "No ready file" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    assert serve(no_stack=True, quirks=["some_switch=a=b"], echo=echo, options=make_options()) == 0

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert len([line for line in lines if "Ready in" in line]) == 1


def test_serve_goes_on_when_nobody_reads_what_it_prints(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """``serve | head -1`` is no reason to end."""
    process = start()
    assert process.stdout is not None
    process.stdout.close()

    eventually((tmp_path / "ready.json").exists)
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_serve_takes_its_options_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports and the further CA arrive; a receiver's port without a receiver is a mistake of the caller."""
    received: list[dict[str, Any]] = []

    def run_server(**given: Any) -> int:
        received.append(given)
        return 0

    monkeypatch.setattr("harness.targets.embedded.serve", run_server)
    arguments = ["serve", "--receiver-port", "8443", "--http-ca-file", "own ca.pem", "--control-port", "4566"]

    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    options = received[0]["options"]
    assert (options.receiver_port, options.http_ca_file, options.control_port) == (8443, Path("own ca.pem"), 4566)

    refused = CliRunner().invoke(cli.app, [*arguments, "--no-stack"])
    assert refused.exit_code == 2
    assert "--receiver-port='8443' is not accepted" in refused.stderr
    assert len(received) == 1
    assert CliRunner().invoke(cli.app, ["serve", "--receiver-port", "65536"]).exit_code == 2


def test_serve_without_a_stack_names_no_receiver(make_options: Callable[..., SupervisorOptions]) -> None:
    """There is none."""
    lines: list[str] = []

    def echo(line: str) -> None:
        lines.append(line)
        if "No ready file" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    assert serve(no_stack=True, echo=echo, options=make_options()) == 0
    assert [line for line in lines if "Receiver" in line] == []


def test_serve_goes_on_while_receivers_come_and_go(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, private_temp: Path, eventually: Eventually
) -> None:
    """One that is killed on request ends nothing; one that dies afterwards ends all, with its name."""
    process = start(control="asks")
    eventually((tmp_path / "ready.json").exists)
    eventually(lambda: list(private_temp.glob("*/answers")))
    (pid_file,) = private_temp.glob("*/receiver.pid")
    assert process.poll() is None

    os.kill(int(pid_file.read_text("utf-8")), signal.SIGKILL)

    _out, err = process.communicate()
    assert process.returncode == 1
    assert "The receiver was ended by SIGKILL" in err
    assert list(private_temp.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_receiver_on_its_way_up_outlives_serve(
    number: int,
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    private_temp: Path,
    eventually: Eventually,
    processes_of: ProcessesOf,
) -> None:
    """One that was asked for and has not reported ends with the others."""
    process = start(control="asks", receiver="hangs-further")
    eventually(lambda: list(private_temp.glob("*/hangs")))
    eventually((tmp_path / "ready.json").exists)

    process.send_signal(number)
    process.communicate()

    eventually(lambda: processes_of(tmp_path) == [])


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
