"""The packages on two hosts that boot: installed by apt-get, run by systemd under the units as they are, switched off and
on, upgraded, purged."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import mailcow
from tests.lab.booted import Booted
from tests.lab.host import wait_for
from tests.lab.lab import (CACHE, DEPLOY_CONF, DEPLOY_STATE, KEY, KNOWN_HOSTS, LETSENCRYPT, PUSH_CONF, PUSH_STATE, SOCKET, TRUST,
                           Lab, ini)
from tests.lab.make import BUILD, make
from tests.lab.mailcow import HOSTNAME
from tests.lab.pki import Bundle
from tests.lab.sshd import AUTHORIZED_KEYS, COMMAND, USER
from tests.system.checks import assert_deployed, installed_fingerprint

PUSH_TIMER, PUSH_SERVICE = "mailcow-cert-push.timer", "mailcow-cert-push.service"
WATCH_SERVICE = "mailcow-cert-push-watch.service"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/mailcow-cert-push"
DEPLOY_SOCKET, DEPLOY_SERVICE = "mailcow-cert-deploy.socket", "mailcow-cert-deploy.service"
RECONCILE_TIMER, RECONCILE_SERVICE = "mailcow-cert-reconcile.timer", "mailcow-cert-reconcile.service"
RECOVER_SERVICE = "mailcow-cert-recover.service"
SSHD_DROP_IN = "/etc/ssh/sshd_config.d/mailcow-certsync.conf"
COMMON = "mailcow-certsync-common"
ALERT_STATE, TEXTFILE = "/run/mailcow-cert-alert", "/var/lib/prometheus/node-exporter"
# The schedule is the test's, so that nobody waits for an hour; nothing else of the units is.
AT_ONCE = "[Timer]\nRandomizedDelaySec=0\nAccuracySec=1s\n"
EVERY_SECOND = f"{AT_ONCE}OnCalendar=\nOnCalendar=*:*:*\n"


class Pair:
    """The lab's hosts booted: proxy with the pusher's package, mail with the deployer's."""

    def __init__(self, lab: Lab, packages: dict[str, Path]):
        self.lab, self.packages = lab, packages
        with contextlib.ExitStack() as stack:
            self.proxy = stack.enter_context(Booted(lab.proxy, CACHE, "/etc/nginx"))
            self.mail = stack.enter_context(Booted(lab.mail, CACHE, mailcow.PATH, "/run/docker.sock"))
            self.hosts = (self.proxy, self.mail)
            for host in self.hosts:
                host.write("/etc/hosts", lab.mail.read("/etc/hosts"))
                host.boot()
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    @property
    def installed(self) -> bool:
        return self.proxy.exists(KEY) and self.mail.exists(AUTHORIZED_KEYS)

    def install_on(self, host: Booted, package: str) -> None:
        host.install(self.packages[package], self.packages[COMMON])

    def install(self) -> None:
        self.install_on(self.proxy, "mailcow-cert-push")
        self.install_on(self.mail, "mailcow-cert-deploy")

    def enrol(self) -> None:
        """By the two commands, and what makes the lab's CA a trusted one."""
        self.mail.write(TRUST, self.lab.ca.root.pem)
        self.mail.write(DEPLOY_CONF, ini({"deploy": {"trust": TRUST}}))
        # Where PAM does not look at the account, sshd does: a locked one would be refused.
        self.mail.write("/etc/ssh/sshd_config.d/lab.conf", "UsePAM no\n")
        fingerprint = self.mail.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[1]
        said = self.proxy.run(["mailcow-cert-push", "enroll", HOSTNAME, "--fingerprint", fingerprint]).stdout
        self.mail.run(["sh", "-c", re.search(r"mailcow-cert-deploy enroll .*", said)[0]])

    def reset(self) -> None:
        """As after installation and enrolment: the old pair served, no state. Nothing but the timer starts a pass."""
        for host in self.hosts:
            if not host.is_on:
                host.boot()
        if not self.installed:
            self.install()
            self.enrol()
        self.proxy.systemctl("disable", WATCH_SERVICE)
        for host, units in ((self.proxy, (PUSH_TIMER, PUSH_SERVICE, WATCH_SERVICE)), (self.mail, (RECONCILE_TIMER, DEPLOY_SERVICE))):
            host.systemctl("stop", *units)
            host.run(["systemctl", "reset-failed"])
            host.run(["sh", "-c", "rm -rf /etc/systemd/system/mailcow-cert-*.d"])
            host.systemctl("daemon-reload")
        for host, state in ((self.proxy, PUSH_STATE), (self.mail, DEPLOY_STATE)):
            shutil.rmtree(host.path(state), ignore_errors=True)
        self.mail.systemctl("start", DEPLOY_SOCKET)
        self.lab.reset(sshd=False)
        self.proxy.systemctl("start", PUSH_TIMER)

    def push(self) -> str:
        """A pass as the timer starts it; the unit's result."""
        self.proxy.systemctl("start", PUSH_SERVICE, check=False)
        return self.proxy.property(PUSH_SERVICE, "Result")

    def is_deployed(self, bundle: Bundle) -> bool:
        return self.lab.mailcow.installed() == (bundle.fullchain, bundle.key) and \
            set(self.lab.served_everywhere().values()) == {bundle.fingerprint}


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    make("deb")
    return {path.name.split("_")[0]: path for path in (BUILD / "deb").glob("*.deb")}


