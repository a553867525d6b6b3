"""The ladder and the rollback: what serves the old leaf is restarted, what breaks a listener is taken back."""
import json
import os
import re
import signal
import subprocess

import pytest

from tests.lab.engine import Front
from tests.lab.host import PYTHON, wait_for
from tests.lab.lab import DEPLOY_STATE
from tests.lab.mailcow import PATH, SSL, ports_listening
from tests.lab.wire import ENDPOINTS
from tests.system.checks import (DONE, FAILED, TEMPORARY, UNHURRIED, acme, assert_deployed, deploy_record, end, generations,
                                 injecting, installed_fingerprint, record_state, sessions, start_push, steps, updating)
from tests.system.protocol import HELLO, connect, put

QUICK = {"verify": {"timeout": "8s"}}
DOVECOT_CONF = f"{PATH}/data/conf/dovecot/dovecot.conf"


def restart(lab, changes: dict = QUICK) -> None:
    lab.write_deploy_conf(changes)
    lab.start_deployer()


def shadow(lab, service: str, path: str, script: str) -> None:
    """Puts a script in the place of a container's program, until the container is restarted anew from its image."""
    lab.mailcow.exec(service, "sh", "-c", f"test -e {path}.real || mv {path} {path}.real; cat > {path} <<'EOF'\n{script}\nEOF\n"
                                          f"chmod 755 {path}")


def unshadow(lab, service: str, path: str) -> None:
    lab.mailcow.exec(service, "sh", "-c", f"if test -e {path}.real; then mv {path}.real {path}; fi")


@pytest.fixture
def deaf(product):
    """Makes a service's reload do nothing and say that it did: the program says yes to `reload`, and is itself otherwise but
    for what is put before it."""
    shadowed = []

    def make(service: str, path: str, otherwise: str = "") -> None:
        shadow(product, service, path, f'#!/bin/sh\ncase "$*" in *reload*) exit 0;; esac\n{otherwise}\nexec {path}.real "$@"')
        shadowed.append((service, path))

    yield make
    for service, path in shadowed:
        unshadow(product, service, path)


PROGRAMS = {"postfix-mailcow": "/usr/sbin/postfix", "dovecot-mailcow": "/usr/sbin/dovecot", "nginx-mailcow": "/usr/sbin/nginx"}


def started(lab) -> dict[str, str]:
    return {service: lab.docker("inspect", "--format={{.State.StartedAt}}", lab.mailcow.name(service)).stdout
            for service in PROGRAMS}


@pytest.mark.parametrize("service", PROGRAMS)
def test_what_a_reload_does_not_reach_is_restarted_alone(product, deaf, service):
    deaf(service, PROGRAMS[service])
    restart(product, UNHURRIED)
    before = started(product)
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE, result.stdout + result.stderr
    restarted = [step for step in json.loads(result.stdout)["steps"] if step["step"] == "restarted"]
    assert [step["service"] for step in restarted] == [service]
    assert {name for name, time in started(product).items() if time != before[name]} == {service}
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"


def test_nginx_is_restarted_after_dovecot_works_again(product, deaf):
    for service in ("dovecot-mailcow", "nginx-mailcow"):
        deaf(service, PROGRAMS[service])
    restart(product, UNHURRIED)
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE, result.stdout + result.stderr
    order = [(step["step"], step.get("service") or step.get("endpoint")) for step in json.loads(result.stdout)["steps"]]
    first, second = order.index(("restarted", "dovecot-mailcow")), order.index(("restarted", "nginx-mailcow"))
    assert ("verified", "imaps") in order[first:second]
    assert_deployed(product, new)


SLOW_START = "sleep 12"  # longer than the verification has, and within `start_timeout`
IN_A_HURRY = {"verify": {"timeout": "5s", "start_timeout": "1m"}}


def by_docker_proxy(changes: dict) -> dict:
    """Every endpoint asked at the address where Docker's proxy accepts, whether or not anybody listens in the container."""
    return {"verify": changes["verify"] | {"endpoints": " ".join(f"{name}://127.0.0.1" for name in ENDPOINTS)}}


@pytest.mark.parametrize("changes", [IN_A_HURRY, by_docker_proxy(IN_A_HURRY)], ids=["derived", "by Docker's proxy"])
def test_what_takes_its_time_after_a_restart_is_no_breakage(product, deaf, changes):
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"], SLOW_START)
    restart(product, changes)
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE and {"restarted", "waiting"} <= set(steps(result)), result
    assert_deployed(product, new)


