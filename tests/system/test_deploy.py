"""The deployer: the operator's commands, roles, what is down and comes back, configuration, the SSL folder."""
import contextlib
import json
import re
import shutil
import signal
import subprocess

import pytest

from tests.lab import mailcow
from tests.lab.host import PYTHON, wait_for
from tests.lab.lab import DEPLOY, DEPLOY_CONF, DEPLOY_STATE, HOSTNAME, SOCKET, USER
from tests.lab.mailcow import SSL
from tests.lab.pki import Bundle
from tests.lab.wire import ENDPOINTS
from tests.system.checks import (CONFIG, DONE, FAILED, TEMPORARY, UNHURRIED, USAGE, Untouched, assert_deployed,
                                 assert_works_again, deploy_record, end, everywhere, generations, injecting,
                                 installed_fingerprint, read_until, recorded, sessions, ssl_folder, start_push, steps,
                                 tracing)
from tests.system.protocol import HELLO, connect, greeted, relay

QUICK = {"verify": {"timeout": "5s"}}  # where a test lets the verification wait in vain


def restart(lab, changes: dict) -> None:
    lab.write_deploy_conf(changes)
    lab.start_deployer()


def deployed(lab) -> Bundle:
    new = lab.renew()
    result = lab.push()
    assert result.returncode == DONE, result
    return new


def reconciled(lab, *args: str) -> subprocess.CompletedProcess:
    result = lab.deploy(*args)
    assert result.returncode == DONE, result
    return result


# ---- the operator's commands


def test_reconcile_looks_and_changes_nothing(product):
    new = deployed(product)
    with Untouched(product):
        result = reconciled(product, "--json")
    assert set(steps(result)) == {"verified"} and steps(result).count("verified") == 9
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == 0 and answer["results"][0] | {"not_after": ""} == {
        "want": "primary", "result": "unchanged", "fingerprint": new.fingerprint, "not_after": ""}
    assert reconciled(product).stdout.startswith(f"primary: unchanged {new.fingerprint}")
    assert reconciled(product, "reconcile", "-q").stdout == ""


def test_reconcile_before_anything_was_pushed(product):
    """mailcow's own pair is checked and left alone."""
    with Untouched(product):
        result = reconciled(product, "-v")
    assert f"unchanged {product.old.fingerprint}" in result.stdout


def test_reconcile_reinstalls_what_was_replaced(product):
    new = deployed(product)
    product.mailcow.install(product.old)
    product.mailcow.reload()
    result = reconciled(product)
    assert f"deployed {new.fingerprint}" in result.stdout
    assert_deployed(product, new)


def test_reconcile_leaves_a_younger_pair_of_others_alone(product):
    deployed(product)
    younger = product.issue(age=0)
    product.mailcow.install(younger)
    product.mailcow.reload()
    wait_for(lambda: product.served_everywhere() == everywhere(younger), "the younger pair on every port")
    with Untouched(product):
        reconciled(product)
    assert product.served_everywhere() == everywhere(younger)


def test_reconcile_reloads_what_serves_another(product):
    """The files are right, the services were never told."""
    new = deployed(product)
    product.mailcow.install(product.old)
    product.mailcow.reload()
    wait_for(lambda: product.served_everywhere() == everywhere(product.old), "the old pair on every port")
    product.mailcow.install(new)
    result = reconciled(product, "--json")
    assert "reloaded" in steps(result)
    assert_deployed(product, new)


def test_force_installs_again(product):
    new = deployed(product)
    before = ssl_folder(product)
    result = reconciled(product, "--force", "--json")
    assert steps(result).count("reloaded") == 3 and "installed" in steps(result)
    assert ssl_folder(product)["key.pem"][0] != before["key.pem"][0]
    assert_deployed(product, new)


def test_status(product):
    assert re.search(rf"^primary +none +{product.old.fingerprint[:12]} ", reconciled(product, "status").stdout, re.MULTILINE)
    new = deployed(product)
    assert re.search(rf"^primary +served +{new.fingerprint[:12]} ", reconciled(product, "status").stdout, re.MULTILINE)
    answer = json.loads(reconciled(product, "status", "--json").stdout)
    assert answer["wants"][0]["state"] == "served" and answer["exit_code"] == 0


