"""What is deployed while it is disturbed: a renewal, an SNI folder that comes or goes, a restart, a rollback.

A scenario makes one Change after another, each beginning where the one before ended, so that nothing has to be reset between
two points.
"""
from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass

from tests.lab import mailcow
from tests.lab.lab import DEPLOY_STATE, HOSTNAME, Lab, Sections
from tests.lab.pki import Bundle
from tests.system.protocol import HELLO, connect, put

from .outcome import NEW, OLD, TORN

Files = dict[str, str | None]  # path below the SSL folder -> content, None when it is not there
RECONCILE = HELLO + b"RECONCILE\n"
STEPS = 8  # where not every call is tried: one in so many, beside those that change the disk


@dataclass(frozen=True)
class Change:
    """What one deployment is to change."""
    said: bytes  # to the deployer
    states: list[tuple[str, Files]]  # what may lie there, and what it is called; the first is where it begins
    served: dict[str | None, str]  # name asked for (None: without SNI) -> fingerprint, at the end
    leaf: str = ""  # of the new certificate, if there is one

    def state(self, content) -> str:
        """content: of a path below the SSL folder, None when it is not there."""
        now = {name: content(name) for name in self.paths}
        return next((label for label, files in self.states if files == now), TORN)

    @property
    def paths(self) -> list[str]:
        return list(self.states[0][1])


def pair(bundle: Bundle | None, folder: str = "") -> Files:
    return {f"{folder}cert.pem": bundle and bundle.fullchain, f"{folder}key.pem": bundle and bundle.key}


class Scenario:
    name: str
    want: str
    goal = NEW  # what is installed when all is done
    verdicts = ("250 ", "251 ")  # of the pass that ends it
    primes = 5  # changes until the state folder is as that of a deployer which has been at work for long
    configuration: Sections = {}  # of deploy.conf, beside the lab's
    steps = 1  # one in so many calls is a kill tried at, of those that do not change the disk; 1: each is failed with each error

    def __init__(self, lab: Lab):
        self.lab = lab
        self.minutes = itertools.count(1)

    def prepare(self) -> None:
        """After a reset of the lab, before the deployer starts."""
        self.primary = self.lab.old
        self.lab.write_deploy_conf(self.configuration)

    def change(self) -> Change:
        raise NotImplementedError

    def done(self, change: Change) -> None:
        """It is as the change would have it: the next one begins there."""

    def release(self) -> None:
        """What it has done to the lab that no reset undoes."""

    def issue(self, *names: str, **options) -> Bundle:
        """Each a minute younger than the one before."""
        return self.lab.issue(*names, age=59 - next(self.minutes) / 1440, **options)

    def order(self, bundle: Bundle) -> bytes:
        return HELLO + put(bundle.pem, self.want) + b"DEPLOY\n"

    def record(self) -> dict:
        path = f"{DEPLOY_STATE}/wants/{self.want}/record.json"
        return json.loads(self.lab.mail.read(path)) if self.lab.mail.exists(path) else {"state": "none", "fingerprint": ""}

    def accepted(self, change: Change) -> bool:
        """Whether the deployer has it on record, and will do it without being told again."""
        return self.record()["fingerprint"] == change.leaf

    def again(self, change: Change) -> bytes:
        """What is said in the pass after the restart: what was accepted needs no pusher any more."""
        return RECONCILE if self.accepted(change) else change.said

    def problems(self, change: Change) -> list[str]:
        """What else is not as it should be at the end."""
        return []


class Primary(Scenario):
    """cert.pem and key.pem are renewed."""
    name = want = "primary"

    def change(self) -> Change:
        self.new = self.bundle()
        served = self.new if self.goal == NEW else self.primary
        return Change(self.order(self.new), [(OLD, pair(self.primary)), (NEW, pair(self.new))],
                      {None: served.fingerprint, HOSTNAME: served.fingerprint}, self.new.fingerprint)

    def bundle(self) -> Bundle:
        return self.issue()

    def done(self, change: Change) -> None:
        self.primary = self.new


class First(Primary):
    """The same where nothing was ever deployed: what is installed is somebody else's, and there is no state."""
    name = "first"
    primes = 0
    steps = STEPS

    def change(self) -> Change:
        if self.lab.deployer:
            self.lab.stop_deployer()
            shutil.rmtree(self.lab.mail.path(DEPLOY_STATE), ignore_errors=True)
            self.lab.start_deployer()
        return super().change()


