"""Mail clients in a loop: they log in over imaps and submission as fast as they are let, and count what goes wrong.

    with Load(lab.proxy, MAIL_ADDRESS) as load:
        lab.push()
    print(load.failures(), "of", load.sessions(), load.counts)

As a script in a lab host: load.py ADDRESS NAME PASSWORD CLIENTS; it ends when its standard input does and prints the counts.
"""
from __future__ import annotations

import collections
import imaplib
import json
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

TIMEOUT = 30
# What a session can fail at, in its order; "dropped" is everything after the login.
STAGES = ("refused", "handshake", "login", "dropped")


class Imap(imaplib.IMAP4):
    """On a connection that is there already."""

    def __init__(self, connection: ssl.SSLSocket):
        self.connection = connection
        super().__init__()

    def open(self, *_args, **_kwargs) -> None:
        self.sock = self.connection
        self.file = self._file = self.sock.makefile("rb")


class Smtp(smtplib.SMTP):
    def __init__(self, connection: socket.socket):
        self.connection = connection
        super().__init__("unused", local_hostname="client.example.org")

    def _get_socket(self, *_) -> socket.socket:
        return self.connection


class Client:
    def __init__(self, address: str, name: str, password: str):
        self.address, self.name, self.password = address, name, password
        self.stage = ""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def connect(self, port: int) -> socket.socket:
        self.stage = "refused"
        return socket.create_connection((self.address, port), TIMEOUT)

    def imaps(self) -> None:
        with self.connect(993) as plain:
            self.stage = "handshake"
            with self.context.wrap_socket(plain) as connection:
                client = Imap(connection)
                self.stage = "login"
                client.login(self.name, self.password)
                self.stage = "dropped"
                client.noop()
                client.logout()

    def submission(self) -> None:
        with self.connect(587) as plain:
            self.stage = "handshake"
            client = Smtp(plain)
            client.starttls(context=self.context)
            client.ehlo()
            self.stage = "login"
            client.login(self.name, self.password)
            self.stage = "dropped"
            client.noop()
            client.quit()


PROTOCOLS = {"imaps": Client.imaps, "submission": Client.submission}


class Crowd:
    """Clients of every protocol, each in a thread of its own."""

    def __init__(self, address: str, name: str, password: str, clients: int):
        self.over = threading.Event()
        self.counts = {protocol: collections.Counter(dict.fromkeys(("sessions", *STAGES), 0)) for protocol in PROTOCOLS}
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self.loop, args=(protocol, Client(address, name, password)))
                        for protocol in PROTOCOLS for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def loop(self, protocol: str, client: Client) -> None:
        counts = self.counts[protocol]
        while not self.over.is_set():
            begin = time.monotonic()
            try:
                PROTOCOLS[protocol](client)
                counts["sessions"] += 1
            except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
                counts[client.stage] += 1
                self.errors.append(f"{protocol}: {client.stage}: after {time.monotonic() - begin:.2f} s: "
                                   f"{type(error).__name__}: {error}")

    def stop(self) -> dict:
        self.over.set()
        for thread in self.threads:
            thread.join()
        return {**self.counts, "errors": self.errors[:20]}


class Load:
    """The same from a lab host to the mail host's published ports, until stop(); a context. counts: for each protocol the
    sessions that went well, and how many did not at each of STAGES; errors: what was said of the first of these."""

    def __init__(self, host, address: str, name: str = "user@example.org", password: str = "lab", clients: int = 2):
        self.counts: dict = {}
        with open(__file__, "rb") as script:
            host.write("/run/bench/load.py", script.read())
        self.process = host.popen(["/usr/bin/python3", "-I", "/run/bench/load.py", address, name, password, str(clients)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "begun\n"

    def stop(self) -> dict:
        if not self.counts:
            self.counts = json.loads(self.process.communicate("")[0])
        return self.counts

    def protocols(self) -> dict[str, dict[str, int]]:
        return {protocol: self.stop()[protocol] for protocol in PROTOCOLS}

    def failures(self) -> int:
        return sum(counts[stage] for counts in self.protocols().values() for stage in STAGES)

    def sessions(self) -> int:
        return sum(counts["sessions"] for counts in self.protocols().values())

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def main() -> None:
    address, name, password, clients = sys.argv[1:]
    crowd = Crowd(address, name, password, int(clients))
    while not crowd.errors and not all(counts["sessions"] for counts in crowd.counts.values()):
        crowd.over.wait(0.01)
    print("begun", flush=True)
    sys.stdin.read()
    print(json.dumps(crowd.stop()))


if __name__ == "__main__":
    main()
