"""mailcow-cert-push check: what it finds, what it says to do about it, and that it changes nothing."""
import json
import re
import shutil

import pytest

from tests.lab.lab import ETC, HOSTNAME, KEY, KNOWN_HOSTS, LETSENCRYPT, PUSH_CONF, PUSH_STATE
from tests.lab.pki import Lineage
from tests.system.checks import CONFIG, DONE, FAILED, USAGE, Untouched, push_state

LIVE = f"{LETSENCRYPT}/live"


def check(lab, *args: str) -> tuple[int, list[tuple]]:
    """The exit code, and each finding as severity, id, what it is about, text."""
    with Untouched(lab):
        result = lab.push("check", "--json", *args)
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == result.returncode
    assert not lab.proxy.exists(PUSH_STATE) or push_state(lab) is not None
    return result.returncode, [(row["result"], row["id"], row.get("want", row.get("target", "")), row["detail"])
                               for row in answer["results"]]


def complaints(lab, code: int) -> list[tuple]:
    got, findings = check(lab)
    assert got == code, findings
    return [f for f in findings if f[0] in ("warn", "fail")]


def only(lab, code: int, severity: str, name: str, *said: str) -> None:
    """There is one complaint, and it says what to do."""
    found = complaints(lab, code)
    assert [f[:2] for f in found] == [(severity, name)], found
    for words in said:
        assert words in found[0][3], found


def test_all_is_well(product):
    new = product.renew()
    assert product.push().returncode == DONE
    code, findings = check(product)
    assert code == DONE, findings
    assert [f[:2] for f in findings if f[1] != "lineage"] == [
        ("ok", "configuration"), ("ok", "key"), ("ok", "connect"), ("ok", "handshake"), ("ok", "login"), ("ok", "command"),
        ("ok", "greeting"), ("ok", "want")]
    want = next(f for f in findings if f[1] == "want")
    assert want[2] == "primary" and f"{new.fingerprint} from npm/npm-5" in want[3] and "is served" in want[3]


def test_expired_lineages_are_no_complaint(product):
    _, findings = check(product)
    assert ("note", "lineage") in [f[:2] for f in findings if "npm/npm-3" in f[3] and "expired" in f[3]]


def test_what_would_be_pushed(product):
    new = product.renew()
    code, findings = check(product)
    assert code == DONE
    assert [f[0] for f in findings if f[1] == "want" and f"{new.fingerprint} from npm/npm-5" in f[3] and "would be pushed" in f[3]]
    assert push_state(product) is None


def test_for_people_it_is_one_line_each(product):
    product.renew()
    product.sshd.authorize()
    result = product.push("check")
    assert result.returncode == CONFIG
    assert all(re.match(r"(?:mailcow: )?(?:ok|note|warn) [a-z-]+: \S", line) for line in result.stdout.splitlines()), result.stdout
    assert re.match(r"mailcow-cert-push: mailcow: fail login: .*key refused", result.stderr)


# ---- this host


def test_a_configuration_that_is_wrong(product):
    product.proxy.write(PUSH_CONF, "[source npm]\npaht = /x\n")
    found = complaints(product, CONFIG)
    assert [f[:2] for f in found].count(("fail", "configuration")) >= 2
    assert [f for f in found if f"{PUSH_CONF}:2" in f[3]]
    assert [f for f in found if f[1] == "target" and "mailcow-cert-push enroll HOST" in f[3]]


def test_no_configuration(product):
    product.proxy.path(PUSH_CONF).unlink()
    assert {f[1] for f in complaints(product, CONFIG)} == {"configuration", "target"}


def test_a_configuration_that_others_may_write(product):
    product.renew()
    product.proxy.path(PUSH_CONF).chmod(0o666)
    only(product, FAILED, "warn", "mode", f"chmod go-w {PUSH_CONF}")


def test_no_such_target(product):
    assert product.push("check", "--target", "nowhere").returncode == USAGE


def test_a_source_that_is_not_there(product):
    product.renew()
    product.write_push_conf({"source gone": {"path": "/srv/gone"}})
    only(product, CONFIG, "fail", "source", "[source gone]", "/srv/gone")


