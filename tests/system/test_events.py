"""Events: one table in the code, one catalog, one page; and what a real journald makes of what the programs tell it."""
from __future__ import annotations

import contextlib
import re
import shutil
import subprocess

import pytest

from tests.lab.journal import Journal
from tests.lab.lab import KNOWN_HOSTS, PUSH, PUSH_CONF
from tests.lab.make import REPOSITORY
from tests.lab.pki import CA

from tests.system.checks import CONFIG, DONE, FAILED, TEMPORARY, UNHURRIED
from tests.system.test_check import acme
from tests.system.test_ladder import PROGRAMS, QUICK, breaking, deaf, ecdsa_only  # noqa: F401
from tests.system.test_sni import configure, lineage

CATALOG = REPOSITORY / "systemd/mailcow-certsync.catalog"
PAGE = REPOSITORY / "docs/events.md"
ERR, WARNING, NOTICE, INFO = "3", "4", "5", "6"


# The table, the catalog, the page


def table() -> dict[str, tuple[str, str, str]]:
    """name -> (id, priority, constant)"""
    rows = re.findall(r'\[(EVENT_\w+)\] = \{"([\w-]+)", "([0-9a-f]{32})", LOG_(\w+),\s+\w+\}', (REPOSITORY / "common/event.c").read_text())
    assert len(rows) == len(set(name for _, name, _, _ in rows)) == len(set(id_ for _, _, id_, _ in rows)) > 30
    return {name: (id_, priority.lower(), constant) for constant, name, id_, priority in rows}


def test_every_constant_has_a_row():
    constants = re.findall(r"^    (EVENT_\w+),", (REPOSITORY / "common/event.h").read_text(), re.MULTILINE)
    assert constants[0] == "EVENT_NONE" and constants[1:] == [constant for _, _, constant in table().values()]


def test_every_event_is_told_by_somebody():
    """By its constant, or as the first word of a step of the deployer's."""
    sources = [path for folder in ("common", "pusher", "deployer") for path in (REPOSITORY / folder).glob("*.c")
               if path.name != "event.c"]
    text = "\n".join(path.read_text() for path in sources)
    assert [name for name, (_, _, constant) in table().items()
            if not re.search(rf"\b{constant}\b", text) and not re.search(rf'"{name}[ :]', text)] == []


def test_the_catalog_has_each_id_once():
    text = CATALOG.read_text()
    entries = re.findall(r"^# ([\w-]+)\n-- ([0-9a-f]{32})\nSubject: (.+)\nDefined-By: mailcow-certsync\n", text, re.MULTILINE)
    assert [(name, id_) for name, id_, _ in entries] == [(name, row[0]) for name, row in table().items()]
    assert len(re.findall(r"^-- ", text, re.MULTILINE)) == len(entries)


def fields_of_the_catalog() -> dict[str, set[str]]:
    """event -> the fields whose values its entry shows"""
    entries = re.findall(r"^# ([\w-]+)\n-- (.*?)(?=^# |\Z)", CATALOG.read_text(), re.MULTILINE | re.DOTALL)
    return {name: set(re.findall(r"@(\w+)@", entry)) for name, entry in entries}


def fields_of_the_page() -> set[str]:
    return {name for row in re.findall(r"^\| (`[A-Z].*?) \|", PAGE.read_text().split("## Fields")[1], re.MULTILINE)
            for name in re.findall(r"`(\w+)`", row)}


def test_the_catalog_names_fields_that_there_are():
    assert set.union(*fields_of_the_catalog().values()) <= fields_of_the_page()


def test_the_page_lists_the_table():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| .*? \| .*? \| (.*?) \| `([0-9a-f]{32})` \|$", PAGE.read_text(), re.MULTILINE)
    assert [(name, id_, priority) for name, priority, _, id_ in rows] == [(name, row[0], row[1]) for name, row in table().items()]
    assert {field for _, _, fields, _ in rows for field in re.findall(r"`(\w+)`", fields)} <= fields_of_the_page()


def test_the_page_lists_the_fields_of_the_code():
    code = "\n".join((REPOSITORY / path).read_text() for path in ("common/journal.c", "common/report.c", "deployer/session.c",
                                                                 "deployer/operator.c", "common/alarm.c")
                     if (REPOSITORY / path).exists())
    used = set(re.findall(r'\{(?:"\w+", +)?"([A-Z_]{4,})"(?:}|, (?!ROLE_))', code)) | set(re.findall(r'add\(f, "(\w+)"', code))
    assert used - {"MESSAGE_ID", "PRIORITY", "MESSAGE", "SYSLOG_IDENTIFIER"} == fields_of_the_page()


def test_journalctl_takes_the_catalog_in(tmp_path):
    journalctl = shutil.which("journalctl") or pytest.skip("journalctl is not installed")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    for option in ("--update-catalog", "--list-catalog"):
        result = subprocess.run([journalctl, f"--root={tmp_path}", option], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stderr) == (0, ""), result
    assert {line.split()[0] for line in result.stdout.splitlines()} == {id_ for id_, _, _ in table().values()}