@pytest.mark.parametrize("args", [["fly"], ["--fly"], ["status", "serve"], ["serve"]])
def test_a_wrong_command_line(product, args):
    assert product.deploy(*args).returncode == USAGE


@pytest.mark.parametrize("args", [[], ["--force"], ["status"], ["--json"]])
def test_no_daemon(product, args):
    product.stop_deployer()
    result = product.deploy(*args)
    assert result.returncode == TEMPORARY and SOCKET in result.stderr


# ---- roles


def test_strangers_may_not_connect(product):
    with relay(product, "nobody") as session:
        assert session.line().startswith("421 ")
    product.mail.path(SOCKET).chmod(0o666)
    with relay(product, "nobody") as session:
        assert session.line().startswith("530 ")
        assert session.line() is None
    assert deployed(product)


@pytest.mark.parametrize("command", ["RECONCILE", "RECONCILE force", "STATUS"])
def test_the_push_user_is_no_operator(product, command):
    with Untouched(product), relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, command).code == 530
        assert session.ask("QUIT").code == 221


def test_the_operator_of_another_uid_is_nobody(product):
    result = product.deploy("reconcile", user="daemon")
    assert result.returncode != DONE and SOCKET in result.stderr


def test_the_socket_is_for_root_and_the_push_user(product):
    status = product.mail.path(SOCKET).stat()
    gid = int(product.mail.run(["id", "-g", USER]).stdout)
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o660, 0, gid)


# ---- services and Docker that are down


def bring_back(lab, service: str) -> None:
    """Starts a service again; and Postfix anew after Dovecot, since its master does not start for a minute what could not
    reach Dovecot's SASL."""
    lab.docker("unpause" if lab.mailcow.state(service) == "paused" else "start", lab.mailcow.name(service), check=False)
    if service == "dovecot-mailcow":
        lab.docker("restart", "--time=2", lab.mailcow.name("postfix-mailcow"))
    lab.mailcow.wait()


@pytest.mark.parametrize("service", mailcow.SERVICES)
def test_a_stopped_service_fails_the_verdict_and_is_taken_up_again(product, service):
    restart(product, QUICK)
    deployed(product)
    product.docker("stop", "--time=2", product.mailcow.name(service))
    new = product.renew()
    result = product.push("-v")
    assert result.returncode == FAILED and service in result.stderr and recorded(product) is None
    for other in set(mailcow.SERVICES) - {service}:
        assert re.search(rf"reloaded .*{other}", result.stdout), result.stdout
    ports = [port for port, _ in ENDPOINTS.values() if port not in mailcow.COMPOSE[service][1] and port != 25]
    if service == "dovecot-mailcow":  # without its SASL no new smtpd stays
        ports = [443]
    for port in ports:
        dialect = next(d for p, d in ENDPOINTS.values() if p == port)
        assert product.served(port, dialect) == new.fingerprint, port
    record = deploy_record(product)
    assert {record["current"], record["previous"]} <= set(generations(product)) and record["fingerprint"] == new.fingerprint
    assert "failed" in product.deploy("status").stdout + product.deploy("status").stderr
    again = product.deploy("--json")
    assert again.returncode == FAILED and service in again.stdout and "reloaded" not in steps(again), again
    bring_back(product, service)
    reconciled(product)
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"
    assert product.push().returncode == DONE and recorded(product) == new.fingerprint


def test_a_service_without_a_container(product):
    restart(product, QUICK)
    product.mailcow.remove("nginx-mailcow")
    product.renew()
    result = product.push()
    assert result.returncode == FAILED and "nginx-mailcow" in result.stderr and "absent" in result.stderr


@pytest.mark.parametrize("gone", ["stopped", "removed"])
def test_an_optional_service_may_be_gone(product, gone):
    restart(product, QUICK | {"mailcow": {"optional": "nginx-mailcow"}})
    if gone == "removed":
        product.mailcow.remove("nginx-mailcow")
    else:
        product.docker("stop", product.mailcow.name("nginx-mailcow"))
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE, result
    assert steps(result).count("verified") == 8
    assert product.served(993) == new.fingerprint


