"""What `thingwright sweep` accepts, says, and ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.targets.names import make_run_id

if TYPE_CHECKING:
    from pathlib import Path


def test_a_dry_run_says_what_would_go_and_how(leaver: Any, sweep: Any, run_id: str) -> None:
    """Kind, name, whose and since when, and that nothing was done."""
    left = leaver.of(run_id)
    name = leaver.thing(left)

    swept = sweep(as_json=False)

    expired = left.mark.tags["thingwright:expires"]
    assert f"[sweep] would go thing         {name}  {run_id}, expired {expired}\n" in swept.out
    assert "[sweep] 1 thing would go; nothing was removed: give --delete to remove it\n" in swept.out
    assert swept.code == 0
    assert sweep("--delete").of("removed") == {("thing", name)}


def test_what_was_removed_is_said_and_counted(leaver: Any, sweep: Any, run_id: str) -> None:
    """One line each, and one for all."""
    left = leaver.of(run_id)
    names = sorted(leaver.thing(left) for _ in range(2))
    policy_name = leaver.policy(left)

    swept = sweep("--delete", as_json=False)

    for kind, name in [("thing", names[0]), ("thing", names[1]), ("policy", policy_name)]:
        assert f"[sweep] removed  {kind:<13} {name}  {run_id}, expired" in swept.out
    assert "[sweep] 1 policy, 2 things removed\n" in swept.out
    assert "nothing would go" not in swept.out


def test_runs_that_are_not_over_are_named(leaver: Any, sweep: Any) -> None:
    """With what it takes to remove what they have made, if they are dead all the same."""
    left = leaver.of(make_run_id())
    name = leaver.thing(left)

    swept = sweep(as_json=False)

    assert f"[sweep] 1 thing of {left.run_id} stay until it expires, " in swept.out
    assert f"if it is dead: --run {left.run_id}\n" in swept.out
    named = sweep("--delete", "--run", left.run_id, as_json=False)
    assert f"[sweep] removed  thing         {name}  {left.run_id}, named by --run\n" in named.out


def test_what_is_left_is_a_complaint(leaver: Any, sweep: Any, set_fault: Any, run_id: str) -> None:
    """On standard error, with the reason; exit code 1."""
    name = leaver.thing(leaver.of(run_id))
    set_fault("iot", "DeleteThing", "UnauthorizedException", status=401, contains=name)

    swept = sweep("--delete", as_json=False)

    assert swept.code == 1
    assert f"[sweep] is left  thing         {name}  " in swept.err
    assert "UnauthorizedException" in swept.err
    assert "[sweep] 1 thing left; sweep again\n" in swept.err
    assert sweep("--delete").of("removed") == {("thing", name)}


@pytest.mark.parametrize("arguments", [("--older-than", "2"), ("--older-than", "2w"), ("--older-than", "-1h")])
def test_a_duration_has_a_number_and_a_unit(sweep: Any, arguments: tuple[str, str]) -> None:
    """Exit code 2, before anything is looked at."""
    swept = sweep(*arguments)

    assert (swept.code, "90m, 2h, 1d" in swept.err, swept.out) == (2, True, "")


@pytest.mark.parametrize("run_id", ["tw1", "x-tw6b3f0a21-9c4e11d2", "*", "tw6b3f0a21-9c4e11d2,tw6b3f0a21-9c4e11d3"])
def test_a_run_is_named_by_its_whole_id(sweep: Any, run_id: str) -> None:
    """Nothing that could mean more than one run."""
    swept = sweep("--run", run_id)

    assert (swept.code, "--run" in swept.err, swept.out) == (2, True, "")


def test_another_account_is_refused_before_anything_is_looked_at(leaver: Any, sweep: Any, run_id: str) -> None:
    """STS says which it is; nothing is removed."""
    name = leaver.thing(leaver.of(run_id))

    swept = sweep("--delete", "--aws-account", "999999999999")

    assert (swept.code, swept.out) == (4, "")
    assert "999999999999" in swept.err
    assert "nothing was touched" in swept.err
    account_id = leaver.sts.get_caller_identity()["Account"]
    assert sweep("--delete", "--aws-account", f"999999999999,{account_id}").of("removed") == {("thing", name)}


def test_the_users_own_settings_are_taken_only_with_an_account(
    leaver: Any, environment: Any, sweep: Any, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on AWS: credentials and endpoint of the shell, the account by --aws-account."""
    name = leaver.thing(leaver.of(run_id))
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment.control_plane_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", environment.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", environment.credentials.secret_access_key)
    monkeypatch.setenv("AWS_REGION", environment.region)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    refused = sweep("--delete", at=())

    assert (refused.code, refused.out) == (4, "")
    assert "--aws-account ID" in refused.err
    swept = sweep("--delete", at=("--aws-account", environment.account_id))
    assert (swept.code, swept.of("removed")) == (0, {("thing", name)})


def test_credentials_that_sts_refuses_sweep_nothing(
    sweep: Any, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which account it is cannot be known; the secret is in no message."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment.control_plane_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYNOBODYNOBO")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")

    swept = sweep("--delete", at=("--aws-account", "123456789012", "--region", environment.region))

    assert (swept.code, swept.out) == (4, "")
    assert "nothing was swept" in swept.err
    assert "not the secret" not in swept.err


def test_an_emulator_is_reached_by_url_and_never_with_the_users_keys(
    leaver: Any, environment: Any, sweep: Any, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are HARNESS_ACCESS_KEY_ID and HARNESS_SECRET_ACCESS_KEY, else test and test."""
    name = leaver.thing(leaver.of(run_id))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", environment.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", environment.credentials.secret_access_key)
    at = ("--endpoint-url", environment.control_plane_url, "--region", environment.region)

    refused = sweep("--delete", at=at)

    assert (refused.code, {each["outcome"] for each in refused.told}) == (1, {"failed"})
    monkeypatch.setenv("HARNESS_ACCESS_KEY_ID", environment.credentials.access_key_id)
    monkeypatch.setenv("HARNESS_SECRET_ACCESS_KEY", environment.credentials.secret_access_key)
    assert sweep("--delete", at=at).of("removed") == {("thing", name)}


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("https://iot.eu-west-1.amazonaws.com", 2, "--aws-account ID"),
        ("https://IOT.cn-north-1.amazonaws.com.cn.", 2, "--aws-account ID"),
        ("localhost:4566", 2, "http://HOST"),
        ("http://[", 2, "http://HOST"),
        ("http://127.0.0.1:1", 4, "cannot be reached"),
    ],
)
def test_a_url_that_is_no_emulators_is_refused(sweep: Any, url: str, code: int, says: str) -> None:
    """AWS itself, no URL, nobody there: one sentence each."""
    swept = sweep(at=("--endpoint-url", url))

    assert (swept.code, says in swept.err, swept.out) == (code, True, "")


def test_two_places_at_once_are_refused(sweep: Any, ready_file: Path) -> None:
    """Also when one of them comes from a variable."""
    swept = sweep(at=("--ready-file", str(ready_file), "--endpoint-url", "http://127.0.0.1:1"))

    assert (swept.code, "not both" in swept.err) == (4, True)


def test_a_region_that_the_stand_in_does_not_play_is_refused(sweep: Any) -> None:
    """It would look empty."""
    swept = sweep("--region", "ap-south-1")

    assert (swept.code, "--region" in swept.err, swept.out) == (2, True, "")
