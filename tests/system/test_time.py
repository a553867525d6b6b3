"""Clocks that are wrong, or are set while something happens; certificates that expire at the wrong moment."""
import contextlib
import fcntl
import json
import os

import pytest

from tests.lab.lab import DEPLOY_STATE
from tests.system.checks import (DONE, FAILED, TEMPORARY, Untouched, assert_deployed, assert_works_again, deploy_record, end,
                                 generations, push_state, read_until, recorded, start_push, steps)

CLOCK = "/run/lab/clock"
DAY = 86400


def clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is wrong by so much, "-1d"; deadlines and the times of files stay right."""
    return {"LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1", "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1", "ASAN_OPTIONS": "verify_asan_link_order=0"}


def start_deployer(lab, offset: str) -> None:
    lab.environment.update(clock(offset))
    lab.start_deployer()
    lab.environment.clear()


def start_deployer_with_clock(lab) -> None:
    """A deployer whose clock set_clock() sets."""
    set_clock(lab, "+0")
    lab.environment.update(clock("+0"))
    del lab.environment["FAKETIME"]
    lab.environment.update({"FAKETIME_TIMESTAMP_FILE": CLOCK, "FAKETIME_NO_CACHE": "1"})
    lab.start_deployer()
    lab.environment.clear()


def set_clock(lab, offset: str) -> None:
    lab.mail.write(f"{CLOCK}.new", f"{offset}\n")
    lab.mail.path(f"{CLOCK}.new").rename(lab.mail.path(CLOCK))


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
    start_deployer(product, "+40d")
    findings = json.loads(product.deploy("check", "--json").stdout)["results"]
    assert [row["id"] for row in findings] == ["expired"]


def test_what_is_not_yet_valid_is_tried_again(product):
    """The mail host's clock is behind; time alone cures that."""
    new = product.renew()
    start_deployer(product, "-1d")
    with Untouched(product):
        result = product.push()
        assert result.returncode == TEMPORARY and "it is valid from" in result.stderr, result
    assert recorded(product) is None
    product.start_deployer()
    assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_what_has_expired_by_the_mail_hosts_clock_is_refused(product):
    product.renew()
    start_deployer(product, "+100d")
    with Untouched(product):
        result = product.push()
        assert result.returncode == FAILED and "it expired" in result.stderr, result
    product.start_deployer()
    assert product.push().returncode == DONE


def test_a_deployer_that_was_ahead(product):
    """Its records and generations are of the future: nothing waits until then."""
    start_deployer(product, "+30d")
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
        start_deployer(product, f"-{days}d")
        product.lineage.renew(product.issue(days=90, age=20 - days))
        assert product.push().returncode == DONE
        record = deploy_record(product)
        assert {record["current"], record["previous"]} <= set(generations(product))
    product.start_deployer()
    assert product.deploy("--force").returncode == DONE


# ---- a clock that is set during a deployment


def test_a_certificate_expires_while_its_deployment_waits(product):
    start_deployer_with_clock(product)
    new = product.renew()
    with Untouched(product):
        with locked(product):
            push = start_push(product)
            read_until(push, "judged")
            set_clock(product, "+100d")
        result = end(push)
        assert result.returncode == FAILED and "it expired" in result.stderr, result
    assert recorded(product) is None and new.fingerprint not in product.deploy("status").stdout


@pytest.mark.parametrize("offset", ["+80d", "-80d"])
@pytest.mark.parametrize("step", ["staged", "installed", "reloaded"])
def test_the_clock_is_set_during_a_deployment(product, step, offset):
    """Nothing that has begun waits for a time that never comes, or gives up at once."""
    start_deployer_with_clock(product)
    new = product.renew()
    push = start_push(product)
    read_until(push, step)
    set_clock(product, offset)
    result = end(push)
    assert result.returncode == DONE, result
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"
    set_clock(product, "+0")
    result = product.deploy("--json")
    assert result.returncode == DONE and set(steps(result)) == {"verified"}


def test_what_was_accepted_expires_before_it_is_installed(product):
    """The deployment was cut short before anything was installed; the next one comes too late."""
    start_deployer_with_clock(product)
    product.renew()
    push = start_push(product)
    read_until(push, "staged")
    product.stop_deployer(9)
    end(push)
    kept = deploy_record(product)["fingerprint"]
    start_deployer_with_clock(product)
    set_clock(product, "+100d")
    result = product.deploy()
    installed = product.mailcow.installed()
    if installed == (product.old.fullchain, product.old.key):
        assert result.returncode == FAILED and "expired" in result.stderr
    else:
        assert product.deploy("status", "--json").stdout.count(kept)  # the kill came after the renames


# ---- the pusher's clock


def test_a_pusher_that_is_behind_sends_nothing_from_the_future(product):
    new = product.renew()
    with Untouched(product):
        result = product.push(env=clock("-1d"))
        assert result.returncode != DONE or recorded(product) == product.old.fingerprint, result
    assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_a_pusher_that_is_ahead_has_nothing_to_send(product):
    product.renew()
    with Untouched(product):
        result = product.push(env=clock("+200d"))
        assert result.returncode == FAILED and "expired" in result.stderr, result
    assert_works_again(product)


def test_a_contact_in_the_future_does_not_count(product):
    """Otherwise a pusher whose clock was ahead would not ask again until then."""
    product.renew()
    assert product.push(env=clock("+30d")).returncode == DONE
    ahead = push_state(product)["contact"]
    result = product.push("--json")
    assert result.returncode == DONE and "connected" in steps(result)
    assert push_state(product)["contact"] < ahead
    assert "connected" not in steps(product.push("--json"))
    assert "connected" in steps(product.push("--json", env=clock("+2d"))), "verify_every is over by this clock"
