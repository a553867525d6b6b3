"""`mailcow-cert-push watch`, and certbot's hook: what changes arrives without anybody asking, and idle costs nothing."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterable

import pytest

from tests.lab.host import wait_for
from tests.lab.lab import HOSTNAME, KEY, KNOWN_HOSTS, LETSENCRYPT, PUSH, PUSH_CONF, PUSH_STATE
from tests.lab.pki import Lineage
from tests.lab.sshd import USER
from tests.system.checks import CONFIG, USAGE, assert_deployed, recorded

LIVE = f"{LETSENCRYPT}/live"
NOTIFY, LOG = "/run/notify", "/var/log/watch.log"
HOOK = "/usr/share/mailcow-certsync/renewal-hooks/deploy/mailcow-cert-push"
PATIENCE = 90  # seconds for a deployment on a busy machine


class Watch:
    """The service as systemd has it: with a socket for what it says of itself."""

    def __init__(self, lab, *args: str, wrapper: Iterable[str] = ()):
        """wrapper: a command (strace ...) that runs it."""
        self.lab, self.said = lab, []
        lab.proxy.path(NOTIFY).unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(lab.proxy.path(NOTIFY)))
        with lab.proxy.path(LOG).open("wb") as log:
            self.process = lab.proxy.popen([*wrapper, PUSH, "watch", *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           env=lab.environment | {"NOTIFY_SOCKET": NOTIFY})

    def __enter__(self) -> Watch:
        self.wait("READY=1")
        return self

    def __exit__(self, *_) -> None:
        self.process.stop(signal.SIGKILL)
        self.socket.close()

    def listen(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.said += self.socket.recv(4096).decode().splitlines()
        return self.said

    def wait(self, pattern: str, timeout: float = PATIENCE, begin: int | None = None) -> str:
        """Waits until it says that, from here on (or behind so many lines); the line."""
        if begin is None:
            begin = 0 if pattern == "READY=1" else len(self.listen())

        def heard() -> str | None:
            assert self.process.poll() is None, self.log()
            return next((line for line in self.listen()[begin:] if re.search(pattern, line)), None)
        return wait_for(heard, f"{pattern} (it said {self.said}, its log: {self.log()})", timeout)

    def status(self) -> str:
        return [line for line in self.listen() if line.startswith("STATUS=")][-1]

    def idle(self) -> None:
        """Waits until no pass runs."""
        wait_for(lambda: "is running" not in self.status(), "the pass to end", PATIENCE)

    def log(self) -> str:
        return self.lab.proxy.read(LOG)

    def pid(self) -> int:
        return self.process.inner()

    def run_pass(self) -> None:
        """One that a person asks for; waits for its end."""
        said = len(self.listen())
        self.process.send_signal(signal.SIGHUP)
        self.wait("a pass is running", begin=said)
        self.idle()


@pytest.fixture
def watch(product):
    with Watch(product) as watch:
        watch.idle()
        yield watch


def arrives(lab, bundle) -> None:
    wait_for(lambda: recorded(lab) == bundle.fingerprint, "the renewal to arrive", PATIENCE)
    assert_deployed(lab, bundle)


def rewrite(lab, path: str, content: str) -> None:
    """In place, as `cp` does it."""
    with lab.proxy.path(path).open("w") as f:
        f.write(content)


# ---- what changes arrives


def test_a_renewal_arrives(product, watch):
    arrives(product, product.renew())
    arrives(product, product.renew())


def test_it_begins_with_a_pass(product):
    new = product.renew()
    with Watch(product):
        arrives(product, new)


def test_files_that_a_link_leads_to_are_rewritten_in_place(product, watch):
    new = product.issue()
    archive = f"{LETSENCRYPT}/archive/npm-5"
    rewrite(product, f"{archive}/fullchain1.pem", new.fullchain)
    rewrite(product, f"{archive}/privkey1.pem", new.key)
    arrives(product, new)


def test_a_new_lineage(product, watch):
    new = product.issue()
    Lineage(product.proxy.path(LETSENCRYPT), "npm-41", new)
    arrives(product, new)
    assert "npm/npm-41" in product.push("status").stdout


def test_a_lineage_under_another_number(product, watch):
    shutil.rmtree(product.lineage.live)
    shutil.rmtree(product.lineage.archive)
    watch.wait("STATUS=.* (?:served|failed)")
    lineage = Lineage(product.proxy.path(LETSENCRYPT), "npm-17", product.issue())
    new = product.issue()
    lineage.renew(new)
    arrives(product, new)


def test_a_pass_has_the_options_of_its_watcher(product):
    product.environment["ASAN_OPTIONS"] = "detect_leaks=0"
    new = product.renew()
    trace = ["strace", "-D", "-f", "-q", "-s", "200", "-o", "/tmp/trace", "-e", "trace=execve"]
    with Watch(product, "-q", "-v", "-t", "mailcow", wrapper=trace):
        arrives(product, new)
        assert re.search(r'execve\("\S+-worker", \["mailcow-cert-push", "run", "--config", "/etc/mailcow-certsync/push.conf", '
                         r'"--verbose", "--quiet", "--target", "mailcow"\], ', product.proxy.read("/tmp/trace"))


def test_a_source_that_comes_later(product):
    product.proxy.path(LETSENCRYPT).rename(product.proxy.path("/etc/elsewhere"))
    with Watch(product) as watch:
        watch.wait("failed \\(exit code 78\\)") if "failed" not in watch.status() else None
        new = product.issue()
        product.proxy.path("/etc/elsewhere").rename(product.proxy.path(LETSENCRYPT))
        product.renew(new)
        arrives(product, new)


def test_a_pair_of_files_that_are_replaced(product):
    for name, content in (("mail.crt", product.old.fullchain), ("mail.key", product.old.key)):
        product.proxy.write(f"/srv/tls/{name}", content, 0o600)
    product.write_push_conf({"source npm": {"path": ""}, "source files": {"cert": "/srv/tls/mail.crt", "key": "/srv/tls/mail.key"}})
    product.proxy.write(PUSH_CONF, re.sub(r"\[source npm\]\npath = \n", "", product.proxy.read(PUSH_CONF)))
    with Watch(product) as watch:
        watch.idle()
        new = product.issue()
        for name, content in (("mail.crt", new.fullchain), ("mail.key", new.key)):
            product.proxy.write(f"/srv/tls/.{name}", content, 0o600)
            product.proxy.path(f"/srv/tls/.{name}").rename(product.proxy.path(f"/srv/tls/{name}"))
        arrives(product, new)


def test_half_a_renewal_is_waited_for(product, watch):
    """The key comes when a pass has begun already: nobody is alarmed."""
    new = product.issue()
    archive = f"{LETSENCRYPT}/archive/npm-5"
    rewrite(product, f"{archive}/fullchain1.pem", new.fullchain)
    watch.wait("a pass is running")
    time.sleep(3)  # longer than a session waits for a pair
    rewrite(product, f"{archive}/privkey1.pem", new.key)
    arrives(product, new)
    assert "lineage" not in re.sub(r".*(?:deployed|unchanged).*", "", watch.log()), watch.log()


def test_what_is_renewed_during_a_pass_arrives_without_a_second_one(product):
    """As when certbot's hook asks systemd for a pass while one runs: it starts none."""
    first, second = product.renew(), product.issue()
    process = product.proxy.popen([PUSH, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=product.environment)
    for line in process.stdout:
        if "installed" in line:
            product.renew(second)
            break
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert f"deployed {first.fingerprint}" in out and f"deployed {second.fingerprint}" in out
    assert_deployed(product, second)


# ---- the clock


def test_a_pass_that_failed_for_now_is_tried_again_soon(product, watch):
    product.sshd.stop()
    new = product.renew()
    watch.wait(r"failed \(exit code 75\)")
    product.sshd.start()
    arrives(product, new)


def test_what_fails_for_good_keeps_nothing_else_from_being_tried_again_soon(product):
    """However often it has failed: a renewal is tried as if it were the first."""
    product.mailcow.add_sni("other.example.edu", product.issue("other.example.edu", age=60), "other.example.edu", restart=False)
    with product.link(refuse=1) as link:
        product.write_known_hosts(HOSTNAME, f"[127.0.0.1]:{link.port}")
        through = {"host": "127.0.0.1", "port": str(link.port), "user": USER, "key": KEY, "known_hosts": KNOWN_HOSTS}
        product.write_push_conf({"target mailcow": {"wants": "other.example.edu"}, "target later": through | {"wants": "primary"}})
        with Watch(product) as watch:
            for _ in range(3):
                watch.wait(r"failed \(exit code 1\)", 60, begin=0)
                watch.said.clear()
            new = product.renew()
            watch.wait(r"failed \(exit code 1\)", begin=0)
            link.set(refuse=0)
            state = product.proxy.path(f"{PUSH_STATE}/later.json")
            wait_for(lambda: state.exists() and new.fingerprint in state.read_text(), "the renewal to arrive", 40)
    assert_deployed(product, new)


def test_passes_by_the_clock(product):
    product.write_push_conf({"push": {"watch_every": "10s"}})
    with Watch(product) as watch:
        watch.idle()
        begin = time.monotonic()
        for _ in range(2):
            watch.wait("a pass is running")
            watch.idle()
        assert 18 < time.monotonic() - begin < 60


def test_a_pass_that_cannot_be_waited_for_is_tried_again(product):
    """As when no descriptor is left for it."""
    product.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # it cannot while it is traced
    new = product.renew()
    fault = ["strace", "-D", "-q", "-o", "/dev/null", "-e", "trace=pidfd_open", "-e", "inject=pidfd_open:error=EMFILE:when=1"]
    with Watch(product, wrapper=fault) as watch:
        assert "wait for a pass: Too many open files" in watch.log() and "a pass is running" not in watch.status()
        arrives(product, new)


def test_alarms_are_left_to_the_timer(product):
    """Whose unit sends them: told here, they would be held there."""
    product.sshd.authorize()
    with Watch(product) as watch:
        watch.wait(r"failed \(exit code 78\)") if "failed" not in watch.status() else None
    assert "alarm" not in watch.log()
    assert "alarm" in product.push().stderr


# ---- what it costs


def ticks(pid: int) -> int:
    """CPU time in user and system mode, of it and of its passes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15]))


def memory(pid: int, key: str, file: str = "status") -> int:
    return int(re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.M)[1])


def wakeups(pid: int) -> int:
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def test_idle_it_uses_no_cpu_and_little_memory(product, watch):
    arrives(product, product.renew())
    watch.wait("all was served") if "served" not in watch.status() else None
    pid = watch.pid()
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
    before = ticks(pid), wakeups(pid)
    time.sleep(10)
    assert (ticks(pid), wakeups(pid)) == before
    if "asan" not in Path(f"/proc/{pid}/maps").read_text():
        assert memory(pid, "VmRSS") < 10 * 1024 and memory(pid, "Pss", "smaps_rollup") < 10 * 1024
    assert len(os.listdir(f"/proc/{pid}/task")) == 1


def test_passes_leave_nothing_open(product, watch):
    def count() -> int:
        return len(os.listdir(f"/proc/{watch.pid()}/fd"))
    watch.run_pass()
    before = count()
    for _ in range(3):
        watch.run_pass()
    assert count() == before


def test_what_is_none_of_its_business_wakes_no_pass(product, watch):
    said = len(watch.listen())
    for path in (f"{LIVE}/npm-5/README", f"{LIVE}/npm-5/cert.pem", "/etc/nginx/nginx.conf", f"{LETSENCRYPT}/archive/npm-5/other"):
        product.proxy.write(path, "changed")
    time.sleep(3)
    assert watch.listen()[said:] == []


# ---- its life as a service


def test_it_ends_when_it_is_told_to(product, watch):
    assert watch.process.stop(signal.SIGTERM) == 0
    assert "STOPPING=1" in watch.listen()


def test_it_ends_in_the_midst_of_a_pass(product, watch):
    with product.link(delay=2) as link:
        product.push_through(link)
        said = len(watch.listen())
        watch.process.send_signal(signal.SIGHUP)
        product.renew()
        watch.wait("a pass is running", begin=said)
        assert watch.process.stop(timeout=10) == 0
    new = product.renew()
    product._configure()
    product.renew(new)
    assert product.push().returncode == 0


def test_hup_runs_a_pass_with_the_new_configuration(product, watch):
    new = product.issue()
    product.proxy.write("/srv/tls/mail.crt", new.fullchain)
    product.proxy.write("/srv/tls/mail.key", new.key, 0o600)
    product.write_push_conf({"source files": {"cert": "/srv/tls/mail.crt", "key": "/srv/tls/mail.key"}})
    said = len(watch.listen())
    watch.process.send_signal(signal.SIGHUP)
    watch.wait("RELOADING=1", begin=said)
    arrives(product, new)
    assert watch.listen().count("READY=1") == 2


def test_enrolment_is_noticed(product):
    good = product.proxy.read(PUSH_CONF)
    product.proxy.path(PUSH_CONF).unlink()
    new = product.renew()
    with Watch(product) as watch:
        said = len(watch.listen())
        assert "Waiting for a source and a target" in watch.status() and "enroll" in watch.status()
        time.sleep(2)
        assert len(watch.listen()) == said
        product.proxy.write(PUSH_CONF, good.split("[target")[0])
        product.proxy.write(f"{PUSH_CONF}.new", good)
        product.proxy.path(f"{PUSH_CONF}.new").rename(product.proxy.path(PUSH_CONF))
        arrives(product, new)


def test_a_key_that_is_admitted_later_needs_nobody_here(product):
    product.sshd.authorize()
    new = product.renew()
    with Watch(product) as watch:
        watch.wait(r"failed \(exit code 78\)") if "failed" not in watch.status() else None
        product.sshd.authorize(product.public_key)
        arrives(product, new)


def test_a_wrong_configuration_does_not_end_it(product, watch):
    good = product.proxy.read(PUSH_CONF)
    product.proxy.write(PUSH_CONF, "nonsense\n")
    wait_for(lambda: f"{PUSH_CONF}:1" in watch.log(), "the complaint")
    assert watch.log().count(f"{PUSH_CONF}:1") == 1
    product.proxy.write(PUSH_CONF, good)
    arrives(product, product.renew())


def test_nor_does_it_where_it_starts(product):
    """As at a boot: nobody would start it again when the file is mended."""
    good = product.proxy.read(PUSH_CONF)
    product.proxy.write(PUSH_CONF, "nonsense\n")
    new = product.renew()
    with Watch(product) as watch:
        assert f"The configuration is wrong: {PUSH_CONF}:1" in watch.status()
        assert watch.log().count(f"{PUSH_CONF}:1") == 1
        product.proxy.write(PUSH_CONF, good)
        arrives(product, new)


def test_by_hand_it_does_not_start_with_a_wrong_configuration(product):
    product.proxy.write(PUSH_CONF, "nonsense\n")
    result = product.push("watch")
    assert result.returncode == CONFIG and f"{PUSH_CONF}:1" in result.stderr


def test_json_makes_no_sense_here(product):
    assert product.push("watch", "--json").returncode == USAGE


# ---- certbot's hook


def run_hook(lab, systemd: bool) -> str:
    """What it called systemctl with."""
    lab.proxy.write("/tmp/bin/systemctl", '#!/bin/sh\necho "$@" >> /tmp/called\n', 0o755)
    lab.proxy.path("/tmp/called").unlink(missing_ok=True)
    if systemd:
        lab.proxy.path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    try:
        lab.proxy.run([HOOK], env={"PATH": "/tmp/bin:/usr/bin:/bin"})
    finally:
        shutil.rmtree(lab.proxy.path("/run/systemd"), ignore_errors=True)
    return lab.proxy.read("/tmp/called") if lab.proxy.exists("/tmp/called") else ""


def test_the_hook_starts_the_service_without_waiting(product):
    assert run_hook(product, systemd=True) == "start --no-block mailcow-cert-push.service\n"


def test_the_hook_keeps_still_where_it_can_do_nothing(product):
    assert run_hook(product, systemd=False) == ""
    product.proxy.path(PUSH).rename(product.proxy.path(f"{PUSH}.kept"))
    try:
        assert run_hook(product, systemd=True) == ""
    finally:
        product.proxy.path(f"{PUSH}.kept").rename(product.proxy.path(PUSH))
