"""Clocks that are wrong, or are set while something happens; certificates that expire at the wrong moment."""
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from tests.lab.lab import DEPLOY, DEPLOY_STATE, PUSH, PUSH_STATE
from tests.system.checks import (DONE, FAILED, TEMPORARY, Untouched, assert_deployed, assert_works_again, deploy_record, end,
                                 generations, push_state, read_until, recorded, sessions, start_push, steps, updating)

SHIM = Path(__file__).with_name("clock_shim.c")
LIBRARY, CLOCK = "/run/lab/clock_shim.so", "/run/lab/clock"
DAY = 86400


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> bytes:
    library = tmp_path_factory.mktemp("shim") / "clock_shim.so"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, SHIM], check=True)
    return library.read_bytes()


@pytest.fixture
def product(product, shim):
    """The product, and hosts on which clocks can be set."""
    for host in (product.proxy, product.mail):
        host.write(LIBRARY, shim, 0o755)
        host.write(CLOCK, bytes(16))
    return product


def set_clock(host, days: float) -> None:
    """Of the processes that run with wrong_clock there, by so much off the machine's."""
    with host.path(CLOCK).open("r+b") as file:
        file.write(struct.pack("=q", int(days * DAY)))


def let_pass(host, seconds: int) -> None:
    """By the clock that only goes ahead."""
    with host.path(CLOCK).open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("=q", seconds))


WRONG_CLOCK = ["env", f"LD_PRELOAD={LIBRARY}", f"CLOCK_SHIM={CLOCK}", "ASAN_OPTIONS=verify_asan_link_order=0"]


def start_deployer(lab, days: float) -> None:
    """The deployer with a clock that is so much ahead."""
    set_clock(lab.mail, days)
    lab.start_deployer(wrapper=WRONG_CLOCK)


def push(lab, days: float, *args: str) -> subprocess.CompletedProcess:
    """A pusher with a clock that is so much ahead."""
    set_clock(lab.proxy, days)
    return lab.proxy.run([*WRONG_CLOCK, PUSH, *args], check=False)


@contextlib.contextmanager
def passing(lab):
    """As if another pass were under way."""
    folder = lab.proxy.path(PUSH_STATE)
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def locked(lab):
    """As if another deployment were under way."""
    folder = lab.mail.path(DEPLOY_STATE)
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


# ---- the deployer's clock


def test_the_clock_does_what_the_tests_believe(product):
    start_deployer(product, 40)
    findings = json.loads(product.deploy("check", "--json").stdout)["results"]
    assert [row["id"] for row in findings] == ["expired"]


def test_what_is_not_yet_valid_is_tried_again(product):
    """The mail host's clock is behind; time alone cures that."""
    new = product.renew()
    start_deployer(product, -1)
    with Untouched(product):
        result = product.push()
        assert result.returncode == TEMPORARY and "it is not valid before" in result.stderr, result
    assert recorded(product) is None
    product.start_deployer()
    assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_what_has_expired_by_the_mail_hosts_clock_is_refused(product):
    product.renew()
    start_deployer(product, 100)
    with Untouched(product):
        result = product.push()
        assert result.returncode == FAILED and "it expired" in result.stderr, result
    product.start_deployer()
    assert product.push().returncode == DONE


def test_a_deployer_that_was_ahead(product):
    """Its records and generations are of the future: nothing waits until then."""
    start_deployer(product, 30)
    first = product.renew()
    assert product.push().returncode == DONE
    ahead = deploy_record(product)
    product.start_deployer()
    assert product.deploy().returncode == DONE
    assert json.loads(product.deploy("check", "--json").stdout)["exit_code"] == DONE
    new = product.renew(product.issue(age=0))
    assert product.push().returncode == DONE
    assert_deployed(product, new)
    record = deploy_record(product)
    assert record["fingerprint"] == new.fingerprint and record["verified"] < ahead["verified"]
    assert record["previous"] == ahead["current"]
    for _ in range(5):
        assert product.push("--force").returncode == DONE
    assert record["current"] in generations(product)
    assert product.deploy("rollback").returncode == DONE
    assert_deployed(product, first)


def test_a_deployer_whose_clock_goes_back_keeps_what_is_current(product):
    """Generations that seem older than those before them are not the first to be removed."""
    assert_works_again(product)
    for days in (1, 2, 3, 4, 5, 6):
        start_deployer(product, -days)
        product.lineage.renew(product.issue(days=90, age=20 - days))
        assert product.push().returncode == DONE
        record = deploy_record(product)
        assert {record["current"], record["previous"]} <= set(generations(product))
    product.start_deployer()
    assert product.deploy("--force").returncode == DONE


