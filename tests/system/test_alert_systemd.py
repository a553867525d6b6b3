"""Alerts as systemd starts them, on hosts that boot, with the packages and their units as they are."""
from __future__ import annotations

import contextlib
import json
import os
import re
import time

import pytest

from tests.lab.booted import Booted
from tests.lab.host import wait_for
from tests.lab.lab import DEPLOY_STATE, PUSH_CONF, PUSH_STATE
from tests.lab.mailcow import HOSTNAME
from tests.lab.sshd import AUTHORIZED_KEYS
from tests.system.test_alert import stamp
from tests.system.test_systemd import (DEPLOY_SERVICE, PUSH_SERVICE, PUSH_TIMER, RECONCILE_SERVICE, RECOVER_SERVICE,  # noqa: F401
                                       WATCH_SERVICE, Pair, hosts, packages, pair)

PASSES = {"proxy": PUSH_SERVICE, "mail": RECONCILE_SERVICE}
CONF, MAILS, SENDMAIL = "/etc/mailcow-certsync/alert.conf", "/var/tmp/mails", "/usr/local/sbin/sendmail"


class Outbox:
    """What a host's sendmail was given."""

    def __init__(self, host: Booted):
        self.host = host
        host.run(["rm", "-rf", MAILS, "/run/mailcow-cert-alert"])
        host.run(["mkdir", "-p", MAILS])
        host.write(SENDMAIL, f'#!/bin/sh\nwhile [ -e {MAILS}/hold ]; do sleep 0.1; done\n'
                             f'cat >{MAILS}/new && mv {MAILS}/new "{MAILS}/$(date +%s%N)"\n', 0o755)
        # PrivateTmp= gives the unit a /var/tmp of its own.
        host.drop_in("mailcow-cert-alert@.service", f"[Service]\nBindPaths={MAILS}\n")
        host.write(CONF, f"ALERT_MAIL_TO=admin@example.net\nALERT_SENDMAIL={SENDMAIL}\nALERT_HOST=here\n", 0o600)

    def mails(self) -> list[str]:
        return [path.read_text() for path in sorted(self.host.path(MAILS).glob("1*"))]

    def subjects(self) -> list[str]:
        return [next(line[9:] for line in mail.splitlines() if line.startswith("Subject: ")) for mail in self.mails()]

    def run(self, unit: str) -> str:
        """Runs a pass, and what it starts, to the end; the pass' result."""
        alert = f"mailcow-cert-alert@{unit}.service"
        wait_for(lambda: alert not in self.host.systemctl("list-jobs"), "the end of the alert before", 30)
        before = self.host.property(alert, "InvocationID")
        self.host.systemctl("start", unit, check=False)
        wait_for(lambda: self.host.property(alert, "InvocationID") != before and
                 self.host.property(alert, "ActiveState") in ("inactive", "failed"), "the alert's end", 30)
        assert self.host.property(alert, "Result") == "success", self.host.journal(f"--unit={alert}")
        return self.host.property(unit, "Result")

    def close(self) -> None:
        self.host.path(CONF).unlink()
        self.host.path(SENDMAIL).unlink()


@pytest.fixture
def outbox(pair: Pair):  # noqa: F811
    boxes = {host.name: Outbox(host) for host in pair.hosts}
    yield boxes
    for box in boxes.values():
        box.close()


