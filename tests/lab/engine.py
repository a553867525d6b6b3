"""What may stand between the deployer and the engine: a real haproxy with a socket proxy's rules or with TLS, and a front
that misbehaves (engine_front.py)."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .docker import Docker
from .host import PYTHON, Host, wait_for
from .pki import Bundle

HAPROXY_CONF = "/run/lab/haproxy.cfg"
VERSION = r"^(/v[0-9.]+)?"


def rules(*allowed: str, post: bool = False, restarts: bool = False) -> list[str]:
    """Those of Tecnativa's docker-socket-proxy with POST, ALLOW_RESTARTS and a section of the API each set or not: without
    POST only GET passes, then a restart, then whatever begins with an allowed section."""
    lines = [] if post else ["deny unless METH_GET"]
    if restarts:
        lines.append(f"allow if {{ path,url_dec -m reg -i {VERSION}/containers/[a-zA-Z0-9_.-]+/(stop|restart|kill) }}")
    lines += [f"allow if {{ path,url_dec -m reg -i {VERSION}/{section} }}" for section in allowed]
    return [f"http-request {line}" for line in [*lines, "deny"]]


class Haproxy:
    """On the host's loopback; listeners: port -> (options of its bind, rules)."""

    def __init__(self, host: Host, listeners: dict[int, tuple[str, list[str]]]):
        self.host = host
        text = ["global", "  log stderr format raw local0", "defaults", "  mode http", "  option http-server-close",
                "  timeout connect 10s", "  timeout client 10m", "  timeout server 10m", "  timeout http-request 10s",
                "backend engine", f"  server engine unix@{Docker.SOCKET}"]
        for port, (options, lines) in listeners.items():
            text += [f"frontend f{port}", f"  bind 127.0.0.1:{port} {options}", *(f"  {line}" for line in lines),
                     "  default_backend engine"]
        host.write(HAPROXY_CONF, "\n".join(text) + "\n", 0o600)
        host.run(["haproxy", "-c", "-f", HAPROXY_CONF])
        self.process = host.popen(["haproxy", "-db", "-f", HAPROXY_CONF], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: all(listens(host, port) for port in listeners), "haproxy")

    def __enter__(self) -> Haproxy:
        return self

    def __exit__(self, *_) -> None:
        self.process.stop()


def listens(host: Host, port: int) -> bool:
    return f"0100007F:{port:04X} 00000000:0000 0A" in host.read("/proc/1/net/tcp")


class Front:
    """engine_front.py on a socket of its own, before the real engine: what it does with the requests whose line matches."""

    def __init__(self, host: Host, match: str, fault: str, **options):
        self.path = "/run/lab/front.sock"
        host.write("/run/lab/engine_front.py", Path(__file__).with_name("engine_front.py").read_bytes())
        host.path(self.path).unlink(missing_ok=True)
        self.process = host.popen([PYTHON, "-I", "/run/lab/engine_front.py", json.dumps(
            {"listen": self.path, "engine": Docker.SOCKET, "match": match, "fault": fault} | options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.host = f"unix://{self.path}"

    def requests(self) -> list[str]:
        """The request lines so far; ends it."""
        self.process.kill()
        return self.process.stdout.read().splitlines()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()


def write_certificates(host: Host, folder: str, ca: str, bundle: Bundle) -> str:
    """As docker expects them in DOCKER_CERT_PATH."""
    host.write(f"{folder}/ca.pem", ca)
    host.write(f"{folder}/cert.pem", bundle.fullchain)
    host.write(f"{folder}/key.pem", bundle.key, 0o600)
    return folder
