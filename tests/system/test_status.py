"""`status` on both hosts: what is served where, since when, until when, what is pending and why, what the last passes did."""
from __future__ import annotations

import json
import os
import pty
import re
import time

import pytest

from tests.lab.host import PYTHON
from tests.lab.lab import DEPLOY, HOSTNAME, NAMES, PUSH, Lab
from tests.lab.wire import ENDPOINTS
from tests.system.checks import DONE, FAILED, TEMPORARY
from tests.system.test_ladder import breaking, ecdsa_only  # noqa: F401

COLOUR = "\x1b["


def deployer(lab: Lab) -> dict:
    result = lab.deploy("status", "--json")
    assert result.returncode == DONE, result
    return json.loads(result.stdout)


def pusher(lab: Lab) -> dict:
    result = lab.push("status", "--json")
    assert result.returncode == DONE, result
    return json.loads(result.stdout)


def when(text: str) -> float:
    """Of a time as both programs write it."""
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def is_now(text: str) -> bool:
    return abs(when(text) - time.time()) < 120


def test_before_anything_was_pushed(product):
    said = deployer(product)
    assert said["wants"] == [{"want": "primary", "state": "none", "fingerprint": product.old.fingerprint, "since": None, "verified": None,
                              "not_before": said["wants"][0]["not_before"], "not_after": said["wants"][0]["not_after"], "generation": None,
                              "names": [HOSTNAME], "detail": None}]
    assert said["endpoints"] == said["generations"] == said["deployments"] == []
    assert said["mail_host"] == [{"host": HOSTNAME, "version": said["version"], "contact": None}]
    assert pusher(product)["targets"] == [{"target": "mailcow", "host": HOSTNAME, "state": "never contacted", "contact": None,
                                           "last_success": None, "last_pass": None}]


def test_what_is_served_where_since_when_and_until_when(product):
    new = product.renew()
    assert product.push().returncode == DONE
    said = deployer(product)
    [want] = said["wants"]
    assert (want["state"], want["fingerprint"], want["detail"]) == ("served", new.fingerprint, None)
    assert is_now(want["since"]) and is_now(want["verified"]) and is_now(said["mail_host"][0]["contact"])
    end = new.x509.not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert want["not_after"] == end and want["not_before"] == new.x509.not_valid_before.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert {row["endpoint"] for row in said["endpoints"]} == set(ENDPOINTS)
    for row in said["endpoints"]:
        assert (row["want"], row["state"], row["fingerprint"], row["not_after"]) == ("primary", "served", new.fingerprint, end), row
        assert is_now(row["since"]) and is_now(row["seen"]) and re.fullmatch(r"[0-9.]+:[0-9]+", row["address"])
    [first] = said["deployments"]
    assert (first["by"], first["result"], first["served"], first["endpoints"], first["reloads"]) == ("push", "deployed", 9, 9, 3)
    assert first["us"] > 0 and is_now(first["time"])
    assert [(row["id"], row["state"]) for row in said["generations"]][0] == (want["generation"], "current")

    said = pusher(product)
    [target], [want], [last] = said["targets"], said["wants"], said["passes"]
    assert target["state"] == "served" and all(is_now(target[key]) for key in ("contact", "last_success", "last_pass"))
    assert (want["state"], want["lineage"], want["fingerprint"], want["not_after"], want["names"]) == (
        "served", "npm/npm-5", new.fingerprint, end, [HOSTNAME])
    assert is_now(want["since"]) and (last["result"], last["detail"]) == ("done", None)


def test_since_stays_while_the_leaf_does(product):
    product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    before = deployer(product)["endpoints"], pusher(product)["wants"][0]["since"]
    time.sleep(1.1)
    assert product.deploy("--force").returncode == product.push("--force").returncode == DONE
    after = deployer(product)["endpoints"], pusher(product)["wants"][0]["since"]
    assert [row["since"] for row in after[0]] == [row["since"] for row in before[0]] and after[1] == before[1]
    assert all(new["seen"] > old["seen"] for new, old in zip(after[0], before[0]))
    product.renew()
    assert product.push().returncode == DONE
    assert all(new["since"] > old["since"] for new, old in zip(deployer(product)["endpoints"], before[0]))
    assert pusher(product)["wants"][0]["since"] > before[1]


def test_what_is_pending_and_why(product):
    product.write_deploy_conf({"docker": {"host": "unix:///run/elsewhere.sock"}})
    product.start_deployer()
    product.renew()
    assert product.push().returncode == TEMPORARY
    for said in (deployer(product), pusher(product)):
        assert said["wants"][0]["state"] == "pending" and "/run/elsewhere.sock" in said["wants"][0]["detail"], said
    assert deployer(product)["deployments"][0]["result"] == "pending"
    assert pusher(product)["targets"][0]["state"] == "not served" and pusher(product)["passes"][0]["result"] == "temporary"
    assert "/run/elsewhere.sock" in product.deploy("status").stdout and "/run/elsewhere.sock" in product.push("status").stdout


