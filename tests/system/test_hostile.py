"""The push key and the account certsync in a thief's hands: what he tries, and that mail, operator and the honest pusher go on."""
from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab.host import PYTHON, wait_for
from tests.lab.lab import DEPLOY_STATE, DEPLOYER_LOG, ETC, HOSTNAME, KEY, NAMES, SOCKET, USER, Lab
from tests.lab.mailcow import SSL
from tests.lab.make import REPOSITORY
from tests.lab.pki import CA, Bundle
from tests.lab.sshd import COMMAND
from tests.system.checks import TEMPORARY as LATER
from tests.system.checks import (DONE, FAILED, Untouched, assert_deployed, assert_works_again, describe, generations, sessions,
                                 undisturbed)
from tests.system.crowds import CONDUCTS, crowd, push, reconcile, status
from tests.system.protocol import HELLO, Reply, connect, greeted, parse, put, relay

CROWD = 400  # more than there may be sessions (256)
GREETING = b"220-mailcow-cert-deploy "


# ---- what sshd lets him do


@contextlib.contextmanager
def match_block(lab: Lab) -> Iterator[None]:
    """sshd with the product's own Match block, and nothing in the key's line."""
    text = (REPOSITORY / "conf/sshd_config.d/mailcow-certsync.conf").read_text().replace("@libexecdir@", "/usr/libexec")
    lab.mail.write("/etc/ssh/sshd_config.d/mailcow-certsync.conf", text)
    lab.sshd.start(X11Forwarding="yes", AllowAgentForwarding="yes", PermitTunnel="yes", PermitUserEnvironment="yes",
                   Include="/etc/ssh/sshd_config.d/mailcow-certsync.conf")
    lab.sshd.authorize(lab.public_key, options="")
    try:
        yield
    finally:
        lab.sshd.authorize(lab.public_key)
        lab.sshd.start()


@pytest.fixture(params=["the key's line alone", "the Match block alone"])
def guarded(request, undisturbed) -> Iterator[Lab]:
    with match_block(undisturbed) if request.param == "the Match block alone" else contextlib.nullcontext():
        yield undisturbed


def assert_relay_only(result: subprocess.CompletedProcess) -> None:
    """Whatever was asked for, the relay answered."""
    assert result.stdout.startswith(GREETING) and b"uid=" not in result.stdout, result


@pytest.mark.parametrize("args", [
    ["id"], ["/bin/sh", "-i"], ["-s", "sftp"], ["scp", "-t", "/tmp"], ["rsync", "--server", ".", "/tmp"],
    ["mailcow-cert-receive; id"], ["$(touch /tmp/was-here)"], ["-A"], ["-X"], ["-Y"],
    ["-o", "SendEnv=*", "-o", "SetEnv=LD_PRELOAD=/tmp/evil.so"],
], ids=" ".join)
def test_there_is_only_the_relay(guarded, args):
    with Untouched(guarded):
        assert_relay_only(guarded.ssh(*args, input=HELLO + b"QUIT\n"))
    assert not guarded.mail.exists("/tmp/was-here")


@pytest.mark.parametrize("args, said", [(["-tt", "id"], b"PTY allocation request failed"), (["-s", "netconf"], b"subsystem request failed")],
                         ids=["pty", "subsystem"])
def test_what_is_refused(guarded, args, said):
    result = guarded.ssh(*args, input=HELLO + b"QUIT\n")
    assert said in result.stderr and b"uid=" not in result.stdout, result


@pytest.mark.parametrize("args", [
    ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"], ["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/s:127.0.0.1:22"],
    ["-W", "127.0.0.1:993"], ["-o", "ExitOnForwardFailure=yes", "-w", "any:any"],
], ids=" ".join)
def test_nothing_is_forwarded(guarded, args):
    result = guarded.ssh(*args, input=HELLO + b"QUIT\n", timeout=20)
    assert result.returncode != 0 and not result.stdout, result


