"""What CI is made of: the workflows ask for little, run what a laptop runs, and what stands behind them works.

`tox -e workflows` has zizmor and the schema look at the same files; here is what these two cannot know of.
"""

from __future__ import annotations

import configparser
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.y*ml"))
ACTION = re.compile(r"uses: +([\w./-]+)@([0-9a-f]{40}) # v\d+(?:\.\d+)*$")

KNOWN_ACTIONS = {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}
KNOWN_ACTIONS |= {"aws-actions/configure-aws-credentials"}
"""By whom CI is run besides ourselves: each was looked at, and another one is a decision."""

MAY_WRITE = {("nightly.yml", "aws", "id-token"), ("nightly.yml", "tell", "issues")}
"""(file, job, permission) of every permission that is more than reading."""


def load(name: str) -> dict[str, Any]:
    """Read a workflow; YAML takes the key ``on`` for true."""
    workflow: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return workflow


def tox() -> configparser.RawConfigParser:
    """Read tox.ini."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "tox.ini", encoding="utf-8")
    return config


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Give file, name and content of every job."""
    return [(path.name, name, job) for path in FILES for name, job in load(path.name)["jobs"].items()]


def steps() -> list[tuple[str, str, dict[str, Any]]]:
    """Give file, job and content of every step."""
    return [(file, name, step) for file, name, job in jobs() for step in job["steps"]]


def nightly_run(job: str) -> list[str]:
    """Give what the steps of a nightly job run, in their order; an action by its name."""
    return [step.get("run") or step["uses"] for step in load("nightly.yml")["jobs"][job]["steps"]]


def position(lines: list[str], text: str) -> int:
    """Give where the one line is that holds a text."""
    (found,) = [number for number, line in enumerate(lines) if text in line]
    return found


