"""Every process of ours under valgrind: no error and no leak; also in the children that end with _exit(2), where
AddressSanitizer looks for no leak. Nothing is suppressed."""
from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab.make import VARIABLES
from tests.lab.host import Host, Process, wait_for
from tests.lab.lab import DEPLOY, HOSTNAME, KEY, KNOWN_HOSTS, NAMES, PATIENCE, PUSH, RECEIVE, SOCKET, Lab
from tests.lab.pki import CA, Bundle
from tests.system.checks import CONFIG, DONE, FAILED, TEMPORARY, Untouched, assert_deployed, end, read_until
from tests.system.protocol import HELLO, connect, greeted, parse, put

pytestmark = [
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed"),
    pytest.mark.skipif("SANITIZE=1" in VARIABLES, reason="valgrind runs no program that has AddressSanitizer"),
    pytest.mark.skipif("CC=clang" in VARIABLES, reason="valgrind 3.19 cannot read the DWARF 5 that clang writes"),
]
SHIM_SOURCE = Path(__file__).with_name("valgrind_shim.c")
FOLDER = "/var/log/memcheck"
SHIM = f"{FOLDER}/shim.so"
VALGRIND = ["/usr/bin/env", f"LD_PRELOAD={SHIM}", "valgrind", "--vgdb=no", "--trace-children=yes", "--leak-check=full",
            "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite", f"--log-file={FOLDER}/%p.log"]

# What a log is of: the program, and a word for each fork(2) since its main(). They are alike in all sessions.
PUSHER, SSH_CHILD = "mailcow-cert-push-worker", "mailcow-cert-push-worker fork"
FIRST_LOOK = "mailcow-cert-push"
RELAY = "mailcow-cert-receive"
DAEMON, SESSION, JUDGE = "mailcow-cert-deploy serve", "mailcow-cert-deploy serve fork", "mailcow-cert-deploy serve fork fork"
OPERATOR = "mailcow-cert-deploy"
PUSH_PATH = {PUSHER, SSH_CHILD, RELAY, DAEMON, SESSION}