class Restart(Primary):
    """nginx says that it has reloaded and has not: its container is restarted."""
    name = "restart"
    primes = 1
    steps = 40
    configuration = {"verify": {"timeout": "5s"}}
    service, program = "nginx-mailcow", "/usr/sbin/nginx"

    def prepare(self) -> None:
        super().prepare()
        script = f'#!/bin/sh\ncase "$*" in *reload*) exit 0;; esac\nexec {self.program}.real "$@"\n'
        self.lab.mailcow.exec(self.service, "sh", "-c", f"test -e {self.program}.real || mv {self.program} {self.program}.real; "
                                                        f"cat > {self.program} <<'EOF'\n{script}EOF\nchmod 755 {self.program}")

    def release(self) -> None:
        self.lab.mailcow.remove(self.service)


class Rollback(Primary):
    """Postfix can do nothing with the kind of key: the old pair is put back."""
    name = "rollback"
    goal = OLD
    verdicts = ("250 ", "251 ", "554 rolled-back ")
    primes = 1
    steps = 40
    configuration = {"verify": {"timeout": "5s"}}

    def prepare(self) -> None:
        super().prepare()
        self.lab.mailcow.take_ecdsa_alone()

    def bundle(self) -> Bundle:
        return self.issue(key="rsa2048")

    def done(self, change: Change) -> None:
        """The old pair stays."""

    def quarantined(self) -> list[str]:
        path = f"{DEPLOY_STATE}/wants/{self.want}/quarantine.json"
        return [item["fingerprint"] for item in json.loads(self.lab.mail.read(path))] if self.lab.mail.exists(path) else []

    def accepted(self, change: Change) -> bool:
        return super().accepted(change) or change.leaf in self.quarantined()

    def problems(self, change: Change) -> list[str]:
        return [] if change.leaf in self.quarantined() else ["what broke a listener is not in quarantine"]


class Sni(Scenario):
    """One folder beside the primary's pair, which stays as it is."""
    want = "shop.example.net"
    configuration = {f"sni {want}": {"domains": want}}

    def prepare(self) -> None:
        super().prepare()
        self.folder: Bundle | None = None  # its pair

    def files(self, bundle: Bundle | None, domains: str | None) -> Files:
        return {**pair(self.primary), **pair(bundle, f"{self.want}/"), f"{self.want}/domains": domains}

    def deploy(self, bundle: Bundle) -> Change:
        """Into the folder, which may not be there. Without its domains no service reads it."""
        begin = self.files(self.folder, self.want if self.folder else None)
        middle = self.files(bundle, begin[f"{self.want}/domains"])
        self.new = bundle
        return Change(self.order(bundle), [(OLD, begin), (NEW, middle), (NEW, self.files(bundle, self.want))],
                      {None: self.primary.fingerprint, self.want: bundle.fingerprint}, bundle.fingerprint)

    def done(self, change: Change) -> None:
        self.folder = self.new


class SniRenewal(Sni):
    """The folder's pair is renewed."""
    name = "sni-renewal"

    def change(self) -> Change:
        return self.deploy(self.issue(self.want))


class SniAddition(Sni):
    """The folder comes."""
    name = "sni-addition"
    primes = 1
    steps = STEPS

    def change(self) -> Change:
        if self.folder:
            self.remove()
        return self.deploy(self.issue(self.want))

    def configure(self, configuration: Sections) -> None:
        self.lab.write_deploy_conf(configuration)
        self.lab.start_deployer()

    def remove(self) -> None:
        """Undisturbed."""
        self.configure({})
        removed = self.lab.deploy("remove", self.want)
        if removed.returncode:
            raise RuntimeError(f"remove {self.want}: {removed.stdout}{removed.stderr}")
        self.folder = None
        self.configure(self.configuration)


class SniRemoval(SniAddition):
    """The folder goes: first for those who read the folders, then from the disk; its names are the primary's again."""
    name = "sni-removal"

    def change(self) -> Change:
        self.configure(self.configuration)
        self.folder = self.issue(self.want)
        with connect(self.lab) as session:
            session.reply()
            session.send(self.order(self.folder))
            judged, verdict = session.reply(), session.reply()
        if (judged.code, verdict.code) != (250, 250):
            raise RuntimeError(f"the folder cannot be made: {judged}, {verdict}")
        self.configure({})
        whole, retired = self.files(self.folder, self.want), self.files(self.folder, None)
        gone = self.files(None, None)
        return Change(HELLO + f"REMOVE {self.want}\n".encode(),
                      [(OLD, whole), (OLD, retired), (NEW, retired | {f"{self.want}/key.pem": None}), (NEW, gone)],
                      {None: self.primary.fingerprint, self.want: self.primary.fingerprint})

    def done(self, change: Change) -> None:
        self.folder = None

    def again(self, change: Change) -> bytes:
        is_known = self.record()["state"] == "removed" or not self.lab.mail.exists(f"{mailcow.SSL}/{self.want}")
        return RECONCILE if is_known else change.said

    def problems(self, change: Change) -> list[str]:
        return ["the folder is still there"] if self.lab.mail.exists(f"{mailcow.SSL}/{self.want}") else []