def test_there_are_two_workflows() -> None:
    """What is checked below is all there is."""
    assert [path.name for path in FILES] == ["ci.yml", "nightly.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    """A tag can be moved to other code, a commit cannot; the comment says which version it is."""
    lines = [line.strip().removeprefix("- ") for line in path.read_text("utf-8").splitlines()]
    used = [line for line in lines if line.startswith("uses:")]

    assert used or "steps" in path.read_text("utf-8")
    assert [line for line in used if not ACTION.fullmatch(line)] == []
    assert {ACTION.fullmatch(line)[1] for line in used} <= KNOWN_ACTIONS  # type: ignore[index] # each of them matches


def test_an_action_is_the_same_commit_everywhere() -> None:
    """Two versions of one action would be a pin that somebody forgot."""
    text = "\n".join(path.read_text("utf-8") for path in FILES)
    pins = set(re.findall(r"uses: (\S+)@(\S+)", text))

    assert len(pins) == len({name for name, _ in pins})


def test_permissions_are_least() -> None:
    """A workflow may read at most; what a job may write is listed here, and only the nightly may write at all."""
    assert load("ci.yml")["permissions"] == {"contents": "read"}
    assert load("nightly.yml")["permissions"] == {}
    assert all("permissions" in job for file, _, job in jobs() if file == "nightly.yml")
    told = {(file, name, *entry) for file, name, job in jobs() for entry in job.get("permissions", {}).items()}

    assert {(file, job, scope) for file, job, scope, level in told if level != "read"} == MAY_WRITE
    assert {scope for _, _, scope, level in told if level == "read"} == {"contents"}


def test_every_job_ends() -> None:
    """A job that hangs costs minutes, not six hours."""
    assert [name for _, name, job in jobs() if not 1 <= job.get("timeout-minutes", 0) <= 75] == []


def test_a_checkout_leaves_no_credentials() -> None:
    """No step after it finds a token in the clone."""
    checkouts = [step for _, _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]

    assert checkouts
    assert [step for step in checkouts if step["with"].get("persist-credentials") is not False] == []


def test_no_script_is_made_of_expressions() -> None:
    """What GitHub fills in reaches a shell as a variable only, quoted by the shell."""
    assert [step["run"] for _, _, step in steps() if "${{" in step.get("run", "")] == []


def test_no_workflow_runs_for_strangers_with_our_rights() -> None:
    """Pull requests of forks get no secret: the two triggers that would give them some are not used."""
    triggers = {name: set(load(name)[True]) for name in ("ci.yml", "nightly.yml")}  # type: ignore[index] # see load

    assert triggers == {"ci.yml": {"push", "pull_request"}, "nightly.yml": {"schedule", "workflow_dispatch"}}
    assert "secrets." not in (FOLDER / "ci.yml").read_text("utf-8")


def test_every_environment_of_tox_that_is_named_exists() -> None:
    """``tox -e NAME`` in a step or NAME in a matrix is an environment of tox.ini."""
    named = {
        name
        for _, _, step in steps()
        for names in re.findall(r"tox (?:run --notest )?-e ([\w,-]+)", step.get("run", ""))
        for name in names.split(",")
    }
    matrix = {each["tox"] for each in load("ci.yml")["jobs"]["tox"]["strategy"]["matrix"]["include"]}

    assert named >= {"unit", "thingwright", "e2e-aws", "e2e-localstack"}
    assert matrix >= {"lint", "typing", "workflows", "e2e", "e2e-endpoint", "e2e-ministack", "own-suite", "infra"}
    assert sorted(name for name in named | matrix if f"testenv:{name}" not in tox()) == []


def test_ci_runs_nothing_that_a_laptop_cannot() -> None:
    """Every job but those that only ask or tell runs tox or the README's command."""
    idle = {name for _, name, job in jobs() if not re.search(r"tox -e|\.ci/run", str(job["steps"]))}

    assert idle == {"wanted", "tell"}


def test_the_workflows_are_linted_each_by_its_name() -> None:
    """The schema's check takes files by name: a third workflow would need to be named, too."""
    commands = tox()["testenv:workflows"]["commands"]

    assert "zizmor --offline" in commands
    assert [path.name for path in FILES if path.name not in commands] == []


def test_the_environment_of_the_targets_runs_all_its_parts() -> None:
    """Plain `tox` runs every target that needs neither account nor token."""
    commands = tox()["testenv:targets"]["commands"].split()

    parts = ("workflows", "e2e-endpoint", "e2e-ministack", "own-suite")
    assert commands == [f"{{[testenv:{name}]commands}}" for name in parts]


def test_scripts_that_tox_runs_exist() -> None:
    """Every script below .ci in a command of tox is a file."""
    named = set(re.findall(r"\.ci\{/\}(\w+\.py)", (ROOT / "tox.ini").read_text("utf-8")))

    assert named >= {"repeat.py", "evidence.py", "with_serve.py", "with_ministack.py", "own_suite.py"}
    assert sorted(name for name in named if not (ROOT / ".ci" / name).is_file()) == []


def test_no_secret_is_echoed() -> None:
    """A secret goes to the one step that needs it, as a variable, and no script prints that variable."""
    holding = {
        name: step
        for _, _, step in steps()
        for name, value in step.get("env", {}).items()
        if re.search(r"\$\{\{\s*secrets\.\w+\s*\}\}|github\.token", str(value))
    }
    workflow = load("nightly.yml")

    assert set(holding) == {"LOCALSTACK_AUTH_TOKEN", "GH_TOKEN"}
    assert [name for name, step in holding.items() if name in step["run"]] == []
    assert "secrets." not in str([workflow.get("env"), [job.get("env") for job in workflow["jobs"].values()]])
    assert re.findall(r"set -\w*x|xtrace|printenv|\benv\s*$", "\n".join(str(s.get("run")) for _, _, s in steps())) == []


def test_the_night_holds_no_key_of_aws() -> None:
    """AWS is reached by a role that trusts GitHub's tokens, in the one account that is named."""
    text = (FOLDER / "nightly.yml").read_text("utf-8")
    (role,) = [step for _, _, step in steps() if "configure-aws-credentials" in step.get("uses", "")]

    assert re.findall(r"(?i)aws[-_]access[-_]key|aws[-_]secret|aws[-_]session[-_]token|AKIA", text) == []
    assert role["with"]["role-to-assume"] == "${{ vars.AWS_ROLE_ARN }}"
    assert role["with"]["aws-region"] == "${{ vars.AWS_REGION }}"
    assert role["with"]["allowed-account-ids"] == "${{ vars.AWS_ACCOUNT_ID }}"
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"LOCALSTACK_AUTH_TOKEN"}