def test_a_paused_service_fails_the_verdict(product):
    """A frozen container still holds the old certificate, and is not woken."""
    restart(product, QUICK)
    product.docker("pause", product.mailcow.name("dovecot-mailcow"))
    product.renew()
    result = product.push()
    assert result.returncode == FAILED and "dovecot-mailcow" in result.stderr
    assert product.mailcow.state("dovecot-mailcow") == "paused"
    bring_back(product, "dovecot-mailcow")


def test_docker_is_down_and_comes_back(product):
    restart(product, {"docker": {"host": "unix:///run/elsewhere.sock"}})
    new = product.renew()
    result = product.push()
    assert result.returncode == TEMPORARY and "/run/elsewhere.sock" in result.stderr and recorded(product) is None
    assert installed_fingerprint(product) == new.fingerprint and product.served(993) == product.old.fingerprint
    assert deploy_record(product)["state"] == "pending"
    assert "pending" in product.deploy("status").stdout
    assert product.deploy().returncode == TEMPORARY
    product.mail.path("/run/elsewhere.sock").symlink_to("/var/run/docker.sock")
    reconciled(product)
    product.mail.path("/run/elsewhere.sock").unlink()
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"


def test_a_reload_that_fails_is_told_and_the_wire_decides(product):
    """What it serves decides: it is restarted, since it shows the old leaf."""
    path, service = "/usr/sbin/dovecot", "dovecot-mailcow"
    product.mailcow.exec(service, "sh", "-c", f"mv {path} {path}.real; printf '#!/bin/sh\\n[ \"$*\" = reload ] && exit 3\\n"
                                              f"exec {path}.real \"$@\"\\n' > {path}; chmod 755 {path}")
    try:
        restart(product, UNHURRIED)
        new = product.renew()
        result = product.push("-v")
        assert result.returncode == DONE, result
        assert re.search(r"not-reloaded .*dovecot-mailcow.*exit code 3", result.stdout)
        assert re.search(r"not-verified .*imaps", result.stdout) and re.search(r"restarted .*dovecot-mailcow", result.stdout)
        assert_deployed(product, new)
    finally:
        product.mailcow.exec(service, "mv", f"{path}.real", path)


@pytest.mark.parametrize("service", mailcow.SERVICES)
def test_the_restart_policy_stays_in_force(product, service):
    new = deployed(product)
    pid = product.docker("inspect", "--format={{.State.Pid}}", product.mailcow.name(service)).stdout.strip()
    product.mail.run(["kill", "-KILL", pid])
    wait_for(lambda: product.mailcow.state(service) == "running" and pid != product.docker(
        "inspect", "--format={{.State.Pid}}", product.mailcow.name(service)).stdout.strip(), f"{service} again")
    product.mailcow.wait()
    assert product.served_everywhere() == everywhere(new)


# ---- killed in the midst


@pytest.mark.parametrize("step", ["sent", "judged", "staged", "installed", "reloaded", "verified"])
def test_a_killed_session_is_taken_up_again(product, step):
    new = product.renew()
    push = start_push(product)
    read_until(push, step)
    for pid in sessions(product):
        with contextlib.suppress(ProcessLookupError):
            subprocess.run(["kill", "-KILL", str(pid)])
    result = end(push)
    assert result.returncode == DONE or (result.returncode == TEMPORARY and recorded(product) is None), result
    if deploy_record_exists(product):
        reconciled(product)
        assert_deployed(product, new)
    assert installed_fingerprint(product) in (product.old.fingerprint, new.fingerprint)
    assert product.push().returncode == DONE
    assert recorded(product) == new.fingerprint
    assert_deployed(product, new)


def deploy_record_exists(lab) -> bool:
    return lab.mail.exists(f"{DEPLOY_STATE}/wants/primary/record.json")


def killing(lab, call: str, number: int):
    """The deployer's sessions die instead of doing this system call for the so-many-th time."""
    return injecting(lab, call, f"signal=KILL:when={number}")