@pytest.fixture(scope="module")
def hosts(session_lab: Lab, packages):
    session_lab.reset()
    session_lab.sshd.stop()
    pair = Pair(session_lab, packages)
    yield pair
    pair.close()


@pytest.fixture
def pair(hosts: Pair):
    hosts.reset()
    hosts.since = {host: host.run(["date", "+@%s"]).stdout.strip() for host in hosts.hosts}
    return hosts


def errors(pair: Pair) -> str:
    """What the units wrote with priority err or worse, and what was said of them."""
    return "".join(host.journal(f"--since={pair.since[host]}", "--priority=err", "--unit=mailcow-cert-*") for host in pair.hosts)


def test_lintian_finds_nothing(packages):
    result = subprocess.run(["lintian", "--allow-root", "--fail-on=error,warning", *packages.values()], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def seconds_to(host: Booted, timer: str) -> int:
    """Its next time by the calendar."""
    return int(host.run(["date", "-d", host.property(timer, "NextElapseUSecRealtime"), "+%s"]).stdout) - \
        int(host.run(["date", "+%s"]).stdout)


def test_after_installation_everything_waits(hosts):
    """On hosts where nobody has configured anything."""
    for host, package in zip(hosts.hosts, ("mailcow-cert-push", "mailcow-cert-deploy")):
        host.purge(package)
        hosts.install_on(host, package)
    assert hosts.proxy.property(PUSH_TIMER, "ActiveState") == "active"
    for unit in (PUSH_TIMER, WATCH_SERVICE):
        assert hosts.proxy.property(unit, "UnitFileState") == "enabled"
    assert hosts.proxy.property(WATCH_SERVICE, "ActiveState") == "active"
    assert "mailcow-cert-push enroll" in hosts.proxy.property(WATCH_SERVICE, "StatusText")
    assert hosts.push() == "exec-condition", "nothing is configured: quiet"
    assert hosts.proxy.property(PUSH_SERVICE, "ActiveState") == "inactive"
    for unit in (DEPLOY_SOCKET, RECONCILE_TIMER):
        assert hosts.mail.property(unit, "ActiveState") == "active"
    for host, timer in ((hosts.proxy, PUSH_TIMER), (hosts.mail, RECONCILE_TIMER)):
        assert 0 < seconds_to(host, timer) <= 70 * 60
    for unit in (DEPLOY_SOCKET, RECONCILE_TIMER, RECOVER_SERVICE):
        assert hosts.mail.property(unit, "UnitFileState") == "enabled"
    assert hosts.mail.run(["getent", "shadow", USER]).stdout.split(":")[1] == "*"
    for host in hosts.hosts:
        assert host.systemctl("list-units", "--failed", "--plain", "--no-legend") == ""
        host.purge("mailcow-cert-push", "mailcow-cert-deploy", COMMON)


def test_a_renewal_arrives_by_the_timer(pair):
    pair.proxy.drop_in(PUSH_TIMER, EVERY_SECOND)
    new = pair.lab.renew()
    assert os.stat(pair.lab.proxy.path(f"{LETSENCRYPT}/live")).st_mode & 0o077 == 0, "only root reads the lineages"
    pair.proxy.systemctl("restart", PUSH_TIMER)
    wait_for(lambda: pair.is_deployed(new), "the new pair on every port", 60)
    wait_for(lambda: pair.proxy.property(PUSH_SERVICE, "ActiveState") == "inactive", "end of the pass")
    assert pair.proxy.property(PUSH_SERVICE, "Result") == "success"
    pair.proxy.systemctl("stop", PUSH_TIMER)
    records = pair.proxy.journal(f"--since={pair.since[pair.proxy]}", "--unit", PUSH_SERVICE, "--output=cat", "--output-fields=MESSAGE")
    assert f"deployed {new.fingerprint}" in records
    assert errors(pair) == ""


def test_a_renewal_arrives_by_watch(pair):
    """Without the timer; what it reads only root may read."""
    pair.proxy.systemctl("stop", PUSH_TIMER)
    pair.proxy.systemctl("start", WATCH_SERVICE)
    new = pair.lab.renew()
    wait_for(lambda: pair.is_deployed(new), "the new pair on every port", 60)
    wait_for(lambda: "all was served" in pair.proxy.property(WATCH_SERVICE, "StatusText"), "what it says of it")
    pid = pair.proxy.property(WATCH_SERVICE, "MainPID")
    assert int(re.search(r"^VmRSS:\s+(\d+) kB$", pair.proxy.read(f"/proc/{pid}/status"), re.MULTILINE)[1]) < 10 * 1024
    pair.proxy.systemctl("reload", WATCH_SERVICE)
    pair.proxy.systemctl("stop", WATCH_SERVICE)
    assert pair.proxy.property(WATCH_SERVICE, "Result") == "success"
    assert errors(pair) == ""


def test_a_renewal_arrives_by_certbots_hook(pair):
    """certbot runs it for each lineage that it renews, one after another, and is not kept waiting by the pass. The second start
    would be one too many, however slow the host is, if there were a limit."""
    pair.proxy.systemctl("stop", PUSH_TIMER)
    assert pair.push() == "success"
    pair.proxy.drop_in(PUSH_SERVICE, "[Unit]\nStartLimitBurst=1\n")
    for _ in range(3):
        pair.proxy.run([HOOK])
        wait_for(lambda: pair.proxy.property(PUSH_SERVICE, "ActiveState") != "activating", "end of the pass")
    assert pair.proxy.property(PUSH_SERVICE, "Result") == "success"
    pair.proxy.path("/var/go").unlink(missing_ok=True)
    pair.proxy.drop_in(PUSH_SERVICE, "[Service]\nExecStartPre=/bin/sh -c 'until [ -e /var/go ]; do sleep 0.1; done'\n")
    new = pair.lab.renew()
    assert pair.proxy.run([HOOK], timeout=20).returncode == 0
    assert pair.proxy.property(PUSH_SERVICE, "ActiveState") == "activating", "it has not waited"
    pair.proxy.write("/var/go", "")
    wait_for(lambda: pair.is_deployed(new), "the new pair on every port", 60)
    wait_for(lambda: pair.proxy.property(PUSH_SERVICE, "ActiveState") == "inactive", "end of the pass")
    assert pair.proxy.property(PUSH_SERVICE, "Result") == "success"


def assert_capability_alone(status: str) -> None:
    """CAP_DAC_READ_SEARCH, and no way to others."""
    for kind in ("Eff", "Prm", "Bnd", "Amb"):
        assert re.search(rf"^Cap{kind}:\s+0000000000000004$", status, re.MULTILINE), (kind, status)


def test_who_runs_it(pair):
    """The pusher has its user and one capability, what it writes is its user's; the daemon has no more than its unit says."""
    pair.proxy.drop_in(PUSH_SERVICE, "[Service]\nExecStartPost=/bin/cat /proc/self/status\n")
    pair.lab.renew()
    assert pair.push() == "success"
    status = pair.proxy.journal(f"--since={pair.since[pair.proxy]}", "--unit", PUSH_SERVICE, "--output=cat")
    uid = pair.proxy.run(["id", "-u", "certsync-push"]).stdout.strip()
    assert re.search(rf"^Uid:\s+{uid}\s+{uid}\s", status, re.MULTILINE)
    assert_capability_alone(status)
    owners = pair.proxy.run(["find", PUSH_STATE, "-printf", "%y %u %m\n"]).stdout.splitlines()
    assert set(owners) == {"d certsync-push 700", "f certsync-push 600"}
    pid = pair.mail.property(DEPLOY_SERVICE, "MainPID")
    status = pair.mail.read(f"/proc/{pid}/status")
    assert all(re.search(rf"^Cap{kind}:\s+00000000000000cb$", status, re.MULTILINE) for kind in ("Eff", "Bnd")), status
    pair.proxy.systemctl("start", WATCH_SERVICE)
    status = pair.proxy.read(f"/proc/{pair.proxy.property(WATCH_SERVICE, 'MainPID')}/status")
    assert re.search(rf"^Uid:\s+{uid}\s+{uid}\s", status, re.MULTILINE)
    assert_capability_alone(status)


def test_who_types_it_disturbs_no_timer(pair):
    """root's own pass, before the first one of the timer and after it."""
    new = pair.lab.renew()
    assert pair.proxy.run(["mailcow-cert-push"], timeout=120).returncode == 0
    assert pair.push() == "success"
    assert_deployed(pair.lab, new)
    newer = pair.lab.renew()
    assert pair.proxy.run(["mailcow-cert-push", "--force"], timeout=120).returncode == 0
    [history] = pair.proxy.path(PUSH_STATE).glob("*.history")
    before = history.stat().st_mtime_ns
    assert pair.push() == "success"
    assert history.stat().st_mtime_ns > before, "the service's pass is the last one"
    assert_deployed(pair.lab, newer)
    assert errors(pair) == ""


def test_every_operator_command_works_under_the_units(pair):
    new = pair.lab.renew()
    assert pair.push() == "success"
    pair.mail.systemctl("start", RECONCILE_SERVICE)
    assert pair.mail.property(RECONCILE_SERVICE, "Result") == "success"
    pair.mail.systemctl("start", RECOVER_SERVICE)
    assert new.fingerprint in pair.mail.run(["mailcow-cert-deploy", "status", "--json"]).stdout
    check = pair.mail.run(["mailcow-cert-deploy", "check"], check=False)
    assert "refuse" not in check.stdout + check.stderr
    assert errors(pair) == ""


def test_sni_folders_are_written_under_the_unit(pair):
    """The services' own configuration lies in other folders than the pair."""
    pair.mail.write(DEPLOY_CONF, ini({"deploy": {"trust": TRUST}, "sni shop": {"domains": "cloud.example.org"}}))
    assert pair.push() == "success"
    served = pair.lab.served(993, servername="cloud.example.org")
    assert served not in (None, pair.lab.old.fingerprint)
    assert pair.lab.mail.exists(f"{mailcow.PATH}/data/conf/dovecot/sni.conf")
    pair.mail.write(DEPLOY_CONF, ini({"deploy": {"trust": TRUST}}))
    pair.mail.systemctl("stop", DEPLOY_SERVICE)
    pair.mail.run(["mailcow-cert-deploy", "remove", "shop"], timeout=120)
    assert errors(pair) == ""


def test_what_the_unit_does_not_let_be_written_is_told(pair):
    """As where mailcow is in another directory than the unit says."""
    pair.mail.drop_in(DEPLOY_SERVICE, "[Service]\nReadWritePaths=\n")
    check = pair.mail.run(["mailcow-cert-deploy", "check"], check=False)
    assert re.search("warn read-only: .*: systemctl edit mailcow-cert-deploy.service", check.stdout + check.stderr)
    pair.mail.systemctl("stop", DEPLOY_SERVICE)
    pair.mail.drop_in(DEPLOY_SERVICE, f"[Service]\nReadWritePaths=\nReadWritePaths={mailcow.PATH}/data\n")
    new = pair.lab.renew()
    assert pair.push() == "success"
    assert_deployed(pair.lab, new)


def test_mailcows_update_is_seen_under_the_unit(pair):
    """Its working directory is hidden from a daemon without CAP_SYS_PTRACE."""
    pair.mail.write(f"{mailcow.PATH}/update.sh", "read line\n", 0o755)
    update = pair.mail.popen(["sh", "-c", f"cd {mailcow.PATH} && exec sh ./update.sh"], stdin=subprocess.PIPE)
    try:
        check = wait_for(lambda: "update.sh" in (r := pair.mail.run(["mailcow-cert-deploy", "check"], check=False)).stdout + r.stderr
                         and r, "the finding")
        assert "later" in check.stdout + check.stderr
    finally:
        update.stop()
        pair.lab.mail.path(f"{mailcow.PATH}/update.sh").unlink()


def watch_closely(host: Booted, unit: str) -> None:
    """A service that runs; its own watchdog is too slow for a test."""
    assert host.property(unit, "Type") == "notify" and host.property(unit, "WatchdogUSec") in ("3min", "5min")
    host.systemctl("stop", unit)
    host.drop_in(unit, "[Service]\nWatchdogSec=10s\nRestartSec=100ms\n")


def test_watch_that_hangs_is_started_again(pair):
    pair.proxy.systemctl("start", WATCH_SERVICE)
    watch_closely(pair.proxy, WATCH_SERVICE)
    pair.proxy.systemctl("start", WATCH_SERVICE)
    pid = pair.proxy.property(WATCH_SERVICE, "MainPID")
    pair.proxy.run(["kill", "-STOP", pid])
    wait_for(lambda: pair.proxy.property(WATCH_SERVICE, "MainPID") not in (pid, "0"), "a service that does not hang", 60)
    new = pair.lab.renew()
    wait_for(lambda: pair.is_deployed(new), "the new pair on every port", 60)
    assert pair.proxy.property(WATCH_SERVICE, "NRestarts") == "1"


def test_the_daemon_says_what_it_does_and_lives(pair):
    assert pair.push() == "success"
    watch_closely(pair.mail, DEPLOY_SERVICE)
    pair.lab.renew()
    assert pair.push() == "success"
    pid = pair.mail.property(DEPLOY_SERVICE, "MainPID")
    wait_for(lambda: pair.mail.property(DEPLOY_SERVICE, "StatusText").startswith("Idle since "), "status")
    with pair.mail.popen(["sh", "-c", f"exec 3<>/dev/null; sleep 12 | {COMMAND} | cat"], user=USER, stdout=subprocess.PIPE) as relay:
        wait_for(lambda: pair.mail.property(DEPLOY_SERVICE, "StatusText").startswith("Sessions: 1 of pushers"), "status")
        relay.wait(60)
    assert pair.mail.property(DEPLOY_SERVICE, "MainPID") == pid, "as long as it lives"
    pair.mail.run(["kill", "-STOP", pid])
    wait_for(lambda: pair.mail.property(DEPLOY_SERVICE, "MainPID") not in (pid, "0"), "a daemon that does not hang", 60)
    assert pair.mail.property(DEPLOY_SERVICE, "NRestarts") == "1"


def test_no_limit_of_starts_wedges_the_socket(pair):
    """More starts in a row than systemd takes by default (5 in 10 s)."""
    for _ in range(7):
        pair.mail.run(["mailcow-cert-deploy", "status"], check=False, timeout=30)
        pair.mail.systemctl("kill", "--signal=KILL", DEPLOY_SERVICE, check=False)
    assert pair.mail.property(DEPLOY_SOCKET, "ActiveState") == "active"
    pair.lab.renew()
    assert pair.push() == "success"


def test_no_limit_is_on(pair):
    """The second start, and the second trigger, would be one too many, however slow the host is: if intervals were counted."""
    pair.mail.drop_in(DEPLOY_SERVICE, "[Unit]\nStartLimitBurst=1\n")
    pair.mail.drop_in(DEPLOY_SOCKET, "[Socket]\nTriggerLimitBurst=1\n")
    pair.mail.systemctl("restart", DEPLOY_SOCKET)
    for _ in range(3):
        assert pair.mail.run(["mailcow-cert-deploy", "status"], timeout=30).returncode == 0
        pair.mail.systemctl("stop", DEPLOY_SERVICE)
    assert pair.mail.property(DEPLOY_SOCKET, "ActiveState") == "active"


def miss_an_hour(host: Booted, timer: str) -> None:
    """The host is off when it strikes."""
    host.power_off()
    stamp = host.path(f"/var/lib/systemd/timers/stamp-{timer}")
    os.utime(stamp, (stamp.stat().st_mtime - 7200,) * 2)
    host.boot()


def test_what_was_missed_while_it_was_off_is_caught_up(pair):
    pair.proxy.drop_in(PUSH_TIMER, AT_ONCE)
    assert pair.push() == "success"
    new = pair.lab.renew()
    miss_an_hour(pair.proxy, PUSH_TIMER)
    wait_for(lambda: pair.is_deployed(new), "the new pair on every port", 60)


def test_what_the_mail_host_missed_is_caught_up(pair):
    """Without its pass a minute after boot."""
    pair.mail.drop_in(RECONCILE_TIMER, f"{AT_ONCE}OnBootSec=\nOnCalendar=hourly\n")
    pair.mail.systemctl("start", RECONCILE_TIMER)
    miss_an_hour(pair.mail, RECONCILE_TIMER)
    wait_for(lambda: pair.mail.journal("--boot", f"--unit={RECONCILE_SERVICE}", "--grep=Finished"), "a pass", 60)


def test_half_a_pair_is_whole_before_docker_starts(pair):
    """The power failed between the two renames; docker.service, here a stand-in, shows what its containers would have read."""
    new = pair.lab.renew()
    assert pair.push() == "success"
    generation = next(pair.mail.path(f"{DEPLOY_STATE}/wants/primary").glob(f"*-{new.fingerprint[:12]}")).name
    show = f"for f in cert key; do sha256sum {mailcow.SSL}/$f.pem; done > /var/seen"
    pair.mail.write("/etc/systemd/system/docker.service", f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{show}'\n"
                                                          "[Install]\nWantedBy=multi-user.target\n")
    pair.mail.systemctl("enable", "docker.service")
    try:
        pair.mail.cut_power()
        (pair.mail.path(DEPLOY_STATE) / "intent.json").write_text(
            f'{{"want": "primary", "generation": "{generation}", "makes_folder": false}}')
        pair.lab.mail.write(f"{mailcow.SSL}/cert.pem", pair.lab.old.fullchain)
        pair.lab.mail.write(f"{mailcow.SSL}/.cert.pem.certsync", new.fullchain)
        pair.mail.boot()
        seen = pair.mail.read("/var/seen")
        assert installed_fingerprint(pair.lab) == new.fingerprint
        assert seen == pair.mail.run(["sh", "-c", f"sha256sum {mailcow.SSL}/cert.pem {mailcow.SSL}/key.pem"]).stdout
        assert pair.mail.property(RECOVER_SERVICE, "Result") == "success"
    finally:
        pair.mail.systemctl("disable", "docker.service")
        pair.mail.path("/etc/systemd/system/docker.service").unlink()


def of_next_version(package: Path, folder: Path) -> Path:
    """The same package, one revision later."""
    tree = folder / package.stem
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", r"\g<0>.1", control.read_text(), flags=re.MULTILINE))
    return Path(subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, folder], check=True, capture_output=True,
                               text=True).stdout.split("'")[3])


