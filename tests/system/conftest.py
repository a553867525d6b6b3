"""One lab for all system tests; each test gets it as after its start."""
import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lab.lab import Lab  # noqa: E402


@pytest.fixture(scope="session")
def session_lab():
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def installed_lab(session_lab):
    session_lab.install()
    return session_lab


@pytest.fixture
def lab(session_lab):
    session_lab.reset()
    return session_lab


@pytest.fixture
def product(installed_lab, lab):
    """The lab with the product in both hosts and its deployer listening."""
    lab.start_deployer()
    yield lab
    lab.stop_deployer()
    log = lab.deployer_log()
    assert "Sanitizer" not in log and "runtime error" not in log, log


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the mail host's programs said."""
    report = (yield).get_result()
    lab = item.funcargs.get("lab") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and lab:
        for name, read in {"deployer": lab.deployer_log, "sshd": lab.sshd.log, "dockerd": lab.docker.log}.items():
            with contextlib.suppress(Exception):
                report.sections.append((f"{name} log, its end", read()[-4000:]))
    pair = item.funcargs.get("pair") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and pair:
        for host in pair.hosts:
            with contextlib.suppress(Exception):
                if host.is_on:
                    report.sections.append((f"{host.name}'s journal, its end", host.journal("--lines=60")[-6000:]))
