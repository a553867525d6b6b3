"""The pusher's pass against a real mail host: what is chosen, sent, recorded and reported."""
import datetime
import json
import re
import shutil
import subprocess

import pytest

from tests.lab.lab import (ETC, HOSTNAME, KEY, KNOWN_HOSTS, LETSENCRYPT, NAMES, PUSH, PUSH_CONF, PUSH_STATE)
from tests.lab.pki import Bundle, Lineage
from tests.lab.host import PYTHON, wait_for
from tests.system.checks import (CONFIG, DONE, FAILED, STATE, TEMPORARY, USAGE, Untouched, assert_deployed,
                                 deploy_record, end, everywhere, installed_fingerprint, push_state,
                                 read_until, recorded, sessions, ssl_folder, start_push, steps)

LIVE = f"{LETSENCRYPT}/live"


def edit_conf(lab, old: str, new: str) -> None:
    text = lab.proxy.read(PUSH_CONF)
    assert old in text
    lab.proxy.write(PUSH_CONF, text.replace(old, new))


def pushed(lab, *args: str) -> subprocess.CompletedProcess:
    result = lab.push(*args)
    assert result.returncode == DONE, result
    return result


# ---- what is chosen, and that it arrives


def test_a_renewal_arrives_on_every_endpoint_for_every_name(product):
    new = product.renew()
    result = pushed(product)
    assert re.fullmatch(rf"mailcow: primary: deployed {new.fingerprint} from npm/npm-5 until \S+Z\n", result.stdout), result
    assert_deployed(product, new)
    for name in NAMES:
        assert product.served_everywhere(name) == everywhere(new), name


def test_the_number_of_the_folder_does_not_matter(product):
    pushed(product)
    shutil.rmtree(product.lineage.live)
    shutil.rmtree(product.lineage.archive)
    renumbered = Lineage(product.proxy.path(LETSENCRYPT), "npm-17", product.old)
    assert f"unchanged {product.old.fingerprint} from npm/npm-17" in pushed(product).stdout
    new = product.issue()
    renumbered.renew(new)
    assert f"deployed {new.fingerprint} from npm/npm-17" in pushed(product).stdout
    assert_deployed(product, new)


def test_the_youngest_lineage_that_covers_the_name_is_chosen(product):
    top = product.proxy.path(LETSENCRYPT)
    Lineage(top, "npm-40", product.issue(age=30))
    youngest = product.ca.issue("*.example.org", "example.org", age=2)
    Lineage(top, "npm-6", youngest)
    Lineage(top, "npm-7", product.issue("other.example.org", age=1))
    Lineage(top, "npm-8", product.issue(days=1, age=1.5))
    assert "from npm/npm-6" in pushed(product).stdout
    assert_deployed(product, youngest)


def test_a_plain_pair_is_a_source(product):
    new = product.issue()
    product.proxy.write("/srv/tls/mail.crt", new.fullchain)
    product.proxy.write("/srv/tls/mail.key", new.key, 0o600)
    edit_conf(product, f"path = {LIVE}", "cert = /srv/tls/mail.crt\nkey = /srv/tls/mail.key")
    assert f"deployed {new.fingerprint} from npm until" in pushed(product).stdout
    assert_deployed(product, new)


def test_one_lineage_folder_is_a_source(product):
    new = product.renew()
    edit_conf(product, f"path = {LIVE}", f"path = {LIVE}/npm-5")
    assert f"deployed {new.fingerprint} from npm until" in pushed(product).stdout
    assert_deployed(product, new)


def test_two_sources_are_one_choice(product):
    product.lineage.renew(product.issue(age=5))
    new = product.issue(age=1)
    product.proxy.write("/srv/tls/mail.crt", new.fullchain)
    product.proxy.write("/srv/tls/mail.key", new.key, 0o600)
    product.write_push_conf({"source files": {"cert": "/srv/tls/mail.crt", "key": "/srv/tls/mail.key"}})
    assert f"deployed {new.fingerprint} from files until" in pushed(product).stdout


# ---- nothing to do


def test_an_unchanged_pass_does_nothing(product):
    product.renew()
    pushed(product)
    product.sshd.stop()
    product.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # it cannot while it is traced
    traced = product.proxy.run(["strace", "-f", "-o", "/tmp/trace", PUSH], env=product.environment)
    assert "primary: unchanged" in traced.stdout
    trace = product.proxy.read("/tmp/trace")
    assert not re.findall(r"\b(?:socket|socketpair|connect|sendto|clone3?|v?fork)\(.*", trace)
    assert not re.findall(r"open.*\.pem.*", trace)
    assert "mailcow.json" in trace