def test_what_does_not_serve_and_why(product):
    product.write_deploy_conf({"verify": {"timeout": "5s", "endpoints": "https://127.0.0.1:443, imaps://127.0.0.1:9"}})
    product.start_deployer()
    new = product.renew()
    assert product.push().returncode == FAILED
    rows = {row["endpoint"]: row for row in deployer(product)["endpoints"]}
    assert rows["https"]["state"] == "served" and rows["https"]["fingerprint"] == new.fingerprint
    assert rows["imaps"]["state"] == "unreachable" and rows["imaps"]["fingerprint"] is None and "refused" in rows["imaps"]["detail"]


def test_what_was_rolled_back_and_why(product, ecdsa_only):
    product.renew(breaking(product))
    assert product.push().returncode == FAILED
    said = deployer(product)
    assert said["deployments"][0]["result"] == "rolled-back" and said["deployments"][0]["rollbacks"] == 1
    [gone] = [row for row in said["generations"] if row["state"] == "quarantined"]
    assert "worked before and does not any more" in gone["detail"]
    assert "worked before" in pusher(product)["wants"][0]["detail"]


def test_what_somebody_else_installed_makes_what_was_seen_stale(product):
    product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    product.mailcow.install(product.issue())
    said = deployer(product)
    assert {row["state"] for row in said["endpoints"]} == {"stale"} and said["wants"][0]["state"] == "none"


def test_the_last_ten_are_kept_the_latest_first(product):
    product.renew()
    assert product.push().returncode == DONE
    for _ in range(11):
        assert product.deploy().returncode == DONE
    product.sshd.stop()
    product.renew()
    assert product.push().returncode == TEMPORARY
    said = deployer(product)["deployments"]
    assert [row["by"] for row in said] == ["reconcile"] * 10 and {row["result"] for row in said} == {"unchanged"}
    first, second = pusher(product)["passes"]
    assert (first["result"], second["result"]) == ("temporary", "done") and "connection refused" in first["detail"]


# ---- for people


def tables(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.rstrip("\n").split("\n\n")]


def assert_aligned(lines: list[str]) -> None:
    """Each column begins where its heading does, and no line ends in blanks."""
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S+(?: \S+)*", lines[0])]
    for line in lines[1:]:
        assert line == line.rstrip(), line
        for start in starts:
            assert start == 0 or start >= len(line) or line[start - 2:start] == "  ", (lines[0], line)


@pytest.mark.parametrize("side", ["push", "deploy"])
def test_tables_align_without_a_terminal(product, side):
    product.renew()
    assert product.push().returncode == DONE
    text = (product.push if side == "push" else product.deploy)("status").stdout
    assert COLOUR not in text
    headings = [re.match(r"(\w+(?: \w+)*)", lines[0])[1] for lines in tables(text)]
    assert headings == (["TARGET", "TARGET", "PASS"] if side == "push" else
                        ["MAIL HOST", "WANT", "ENDPOINT", "GENERATION", "DEPLOYMENT"])
    for lines in tables(text):
        assert_aligned(lines)


def on_terminal(host, command: list[str], **environment: str) -> str:
    """What it shows on a terminal."""
    script = "import os, pty, sys\nos._exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    result = host.run([PYTHON, "-I", "-c", script, *command], env={"TERM": "xterm"} | environment, timeout=60, check=False)
    assert result.returncode == 0, result
    return result.stdout.replace("\r\n", "\n")


def test_colour_on_a_terminal_only_and_not_where_it_is_unwanted(product):
    product.renew()
    assert product.push().returncode == DONE
    for host, program in ((product.proxy, PUSH), (product.mail, DEPLOY)):
        shown = on_terminal(host, [program, "status"])
        assert f"{COLOUR}32mserved{COLOUR}0m" in shown
        plain = re.sub(r"\x1b\[\d+m", "", shown)
        for lines in tables(plain):
            assert_aligned(lines)
        assert COLOUR not in on_terminal(host, [program, "status"], NO_COLOR="1")
        assert COLOUR not in on_terminal(host, [program, "status"], TERM="dumb")
        assert COLOUR not in on_terminal(host, [program, "status", "--json"])


def test_nothing_but_errors_when_quiet(product):
    assert product.push("status", "-q").stdout == product.deploy("status", "-q").stdout == ""