def silent_for_days(pair: Pair, days: float) -> None:
    """As if the last contact had been so long ago, on both hosts."""
    then = time.time() - days * 86400
    os.utime(pair.mail.path(f"{DEPLOY_STATE}/contact"), (then, then))
    state = pair.proxy.path(f"{PUSH_STATE}/{HOSTNAME}.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"contact": stamp(then)}))


@contextlib.contextmanager
def no_pusher(pair: Pair):
    silent_for_days(pair, 3)
    yield
    pair.proxy.run(["mailcow-cert-push", "--force"], timeout=120)


@contextlib.contextmanager
def no_mail_host(pair: Pair, days: float = 0, age: float = 1):
    """sshd is stopped, with `days` since the last contact, and a renewal that is `age` days old."""
    silent_for_days(pair, days)
    pair.lab.renew(pair.lab.issue(age=age))
    pair.mail.systemctl("stop", "ssh.service")
    try:
        yield
    finally:
        pair.mail.systemctl("start", "ssh.service")


@contextlib.contextmanager
def no_renewal(pair: Pair):
    """20 of 90 days are left of what is served, and of what the source has."""
    bundle = pair.lab.renew(pair.lab.issue(age=70))
    pair.mail.systemctl("stop", DEPLOY_SERVICE)
    for host, state in ((pair.proxy, PUSH_STATE), (pair.mail, DEPLOY_STATE)):
        host.run(["find", state, "-mindepth", "1", "-delete"])
    pair.lab.mailcow.reset(bundle)
    pair.lab.mailcow.reload()
    yield
    pair.lab.renew()
    pair.proxy.run(["mailcow-cert-push"], timeout=120)


@contextlib.contextmanager
def no_nginx(pair: Pair):
    pair.lab.docker("stop", "--time=2", pair.lab.mailcow.name("nginx-mailcow"))
    yield
    pair.lab.mailcow.heal()


@contextlib.contextmanager
def no_authorization(pair: Pair):
    """The push key is taken away."""
    keys = pair.mail.path(AUTHORIZED_KEYS)
    authorized = keys.read_text()
    pair.lab.renew()
    keys.write_text("")
    try:
        yield
    finally:
        keys.write_text(authorized)


# host, alarm, the situation that raises it and then is over, how many passes it takes, and what is told
ALARMS = {
    "mail: no pusher comes": ("mail", "contact", no_pusher, 1, "no pusher has been here for 3 days"),
    "mail: no renewal comes": ("mail", "expiry", no_renewal, 1, "primary: alarm expiry: the certificate that is served ends in "),
    "mail: a container is stopped": ("mail", "failing", no_nginx, 1, "primary: alarm failing: 1 pass in a row failed"),
    "proxy: the mail host is silent": ("proxy", "contact", lambda pair: no_mail_host(pair, days=3), 1,
                                       "the mail host gave no verdict for 3 days"),
    "proxy: a renewal is not served": ("proxy", "unserved", lambda pair: no_mail_host(pair, age=5), 1,
                                       "a renewal has been there for 5 days"),
    "proxy: nothing is renewed": ("proxy", "expiry", no_renewal, 1, "the certificate that is served ends in "),
    "proxy: the mail host is away": ("proxy", "failing", no_mail_host, 3, "3 passes in a row failed; the last: "),
    "proxy: the key is refused": ("proxy", "failing", no_authorization, 1, "1 pass in a row failed; the last: "),
}


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_fires_and_clears(pair, outbox, name):  # noqa: F811
    """Raised by what it is about, mailed once while it stands, and once more when it is over."""
    where, alarm, situation, passes, told = ALARMS[name]
    host, unit, box = getattr(pair, where), PASSES[where], outbox[where]
    pair.proxy.systemctl("stop", PUSH_TIMER)
    assert pair.push() == "success" and box.run(unit) == "success"
    with situation(pair):
        for _ in range(passes):
            assert box.mails() == []
            assert box.run(unit) == "exit-code"
        assert box.run(unit) == "exit-code", "it fails as long as the alarm stands"
        assert host.systemctl("list-units", "--failed", "--plain", "--no-legend").split()[0] == unit
    raised, = box.mails()
    assert box.subjects()[0].startswith(f"here: {unit.removesuffix('.service')}: ") and told in box.subjects()[0]
    shown = host.journal("-x", f"--since={pair.since[host]}", "EVENT=alarm")
    for text in (raised, shown):
        assert f"Subject: ALARM: {alarm}\n" in text and told in text and "If nobody acts, mail clients and servers" in text
    assert box.run(unit) == "success"
    assert len(box.mails()) == 2 and f"alarm-over {alarm}" in box.subjects()[1] and f"Subject: Over: {alarm}\n" in box.mails()[1]
    assert host.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""


def test_what_ends_while_an_alert_is_being_sent_is_told_as_well(pair, outbox):  # noqa: F811
    """systemd starts nothing anew that is starting: the pass waits."""
    box, unit = outbox["mail"], PASSES["mail"]
    assert pair.push() == "success" and box.run(unit) == "success"
    with no_pusher(pair):
        pair.mail.write(f"{MAILS}/hold", "")
        pair.mail.systemctl("start", unit, check=False)
    pair.mail.systemctl("start", "--no-block", unit)
    assert re.search(f"{unit} +start +waiting", pair.mail.systemctl("list-jobs", "--plain", "--no-legend"))
    pair.mail.path(f"{MAILS}/hold").unlink()
    wait_for(lambda: len(box.mails()) == 2, "both mails", 60)
    assert "alarm contact" in box.subjects()[0] and "alarm-over contact" in box.subjects()[1]


def test_what_could_not_judge_is_mailed_once_a_day(pair, outbox):  # noqa: F811
    box = outbox["proxy"]
    conf = pair.proxy.read(PUSH_CONF)
    try:
        pair.proxy.write(PUSH_CONF, conf + "\n[push]\nnonsense = 1\n")
        assert [box.run(PUSH_SERVICE), box.run(PUSH_SERVICE)] == ["exit-code", "exit-code"]
    finally:
        pair.proxy.write(PUSH_CONF, conf)
    assert box.subjects() == ["here: mailcow-cert-push: failed (exit-code, status 78)"]
    assert "unknown key nonsense" in box.mails()[0] and "The configuration is wrong" in box.mails()[0]


@pytest.mark.parametrize("where, unit", [("proxy", WATCH_SERVICE), ("mail", DEPLOY_SERVICE), ("mail", RECOVER_SERVICE)])
def test_every_unit_that_fails_is_told_of(pair, outbox, where, unit):  # noqa: F811
    box = outbox[where]
    box.host.drop_in(unit, "[Service]\nExecStart=\nExecStart=/bin/false\nRestart=no\n")
    assert box.run(unit) in ("exit-code", "protocol")
    assert f"{unit.removesuffix('.service')}: failed (" in box.subjects()[0]


def test_nobody_is_told_without_a_configuration(pair, outbox):  # noqa: F811
    for box in outbox.values():
        box.host.path(CONF).rename(box.host.path(f"{CONF}.off"))
    try:
        assert pair.push() == "success"
        assert pair.proxy.property(f"mailcow-cert-alert@{PUSH_SERVICE}.service", "ConditionResult") == "no"
    finally:
        for box in outbox.values():
            box.host.path(f"{CONF}.off").rename(box.host.path(CONF))


def test_the_journal_explains(pair):  # noqa: F811
    """The catalog came with the package, and dpkg's trigger has taken it in."""
    new = pair.lab.renew()
    assert pair.push() == "success"
    shown = pair.mail.journal("-x", "EVENT=deployed", f"FINGERPRINT={new.fingerprint}")
    assert f"Subject: Certificate {new.fingerprint} is served (want primary)" in shown
    record = pair.proxy.journal("-o", "json", "EVENT=deployed", f"FINGERPRINT={new.fingerprint}")
    assert '"_SYSTEMD_UNIT":"mailcow-cert-push.service"' in record and '"SYSLOG_IDENTIFIER":"mailcow-cert-push"' in record