@pytest.mark.parametrize("change", ["touched", "renewed", "target"])
def test_what_changed_is_asked_about(product, change):
    pushed(product)
    product.sshd.stop()
    if change == "touched":  # rewritten with the same content
        product.lineage.point("privkey", 1)
        product.lineage.archive.joinpath("privkey1.pem").write_text(product.old.key)
    elif change == "renewed":
        product.renew()
    else:
        product.write_push_conf({"target mailcow": {"port": "23"}})
    assert product.push().returncode == TEMPORARY


def test_an_unrelated_renewal_deploys_nothing(product):
    pushed(product)
    with Untouched(product):
        Lineage(product.proxy.path(LETSENCRYPT), "npm-30", product.ca.issue("unrelated.example.net"))
        result = pushed(product, "--json")
    assert "greeted" in steps(result) and "sent" not in steps(result)
    product.sshd.stop()
    assert "unchanged" in pushed(product).stdout


# ---- options


def test_force_deploys_again(product):
    new = product.renew()
    pushed(product)
    before = ssl_folder(product)
    result = pushed(product, "--force", "--json")
    assert json.loads(result.stdout)["results"][0]["result"] == "deployed"
    assert {"sent", "installed", "reloaded", "verified"} <= set(steps(result))
    after = ssl_folder(product)
    assert after["cert.pem"][0] != before["cert.pem"][0] and after["key.pem"][0] != before["key.pem"][0]
    assert after["."] == before["."]
    assert_deployed(product, new)


def test_dry_run_changes_nothing(product):
    new = product.renew()
    with Untouched(product):
        result = pushed(product, "--dry-run")
    assert f"mailcow: primary: would be pushed {new.fingerprint}" in result.stdout
    assert push_state(product) is None
    assert "deployed" in pushed(product).stdout
    with Untouched(product):
        assert "unchanged" in pushed(product, "--dry-run").stdout


@pytest.mark.parametrize("args, said", [
    (["--target", "nowhere"], "[target nowhere]"),
    (["fly"], "fly"),
    (["--fly"], "--fly"),
    (["run", "status"], "status"),
    (["--target"], "target"),
])
def test_a_wrong_command_line(product, args, said):
    with Untouched(product):
        result = product.push(*args)
    assert result.returncode == USAGE
    assert said in result.stderr


def test_target_selects(product):
    product.write_push_conf({"target other": {"host": "other.example.org", "key": KEY, "known_hosts": KNOWN_HOSTS}})
    product.renew()
    pushed(product, "--target", "mailcow")
    assert not product.proxy.exists(f"{PUSH_STATE}/other.json")


def test_one_dead_target_does_not_keep_the_other_from_being_served(product):
    product.write_push_conf({"target a": {"host": HOSTNAME, "port": "2", "key": KEY, "known_hosts": KNOWN_HOSTS}})
    new = product.renew()
    result = product.push()
    assert result.returncode == TEMPORARY and f"mailcow: primary: deployed {new.fingerprint}" in result.stdout
    assert "mailcow-cert-push: a: " in result.stderr and "connection refused" in result.stderr
    assert_deployed(product, new)


def test_json_is_one_object(product):
    new = product.renew()
    result = pushed(product, "--json")
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == 0 and answer["errors"] == [] and answer["program"] == "mailcow-cert-push"
    assert answer["results"] == [{"target": "mailcow", "want": "primary", "result": "deployed", "lineage": "npm/npm-5",
                                  "fingerprint": new.fingerprint, "not_after": answer["results"][0]["not_after"]}]
    names = [step["step"] for step in answer["steps"]]
    assert [n for i, n in enumerate(names) if n not in names[:i]] == [
        "connected", "host-key", "authenticated", "opened", "greeted", "chosen", "sent", "judged", "staged", "installed",
        "reloaded", "verified"]
    assert names.count("reloaded") == 3 and names.count("verified") == 9
    assert all(isinstance(step["us"], int) for step in answer["steps"] if step["step"] not in ("chosen", "sent", "staged"))


@pytest.mark.parametrize("break_it, code", [
    (lambda lab: lab.sshd.stop(), TEMPORARY),
    (lambda lab: lab.proxy.path(PUSH_CONF).unlink(), CONFIG),
    (lambda lab: shutil.rmtree(lab.proxy.path(LETSENCRYPT)), CONFIG),
])
def test_json_is_one_object_when_it_fails(product, break_it, code):
    product.renew()
    break_it(product)
    result = product.push("--json")
    answer = json.loads(result.stdout)
    assert result.returncode == answer["exit_code"] == code
    assert answer["errors"]