def test_a_unit_that_hides_the_packages_is_told(pair):
    """As of the scripts that were there before: docs/moving.md."""
    for host, package, unit in ((pair.proxy, "mailcow-cert-push", PUSH_SERVICE), (pair.mail, "mailcow-cert-deploy", DEPLOY_SERVICE)):
        old = host.path(f"/etc/systemd/system/{unit}")
        old.write_text("[Service]\nExecStart=/bin/true\n")
        try:
            said = host.run([f"/var/lib/dpkg/info/{package}.postinst", "configure", "0"]).stderr
        finally:
            old.unlink()
            host.systemctl("daemon-reload")
        assert f"/etc/systemd/system/{unit} hides the package's unit" in said and said.count("hides") == 1


def test_an_upgrade_keeps_state_and_configuration(pair, tmp_path):
    pair.proxy.systemctl("enable", "--now", WATCH_SERVICE)
    watching = pair.proxy.property(WATCH_SERVICE, "MainPID")
    new = pair.lab.renew()
    assert pair.push() == "success"
    kept = {host: {path: host.read_bytes(path) for path in paths} for host, paths in (
        (pair.proxy, (PUSH_CONF, KEY, KNOWN_HOSTS, f"{PUSH_STATE}/{HOSTNAME}.json")),
        (pair.mail, (DEPLOY_CONF, AUTHORIZED_KEYS, SSHD_DROP_IN, f"{DEPLOY_STATE}/wants/primary/record.json")))}
    for host, package in zip(pair.hosts, ("mailcow-cert-push", "mailcow-cert-deploy")):
        upgraded = of_next_version(pair.packages[package], tmp_path)
        host.install(upgraded)
        assert host.run(["dpkg-query", "--show", "--showformat=${Version}", package]).stdout.endswith(".1")
        assert {path: host.read_bytes(path) for path in kept[host]} == kept[host]
    for host, unit in ((pair.proxy, PUSH_TIMER), (pair.mail, DEPLOY_SOCKET), (pair.mail, RECONCILE_TIMER)):
        assert host.property(unit, "ActiveState") == "active"
    assert pair.proxy.property(WATCH_SERVICE, "MainPID") not in (watching, "0"), "the new program watches"
    assert pair.push() == "success"
    assert_deployed(pair.lab, new)
    assert errors(pair) == ""


