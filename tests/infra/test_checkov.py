"""What checkov finds in Terraform, in the built manifests and in the Dockerfile: nothing, but for what is explained.

A skip is a comment or an annotation beside what it is about. checkov accepts one without a reason; these tests do not.
Nothing is asked of the network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
INFRA: Final = ROOT / "infra"
OVERLAYS: Final = ("dev", "production")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What one run found: ids with the resource they are about, and reasons of what was skipped."""

    passed: int
    failed: list[str]
    skipped: dict[str, str]


@pytest.fixture(scope="session")
def checkov() -> list[str]:
    """Give checkov's command; it has an environment of its own, for its pins agree with nobody else's."""
    if python := os.environ.get("CHECKOV_PYTHON"):
        return [python, "-m", "checkov.main"]  # its script does not run from a folder with a space in its name
    if (found := shutil.which("checkov")) is None:
        pytest.skip("not proven: checkov is missing; CHECKOV_PYTHON names an interpreter that has it")
    return [found]


def scan(checkov: list[str], framework: str, path: Path) -> Findings:
    """Run every check of one framework over a file or folder."""
    where = ["--directory" if path.is_dir() else "--file", str(path)]
    answer = subprocess.run(
        [*checkov, *where, "--framework", framework, "--output", "json", "--skip-download", "--compact"],
        cwd=path if path.is_dir() else path.parent,
        env=os.environ | {"LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.startswith("{"), answer.stdout + answer.stderr
    report: dict[str, Any] = json.loads(answer.stdout)
    results = report.get("results", {"passed_checks": [], "failed_checks": [], "skipped_checks": []})
    assert report.get("summary", {}).get("parsing_errors", 0) == 0, report["results"]["parsing_errors"]

    def named(check: dict[str, Any]) -> str:
        return f"{check['check_id']} {check['resource']}"

    return Findings(
        passed=len(results["passed_checks"]),
        failed=sorted(named(check) for check in results["failed_checks"]),
        skipped={
            named(check): check["check_result"].get("suppress_comment") or "" for check in results["skipped_checks"]
        },
    )


def check(findings: Findings, *, at_least: int) -> None:
    """Say that nothing failed, that something was looked at, and that each skip is explained in a sentence."""
    assert findings.failed == []
    assert findings.passed >= at_least
    unexplained = [name for name, reason in findings.skipped.items() if len(reason.split()) < 5]
    assert unexplained == []


def test_terraform_passes(checkov: list[str]) -> None:
    """The platform: no check fails."""
    check(scan(checkov, "terraform", INFRA / "terraform"), at_least=100)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_pass(checkov: list[str], kubectl: str, tmp_path: Path, overlay: str) -> None:
    """The workload as it would be applied: no check fails."""
    built = subprocess.run(
        [kubectl, "kustomize", str(INFRA / "k8s" / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(built.stdout, "utf-8")

    check(scan(checkov, "kubernetes", manifest), at_least=50)


def test_dockerfile_passes(checkov: list[str]) -> None:
    """The receiver's image: no check fails."""
    check(scan(checkov, "dockerfile", ROOT / "receiver" / "Dockerfile"), at_least=5)


OPEN_PORT: Final = """\
resource "aws_security_group" "open" {
  ingress {
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
"""
PRIVILEGED: Final = """\
apiVersion: v1
kind: Pod
metadata: {name: root}
spec:
  containers:
    - name: root
      image: busybox
      securityContext: {privileged: true}
"""
BAD: Final = {
    "terraform": ("main.tf", OPEN_PORT, "CKV_AWS_24"),
    "kubernetes": ("pod.yaml", PRIVILEGED, "CKV_K8S_16"),
    "dockerfile": ("Dockerfile", "FROM python:latest\nRUN sudo id\n", "CKV_DOCKER_7"),
}


@pytest.mark.parametrize("framework", BAD)
def test_a_bad_file_is_found(checkov: list[str], tmp_path: Path, framework: str) -> None:
    """An open port, a privileged pod and an image without a version fail, so the tests above can fail."""
    name, text, finding = BAD[framework]
    path = tmp_path / name
    path.write_text(text, "utf-8")

    assert finding in [one.split()[0] for one in scan(checkov, framework, path).failed]


def test_a_skip_needs_a_reason(checkov: list[str], tmp_path: Path) -> None:
    """A skip without a reason, or with a word for one, is refused; one with a sentence is not."""
    lazy, explained = tmp_path / "lazy", tmp_path / "explained"
    for folder, reason in ((lazy, "later"), (explained, "the port of a test that nobody can reach")):
        folder.mkdir()
        (folder / "main.tf").write_text(OPEN_PORT.replace("{", f"{{\n  #checkov:skip=CKV_AWS_24:{reason}", 1), "utf-8")

    for folder in (lazy, explained):
        assert "CKV_AWS_24 aws_security_group.open" in scan(checkov, "terraform", folder).skipped
    with pytest.raises(AssertionError, match="CKV_AWS_24"):
        check(Findings(passed=1, failed=[], skipped=scan(checkov, "terraform", lazy).skipped), at_least=1)
    check(Findings(passed=1, failed=[], skipped=scan(checkov, "terraform", explained).skipped), at_least=1)
