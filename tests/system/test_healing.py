"""What must not stay wrong: damaged state, a better chain for the same leaf, words that outlive what they spoke of."""
import fcntl
import json
import os
import re
import shutil
import time

import pytest

from tests.lab.lab import DEPLOY_STATE, PUSH_STATE
from tests.lab.mailcow import SSL
from tests.system.checks import (DONE, FAILED, TEMPORARY, assert_deployed, deploy_record, generations, installed_fingerprint,
                                 recorded, steps)
from tests.system.protocol import HELLO, connect, greeted, put

WANT = f"{DEPLOY_STATE}/wants/primary"


def deployed(lab):
    new = lab.renew()
    assert lab.push().returncode == DONE
    return new


def deploy(lab, *puts: bytes, last: str = "DEPLOY"):
    """The replies to a session of the operator: one for each put, then the verdict."""
    with connect(lab) as session:
        session.reply()
        session.send(HELLO, *puts, last)
        return [session.reply() for _ in (*puts, last)]


@pytest.mark.parametrize("damage", ["gone", "no key", "meta"])
def test_a_lost_generation_is_pushed_again(product, damage):
    new = deployed(product)
    folder = product.mail.path(f"{WANT}/{deploy_record(product)['current']}")
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "no key":
        (folder / "key.pem").unlink()
    else:
        (folder / "meta.json").write_text("{")
    assert product.deploy().returncode != DONE, "nobody would know"
    assert product.push("--force").returncode == DONE
    assert deploy_record(product)["state"] == "served"
    assert product.deploy("--force").returncode == DONE
    assert_deployed(product, new)


def test_an_intent_of_a_lost_generation_is_in_nobodys_way(product):
    deployed(product)
    product.mail.write(f"{DEPLOY_STATE}/intent.json",
                       json.dumps({"want": "primary", "generation": "20200101T000000Z-0123456789ab"}), 0o600)
    newer = product.renew(product.issue())
    assert product.push().returncode == DONE
    assert_deployed(product, newer)
    assert not product.mail.exists(f"{DEPLOY_STATE}/intent.json")


def test_the_same_leaf_with_a_better_chain_is_deployed(product):
    """The first push came without the intermediate, which the deployer's trust file happened to hold."""
    bundle = product.issue()
    product.mail.write("/etc/mailcow-certsync/lab-root.pem", product.ca.root.pem + product.ca.intermediate.pem)
    poor, verdict = deploy(product, put(bundle.cert + bundle.key))
    assert (poor.code, verdict.code) == (250, 250)
    assert product.mailcow.installed()[0] == bundle.cert
    same, verdict = deploy(product, put(bundle.pem))
    assert (same.code, verdict.code) == (251, 250), "installed and reloaded"
    assert_deployed(product, bundle)
    assert len([name for name in generations(product) if name.endswith(bundle.fingerprint[:12])]) == 2


def test_a_refused_bundle_does_not_leave_the_one_before_it_in_place(product):
    """PUT good, PUT bad for the same want: nothing is deployed."""
    deployed(product)
    good, bad, verdict = deploy(product, put(product.issue().pem), put(product.issue(days=1, age=2).pem), last="DEPLOY force")
    assert (good.code, bad.code, verdict.code) == (250, 550, 503)


def test_a_slower_session_does_not_spoil_the_record(product):
    """Judged while the old pair was installed, refused when its turn comes: a younger one is there by then."""
    older = product.issue(age=1)
    with connect(product) as slow:
        slow.reply()
        slow.send(HELLO, put(older.pem))
        assert slow.reply().code == 250
        new = deployed(product)
        slow.send("DEPLOY")
        verdict = slow.reply()
    assert verdict.code == 554 and new.fingerprint in verdict.rows[0]
    assert deploy_record(product)["state"] == "served"
    assert deploy_record(product)["fingerprint"] == new.fingerprint
    assert_deployed(product, new)


def test_status_does_not_call_served_what_somebody_else_installed(product):
    deployed(product)
    product.mailcow.install(product.issue(age=1))
    result = product.deploy("status")
    assert "served" not in result.stdout and installed_fingerprint(product)[:12] in result.stdout
    with connect(product) as session:
        assert "state=none" in "\n".join(greeted(session).rows)


def test_a_forced_push_without_its_verdict_is_asked_for_again(product):
    new = deployed(product)
    with product.link() as link:
        product.push_through(link)
        assert product.push().returncode == DONE  # the address is another one: asked, and recorded
        link.set(cut_down=4600)
        assert product.push("--force").returncode == TEMPORARY
        assert not recorded(product), "what is not known is not called served"
        link.set(cut_down=-1)
        assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_status_does_not_wait_for_a_pass(product):
    deployed(product)
    folder = os.open(product.proxy.path(PUSH_STATE), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        assert product.push("status", timeout=10).returncode == DONE
    finally:
        os.close(folder)


@pytest.mark.parametrize("name, options", [("alarms.json", {}), (".alarms.json.tmp", {"env": {"MAILCOW_CERT_ALARMS": "keep"}})])
def test_alarms_that_cannot_be_judged_or_kept_fail_the_pass(product, name, options):
    """Its unit fails, and with it comes the mail: an alarm that nobody hears of is none."""
    new = deployed(product)
    path = product.mail.path(f"{DEPLOY_STATE}/{name}")
    path.unlink(missing_ok=True)
    path.mkdir()
    result = product.deploy(**options)
    assert result.returncode == FAILED and re.search(f"alarms: .*{re.escape(name)}: ", result.stdout + result.stderr), result
    path.rmdir()
    assert product.deploy(**options).returncode == DONE
    assert_deployed(product, new)


def test_a_contact_in_the_future_counts_from_now(product):
    """The clock was ahead once: for as long nobody would notice a silent proxy host."""
    deployed(product)
    contact = product.mail.path(f"{DEPLOY_STATE}/contact")
    os.utime(contact, (time.time() + 10**7,) * 2)
    assert product.deploy().returncode == DONE
    assert abs(contact.stat().st_mtime - time.time()) < 300


@pytest.mark.parametrize("key", ["of another", "of the next", "gone", "garbage"])
def test_a_certificate_without_its_key_is_replaced(product, key):
    """Newer and good, put there by hand: with the key that is there no service could load it."""
    new = deployed(product)
    product.mail.write(f"{SSL}/cert.pem", product.issue(age=0).fullchain + (new.cert if key == "of the next" else ""))
    if key == "gone":
        product.mail.path(f"{SSL}/key.pem").unlink()
    elif key == "garbage":
        product.mail.write(f"{SSL}/key.pem", "-----BEGIN PRIVATE KEY-----", 0o600)
    result = product.deploy("--json")
    assert result.returncode == DONE and "installed" in steps(result), result
    assert_deployed(product, new)


def test_what_cannot_be_read_decides_nothing(product):
    """Whether what somebody else installed was rolled back: it is neither kept nor replaced by a guess."""
    new, theirs = deployed(product), product.issue(age=1)
    product.mailcow.install(theirs)
    product.mail.write(f"{WANT}/quarantine.json", "[", 0o600)
    result = product.deploy()
    assert result.returncode == FAILED and "quarantine.json:1: " in result.stdout + result.stderr, result
    assert installed_fingerprint(product) == theirs.fingerprint and deploy_record(product)["state"] == "served"
    product.mail.path(f"{WANT}/quarantine.json").unlink()
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)