def everything(host: Booted) -> set[str]:
    """Its files, but for what dpkg and systemd write about any package."""
    return set(host.run(["find", "/etc", "/usr", "/var", "/run/mailcow-cert-deploy", "(", "-path", "/var/log", "-o", "-path", "/var/cache", "-o",
                         "-path", "/var/lib/dpkg", "-o", "-path", "/var/lib/apt", "-o", "-path", "/var/tmp", ")", "-prune", "-o",
                         "-print"], check=False).stdout.splitlines())


def test_a_purge_leaves_nothing(pair):
    """Both packages on one host first: each purge takes what is its own."""
    for host in pair.hosts:
        host.run(["install", "-d", "-m", "777", TEXTFILE])
        host.write("/etc/mailcow-certsync/alert.conf", "")
        host.systemctl("start", "mailcow-cert-alert@test.service")
    pair.lab.renew()
    assert pair.push() == "success"
    assert all(list(host.path(TEXTFILE).glob("*.prom")) and host.exists(ALERT_STATE) for host in pair.hosts)
    pair.install_on(pair.mail, "mailcow-cert-push")
    of_pusher = (PUSH_CONF, KEY, f"{KEY}.pub", KNOWN_HOSTS)
    for path in of_pusher:
        pair.mail.write(path, pair.proxy.read(path))
    for host in pair.hosts:
        host.purge("mailcow-cert-push")
    assert pair.mail.exists(DEPLOY_CONF) and pair.mail.exists(TRUST)
    assert not any(pair.mail.exists(path) for path in of_pusher)
    assert pair.mail.run(["mailcow-cert-deploy", "status"]).returncode == 0
    pair.mail.purge("mailcow-cert-deploy")
    for host in pair.hosts:
        host.purge(COMMON)
        left = {path for path in everything(host) if re.search("mailcow|certsync|cert-", path)}
        assert {path for path in left if not path.startswith(mailcow.PATH)} == set()
        assert host.systemctl("list-units", "--all", "--plain", "--no-legend", "mailcow-*") == ""
        assert not host.exists(SOCKET)
    assert pair.mail.run(["sshd", "-T", "-C", f"user={USER},host=h,addr=192.0.2.1"]).stdout.count("forcecommand none") == 1
