"""The lab itself, without the product: what the other tests rest on."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import mailcow
from tests.lab.host import PYTHON, Host, connect, wait_for
from tests.lab.lab import MAIL_ADDRESS, temporary_folder
from tests.lab.make import REPOSITORY
from tests.lab.sshd import AUTHORIZED_KEYS, COMMAND
from tests.lab.wire import ENDPOINTS


def everywhere(bundle):
    return dict.fromkeys(ENDPOINTS, bundle.fingerprint)


def test_nine_endpoints_serve_the_installed_pair(lab):
    assert lab.served_everywhere() == everywhere(lab.old)


def test_endpoints_are_published_to_the_network(lab):
    assert lab.served_everywhere(host=lab.proxy, address=MAIL_ADDRESS) == everywhere(lab.old)


def test_endpoints_answer_on_the_containers_addresses(lab):
    address = lab.docker("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                         lab.mailcow.name("dovecot-mailcow")).stdout.strip()
    assert lab.served(993, address=address) == lab.old.fingerprint


def test_a_new_pair_is_served_after_reloads_by_hand(lab):
    new = lab.issue()
    lab.mailcow.install(new)
    assert lab.served(993) == lab.old.fingerprint
    lab.mailcow.reload()
    wait_for(lambda: lab.served_everywhere() == everywhere(new), "the new pair on every port")


def test_reset_brings_the_old_pair_back(lab):
    lab.mailcow.install(lab.issue())
    lab.mailcow.reload()
    lab.mailcow.remove("nginx-mailcow")
    lab.docker("pause", lab.mailcow.name("postfix-mailcow"))
    lab.docker("stop", lab.mailcow.name("dovecot-mailcow"))
    lab.docker.stop()
    lab.sshd.stop()
    lab.reset()
    assert lab.served_everywhere() == everywhere(lab.old)


def test_an_sni_folder_is_served_after_a_restart(lab):
    other = lab.issue("other.example.net")
    lab.mailcow.add_sni("other.example.net", other, "other.example.net")
    assert lab.served_everywhere("other.example.net") == everywhere(other)
    assert lab.served_everywhere() == everywhere(lab.old)


def test_a_user_can_log_in(lab):
    result = lab.mail.run(["openssl", "s_client", "-quiet", "-crlf", "-connect", "127.0.0.1:993"], check=False,
                          input="a login user@example.org lab\nb logout\n")
    assert "a OK" in result.stdout, result.stdout


def test_containers_are_labelled_as_compose_labels_them(lab):
    found = lab.docker("ps", "--filter=label=com.docker.compose.project=mailcowdockerized",
                       '--format={{.Label "com.docker.compose.service"}}').stdout.split()
    assert sorted(found) == sorted(mailcow.COMPOSE)


def test_a_container_that_dies_comes_back(lab):
    """--restart always is in force: what a deployer must not break."""
    pid = lab.docker("inspect", "--format={{.State.Pid}}", lab.mailcow.name("nginx-mailcow")).stdout.strip()
    lab.mail.run(["kill", "-KILL", pid])
    wait_for(lambda: lab.served(443) == lab.old.fingerprint and lab.mailcow.state("nginx-mailcow") == "running", "nginx again")


def test_the_forced_command_answers_and_nothing_else_does(lab):
    lab.sshd.authorize(lab.public_key, options='restrict,command="echo forced: $SSH_ORIGINAL_COMMAND; cat"')
    assert lab.ssh("id; reboot", input="hello").stdout == "forced: id; reboot\nhello"
    assert lab.ssh("-s", "sftp", input="").stdout.startswith("forced:")
    pty = lab.ssh("-tt", "tty", input="")
    assert "PTY allocation request failed" in pty.stderr
    forward = lab.ssh("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22", "true", input="")
    assert forward.returncode == 255 and "forwarding failed" in forward.stderr


def test_another_key_is_refused(lab):
    lab.proxy.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/other"])
    lab.sshd.authorize(lab.proxy.read("/root/other.pub"))
    assert lab.ssh("id").returncode == 255


def test_the_account_belongs_to_nobody_but_root(lab):
    assert lab.mail.path(AUTHORIZED_KEYS).stat().st_uid == 0
    assert COMMAND in lab.mail.read(AUTHORIZED_KEYS)
    assert lab.mail.run(["id", "-un"], user="certsync").stdout == "certsync\n"


def test_sshd_takes_options_and_reset_takes_them_back(lab):
    lab.sshd.start(host_keys=("rsa",))
    assert "Host key verification failed" in lab.ssh("id").stderr
    lab.reset()
    assert "Host key verification failed" not in lab.ssh("id").stderr


def test_lineages_are_as_certbot_lays_them_out(lab):
    live = "/etc/nginx/letsencrypt/live/npm-5"
    new = lab.renew()
    assert os.readlink(lab.proxy.path(f"{live}/privkey.pem")) == "../../archive/npm-5/privkey2.pem"
    assert lab.proxy.run(["cat", f"{live}/fullchain.pem", f"{live}/privkey.pem"]).stdout == new.pem
    assert lab.proxy.path("/etc/nginx/letsencrypt/archive/npm-5/privkey1.pem").stat().st_mode & 0o777 == 0o600


TIMED_BANNER = """
import socket, sys, time
begin = time.monotonic()
stream = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
stream.sendall(b"x")
assert stream.recv(1) == b"S"
print(time.monotonic() - begin)
"""


def test_a_link_delays(lab):
    """Three times until the server accepts, and once what it says."""
    with lab.link() as link:
        link.set(delay=0.2)
        assert 0.79 <= float(lab.proxy.run([PYTHON, "-c", TIMED_BANNER, link.port]).stdout) < 30


def zeros_through(lab, link, size: int) -> subprocess.CompletedProcess:
    lab.write_known_hosts(f"[127.0.0.1]:{link.port}")
    lab.sshd.authorize(lab.public_key, options=f'restrict,command="head -c {size} /dev/zero"')
    return lab.ssh("-p", str(link.port), "-o", "HostName=127.0.0.1", text=False, timeout=20)


def test_a_link_carries_ssh_and_cuts_it(lab):
    with lab.link() as link:
        assert len(zeros_through(lab, link, 500_000).stdout) == 500_000
        link.set(cut_down=200_000)
        assert 0 < len(zeros_through(lab, link, 500_000).stdout) < 200_000
        link.set(cut_down=-1, cut_up=100, reset=1)
        assert zeros_through(lab, link, 500_000).returncode == 255


def test_a_link_drips_and_swallows(lab):
    with lab.link(drip_down=20_000) as link:
        begin = time.monotonic()
        assert len(zeros_through(lab, link, 20_000).stdout) == 20_000
        assert time.monotonic() - begin > 1
        link.set(drip_down=0, hole=1)
        banner = f"exec 3<>/dev/tcp/127.0.0.1/{link.port}; read -r line <&3"
        with pytest.raises(subprocess.TimeoutExpired):
            lab.proxy.run(["bash", "-c", banner], timeout=1)
        link.set(hole=0)
        lab.proxy.run(["bash", "-c", banner], timeout=5)


def test_a_host_writes_nothing_on_the_machine(lab):
    lab.proxy.write("/etc/certsync-lab-was-here", "x")
    lab.proxy.write("/var/run/certsync-lab-was-here", "x")
    assert lab.proxy.read("/run/certsync-lab-was-here") == "x"
    assert not os.path.exists("/etc/certsync-lab-was-here") and not os.path.exists("/run/certsync-lab-was-here")


def processes(folder: Path) -> list[str]:
    """Names of those that have something below folder mounted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in (process / "mountinfo").read_text():
                found.append((process / "comm").read_text().strip())
    return found