def test_the_night_sweeps_before_and_after() -> None:
    """What an earlier night left goes first; what this one's run leaves goes too, whatever became of the tests."""
    lines = nightly_run("aws")
    sweeps = [number for number, line in enumerate(lines) if "sweep --delete" in line]
    tests = position(lines, "tox -e e2e-aws")
    after = load("nightly.yml")["jobs"]["aws"]["steps"][sweeps[-1]]

    assert len(sweeps) == 2
    assert position(lines, "configure-aws-credentials") < sweeps[0] < tests < sweeps[1]
    assert after["if"] == "always()"
    assert "--stack-outputs" in lines[tests]
    assert "--aws-account" in lines[tests]


def test_what_resists_the_sweep_keeps_nobody_from_testing() -> None:
    """With a role there are tests, whatever became of the sweep before them."""
    steps_of_aws = load("nightly.yml")["jobs"]["aws"]["steps"]
    tests = next(step for step in steps_of_aws if step.get("name") == "Test")
    (role,) = [step for step in steps_of_aws if "configure-aws" in step.get("uses", "")]

    assert tests["if"] == f"${{{{ !cancelled() && steps.{role['id']}.outcome == 'success' }}}}"


@pytest.mark.parametrize(
    ("left", "told"), [('{"run_id": "tw1-2"}', ["--run", "tw1-2"]), ('{"run_id": null}', []), ("", [])]
)
def test_the_sweep_after_takes_what_a_run_that_was_cut_off_has_left(left: str, told: list[str], tmp_path: Path) -> None:
    """The step's script, run above a `tox` that notes its arguments: nothing of tonight has expired by then."""
    sweep = next(step for step in load("nightly.yml")["jobs"]["aws"]["steps"] if step.get("name") == "Sweep after")
    tox = tmp_path / "tox"
    tox.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/asked"\n')
    tox.chmod(0o700)
    (tmp_path / "evidence").mkdir()
    if left:
        (tmp_path / "evidence/aws.json").write_text(left)
    variables = {
        "HARNESS_AWS_ACCOUNT": "1",
        "IDENTITY_POOL": "p",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }

    subprocess.run(["bash", "-e", "-c", sweep["run"]], env=variables, cwd=tmp_path, check=True)

    asked = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert asked == [
        "-e",
        "thingwright",
        "--",
        "sweep",
        "--delete",
        *told,
        "--aws-account",
        "1",
        "--identity-pool-id",
        "p",
    ]


@pytest.mark.parametrize(
    ("outputs", "written"), [('{"identityPoolId": "p"}', "identity_pool=p\n"), ("{}", ""), ("no JSON", "")]
)
def test_outputs_without_an_identity_pool_end_the_night(outputs: str, written: str, tmp_path: Path) -> None:
    """The step's script, run: what is not there is no empty option of a later step."""
    step = next(step for step in load("nightly.yml")["jobs"]["aws"]["steps"] if step.get("id") == "stack")
    variables = {"STACK_OUTPUTS": outputs, "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "told")}

    ran = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        env=variables | {"PATH": os.environ["PATH"]},
        check=False,
        capture_output=True,
    )

    assert (ran.returncode == 0) is bool(written)
    told = tmp_path / "told"
    assert (told.read_text("utf-8") if told.exists() else "") == written


def test_the_night_s_credentials_outlive_its_work() -> None:
    """The sweep after the tests still has a role: the steps' limits add up to less than the session's length."""
    job = load("nightly.yml")["jobs"]["aws"]
    working = [step for step in job["steps"] if re.search(r"sweep --delete|e2e-aws --", step.get("run", ""))]
    (role,) = [step for step in job["steps"] if "configure-aws" in step.get("uses", "")]

    assert len(working) == 3
    assert sum(step["timeout-minutes"] for step in working) * 60 < role["with"]["role-duration-seconds"]
    assert sum(step["timeout-minutes"] for step in working) < job["timeout-minutes"]