def forwarded_local(lab: Lab, target: str) -> bytes:
    """What comes back over `ssh -L` when something is sent there."""
    script = ('ssh -F none -N -o BatchMode=yes -o ExitOnForwardFailure=yes -o UserKnownHostsFile="$0" -i "$1" -L 127.0.0.1:2099:"$2" '
              '"$3" & trap "kill $!" EXIT; for i in $(seq 100); do ss -tln | grep -q :2099 && break; sleep 0.05; done; '
              f'{PYTHON} -I -c "import socket; s = socket.create_connection((\'127.0.0.1\', 2099)); s.settimeout(3); print(s.recv(99))"')
    return lab.proxy.run(["sh", "-c", script, f"{ETC}/known_hosts", KEY, target, f"{USER}@mail.example.org"], check=False,
                         text=False).stdout


@pytest.mark.parametrize("target", ["127.0.0.1:143", SOCKET])
def test_no_connection_is_made_for_him(guarded, target):
    assert forwarded_local(guarded, target) in (b"b''\n", b"")


def test_files_cannot_be_copied(guarded):
    for program in (["scp", "-O"], ["scp"], ["sftp", "-b", "-"]):
        remote = [f"{USER}@mail.example.org"] if program[0] == "sftp" else ["/etc/hostname", f"{USER}@mail.example.org:/tmp/was-here"]
        result = guarded.proxy.run([*program, "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={ETC}/known_hosts",
                                    "-i", KEY, *remote], check=False, input=b"put /etc/hostname /tmp/was-here\n", timeout=90)
        assert result.returncode != 0, (program, result)
    assert not guarded.mail.exists("/tmp/was-here")


