"""bash's completion, by bash itself."""
import os
import subprocess

import pytest

from tests.lab.make import BUILD, REPOSITORY, make

SCRIPT = REPOSITORY / "conf/bash-completion/mailcow-certsync"


@pytest.fixture(scope="module")
def path() -> str:
    make("all")
    return f"{BUILD}:{os.environ['PATH']}"


@pytest.fixture
def complete(path):
    def complete(*words: str) -> set[str]:
        """What is offered for the last of the words."""
        script = f'source {SCRIPT}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mailcow_certsync; printf "%s\\n" "${{COMPREPLY[@]}}"'
        run = subprocess.run(["bash", "-c", script, "bash", *words], env={"PATH": path}, capture_output=True, text=True, check=True)
        return set(run.stdout.split())
    return complete


def test_commands(complete):
    assert {"reconcile", "serve", "status", "check", "rollback", "remove", "recover", "enroll"} <= complete("mailcow-cert-deploy", "")
    assert complete("mailcow-cert-deploy", "ro") == {"rollback"}
    assert {"run", "status"} <= complete("mailcow-cert-push", "")


def test_options(complete):
    assert {"--force", "--from", "--json", "--version", "--help"} <= complete("mailcow-cert-deploy", "--")
    assert complete("mailcow-cert-push", "--dr") == {"--dry-run"}
    assert complete("mailcow-cert-deploy", "enroll", "--fr") == {"--from"}


def test_files(complete, tmp_path):
    (tmp_path / "a.conf").touch()
    assert complete("mailcow-cert-push", "--config", f"{tmp_path}/a") == {f"{tmp_path}/a.conf"}