def test_quiet_says_nothing_but_errors(product):
    product.renew()
    assert (pushed(product, "-q").stdout, pushed(product, "-q").stderr) == ("", "")
    product.renew()
    result = pushed(product, "-q")
    assert (result.stdout, result.stderr) == ("", "")
    product.renew()
    product.sshd.stop()
    result = product.push("-q")
    assert result.stdout == "" and "connection refused" in result.stderr


def test_status_asks_nobody(product):
    assert re.search(r"^mailcow +mail.example.org +never contacted$", pushed(product, "status").stdout, re.MULTILINE)
    new = product.renew()
    pushed(product)
    product.sshd.stop()
    result = pushed(product, "status")
    assert re.search(rf"^mailcow +primary +served +npm/npm-5 +{new.fingerprint[:12]} ", result.stdout, re.MULTILINE)
    assert json.loads(pushed(product, "status", "--json").stdout)["wants"][0]["state"] == "served"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_configuration(product, option):
    product.proxy.path(PUSH_CONF).unlink()
    assert pushed(product, option).stdout.startswith(("usage:", "mailcow-cert-push", "Usage"))


# ---- the state


def age_contact(lab, seconds: float) -> None:
    """Lets the last contact with the mail host be so long ago."""
    state = push_state(lab)
    then = datetime.datetime.utcnow() - datetime.timedelta(seconds=seconds)
    state["contact"] = then.strftime("%Y-%m-%dT%H:%M:%SZ")
    lab.proxy.path(STATE).write_text(json.dumps(state))


def test_drift_is_healed_once_per_verify_every(product):
    new = product.renew()
    pushed(product)
    product.mailcow.install(product.old)
    product.mailcow.reload()
    assert "unchanged" in pushed(product).stdout
    assert product.mailcow.installed()[1] == product.old.key
    age_contact(product, 23 * 3600)
    assert "unchanged" in pushed(product).stdout
    age_contact(product, 25 * 3600)
    assert "deployed" in pushed(product).stdout
    assert_deployed(product, new)
    product.sshd.stop()
    assert "unchanged" in pushed(product).stdout


def test_verify_every_is_configurable(product):
    product.write_push_conf({"push": {"verify_every": "2h"}})
    pushed(product)
    product.sshd.stop()
    age_contact(product, 1.9 * 3600)
    pushed(product)
    age_contact(product, 2.1 * 3600)
    assert product.push().returncode == TEMPORARY


def test_a_contact_in_the_future_is_not_believed(product):
    pushed(product)
    product.sshd.stop()
    age_contact(product, -3600)
    assert product.push().returncode == TEMPORARY


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"contact": 5}', "\0" * 100])
def test_a_damaged_state_is_made_anew(product, damage):
    new = product.renew()
    pushed(product)
    product.proxy.path(STATE).write_text(damage)
    result = product.push()
    assert result.returncode == DONE and "state mailcow.json" in result.stderr
    assert recorded(product) == new.fingerprint
    assert "state" not in pushed(product).stderr


