"""mailcow on a lab host: its folder and its containers, labelled, mounted and published as its compose file does it."""
from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import docker
from .host import Host, wait_for
from .pki import Bundle

TREE = Path(__file__).with_name("mailcow")
PATH = "/opt/mailcow-dockerized"
SSL = f"{PATH}/data/assets/ssl"
PROJECT = "mailcowdockerized"
NETWORK = f"{PROJECT}_mailcow-network"
SUBNET = "172.22.1"
HOSTNAME = "mail.example.org"
RELOAD = {"postfix-mailcow": ["postfix", "reload"], "dovecot-mailcow": ["dovecot", "reload"],
          "nginx-mailcow": ["nginx", "-s", "reload"]}
SERVICES = tuple(RELOAD)

CONFIGURATION = ("mailcow.conf", "data/conf/postfix/main.cf", "data/conf/postfix/master.cf", "data/conf/dovecot/dovecot.conf",
                 "data/conf/dovecot/auth/passwd-verify.lua", "data/conf/nginx/mailboxes", "data/assets/ssl/dhparams.pem")
RENDERED = ("data/conf/postfix/sni.map", "data/conf/postfix/sni.map.db", "data/conf/dovecot/sni.conf")
EXTRA = f"{PATH}/data/conf/dovecot/extra.conf"  # dovecot.conf includes it; there is none unless a test writes one
MAILBOX, PASSWORD = "user@example.org", "lab"

# What mailcow publishes only with its override for haproxy.
HAPROXY = {"postfix-mailcow": (10025, 10465, 10587), "dovecot-mailcow": (10143, 10993, 10110, 10995, 14190)}

# service -> (address in its network, published ports, options, command)
SSL_MOUNT = f"--volume={SSL}:/etc/ssl/mail:ro"
COMPOSE = {
    "postfix-mailcow": (253, (25, 465, 587), [
        SSL_MOUNT, "--network-alias=postfix", f"--hostname={HOSTNAME}", f"--add-host=dovecot:{SUBNET}.250",
        f"--volume={PATH}/data/conf/postfix:/opt/postfix/conf",
        f"--volume={PATH}/data/Dockerfiles/postfix/postfix.sh:/postfix.sh:ro"], ["/postfix.sh"]),
    "dovecot-mailcow": (250, (143, 993, 110, 995, 4190), [
        SSL_MOUNT, "--network-alias=dovecot", f"--volume={PATH}/data/conf/dovecot:/etc/dovecot",
        "--dns-option=timeout:1", "--dns-option=attempts:1",  # nobody answers for a container that is stopped
        f"--volume={PATH}/data/Dockerfiles/dovecot/docker-entrypoint.sh:/docker-entrypoint.sh:ro"], ["/docker-entrypoint.sh"]),
    "nginx-mailcow": (None, (80, 443), [
        SSL_MOUNT, "--network-alias=nginx", f"--env=MAILCOW_HOSTNAME={HOSTNAME}", "--stop-signal=SIGQUIT",
        f"--volume={PATH}/data/conf/nginx:/etc/nginx/conf.d",
        f"--volume={PATH}/data/Dockerfiles/nginx/bootstrap.py:/bootstrap.py:ro",
        f"--volume={PATH}/data/Dockerfiles/nginx/docker-entrypoint.sh:/docker-entrypoint.sh:ro"], ["/docker-entrypoint.sh"]),
    "acme-mailcow": (None, (), [
        "--env=SKIP_LETS_ENCRYPT=y", "--init", f"--volume={SSL}:/var/lib/acme"], ["sleep", "infinity"]),
}