@pytest.mark.parametrize("state, changes", [("served", IN_A_HURRY), ("pending", IN_A_HURRY), ("pending", by_docker_proxy(IN_A_HURRY))],
                         ids=["served", "pending", "pending, by Docker's proxy"])
def test_what_was_just_started_is_not_restarted(product, deaf, state, changes):
    """As after a boot of the mail host, when the first pass comes before mailcow is up; pending: a boot amid a deployment.
    nginx takes longer than Dovecot, which has its turn first."""
    restart(product, changes)
    new = product.renew()
    assert product.push().returncode == DONE
    record_state(product, state)
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"], SLOW_START)
    deaf("nginx-mailcow", PROGRAMS["nginx-mailcow"], 'case "$*" in *daemon*) sleep 30;; esac')
    product.docker("restart", "-t", "1", *map(product.mailcow.name, ("dovecot-mailcow", "nginx-mailcow")))
    before = started(product)
    result = product.deploy("--json")
    assert result.returncode == DONE and "waiting" in steps(result), result
    assert started(product) == before
    assert_deployed(product, new)


def test_who_is_never_back_is_not_waited_for_longer_than_configured(product, deaf):
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"], "sleep infinity")
    restart(product, {"verify": {"timeout": "5s", "start_timeout": "10s"}})
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == FAILED and "rolled-back" in steps(result), result
    assert [item["fingerprint"] for item in quarantine(product)] == [new.fingerprint]
    unshadow(product, "dovecot-mailcow", PROGRAMS["dovecot-mailcow"])
    product.docker("restart", "-t", "1", product.mailcow.name("dovecot-mailcow"))


def test_a_reconcile_goes_on_where_a_service_does_not_come_back(product, deaf):
    """Nothing is new: there is nothing to go back to, and the other service has its turn."""
    dovecot, nginx = "dovecot-mailcow", "nginx-mailcow"
    restart(product, {"verify": {"timeout": "5s", "start_timeout": "10s"}})
    new = product.renew()
    assert product.push().returncode == DONE
    product.mailcow.install(product.old)
    product.mailcow.reload(dovecot, nginx)
    wait_for(lambda: {product.served_everywhere()[name] for name in ("imaps", "https")} == {product.old.fingerprint}, "the old leaf")
    product.mailcow.install(new)
    deaf(dovecot, PROGRAMS[dovecot], "sleep infinity")
    deaf(nginx, PROGRAMS[nginx])
    try:
        result = product.deploy("--json")
        assert result.returncode == FAILED and "rolled-back" not in steps(result), result
        served = product.served_everywhere()
        assert served["imaps"] is None and served["https"] == new.fingerprint, result
    finally:
        unshadow(product, dovecot, PROGRAMS[dovecot])
        product.docker("restart", "-t", "1", product.mailcow.name(dovecot))


def test_a_restarted_container_is_waited_for_until_it_is_healthy(product, deaf):
    dovecot = "dovecot-mailcow"
    young = "test $(($(date +%s) - $(stat -c %Y /proc/1))) -lt 12"
    product.mailcow.recreate(dovecot, f"--health-cmd=! {young}", "--health-interval=1s", "--health-start-period=2m")
    deaf(dovecot, PROGRAMS[dovecot])
    restart(product)
    product.renew()
    result = product.push("--json")
    assert result.returncode == DONE, result
    told = [step for step in json.loads(result.stdout)["steps"] if step["step"] in ("waiting", "restarted")]
    assert [step["step"] for step in told] == ["waiting", "restarted"] and "health" in str(told[0]), told
    assert product.docker("inspect", "--format={{.State.Health.Status}}", product.mailcow.name(dovecot)).stdout == "healthy\n"


REFUSED = {  # what makes a service refuse its configuration, and what mends that
    "nginx-mailcow": ("echo 'no_such_directive;' >> /etc/nginx/nginx.conf; echo 'x \"' >> /etc/nginx/conf.d/mailboxes",
                      "grep -v ^x /etc/nginx/conf.d/mailboxes > /tmp/conf; cat /tmp/conf > /etc/nginx/conf.d/mailboxes; "
                      "python3 /bootstrap.py"),
    "dovecot-mailcow": ("echo 'no_such_setting = 1' >> /etc/dovecot/dovecot.conf",
                        "grep -v no_such_setting /etc/dovecot/dovecot.conf > /tmp/conf; cat /tmp/conf > /etc/dovecot/dovecot.conf"),
    "postfix-mailcow": ("echo 'smtp-bad' >> /opt/postfix/conf/master.cf",
                        "grep -v smtp-bad /opt/postfix/conf/master.cf > /tmp/conf; cat /tmp/conf > /opt/postfix/conf/master.cf"),
}