def call_of(lab, call: str, path: str) -> int:
    """Which of a session's such calls has this path, in a deployment."""
    lab.renew(lab.issue(age=1))
    trace = lab.mail.path("/tmp/calls")
    with tracing(lab, call, trace=trace):
        assert lab.push().returncode == DONE
    calls = [line.split(maxsplit=1) for line in trace.read_text().splitlines() if f"{call}(" in line]
    session = next(pid for pid, words in calls if f'"{path}"' in words)
    return next(i for i, words in enumerate((words for pid, words in calls if pid == session), start=1) if f'"{path}"' in words)


def test_what_a_killed_session_left_is_finished_at_once(product):
    """Nobody has to come again: whatever reads the pair in the meantime would not serve."""
    product.renew(product.issue(age=3))
    assert product.push().returncode == DONE  # the first deployment also keeps what was there before
    number = call_of(product, "renameat", "cert.pem")
    new = product.renew()
    with killing(product, "renameat", number):
        assert product.push().returncode == TEMPORARY
        wait_for(lambda: not product.mail.exists(f"{DEPLOY_STATE}/intent.json"), "the installation is finished", 20)
    assert installed_fingerprint(product) == new.fingerprint
    assert product.push().returncode == DONE
    assert_deployed(product, new)


SILENT = """
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(PATH)
os.chmod(PATH, 0o666)
listener.listen(1)
print("ready", flush=True)
stream, _ = listener.accept()
stream.sendall(SAYS)
"""


@pytest.mark.parametrize("says", ["", "220-mailcow-cert-deploy version=1 protocol=1 host=mail.example.org\n", "220-mail"],
                         ids=["nothing", "a line", "half a line"])
def test_a_deployer_that_dies_in_its_greeting(product, says):
    """That is not a missing forced command."""
    product.stop_deployer()
    product.renew()
    script = SILENT.replace("PATH", repr(SOCKET)).replace("SAYS", repr(says.encode()))
    fake = product.mail.popen([PYTHON, "-c", script], stdout=subprocess.PIPE, text=True)
    assert fake.stdout.readline() == "ready\n"
    result = product.push()
    product.mail.path(SOCKET).unlink()
    assert fake.wait(10) == 0
    assert result.returncode == TEMPORARY and "forced command" not in result.stderr, result


@pytest.mark.parametrize("call", ["renameat", "fsync"])
def test_killed_at_every_write(product, call):
    """A matching pair is on the disk at every point, the next pass finishes, nothing is left over."""
    before, number = product.old, 0
    while True:
        new, number = product.renew(), number + 1
        with killing(product, call, number):
            result = product.push()
        if result.returncode == DONE:
            break
        assert result.returncode == TEMPORARY, (number, result)
        if number % 2:  # as at boot, before Docker
            product.stop_deployer()
            assert product.deploy("recover").returncode == DONE
            assert installed_fingerprint(product) in (before.fingerprint, new.fingerprint), number
            assert not product.mail.exists(f"{DEPLOY_STATE}/intent.json")
            product.start_deployer()
        reconcile = product.deploy()
        assert installed_fingerprint(product) in (before.fingerprint, new.fingerprint), number
        assert reconcile.returncode == DONE, (number, reconcile)
        assert product.push().returncode == DONE, number
        assert installed_fingerprint(product) == recorded(product) == new.fingerprint, number
        assert set(ssl_folder(product)) == {".", "cert.pem", "key.pem", "dhparams.pem"}, number
        before = new
    assert number > 4
    assert product.served_everywhere() == everywhere(new)
    assert not product.mail.exists(f"{DEPLOY_STATE}/intent.json")


# ---- the daemon


ACTIVATE = """
import os, socket, sys
path, uid = sys.argv[1], int(sys.argv[2])
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chown(path, 0, uid)
os.chmod(path, 0o660)
listener.listen(64)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[3], sys.argv[3:])
"""