class Mailcow:
    """Its containers start with start(), after a first pair is there."""

    def __init__(self, host: Host, engine: docker.Docker):
        self.host, self.docker = host, engine
        self.recreated: set[str] = set()  # services whose container is not as COMPOSE has it
        self.changed = False  # the tree was not as it came, and the containers have not been started on it since
        shutil.copytree(TREE, host.path(PATH))
        host.path(f"{PATH}/build-image").unlink()
        host.path(f"{PATH}/mailcow.conf").chmod(0o600)
        host.path(f"{PATH}/.env").symlink_to("mailcow.conf")

    def install(self, bundle: Bundle, folder: str = "") -> None:
        """Writes the pair as an administrator's cp would; folder: an SNI folder, whose file `domains` is the caller's."""
        self.host.write(f"{SSL}/{folder}/cert.pem", bundle.fullchain)
        self.host.write(f"{SSL}/{folder}/key.pem", bundle.key, 0o600)

    def add_sni(self, name: str, bundle: Bundle, domains: str, restart: bool = True) -> None:
        """An SNI folder, as an administrator makes one; mailcow takes notice of it when its containers start."""
        self.host.path(f"{SSL}/{name}").mkdir(mode=0o755)
        self.install(bundle, name)
        self.host.write(f"{SSL}/{name}/domains", domains)
        if restart:
            self.restart()

    def restart(self) -> None:
        self.docker("restart", "--time=2", *map(self.name, SERVICES))
        self.wait()

    def installed(self) -> tuple[str, str]:
        """cert.pem and key.pem as they are; empty when missing."""
        paths = (f"{SSL}/cert.pem", f"{SSL}/key.pem")
        return tuple(self.host.read(path) if self.host.exists(path) else "" for path in paths)

    def start(self) -> None:
        self.docker("network", "create", f"--subnet={SUBNET}.0/24", f"--label=com.docker.compose.project={PROJECT}",
                    "--opt=com.docker.network.bridge.name=br-mailcow", NETWORK)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.create, COMPOSE))
        self.wait()

    def create(self, service: str, *more: str, ports: tuple | None = None, environment: dict[str, str] = {}) -> None:
        """Creates one service's container and starts it, as `compose up -d` does. more: options of docker run; ports: what
        is published instead of mailcow's own; environment: what differs from the lab's."""
        address, usual, options, command = COMPOSE[service]
        ports = usual if ports is None else ports
        options = [option for option in options if not option.startswith(tuple(f"--env={key}=" for key in environment))]
        options += [f"--env={key}={value}" for key, value in environment.items()]
        self.docker(
            "run", "--detach", "--restart=always", f"--name={self.name(service)}", f"--network={NETWORK}",
            f"--network-alias={service}", *([f"--ip={SUBNET}.{address}"] if address else []), "--dns=127.0.0.1",
            "--security-opt=apparmor=unconfined", "--security-opt=seccomp=unconfined", "--log-driver=json-file",
            f"--label=com.docker.compose.project={PROJECT}", f"--label=com.docker.compose.service={service}",
            "--label=com.docker.compose.oneoff=False", "--label=com.docker.compose.container-number=1",
            f"--label=com.docker.compose.project.working_dir={PATH}",
            f"--label=com.docker.compose.project.config_files={PATH}/docker-compose.yml",
            *(f"--publish={port}:{port}" for port in ports), *options, *more, docker.IMAGE, *command)

    def recreate(self, service: str, *more: str, ports: tuple | None = None) -> None:
        """As an override in docker-compose.override.yml does it, until the next reset."""
        self.recreated.add(service)
        self.remove(service)
        self.create(service, *more, ports=ports)
        wait_for(lambda: ports_listening(self, service) >= set(COMPOSE[service][1]), f"{service} (see logs())")

    @staticmethod
    def name(service: str) -> str:
        return f"{PROJECT}-{service}-1"

    def remove(self, service: str) -> None:
        self.docker("rm", "--force", self.name(service))

    def exec(self, service: str, *argv, check: bool = True):
        return self.docker("exec", self.name(service), *argv, check=check)

    def logs(self, service: str) -> str:
        return self.docker("logs", self.name(service), stderr=subprocess.STDOUT).stdout

    def state(self, service: str) -> str:
        """running, exited, paused, …; empty when there is no such container."""
        return self.docker("inspect", "--format={{.State.Status}}", self.name(service), check=False).stdout.strip()

    def states(self) -> dict[str, str]:
        return dict(line.split() for line in self.docker("ps", "--all", "--format={{.Names}} {{.State}}").stdout.splitlines())

    def reload(self, *services: str) -> None:
        for service in services or SERVICES:
            self.exec(service, *RELOAD[service])

    def take_ecdsa_alone(self, reload: bool = True) -> None:
        """Has Postfix take TLS 1.2 with ECDSA and nothing else: with an RSA certificate no handshake comes about. Each setting
        stands in main.cf once: of one that stands there twice each process warns, and postlogd, which does so as well, would
        wait for itself for ever."""
        folder = f"{PATH}/data/conf/postfix"
        settings = {"smtpd_tls_protocols": "TLSv1.2", "smtpd_tls_mandatory_protocols": "TLSv1.2", "smtpd_tls_exclude_ciphers": "aRSA"}
        others = [line for line in self.host.read(f"{folder}/main.cf").splitlines() if line.split("=")[0].strip() not in settings]
        self.host.write(f"{folder}/main.cf", "\n".join([*others, *(f"{key} = {value}" for key, value in settings.items())]) + "\n")
        self.host.write(f"{folder}/master.cf", self.host.read(f"{folder}/master.cf").replace(
            "smtpd_tls_mandatory_protocols=>=TLSv1.2", "smtpd_tls_mandatory_protocols=TLSv1.2"))
        if reload:
            self.reload("postfix-mailcow")

    def wait(self) -> None:
        """Until every published port listens inside its container."""
        for service, (_, ports, _, _) in COMPOSE.items():
            wait_for(lambda: ports_listening(self, service) >= set(ports), f"{service} (see logs())")

    def heal(self) -> None:
        """Whatever a test did to the containers: all exist, run and listen, and no others."""
        states = self.states()
        if others := set(states) - set(map(self.name, COMPOSE)):
            self.docker("rm", "--force", *others)
        for service in COMPOSE:
            state = states.get(self.name(service))
            if state is None:
                self.create(service)
            elif state == "paused":
                self.docker("unpause", self.name(service))
            elif state != "running":
                self.docker("start", self.name(service))
        if states.get(self.name("dovecot-mailcow")) != "running":  # Postfix's master starts no smtpd for a minute
            self.docker("restart", "--time=2", self.name("postfix-mailcow"))  # after one that missed Dovecot's SASL
        self.wait()

    def reset(self, bundle: Bundle) -> None:
        """The tree as it came, with this pair installed; all containers run."""
        for service in self.recreated:
            self.remove(service)
        self.recreated.clear()
        self.changed |= any([self._clean_ssl(), self._remove_extra(), *map(self._restore, CONFIGURATION)])
        if self.installed() != (bundle.fullchain, bundle.key):
            self.install(bundle)
        self.heal()
        if self.changed:  # a reload refuses what the start scripts rendered from folders that are gone
            for name in RENDERED:
                self.host.path(f"{PATH}/{name}").unlink(missing_ok=True)
            self.restart()
            self.changed = False

    def _clean_ssl(self) -> bool:
        """Removes what is not the lab's; whether there were folders."""
        residents = [path for path in self.host.path(SSL).iterdir()
                     if path.name not in ("cert.pem", "key.pem", "dhparams.pem") or path.is_symlink() or not path.is_file()]
        folders = [path for path in residents if path.is_dir() and not path.is_symlink()]
        for path in residents:
            shutil.rmtree(path) if path in folders else path.unlink()
        return bool(folders)

    def _remove_extra(self) -> bool:
        present = self.host.exists(EXTRA)
        self.host.path(EXTRA).unlink(missing_ok=True)
        return present

    def _restore(self, name: str) -> bool:
        """Whether that was needed."""
        content, mode = (TREE / name).read_bytes(), 0o600 if name == "mailcow.conf" else 0o644
        if self.host.exists(f"{PATH}/{name}") and self.host.read_bytes(f"{PATH}/{name}") == content:
            return False
        self.host.write(f"{PATH}/{name}", content, mode)
        return name != "mailcow.conf"

    def signature(self) -> tuple:
        """Changes when a pair was written or a container was started."""
        files = [os.lstat(self.host.path(f"{SSL}/{name}")) for name in ("cert.pem", "key.pem")]
        started = self.docker("inspect", "--format={{.Name}} {{.State.StartedAt}}", *map(self.name, COMPOSE)).stdout
        return tuple((stat.st_ino, stat.st_ctime_ns) for stat in files), started


def ports_listening(mailcow: Mailcow, service: str) -> set[int]:
    """The TCP ports on which a container listens, read from its network's table."""
    pid = mailcow.docker("inspect", "--format={{.State.Pid}}", mailcow.name(service), check=False).stdout.strip()
    if pid in ("", "0"):
        return set()
    table = mailcow.host.run(["cat", f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"], check=False).stdout
    rows = [line.split() for line in table.splitlines()]
    return {int(row[1].rsplit(":", 1)[1], 16) for row in rows if len(row) > 3 and row[3] == "0A"}
