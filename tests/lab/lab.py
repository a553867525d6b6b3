"""The lab: `proxy` with its lineages, `mail` with mailcow and sshd, a cable between them, and the product in both.

    with Lab() as lab:
        lab.install()
        lab.start_deployer()
        new = lab.renew()
        print(lab.push("-v").stdout)
        assert set(lab.served_everywhere().values()) == {new.fingerprint}

Everything is in namespaces and below one temporary folder; close() leaves nothing, the end of the process at most that
folder, which the next lab removes. Needs root.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Iterable, Iterator

from . import docker, mailcow, wire
from .docker import Docker
from .host import PYTHON, Host, Process, connect, remove_remains, wait_for
from .make import REPOSITORY, make
from .mailcow import HOSTNAME, Mailcow
from .pki import CA, Bundle, Lineage
from .sshd import USER, Sshd

CACHE = Path(os.environ.get("CERTSYNC_LAB_CACHE", REPOSITORY / "build" / "lab"))
TEMPORARY = Path("/var/tmp")

PROXY_ADDRESS, MAIL_ADDRESS = "192.0.2.80", "192.0.2.25"
NAMES = (HOSTNAME, "autodiscover.example.org", "autoconfig.example.org", "mta-sts.example.org", "imap.example.org",
         "smtp.example.org")
LETSENCRYPT = "/etc/nginx/letsencrypt"
ETC = "/etc/mailcow-certsync"
KEY, KNOWN_HOSTS = f"{ETC}/id_ed25519", f"{ETC}/known_hosts"
PUSH_CONF, DEPLOY_CONF, TRUST = f"{ETC}/push.conf", f"{ETC}/deploy.conf", f"{ETC}/lab-root.pem"
PUSH_STATE, DEPLOY_STATE = "/var/lib/mailcow-cert-push", "/var/lib/mailcow-cert-deploy"
RUN = "/run/mailcow-cert-deploy"
SOCKET = f"{RUN}/deploy.sock"
DEPLOYER_LOG = "/var/log/mailcow-cert-deploy.log"
PUSH, DEPLOY, RECEIVE = "/usr/bin/mailcow-cert-push", "/usr/sbin/mailcow-cert-deploy", "/usr/libexec/mailcow-cert-receive"

PATIENCE = 300  # seconds for a push or a command of the operator, whatever has to be restarted

Sections = dict[str, dict[str, str]]


def ini(sections: Sections) -> str:
    return "\n".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
                     for name, keys in sections.items())


def merged(base: Sections, changes: Sections) -> Sections:
    return {name: base.get(name, {}) | changes.get(name, {}) for name in [*base, *(n for n in changes if n not in base)]}


class Link:
    """A link.py in a host: `port` on its loopback leads to the target, with the options' faults."""

    def __init__(self, host: Host, target: str, **options: float):
        host.write("/run/lab/link.py", Path(__file__).with_name("link.py").read_bytes())
        self.process = host.popen([PYTHON, "-I", "/run/lab/link.py", "127.0.0.1:0", target, *self.words(options)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    @staticmethod
    def words(options: dict[str, float]) -> list[str]:
        return [f"{name}={value}" for name, value in options.items()]

    def set(self, **options: float) -> None:
        self.process.stdin.write(" ".join(self.words(options)) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Lab:
    def __init__(self, cache: Path = CACHE, engine: type = Docker):
        """engine: Docker, or podman.Podman"""
        self.environment: dict[str, str] = {}  # of the product's processes, beside the hosts' own
        self.deployer: Process | None = None
        self._loaded: tuple | None = None
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(temporary_folder())
            self.ca = CA()
            self.old = self.issue(age=60)  # what is installed and served at a reset, and in the lineage
            self.proxy = stack.enter_context(Host("proxy", self.directory))
            self.mail = stack.enter_context(Host("mail", self.directory, plain=[engine.DATA]))
            self._set_up_network()
            self._set_up_mail(cache, engine)
            self._set_up_proxy()
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # Setting up

    def _set_up_network(self) -> None:
        connect(self.proxy, PROXY_ADDRESS, self.mail, MAIL_ADDRESS)
        for host in (self.proxy, self.mail):
            host.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{PROXY_ADDRESS} proxy.example.org proxy\n"
                                     f"{MAIL_ADDRESS} {HOSTNAME} mail\n")
            host.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
            host.write("/etc/resolv.conf", "")

    def _set_up_mail(self, cache: Path, engine: type) -> None:
        image = docker.image(cache)
        self.docker = engine(self.mail)
        self.docker.load(image)
        self.mailcow = Mailcow(self.mail, self.docker)
        self.mailcow.install(self.old)
        self.mailcow.start()
        self.sshd = Sshd(self.mail)
        self.sshd.start()

    def _set_up_proxy(self) -> None:
        self.proxy.path(ETC).mkdir(exist_ok=True)
        self.proxy.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mailcow-cert-push", "-f", KEY])
        self.public_key = self.proxy.read(f"{KEY}.pub").strip()
        self._remove_state()
        self._configure()

    def _configure(self) -> None:
        self.write_known_hosts()
        self.sshd.authorize(self.public_key)
        self.write_push_conf()
        self.write_deploy_conf()
        self.mail.write(TRUST, self.ca.root.pem)
        self._write_lineages()

    def _write_lineages(self) -> None:
        shutil.rmtree(self.proxy.path(LETSENCRYPT), ignore_errors=True)
        top = self.proxy.path(LETSENCRYPT)
        for number, (names, validity) in enumerate({
                ("www.example.org", "example.org"): {}, ("example.net", "*.example.net"): {},
                (HOSTNAME,): {"days": 90, "age": 100}, ("cloud.example.org",): {"age": 30}}.items(), start=1):
            Lineage(top, f"npm-{number}", self.ca.issue(*names, **validity))
        self.lineage = Lineage(top, "npm-5", self.old)

    def _remove_state(self) -> None:
        for host in (self.proxy, self.mail):
            for folder in (PUSH_STATE, DEPLOY_STATE, RUN):
                shutil.rmtree(host.path(folder), ignore_errors=True)

    def write_known_hosts(self, *hosts: str, kinds: Iterable[str] = ("ed25519",)) -> None:
        """hosts as known_hosts names them: mail.example.org unless given, or [127.0.0.1]:2022."""
        self.proxy.write(KNOWN_HOSTS, "".join(f"{host} {self.sshd.host_key(kind)}\n"
                                              for host in hosts or [HOSTNAME] for kind in kinds))

    def write_push_conf(self, changes: Sections = {}) -> None:
        """changes: sections whose keys replace or join the lab's."""
        self.proxy.write(PUSH_CONF, ini(merged({
            "push": {"state": PUSH_STATE, "verify_every": "24h"},
            "source npm": {"path": f"{LETSENCRYPT}/live"},
            "target mailcow": {"host": HOSTNAME, "port": "22", "user": USER, "key": KEY, "known_hosts": KNOWN_HOSTS},
        }, changes)))

    def write_deploy_conf(self, changes: Sections = {}) -> None:
        self.mail.write(DEPLOY_CONF, ini(merged({
            "deploy": {"state": DEPLOY_STATE, "socket": SOCKET, "push_user": USER, "trust": TRUST},
            "mailcow": {"path": mailcow.PATH},
            "docker": {"host": f"unix://{self.docker.SOCKET}"},
            "verify": {"timeout": "30s", "start_timeout": "20s", "endpoints": "auto"},
        }, changes)))

    # The product

    def install(self) -> None:
        """Builds it and installs it into both hosts."""
        for host in (self.proxy, self.mail):
            make("install", f"DESTDIR={host.root}", "PREFIX=/usr")

    @property
    def installed(self) -> bool:
        return self.proxy.exists(PUSH) and self.mail.exists(DEPLOY) and self.mail.exists(RECEIVE)

    def start_deployer(self, *options: str, wrapper: Iterable[str] = ()) -> None:
        """(Re)starts `serve`, listening itself; wrapper: a command (strace …) that runs it."""
        self.stop_deployer()
        folder = self.mail.path(RUN)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        self.mail.path(SOCKET).unlink(missing_ok=True)
        with self.mail.path(DEPLOYER_LOG).open("ab") as log:
            self.deployer = self.mail.popen([*wrapper, DEPLOY, "serve", "--config", DEPLOY_CONF, "--socket", SOCKET, *options],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        wait_for(self._deployer_answers, f"the deployer's socket (its log: {DEPLOYER_LOG})")

    def _deployer_answers(self) -> bool:
        if self.deployer.poll() is not None:
            raise RuntimeError(f"the deployer has ended ({self.deployer.returncode}):\n{self.deployer_log()[-4000:]}")
        return self.mail.listens(SOCKET)

    def stop_deployer(self, number: int = signal.SIGTERM) -> int | None:
        """Its exit status, None when none was running."""
        deployer, self.deployer = self.deployer, None
        return deployer.stop(number) if deployer else None

    def deployer_log(self) -> str:
        return self.mail.read(DEPLOYER_LOG) if self.mail.exists(DEPLOYER_LOG) else ""

    def push(self, *args: str, check: bool = False, **kwargs) -> subprocess.CompletedProcess:
        """mailcow-cert-push on the proxy host; exit status, stdout and stderr are the result."""
        kwargs = {"env": self.environment, "timeout": PATIENCE} | kwargs
        return self.proxy.run([PUSH, *args], check=check, **kwargs)

    def deploy(self, *args: str, check: bool = False, **kwargs) -> subprocess.CompletedProcess:
        """mailcow-cert-deploy, the operator's command line, on the mail host."""
        kwargs = {"env": self.environment, "timeout": PATIENCE} | kwargs
        return self.mail.run([DEPLOY, *args], check=check, **kwargs)

    def ssh(self, *args: str, check: bool = False, **kwargs) -> subprocess.CompletedProcess:
        """OpenSSH's client on the proxy host with the push key: what a person or a thief would try."""
        return self.proxy.run(["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-i", KEY,
                               f"{USER}@{HOSTNAME}", *args], check=check, **kwargs)

    # Certificates

    def issue(self, *names: str, **options) -> Bundle:
        return self.ca.issue(*(names or NAMES), **options)

    def renew(self, bundle: Bundle | None = None) -> Bundle:
        """The next generation of lineage npm-5, as NPM makes it every 60 days."""
        bundle = bundle or self.issue()
        self.lineage.renew(bundle)
        return bundle

    def served(self, port: int, starttls: str | None = None, servername: str | None = None, host: Host | None = None,
               address: str = "127.0.0.1") -> str | None:
        """The fingerprint that the mail host serves on a published port, by openssl s_client."""
        return wire.served(host or self.mail, address, port, starttls, servername)

    def served_everywhere(self, servername: str | None = None, host: Host | None = None,
                          address: str = "127.0.0.1") -> dict[str, str | None]:
        return wire.served_everywhere(host or self.mail, address, servername)

    def link(self, **options: float) -> Link:
        """A link from the proxy host's loopback to the mail host's sshd; see link.py for the options."""
        return Link(self.proxy, f"{MAIL_ADDRESS}:22", **options)

    def push_through(self, link: Link) -> None:
        """Lets push.conf and known_hosts lead through a link."""
        self.write_known_hosts(f"[127.0.0.1]:{link.port}")
        self.write_push_conf({"target mailcow": {"host": "127.0.0.1", "port": str(link.port)}})

    # Between tests

    def reset(self, sshd: bool = True) -> None:
        """As after the start: the old pair installed and served, no state, default configuration, no deployer. sshd: False
        where another one has its port."""
        self.stop_deployer()
        self.environment.clear()
        self._remove_state()
        self.mail.path(DEPLOYER_LOG).unlink(missing_ok=True)
        self._configure()
        if sshd and self.sshd.changed():
            self.sshd.start()
        if self.docker.process.poll() is not None:
            self.docker.start()
        self.mailcow.reset(self.old)
        if self._loaded != self.mailcow.signature():
            self._load_old_pair()

    def _load_old_pair(self) -> None:
        self.mailcow.reload()
        wait_for(lambda: set(self.served_everywhere().values()) == {self.old.fingerprint}, "the old pair on every port")
        self._loaded = self.mailcow.signature()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Removes the folders of labs that were killed, and its own at the end; a lock tells which are in use."""
    for stale in TEMPORARY.glob("certsync-lab-*"):
        with contextlib.suppress(OSError), locked(stale):
            remove_remains(stale)
    fresh = Path(tempfile.mkdtemp(prefix="certsync-new-", dir=TEMPORARY))
    with locked(fresh):
        folder = fresh.rename(TEMPORARY / fresh.name.replace("new", "lab", 1))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