def activate(lab):
    """Starts the daemon on a socket that it is handed, as systemd does."""
    lab.stop_deployer()
    lab.mail.run(["rm", "-f", SOCKET])
    gid = lab.mail.run(["id", "-g", USER]).stdout.strip()
    lab.deployer = lab.mail.popen([PYTHON, "-c", ACTIVATE, SOCKET, gid, DEPLOY, "serve", "--config", DEPLOY_CONF],
                                  stdin=subprocess.DEVNULL, env=lab.environment)
    wait_for(lab._deployer_answers, "the socket")
    return lab.deployer


def test_an_activated_daemon_exits_when_idle(product):
    product.write_deploy_conf({"deploy": {"idle": "5s"}})
    daemon = activate(product)
    new = deployed(product)
    assert_deployed(product, new)
    assert daemon.wait(60) == DONE
    assert product.mail.exists(SOCKET)  # systemd's, not the daemon's


def test_an_activated_daemon_does_not_exit_under_a_session(product):
    product.write_deploy_conf({"deploy": {"idle": "5s"}})
    daemon = activate(product)
    with relay(product) as session:
        greeted(session)
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.wait(7)
        assert session.ask(HELLO, "QUIT").code == 221
    assert daemon.wait(60) == DONE


def test_an_activated_daemon_remembers_a_forced_push(product):
    """Or a thief would only have to wait for its end to have the services reloaded again."""
    product.write_deploy_conf({"deploy": {"idle": "5s"}})
    daemon = activate(product)
    deployed(product)
    assert product.push("--force").returncode == DONE
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.wait(8)


def test_serve_needs_a_socket(product):
    result = product.deploy("serve")
    assert result.returncode == USAGE and "--socket" in result.stderr


def test_a_second_daemon_is_refused(product):
    result = product.deploy("serve", "--config", DEPLOY_CONF, "--socket", SOCKET)
    assert result.returncode not in (DONE, USAGE) and SOCKET in result.stderr
    assert deployed(product)


def test_a_dead_daemons_socket_is_taken_over(product):
    product.stop_deployer(signal.SIGKILL)
    assert product.mail.exists(SOCKET)
    inode = product.mail.path(SOCKET).stat().st_ino
    product.deployer = product.mail.popen([DEPLOY, "serve", "--config", DEPLOY_CONF, "--socket", SOCKET],
                                          stdin=subprocess.DEVNULL)
    wait_for(lambda: product.mail.path(SOCKET).stat().st_ino != inode, "a new socket")
    wait_for(product._deployer_answers, "the socket")
    assert deployed(product)


def test_a_terminated_daemon_finishes_its_deployment(product):
    new = product.renew()
    push = start_push(product)
    read_until(push, "installed")
    product.deployer.send_signal(signal.SIGTERM)
    result = end(push)
    assert result.returncode == DONE and "deployed" in result.stdout
    assert product.deployer.wait(10) == DONE
    assert not product.mail.exists(SOCKET)
    assert_deployed(product, new)


def test_a_terminated_daemon_does_not_wait_for_the_silent(product):
    """An idle client must not keep systemd waiting until it kills."""
    with relay(product) as session:
        greeted(session)
        product.deployer.send_signal(signal.SIGTERM)
        assert product.deployer.wait(20) == DONE


# ---- mailcow.conf


def edit_mailcow_conf(lab, edit) -> None:
    path = f"{mailcow.PATH}/mailcow.conf"
    lab.mail.write(path, edit(lab.mail.read(path)), 0o600)


@pytest.mark.parametrize("edit", [
    lambda text: text.replace(f"MAILCOW_HOSTNAME={HOSTNAME}", f'MAILCOW_HOSTNAME="{HOSTNAME}"'),
    lambda text: text.replace(f"MAILCOW_HOSTNAME={HOSTNAME}", f"MAILCOW_HOSTNAME='{HOSTNAME}' # ours"),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace(f"MAILCOW_HOSTNAME={HOSTNAME}", "MAILCOW_HOSTNAME=Mail.Example.ORG"),
    lambda text: f"# MAILCOW_HOSTNAME=x\nMAILCOW_HOSTNAME=first.example.org\n{text}",
], ids=["double quotes", "single quotes", "CRLF", "capitals", "the last one counts"])
def test_mailcow_conf_as_people_write_it(product, edit):
    edit_mailcow_conf(product, edit)
    new = deployed(product)
    assert_deployed(product, new)