# What journald gets


KEEP = {"MAILCOW_CERT_ALARMS": "keep"}  # as the units of the timers have it


class Journals:
    def __init__(self, lab, mail: Journal, proxy: Journal):
        self.lab, self.mail, self.proxy = lab, mail, proxy

    def push(self, *args: str) -> int:
        """As the timer's service would."""
        return self.lab.proxy.run(Journal.wrap(PUSH, *args), check=False, timeout=300, env=KEEP).returncode

    def restart(self, changes: dict = QUICK) -> None:
        self.lab.write_deploy_conf(changes)
        self.lab.start_deployer(wrapper=Journal.wrap())

    def one(self, journal: Journal, name: str) -> dict[str, str]:
        """The only event of that name, of which the table says id and priority."""
        records = journal.events(name)
        assert len(records) == 1, (name, journal.show("-o", "verbose"))
        assert (records[0]["MESSAGE_ID"], records[0]["PRIORITY"]) == (table()[name][0], PRIORITIES[table()[name][1]])
        return records[0]


PRIORITIES = {"err": ERR, "warning": WARNING, "notice": NOTICE, "info": INFO}


def names(journal: Journal) -> list[str]:
    return [record["EVENT"] for record in journal.events()]


@pytest.fixture
def journals(product):
    with Journal(product.mail) as mail, Journal(product.proxy) as proxy:
        product.start_deployer(wrapper=Journal.wrap())
        yield Journals(product, mail, proxy)
        product.stop_deployer()
        fields = fields_of_the_catalog()
        lacking = {(host, record["EVENT"], name) for host, journal in (("mail", mail), ("proxy", proxy)) for record in journal.events()
                   for name in fields[record["EVENT"]] - record.keys()}
        assert not lacking, "journalctl -x would show the fields' names"


def test_a_deployment_is_one_event_on_each_host(journals):
    new = journals.lab.renew()
    assert journals.push() == DONE
    for journal in (journals.mail, journals.proxy):
        assert names(journal) == ["deployed"], journal.show()
        event = journals.one(journal, "deployed")
        assert (event["WANT"], event["FINGERPRINT"]) == ("primary", new.fingerprint)
        assert event["NOT_AFTER"] == f"{new.x509.not_valid_after:%Y-%m-%dT%H:%M:%SZ}"
    assert 0 < int(journals.mail.events()[0]["DURATION_USEC"]) < 120e6
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{12}", journals.mail.events()[0]["GENERATION"])
    assert (event["TARGET"], event["LINEAGE"]) == ("mailcow", "npm/npm-5")


def test_what_has_nothing_to_do_is_silent(journals):
    journals.lab.renew()
    assert journals.push() == DONE
    before = [len(journal.records()) for journal in (journals.mail, journals.proxy)]
    assert journals.push() == DONE
    assert journals.lab.mail.run(Journal.wrap("/usr/sbin/mailcow-cert-deploy"), check=False).returncode == DONE
    assert [len(journal.records()) for journal in (journals.mail, journals.proxy)] == before


def test_journalctl_explains(journals):
    new = journals.lab.renew()
    assert journals.push() == DONE
    shown = journals.mail.show("-x", "-t", "mailcow-cert-deploy", f"FINGERPRINT={new.fingerprint}")
    assert f"Subject: Certificate {new.fingerprint} is served (want primary)" in shown
    assert f"valid until {new.x509.not_valid_after:%Y-%m-%dT%H:%M:%SZ}" in shown and "mailcow-cert-deploy status" in shown
    assert "@" not in shown.split("Subject: ")[1]


def test_what_is_rejected(journals):
    journals.lab.renew(CA("Other").issue("mail.example.org"))
    assert journals.push() == FAILED
    assert journals.one(journals.mail, "rejected")["REASON"] == "untrusted"
    assert journals.one(journals.proxy, "rejected")["TARGET"] == "mailcow"


def test_what_docker_holds_up_and_what_follows(journals):
    journals.restart({"docker": {"host": "unix:///run/lab/no.sock"}})
    new = journals.lab.renew()
    assert journals.push() == TEMPORARY
    for journal in (journals.mail, journals.proxy):
        assert "docker" in journals.one(journal, "pending")["DETAIL"].lower()
    journals.restart({})
    assert journals.lab.deploy().returncode == DONE
    event = journals.one(journals.mail, "served-again")
    assert (event["WANT"], event["FINGERPRINT"]) == ("primary", new.fingerprint)


def test_what_the_preflight_refuses(journals):
    journals.lab.renew()
    with acme(journals.lab, "n", "n"):
        assert journals.push() == FAILED
    event = journals.one(journals.mail, "refused")
    assert (event["FINDING"], event["WANT"]) == ("acme-active", "primary")
    assert "docker compose up -d acme-mailcow" in event["DETAIL"]