class Log:
    """What valgrind wrote of one process."""

    def __init__(self, path: Path):
        self.pid, self.text = int(path.stem), path.read_text()
        self.parent = self.find(r"Parent PID: (\d+)")
        self.command = self.find(r"Command: (.*)")
        self.ended = "ERROR SUMMARY: " in self.text
        self.clean = "ERROR SUMMARY: 0 errors from 0 contexts (suppressed: 0 from 0)" in self.text

    def find(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        return match[1] if match else ""

    def role(self, others: dict[int, Log]) -> str:
        parent = others.get(int(self.parent or 0))
        if parent and parent.command == self.command:
            return f"{parent.role(others)} fork"
        program, *words = self.command.split()
        return " ".join([Path(program).name, *(["serve"] if "serve" in words else [])])


def read_logs(host: Host) -> dict[int, Log]:
    return {log.pid: log for log in map(Log, host.path(FOLDER).glob("*.log"))}


class Memcheck:
    """The lab with whatever the test starts of the product under valgrind."""

    def __init__(self, lab: Lab, shim: bytes):
        self.lab = lab
        for host in (lab.proxy, lab.mail):
            shutil.rmtree(host.path(FOLDER), ignore_errors=True)
            host.write(SHIM, shim, 0o755)
            host.path(FOLDER).chmod(0o1777)
        self.authorize()
        self.start_deployer("60s")

    def start_deployer(self, timeout: str) -> None:
        """timeout: of the verification"""
        self.lab.write_deploy_conf({"verify": {"timeout": timeout}})
        self.lab.start_deployer(wrapper=VALGRIND)

    def authorize(self) -> None:
        self.lab.sshd.authorize(self.lab.public_key, options=f'restrict,command="{" ".join([*VALGRIND, RECEIVE])}"')

    def push(self, *args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        return self.lab.proxy.run([*VALGRIND, *options, PUSH, *args], check=False, timeout=PATIENCE)

    def start_push(self) -> Process:
        return self.lab.proxy.popen([*VALGRIND, PUSH, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)

    def deploy(self, *args: str) -> subprocess.CompletedProcess:
        return self.lab.mail.run([*VALGRIND, DEPLOY, *args], check=False, timeout=PATIENCE)

    def assert_clean(self, *roles: str) -> None:
        """Ends the deployer; then there is a log of each of these, and of no other, process, and no error in any."""
        if self.lab.deployer:
            assert self.lab.stop_deployer() == 0, self.lab.deployer_log()
        seen, errors = set(), []
        for host in (self.lab.proxy, self.lab.mail):
            wait_for(lambda: all(log.ended for log in read_logs(host).values()), f"{host.name}: the logs' summaries")
            logs = read_logs(host)
            seen |= {log.role(logs) for log in logs.values()}
            errors += [f"{host.name}: {log.role(logs)}\n{log.text}" for log in logs.values() if not log.clean]
        assert not errors, "\n".join(errors)
        assert seen == set(roles)


@pytest.fixture
def memcheck(installed_lab: Lab, lab: Lab) -> Iterator[Memcheck]:
    yield Memcheck(lab, build_shim(lab.directory))
    lab.stop_deployer()


def build_shim(folder: Path) -> bytes:
    library = folder / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, SHIM_SOURCE, "-ldl"], check=True)
    return library.read_bytes()


def renew_untrusted(lab: Lab) -> None:
    lab.renew(CA("Other").issue(*NAMES))


# ---- the path of a push


def test_a_push(memcheck):
    new = memcheck.lab.renew()
    result = memcheck.push("-v")
    assert result.returncode == DONE and "served" not in result.stderr, result
    assert_deployed(memcheck.lab, new)
    memcheck.assert_clean(*PUSH_PATH, JUDGE)


def test_a_pass_that_has_nothing_to_do(memcheck):
    assert memcheck.lab.push().returncode == DONE
    for args in ([], ["status"], ["--json"], ["--version"]):
        result = memcheck.push(*args)
        assert result.returncode == DONE, result
    memcheck.assert_clean(FIRST_LOOK, RELAY, DAEMON, SESSION, JUDGE)


def test_before_the_pusher_becomes_its_worker(memcheck):
    """valgrind begins the log anew at an exec: here the worker goes without it. There is no summary, only errors."""
    memcheck.lab.renew()
    assert memcheck.push(options=("--trace-children-skip=*-worker",)).returncode == DONE
    [log] = read_logs(memcheck.lab.proxy).values()
    assert log.command == PUSH
    assert re.fullmatch(r"(==\d+== *\n)*", log.text.split("Parent PID: ", 1)[1].partition("\n")[2]), log.text


def test_pushes_of_every_kind(memcheck):
    new = memcheck.lab.renew()
    for args in (["--dry-run"], ["--force", "--json"], ["--force"]):
        result = memcheck.push(*args)
        assert result.returncode == DONE, result
    assert_deployed(memcheck.lab, new)
    memcheck.assert_clean(*PUSH_PATH, JUDGE)


def test_a_rejected_push(memcheck):
    renew_untrusted(memcheck.lab)
    with Untouched(memcheck.lab):
        result = memcheck.push()
    assert result.returncode == FAILED and "rejected" in result.stdout + result.stderr, result
    memcheck.assert_clean(*PUSH_PATH, JUDGE)


def test_a_push_that_is_not_served(memcheck):
    memcheck.start_deployer("10s")  # in vain
    memcheck.lab.docker("stop", "--time=2", memcheck.lab.mailcow.name("nginx-mailcow"))
    memcheck.lab.renew()
    result = memcheck.push()
    assert result.returncode == FAILED, result
    assert memcheck.deploy().returncode == FAILED
    memcheck.assert_clean(*PUSH_PATH, JUDGE, OPERATOR)


def test_a_push_without_a_mail_host(memcheck):
    """Every way in which a session ends before the protocol begins."""
    lab = memcheck.lab
    lab.renew()

    def target(**keys: str) -> None:
        lab.write_push_conf({"target mailcow": keys})

    def nobody() -> None:
        target(host="nobody.example.org")
        lab.write_known_hosts("nobody.example.org")

    def another_host_key() -> None:
        lab.write_known_hosts(kinds=["ecdsa"])
        lab.proxy.write(KNOWN_HOSTS, lab.proxy.read(KNOWN_HOSTS).replace("AAAA", "AAAB"))

    failures = {
        "refused": (TEMPORARY, lambda: target(port="2")),
        "resolve": (CONFIG, nobody),
        "key is refused": (CONFIG, lambda: lab.sshd.authorize()),
        "host key unknown": (CONFIG, lambda: lab.write_known_hosts("other.example.org")),
        "host key unreadable": (CONFIG, another_host_key),
        "key unreadable": (CONFIG, lambda: lab.proxy.write(KEY, "no key\n", 0o600)),
        "another program": (CONFIG, lambda: lab.sshd.authorize(lab.public_key, options='restrict,command="echo hello"')),
        "no lineage": (FAILED, lambda: shutil.rmtree(lab.lineage.live)),
    }
    key = lab.proxy.read(KEY)
    for what, (expected, damage) in failures.items():
        damage()
        result = memcheck.push()
        assert result.returncode == expected and result.stdout + result.stderr, (what, result)
        target()
        lab.write_known_hosts()
        lab.proxy.write(KEY, key, 0o600)
        memcheck.authorize()
    memcheck.assert_clean(*PUSH_PATH)


def test_a_push_that_is_cut_within_the_bundle(memcheck):
    with memcheck.lab.link(cut_up=2600) as link:
        memcheck.lab.push_through(link)
        memcheck.lab.renew()
        with Untouched(memcheck.lab):
            result = memcheck.push("-v")
    assert result.returncode == TEMPORARY and " sent " in result.stdout, result
    memcheck.assert_clean(*PUSH_PATH)


def test_a_push_that_is_cut_within_the_progress(memcheck):
    with memcheck.lab.link() as link:
        memcheck.lab.push_through(link)
        new = memcheck.lab.renew()
        push = memcheck.start_push()
        read_until(push, "judged")
        link.set(cut_down=0)
        result = end(push)
    assert result.returncode == TEMPORARY and result.stderr, result
    memcheck.assert_clean(*PUSH_PATH, JUDGE)
    assert_deployed(memcheck.lab, new)


# ---- other clients


def test_a_bare_bundle(memcheck):
    new = memcheck.lab.issue()
    replies = parse(memcheck.lab.ssh(input=new.pem).stdout)
    assert [reply.code for reply in replies] == [220, 250, 250]
    assert_deployed(memcheck.lab, new)
    memcheck.assert_clean(RELAY, DAEMON, SESSION, JUDGE)


def test_the_operator(memcheck):
    new = memcheck.lab.renew()
    assert memcheck.lab.push().returncode == DONE
    for args in ([], ["status"], ["status", "--json"], ["--force", "-v"], ["reconcile", "--json"], ["recover"]):
        result = memcheck.deploy(*args)
        assert result.returncode == DONE, (args, result)
    assert_deployed(memcheck.lab, new)
    memcheck.assert_clean(RELAY, DAEMON, SESSION, JUDGE, OPERATOR)


def test_the_relay_without_a_deployer(memcheck):
    memcheck.lab.stop_deployer()
    assert memcheck.lab.ssh(input="").stdout.startswith("421 unavailable: ")
    memcheck.assert_clean(RELAY, DAEMON)


def bad_bundles(lab: Lab) -> dict[str, str]:
    good, other = lab.issue(), lab.issue()
    return {
        "not a key": good.fullchain + good.key.replace("M", "N"),
        "key of another": good.replace(key=other.key).pem,
        "forged key": lab.issue(key="rsa2048").with_forged_key().pem,
        "encrypted key": good.with_encrypted_key().pem,
        "no key": good.fullchain,
        "no certificate": good.key,
        "no chain": good.replace(chain="").pem,
        "truncated": good.pem[:len(good.cert) // 2],
        "truncated key": good.pem[:-100],
        "expired": lab.issue(days=30, age=31).pem,
        "not yet valid": lab.issue(age=-1).pem,
        "another name": lab.ca.issue("www.example.org").pem,
        "untrusted": CA("Other").issue(*NAMES).pem,
        "clientAuth": lab.issue(usage=()).replace(chain=good.cert).pem,
        "text": "Dear sir or madam\n",
        "empty": "",
    }


def test_every_bundle_that_is_judged(memcheck):
    with connect(memcheck.lab) as session:
        greeted(session)
        session.send(HELLO)
        for what, bundle in bad_bundles(memcheck.lab).items():
            reply = session.ask(put(bundle))
            assert reply.code in (550, 450), (what, reply)
            assert "reason=crashed" not in reply.text, (what, reply)
        for key in ("p256", "p384", "rsa2048", "ed25519"):
            assert session.ask(put(memcheck.lab.issue(key=key).pem)).code == 250, key
    memcheck.assert_clean(DAEMON, SESSION, JUDGE)


def test_what_is_not_the_protocol(memcheck):
    pem = memcheck.lab.issue().pem
    for parts in ([b"\0\1\2\n"], [b"x" * 2**20], [b"HELLO 9 test\n"], [HELLO, b"PUT primary x y\n"], [HELLO, put(pem, digest="0" * 64)],
                  [HELLO, put(pem, want="nobody")], [HELLO, b"DEPLOY\n"], [HELLO, put(pem)[:-10]], [pem.encode()[:-10]],
                  [HELLO, b"PUT primary 99999999 " + b"0" * 64 + b"\n"], [b"-----BEGIN " + b"x\n" * 2**20], []):
        with connect(memcheck.lab) as session:
            try:
                session.send(*parts)
                session.socket.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough
            while session.line() is not None:
                pass
    memcheck.assert_clean(DAEMON, SESSION, JUDGE)


# ---- SIGTERM


def test_a_terminated_daemon_finishes_a_deployment(memcheck):
    new = memcheck.lab.renew()
    push = memcheck.start_push()
    read_until(push, "staged")
    memcheck.lab.deployer.send_signal(signal.SIGTERM)
    assert end(push).returncode == DONE
    assert memcheck.lab.deployer.wait(120) == 0, memcheck.lab.deployer_log()
    memcheck.lab.deployer = None
    assert_deployed(memcheck.lab, new)
    memcheck.assert_clean(*PUSH_PATH, JUDGE)


def test_a_terminated_daemon_leaves_the_silent(memcheck):
    with connect(memcheck.lab) as session:
        greeted(session)
        assert memcheck.lab.stop_deployer() == 0
    memcheck.assert_clean(DAEMON, SESSION)
