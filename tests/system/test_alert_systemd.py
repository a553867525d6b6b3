"""Alerts as systemd starts them, on hosts that boot, with the packages and their units as they are."""
from __future__ import annotations

import os
import time

import pytest

from tests.lab.booted import Booted
from tests.lab.host import wait_for
from tests.lab.lab import DEPLOY_STATE, PUSH_CONF
from tests.system.test_systemd import PUSH_SERVICE, Pair, hosts, packages, pair  # noqa: F401

RECONCILE = "mailcow-cert-reconcile.service"
CONF, MAILS, SENDMAIL = "/etc/mailcow-certsync/alert.conf", "/var/tmp/mails", "/usr/local/sbin/sendmail"


class Outbox:
    """What a host's sendmail was given."""

    def __init__(self, host: Booted):
        self.host = host
        host.run(["rm", "-rf", MAILS, "/var/lib/mailcow-cert-alert"])
        host.run(["mkdir", "-p", MAILS])
        host.write(SENDMAIL, f'#!/bin/sh\ncat >{MAILS}/new && mv {MAILS}/new "{MAILS}/$(date +%s%N)"\n', 0o755)
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


def test_an_alarm_is_mailed_once_and_again_when_it_is_over(pair, outbox):  # noqa: F811
    box = outbox["mail"]
    pair.lab.renew()
    assert pair.push() == "success" and box.run(RECONCILE) == "success"
    assert box.mails() == []
    days = time.time() - 3 * 86400
    os.utime(pair.mail.path(f"{DEPLOY_STATE}/contact"), (days, days))
    assert [box.run(RECONCILE), box.run(RECONCILE)] == ["exit-code", "exit-code"], "it fails as long as the alarm stands"
    assert box.subjects()[0].startswith("here: mailcow-cert-reconcile: alarm contact: no pusher has been here for 3 days")
    assert len(box.mails()) == 1
    assert "Subject: ALARM: contact" in box.mails()[0] and "mailcow-cert-deploy check" in box.mails()[0], "the catalog's text"
    assert pair.mail.systemctl("list-units", "--failed", "--plain", "--no-legend").startswith(RECONCILE)
    assert pair.proxy.run(["mailcow-cert-push", "--force"], timeout=120).returncode == 0
    assert box.run(RECONCILE) == "success"
    assert len(box.mails()) == 2 and "alarm-over contact" in box.subjects()[1]


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