@pytest.mark.parametrize("job", ["aws", "localstack"])
def test_the_night_keeps_evidence_and_report(job: str) -> None:
    """Red or green, evidence and report are with the run, and its page is the job's summary."""
    lines = nightly_run(job)
    workflow = load("nightly.yml")["jobs"][job]
    report, kept = position(lines, "report evidence/"), position(lines, "upload-artifact")
    (tests,) = [step for step in workflow["steps"] if "HARNESS_EVIDENCE" in step.get("env", {})]

    assert tests["env"]["HARNESS_EVIDENCE"] in lines[report]
    assert '>> "$GITHUB_STEP_SUMMARY"' in lines[report]
    assert "evidence/" in workflow["steps"][kept]["with"]["path"]
    assert [workflow["steps"][number]["if"] for number in (report, kept)] == ["always()", "always()"]


def test_nights_do_not_overlap() -> None:
    """One night at a time, whoever started it, and none is cut off while it tidies up."""
    assert load("nightly.yml")["concurrency"] == {"group": "nightly", "cancel-in-progress": False}


def test_the_night_leaves_out_what_is_not_configured_and_says_so() -> None:
    """Without variables or token a target is skipped with a notice, not red."""
    workflow = load("nightly.yml")["jobs"]
    (ask,) = workflow["wanted"]["steps"]

    for job in ("aws", "localstack"):
        assert workflow[job]["needs"] == "wanted"
        assert workflow[job]["if"] == f"needs.wanted.outputs.{job} == 'true'"
    for name in ("AWS_ROLE_ARN", "AWS_REGION", "AWS_ACCOUNT_ID", "AWS_STACK_OUTPUTS"):
        assert f"vars.{name} != ''" in ask["env"]["HAS_AWS"]


@pytest.mark.parametrize(
    ("has_aws", "has_token", "notices"), [("true", "true", 0), ("false", "true", 1), ("false", "false", 2)]
)
def test_the_question_for_targets_answers(has_aws: str, has_token: str, notices: int, tmp_path: Path) -> None:
    """The step's script, run: its outputs are what it was told, and each target left out has a notice."""
    (ask,) = load("nightly.yml")["jobs"]["wanted"]["steps"]
    outputs = tmp_path / "outputs"
    told = {"HAS_AWS": has_aws, "HAS_TOKEN": has_token, "GITHUB_OUTPUT": str(outputs), "PATH": os.environ["PATH"]}

    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", ask["run"]], env=told, check=True, capture_output=True)

    assert outputs.read_text("utf-8") == f"aws={has_aws}\nlocalstack={has_token}\n"
    assert ran.stdout.count(b"::notice title=") == notices


@pytest.mark.parametrize(("number", "asked"), [("", "issue create --title"), ("7", "issue comment 7 --body")])
def test_a_red_night_is_told_once(number: str, asked: str, tmp_path: Path) -> None:
    """The step's script, run above a `gh` that notes what it is asked: an issue, or a comment on the open one."""
    job = load("nightly.yml")["jobs"]["tell"]
    (tell,) = job["steps"]
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n[ "$2" = list ] && echo {shlex.quote(number)} || true\n'
    )
    gh.chmod(0o700)
    told = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TITLE": tell["env"]["TITLE"]}
    told |= {"RUN": "https://example.org/runs/1", "AWS": "failure", "LOCALSTACK": "skipped"}

    subprocess.run(["bash", "-euo", "pipefail", "-c", tell["run"]], env=told, check=True)

    listed, done = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert listed.startswith("issue list --state open")
    assert done.startswith(asked)
    assert "AWS: failure; LocalStack: skipped" in done
    assert "https://example.org/runs/1" in done
    assert {"aws", "localstack"} <= set(job["needs"])
    assert "!cancelled()" in job["if"]
    assert "'failure'" in job["if"]


REPEAT = runpy.run_path(str(ROOT / ".ci/repeat.py"))
SOME_FAIL = """
import os, sys
seed = int(next(each for each in sys.argv if each.startswith("--randomly-seed=")).partition("=")[2])
odd = seed % 2
if odd:
    print("FAILED tests/e2e/test_a.py::test_b[x y] - AssertionError: no - 1")
    print("ERROR tests/e2e/test_c.py::test_d")
print(f"==== {'1 failed' if odd else '5 passed'} in 1.00s ====")
sys.exit(odd)
"""


