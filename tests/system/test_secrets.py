"""Private keys: which process holds one at which moment, and that nothing else does, neither then nor afterwards."""
from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab.make import VARIABLES
from tests.lab.host import Host, wait_for
from tests.lab.lab import DEPLOY_STATE, KEY, LETSENCRYPT, Lab
from tests.lab.mailcow import SSL
from tests.lab.pki import Bundle
from tests.system.checks import DONE, assert_works_again, deploy_record, end, read_until, sessions, start_push, tracing
from tests.system.protocol import HELLO, connect, greeted, put, relay
from tests.system.traces import Key, counted, in_files, in_memory, on_display, processes, snapshot

pytestmark = pytest.mark.skipif("SANITIZE=1" in VARIABLES, reason="a sanitizer keeps what is freed")

DAEMON, SESSION, JUDGE = "mailcow-cert-deploy", "mailcow-cert-deploy>", "mailcow-cert-deploy>>"
RELAY = "mailcow-cert-receive"
WORKER, SSH_CHILD = "mailcow-cert-push-worker", "mailcow-cert-push-worker>"
WRITTEN = ["/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var/crash", "/var/log", "/var/spool", "/var/lib/docker/containers",
           "/var/lib/mailcow-cert-deploy", "/var/lib/mailcow-cert-push", "/var/lib/systemd/coredump"]


