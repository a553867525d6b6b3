"""A small client of the protocol, to say what the pusher never would."""
from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field

from tests.lab.lab import RECEIVE, SOCKET, USER, Lab


@dataclass
class Reply:
    code: int
    rows: list[str] = field(default_factory=list)  # the lines of the reply, without their codes
    progress: list[str] = field(default_factory=list)  # what came before it with code 150

    @property
    def text(self) -> str:
        return self.rows[-1]


def parse(transcript: str) -> list[Reply]:
    """The replies of a whole session; a line that is none is an error."""
    replies, rows, progress = [], [], []
    for line in transcript.splitlines():
        code, separator, text = int(line[:3]), line[3], line[4:]
        assert separator in " -", line
        if code == 150:
            progress.append(text)
            continue
        rows.append(text)
        if separator == " ":
            replies.append(Reply(code, rows, progress))
            rows, progress = [], []
    assert not rows, transcript
    return replies


def put(bundle: str | bytes, want: str = "primary", length: int | None = None, digest: str | None = None) -> bytes:
    """PUT and the bundle; length and digest are right unless given."""
    content = bundle.encode() if isinstance(bundle, str) else bundle
    length = len(content) if length is None else length
    return f"PUT {want} {length} {digest or hashlib.sha256(content).hexdigest()}\n".encode() + content


HELLO = b"HELLO 1 test/1\n"


class Session:
    """One session with the deployer: `with connect(lab) as session`."""

    def __init__(self, reader: int, writer: int):
        self.reader, self.writer, self.buffer = reader, writer, b""

    def send(self, *parts: str | bytes) -> None:
        """Lines as text, bytes as they are."""
        for part in parts:
            content = part if isinstance(part, bytes) else part.encode() + b"\n"
            while content:
                content = content[os.write(self.writer, content):]

    def line(self, timeout: float = 30) -> str | None:
        """None at the end of the stream."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            assert select.select([self.reader], [], [], max(0, deadline - time.monotonic()))[0], f"no line: {self.buffer!r}"
            try:
                data = os.read(self.reader, 65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, f"half a line: {self.buffer!r}"
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode("ascii")

    def reply(self, timeout: float = 60) -> Reply | None:
        lines = []
        while line := self.line(timeout):
            lines.append(line)
            if line[3] == " " and line[:3] != "150":
                return parse("\n".join(lines))[0]
        assert not lines, lines
        return None

    def ask(self, *parts: str | bytes) -> Reply | None:
        self.send(*parts)
        return self.reply()

    def progress(self, step: str) -> str:
        """The next line of progress with this step."""
        while line := self.line():
            if line.startswith(f"150 {step} "):
                return line[4:]
        raise AssertionError(f"no step {step}")


@contextlib.contextmanager
def connect(lab: Lab):
    """As the operator, at the socket itself."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(lab.mail.path(SOCKET)))
        session = Session(stream.fileno(), stream.fileno())
        session.socket = stream
        yield session


@contextlib.contextmanager
def relay(lab: Lab, user: str = USER):
    """As the push user, through mailcow-cert-receive."""
    process = lab.mail.popen([RECEIVE], user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    session = Session(process.stdout.fileno(), process.stdin.fileno())
    session.process = process
    try:
        yield session
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


def greeted(session: Session) -> Reply:
    greeting = session.reply()
    assert greeting.code == 220, greeting
    return greeting