def test_the_state_is_private(product):
    pushed(product)
    assert product.proxy.path(PUSH_STATE).stat().st_mode & 0o777 == 0o700
    assert product.proxy.path(STATE).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in product.proxy.path(PUSH_STATE).iterdir()} == {"mailcow.json", "mailcow.history"}
    assert product.old.key.splitlines()[1] not in product.proxy.read(STATE)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cut_before_the_verdict_is_never_recorded(product, direction):
    """The connection is cut after so many bytes, further on each time until it no longer is."""
    with product.link() as link:
        product.push_through(link)
        position, cuts, before = 200, 0, product.old
        while True:
            new = product.renew()
            link.set(**{f"cut_{direction}": position, "reset": position // 400 % 2})
            result = product.push()
            if result.returncode == DONE:
                break
            assert result.returncode == TEMPORARY and result.stderr, (position, result)
            assert recorded(product) != new.fingerprint, position
            link.set(**{f"cut_{direction}": -1})
            wait_for(lambda: not sessions(product), "the deployer has heard of the cut", 45)  # a session may last 60
            assert installed_fingerprint(product) in (before.fingerprint, new.fingerprint), position
            assert product.push().returncode == DONE, position
            assert recorded(product) == new.fingerprint == installed_fingerprint(product), position
            position, cuts, before = position + 600, cuts + 1, new
    assert cuts >= 5
    assert_deployed(product, new)


LIAR = """
import sys
def say(*lines):
    print(*lines, sep="\\n", flush=True)
say("220-mailcow-cert-deploy version=9 protocol=1 host=mail.example.org", "220-want id=primary installed=- not-after=- state=none",
    "220-name id=primary name=mail.example.org", "220 ready")
sys.stdin.buffer.readline()
sys.stdin.buffer.read(int(sys.stdin.buffer.readline().split()[2]))
sys.stdin.buffer.readline()
say("250 judged want=primary", *{rows}, "250 deployed served=9 endpoints=9")
"""


@pytest.mark.parametrize("rows", [["250-want id=primary result=deployed fingerprint=" + "0" * 64], [],
                                  ["250-want id=other result=deployed fingerprint=" + "0" * 64]], ids=["another leaf", "no row", "another want"])
def test_a_verdict_that_does_not_name_what_was_sent_is_no_success(product, rows):
    """Whoever it is that answers: only what was sent, and is said to be served, is recorded."""
    product.renew()
    product.mail.write("/srv/liar.py", LIAR.format(rows=rows))
    product.sshd.authorize(product.public_key, options=f'restrict,command="{PYTHON} -I /srv/liar.py"')
    result = product.push()
    assert result.returncode == FAILED and "the mail host serves another certificate" in result.stderr, result
    assert recorded(product) is None


def test_a_lost_verdict_is_asked_for_again(product):
    new = product.renew()
    with product.link() as link:
        product.push_through(link)
        push = start_push(product)
        read_until(push, "installed")
        link.set(hole=1)
        wait_for(lambda: deploy_record(product)["state"] == "served", "the deployment ends without its pusher")
        link.process.kill()
        result = end(push)
        assert result.returncode == TEMPORARY and push_state(product) is None
    product.write_known_hosts()
    product.write_push_conf()
    assert f"unchanged {new.fingerprint}" in pushed(product).stdout
    assert new.fingerprint in pushed(product, "status", "--json").stdout
    assert re.search(rf"^primary +served +{new.fingerprint[:12]} ", product.deploy("status").stdout, re.MULTILINE)
    assert_deployed(product, new)


def test_two_passes_at_once(product):
    new = product.renew()
    both = [start_push(product), start_push(product)]
    results = [end(push) for push in both]
    assert [r.returncode for r in results] == [DONE, DONE]
    assert sorted(re.search(r"primary: (\w+)", r.stdout)[1] for r in results) == ["deployed", "unchanged"]
    assert_deployed(product, new)


def test_two_proxy_hosts_at_once(product):
    new = product.renew()
    product.proxy.write("/srv/second.conf", product.proxy.read(PUSH_CONF).replace(PUSH_STATE, "/srv/second-state"))
    both = [start_push(product), start_push(product, "--config", "/srv/second.conf")]
    assert [end(push).returncode for push in both] == [DONE, DONE]
    shutil.rmtree(product.proxy.path("/srv/second-state"))
    assert_deployed(product, new)


# ---- several proxy hosts, each with some of what the mail host wants


OTHER = "other.example.edu"
SECOND = "/srv/second.conf"


@pytest.fixture
def shared(product):
    """The mail host wants a second certificate, which a second proxy host has (its configuration is SECOND)."""
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    yield product
    for path in ("/srv/second", "/srv/second-state"):
        shutil.rmtree(product.proxy.path(path), ignore_errors=True)


def name_wants(lab, wants: str | None) -> None:
    lab.write_push_conf({"target mailcow": {"wants": wants}} if wants else {})


def write_second(lab, wants: str) -> Lineage:
    lineage = Lineage(lab.proxy.path("/srv/second"), "other", lab.issue(OTHER))
    name_wants(lab, wants)
    conf = lab.proxy.read(PUSH_CONF).replace(PUSH_STATE, "/srv/second-state").replace(LIVE, "/srv/second/live")
    lab.proxy.write(SECOND, conf)
    return lineage


def quiet(lab, *args: str) -> subprocess.CompletedProcess:
    result = pushed(lab, *args)
    assert not result.stderr, result
    return result


def test_each_proxy_host_pushes_what_it_names(shared):
    lineage = write_second(shared, OTHER)
    name_wants(shared, None)
    result = shared.push("--dry-run")
    assert result.returncode == FAILED and f"{OTHER}: missing: no lineage covers {OTHER}" in result.stderr, result
    shared.environment["MAILCOW_CERT_ALARMS"] = "keep"
    name_wants(shared, "primary")
    new = shared.renew()
    assert re.fullmatch(rf"mailcow: primary: deployed {new.fingerprint} .*\n", quiet(shared).stdout)
    assert re.fullmatch(rf"mailcow: {OTHER}: deployed \w+ from npm/other .*\n", quiet(shared, "--config", SECOND).stdout)
    renewed = shared.issue(OTHER)
    lineage.renew(renewed)
    assert f"mailcow: {OTHER}: deployed {renewed.fingerprint}" in quiet(shared, "--config", SECOND).stdout
    assert shared.served_everywhere(OTHER) == everywhere(renewed)
    assert_deployed(shared, new)
    for conf, own, other in ((PUSH_CONF, "primary", OTHER), (SECOND, OTHER, "primary")):
        for args in ([], ["--dry-run"], ["--force"], ["check"], ["status"]):
            said = quiet(shared, *args, "--config", conf).stdout
            assert own in said and other not in said, (args, said)


def test_a_want_that_the_mail_host_does_not_have_is_named_and_hinders_no_other(shared):
    name_wants(shared, "primary, gone.example.org")
    new = shared.renew()
    for result in shared.push(), shared.push():
        assert result.returncode == CONFIG, result
        assert "gone.example.org: unknown: wants in push.conf has gone.example.org, which the mail host does not have; " \
               f"it has primary, {OTHER}" in result.stderr, result
        assert "alarm failing" in result.stderr
    assert_deployed(shared, new)
    check = shared.push("check", "--json")
    assert check.returncode == CONFIG
    assert [row["want"] for row in json.loads(check.stdout)["results"] if row["result"] == "fail"] == ["gone.example.org"]
    wants = json.loads(shared.push("status", "--json").stdout)["wants"]
    assert [(want["want"], want["state"]) for want in wants] == [("primary", "served"), ("gone.example.org", "unknown")]


def test_other_wants_in_push_conf_are_asked_about(shared):
    name_wants(shared, "primary")
    quiet(shared)
    name_wants(shared, f"primary,{OTHER}")
    assert f"{OTHER}: missing" in shared.push().stderr
    name_wants(shared, "primary")
    assert shared.push().returncode == DONE
    name_wants(shared, None)
    assert f"{OTHER}: missing" in shared.push().stderr


# ---- lineages that are not as they should be


def test_a_torn_lineage_is_reported_and_not_sent(product):
    new = product.issue()
    product.lineage.write_generation(new)
    for part in ("cert", "chain", "fullchain"):
        product.lineage.point(part, 2)
    with Untouched(product):
        result = product.push("-v")
    assert result.returncode == FAILED
    assert "lineage npm/npm-5" in result.stderr and "key" in result.stderr
    assert not re.search(r"^\s+sent", result.stdout, re.MULTILINE)
    product.lineage.point("privkey", 2)
    pushed(product)
    assert_deployed(product, new)


def test_a_torn_lineage_of_many_wants_keeps_no_other_from_being_pushed(product):
    """It is not waited for once for each: the mail host would not wait that long."""
    names = [f"mail.customer{number}.example.net" for number in range(9)]
    for name in names:
        product.mailcow.add_sni(name, product.issue(name, age=60), name, restart=name == names[-1])
    lineage = Lineage(product.proxy.path(LETSENCRYPT), "customers", product.issue(*names, age=30))
    lineage.write_generation(product.issue(*names))
    lineage.point("fullchain", 2)
    new = product.renew()
    result = product.push()
    assert result.returncode == FAILED, result
    assert f"primary: deployed {new.fingerprint}" in result.stdout, result
    torn = re.findall(r"^mailcow-cert-push: mailcow: (\S+): unreadable .*none of its certificates$", result.stderr, re.MULTILINE)
    assert sorted(torn) == names
    assert_deployed(product, new)


@pytest.mark.parametrize("first", ["fullchain", "privkey"])
def test_a_torn_read_that_heals_is_pushed(product, first):
    new = product.issue()
    product.lineage.write_generation(new)
    product.lineage.point(first, 2)
    push = start_push(product, "--force")
    read_until(push, "chosen")
    product.lineage.point("privkey" if first == "fullchain" else "fullchain", 2)
    assert end(push).returncode == DONE
    assert_deployed(product, new)


def test_a_key_that_may_not_be_read(product):
    uid = product.proxy.run(["id", "-u", "daemon"]).stdout.strip()
    product.renew()
    product.proxy.run(["sh", "-c", f"mkdir -p /srv/push && cp {KEY} {KNOWN_HOSTS} /srv/push && chmod 755 {LETSENCRYPT}/* && "
                                   f"chown -R {uid} /srv/push"])
    product.write_push_conf({"push": {"state": "/srv/push/state"},
                             "target mailcow": {"key": "/srv/push/id_ed25519", "known_hosts": "/srv/push/known_hosts"}})
    with Untouched(product):
        result = product.push(user="daemon")
    shutil.rmtree(product.proxy.path("/srv/push"))
    assert result.returncode in (FAILED, CONFIG)
    assert "privkey.pem" in result.stderr and "Permission denied" in result.stderr


def test_a_lineage_without_its_key_is_named(product):
    product.renew()
    product.lineage.live.joinpath("privkey.pem").unlink()
    with Untouched(product):
        result = product.push()
    assert result.returncode == FAILED
    assert f"{LIVE}/npm-5/privkey.pem" in result.stderr


def test_a_missing_folder_is_named(product):
    shutil.rmtree(product.proxy.path(LETSENCRYPT))
    with Untouched(product):
        result = product.push()
    assert result.returncode == CONFIG and LIVE in result.stderr


def test_an_empty_folder_is_named(product):
    for folder in product.proxy.path(LIVE).iterdir():
        shutil.rmtree(folder)
    with Untouched(product):
        result = product.push()
    assert result.returncode == FAILED and f"{LIVE}: no lineage" in result.stderr


def test_a_missing_pair_is_named(product):
    edit_conf(product, f"path = {LIVE}", "cert = /srv/none.crt\nkey = /srv/none.key")
    with Untouched(product):
        result = product.push()
    assert result.returncode != DONE and "/srv/none.crt" in result.stderr


def test_a_name_that_no_lineage_covers_is_named(product):
    shutil.rmtree(product.lineage.live)
    with Untouched(product):
        result = product.push()
    assert result.returncode == FAILED
    assert HOSTNAME in result.stderr and "expired" in result.stderr and "npm/npm-3" in result.stderr


def test_a_broken_neighbour_does_not_keep_the_good_one_back(product):
    """One unreadable lineage among others is reported; the mail host's is pushed."""
    new = product.renew()
    product.proxy.path(f"{LETSENCRYPT}/archive/npm-2/fullchain1.pem").write_text("no certificate")
    result = product.push()
    assert f"deployed {new.fingerprint}" in result.stdout
    assert_deployed(product, new)


def push_without(lab, path: str, *args: str) -> subprocess.CompletedProcess:
    """A pass to which the disk does not give this file."""
    environment = lab.environment | {"ASAN_OPTIONS": "detect_leaks=0"}  # it cannot while it is traced
    traced = ["strace", "-f", "-qq", "-o", "/tmp/trace", "-P", path, "-e", "trace=openat", "-e", "inject=openat:error=EIO"]
    result = lab.proxy.run([*traced, PUSH, *args], env=environment, check=False)
    assert "(INJECTED)" in lab.proxy.read("/tmp/trace")
    return result


def test_a_renewal_that_could_not_be_read_comes_with_the_next_pass(product):
    """Another lineage is served, and good: nothing but the renewal itself asks for a pass."""
    pushed(product)
    new = product.issue()
    Lineage(product.proxy.path(LETSENCRYPT), "npm-7", new)
    unread = f"{LIVE}/npm-7/fullchain.pem"
    result = push_without(product, unread)
    assert result.returncode == DONE and unread in result.stderr
    assert f"unchanged {product.old.fingerprint} from npm/npm-5" in result.stdout
    product.sshd.stop()
    assert push_without(product, unread).returncode == DONE, "as long as it cannot be read, there is nothing to ask for"
    product.sshd.start()
    assert f"deployed {new.fingerprint} from npm/npm-7" in pushed(product).stdout
    assert_deployed(product, new)


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_what_is_older_is_not_pushed_for_what_cannot_be_read(product, options):
    new = product.issue()
    Lineage(product.proxy.path(LETSENCRYPT), "npm-7", new)
    pushed(product)
    product.renew(product.issue(age=3))  # a change, so that the mail host is asked
    for _ in range(2):
        with Untouched(product):
            result = push_without(product, f"{LIVE}/npm-7/fullchain.pem", *options)
        assert result.returncode == TEMPORARY, result
        assert "primary: unreadable" in result.stderr, result
        assert "lineage npm/npm-7 could not be read, and npm/npm-5 is older than what is installed" in result.stderr, result
        assert "rejected" not in result.stdout + result.stderr
    assert f"unchanged {new.fingerprint} from npm/npm-7" in pushed(product).stdout
    newest = product.renew(product.issue(age=1 / 48))
    assert f"deployed {newest.fingerprint} from npm/npm-5" in push_without(product, f"{LIVE}/npm-7/fullchain.pem").stdout


@pytest.fixture
def renumbered(product) -> Bundle:
    """What is installed, served and recorded as lineage npm-7's, while npm-5 has an older one."""
    new = product.issue()
    Lineage(product.proxy.path(LETSENCRYPT), "npm-7", new)
    pushed(product)
    return new


def test_what_began_later_is_pushed_though_it_ends_sooner(product, renumbered):
    unread = f"{LIVE}/npm-7/fullchain.pem"
    product.renew(product.issue(age=3, days=200))
    assert push_without(product, unread).returncode == TEMPORARY, "it ends later, but the mail host would refuse it"
    assert not json.loads(product.push("status", "--json").stdout)["wants"][0]["not_before"], "of what is not served"
    newer = product.renew(product.issue(age=1 / 48, days=45))
    result = push_without(product, unread)
    assert result.returncode == DONE and f"deployed {newer.fingerprint} from npm/npm-5" in result.stdout, result
    assert_deployed(product, newer)


@pytest.mark.parametrize("options, result", [([], "unchanged"), (["--force"], "deployed")])
def test_what_is_installed_may_come_from_another_lineage_than_the_one_that_cannot_be_read(product, renumbered, options, result):
    product.renew(renumbered)
    done = push_without(product, f"{LIVE}/npm-7/fullchain.pem", *options)
    assert done.returncode == DONE and f"{result} {renumbered.fingerprint} from npm/npm-5" in done.stdout, done
    assert f"unchanged {renumbered.fingerprint}" in pushed(product).stdout


def test_what_somebody_else_installed_does_not_wait_for_what_cannot_be_read(product, renumbered):
    product.mailcow.install(product.issue(age=20))
    newer = product.renew(product.issue(age=3))
    result = push_without(product, f"{LIVE}/npm-7/fullchain.pem")
    assert result.returncode == DONE and f"deployed {newer.fingerprint} from npm/npm-5" in result.stdout, result
    assert_deployed(product, newer)


# ---- push.conf


def test_every_mistake_in_push_conf_is_named_with_its_line(product):
    product.proxy.write(PUSH_CONF, f"""[push]
state = {PUSH_STATE}
verify_evry = 24h
[source npm]
path = {LIVE}
path = {LIVE}
[target mailcow]
host = {HOSTNAME}
port = 99999
no equals sign
[targets]
""")
    with Untouched(product):
        result = product.push()
    assert result.returncode == CONFIG
    lines = dict(re.findall(rf"{PUSH_CONF}:(\d+): (.*)", result.stderr))
    assert {"3", "6", "9", "10"} <= set(lines), result.stderr
    assert "verify_evry" in lines["3"] and "twice" in lines["6"] and "port" in lines["9"]
    for command in ("status", "--dry-run"):
        assert product.push(command).returncode == CONFIG


@pytest.mark.parametrize("old, new, said", [
    (f"path = {LIVE}", "path = live", "absolute"),
    (f"path = {LIVE}", "cert = /a", "cert and key"),
    (f"host = {HOSTNAME}", "", "host is missing"),
    ("verify_every = 24h", "verify_every = soon", f"{PUSH_CONF}:3"),
    ("verify_every = 24h", "verify_every = 1s", f"{PUSH_CONF}:3"),
    ("port = 22", "wants = primary, a/b", f"{PUSH_CONF}:10: wants = a/b: expected wants"),
    ("[source npm]", "[source]", "source"),
    ("[target mailcow]", "[target ../mailcow]", "target"),
])
def test_a_mistake_in_push_conf(product, old, new, said):
    edit_conf(product, old, new)
    result = product.push()
    assert result.returncode == CONFIG and said in result.stderr, result


def test_push_conf_is_missing(product):
    product.proxy.path(PUSH_CONF).unlink()
    result = product.push()
    assert result.returncode == CONFIG and PUSH_CONF in result.stderr


def test_another_configuration_file(product):
    product.proxy.path(PUSH_CONF).rename(product.proxy.path(f"{ETC}/other.conf"))
    product.renew()
    pushed(product, "--config", f"{ETC}/other.conf")
    product.proxy.path(f"{ETC}/other.conf").unlink()


# ---- SSH, each failure with its own sentence


def target(lab, **keys) -> None:
    lab.write_push_conf({"target mailcow": keys})


def new_key(lab, *args: str) -> str:
    path = f"/srv/key-{'-'.join(args)}"
    lab.proxy.run(["rm", "-f", path, f"{path}.pub"])
    lab.proxy.run(["ssh-keygen", "-q", "-N", "", "-f", path, *args])
    return path


def fake_receive(lab, script: str) -> None:
    lab.mail.write("/usr/local/libexec/fake-receive", f"#!/bin/sh\n{script}\n", 0o755)
    lab.sshd.authorize(lab.public_key, options='restrict,command="/usr/local/libexec/fake-receive"')


def another_host_key(lab) -> str:
    return " ".join(lab.proxy.read(new_key(lab, "-t", "ed25519") + ".pub").split()[:2])


def open_key(lab) -> None:
    lab.proxy.write("/srv/open-key", lab.proxy.read(KEY), 0o644)
    target(lab, key="/srv/open-key")


def nowhere(lab) -> None:
    target(lab, host="nowhere.example.org")
    lab.write_known_hosts("nowhere.example.org")


def no_shell(lab) -> None:
    lab.sshd.authorize(lab.public_key, options="")
    lab.mail.run(["usermod", "--shell", "/usr/sbin/nologin", "certsync"])


SSH_FAILURES = {
    "name does not resolve": (nowhere, CONFIG, "the name does not exist"),
    "refused": (lambda lab: target(lab, port="2"), TEMPORARY, "connection refused"),
    "host key unknown": (lambda lab: lab.write_known_hosts("other.example.org"), CONFIG, "host key UNKNOWN"),
    "host key changed": (lambda lab: lab.proxy.write(KNOWN_HOSTS, f"{HOSTNAME} {another_host_key(lab)}\n"), CONFIG,
                         "host key CHANGED"),
    "host key revoked": (lambda lab: lab.proxy.write(KNOWN_HOSTS, f"{HOSTNAME} {lab.sshd.host_key()}\n"
                                                     f"@revoked {HOSTNAME} {lab.sshd.host_key()}\n"), CONFIG, "host key REVOKED"),
    "known_hosts with a bad line": (lambda lab: lab.proxy.write(KNOWN_HOSTS, f"{HOSTNAME} {lab.sshd.host_key()}\nrubbish\n"),
                                    CONFIG, f"{KNOWN_HOSTS}:2: "),
    "known_hosts missing": (lambda lab: lab.proxy.path(KNOWN_HOSTS).unlink(), CONFIG, f"{KNOWN_HOSTS}: there is no such file"),
    "key refused": (lambda lab: lab.sshd.authorize(), CONFIG, "key refused"),
    "key open to others": (open_key, CONFIG, "its mode is 0644"),
    "key is RSA": (lambda lab: target(lab, key=new_key(lab, "-t", "rsa")), CONFIG, "RSA"),
    "key missing": (lambda lab: target(lab, key="/srv/none"), CONFIG, "/srv/none: there is no such file"),
    "a shell answers": (lambda lab: lab.sshd.authorize(lab.public_key, options=""), CONFIG, "forced command is missing or"),
    "another program answers": (lambda lab: fake_receive(lab, "echo hello; cat"), CONFIG, "another program answers (hello)"),
    "no shell": (no_shell, CONFIG, "not available"),
    "protocol version mismatch": (lambda lab: fake_receive(
        lab, "echo '220-mailcow-cert-deploy version=9.0 protocol=2 host=mail.example.org'; echo '220 ready'; cat >/dev/null"),
        FAILED, "protocol version mismatch"),
    "deployer down": (lambda lab: lab.stop_deployer(), TEMPORARY, "421 unavailable"),
}


@pytest.fixture
def certsync_shell(product):
    yield
    product.mail.run(["usermod", "--shell", "/bin/sh", "certsync"])


@pytest.mark.parametrize("failure", SSH_FAILURES)
def test_every_ssh_failure_has_its_sentence(product, certsync_shell, failure):
    break_it, code, sentence = SSH_FAILURES[failure]
    product.renew()
    break_it(product)
    with Untouched(product):
        result = product.push()
    assert result.returncode == code, result
    assert re.sub(r"(?m)^mailcow: alarm-held .*\n", "", result.stdout) == "" and sentence in result.stderr
    others = {said for _, _, said in SSH_FAILURES.values() if said not in (sentence, "RSA") and said not in sentence}
    assert not [said for said in others if said in result.stderr]
    assert product.old.key.splitlines()[1] not in result.stderr
    assert push_state(product) is None


FULL_BACKLOG = """
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(0)
clients = [socket.socket() for _ in range(4)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(listener.getsockname())
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_timeouts_have_their_sentences(product):
    """A black hole before and after the TCP connection."""
    hole = product.proxy.popen([PYTHON, "-c", FULL_BACKLOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = hole.stdout.readline().strip()
    pushes = {}
    with product.link(hole=1) as link:
        for name, number in (("connect", port), ("handshake", link.port)):
            product.write_known_hosts(f"[127.0.0.1]:{number}")
            known = f"/srv/known-{name}"
            product.proxy.write(known, product.proxy.read(KNOWN_HOSTS))
            product.write_push_conf({"push": {"state": f"/srv/state-{name}"},
                                     "target mailcow": {"host": "127.0.0.1", "port": str(number), "known_hosts": known,
                                                        "timeout": "2s"}})
            product.proxy.path(PUSH_CONF).rename(product.proxy.path(f"{ETC}/{name}.conf"))
            pushes[name] = start_push(product, "--config", f"{ETC}/{name}.conf")
        with Untouched(product):
            results = {name: end(push, 90) for name, push in pushes.items()}
    hole.stop()
    assert {name: r.returncode for name, r in results.items()} == dict.fromkeys(results, TEMPORARY), results
    assert "connect: timed out" in results["connect"].stderr
    assert "handshake: timed out" in results["handshake"].stderr
