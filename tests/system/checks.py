"""What the system tests have in common: what the hosts hold and serve, and how a push ended."""
from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lab import mailcow
from tests.lab.host import Process, wait_for
from tests.lab.lab import DEPLOY_STATE, PATIENCE, PUSH, PUSH_STATE, Lab
from tests.lab.pki import Bundle
from tests.lab.wire import ENDPOINTS

DONE, FAILED, USAGE, TEMPORARY, CONFIG = 0, 1, 64, 75, 78
STATE = f"{PUSH_STATE}/mailcow.json"
UNHURRIED = {"verify": {"timeout": "20s"}}  # where a service is restarted, and is to serve again within that time


@pytest.fixture
def undisturbed(installed_lab: Lab) -> Lab:
    """As fixture product, without a reset where the test before left the mail host as it was: for many tests that change
    nothing there."""
    lab = installed_lab
    if not lab.deployer or lab.deployer.poll() is not None or lab.mailcow.installed() != (lab.old.fullchain, lab.old.key):
        lab.reset()
        lab.start_deployer()
    return lab


def everywhere(bundle: Bundle) -> dict[str, str]:
    return dict.fromkeys(ENDPOINTS, bundle.fingerprint)


def assert_deployed(lab: Lab, bundle: Bundle) -> None:
    """On the disk as one pair, and on every endpoint."""
    assert lab.mailcow.installed() == (bundle.fullchain, bundle.key)
    assert lab.served_everywhere() == everywhere(bundle)


def spki(public_key) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def installed_fingerprint(lab: Lab) -> str:
    """Of the pair on the disk, which must be one."""
    cert, key = lab.mailcow.installed()
    bundle = Bundle(cert, "", key)
    assert spki(bundle.x509.public_key()) == spki(bundle.private_key().public_key()), "a mixed pair"
    return bundle.fingerprint


def ssl_folder(lab: Lab) -> dict[str, tuple]:
    """Everything that is to be seen in mailcow's SSL folder, and the folder itself."""
    folder = lab.mail.path(mailcow.SSL)
    names = {".": folder} | {path.name: path for path in folder.iterdir()}
    return {name: describe(path) for name, path in sorted(names.items())}


def describe(path) -> tuple:
    status = os.lstat(path)
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    times = status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0
    return status.st_ino, stat.filemode(status.st_mode), status.st_uid, status.st_gid, times, content


class Untouched:
    """Within it, nothing may change on the mail host: neither the SSL folder nor what is served."""

    def __init__(self, lab: Lab):
        self.lab = lab

    def __enter__(self) -> None:
        self.before = ssl_folder(self.lab), self.lab.served(993)

    def __exit__(self, kind, *_) -> None:
        if not kind:
            assert (ssl_folder(self.lab), self.lab.served(993)) == self.before


def push_state(lab: Lab) -> dict | None:
    return json.loads(lab.proxy.read(STATE)) if lab.proxy.exists(STATE) else None


def recorded(lab: Lab) -> str | None:
    """The fingerprint that the pusher has recorded as served."""
    state = push_state(lab)
    return state["wants"][0]["fingerprint"] or None if state else None


def deploy_record(lab: Lab) -> dict:
    return json.loads(lab.mail.read(f"{DEPLOY_STATE}/wants/primary/record.json"))


def record_state(lab: Lab, state: str) -> None:
    """Has the deployer's record of the primary say this."""
    lab.mail.path(f"{DEPLOY_STATE}/wants/primary/record.json").write_text(json.dumps(deploy_record(lab) | {"state": state}))


def generations(lab: Lab) -> list[str]:
    folder = lab.mail.path(f"{DEPLOY_STATE}/wants/primary")
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def sessions(lab: Lab) -> list[int]:
    """The processes of the deployer's sessions, as the machine counts them."""
    pid = lab.deployer.inner()
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def steps(result: subprocess.CompletedProcess) -> list[str]:
    """The names of the steps of a pass with --json."""
    return [step["step"] for step in json.loads(result.stdout)["steps"]]


def start_push(lab: Lab, *args: str):
    """A push with -v that runs while the test goes on."""
    return lab.proxy.popen([PUSH, "-v", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, env=lab.environment)


def read_until(process, step: str) -> str:
    """Reads a running push's output up to the line of this step; its words."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if re.match(rf"\s+{step}\b", line):
            return line
    raise AssertionError(f"no step {step}:\n{''.join(seen)}{process.stderr.read()}")


def end(process: Process, timeout: float = PATIENCE) -> subprocess.CompletedProcess:
    out, err = process.finish(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def assert_works_again(lab: Lab) -> Bundle:
    """The next good push goes through."""
    new = lab.renew()
    result = lab.push()
    assert result.returncode == DONE, result
    assert_deployed(lab, new)
    return new


@contextlib.contextmanager
def updating(lab: Lab, *command: str, directory: str = mailcow.PATH):
    """A script update.sh, at work in that directory until the end."""
    lab.mail.write(f"{directory}/update.sh", "#!/bin/bash\ntouch started\nread -r\n", 0o755)
    process = lab.mail.popen(["env", f"--chdir={directory}", *command], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: lab.mail.exists(f"{directory}/started"), "the script")
        yield process
    finally:
        process.stdin.close()
        process.wait(10)
        for name in ("update.sh", "started"):
            lab.mail.path(f"{directory}/{name}").unlink()


@contextlib.contextmanager
def tracing(lab, call: str, *options: str, trace="/dev/null"):
    """strace, which follows the daemon and its sessions in this system call; its process."""
    pid = lab.deployer.inner()
    strace = subprocess.Popen(["strace", "-qq", "-f", "-o", trace, "-p", str(pid), "-e", f"trace={call}", *options],
                              stderr=subprocess.PIPE)
    wait_for(lambda: f"TracerPid:\t{strace.pid}\n" in open(f"/proc/{pid}/status").read(), "strace")
    try:
        yield strace
    finally:
        strace.terminate()
        strace.communicate()


@contextlib.contextmanager
def injecting(lab, call: str, fault: str, path: str = ""):
    """A daemon whose sessions have this fault, as strace's inject= names it, in this system call; path: only with this word
    among its arguments."""
    lab.start_deployer()
    with tracing(lab, call, "-e", f"inject={call}:{fault}", *(["-P", path] if path else [])):
        yield


@contextlib.contextmanager
def acme(lab, value: str, configured: str = "y"):
    """acme-mailcow made anew with SKIP_LETS_ENCRYPT as given, and mailcow.conf saying `configured`."""
    text = lab.mail.read(f"{mailcow.PATH}/mailcow.conf")
    lab.mail.write(f"{mailcow.PATH}/mailcow.conf", text.replace("SKIP_LETS_ENCRYPT=y", f"SKIP_LETS_ENCRYPT={configured}"), 0o600)
    lab.mailcow.remove("acme-mailcow")
    lab.mailcow.create("acme-mailcow", environment={"SKIP_LETS_ENCRYPT": value})
    try:
        yield
    finally:
        lab.mail.write(f"{mailcow.PATH}/mailcow.conf", text, 0o600)
        lab.mailcow.remove("acme-mailcow")
        lab.mailcow.create("acme-mailcow")