def traces(folder: Path, hosts: set) -> list:
    """What labs below folder leave: files, processes in their namespaces, mounts, cgroups of their hosts."""
    found = [*folder.iterdir(), *processes(folder)]
    for host in hosts:
        found += Path("/sys/fs/cgroup").glob(f"**/certsync-lab-{host}")
    return found


START = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from tests.lab import lab
lab.TEMPORARY = pathlib.Path(sys.argv[2])
with lab.Lab():
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["close", "interrupt", "interrupt while starting", "kill"])
def test_nothing_is_left_behind(tmp_path, monkeypatch, end):
    process = subprocess.Popen([sys.executable, "-c", START, REPOSITORY, tmp_path], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if end == "interrupt while starting":
        wait_for(lambda: "containerd-shim" in processes(tmp_path), "a container", 120)
    else:
        assert process.stdout.readline() == "up\n"
    hosts = {path.name for path in tmp_path.glob("*/*-*")}
    assert len(hosts) == 2 and len(traces(tmp_path, hosts)) > 10
    if end != "close":
        process.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
    process.communicate("", timeout=60)
    if end == "kill":  # nobody was there to remove the folder: the next lab does
        wait_for(lambda: len(traces(tmp_path, hosts)) == 1, "the hosts have ended")
        monkeypatch.setattr("tests.lab.lab.TEMPORARY", tmp_path)
        with temporary_folder():
            pass
    assert traces(tmp_path, hosts) == []


def test_a_failed_start_leaves_nothing(tmp_path):
    with Host("one", tmp_path) as one, pytest.raises(subprocess.CalledProcessError):
        with Host("two", tmp_path) as two:
            os.kill(two.pid, signal.SIGKILL)
            wait_for(lambda: not os.path.exists(f"/proc/{two.pid}"), "its end")
            connect(one, "192.0.2.1", two, "192.0.2.2")
    assert traces(tmp_path, set()) == []