@pytest.mark.parametrize("edit, said", [
    (None, "mailcow.conf: open"),
    (lambda text: "", "MAILCOW_HOSTNAME"),
    (lambda text: text.replace(f"MAILCOW_HOSTNAME={HOSTNAME}", "MAILCOW_HOSTNAME="), "MAILCOW_HOSTNAME"),
    (lambda text: text.replace(f"MAILCOW_HOSTNAME={HOSTNAME}", "MAILCOW_HOSTNAME=a b"), "mailcow.conf:"),
    (lambda text: text + "\nHTTPS_PORT=127.0.0.1:443\n", "HTTPS_PORT"),
], ids=["missing", "empty", "no host name", "bad host name", "bad port"])
def test_mailcow_conf_is_wrong(product, edit, said):
    if edit:
        edit_mailcow_conf(product, edit)
    else:
        product.mail.path(f"{mailcow.PATH}/mailcow.conf").unlink()
    product.renew()
    with Untouched(product):
        push, operator = product.push(), product.deploy()
    assert push.returncode in (TEMPORARY, CONFIG) and said in push.stderr, push
    assert operator.returncode == CONFIG and said in operator.stderr, operator
    shutil.copy(mailcow.TREE / "mailcow.conf", product.mail.path(f"{mailcow.PATH}/mailcow.conf"))
    assert product.push().returncode == DONE


# ---- deploy.conf


def test_every_mistake_in_deploy_conf_is_named_with_its_line(product):
    product.stop_deployer()
    product.mail.write(DEPLOY_CONF, f"""[deploy]
socket = {SOCKET}
push_usr = certsync
socket = {SOCKET}
[mailcow]
path = opt
require = a_b, *.example.org
[verify]
endpoints = telnet://mail.example.org
timeout = 1s
""")
    result = product.deploy("serve", "--socket", SOCKET)
    assert result.returncode == CONFIG
    lines = dict(re.findall(rf"{DEPLOY_CONF}:(\d+): (.*)", result.stderr))
    assert {"3", "4", "6", "7", "9", "10"} <= set(lines), result.stderr
    assert "push_usr" in lines["3"] and "twice" in lines["4"] and "telnet" in lines["9"]
    assert product.deploy().returncode == product.deploy("status").returncode == CONFIG


def test_no_deploy_conf_at_all_is_the_default(product):
    product.mail.path(DEPLOY_CONF).unlink()
    result = product.deploy("status")
    assert result.returncode == DONE, result


def test_a_configuration_file_that_is_named_must_be_there(product):
    result = product.deploy("--config", "/srv/none.conf")
    assert result.returncode == CONFIG and "/srv/none.conf" in result.stderr


def test_require_adds_names(product):
    names = [HOSTNAME, "imap.example.org", "example.net"]
    restart(product, {"mailcow": {"require": f"{names[1]}, {names[2]}"}})
    with connect(product) as session:
        rows = greeted(session).rows
    assert [row.split("name=")[1] for row in rows if row.startswith("name ")] == names
    product.renew()
    with Untouched(product):
        result = product.push()
    assert result.returncode == FAILED and "example.net" in result.stderr
    covering = product.renew(product.issue(*names))
    assert product.push().returncode == DONE
    assert_deployed(product, covering)
    assert product.served_everywhere("example.net") == everywhere(covering)


def test_a_required_wildcard(product):
    restart(product, {"mailcow": {"require": "*.example.org"}})
    product.renew()
    assert product.push().returncode == FAILED
    product.renew(product.issue("*.example.org"))
    assert product.push().returncode == DONE


def test_endpoints_can_be_set(product):
    restart(product, {"verify": {"endpoints": "imaps://127.0.0.1, smtp://mail.example.org:587, https://127.0.0.1:443"}})
    product.renew()
    result = product.push("--json")
    verified = {(s["endpoint"], s["address"]) for s in json.loads(result.stdout)["steps"] if s["step"] == "verified"}
    assert verified == {("imaps", "127.0.0.1:993"), ("smtp", "mail.example.org:587"), ("https", "127.0.0.1:443")}, result