@pytest.fixture
def made_up_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that fails for odd seeds, in the place of the suite that takes minutes."""
    package = tmp_path / "pytest"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SOME_FAIL, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("made_up_pytest")
def test_repeated_runs_have_orders_of_their_own_and_tell_what_failed(capfd: pytest.CaptureFixture[str]) -> None:
    """Each run has its line with its seed; a failed one has its tests, its command, its output, and makes all red."""
    seeds = REPEAT["make_seeds"](5, 6)
    odd = [seed for seed in seeds if seed % 2]
    assert 0 < len(odd) < 6  # so that there is something to tell apart

    code = REPEAT["main"](["--runs", "6", "--seed", "5", "--", "-x"])

    told = capfd.readouterr().out
    assert code == 1
    assert "their orders come from --seed 5" in told
    assert re.findall(r"seed (\d+): (\d \w+)$", told, re.MULTILINE) == [
        (str(seed), "1 failed" if seed % 2 else "5 passed") for seed in seeds
    ]
    assert told.count("      tests/e2e/test_a.py::test_b[x y]\n      tests/e2e/test_c.py::test_d\n") == len(odd)
    again = [f"-m pytest -m e2e tests/e2e -n 4 -p randomly --randomly-seed={seed} -x" for seed in odd]
    assert re.findall(r"again: (.*)", told) == again
    assert [int(seed) for seed in re.findall(r"===== seed (\d+) =====", told)] == odd
    assert told.endswith(f"{6 - len(odd)} of 6 runs passed\n")


@pytest.mark.usefixtures("made_up_pytest")
def test_repeated_runs_that_all_pass_are_green(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a failure nothing but the lines is printed, and the exit code is 0."""
    seed = next(each for each in range(100) if not any(one % 2 for one in REPEAT["make_seeds"](each, 2)))

    assert REPEAT["main"](["--runs", "2", "--seed", str(seed)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "2 of 2 runs passed"


def test_repeated_runs_without_an_end_are_not_taken_for_passed() -> None:
    """A pytest that crashed or found nothing has another exit code than 0, and that is told."""
    result = REPEAT["run"](1, [sys.executable, "-c", "import sys; print('no tests'); sys.exit(5)"])

    assert (result.code, result.failed, result.summary) == (5, [], "no summary, exit code 5")


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--workers", "0"], ["--runs", "many"]])
def test_repeat_refuses_what_it_cannot_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A number of runs or workers that is none ends with pytest's own code for wrong usage."""
    with pytest.raises(SystemExit) as ended:
        REPEAT["main"](arguments)

    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.fixture
def made_up_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `.ci/evidence.py` knows, with runs in the place of its own, and a `thingwright` that copies evidence."""
    script = runpy.run_path(str(ROOT / ".ci/evidence.py"))
    known: dict[str, Any] = script["main"].__globals__
    leave = "import os; open(os.environ['HARNESS_EVIDENCE'], 'w').write(os.environ['HARNESS_EVIDENCE_LABEL'] + ';')"
    known["RUNS"] = {name: (name, (sys.executable, "-c", leave)) for name in ("embedded", "ministack")}
    thingwright = tmp_path / "thingwright"
    thingwright.write_text('#!/bin/sh\nshift\nfor last; do :; done\ncat "$1" "$2" > aside && mv aside "$last"\n')
    thingwright.chmod(0o700)
    ministack = tmp_path / "python"
    ministack.write_text("#!/bin/sh\necho 1.2.3\n")
    ministack.chmod(0o700)
    monkeypatch.setenv("MINISTACK_PYTHON", str(ministack))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/evidence").mkdir(parents=True)
    return known


def test_the_page_is_made_of_all_runs_each_named_with_its_version(made_up_runs: dict[str, Any]) -> None:
    """Somebody else's emulator is nothing without its version."""
    assert made_up_runs["main"]() == 0
    assert Path("docs/promises.md").read_text("utf-8") == "embedded;ministack 1.2.3;"


def test_a_run_that_could_not_begin_makes_no_page_of_what_was_proven_before(made_up_runs: dict[str, Any]) -> None:
    """Its evidence of another day is gone, so it cannot pass for today's."""
    assert made_up_runs["main"]() == 0
    page = Path("docs/promises.md")
    page.write_text("the old page", "utf-8")
    made_up_runs["RUNS"]["ministack"] = ("ministack", (sys.executable, "-c", "raise SystemExit('no ministack')"))

    assert made_up_runs["main"]() == 1
    assert page.read_text("utf-8") == "the old page"
    assert not Path("docs/evidence/ministack.json").exists()
