"""The stream of a push is cut at each position: nothing is installed or all of it, and the next push works.

At the deployer's socket at every byte of what the client says, and at steps of what it is told; between the two hosts at
steps of either direction of the SSH connection, every other time with a reset.
"""
from __future__ import annotations

import contextlib
import socket
import time
from typing import Iterator

from tests.lab.host import wait_for
from tests.lab.lab import Lab
from tests.system.protocol import HELLO, connect, greeted, put

from .deployer import is_idle
from .outcome import NEW, OLD, TORN, Outcome
from .process import PATIENCE
from .pusher import Torture

STEP = 100
TEMPORARY = 75


class Cuts(Torture):
    """Passes over a link that is cut."""

    def __init__(self, lab: Lab):
        super().__init__(lab)
        self.link = lab.link()
        lab.push_through(self.link)

    def close(self) -> None:
        self.link.close()
        super().close()

    def installed(self) -> str:
        pairs = {(self.previous.fullchain, self.previous.key): OLD, (self.new.fullchain, self.new.key): NEW}
        return pairs.get(self.lab.mailcow.installed(), TORN)

    def renew(self) -> None:
        self.previous = getattr(self, "new", self.lab.old)
        super().renew()

    def settle(self) -> None:
        """What the mail host still does goes on without the client; a killed connection is noticed there."""
        wait_for(lambda: is_idle(self.lab), "the end of the deployer's sessions", PATIENCE)

    def conclude(self, outcome: Outcome, begin: float) -> Outcome:
        self.settle()
        outcome.reached = True
        outcome.at_once = outcome.state = self.installed()
        if outcome.state == TORN:
            outcome.problems.append("a torn pair")
        return self.timed(outcome, begin)

    @staticmethod
    def timed(outcome: Outcome, begin: float) -> Outcome:
        outcome.seconds = time.monotonic() - begin
        return outcome

    # At the socket

    def said(self) -> bytes:
        return HELLO + put(self.new.pem) + b"DEPLOY\n"

    def socket_up(self, step: int) -> Iterator[Outcome]:
        """Nothing is deployed before the last byte, and all of it with it."""
        self.renew()
        said = self.said()
        for length in [*range(0, len(said), step), len(said)]:
            begin = time.monotonic()
            outcome = Outcome(f"cut after {length} of {len(said)} bytes to the socket")
            with connect(self.lab) as session:
                greeted(session)
                session.send(said[:length])
                session.socket.shutdown(socket.SHUT_WR)  # as the relay passes on what became of its input
                with contextlib.suppress(ConnectionResetError):  # it did not want all of it
                    while session.socket.recv(65536):
                        pass
            self.conclude(outcome, begin)
            if outcome.state != (NEW if length == len(said) else OLD):
                outcome.problems.append(f"installed is the {outcome.state}")
            outcome.finished = not outcome.problems
            yield outcome
        yield self.push(Outcome("a push after all of these"))

    def socket_down(self, step: int) -> Iterator[Outcome]:
        """The client leaves after so many bytes of what follows on the greeting: what has begun goes on."""
        length = 0
        whole = False
        while not whole:
            self.renew()
            begin = time.monotonic()
            outcome = Outcome(f"cut after {length} bytes from the socket")
            with connect(self.lab) as session:
                greeted(session)
                session.send(self.said())
                heard = session.buffer
                while len(heard) < length and (data := session.socket.recv(length - len(heard))):
                    heard += data
                whole = len(heard) < length
            self.conclude(outcome, begin)
            if b"150 staged " in heard and outcome.state != NEW:
                outcome.problems.append(f"installed is the {outcome.state}")
            yield self.push(outcome)
            length += step

    # Between the hosts

    def ssh(self, direction: str, step: int) -> Iterator[Outcome]:
        length = 0
        whole = False
        while not whole:
            self.renew()
            begin = time.monotonic()
            outcome = Outcome(f"cut after {length} bytes {direction} the SSH connection")
            self.link.set(**{f"cut_{direction}": length, "reset": length // step % 2})
            pushed = self.lab.push()
            self.link.set(**{f"cut_{direction}": -1, "reset": 0})
            whole = pushed.returncode == 0
            self.conclude(outcome, begin)
            if whole and outcome.state != NEW:
                outcome.problems.append("called deployed, and not installed")
            if pushed.returncode not in (0, TEMPORARY):
                outcome.problems.append(f"exit {pushed.returncode}, which no later pass would cure: {pushed.stderr.strip()}")
            yield self.push(outcome)
            length += step

    def push(self, outcome: Outcome) -> Outcome:
        begin = time.monotonic() - outcome.seconds
        self.pass_by(outcome)
        return self.timed(outcome, begin)


KINDS = {"socket-up": lambda cuts, every: cuts.socket_up(every), "socket-down": lambda cuts, every: cuts.socket_down(STEP * every),
         "ssh-up": lambda cuts, every: cuts.ssh("up", STEP * every), "ssh-down": lambda cuts, every: cuts.ssh("down", STEP * every)}