# ---- a clock that is set during a deployment


def test_a_certificate_expires_while_its_deployment_waits(product):
    start_deployer(product, 0)
    new = product.renew()
    with Untouched(product):
        with locked(product):
            running = start_push(product)
            read_until(running, "judged")
            set_clock(product.mail, 100)
        result = end(running)
        assert result.returncode == FAILED and "it expired" in result.stderr, result
    assert recorded(product) is None and new.fingerprint not in product.deploy("status").stdout


def test_an_operators_deployment_has_more_patience_and_says_what_it_waits_for(product):
    """And `recover` none, for which Docker's start waits: who has the lock has done its work."""
    start_deployer(product, 0)
    new = product.renew()
    assert product.push().returncode == DONE
    with locked(product):
        running = product.mail.popen([DEPLOY, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        read_until(running, "waiting")
        product.mail.run([DEPLOY, "recover"], timeout=60)
    assert end(running).returncode == DONE
    assert_deployed(product, new)


def test_an_operators_deployment_that_waits_can_be_ended(product):
    """As by a stop of the unit, which does not wait for as long."""
    start_deployer(product, 0)
    with locked(product):
        running = product.mail.popen([DEPLOY, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        read_until(running, "waiting")
        for pid in sessions(product):
            os.kill(pid, signal.SIGTERM)
        assert end(running).returncode == TEMPORARY


@pytest.mark.parametrize("days", [80, -80])
@pytest.mark.parametrize("step", ["staged", "installed", "reloaded"])
def test_the_clock_is_set_during_a_deployment(product, step, days):
    """Nothing that has begun waits for a time that never comes, or gives up at once."""
    start_deployer(product, 0)
    new = product.renew()
    running = start_push(product)
    read_until(running, step)
    set_clock(product.mail, days)
    result = end(running)
    assert result.returncode == DONE, result
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"
    set_clock(product.mail, 0)
    result = product.deploy("--json")
    assert result.returncode == DONE and set(steps(result)) == {"verified"}


def test_what_was_put_off_expires_before_it_is_installed(product):
    start_deployer(product, 0)
    product.renew()
    with Untouched(product):
        with updating(product, "./update.sh"):
            assert product.push().returncode == TEMPORARY
        assert deploy_record(product)["state"] == "pending"
        set_clock(product.mail, 100)
        result = product.deploy()
        assert result.returncode == FAILED and "cannot be installed any more: it expired" in result.stderr, result


# ---- the pusher's clock


def test_a_pusher_that_is_behind_sends_nothing_from_the_future(product):
    new = product.renew()
    with Untouched(product):
        result = push(product, -1)
        assert result.returncode == TEMPORARY and "begins only at" in result.stderr, result
    assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_a_pusher_that_is_ahead_has_nothing_to_send(product):
    product.renew()
    with Untouched(product):
        result = push(product, 200)
        assert result.returncode == FAILED and "expired" in result.stderr, result
    assert_works_again(product)


def test_a_contact_in_the_future_does_not_count(product):
    """Otherwise a pusher whose clock was ahead would not ask again until then."""
    product.renew()
    assert push(product, 30).returncode == DONE
    ahead = push_state(product)["contact"]
    result = product.push("--json")
    assert result.returncode == DONE and "connected" in steps(result)
    assert push_state(product)["contact"] < ahead
    assert "connected" not in steps(product.push("--json"))
    assert "connected" in steps(push(product, 2, "--json")), "verify_every is over by this clock"


# ---- passes that take long


def start_waiting(lab):
    """A push that another pass keeps waiting, and that says so."""
    process = lab.proxy.popen([*WRONG_CLOCK, PUSH, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
    assert "another pass is running" in read_until(process, "waiting")
    return process


def test_a_pass_waits_for_another_one_as_long_as_that_may_take(product):
    new = product.renew()
    with passing(product):
        process = start_waiting(product)
        for minutes in (5, 10, 15, 19):
            let_pass(product.proxy, minutes * 60)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)  # it looks every 50 ms
    assert end(process).returncode == DONE
    assert_deployed(product, new)


def test_a_pass_that_never_ends_is_told(product):
    with passing(product):
        process = start_waiting(product)
        let_pass(product.proxy, 21 * 60)
        result = end(process)
    assert result.returncode == TEMPORARY and "another pass has not ended within 20 minutes" in result.stderr, result