def test_a_connection_has_one_session(undisturbed):
    """MaxSessions 1: a stolen key does not open many relays behind one login."""
    control = "/tmp/control"
    master = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={ETC}/known_hosts", "-i", KEY, "-M", "-S", control,
              f"{USER}@mail.example.org"]
    with match_block(undisturbed), undisturbed.proxy.popen(master, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline().startswith(GREETING)
        second = undisturbed.proxy.run(["ssh", "-S", control, f"{USER}@mail.example.org"], check=False, input=b"")
        assert second.returncode != 0 and GREETING not in second.stdout, second
        first.stdin.close()


def test_a_connection_without_session_is_ended(undisturbed):
    """ssh -N: UnusedConnectionTimeout 10."""
    with match_block(undisturbed):
        begin = time.monotonic()
        result = undisturbed.ssh("-N", timeout=60)
    assert result.returncode == 255 and 8 < time.monotonic() - begin < 40, result


def test_the_account_cannot_add_keys(undisturbed):
    keys = f"/etc/ssh/certsync/{USER}"
    result = undisturbed.mail.run(["sh", "-c", f"echo x >> {keys} || rm -f {keys}"], user=USER, check=False)
    assert result.returncode and "Permission denied" in result.stderr
    with match_block(undisturbed):
        undisturbed.mail.write(f"/home/{USER}/.ssh/authorized_keys", undisturbed.public_key + "\n")
        undisturbed.mail.write("/.ssh/authorized_keys", undisturbed.public_key + "\n")
        undisturbed.sshd.authorize()
        assert b"Permission denied" in undisturbed.ssh(input=b"").stderr
        undisturbed.mail.path("/.ssh/authorized_keys").unlink()


def test_the_relay_passes_nothing_of_its_environment_on(undisturbed):
    """It looks at no variable, and the session is no descendant of it."""
    process = undisturbed.mail.popen([COMMAND], user=USER, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     env={"SSH_ORIGINAL_COMMAND": "STATUS\n<3>forged", "OPENSSL_CONF": "/tmp/evil.cnf"})
    assert process.stdout.readline().startswith(GREETING)
    for pid in [undisturbed.deployer.inner(), *sessions(undisturbed)]:
        assert b"evil" not in Path(f"/proc/{pid}/environ").read_bytes()
    process.communicate(b"", 20)
    assert "forged" not in undisturbed.deployer_log()


def test_a_relay_whose_output_is_closed_ends(undisturbed):
    for redirect in (">&-", "> /dev/full", "| true"):
        script = f"{COMMAND} {redirect} < /dev/zero"
        undisturbed.mail.run(["bash", "-c", script], user=USER, check=False, timeout=30)
    wait_for(lambda: not sessions(undisturbed), "the sessions have ended", 30)


def test_a_relay_ends_when_nothing_is_sent_for_five_minutes(undisturbed):
    """strace lets one of its waits end as if they were over."""
    result = undisturbed.mail.run(["strace", "-e", "trace=poll,alarm", "-e", "inject=poll:retval=0:when=2", COMMAND], stdin=subprocess.PIPE,
                                  user=USER, check=False, timeout=30)
    assert result.returncode == LATER and result.stdout.splitlines()[-1] == "421 timeout: nothing was sent for too long"
    assert re.search(r"^poll\(.*, 300000\) += 0 \(Timeout\) \(INJECTED\)$", result.stderr, re.MULTILINE), result.stderr


def test_a_relay_ends_after_twenty_minutes(undisturbed):
    """strace lets its alarm go off at once."""
    result = undisturbed.mail.run(["strace", "-e", "trace=alarm", "-e", "inject=alarm:signal=ALRM", COMMAND], stdin=subprocess.PIPE,
                                  user=USER, check=False, timeout=30)
    assert "alarm(1200)" in result.stderr and "killed by SIGALRM" in result.stderr, result.stderr


def test_the_account_can_do_nothing_else_at_the_socket(undisturbed):
    """Not root's work, not another's, and it cannot pretend to be another uid."""
    with Untouched(undisturbed), relay(undisturbed) as session:
        greeted(session)
        session.send(HELLO)
        for command in ("RECONCILE", "RECONCILE force", "STATUS", "ROLLBACK primary", "REMOVE primary"):
            reply = session.ask(command)
            assert reply.code in (500, 530), (command, reply)
            if reply.code == 500:
                break
    forge = ("import socket, struct, os\ns = socket.socket(socket.AF_UNIX)\ns.connect(%r)\n"
             "s.sendmsg([b'HELLO 1 x\\nSTATUS\\n'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack('3i', os.getpid(), 0, 0))])\n")
    result = undisturbed.mail.run([PYTHON, "-I", "-c", forge % SOCKET], user=USER, check=False)
    assert result.returncode and "PermissionError" in result.stderr


def test_others_get_no_session(undisturbed):
    for user in ("nobody", "www-data"):
        result = undisturbed.mail.run([COMMAND], user=user, input="", check=False)
        assert "421 unavailable" in result.stdout or "530 forbidden" in result.stdout, result


# ---- what he says


@pytest.mark.parametrize("want", ["..", ".", "../..", "../../etc", "/etc", "/etc/passwd", "primary/..", "primary/../x", "primary\\..", "x/",
                                  "...", "%2e%2e", "primary%00", "", "-", "*", "lock", "intent.json", "wants", "a" * 254])
def test_a_want_is_only_what_is_wanted(undisturbed, want):
    before = sorted(p.name for p in undisturbed.mail.path(f"{DEPLOY_STATE}/wants").iterdir())
    with Untouched(undisturbed), relay(undisturbed) as session:
        greeted(session)
        session.send(HELLO, put(undisturbed.issue().pem, want=want))
        with contextlib.suppress(BrokenPipeError):
            session.send("DEPLOY")
        replies = [reply.code for reply in iter(session.reply, None)]
        assert replies and set(replies) <= {500, 501, 503}, replies
    assert sorted(p.name for p in undisturbed.mail.path(f"{DEPLOY_STATE}/wants").iterdir()) == before


def test_an_old_push_is_not_taken_again(product):
    """What he recorded, he may repeat: it is refused once a newer one is there, also in the same session and by force."""
    old, new = product.issue(age=5), product.issue(age=1)
    recorded = HELLO + put(old.pem) + b"DEPLOY force\n"
    for bundle in (old, new):
        product.renew(bundle)
        assert product.push().returncode == DONE
    with Untouched(product):
        replies = parse(product.ssh(input=recorded).stdout.decode())
        assert [reply.code for reply in replies] == [220, 550, 503] and "reason=older" in replies[1].text
        with relay(product) as session:
            greeted(session)
            assert session.ask(HELLO, put(new.pem)).code == 251
            assert session.ask(put(old.pem)).code == 550
            assert session.ask("DEPLOY force").code == 503


def test_identical_pushes_make_no_generations(product):
    new = assert_works_again(product)
    before = generations(product)
    for _ in range(3):
        parse(product.ssh(input=HELLO + put(new.pem) + b"DEPLOY\n").stdout.decode())
    assert generations(product) == before


def test_generations_are_bounded(product):
    """Also of certificates that are valid, each newer than the one before, and never served."""
    product.mailcow.docker("pause", product.mailcow.name("dovecot-mailcow"))
    product.write_deploy_conf({"verify": {"timeout": "5s"}})
    product.start_deployer()
    for age in range(20, 10, -1):
        replies = parse(product.ssh(input=HELLO + put(product.issue(age=age).pem) + b"DEPLOY\n", timeout=120).stdout.decode())
        assert replies[1].code == 250 and replies[2].code in (451, 554), replies
        assert len(generations(product)) <= 6


def forced(lab: Lab, *bundles: Bundle) -> Reply:
    """The verdict of DEPLOY force by the push account."""
    with relay(lab) as session:
        greeted(session)
        session.send(HELLO)
        for bundle in bundles:
            assert session.ask(put(bundle.pem)).code in (250, 251)
        return session.ask("DEPLOY force")


def reloads(verdict: Reply) -> int:
    return sum(line.startswith("reloaded ") for line in verdict.progress)


def test_services_are_reloaded_only_so_often_for_nothing_new(product):
    """By the push account; the operator may."""
    new = assert_works_again(product)
    assert reloads(forced(product, new)) == 3
    for _ in range(3):
        verdict = forced(product, new)
        assert verdict.code == 251 and reloads(verdict) == 0, verdict
        assert [line for line in verdict.progress if line.startswith("warning: it brings nothing new")]
    for _ in range(2):
        assert "reloaded" in product.deploy("--force", "-v").stdout
    newer = product.issue()
    assert reloads(forced(product, newer)) == 3
    assert_deployed(product, newer)


def test_services_are_not_restarted_again_and_again_for_nothing_new(product):
    """Where an endpoint does not serve, asking again and again does no more than asking once."""
    new = assert_works_again(product)
    product.write_deploy_conf({"verify": {"endpoints": "imaps://127.0.0.1:993, imaps://127.0.0.1:9", "timeout": "5s"}})
    product.start_deployer()
    verdicts = []
    for _ in range(3):
        with relay(product) as session:
            greeted(session)
            assert session.ask(HELLO, put(new.pem)).code == 251
            verdicts.append(session.ask("DEPLOY"))
    assert reloads(verdicts[0]) > 0 and all(verdict.code >= 400 for verdict in verdicts)
    assert [reloads(verdict) for verdict in verdicts[1:]] == [0, 0]


# ---- a crowd at the socket


@pytest.mark.parametrize("conduct", CONDUCTS)
def test_a_crowd_keeps_nobody_out(product, conduct):
    """More than there may be sessions, each made anew when it is ended."""
    with crowd(product, conduct, CROWD):
        assert status(product) < 10
        assert push(product) < 120
        assert reconcile(product) < 60
    wait_for(lambda: not sessions(product), "the crowd's sessions have ended", 120)
    assert status(product) < 5
    assert_works_again(product)


def test_who_brings_nothing_new_again_and_again_keeps_nobody_out(product):
    """The proxy host itself is his: he has what is installed, and has it deployed as often as he can."""
    new = assert_works_again(product)
    with crowd(product, "deploying", CROWD, bundle=new):
        assert status(product) < 10
        assert reconcile(product) < 60
        assert push(product) < 120


def test_a_crowd_through_sshd_keeps_nobody_out(product):
    with match_block(product):
        with crowd(product, "silent", 60, by_ssh=True):
            assert status(product) < 10
            assert push(product) < 120
        assert_works_again(product)


@pytest.mark.parametrize("conduct", ["bundle_after_bundle", "babbling"])
def test_a_crowd_is_told_of_and_does_not_fill_the_log(product, conduct):
    """Each session, or each bundle, would be a message."""
    product.mail.path(DEPLOYER_LOG).write_text("")
    begin = time.monotonic()
    with crowd(product, conduct, CROWD) as result:
        assert_works_again(product)
        wait_for(lambda: time.monotonic() - begin > 5, "some seconds of it")
    log = product.deployer_log()
    minutes = (time.monotonic() - begin) / 60 + 1
    if conduct == "bundle_after_bundle":  # the others end by themselves
        assert 1 <= log.count("sessions of pushers and") <= minutes and "does somebody else have the push key?" in log
    assert result.seen["connections"] > 300
    assert len(log.splitlines()) < 60 * minutes + 70


def memory_of(lab: Lab) -> int:
    """Bytes that all processes of the deployer have, what they share counted once."""
    pids = [lab.deployer.inner(), *sessions(lab)]
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return total * 1024


def test_who_says_nothing_is_ended_for_one_that_waits(product):
    """Not only when its own time is over."""
    with crowd(product, "silent", 256) as result:
        wait_for(lambda: len(sessions(product)) >= 256, "as many sessions as there may be")
        with relay(product) as session:
            greeted(session)
    assert result.seen["421 busy"] > 0


def test_a_crowd_takes_a_bounded_amount_of_memory(product):
    """Also where each has sent most of a largest bundle. Descriptors are bounded as well."""
    with crowd(product, "deaf", CROWD), crowd(product, "silent", CROWD):
        wait_for(lambda: len(sessions(product)) >= 256, "as many sessions as there may be")
        assert len(sessions(product)) <= 264
        assert memory_of(product) < 1 << 30
        assert len(os.listdir(f"/proc/{product.deployer.inner()}/fd")) < 1024 + 64


def test_a_session_that_deploys_is_not_ended(product):
    """Once it has begun, neither a crowd nor a SIGTERM keeps it from its verdict."""
    assert_works_again(product)
    new = product.issue()
    with connect(product) as other, relay(product) as session:
        greeted(other)
        greeted(session)
        with open(product.mail.path(f"{DEPLOY_STATE}/lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert session.ask(HELLO, put(new.pem)).code == 250
            session.send("DEPLOY")
            with crowd(product, "announcing", CROWD):
                wait_for(lambda: "sessions of pushers and" in product.deployer_log(), "the crowd is made room for")
                for pid in sessions(product):
                    with contextlib.suppress(ProcessLookupError):  # the daemon is ending them itself
                        os.kill(pid, signal.SIGTERM)
                fcntl.flock(lock, fcntl.LOCK_UN)
                assert session.reply(timeout=120).code == 250
    assert_deployed(product, new)


def test_a_push_in_pieces_goes_through_where_nobody_waits(product):
    """Turns end only when others want theirs: a slow link is no attack."""
    new = product.issue()
    with relay(product) as session:
        greeted(session)
        whole = HELLO + put(new.pem) + b"DEPLOY\n"
        for start in range(0, len(whole), 200):
            session.send(whole[start:start + 200])
            time.sleep(0.6)  # what is tested: a slow sender
        assert session.reply().code == 250
        assert session.reply().code == 250
    assert_deployed(product, new)


# ---- mailcow's SSL folder, which acme-mailcow may write as well

VICTIM = "/root/victim"
TEMPORARY = (".cert.pem.certsync", ".key.pem.certsync")


class Bystanders:
    """Files elsewhere that a link in the SSL folder leads to: within it they may not change."""

    def __init__(self, lab: Lab):
        self.lab = lab
        for name in ("cert.pem", "key.pem", "domains", "file"):
            lab.mail.write(f"{VICTIM}/{name}", "not yours\n" if name != "domains" else "shop.example.org", 0o600)

    def look(self) -> dict[str, tuple]:
        folder = self.lab.mail.path(VICTIM)
        return {".": describe(folder)} | {path.name: describe(path) for path in sorted(folder.iterdir())}

    def __enter__(self) -> None:
        self.before = self.look()

    def __exit__(self, *_) -> None:
        assert self.look() == self.before


@pytest.mark.parametrize("name", TEMPORARY)
def test_a_planted_link_is_not_written_through(product, name):
    os.symlink(f"{VICTIM}/file", product.mail.path(f"{SSL}/{name}"))
    with Bystanders(product):
        new = assert_works_again(product)
    assert_deployed(product, new)
    assert not product.mail.exists(f"{SSL}/{name}")


@pytest.mark.parametrize("name", [*TEMPORARY, "cert.pem", "key.pem"])
@pytest.mark.parametrize("plant", [os.mkdir, os.mkfifo, lambda path: os.symlink(f"{VICTIM}/file", path)], ids=["folder", "fifo", "link"])
def test_what_is_planted_in_the_way_is_told_and_not_used(product, name, plant):
    path = product.mail.path(f"{SSL}/{name}")
    path.unlink(missing_ok=True)
    plant(path)
    product.renew()
    with Bystanders(product):
        result = product.push()
        status(product)
    assert result.returncode == DONE or name in result.stderr, result
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    assert_works_again(product)


def shop(lab: Lab) -> None:
    """An SNI folder, deployed once."""
    lab.write_deploy_conf({"sni shop": {"domains": "shop.example.org"}, "verify": {"timeout": "5s"}})
    lab.start_deployer()
    with relay(lab) as session:
        greeted(session)
        assert session.ask(HELLO, put(lab.issue("shop.example.org").pem, want="shop")).code == 250
        session.ask("DEPLOY")
    assert lab.mail.exists(f"{SSL}/shop/domains")


def test_a_folder_that_is_a_link_is_no_want(product):
    shop(product)
    folder = product.mail.path(f"{SSL}/shop")
    folder.rename(folder.with_name(".shop.away"))
    with Bystanders(product):
        folder.symlink_to(VICTIM)
        with relay(product) as session:
            session.reply()
            with contextlib.suppress(BrokenPipeError):
                session.send(HELLO, put(product.issue("shop.example.org").pem, want="shop"), "DEPLOY force")
            assert all(reply.code >= 400 or reply.code == 250 and "judged" in reply.text for reply in iter(session.reply, None))
        product.deploy("--force")
    folder.unlink()
    folder.with_name(".shop.away").rename(folder)


SWAP = """
import ctypes, os, sys
renameat2 = ctypes.CDLL(None).renameat2
os.chdir(sys.argv[1])
victim = sys.argv[2]
def plant(target, name):
    for twice in range(2):
        if not os.path.lexists(".planted"):
            os.symlink(target, ".planted")
        renameat2(-100, b".planted", -100, name.encode(), 2)  # RENAME_EXCHANGE: there at one moment, back at the next
    if os.path.islink(name):
        os.unlink(name)
while True:
    for name in (".key.pem.certsync", ".cert.pem.certsync", "key.pem", "cert.pem", "shop/.key.pem.certsync", "shop/key.pem",
                 "shop/.domains.tmp", "shop/domains"):
        try:
            plant(victim + "/file", name)
            plant(victim, "shop")
        except OSError:
            pass
"""


def test_what_changes_in_mid_deployment_leads_nowhere_else(product):
    """Somebody who may write there swaps files and the folder of a deployment for links, as fast as he can."""
    shop(product)
    with Bystanders(product):
        swapping = product.mail.popen([PYTHON, "-I", "-c", SWAP, SSL, VICTIM], stdin=subprocess.DEVNULL)
        try:
            outcomes = {product.deploy("--force").returncode for _ in range(15)}
            assert swapping.poll() is None
        finally:
            swapping.stop(signal.SIGKILL)
    assert outcomes <= {DONE, FAILED, LATER}
    product.reset()
    product.start_deployer()
    assert_works_again(product)


# ---- the log


class Journal:
    """A journald that keeps what it is sent: `with Journal(lab) as journal`; records are lists of (field, value)."""

    def __init__(self, lab: Lab):
        self.path = lab.mail.path("/run/systemd/journal/socket")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.path.chmod(0o666)
        self.datagrams: list[bytes] = []
        self.reader = threading.Thread(target=self.read)  # or the product would wait: the queue is short
        self.reader.start()

    def read(self) -> None:
        while datagram := self.socket.recv(1 << 20):
            self.datagrams.append(datagram)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_) -> None:
        self.socket.shutdown(socket.SHUT_RD)
        self.reader.join()
        self.socket.close()
        self.path.unlink()

    def records(self) -> list[list[tuple[str, bytes]]]:
        return [list(self.fields(datagram)) for datagram in self.datagrams]

    @staticmethod
    def fields(datagram: bytes) -> Iterator[tuple[str, bytes]]:
        """https://systemd.io/JOURNAL_NATIVE_PROTOCOL: KEY=value, or KEY, a length and as many bytes."""
        while datagram:
            line, _, rest = datagram.partition(b"\n")
            key, equals, value = line.partition(b"=")
            if not equals:
                length, = struct.unpack("<Q", rest[:8])
                value, rest = rest[8:8 + length], rest[8 + length + 1:]
            yield key.decode(), value
            datagram = rest


FORGED = "x\n<0>forged: all is well\r\nMESSAGE=forged\nPRIORITY=0\n\x1b[2J\x1b]0;forged\x07 \u202eforged %s %n"


def hostile_texts(lab: Lab) -> Iterator[bytes]:
    """Everything that a pusher says and that might be told of."""
    quoted = FORGED.encode()
    yield HELLO.strip() + quoted + b"\n"
    yield b"HELLO 1 <0>forged\nHELLO 9 <0>forged\n"
    yield HELLO + b"PUT <0>forged 5 " + b"0" * 64 + b"\nhello"
    yield HELLO + put("hello", want="forged") + put("hello", want="primary", digest="f" * 64)
    yield HELLO + b"<0>forged PRIORITY=0\n"
    for bundle in (lab.issue(FORGED.replace("\u202e", "")), CA().issue(cn=FORGED[:60]), CA(FORGED[:40]).issue(*NAMES),
                   lab.issue(HOSTNAME, cn=FORGED[:60], days=1, age=2)):
        yield HELLO + put(bundle.pem) + b"DEPLOY\n"
        yield bundle.pem.encode()
    yield HELLO + put(f"-----BEGIN {FORGED}-----\n") + put(FORGED) + put("-----BEGIN CERTIFICATE-----\n" + FORGED)
    yield HELLO + put(lab.issue(*NAMES, cn=FORGED[:60]).pem) + b"DEPLOY\n"


def say_all(lab: Lab) -> None:
    for text in list(hostile_texts(lab)):
        result = lab.mail.run([COMMAND], user=USER, input=text, check=False)
        assert re.fullmatch(rb"[\x20-\x7e\n]*", result.stdout), result
    wait_for(lambda: not sessions(lab), "the sessions have ended")


def test_no_line_of_the_log_is_his(product):
    say_all(product)
    log = product.deployer_log()
    assert "rejected" in log and re.fullmatch(r"[\x20-\x7e\n]*", log)
    assert [line for line in log.splitlines() if not re.match(r"mailcow-cert-deploy: (primary: |session: )|primary: ", line)] == []


def test_no_record_of_the_journal_is_his(product):
    product.stop_deployer()
    log = product.mail.path(DEPLOYER_LOG)
    log.touch()
    product.environment["JOURNAL_STREAM"] = f"{log.stat().st_dev}:{log.stat().st_ino}"
    with Journal(product) as journal:
        product.start_deployer()
        say_all(product)
    records = journal.records()
    assert len(records) > 5 and not product.deployer_log()
    for record in records:
        fields = dict(record)
        assert len(fields) == len(record) and fields.keys() <= {"PRIORITY", "MESSAGE", "MESSAGE_ID", "SYSLOG_IDENTIFIER", "EVENT", "WANT",
                                                                "REASON", "DETAIL", "FINGERPRINT", "NOT_AFTER", "GENERATION",
                                                                "DURATION_USEC", "FINDING"}, record
        assert fields["PRIORITY"] in (b"3", b"4", b"6") and re.match(rb"primary: |session: |warning ", fields["MESSAGE"])
        assert fields.get("EVENT", b"rejected") in (b"rejected", b"session-failed", b"deployed", b"warning"), record
        assert all(re.fullmatch(rb"[\x20-\x7e]*", value) for value in fields.values()), record
