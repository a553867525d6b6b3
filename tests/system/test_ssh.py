"""pusher/ssh against a real sshd and against hostile servers, through tests/system/ssh_driver."""
import base64
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.system.ssh_server import (CONFIG, DONE, FAILED, TEMPORARY, Cut, Result, Sshd, build_driver, children, deaf,
                                     drive, driver_args, fingerprint, finish, keygen, server, until_closed, wait_until)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sshd and namespaces")


@pytest.fixture(scope="module", autouse=True)
def driver() -> None:
    build_driver()


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Host keys and client keys of every kind and encoding."""
    d = tmp_path_factory.mktemp("keys")
    for kind in ("ed25519", "ecdsa", "rsa"):
        keygen(d / f"host_{kind}", "-t", kind)
        keygen(d / f"other_{kind}", "-t", kind)
    keygen(d / "ed25519", "-t", "ed25519")
    keygen(d / "stranger", "-t", "ed25519")
    keygen(d / "encrypted", "-t", "ed25519", passphrase="secret")
    keygen(d / "encrypted_pem", "-t", "ecdsa", "-m", "PEM", passphrase="secret")
    keygen(d / "encrypted_pkcs8", "-t", "ecdsa", "-m", "PKCS8", passphrase="secret")
    for bits in ("256", "384", "521"):
        keygen(d / f"ecdsa{bits}", "-t", "ecdsa", "-b", bits)
        for form in ("PEM", "PKCS8"):
            keygen(d / f"ecdsa{bits}_{form}", "-t", "ecdsa", "-b", bits, "-m", form)
    keygen(d / "rsa", "-t", "rsa", "-b", "2048")
    keygen(d / "rsa_PEM", "-t", "rsa", "-b", "2048", "-m", "PEM")
    keygen(d / "rsa_PKCS8", "-t", "rsa", "-b", "2048", "-m", "PKCS8")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", d / "ed25519_PKCS8"], check=True)
    raw = subprocess.run(["openssl", "pkey", "-in", d / "ed25519_PKCS8", "-pubout", "-outform", "DER"],
                         capture_output=True, check=True).stdout[-32:]
    blob = struct.pack(">I11sI32s", 11, b"ssh-ed25519", 32, raw)
    (d / "ed25519_PKCS8.pub").write_text(f"ssh-ed25519 {base64.b64encode(blob).decode()}\n")
    return d


@pytest.fixture
def start(keys) -> Iterator[Callable[..., Sshd]]:
    with contextlib.ExitStack() as stack:
        def run(*options: str, host_keys=("ed25519", "ecdsa", "rsa"), prefix=()) -> Sshd:
            sshd = Sshd(keys, list(options), host_keys, list(prefix))
            stack.callback(sshd.stop)
            return sshd
        yield run


@pytest.fixture
def sshd(start) -> Sshd:
    return start()


@pytest.fixture
def pinned(keys, tmp_path) -> Callable[[int], Path]:
    def write(port: int) -> Path:
        path = tmp_path / "known_hosts"
        path.write_text(f"[127.0.0.1]:{port} " + (keys / "host_ed25519.pub").read_text())
        return path
    return write


# Sessions that work


@pytest.mark.parametrize("key", ["ed25519", "ed25519_PKCS8"]
                         + [f"ecdsa{bits}{form}" for bits in (256, 384, 521) for form in ("", "_PEM", "_PKCS8")])
def test_client_key(sshd, key):
    sshd.authorize("echo greeting; cat", key)
    result = sshd.drive(key, stdin=b"hello\n")
    assert (result.code, result.stdout) == (DONE, b"greeting\nhello\n"), result.stderr
    assert result.steps == ["connected", "host-key", "authenticated", "open"]
    assert result.detail("host-key") == "ssh-ed25519 " + fingerprint(sshd.keys / "host_ed25519.pub")
    assert result.detail("connected") == f"127.0.0.1 port {sshd.port}"
    kind = "ssh-ed25519" if "ed25519" in key else "ecdsa-sha2-nistp" + key[5:8]
    assert result.detail("authenticated") == f"certsync with {kind}"


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: "junk\n" + t, lambda t: t.rstrip()])
def test_client_key_text(sshd, tmp_path, change):
    (tmp_path / "key").write_text(change((sshd.keys / "ed25519").read_text()), newline="")
    result = drive(sshd.port, tmp_path / "key", sshd.known_hosts())
    assert result.code == DONE, result.stderr


def test_both_ways_intact(sshd):
    data = random.Random(1).randbytes(500_000)
    result = sshd.drive(stdin=data)
    assert result.code == DONE, result.stderr
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_rekey(start):
    data = random.Random(2).randbytes(500_000)
    assert start("RekeyLimit 64K").drive(stdin=data).stdout == data


def test_end_of_input_arrives(sshd):
    sshd.authorize("wc -c")
    assert sshd.drive(stdin=b"x" * 12345).stdout == b"12345\n"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_negotiates_what_is_pinned(start, kind):
    sshd = start("HostKeyAlgorithms ecdsa-sha2-nistp256,ssh-ed25519")
    result = sshd.drive(known_hosts=sshd.known_hosts(sshd.pin(kind)))
    assert result.code == DONE, result.stderr
    assert fingerprint(sshd.keys / f"host_{kind}.pub") in result.detail("host-key")


def test_hashed_pin(sshd):
    path = sshd.known_hosts()
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    assert sshd.drive(known_hosts=path).code == DONE


def test_pin_without_port_and_in_a_list(sshd):
    assert sshd.drive(known_hosts=sshd.known_hosts(sshd.pin(name="mail,127.0.0.1"))).code == DONE


def test_host_is_compared_without_case(sshd):
    known = sshd.known_hosts(sshd.pin(name=f"[LocalHost]:{sshd.port}"))
    assert sshd.drive(known_hosts=known, host="localHOST").code == DONE


def test_stderr_does_not_block(sshd):
    sshd.authorize("head -c 4194304 /dev/zero | tr '\\0' e >&2; echo done")
    result = sshd.drive(options=("-s", 20000))
    assert (result.code, result.stdout) == (DONE, b"done\n"), result.stderr
    assert result.remote_stderr == "e" * 1024


def test_stderr_is_escaped(sshd):
    sshd.authorize("printf 'bad\\033[31m\\377\\n' >&2")
    assert sshd.drive().remote_stderr == "bad\\x1b[31m\\xff"


def test_early_exit_while_sending(sshd):
    sshd.authorize("echo no; exit 3")
    result = sshd.drive(stdin=b"x" * (1 << 20), options=("-s", 60000))
    assert (result.code, result.stdout) == (DONE, b"no\n"), result.stderr
    assert result.seconds < 30


def test_early_exit_while_sending_more_than_the_window(sshd):
    sshd.authorize("exit 3")
    assert sshd.drive(stdin=b"x" * (8 << 20), options=("-s", 60000)).seconds < 30


def test_missing_forced_command_is_harmless(sshd):
    sshd.authorize(None)
    result = sshd.drive(stdin=b"touch /tmp/no\n")
    assert result.stdout == b""
    assert "mailcow-certsync-forced-command-missing: not found" in result.remote_stderr


@pytest.mark.parametrize("command", ["cat", "exec sleep 60"])
def test_close_at_once(sshd, command):
    sshd.authorize(command)
    result = sshd.drive(options=("-x",))
    assert result.code == DONE and result.seconds < 30, result.stderr


def test_answer_while_the_input_stays_open(sshd):
    sshd.authorize("read line; echo got $line; exec cat >/dev/null")
    process = sshd.popen()
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"got one\n"
    assert finish(process).code == DONE


# Confinement


@pytest.mark.parametrize("uid", [0, 65532])
def test_child_is_confined(sshd, uid):
    sshd.authorize("echo ready; cat")
    process = sshd.popen(uid=uid)
    uid = uid or 65534
    assert process.stdout.readline() == b"ready\n"
    [child] = children(process.pid)
    status = Path(f"/proc/{child}/status").read_text()
    limits = Path(f"/proc/{child}/limits").read_text()
    fds = {p.name: os.readlink(p) for p in Path(f"/proc/{child}/fd").iterdir()}
    owner = os.stat(f"/proc/{child}/environ").st_uid
    assert re.search(rf"^Uid:(\t{uid}){{4}}$", status, re.M)
    assert re.search(rf"^Gid:(\t{uid}){{4}}$", status, re.M)
    assert re.search(r"^Groups:\s*$", status, re.M)
    assert re.search(r"^CapPrm:\t0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
    assert re.search(r"^Seccomp:\t2$", status, re.M)
    assert re.search(r"^Max open files +3 +3 ", limits, re.M)
    assert re.search(r"^Max core file size +0 +0 ", limits, re.M)
    assert re.search(r"^Max processes +0 +0 ", limits, re.M)
    assert sorted(fds) == ["0", "1", "2"] and all(f.startswith("socket:") for f in fds.values())
    assert owner == 0, "dumpable"
    assert finish(process).code == DONE


def test_child_dies_with_its_parent(keys, pinned):
    """Also where it does not listen to its parent: in the handshake, after the change of its uid."""
    with server(until_closed) as port:
        process = subprocess.Popen(driver_args(port, keys / "ed25519", pinned(port), options=("-h", "8000")),
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stderr.readline().startswith(b"step connected")
        [child] = children(process.pid)
        wait_until(lambda: "NoNewPrivs:\t1" in Path(f"/proc/{child}/status").read_text())
        process.kill()
        process.communicate()
        wait_until(lambda: not Path(f"/proc/{child}").exists(), 4)


def test_dead_child_is_reported(sshd):
    sshd.authorize("echo ready; cat")
    process = sshd.popen()
    process.stdout.readline()
    [child] = children(process.pid)
    os.kill(child, signal.SIGKILL)
    result = finish(process)
    assert result.code == TEMPORARY and "session process was killed by signal 9" in result.error


def test_confinement_fails_closed(sshd):
    """In a user namespace that has no user 65534."""
    process = subprocess.run(["unshare", "--user", "--map-root-user",
                              *driver_args(sshd.port, sshd.share(sshd.keys / "ed25519"), sshd.known_hosts())],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert process.returncode == FAILED
    assert "cannot be confined: become user 65534" in process.stderr
    assert "step host-key" not in process.stderr


# Client keys that are refused before anything is sent: port 1 would be refused otherwise


@pytest.mark.parametrize("key", ["rsa", "rsa_PEM", "rsa_PKCS8"])
def test_rsa_key(keys, pinned, key):
    result = drive(1, keys / key, pinned(1))
    assert result.code == CONFIG
    assert "RSA keys cannot be used" in result.error and "ssh-keygen -t ed25519" in result.error


@pytest.mark.parametrize("key", ["encrypted", "encrypted_pem", "encrypted_pkcs8"])
def test_encrypted_key(keys, pinned, key):
    result = drive(1, keys / key, pinned(1))
    assert result.code == CONFIG and "the key is encrypted" in result.error


@pytest.mark.parametrize("content, why", [
    (b"", "the key file is empty"),
    (b"hello\n", "not a private key"),
    (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "damaged private key"),
    (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "damaged private key"),
    (b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "damaged private key"),
    (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI x\n", "this is a public key"),
    (b"x" * 100000, "too large for a private key"),
])
def test_garbage_key(tmp_path, pinned, content, why):
    (tmp_path / "key").write_bytes(content)
    result = drive(1, tmp_path / "key", pinned(1))
    assert result.code == CONFIG and why in result.error, result.stderr


def test_every_truncation_of_a_key(keys, tmp_path, pinned):
    text = (keys / "ed25519").read_bytes()
    for n in range(0, len(text) - 40, 23):
        (tmp_path / "key").write_bytes(text[:n])
        assert drive(1, tmp_path / "key", pinned(1)).code == CONFIG


def test_damaged_private_half(sshd, tmp_path):
    lines = (sshd.keys / "ed25519").read_text().splitlines()
    lines[3] = "A" * len(lines[3])
    (tmp_path / "key").write_text("\n".join(lines) + "\n")
    result = drive(sshd.port, tmp_path / "key", sshd.known_hosts())
    assert result.code == CONFIG and "damaged private key" in result.error, result.stderr


# Host keys


def refused(result: Result, *why: str) -> None:
    assert result.code == CONFIG, result.stderr
    assert "authenticated" not in result.steps
    for text in why:
        assert text in result.error, result.stderr


def test_unknown_host(sshd):
    result = sshd.drive(known_hosts=sshd.known_hosts(sshd.pin(name="other.example.org")))
    refused(result, "host key UNKNOWN", "pins no key for this host", "mailcow-cert-push enroll ")
    assert result.steps == []


def test_empty_known_hosts(sshd):
    (sshd.dir / "known_hosts").write_text("")
    refused(sshd.drive(known_hosts=sshd.dir / "known_hosts"), "host key UNKNOWN")


def test_changed_host_key(sshd):
    other = f"[127.0.0.1]:{sshd.port} " + (sshd.keys / "other_ed25519.pub").read_text()
    refused(sshd.drive(known_hosts=sshd.known_hosts("# mine\n", other)), "host key CHANGED", "known_hosts:2 pins",
            fingerprint(sshd.keys / "host_ed25519.pub"), fingerprint(sshd.keys / "other_ed25519.pub"))


def test_one_of_several_pins_matches(sshd):
    other = f"[127.0.0.1]:{sshd.port} " + (sshd.keys / "other_ed25519.pub").read_text()
    assert sshd.drive(known_hosts=sshd.known_hosts(other, sshd.pin())).code == DONE


def test_revoked_host_key(sshd):
    known = sshd.known_hosts(sshd.pin(), sshd.pin(marker="@revoked "))
    refused(sshd.drive(known_hosts=known), "host key REVOKED", "known_hosts:2",
            fingerprint(sshd.keys / "host_ed25519.pub"))


def test_only_a_revoked_key(sshd):
    refused(sshd.drive(known_hosts=sshd.known_hosts(sshd.pin(marker="@revoked "))), "host key REVOKED",
            "no other is pinned")


def test_pinned_kind_is_not_offered(start):
    sshd = start(host_keys=("ecdsa", "rsa"))
    refused(sshd.drive(), "host key UNKNOWN: the server offers only", "ecdsa-sha2-nistp256", "pins ssh-ed25519")


def test_rsa_pin(sshd):
    refused(sshd.drive(known_hosts=sshd.known_hosts(sshd.pin("rsa"))), "pins only a key of the kind ssh-rsa",
            "no rsa-sha2", "ssh-keyscan -t ed25519")


def test_bad_line(sshd):
    known = sshd.known_hosts(sshd.pin(), "*.example.org " + sshd.pin().split(None, 1)[1])
    refused(sshd.drive(known_hosts=known), "known_hosts:2: ", "wildcards")


# The server refuses


def test_key_refused(sshd):
    result = sshd.drive("stranger")
    refused(result, "key refused", "for user certsync", fingerprint(sshd.keys / "stranger.pub"), "authorized_keys")
    assert result.steps == ["connected", "host-key"]


def test_key_refused_by_from(sshd):
    sshd.authorize("cat", options='restrict,from="192.0.2.1"')
    refused(sshd.drive(), "key refused", "from=")


@pytest.mark.parametrize("option, what", [
    ("Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com", "no common cipher: the server offers only aes256"),
    ("MACs hmac-sha2-512-etm@openssh.com", "no common MAC: the server offers only hmac-sha2-512-etm@openssh.com"),
    ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "no common key exchange: the server offers only sntrup761"),
])
def test_no_common_algorithm(start, option, what):
    result = start(option).drive()
    assert result.code == FAILED, result.stderr
    assert what in result.error and f"`{option.split()[0]}` in its sshd_config" in result.error


def test_no_sessions_allowed(start):
    result = start("MaxSessions 0").drive()
    assert result.code == TEMPORARY and "MaxSessions" in result.error, result.stderr
    assert result.steps[-1] == "authenticated"


def test_command_refused(start):
    """sshd cannot fork: its user may have one process only."""
    result = start(prefix=["prlimit", "--nproc=1"]).drive()
    assert result.code == TEMPORARY and "command refused" in result.error, result.stderr


def test_max_startups(start):
    sshd = start("MaxStartups 1:100:1")
    with socket.create_connection(("127.0.0.1", sshd.port)) as first:
        assert first.recv(4) == b"SSH-"
        result = sshd.drive()
    assert result.code == TEMPORARY, result.stderr
    assert "dropped before its banner" in result.error and "MaxStartups" in result.error


@pytest.mark.parametrize("farewell", [b"", b"Not allowed at this time\r\n"])
def test_dropped_before_the_banner(keys, pinned, farewell):
    def handle(connection):
        connection.sendall(farewell)
        connection.shutdown(socket.SHUT_WR)
        until_closed(connection)
    with server(handle) as port:
        result = drive(port, keys / "ed25519", pinned(port))
    assert result.code == TEMPORARY, result.stderr
    assert "dropped before its banner" in result.error and "PerSourcePenalties" in result.error


# The session breaks


def test_forced_command_killed(sshd):
    sshd.authorize("echo ready; kill -9 $PPID $$")
    result = sshd.drive(stdin=b"x" * 100000)
    assert result.stdout == b"ready\n"
    assert result.code == TEMPORARY and "killed there by signal KILL" in result.error, result.stderr


def test_script_of_the_forced_command_killed(sshd):
    """The shell that sshd starts lives on and says so: the stream ends, that is all."""
    sshd.authorize("echo ready; kill -9 $$")
    result = sshd.drive(stdin=b"x" * 100000)
    assert (result.code, result.stdout, result.remote_stderr) == (DONE, b"ready\n", "Killed")


def test_sshd_killed(sshd):
    sshd.authorize("echo ready; cat")
    process = sshd.popen()
    assert process.stdout.readline() == b"ready\n"
    [monitor] = children(sshd.pid)
    processes = [*children(monitor), monitor]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: each ends by itself when the other is gone
        for pid in processes:
            os.kill(pid, number)
    result = finish(process)
    assert result.code == TEMPORARY and "session: connection lost" in result.error, result.stderr


def test_session_timeout(sshd):
    process = sshd.popen("-s", "700")
    wait_until(lambda: process.poll() is not None)
    result = finish(process)
    assert result.code == TEMPORARY and "session: timed out: not finished within 0.7 s" in result.error


def test_closed_at_every_stage(sshd):
    for after in [0, 1, 3, 4, 20, *range(60, 3000, 101)]:
        with server(Cut(sshd, after, silent=False)) as port:
            result = sshd.drive(port=port, known_hosts=sshd.known_hosts(sshd.pin(name="127.0.0.1")))
        assert result.code in (TEMPORARY, DONE), (after, result.stderr)
        assert result.code == DONE or "connection lost" in result.error or "before its banner" in result.error


@pytest.mark.parametrize("after", [0, 10, 500, 1150, 1500, 2000, 2400])
def test_black_hole_at_every_stage(sshd, after):
    with server(Cut(sshd, after, silent=True)) as port:
        known = sshd.known_hosts(sshd.pin(name="127.0.0.1"))
        result = sshd.drive(port=port, known_hosts=known, options=("-h", 400))
    assert result.code == TEMPORARY and "handshake: timed out" in result.error, result.stderr
    assert 0.3 < result.seconds < 20


# Servers that are none, or mean harm


BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n"


def drip(connection, what: bytes, pause: float) -> None:
    connection.settimeout(pause)
    for i in range(1000):
        connection.sendall(what[i % len(what):i % len(what) + 1])
        with contextlib.suppress(TimeoutError):
            if not connection.recv(65536):
                return


def flood(connection, head: bytes, what: bytes) -> None:
    connection.sendall(head)
    while True:
        connection.sendall(what)


def say(connection, what: bytes) -> None:
    connection.sendall(what)
    until_closed(connection)


def packet(payload: bytes, length: int | None = None) -> bytes:
    padding = 8 - (len(payload) + 5) % 8 + 8
    length = 1 + len(payload) + padding if length is None else length
    return struct.pack(">IB", length, padding) + payload + bytes(padding)


IGNORE = packet(b"\x02" + struct.pack(">I", 1000) + bytes(1000))

HOSTILE = {
    "silent": (lambda c: until_closed(c), TEMPORARY, "no banner within 0.9 s"),
    "drip": (lambda c: drip(c, BANNER, 0.3), TEMPORARY, "no banner within 0.9 s"),
    "drip-garbage": (lambda c: drip(c, b"hello", 0.3), FAILED, "not an SSH server: no banner came in time"),
    "flood": (lambda c: flood(c, b"", b"a" * 65536), FAILED, "not an SSH server: it sent 64 KiB"),
    "flood-lines": (lambda c: flood(c, b"", b"hello\r\n" * 9000), FAILED, "not an SSH server: it sent 64 KiB"),
    "line-spam": (lambda c: drip(c, b"x\n", 0.02), FAILED, "not an SSH server: no banner came in time"),
    "smtp": (lambda c: say(c, b"220 mx.example.org ESMTP\r\n"), FAILED, "began with `220 mx.example.org ESMTP`"),
    "http": (lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), FAILED, "`HTTP/1.1 400 Bad Request`"),
    "escape": (lambda c: c.sendall(b"\x1b[2J\xff\n\n"), FAILED, "`\\x1b[2J\\xff`"),
    "nul": (lambda c: say(c, b"\0\0\0"), FAILED, "not an SSH server"),
    "silent-after-banner": (lambda c: say(c, BANNER), TEMPORARY, "timed out: not finished within 0.9 s (key exchange)"),
    "garbage": (lambda c: say(c, BANNER + random.Random(3).randbytes(5000)), FAILED, "broke the protocol"),
    "huge-packet": (lambda c: say(c, BANNER + packet(b"\x14", 0x7fffffff)), FAILED, "broke the protocol"),
    "negative-packet": (lambda c: say(c, BANNER + packet(b"\x14", 0xffffffff)), FAILED, "broke the protocol"),
    "empty-packet": (lambda c: say(c, BANNER + packet(b"", 0)), FAILED, "broke the protocol"),
    "short-kexinit": (lambda c: say(c, BANNER + packet(b"\x14" + bytes(20))), FAILED, "broke the protocol"),
    "ignore-flood": (lambda c: flood(c, BANNER, IGNORE * 60), FAILED, "sends without end"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(keys, pinned, name):
    handle, code, why = HOSTILE[name]
    with server(handle) as port:
        deadline = 30000 if "flood" in name else 900
        result = drive(port, keys / "ed25519", pinned(port), options=("-h", deadline))
    assert result.code == code and why in result.error, result.stderr
    assert "host-key" not in result.steps
    assert result.seconds < 20


# Name resolution and connecting


RESOLVER = """
import os, socket, subprocess, sys, threading
mode, directory, command = sys.argv[1], sys.argv[2], sys.argv[3:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
open(directory + "/resolv.conf", "w").write("nameserver 127.0.0.1\\noptions timeout:30 attempts:1\\n")
subprocess.run(["mount", "--bind", directory + "/resolv.conf", "/etc/resolv.conf"], check=True)
if mode != "absent":
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    def answer():
        while True:
            query, peer = s.recvfrom(512)
            if mode == "nxdomain":
                s.sendto(query[:2] + b"\\x81\\x83" + query[4:6] + bytes(6) + query[12:], peer)
    threading.Thread(target=answer, daemon=True).start()
sys.exit(subprocess.run(command).returncode)
"""


@pytest.mark.parametrize("mode, code, why", [
    ("nxdomain", CONFIG, "resolve: the name does not exist"),
    ("absent", TEMPORARY, "resolve: the name service does not answer"),
    ("silent", TEMPORARY, "resolve: timed out"),
])
def test_resolving(keys, tmp_path, mode, code, why):
    known = tmp_path / "known_hosts"
    known.write_text("mail.example.org " + (keys / "host_ed25519.pub").read_text())
    options = ("-c", 300) if mode == "silent" else ("-c", 5000)
    result = drive(22, keys / "ed25519", known, host="mail.example.org", options=options,
                   prefix=["unshare", "-m", "-n", sys.executable, "-c", RESOLVER, mode, str(tmp_path)])
    assert result.code == code and why in result.error, result.stderr
    assert result.error.startswith("mail.example.org port 22: ")
    assert result.seconds < 20


def test_connection_refused(keys, pinned):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        result = drive(port, keys / "ed25519", pinned(port))
    assert result.code == TEMPORARY and "connect: connection refused" in result.error
    assert f"127.0.0.1 port {port}" in result.error


def test_connect_timeout(keys, pinned):
    with deaf("127.0.0.1") as port:
        result = drive(port, keys / "ed25519", pinned(port), options=("-c", 500))
    assert result.code == TEMPORARY and "connect: timed out after 0.5 s" in result.error, result.stderr
    assert 0.4 < result.seconds < 10


def test_next_address_is_tried(start):
    """Of three addresses the first does not answer and the second refuses."""
    sshd = start("ListenAddress 127.0.0.4")
    (sshd.dir / "hosts").write_text("127.0.0.2 mail.test\n127.0.0.3 mail.test\n127.0.0.4 mail.test\n")
    prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {sshd.dir}/hosts /etc/hosts && exec "$@"', "sh"]
    known = sshd.known_hosts(sshd.pin(name="mail.test"))
    with deaf("127.0.0.2", sshd.port):
        result = sshd.drive(known_hosts=known, host="mail.test", options=("-c", 1500), prefix=prefix)
    assert result.code == DONE and result.detail("connected").startswith("127.0.0.4 "), result.stderr
    assert result.seconds > 0.4, "the first address was not tried"
