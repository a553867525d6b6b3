"""systemd's own journald in a host, without systemd: what programs tell it, and what journalctl shows of that."""
from __future__ import annotations

import json
import shutil

from .host import Host, wait_for

SOCKETS = "/run/systemd/journal"
RECORDS = "/run/log/journal"
# This systemd-cat does not say so itself, as systemd does (systemd.exec(5)).
STREAM = 'export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/2); exec "$@"'


class Journal:
    """`with Journal(host) as journal`: a fresh one. Its programs are started by wrap()."""

    def __init__(self, host: Host):
        self.host = host

    def __enter__(self) -> Journal:
        for folder in (SOCKETS, RECORDS):
            shutil.rmtree(self.host.path(folder), ignore_errors=True)
            self.host.path(folder).mkdir(parents=True)
        self.host.write("/etc/systemd/journald.conf", "[Journal]\nReadKMsg=no\nRateLimitBurst=0\nForwardToSyslog=no\n")
        self.host.run(["journalctl", "--update-catalog"])
        self.daemon = self.host.popen(["/lib/systemd/systemd-journald"])
        wait_for(lambda: self.host.listens(f"{SOCKETS}/stdout") and self.host.exists(f"{SOCKETS}/socket"), "journald")
        return self

    def __exit__(self, *_) -> None:
        self.daemon.stop()
        shutil.rmtree(self.host.path(SOCKETS))

    @staticmethod
    def wrap(*argv: str) -> list[str]:
        """The command with its output in the journal, as systemd would start it."""
        return ["systemd-cat", "--", "sh", "-c", STREAM, "sh", *argv]

    def show(self, *options: str) -> str:
        self.host.run(["journalctl", "--sync"], check=False)
        return self.host.run(["journalctl", "--no-pager", *options]).stdout

    def records(self, *matches: str) -> list[dict[str, str]]:
        """Those of the product, the oldest first."""
        identifiers = ("-t", "mailcow-cert-push", "-t", "mailcow-cert-deploy")
        return [json.loads(line) for line in self.show(*identifiers, "-o", "json", *matches).splitlines()]

    def events(self, name: str = "") -> list[dict[str, str]]:
        return [record for record in self.records() if "EVENT" in record and name in ("", record["EVENT"])]
