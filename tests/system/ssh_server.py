"""For test_ssh.py: the driver of pusher/ssh, a real sshd of its own for each test, servers that misbehave."""
import base64
import contextlib
import hashlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from tests.lab.make import BUILD, O, make

DRIVER = BUILD / "tests/system/ssh_driver"
USER = "certsync"
UID = 64123
DONE, FAILED, TEMPORARY, CONFIG = 0, 1, 75, 78


def build_driver() -> None:
    make(f"{O}/tests/system/ssh_driver")


@dataclass
class Result:
    code: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def error(self) -> str:
        return next((line[6:] for line in self.stderr.splitlines() if line.startswith("error ")), "")

    @property
    def remote_stderr(self) -> str:
        return next((line[7:] for line in self.stderr.splitlines() if line.startswith("stderr ")), "")

    @property
    def steps(self) -> list[str]:
        return [line.split()[1] for line in self.stderr.splitlines() if line.startswith("step ")]

    def detail(self, step: str) -> str:
        return next(l.split(None, 3)[3] for l in self.stderr.splitlines() if l.startswith(f"step {step} "))


def driver_args(port: int, key: Path, known_hosts: Path, *, host="127.0.0.1", options=()) -> list[str]:
    return [str(DRIVER), *map(str, options), host, str(port), USER, str(key), str(known_hosts)]


def drive(port, key, known_hosts, *, host="127.0.0.1", options=("-h", 30000), stdin=b"", prefix=()) -> Result:
    started = time.monotonic()
    done = subprocess.run([*prefix, *driver_args(port, key, known_hosts, host=host, options=options)],
                          input=stdin, capture_output=True, timeout=120)
    seconds = time.monotonic() - started
    return Result(done.returncode, done.stdout, done.stderr.decode(), seconds)


def keygen(path: Path, *args: str, passphrase="") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-C", "", "-f", path, *args], check=True)
    return path


def wait_until(condition: Callable[[], bool], seconds=60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def fingerprint(public: Path) -> str:
    digest = hashlib.sha256(base64.b64decode(public.read_text().split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class Sshd:
    """One sshd in mount and process namespaces of its own, so that nothing of it outlasts the test."""

    def __init__(self, keys: Path, options: list[str], host_keys: tuple[str, ...], prefix: list[str]):
        self.dir = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.dir.chmod(0o755)
        self.keys = keys
        self.process: subprocess.Popen | None = None
        (self.dir / "passwd").write_text(
            f"root:x:0:0::/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n"
            f"{USER}:x:{UID}:{UID}::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        (self.dir / "shadow").write_text(f"{USER}:*:20000::::::\n")
        (self.dir / "shadow").chmod(0o600)
        (self.dir / "group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{UID}:\n")
        self.authorize("cat")
        for _ in range(5):
            if self._start(options, host_keys, prefix):
                return
        raise AssertionError(self.log())

    def _start(self, options, host_keys, prefix) -> bool:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = [f"Port {self.port}", "ListenAddress 127.0.0.1", "UsePAM no", "StrictModes no", "PidFile none",
                  f"AuthorizedKeysFile {self.dir}/authorized_keys", "PrintMotd no",
                  *(f"HostKey {self.keys}/host_{kind}" for kind in host_keys), *options]
        (self.dir / "sshd_config").write_text("\n".join(config) + "\n")
        script = (f"mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && for f in passwd shadow group; do "
                  f"mount --bind {self.dir}/$f /etc/$f || exit; done && "
                  f"exec {' '.join(prefix)} /usr/sbin/sshd -D -e -f {self.dir}/sshd_config")
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                                             "sh", "-c", script], stderr=log, stdin=subprocess.DEVNULL)
        wait_until(lambda: "Server listening" in self.log() or self.process.poll() is not None)
        return self.process.poll() is None

    def log(self) -> str:
        return (self.dir / "log").read_text()

    @property
    def pid(self) -> int:
        return children(self.process.pid)[0]

    def authorize(self, command: str | None, key="ed25519", options="restrict") -> None:
        """Lets the key in, with a forced command (a line of shell) unless it is None."""
        if command is not None:
            (self.dir / "forced").write_text(f"#!/bin/sh\n{command}\n")
            (self.dir / "forced").chmod(0o755)
            options += f',command="{self.dir}/forced"'
        public = (self.keys / f"{key}.pub").read_text()
        (self.dir / "authorized_keys").write_text(f"{options} {public}")

    def pin(self, kind="ed25519", name: str | None = None, marker="") -> str:
        name = name or f"[127.0.0.1]:{self.port}"
        return f"{marker}{name} " + (self.keys / f"host_{kind}.pub").read_text()

    def known_hosts(self, *lines: str) -> Path:
        path = self.dir / "known_hosts"
        path.write_text("".join(lines or [self.pin()]))
        return path

    def drive(self, key="ed25519", known_hosts: Path | None = None, **kwargs) -> Result:
        return drive(kwargs.pop("port", self.port), self.keys / key, known_hosts or self.known_hosts(), **kwargs)

    def popen(self, *options, uid=0) -> subprocess.Popen:
        """A session with open pipes, run by a user that can read only what lies in self.dir."""
        args = driver_args(self.port, self.share(self.keys / "ed25519"), self.known_hosts(), options=options)
        args[0] = str(self.share(DRIVER, 0o755))
        return subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                user=uid, group=uid, extra_groups=[0] if uid == 0 else [])

    def share(self, path: Path, mode=0o644) -> Path:
        copy = Path(shutil.copy(path, self.dir / f"shared_{path.name}"))
        copy.chmod(mode)
        return copy

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir)


def finish(process: subprocess.Popen) -> Result:
    stdout, stderr = process.communicate(timeout=20)
    return Result(process.returncode, stdout, stderr.decode(), 0)


@contextlib.contextmanager
def server(handle: Callable[[socket.socket], None], address="127.0.0.1") -> Iterator[int]:
    """A TCP server on a free port that gives every connection to handle; ends with the block."""
    listener = socket.create_server((address, 0))
    threads = []

    def serve_one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = threading.Thread(target=serve_one, args=(connection,))
                thread.start()
                threads.append(thread)

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


class Cut:
    """A relay to sshd that passes so many bytes of the server, then closes or falls silent."""

    def __init__(self, sshd: Sshd, after: int, silent: bool):
        self.target, self.after, self.silent = ("127.0.0.1", sshd.port), after, silent

    def __call__(self, client: socket.socket) -> None:
        with socket.create_connection(self.target) as upstream:
            forward = threading.Thread(target=self._forward, args=(client, upstream))
            forward.start()
            left = self.after
            while left and (data := upstream.recv(left)):
                client.sendall(data)
                left -= len(data)
            if not self.silent:
                client.shutdown(socket.SHUT_RDWR)
            forward.join()

    @staticmethod
    def _forward(client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                upstream.sendall(data)
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def deaf(address: str, port=0) -> Iterator[int]:
    """A listener whose queue is full: what knocks further is not answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(8):
            knock = stack.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex((address, port))
        yield port
