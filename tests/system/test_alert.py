"""Alerts: who is told of what, by a real sendmail's interface and by HTTP; and the alarms that it is about, in the lab."""
from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from tests.lab.journal import Journal
from tests.lab.lab import DEPLOY, DEPLOY_STATE, KEY, KNOWN_HOSTS, PUSH_STATE
from tests.lab.mailcow import HOSTNAME
from tests.lab.make import REPOSITORY
from tests.system.checks import DONE, FAILED, STATE, TEMPORARY
from tests.system.test_events import KEEP, journals, table  # noqa: F401

SCRIPT = REPOSITORY / "systemd/mailcow-cert-alert"
UNIT = "mailcow-cert-push.service"
RUN = "0123456789abcdef0123456789abcdef"
SECRET = "Bearer t0ken\\with\"quotes"


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks; the first `failures` of them it answers with 503."""

    def __init__(self, failures: int = 0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures, self.posts = failures, []
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=t0ken"

    def end(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        self.send_response(503 if len(self.server.posts) <= self.server.failures else 200)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.end()


class Alert:
    """The script with a journal of a run, and a sendmail that keeps what it is given."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        (folder / "told").mkdir()
        self.write("journalctl", f'case "$*" in --sync) exit 0;; esac\nexec {needs("journalctl")} --file={folder}/run.journal "$@"')
        self.write("sendmail", f'env >{folder}/environment; tr "\\0" " " </proc/$$/cmdline >{folder}/argv; exec cat >{folder}/mail')
        self.write("curl", f'tr "\\0" " " </proc/$$/cmdline >{folder}/curl; env >{folder}/environment; exec {needs("curl")} "$@"')
        self.environment = {"PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "MONITOR_INVOCATION_ID": RUN, "ALERT_HOST": "proxy",
                            "RUNTIME_DIRECTORY": str(folder / "told"), "ALERT_SENDMAIL": f"{self.bin}/sendmail", "LANG": "C.UTF-8"}

    def write(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def journal(self, *records: dict[str, str], run: str = RUN) -> None:
        """A real journal file, as a remote host would send it."""
        (self.folder / "run.journal").unlink(missing_ok=True)
        now = time.time_ns() // 1000
        text = "".join(
            f"__REALTIME_TIMESTAMP={now + i}\n__MONOTONIC_TIMESTAMP={i + 1}\n_BOOT_ID={'b' * 32}\n_SYSTEMD_INVOCATION_ID={run}\n"
            + "".join(f"{key}={value}\n" for key, value in ({"PRIORITY": "3", "SYSLOG_IDENTIFIER": "mailcow-cert-push"} | record).items())
            + "\n" for i, record in enumerate(records or [{"MESSAGE": "nothing", "PRIORITY": "6"}]))
        subprocess.run(["/lib/systemd/systemd-journal-remote", f"--output={self.folder}/run.journal", "-"], input=text.encode(),
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)

    def send(self, result: str = "exit-code", **environment: str) -> subprocess.CompletedProcess:
        (self.folder / "mail").unlink(missing_ok=True)
        return subprocess.run([SCRIPT, UNIT], env=self.environment | {"MONITOR_SERVICE_RESULT": result} | environment, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def mail(self):
        path = self.folder / "mail"
        return message_from_bytes(path.read_bytes(), policy=default) if path.exists() else None


def needs(program: str) -> str:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") or pytest.skip(f"{program} is not installed")


@pytest.fixture
def alert(tmp_path) -> Alert:
    if not os.path.exists("/lib/systemd/systemd-journal-remote"):
        pytest.skip("systemd-journal-remote is not installed")
    return Alert(tmp_path)


def event(name: str, message: str, **fields: str) -> dict[str, str]:
    id_, priority, _ = table()[name]
    return {"MESSAGE": message, "EVENT": name, "MESSAGE_ID": id_, "PRIORITY": {"err": "3", "notice": "5"}[priority], **fields}


RAISED = event("alarm", "mailcow: alarm contact: the mail host gave no verdict for 3 days", ALARM="contact", TARGET="mailcow")


# ---- who is told, and of what


def test_nobody_is_told_where_nothing_is_configured(alert):
    alert.journal(RAISED)
    result = alert.send()
    assert result.returncode == 0 and "nobody is told" in result.stderr and not alert.mail()


@pytest.mark.parametrize("name", ["alarm", "alarm-again"])
def test_an_alarm_is_mailed(alert, name):
    alert.journal({"MESSAGE": "mailcow: it is away", "PRIORITY": "4"}, event(name, RAISED["MESSAGE"], ALARM="contact"),
                  {"MESSAGE": "a step", "PRIORITY": "7"})
    assert alert.send(ALERT_MAIL_TO="admin@example.net", ALERT_MAIL_FROM="root@example.org").returncode == 0
    mail = alert.mail()
    assert (mail["To"], mail["From"], mail["Auto-Submitted"]) == ("admin@example.net", "root@example.org", "auto-generated")
    assert mail["Subject"] == f"proxy: mailcow-cert-push: {RAISED['MESSAGE']}"
    text = mail.get_content()
    assert f"* {RAISED['MESSAGE']}" in text and "it is away" in text and "a step" not in text
    assert (alert.folder / "argv").read_text().endswith(" -i -t ")


def test_an_alarm_that_is_over_is_mailed_also_where_the_pass_succeeded(alert):
    alert.journal(event("alarm-over", "mailcow: alarm-over contact", ALARM="contact"))
    assert alert.send("success", ALERT_MAIL_TO="a@example.net").returncode == 0
    assert "alarm-over contact" in alert.mail()["Subject"]


@pytest.mark.parametrize("result, records", [
    ("success", []), ("success", [{"MESSAGE": "deployed", "EVENT": "deployed"}]),
    ("exit-code", [event("alarm-held", "held", ALARM="contact"), {"MESSAGE": "it is away"}])])
def test_what_need_not_be_told_is_not(alert, result, records):
    alert.journal(*records)
    assert alert.send(result, ALERT_MAIL_TO="a@example.net").returncode == 0
    assert not alert.mail()


def test_another_run_is_not_told(alert):
    alert.journal(RAISED, run="f" * 32)
    assert alert.send("success", ALERT_MAIL_TO="a@example.net").returncode == 0
    assert not alert.mail()


def test_a_failure_that_could_not_judge_is_told_once_a_day(alert):
    alert.journal({"MESSAGE": "push.conf:2: unknown key"})
    to = {"ALERT_MAIL_TO": "a@example.net", "MONITOR_EXIT_STATUS": "78"}
    assert alert.send(**to).returncode == 0
    assert alert.mail()["Subject"] == "proxy: mailcow-cert-push: failed (exit-code, status 78)"
    assert "push.conf:2: unknown key" in alert.mail().get_content()
    assert alert.send(**to).returncode == 0 and not alert.mail()
    yesterday = time.time() - 86400 - 60
    os.utime(alert.folder / "told" / UNIT, (yesterday, yesterday))
    assert alert.send("signal", **to).returncode == 0 and "failed (signal" in alert.mail()["Subject"]
    ahead = time.time() + 30 * 86400  # as the clock was
    os.utime(alert.folder / "told" / UNIT, (ahead, ahead))
    assert alert.send("timeout", **to).returncode == 0 and "failed (timeout" in alert.mail()["Subject"]
    assert alert.send("timeout", **to).returncode == 0 and not alert.mail()


def test_a_failure_is_told_also_where_that_cannot_be_noted(alert):
    alert.journal({"MESSAGE": "alarms.json: No space left on device"})
    for _ in range(2):
        assert alert.send(ALERT_MAIL_TO="a@example.net", RUNTIME_DIRECTORY="/dev/null").returncode == 0
        assert "No space left" in alert.mail().get_content()


# ---- how


def test_a_webhook_gets_an_object(alert, receiver):
    message = 'a "quoted" \\ back\\slash, tab\tand ü'
    alert.journal(event("alarm", message, ALARM="failing"))
    result = alert.send(ALERT_WEBHOOK=receiver.url, ALERT_WEBHOOK_HEADER=f"Authorization: {SECRET}", ALERT_WEBHOOK_TOPIC="mail")
    assert result.returncode == 0, result.stderr
    (path, headers, body), = receiver.posts
    told = json.loads(body)
    assert (path, headers["Authorization"], headers["Content-Type"]) == ("/hook?token=t0ken", SECRET, "application/json")
    assert told["title"] == f"proxy: mailcow-cert-push: {message}" and f"* {message}\n" in told["message"]
    assert told["text"].startswith(told["title"] + "\n") and told["content"].startswith(told["title"]) and len(told["content"]) < 2000
    assert (told["priority"], told["topic"]) == (5, "mail")


def test_secrets_are_no_arguments(alert, receiver):
    alert.journal(RAISED)
    assert alert.send(ALERT_WEBHOOK=receiver.url, ALERT_WEBHOOK_HEADER=f"Authorization: {SECRET}").returncode == 0
    assert receiver.posts
    for name in ("curl", "environment"):
        assert "t0ken" not in (alert.folder / name).read_text()


def test_a_long_journal_is_short_where_it_has_to_be(alert, receiver):
    """As much as 200 KiB: more than curl takes in one line of its configuration, and than common receivers take at all."""
    alert.journal(RAISED, *[{"MESSAGE": f"line {i} " + "ü" * 200} for i in range(499)], {"MESSAGE": 'long "' + "ü" * 2000})
    result = alert.send(ALERT_WEBHOOK=receiver.url, ALERT_MAIL_TO="a@example.net")
    assert result.returncode == 0, result.stderr
    told = json.loads(receiver.posts[0][2])
    assert len(told["message"].encode()) < 4096 and len(told["content"]) < 2000 and f"* {RAISED['MESSAGE']}" in told["content"]
    assert told["text"] == f"{told['title']}\n{told['message']}"
    for name in ("message", "content"):
        numbers = [int(number) for number in re.findall(r"line (\d+) ü", told[name])]
        assert numbers and numbers == list(range(len(numbers)))
        left, = re.findall(rf"\n\((\d+) lines more on proxy: journalctl -x _SYSTEMD_INVOCATION_ID={RUN} \+ INVOCATION_ID={RUN}\)$", told[name])
        assert int(left) == 500 - len(numbers)
    assert "line 498" in alert.mail().get_content()


def test_a_long_line_is_cut(alert, receiver):
    alert.journal(RAISED, {"MESSAGE": "x" + "ü" * 1000})
    assert alert.send(ALERT_WEBHOOK=receiver.url).returncode == 0
    told = json.loads(receiver.posts[0][2])["content"]
    assert "üüü..." in told and len(told.encode()) < 1300


def test_a_receiver_that_is_away_is_tried_again(alert, receiver):
    receiver.failures = 1
    alert.journal(RAISED)
    assert alert.send(ALERT_WEBHOOK=receiver.url).returncode == 0
    assert len(receiver.posts) == 2


def test_what_cannot_be_sent_fails_and_keeps_nobody_else_from_being_told(alert, receiver):
    alert.write("sendmail", "exit 75")
    alert.journal({"MESSAGE": "it crashed"})
    to = {"ALERT_MAIL_TO": "a@example.net", "ALERT_WEBHOOK": receiver.url}
    assert alert.send("core-dump", **to).returncode == 1
    assert len(receiver.posts) == 1
    assert alert.send("core-dump", **to).returncode == 1 and len(receiver.posts) == 2, "it was not told, so it is again"


def test_a_header_cannot_be_made_of_a_message(alert):
    """A journal's message may have lines; the subject is the first."""
    alert.journal(event("alarm", "first", ALARM="x"))
    alert.journal(RAISED | {"MESSAGE": "a\x1b[2J"})
    assert alert.send(ALERT_MAIL_TO="a@example.net").returncode == 0
    assert alert.mail().keys() == ["To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]


# ---- the alarms


def book(lab, host: str) -> list[dict]:
    """The alarms in it, without those whose time only counts."""
    folder = getattr(lab, host)
    content = json.loads(folder.read(f"{PUSH_STATE if host == 'proxy' else DEPLOY_STATE}/alarms.json"))
    return [item for item in content["alarms"] if item["passes"]]


def age(lab, seconds: int) -> None:
    """What the book says, as if it had been so much earlier."""
    for host, state in (("proxy", PUSH_STATE), ("mail", DEPLOY_STATE)):
        where = getattr(lab, host)
        if where.exists(f"{state}/alarms.json"):
            content = json.loads(where.read(f"{state}/alarms.json"))
            for item in content["alarms"]:
                for key in ("since", "told"):
                    if item.get(key):
                        item[key] = stamp(time.mktime(time.strptime(item[key], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - seconds)
            where.write(f"{state}/alarms.json", json.dumps(content), 0o600)


def stamp(t: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def told(journal: Journal) -> list[tuple[str, str]]:
    return [(record["EVENT"], record["ALARM"]) for record in journal.events() if "ALARM" in record]


@contextlib.contextmanager
def full(host, folder: str):
    """Its file system has no room: real, and of its own."""
    host.run(["sh", "-c", f"cp -a {folder} {folder}.kept && mount -t tmpfs -o mode=700,size=64k tmpfs {folder} && "
                          f"cp -a {folder}.kept/. {folder} && ! cat /dev/zero >{folder}/filler 2>&1"])
    try:
        yield
    finally:
        host.run(["sh", "-c", f"umount -l {folder}; rm -rf {folder}.kept"])


def reconcile(journals) -> int:  # noqa: F811
    return journals.lab.mail.run(Journal.wrap(DEPLOY), check=False, timeout=120, env=KEEP).returncode


def test_a_silent_proxy_is_noticed_and_welcomed_back(journals):  # noqa: F811
    """The deployer's whole life of an alarm: raised, held, again, over."""
    assert journals.push() == DONE
    assert reconcile(journals) == DONE and book(journals.lab, "mail") == []
    three_days_ago = time.time() - 3 * 86400
    os.utime(journals.lab.mail.path(f"{DEPLOY_STATE}/contact"), (three_days_ago, three_days_ago))
    for status in (FAILED, FAILED):
        assert reconcile(journals) == status
    assert told(journals.mail) == [("alarm", "contact"), ("alarm-held", "contact")]
    raised = journals.mail.events("alarm")[0]
    assert raised["PRIORITY"] == "3" and "no pusher has been here for 3 days" in raised["DETAIL"]
    age(journals.lab, 86400)
    assert reconcile(journals) == FAILED
    assert journals.lab.push("--force").returncode == DONE
    assert reconcile(journals) == DONE
    assert told(journals.mail)[2:] == [("alarm-again", "contact"), ("alarm-over", "contact")]
    shown = journals.mail.show("-x", "EVENT=alarm")
    assert "Subject: ALARM: contact" in shown and "list-timers mailcow-cert-push.timer" in shown


def test_a_deployer_that_cannot_record_an_alarm_tells_none(journals):  # noqa: F811
    """The alert has a pass that failed without one, and tells of that; else it would be mailed as new by every pass."""
    lab = journals.lab
    assert journals.push() == DONE and reconcile(journals) == DONE
    lab.stop_deployer()
    with full(lab.mail, DEPLOY_STATE):
        journals.restart()
        three_days_ago = time.time() - 3 * 86400
        os.utime(lab.mail.path(f"{DEPLOY_STATE}/contact"), (three_days_ago, three_days_ago))
        assert {reconcile(journals) for _ in range(4)} <= {FAILED, TEMPORARY}
        assert told(journals.mail) == []
        assert "alarms.json" in journals.mail.show() and "No space left on device" in journals.mail.show()
        lab.stop_deployer()


def test_a_pusher_that_cannot_record_an_alarm_tells_none(journals):  # noqa: F811
    lab = journals.lab
    assert journals.push() == DONE
    unreachable(lab)
    with full(lab.proxy, PUSH_STATE):
        assert {journals.push() for _ in range(4)} == {TEMPORARY}
        assert told(journals.proxy) == []
        assert "alarms: none is told, since the state cannot be written: .alarms.json.tmp" in journals.proxy.show()
    for _ in range(3):
        assert journals.push() == TEMPORARY
    assert told(journals.proxy) == [("alarm-held", "failing")] * 2 + [("alarm", "failing")]


@pytest.fixture
def kept(product):
    """Its passes are those of the timers' units."""
    product.environment |= KEEP
    return product


def test_a_certificate_that_is_about_to_end_fails_the_pass(kept):
    kept.mailcow.reset(kept.issue(age=70))
    kept.mailcow.reload()
    result = kept.deploy()
    assert result.returncode == FAILED
    assert re.search(r"primary: alarm expiry: the certificate that is served ends in \d+ days", result.stderr), result
    assert [(item["alarm"], item["want"]) for item in book(kept, "mail")] == [("expiry", "primary")]
    kept.renew()
    assert kept.push().returncode == DONE
    assert "alarm-over expiry" in kept.deploy(check=True).stdout


def test_who_never_came_is_missed_from_the_first_pass_on(journals):  # noqa: F811
    """A second target, enrolled when the book was old."""
    lab = journals.lab
    assert journals.push() == DONE and reconcile(journals) == DONE
    age(lab, 365 * 86400)
    lab.mail.path(f"{DEPLOY_STATE}/contact").unlink()
    before = len(journals.mail.records())
    assert reconcile(journals) == DONE
    assert len(journals.mail.records()) == before, "what only counts is not told"
    lab.write_push_conf({"target mailcow": {}, "target other": {"host": HOSTNAME, "port": "2", "key": KEY, "known_hosts": KNOWN_HOSTS}})
    assert journals.push() == TEMPORARY
    assert told(journals.proxy) == [("alarm-held", "failing")]
    age(lab, 2 * 86400)
    assert (reconcile(journals), journals.push()) == (FAILED, TEMPORARY)
    assert ("alarm", "contact") in told(journals.mail) and ("alarm", "contact") in told(journals.proxy)
    assert "no verdict for 2 days (never since" in journals.proxy.events("alarm")[0]["DETAIL"]


def test_a_certificate_that_has_ended_is_told_where_nothing_is_renewed(kept):
    """The pusher has nothing to send, and so nothing that it could say to be served."""
    kept.mailcow.reset(kept.renew(kept.issue(age=91)))
    kept.mailcow.reload()
    result = kept.push()
    assert "primary: alarm expiry: the certificate that is served has EXPIRED" in result.stderr, result
    assert "alarm-held expiry" in kept.push().stderr
    kept.renew()
    assert "alarm-over expiry" in kept.push(check=True).stdout


def test_a_deployment_that_fails_is_told_at_once(product):
    product.write_deploy_conf({"verify": {"timeout": "5s", "endpoints": "imaps://127.0.0.1:1"}})
    product.start_deployer()
    result = product.deploy()
    assert result.returncode == FAILED and "alarm failing: 1 pass in a row failed" in result.stderr, result


def test_a_docker_that_is_away_is_given_time(kept):
    kept.write_deploy_conf({"docker": {"host": "unix:///run/lab/no.sock"}})
    kept.start_deployer()
    said = [kept.deploy() for _ in range(3)]
    assert [result.returncode for result in said] == [TEMPORARY] * 3
    assert ["alarm failing" in result.stderr for result in said] == [False, False, True], said
    assert "alarm-held failing" in said[0].stdout


def test_what_is_called_by_hand_counts_neither_as_told_nor_as_over(product):
    """Else a person who looks, or who mends it, would keep the others from hearing of it."""
    product.mailcow.reset(product.issue(age=70))
    product.mailcow.reload()
    for _ in range(2):
        assert "alarm expiry" in product.deploy().stderr
    assert not product.mail.exists(f"{DEPLOY_STATE}/alarms.json")
    product.environment |= KEEP
    assert "alarm expiry" in product.deploy().stderr
    product.environment.clear()
    product.renew()
    assert product.push().returncode == DONE and "alarm-over" in product.deploy(check=True).stdout
    product.environment |= KEEP
    assert "alarm-over expiry" in product.deploy(check=True).stdout


def unreachable(lab) -> None:
    lab.write_push_conf({"target mailcow": {"port": "2"}})


def test_a_silent_mail_host_is_noticed_by_the_pusher(journals):  # noqa: F811
    lab = journals.lab
    assert journals.push() == DONE
    unreachable(lab)
    state = json.loads(lab.proxy.read(STATE))
    lab.proxy.write(STATE, json.dumps(state | {"contact": stamp(time.time() - 3 * 86400)}), 0o600)
    assert journals.push() == TEMPORARY
    assert set(told(journals.proxy)) == {("alarm", "contact"), ("alarm-held", "failing")}
    assert journals.proxy.events("alarm")[0]["TARGET"] == "mailcow"
    assert [journals.push(), journals.push()] == [TEMPORARY] * 2
    assert told(journals.proxy)[-2:] in ([("alarm-held", "contact"), ("alarm", "failing")], [("alarm", "failing"), ("alarm-held", "contact")])
    lab.write_push_conf()
    assert journals.push() == DONE
    assert set(told(journals.proxy)[-2:]) == {("alarm-over", "contact"), ("alarm-over", "failing")}
    before = len(journals.proxy.records())
    assert journals.push() == DONE
    assert len(journals.proxy.records()) == before and book(lab, "proxy") == []


def test_an_unchanged_pass_sees_what_time_alone_has_done(product):
    """Nothing changed and nobody is asked: the certificate that is served comes to its end all the same."""
    product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    state = json.loads(product.proxy.read(STATE))
    state["wants"][0] |= {"not_before": stamp(time.time() - 80 * 86400), "not_after": stamp(time.time() + 10 * 86400)}
    product.proxy.write(STATE, json.dumps(state), 0o600)
    result = product.push()
    assert result.returncode == FAILED and "alarm expiry: the certificate that is served ends in" in result.stderr, result
    product.environment["MAILCOW_CERT_ALARMS"] = "off"  # as mailcow-cert-push watch has it for its passes
    result = product.push()
    assert result.returncode == DONE and "alarm" not in result.stdout + result.stderr


def test_what_is_older_than_what_is_served_is_no_renewal(kept):
    """As after the proxy host came back from a backup."""
    kept.renew(kept.issue(age=1))
    assert kept.push().returncode == DONE
    kept.proxy.path(STATE).unlink()
    kept.renew(kept.issue(age=30))
    result = kept.push()
    assert result.returncode == FAILED and "rejected" in result.stderr and "alarm failing" in result.stderr
    assert "unserved" not in result.stdout + result.stderr


def test_a_renewal_that_is_not_served_in_time(kept):
    assert kept.push().returncode == DONE
    kept.renew(kept.issue(age=5))
    unreachable(kept)
    result = kept.push()
    assert result.returncode == TEMPORARY
    assert re.search(r"mailcow: primary: alarm unserved: a renewal has been there for \d+ (days|hours)", result.stderr), result
    kept.write_push_conf()
    assert "alarm-over unserved" in kept.push(check=True).stdout


def test_thresholds_are_configurable_and_can_be_never(product):
    product.mailcow.reset(product.issue(age=70))
    product.mailcow.reload()
    product.write_deploy_conf({"alarm": {"expiry": "0"}})
    product.start_deployer()
    assert product.deploy().returncode == DONE
    product.write_deploy_conf({"alarm": {"expiry": "50"}})
    product.start_deployer()
    assert "alarm expiry" in product.deploy().stderr


def test_one_target_says_nothing_about_the_others(product):
    unreachable(product)
    assert "alarm" not in product.push("--target", "mailcow").stdout
    assert not product.proxy.exists(f"{PUSH_STATE}/alarms.json")