@pytest.mark.parametrize("service", REFUSED)
def test_what_works_is_not_restarted_into_what_it_refuses(product, service):
    """A mistake in its configuration, made earlier: the old certificate is better than no service."""
    spoil, mend = REFUSED[service]
    restart(product)
    before, new = started(product), product.renew()
    product.mailcow.exec(service, "sh", "-c", spoil)
    result = product.push("--json")
    assert result.returncode == FAILED and "would not come back" in json.loads(result.stdout)["results"][0]["detail"], result
    assert "rolled-back" not in steps(result) and started(product) == before
    assert set(product.served_everywhere().values()) == {product.old.fingerprint, new.fingerprint}, "all answer"
    product.mailcow.exec(service, "sh", "-c", mend)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)
    assert started(product) == before


def test_what_is_mended_by_a_start_is_no_reason_not_to_restart(product, deaf):
    """nginx's configuration is made anew by each start of its container: what is wrong with it now does not count."""
    nginx = "nginx-mailcow"
    deaf(nginx, PROGRAMS[nginx])
    product.mailcow.exec(nginx, "sh", "-c", "echo 'no_such_directive;' >> /etc/nginx/nginx.conf")
    restart(product)
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE and "restarted" in steps(result), result
    assert_deployed(product, new)


def test_a_restart_that_does_not_help_is_an_alarm(product):
    """An endpoint that shows another leaf whatever is done: nothing is broken, so nothing is rolled back."""
    product.mail.write("/run/lab/other.pem", product.issue("other.example.org").pem)
    server = product.mail.popen([PYTHON, "-I", "-c", OTHER_SERVER], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        restart(product, {"verify": {"timeout": "5s", "endpoints": f"imaps://127.0.0.1:{port}, imaps://127.0.0.1:993"}})
        new = product.renew()
        result = product.push("-v")
        assert result.returncode == FAILED and "1 of 2 endpoints" in result.stderr, result
        assert installed_fingerprint(product) == new.fingerprint
        assert deploy_record(product)["state"] == "failed"
        before = started(product)
        assert product.deploy().returncode == FAILED
        assert started(product) == before, "it was restarted since the installation"
    finally:
        server.stop()


def switch_pop3(lab, on: bool) -> None:
    """Its ports stay published."""
    protocols = f"protocols = imap sieve{' pop3' if on else ''}\n"
    lab.mail.write(DOVECOT_CONF, re.sub("^protocols = .*\n", protocols, lab.mail.read(DOVECOT_CONF), flags=re.MULTILINE))
    lab.mailcow.reload("dovecot-mailcow")
    wait_for(lambda: ({110, 995} <= ports_listening(lab.mailcow, "dovecot-mailcow")) == on, "Dovecot to read it")


@pytest.fixture
def pop3(product):
    """Switches POP3 off and on; it is on afterwards."""
    yield lambda on: switch_pop3(product, on)
    switch_pop3(product, True)


def assert_left_alone(lab) -> None:
    """A pass that finds what the one before it has alarmed of."""
    before = started(lab)
    result = lab.deploy("--json")
    assert result.returncode == FAILED and "2 of 9 endpoints" in json.loads(result.stdout)["results"][0]["detail"], result
    assert not {"reloaded", "restarted"} & set(steps(result)), result.stdout
    assert started(lab) == before


def test_what_did_not_work_before_is_no_reason_for_a_restart(product, pop3):
    """POP3 that is switched off while its ports are published: the rest serves, and is left alone from then on."""
    pop3(False)
    restart(product)
    before, new = started(product), product.renew()
    result = product.push("--json")
    assert result.returncode == FAILED and "2 of 9 endpoints" in result.stdout, result
    assert "restarted" not in steps(result) and started(product) == before
    assert_left_alone(product)
    pop3(True)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


def test_an_engine_that_is_away_for_a_pass_makes_nothing_of_it_due(product, pop3):
    """Of what was on the wire nothing is learnt: not that all had worked, and not that it is to be done again."""
    pop3(False)
    restart(product)
    product.renew()
    assert product.push().returncode == FAILED
    known = deploy_record(product)
    restart(product, QUICK | {"docker": {"host": "unix:///run/nobody.sock"}})
    assert product.deploy().returncode == TEMPORARY
    assert deploy_record(product) | {"detail": ""} == known | {"detail": ""}
    restart(product)
    assert_left_alone(product)


def test_an_engine_that_goes_away_at_a_restart_accuses_nobody(product, deaf):
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"], SLOW_START)
    with Front(product.mail, "POST /v[0-9.]+/containers/[^/]+/restart", "lost") as front:
        restart(product, IN_A_HURRY | {"docker": {"host": front.host}})
        new = product.renew()
        result = product.push("--json")
        assert result.returncode == TEMPORARY and "rolled-back" not in steps(result), result
    assert deploy_record(product)["state"] == "pending" and not quarantine(product)
    restart(product, IN_A_HURRY)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


def test_a_restart_that_the_engine_fails_once_is_tried_again(product, deaf):
    """It may have stopped the container, and what does not run is started by nobody."""
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"])
    with Front(product.mail, "POST /v[0-9.]+/containers/[^/]+/restart", "failing", last=1) as front:
        restart(product, QUICK | {"docker": {"host": front.host}})
        new = product.renew()
        assert product.push().returncode == DONE
    assert_deployed(product, new)


@pytest.mark.parametrize("names", ["sni.example.net", "a.example.net\nb.example.net"], ids=["as they are", "rewritten"])
def test_a_new_folder_is_no_reason_to_restart_what_never_served(product, pop3, names):
    """Its names are found, or written, once it was seen that nothing is due."""
    pop3(False)
    restart(product)
    new = product.renew()
    assert product.push().returncode == FAILED
    before, other = started(product), product.issue(*names.split())
    product.mailcow.install(other, "sni.example.net")
    product.mail.write(f"{SSL}/sni.example.net/domains", names)
    result = product.deploy("--json")
    assert result.returncode == FAILED and "reloaded" in steps(result), result
    assert started(product) == before
    assert product.served(993) == new.fingerprint and product.served(993, servername=names.split()[0]) == other.fingerprint


def test_what_was_served_and_does_not_answer_is_restarted_once(product, pop3):
    restart(product)
    new = product.renew()
    assert product.push().returncode == DONE
    pop3(False)
    result = product.deploy("--json")
    assert result.returncode == FAILED, result
    done = [(step["step"], step["service"]) for step in json.loads(result.stdout)["steps"]
            if step["step"] in ("reloaded", "restarted")]
    assert ("restarted", "dovecot-mailcow") in done and ("reloaded", "nginx-mailcow") not in done, done
    assert_left_alone(product)
    pop3(True)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


# ---- names that do not resolve


NAME = "imap.example.org"
NAMED = {"verify": {"timeout": "8s", "endpoints": f"smtps://{NAME} imaps://{NAME} https://{NAME}"}}


def resolve(lab, does: bool) -> None:
    """Behind /etc/hosts comes a resolver that does not answer."""
    lines = [line for line in lab.mail.read("/etc/hosts").splitlines() if NAME not in line]
    lab.mail.write("/etc/hosts", "\n".join([*lines, *([f"127.0.0.1 {NAME}"] if does else [])]) + "\n")


@pytest.fixture
def named(product):
    """Verified under a name; what is installed is served."""
    files = {path: product.mail.read(path) for path in ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")}
    product.mail.write("/etc/nsswitch.conf", re.sub("hosts:.*", "hosts: files dns", files["/etc/nsswitch.conf"]))
    product.mail.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    resolve(product, True)
    restart(product, NAMED)
    product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    yield product
    for path, text in files.items():
        product.mail.write(path, text)


def assert_unresolved(result) -> None:
    detail = json.loads(result.stdout)["results"][0]["detail"]
    assert result.returncode == FAILED and "3 of 3 endpoints" in detail, result
    assert f"the name {NAME} does not resolve: Temporary failure in name resolution; see to this host's resolver" in detail


def test_a_resolver_that_is_down_is_no_reason_to_disturb_the_services(named):
    before = started(named)
    resolve(named, False)
    for _ in range(2):
        result = named.deploy("--json")
        assert_unresolved(result)
        assert not {"reloaded", "restarted"} & set(steps(result)) and started(named) == before, result.stdout
    rows = json.loads(named.deploy("status", "--json").stdout)["endpoints"]
    assert {row["state"] for row in rows} == {"unresolved"}
    resolve(named, True)
    assert named.deploy().returncode == DONE and started(named) == before


def test_a_resolver_that_is_down_is_no_reason_for_a_rollback(named):
    """Whether it went before the deployment or in its midst."""
    before = started(named)
    resolve(named, False)
    new = named.renew()
    result = named.push("--json")
    assert_unresolved(result)
    assert not {"restarted", "rolled-back"} & set(steps(result)) and started(named) == before, result.stdout
    assert_deployed(named, new)
    assert deploy_record(named)["state"] == "failed" and quarantine(named) == []
    resolve(named, True)
    assert named.deploy().returncode == DONE and deploy_record(named)["state"] == "served"


def test_what_could_not_be_asked_before_accuses_nobody_afterwards(named):
    """Also not in a deployment that goes on after one that could not end: nobody knows whether it worked."""
    named.mailcow.take_ecdsa_alone()
    bad = named.renew(breaking(named))
    resolve(named, False)
    with Front(named.mail, "GET /v[0-9.]+/containers/json", "not_json", nth=2) as front:
        restart(named, NAMED | {"docker": {"host": front.host}})
        assert named.push().returncode == TEMPORARY
    assert deploy_record(named)["state"] == "pending"
    restart(named, NAMED)
    resolve(named, True)
    result = named.deploy("--json")
    assert result.returncode == FAILED and "1 of 3 endpoints" in result.stdout and "rolled-back" not in steps(result), result
    assert installed_fingerprint(named) == bad.fingerprint and quarantine(named) == []


def test_a_resolver_that_goes_down_in_the_midst_is_no_reason_for_a_rollback(named):
    """The services worked in the look before, and nobody knows whether they still do."""
    nginx = named.mailcow.name("nginx-mailcow")
    shadow(named, "nginx-mailcow", PROGRAMS["nginx-mailcow"],
           '#!/bin/sh\ncase "$*" in *reload*) touch /tmp/asked; until test -e /tmp/go; do sleep 0.1; done;; esac\n'
           f'exec {PROGRAMS["nginx-mailcow"]}.real "$@"')
    try:
        before, new = started(named), named.renew()
        push = start_push(named)
        wait_for(lambda: not named.docker("exec", nginx, "test", "-e", "/tmp/asked", check=False).returncode, "nginx's reload")
        resolve(named, False)
        named.docker("exec", nginx, "touch", "/tmp/go")
        result = end(push)
    finally:
        unshadow(named, "nginx-mailcow", PROGRAMS["nginx-mailcow"])
        named.docker("exec", nginx, "rm", "-f", "/tmp/asked", "/tmp/go")
    assert result.returncode == FAILED and f"the name {NAME} does not resolve" in result.stdout + result.stderr, result
    assert "rolled-back" not in result.stdout and "restarted" not in result.stdout and started(named) == before, result
    assert_deployed(named, new)
    assert quarantine(named) == []


OTHER_SERVER = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/lab/other.pem")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    try:
        context.wrap_socket(listener.accept()[0], server_side=True).close()
    except OSError:
        pass
"""


# ---- the rollback


@pytest.fixture
def ecdsa_only(product):
    """A Postfix that takes TLS 1.2 with ECDSA and nothing else: with an RSA certificate no handshake comes about."""
    product.mailcow.take_ecdsa_alone()
    restart(product)
    return product


def breaking(lab, **options):
    return lab.issue(key="rsa2048", **options)


def quarantine(lab, want: str = "primary") -> list[dict]:
    path = f"{DEPLOY_STATE}/wants/{want}/quarantine.json"
    return json.loads(lab.mail.read(path)) if lab.mail.exists(path) else []


def assert_old(lab, bundle) -> None:
    assert_deployed(lab, bundle)
    assert deploy_record(lab)["state"] == "served" and deploy_record(lab)["fingerprint"] == bundle.fingerprint


def test_what_breaks_a_listener_is_rolled_back(ecdsa_only):
    """The first deployment: what was there before was not ours, and is back byte for byte."""
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.renew(bad)
    result = lab.push("--json")
    assert result.returncode == FAILED, result.stdout
    answer = json.loads(result.stdout)
    told = [step["step"] for step in answer["steps"]]
    after = answer["steps"][told.index("rolled-back"):]
    assert {step["endpoint"] for step in after if step["step"] == "verified"} == set(ENDPOINTS), "the old pair is verified"
    assert answer["results"][0]["result"] == "rolled-back"
    assert "worked before and does not any more" in answer["results"][0]["detail"]
    assert_old(lab, lab.old)
    assert [item["fingerprint"] for item in quarantine(lab)] == [bad.fingerprint]


def test_the_generation_before_is_what_is_gone_back_to(ecdsa_only):
    lab = ecdsa_only
    good = lab.renew(lab.issue(age=1))
    assert lab.push().returncode == DONE
    lab.renew(breaking(lab))
    assert lab.push().returncode == FAILED
    assert_old(lab, good)


def test_what_failed_at_one_endpoint_is_better_than_what_expired(ecdsa_only):
    """An endpoint that never answers: so what the others serve is no success, and what was before it has expired."""
    lab = ecdsa_only
    lab.mailcow.install(lab.issue(days=30, age=31))
    lab.mailcow.reload()
    restart(lab, {"verify": {"timeout": "5s", "endpoints": "smtps://127.0.0.1:465, imaps://127.0.0.1:1"}})
    good = lab.renew(lab.issue(age=1))
    assert lab.push().returncode == FAILED and deploy_record(lab)["state"] == "failed"
    bad = lab.renew(breaking(lab))
    assert lab.push().returncode == FAILED
    assert [item["fingerprint"] for item in quarantine(lab)] == [bad.fingerprint]
    assert lab.mailcow.installed() == (good.fullchain, good.key) and lab.served(465) == good.fingerprint


def test_what_cannot_be_looked_at_costs_no_rollback(ecdsa_only):
    """The list by which what is not served is understood, and then the generation: a pass that can decide goes back."""
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.renew(bad)
    with Front(lab.mail, "GET /v[0-9.]+/containers/json", "not_json", nth=2) as front:
        restart(lab, QUICK | {"docker": {"host": front.host}})
        assert lab.push().returncode == TEMPORARY
    restart(lab)
    current = lab.mail.path(f"{DEPLOY_STATE}/wants/primary/{deploy_record(lab)['current']}")
    current.rename(current.with_name("elsewhere"))
    assert lab.deploy().returncode == FAILED
    assert installed_fingerprint(lab) == bad.fingerprint and deploy_record(lab)["state"] == "pending"
    current.with_name("elsewhere").rename(current)
    result = lab.deploy("--json")
    assert json.loads(result.stdout)["results"][0]["result"] == "rolled-back", result
    assert_old(lab, lab.old)


def test_what_was_rolled_back_is_refused_until_it_is_forced(ecdsa_only):
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.renew(bad)
    assert lab.push().returncode == FAILED
    before = started(lab)
    again = lab.push()
    assert again.returncode == FAILED
    assert "rolled back" in again.stderr and "worked before" in again.stderr and "--force" in again.stderr
    assert_old(lab, lab.old)
    assert started(lab) == before
    lab.mailcow.reset(lab.old)  # the cause is mended
    lab.mailcow.reload()
    forced = lab.push("--force")
    assert forced.returncode == DONE, forced
    assert_deployed(lab, bad)
    assert quarantine(lab) == []
    assert lab.deploy().returncode == DONE


def test_what_is_forced_and_breaks_again_is_rolled_back_again(ecdsa_only):
    lab = ecdsa_only
    lab.renew(breaking(lab))
    assert lab.push().returncode == FAILED
    assert lab.push("--force").returncode == FAILED
    assert_old(lab, lab.old)


@pytest.mark.parametrize("state, command", [("served", "deploy"), ("served", "push"), ("failed", "deploy")])
def test_what_was_served_already_is_not_what_breaks(product, state, command):
    """An edit of Postfix's configuration takes effect with the reload that was forced. failed: one endpoint never served it."""
    served = product.renew(breaking(product))
    assert product.push().returncode == DONE
    record_state(product, state)
    product.mailcow.take_ecdsa_alone(reload=False)
    restart(product)
    result = getattr(product, command)("--force")
    assert result.returncode == FAILED and "worked before and does not any more" in result.stdout + result.stderr, result
    assert product.served(465) is None, "it is broken, and nothing of ours is the cause"
    assert product.mailcow.installed() == (served.fullchain, served.key)
    assert quarantine(product) == [] and deploy_record(product)["fingerprint"] == served.fingerprint


def test_a_newer_certificate_is_not_held_back_by_a_quarantine(ecdsa_only):
    lab = ecdsa_only
    lab.renew(breaking(lab, age=1))
    assert lab.push().returncode == FAILED
    good = lab.renew()
    assert lab.push().returncode == DONE
    assert_deployed(lab, good)


def test_a_listener_that_was_broken_before_is_no_reason_to_go_back(ecdsa_only):
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.mailcow.install(bad)
    lab.mailcow.reload()
    wait_for(lambda: lab.served(465) is None and lab.served(587, "smtp") is None and lab.served(25, "smtp") is None,
             "Postfix to break", 60)
    newer = lab.renew(breaking(lab, age=0))
    result = lab.push()
    assert result.returncode == FAILED and "rolled" not in result.stderr, result
    assert lab.mailcow.installed() == (newer.fullchain, newer.key)
    assert quarantine(lab) == []


def test_a_crash_between_installation_and_verdict_is_still_rolled_back(ecdsa_only):
    """Killed before the services were told; then the recovered daemon finds the listener already broken."""
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    kill_when_installed(lab, bad)
    assert_goes_back(lab, bad)


def kill_when_installed(lab, bundle) -> None:
    with connect(lab) as session:
        session.reply()
        session.send(HELLO, put(bundle.pem))
        assert session.reply().code == 250
        session.send("DEPLOY")
        while "installed" not in session.line():
            pass
        for pid in [*sessions(lab), lab.deployer.inner()]:
            os.kill(pid, signal.SIGKILL)
        lab.stop_deployer()
    lab.mailcow.reload()
    lab.start_deployer()


def assert_goes_back(lab, bad) -> None:
    result = lab.deploy("--json")
    assert json.loads(result.stdout)["results"][0]["result"] == "rolled-back", result
    assert_old(lab, lab.old)
    assert quarantine(lab)[0]["fingerprint"] == bad.fingerprint


def test_a_disk_that_fails_behind_the_installation_costs_no_rollback(ecdsa_only):
    """Both files are there, and nothing was told of them."""
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.renew(bad)
    with injecting(lab, "unlinkat", "error=EIO:when=1", "intent.json"):
        assert lab.push().returncode == FAILED
    assert_waits(lab, bad)
    assert_goes_back(lab, bad)


def test_a_crash_of_what_was_put_off_is_still_rolled_back(ecdsa_only):
    """What it replaces, and what worked, is known before it is written."""
    lab, bad = ecdsa_only, breaking(ecdsa_only)
    lab.renew(bad)
    with updating(lab, "./update.sh"):
        assert lab.push().returncode == TEMPORARY
    assert installed_fingerprint(lab) == lab.old.fingerprint
    kill_when_installed(lab, bad)
    assert_goes_back(lab, bad)


# ---- installed, and no service was told


def assert_waits(lab, bundle) -> None:
    assert installed_fingerprint(lab) == bundle.fingerprint and deploy_record(lab)["state"] == "pending"


def test_an_engine_that_answers_nonsense_leaves_it_pending(product):
    """And so does what is refused meanwhile: the services' first reload is what shows whether it breaks them."""
    new = product.renew()
    with Front(product.mail, "GET /v[0-9.]+/containers/json", "garbage") as front:
        restart(product, QUICK | {"docker": {"host": front.host}})
        assert product.push().returncode == FAILED
    assert_waits(product, new)
    restart(product)
    with acme(product, "n"):
        refused = product.deploy()
    assert refused.returncode == FAILED and "acme-active" in refused.stderr, refused
    assert_waits(product, new)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


def test_who_was_not_told_to_reload_is_not_restarted(product):
    """The engine was away when it was to run the commands, and is back for what follows."""
    new = product.renew()
    with Front(product.mail, "POST /v[0-9.]+/containers/[^/]+/exec|/_ping", "close", nth=2, last=3) as front:
        restart(product, QUICK | {"docker": {"host": front.host}})
        before = started(product)
        assert product.push().returncode == TEMPORARY
    assert_waits(product, new)
    assert started(product) == before
    restart(product)
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


def test_who_may_only_look_leaves_it_pending(product):
    restart(product, QUICK | {"docker": {"host": "unix:///run/elsewhere.sock"}})
    new = product.renew()
    assert product.push().returncode == TEMPORARY
    assert product.push().returncode == TEMPORARY
    engine = product.mail.path("/run/elsewhere.sock")
    engine.symlink_to("/var/run/docker.sock")
    try:
        assert "it is only looked at" in product.push("-v").stdout
        assert_waits(product, new)
        assert product.deploy().returncode == DONE
    finally:
        engine.unlink()
    assert_deployed(product, new)


# ---- by hand


def test_the_operator_goes_back(product):
    first = product.renew(product.issue(age=2))
    assert product.push().returncode == DONE
    second = product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    result = product.deploy("rollback")
    assert result.returncode == DONE, result
    assert_old(product, first)
    product.renew(second)
    refused = product.push()
    assert refused.returncode == FAILED and "by the operator" in refused.stderr
    assert_deployed(product, first)
    third = product.renew()
    assert product.push().returncode == DONE
    assert_deployed(product, third)


def test_the_operator_leaves_what_is_current_and_not_installed(product):
    """It was put off: what is installed and served is what the operator wants to stay with."""
    for age in (3, 2):
        served = product.renew(product.issue(age=age))
        assert product.push().returncode == DONE
    put_off = product.renew()
    with updating(product, "./update.sh"):
        assert product.push().returncode == TEMPORARY
    result = product.deploy("rollback")
    assert result.returncode == DONE, result
    assert_old(product, served)
    assert [item["fingerprint"] for item in quarantine(product)] == [put_off.fingerprint]
    refused = product.push()
    assert refused.returncode == FAILED and "by the operator" in refused.stderr
    assert_deployed(product, served)


def test_the_operator_names_a_generation(product):
    bundles = []
    for age in (3, 2, 1):
        bundles.append(product.renew(product.issue(age=age)))
        assert product.push().returncode == DONE
    listed = product.deploy("status").stdout
    name = next(id for id in generations(product) if id.endswith(bundles[0].fingerprint[:12]))
    assert name in listed
    assert product.deploy("rollback", name).returncode == DONE
    assert_old(product, bundles[0])
    for wrong in ("20200101T000000Z-0123456789ab", "../x", ""):
        assert product.deploy("rollback", wrong, "--want=nobody").returncode != DONE
    assert product.deploy("rollback", "20200101T000000Z-0123456789ab").returncode == FAILED
    assert_old(product, bundles[0])


def test_there_is_nothing_to_go_back_to(product):
    result = product.deploy("rollback")
    assert result.returncode == FAILED and "no generation to go back to" in result.stderr


def test_what_is_useless_is_gone_back_to_only_by_force(product):
    """mailcow's own pair of before has expired meanwhile."""
    expired = product.issue(days=30, age=31)
    product.mailcow.install(expired)
    product.mailcow.reload()
    product.renew()
    assert product.push().returncode == DONE
    refused = product.deploy("rollback")
    assert refused.returncode == FAILED and "expired" in refused.stderr and "--force" in refused.stderr
    assert product.deploy("rollback", "--force").returncode == DONE
    assert_old(product, expired)


def installed_what_was_rolled_back(product) -> tuple:
    """The operator went back to what has expired, and then put by hand what works there again: both."""
    expired = product.issue(days=30, age=31)
    product.mailcow.install(expired)
    product.mailcow.reload()
    good = product.renew()
    assert product.push().returncode == DONE
    assert product.deploy("rollback", "--force").returncode == DONE
    product.mailcow.install(good)
    product.mailcow.reload()
    return expired, good


def test_what_was_rolled_back_stays_where_what_is_current_is_useless(product):
    _, good = installed_what_was_rolled_back(product)
    kept = product.deploy("--json")
    assert kept.returncode == DONE and "kept" in steps(kept), kept
    assert_deployed(product, good)


def test_a_rollback_that_was_cut_short_goes_on_whatever_it_goes_back_to(product):
    """To what has expired, from what is in quarantine: killed before a file was changed."""
    expired, _ = installed_what_was_rolled_back(product)
    record_state(product, "pending")
    product.deploy()  # which fails: its alarm says that this has expired
    assert_old(product, expired)


def test_generations_are_kept_as_configured(product):
    restart(product, {"deploy": {"keep": "2"}})
    for age in (4, 3, 2, 1):
        product.renew(product.issue(age=age))
        assert product.push().returncode == DONE
    assert len(generations(product)) == 2