def test_what_is_rolled_back_and_comes_again(ecdsa_only, journals):  # noqa: F811
    bad = breaking(journals.lab)
    journals.lab.renew(bad)
    journals.restart()
    assert journals.push() == FAILED
    event = journals.one(journals.mail, "rolled-back")
    assert event["WANT"] == "primary" and "worked before and does not any more" in event["DETAIL"]
    assert {record["PRIORITY"] for record in journals.mail.events("not-verified")} == {WARNING}
    assert any(record["ENDPOINT"] == "smtps" for record in journals.mail.events("not-verified"))
    journals.one(journals.proxy, "rolled-back")
    assert journals.push() == FAILED
    assert bad.fingerprint != journals.one(journals.mail, "quarantined")["FINGERPRINT"]


def test_a_restart(deaf, journals):  # noqa: F811
    deaf("nginx-mailcow", PROGRAMS["nginx-mailcow"])
    journals.restart(UNHURRIED)
    journals.lab.renew()
    assert journals.push() == DONE
    event = journals.one(journals.mail, "restarted")
    assert (event["SERVICE"], event["CONTAINER"]) == ("nginx-mailcow", journals.lab.mailcow.name("nginx-mailcow"))
    assert int(event["DURATION_USEC"]) > 0
    assert names(journals.mail)[-1] == "deployed"


def test_folders_come_and_go(journals):
    lineage(journals.lab, "npm-20", journals.lab.issue("example.com"))
    configure(journals.lab, **{"example.com": "example.com"})
    journals.lab.start_deployer(wrapper=Journal.wrap())
    assert journals.push() == DONE
    assert journals.one(journals.mail, "added")["WANT"] == "example.com"
    journals.restart({})
    assert journals.lab.deploy("remove", "example.com").returncode == DONE
    assert journals.one(journals.mail, "removed")["WANT"] == "example.com"


def other_host_key(lab) -> None:
    lab.proxy.write(KNOWN_HOSTS, lab.proxy.read(KNOWN_HOSTS).replace(lab.sshd.host_key(), lab.public_key.rsplit(" ", 1)[0]))


BROKEN = {
    "host-key": (CONFIG, other_host_key, "host key CHANGED"),
    "key-refused": (CONFIG, lambda lab: lab.sshd.authorize(), "key refused"),
    "push-delayed": (TEMPORARY, lambda lab: lab.write_push_conf({"target mailcow": {"port": "2"}}), "connect"),
    "push-failed": (CONFIG, lambda lab: lab.sshd.authorize(lab.public_key, options='restrict,command="false"'), "forced command"),
    "no-lineage": (FAILED, lambda lab: shutil.rmtree(lab.proxy.path("/etc/nginx/letsencrypt/live/npm-5")), "expired"),
    "source-unreadable": (FAILED, lambda lab: lab.write_push_conf({"source other": {"path": "/nowhere"}}), "/nowhere"),
    "lineage-unreadable": (DONE, lambda lab: lab.proxy.write("/etc/nginx/letsencrypt/live/npm-9/fullchain.pem", "x")
                           or lab.proxy.write("/etc/nginx/letsencrypt/live/npm-9/privkey.pem", "x", 0o600), "npm-9"),
    "configuration": (CONFIG, lambda lab: lab.proxy.write(PUSH_CONF, "[push]\nx = y\n"), "push.conf:2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_keeps_a_push_from_arriving(journals, name):
    code, break_it, said = BROKEN[name]
    with contextlib.ExitStack() as stack:
        stack.callback(journals.lab._configure)
        break_it(journals.lab)
        status = journals.push()
        assert status == code or (name == "source-unreadable" and status), journals.proxy.show()
    event = journals.one(journals.proxy, name)
    assert said in event["MESSAGE"]
    assert name in ("source-unreadable", "lineage-unreadable", "configuration") or event["TARGET"] == "mailcow"


def test_the_deployers_configuration(journals):
    journals.lab.stop_deployer()
    journals.lab.mail.write("/etc/mailcow-certsync/bad.conf", "[deploy]\nx = y\n")
    assert journals.lab.mail.run(Journal.wrap("/usr/sbin/mailcow-cert-deploy", "--config", "/etc/mailcow-certsync/bad.conf"),
                                 check=False).returncode == CONFIG
    assert "bad.conf:2" in journals.one(journals.mail, "configuration")["MESSAGE"]


def test_mailcow_is_missing(journals):
    journals.restart({"mailcow": {"path": "/opt/elsewhere"}})
    assert journals.push() != DONE
    assert "/opt/elsewhere" in journals.one(journals.mail, "unavailable")["MESSAGE"]


def test_text_of_a_peer_is_no_record(journals):
    """What answers in the place of the forced command cannot write a record of its own, nor move the cursor."""
    journals.lab.sshd.authorize(journals.lab.public_key, options=r'restrict,command="printf \"\033[2J<0>forged\nMESSAGE=forged\n\""')
    assert journals.push() == CONFIG
    records = journals.proxy.records()
    assert all(record["PRIORITY"] == ERR and "forged" not in record["MESSAGE"] for record in records if record.get("EVENT") != "alarm")
    assert "the forced command is missing" in journals.one(journals.proxy, "push-failed")["MESSAGE"]
