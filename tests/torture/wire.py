"""What a host's endpoints serve, seen by Python's ssl from within the host's network: a fraction of what `openssl` costs."""
from __future__ import annotations

import ctypes
import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

from tests.lab.host import Host
from tests.lab.wire import ENDPOINTS

CLONE_NEWNET = 0x40000000
# dialect -> what is said until the handshake: (line to send, end of the answer's last line's beginning)
STARTTLS = {"smtp": [(None, b"220 "), ("EHLO probe.example.org", b"250 "), ("STARTTLS", b"220 ")],
            "imap": [(None, b"* OK"), ("a STARTTLS", b"a OK")],
            "pop3": [(None, b"+OK"), ("STLS", b"+OK")],
            "sieve": [(None, b"OK"), ("STARTTLS", b"OK")]}


def context() -> ssl.SSLContext:
    new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    new.check_hostname, new.verify_mode = False, ssl.CERT_NONE
    return new


def converse(stream: socket.socket, dialect: str) -> None:
    reader = stream.makefile("rb", buffering=0)
    for line, answer in STARTTLS[dialect]:
        if line:
            stream.sendall(line.encode() + b"\r\n")
        while not (heard := reader.readline()).startswith(answer):
            if not heard:
                raise ConnectionError("closed")


class Wire:
    """Threads that live in the host's network."""

    def __init__(self, host: Host):
        self.pool = ThreadPoolExecutor(len(ENDPOINTS), initializer=self.enter, initargs=(host.pid,))

    @staticmethod
    def enter(pid: int) -> None:
        with open(f"/proc/{pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    @staticmethod
    def served(port: int, dialect: str | None, name: str | None) -> str | None:
        """The fingerprint of the leaf; None when no handshake came about."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
                if dialect:
                    converse(stream, dialect)
                with context().wrap_socket(stream, server_hostname=name) as tls:
                    return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
        except (OSError, ssl.SSLError):
            return None

    def everywhere(self, name: str | None = None) -> dict[str, str | None]:
        """endpoint -> fingerprint"""
        answers = self.pool.map(lambda endpoint: self.served(*endpoint, name), ENDPOINTS.values())
        return dict(zip(ENDPOINTS, answers))

    def close(self) -> None:
        self.pool.shutdown()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_) -> None:
        self.close()