def holding(found: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {role: counts for role, counts in found.items() if counts}


def holders(key: Key, *hosts: Host) -> dict[str, dict[str, int]]:
    return holding(in_memory(key, *hosts))


@contextlib.contextmanager
def busy(lab: Lab) -> Iterator[None]:
    """Another deployment is under way."""
    with open(lab.mail.path(f"{DEPLOY_STATE}/lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(params=["p256", "rsa2048"])
def renewed(request, product) -> tuple[Bundle, Key]:
    bundle = product.issue(key=request.param, age=0.01)  # younger than what a test deploys before
    return bundle, Key(bundle.key)


def files_of(host: Host, key: Key) -> set[str]:
    folders = [host.path(folder) for folder in WRITTEN]
    return {str(path.relative_to(host.root)) for path in in_files(key, *folders)}


# ---- in memory


def test_it_is_found_where_it_is(product, renewed):
    """The search itself: a bundle that has not ended yet is in the session, once."""
    bundle, key = renewed
    with relay(product) as session:
        greeted(session)
        assert {DAEMON, SESSION, RELAY} <= in_memory(key, product.mail).keys() and not holders(key, product.mail)
        session.send(HELLO, put(bundle.pem)[:-10])
        wait_for(lambda: holders(key, product.mail) == {SESSION: {"text": 1}}, "one copy, in the session")


def test_an_accepted_one_is_held_by_its_session_alone(product, renewed):
    bundle, key = renewed
    with relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(bundle.pem)).code == 250
        assert holders(key, product.mail) == {SESSION: {"text": 1}}
    wait_for(lambda: not sessions(product), "the session has ended")
    assert in_memory(key, product.mail) == {DAEMON: {}}


def test_a_refused_one_is_forgotten(product):
    bundle = product.issue("other.example.org")
    key = Key(bundle.key)
    with relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(bundle.pem)).code == 550
        assert not holders(key, product.mail) and SESSION in in_memory(key, product.mail)


def test_one_that_is_put_again_is_there_once(product, renewed):
    bundle, key = renewed
    with relay(product) as session:
        greeted(session)
        session.send(HELLO)
        for _ in range(3):
            assert session.ask(put(bundle.pem)).code == 250
        assert holders(key, product.mail) == {SESSION: {"text": 1}}


def test_while_a_push_waits_for_its_verdict(product, renewed):
    """Nobody has it any more but who is to install it: neither of the pusher's processes, nor the relay."""
    assert_works_again(product)
    bundle, key = renewed
    identity = Key(product.proxy.read(KEY))
    product.renew(bundle)
    with busy(product):
        process = start_push(product)
        read_until(process, "judged")
        assert holders(key, product.proxy, product.mail) == {SESSION: {"text": 1}}
        assert {WORKER, SSH_CHILD} <= in_memory(key, product.proxy).keys()
        assert RELAY in in_memory(key, product.mail)
        assert not holders(identity, product.proxy, product.mail)
        assert not on_display(key, product.proxy, product.mail) and not on_display(identity, product.proxy, product.mail)
    assert end(process).returncode == DONE
    wait_for(lambda: not sessions(product), "the session has ended")
    assert in_memory(key, product.proxy, product.mail) == {DAEMON: {}}


def standstill(pid: int) -> str:
    """Differs from what it was before if the process has run since; empty if it runs now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return status if re.search(r"^State:\t[tT]", status, re.M) else ""


def stops_at(lab: Lab, call: str, when: int):
    """Each session, and its judge, stops at its when-th such call."""
    return tracing(lab, call, "-e", f"inject={call}:signal=SIGSTOP:when={when}")


def stopped(lab: Lab, role: str) -> list[int]:
    """The processes of this role that have stopped, and not just for a moment as each traced call does; others go on."""
    before = {pid: standstill(pid) for _, pid in processes(lab.mail)}
    time.sleep(0.2)
    found = {pid: its for its, pid in processes(lab.mail) if before.get(pid) and standstill(pid) == before[pid]}
    for pid in found:
        if found[pid] != role:
            os.kill(pid, signal.SIGCONT)
    return [pid for pid in found if found[pid] == role]


def at_each(lab: Lab, call: str, count: int, role: str, bundle: Bundle) -> Iterator[int]:
    """Deploys it again and again, and yields while the n-th such call of this role is about to be made, for each n."""
    for when in range(1, count + 1):
        lab.start_deployer()
        with stops_at(lab, call, when) as strace, connect(lab) as session:
            greeted(session)
            session.send(HELLO, put(bundle.pem), "DEPLOY force")
            [pid] = wait_for(lambda: stopped(lab, role), f"{call} {when} stops it")
            yield pid
            strace.terminate()  # it is to stop nobody else
            strace.wait()
            os.kill(pid, signal.SIGCONT)
            assert session.reply().code in (250, 251)
            assert session.reply().code in (250, 251)


def test_while_it_is_installed(product, renewed):
    """From the judgement on the session holds what it accepted, and while it writes the generation that it read."""
    bundle, key = renewed
    seen = [holders(key, product.mail) for _ in at_each(product, "renameat", 4, SESSION, bundle)]
    assert all(found.keys() == {SESSION} for found in seen)
    assert {found[SESSION].get("number", 0) for found in seen} == {0}
    assert {found[SESSION]["text"] for found in seen} == {1, 2}
    product.start_deployer()
    assert in_memory(key, product.mail) == {DAEMON: {}}


def test_the_judge_alone_makes_a_number_of_it(product, renewed):
    bundle, key = renewed
    for _ in at_each(product, "getrandom", 1, JUDGE, bundle):
        taken = snapshot(product.mail)  # and searched when nobody waits for the judge any more
    seen = holding(counted(key, taken))
    assert seen.keys() == {SESSION, JUDGE}
    assert seen[SESSION] == {"text": 1} and seen[JUDGE]["number"] >= 1


# ---- elsewhere


def test_it_is_in_no_file_but_its_own(product, renewed):
    bundle, key = renewed
    product.renew(bundle)
    assert product.push("-v").returncode == DONE
    assert product.push("--force", "--json").returncode == DONE
    with relay(product) as session:
        greeted(session)
        session.send(HELLO, put(bundle.pem + "-----BEGIN"), "DEPLOY")
    generation = deploy_record(product)["current"]
    assert files_of(product.mail, key) == {f"{SSL}/key.pem"[1:], f"{DEPLOY_STATE}/wants/primary/{generation}/key.pem"[1:]}
    archive = f"{LETSENCRYPT}/archive/npm-5"
    assert files_of(product.proxy, key) == {f"{archive}/privkey{product.lineage.generation}.pem"[1:]}


def cores(lab: Lab) -> set[str]:
    return {name for folder in ("/", "/tmp/crash") for name in os.listdir(lab.mail.path(folder)) if name.startswith("core")}


def test_a_crash_leaves_no_core(product, renewed):
    """A shell that crashes in the same folder does."""
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core":
        pytest.skip("on this machine cores do not go to the working directory")
    bundle, _ = renewed
    shutil.rmtree(product.mail.path("/tmp/crash"), ignore_errors=True)
    into_folder = ["sh", "-c", 'mkdir -p /tmp/crash && cd /tmp/crash && ulimit -c unlimited && exec "$0" "$@"']
    product.start_deployer(wrapper=into_folder)
    with relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(bundle.pem)).code == 250
        os.kill(sessions(product)[0], signal.SIGSEGV)
        assert session.line() is None
    wait_for(lambda: not sessions(product), "the session has ended")
    assert not cores(product)
    assert_works_again(product)
    product.mail.run([*into_folder, "sh", "-c", "kill -SEGV $$"], check=False)
    assert cores(product)