def test_half_a_lineage(product):
    product.renew()
    product.proxy.path(f"{LIVE}/npm-1/privkey.pem").unlink()
    only(product, FAILED, "fail", "source", "npm-1/privkey.pem")


def test_a_pair_that_does_not_match(product):
    product.renew()
    Lineage(product.proxy.path(LETSENCRYPT), "npm-6", product.issue())
    product.proxy.write(f"{LETSENCRYPT}/archive/npm-6/privkey1.pem", product.old.key, 0o600)
    only(product, FAILED, "warn", "lineage", "npm/npm-6")


def test_a_missing_key(product):
    product.renew()
    product.write_push_conf({"target mailcow": {"key": f"{ETC}/none"}})
    only(product, CONFIG, "fail", "key", f"mailcow-cert-push enroll {HOSTNAME}")


def test_a_key_that_others_may_read(product):
    product.renew()
    product.proxy.path(KEY).chmod(0o644)
    try:
        only(product, CONFIG, "fail", "key", f"chmod 600 {KEY}")
    finally:
        product.proxy.path(KEY).chmod(0o600)


# ---- the way to the mail host


def test_an_unpinned_host(product):
    product.renew()
    product.proxy.write(KNOWN_HOSTS, "")
    only(product, CONFIG, "fail", "connect", "UNKNOWN", f"mailcow-cert-push enroll {HOSTNAME}")


def test_no_known_hosts(product):
    product.renew()
    product.proxy.path(KNOWN_HOSTS).unlink()
    only(product, CONFIG, "fail", "connect", f"{KNOWN_HOSTS}: there is no such file", f"mailcow-cert-push enroll {HOSTNAME}")


def test_another_host_key(product):
    product.renew()
    kept = product.proxy.read(KNOWN_HOSTS).split()
    product.proxy.write(KNOWN_HOSTS, f"{kept[0]} {' '.join(product.public_key.split()[:2])}\n")
    only(product, CONFIG, "fail", "handshake", "CHANGED")


def test_nobody_listens(product):
    product.renew()
    product.sshd.stop()
    only(product, FAILED, "fail", "connect", "connection refused")


def test_algorithms(product):
    product.renew()
    product.sshd.start(MACs="hmac-sha2-256-etm@openssh.com")
    only(product, FAILED, "fail", "handshake", "`MACs` in its sshd_config")


def test_a_key_that_is_not_admitted(product):
    product.renew()
    product.sshd.authorize()
    only(product, CONFIG, "fail", "login", "authorized_keys")


def test_no_forced_command(product):
    product.renew()
    product.sshd.authorize(product.public_key, options="")
    only(product, CONFIG, "fail", "greeting", "forced command is missing")


def test_no_deployer(product):
    product.renew()
    product.stop_deployer()
    only(product, FAILED, "fail", "greeting")


# ---- what it would do there


def test_a_name_that_no_lineage_covers(product):
    product.renew()
    product.write_deploy_conf({"mailcow": {"require": "elsewhere.example.com"}})
    product.start_deployer()
    only(product, FAILED, "fail", "want", "elsewhere.example.com", "issued")


def test_a_renewal_that_does_not_come(product):
    product.lineage.renew(product.issue(age=61))
    only(product, FAILED, "warn", "renewal", "npm/npm-5", "certbot renew")


def test_a_dead_target_hides_no_other(product):
    product.renew()
    product.write_push_conf({"target a": {"host": HOSTNAME, "port": "2", "key": KEY, "known_hosts": KNOWN_HOSTS}})
    code, findings = check(product)
    assert code == FAILED and [f[:3] for f in findings if f[0] == "fail"] == [("fail", "connect", "a")]
    assert [f for f in findings if f[1] == "want"]
    assert check(product, "--target", "mailcow")[0] == DONE


def test_no_lineages_at_all(product):
    shutil.rmtree(product.proxy.path(LETSENCRYPT))
    found = complaints(product, CONFIG)
    assert {("fail", "source"), ("fail", "want")} <= {f[:2] for f in found}