def test_an_endpoint_that_nobody_serves_fails_the_verdict(product):
    restart(product, {"verify": {"endpoints": "imaps://127.0.0.1:4, imaps://127.0.0.1", "timeout": "5s"}})
    product.renew()
    result = product.push("-v")
    assert result.returncode == FAILED and "1 of 2 endpoints" in result.stderr
    assert re.search(r"not-verified .*127.0.0.1:4\b", result.stdout)


# ---- the SSL folder


def test_modes_owners_and_nothing_else(product):
    folder = product.mail.path(SSL)
    before, dhparams = folder.stat().st_ino, ssl_folder(product)["dhparams.pem"]
    deployed(product)
    after = ssl_folder(product)
    assert set(after) == {".", "cert.pem", "dhparams.pem", "key.pem"} and after["dhparams.pem"] == dhparams
    assert after["cert.pem"][1:4] == ("-rw-r--r--", 0, 0) and after["key.pem"][1:4] == ("-rw-------", 0, 0)
    assert folder.stat().st_ino == before
    state = product.mail.path(DEPLOY_STATE)
    assert state.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.rglob("*") if path.is_file())


def test_the_owner_of_what_is_replaced_stays(product):
    for name in ("cert.pem", "key.pem"):
        product.mail.run(["chown", "5000:5001", f"{SSL}/{name}"])
    deployed(product)
    after = ssl_folder(product)
    assert after["cert.pem"][2:4] == after["key.pem"][2:4] == (5000, 5001)


def test_a_first_pair_is_installed_where_there_was_none(product):
    for name in ("cert.pem", "key.pem"):
        product.mail.path(f"{SSL}/{name}").unlink()
    new = deployed(product)
    assert_deployed(product, new)


@pytest.mark.parametrize("name", ["key.pem", "cert.pem"])
def test_a_symlink_is_not_followed_and_not_replaced(product, name):
    product.mail.write("/srv/elsewhere.pem", product.mail.read_bytes(f"{SSL}/{name}"), 0o600)
    product.mail.path(f"{SSL}/{name}").unlink()
    product.mail.path(f"{SSL}/{name}").symlink_to("/srv/elsewhere.pem")
    other = {"key.pem": "cert.pem", "cert.pem": "key.pem"}[name]
    before = product.mail.read(f"{SSL}/{other}"), product.mail.read("/srv/elsewhere.pem")
    new = product.renew()
    result = product.push()
    assert result.returncode == FAILED and name in result.stderr, result
    assert (product.mail.read(f"{SSL}/{other}"), product.mail.read("/srv/elsewhere.pem")) == before
    assert product.mail.path(f"{SSL}/{name}").is_symlink()
    assert set(ssl_folder(product)) == {".", "cert.pem", "dhparams.pem", "key.pem"}
    product.mail.path(f"{SSL}/{name}").unlink()
    reconciled(product)
    assert_deployed(product, new)


def test_a_state_folder_open_to_others_is_refused(product):
    product.mail.path(DEPLOY_STATE).mkdir()
    product.mail.path(DEPLOY_STATE).chmod(0o755)
    product.renew()
    with Untouched(product):
        result = product.push()
    assert result.returncode != DONE and "0700" in result.stderr
    product.mail.path(DEPLOY_STATE).chmod(0o700)
    assert_works_again(product)


def test_a_full_disk_is_temporary(product):
    product.mail.path(DEPLOY_STATE).mkdir(mode=0o700)
    product.mail.run(["mount", "-t", "tmpfs", "-o", "mode=700,size=8k", "tmpfs", DEPLOY_STATE])
    product.renew()
    try:
        with Untouched(product):
            result = product.push()
        assert result.returncode == TEMPORARY and "No space left" in result.stderr, result
    finally:
        product.mail.run(["umount", "-l", DEPLOY_STATE])
    assert_works_again(product)


def test_old_generations_are_removed(product):
    for _ in range(6):
        new = deployed(product)
    kept = sorted(generations(product))
    assert len(kept) == 4 and kept[-2:] == [deploy_record(product)["previous"], deploy_record(product)["current"]]
    assert_deployed(product, new)
