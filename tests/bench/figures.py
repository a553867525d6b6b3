"""The four measurements. Each compares in pairs (A B A B …), so that a change of the machine's pace meets both."""
from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field

from tests.lab import lab as product
from tests.lab.lab import Lab
from tests.lab.pki import Bundle

from . import pipeline
from .measure import HOLD, Driver, MailHost, Run, Wan, peaks

UNCHANGED_RUNS, PUSH_RUNS, LINK_RUNS = 50, 8, 7
DELAY = 0.05  # each way
RECORD = f"{product.DEPLOY_STATE}/wants/primary/record.json"

Samples = dict[str, list[float]]


@dataclass
class Bench:
    lab: Lab
    proxy: Driver = field(init=False)
    mail: Driver = field(init=False)
    mail_host: MailHost = field(init=False)

    def __post_init__(self) -> None:
        pipeline.set_up(self.lab)
        self.proxy, self.mail, self.mail_host = Driver(self.lab.proxy), Driver(self.lab.mail), MailHost(self.lab.mail)
        self.mail_host.adopt(self.lab.sshd.process)

    def push(self, *args: str, **options) -> Run:
        return self.proxy.run(product.PUSH, *args, **options)


def note(samples: Samples, **values: float) -> None:
    for name, value in values.items():
        samples.setdefault(name, []).append(value)


# ---- an unchanged pass ----

def unchanged(bench: Bench) -> Samples:
    """Seconds of a pass of the pusher that finds nothing new; beside it what an empty process costs."""
    samples: Samples = {}
    bench.lab.start_deployer()
    bench.push()
    bench.lab.stop_deployer()  # nobody may be asked
    bench.proxy.run(pipeline.PUSH)
    for _ in range(UNCHANGED_RUNS):
        ours, theirs, empty = bench.push(), bench.proxy.run(pipeline.PUSH), bench.proxy.run("/bin/true")
        assert "unchanged" in ours.output and "unchanged" in theirs.output
        note(samples, product_cpu=ours.cpu, scripts_cpu=theirs.cpu, empty_cpu=empty.cpu, product_wall=ours.wall,
             scripts_wall=theirs.wall, empty_wall=empty.wall)
    return samples


# ---- a renewed certificate ----

def full_push(bench: Bench) -> Samples:
    """A renewed certificate until it is on every port and verified; with the scripts, until the reloads are ordered."""
    samples: Samples = {}
    for _ in range(PUSH_RUNS):
        push_by_product(bench, samples)
        push_by_scripts(bench, samples)
    return samples


def push_by_product(bench: Bench, samples: Samples) -> None:
    """The CPU of the deployer's whole life counts: its socket starts it for a push. The wall time is without its start."""
    lab, host = bench.lab, bench.mail_host
    new = lab.renew()
    host.settle()
    before = host.seconds()
    lab.start_deployer()
    start = host.adopt(lab.deployer)
    run = bench.push()
    assert f"deployed {new.fingerprint}" in run.output
    host.release(lab.deployer)
    lab.stop_deployer()
    host.settle()
    spent = {name: seconds - before[name] for name, seconds in host.seconds().items()}
    note(samples, product_proxy=run.cpu, product_mail=spent["servers"] + start, product_start=start,
         product_cpu=run.cpu + spent["servers"] + start, product_wall=run.wall, product_engine=spent["engine"],
         product_containers=spent["containers"])


def push_by_scripts(bench: Bench, samples: Samples) -> None:
    lab, host = bench.lab, bench.mail_host
    new = lab.renew()
    host.settle()
    before = host.seconds()
    push = bench.proxy.run(pipeline.PUSH)
    deploy = bench.mail.run(pipeline.DEPLOY)
    assert lab.mailcow.installed() == (new.fullchain, new.key)
    host.settle()
    spent = {name: seconds - before[name] for name, seconds in host.seconds().items()}
    note(samples, scripts_proxy=push.cpu, scripts_mail=spent["servers"] + deploy.cpu, scripts_deploy=deploy.cpu,
         scripts_cpu=push.cpu + spent["servers"] + deploy.cpu, scripts_wall=push.wall + deploy.wall,
         scripts_engine=spent["engine"], scripts_containers=spent["containers"])


# ---- far away ----

def far_away(bench: Bench) -> Samples:
    """Seconds over a link of 100 ms round trip, of the same bundle, for the product, for `ssh` with `cat`, for rsync."""
    lab = bench.lab
    samples: Samples = {}
    bundle = lab.renew()
    lab.proxy.write("/run/bench/bundle.pem", bundle.fullchain + bundle.key, 0o600)
    lab.start_deployer()
    bench.push()
    with Wan(lab.proxy, lab.mail, DELAY):
        lab.write_known_hosts(Wan.FAR)
        lab.write_push_conf({"target mailcow": {"host": Wan.FAR}})
        pipeline.pin_host_key(lab, Wan.FAR)
        for _ in range(LINK_RUNS):
            far_push(bench, samples)
            note(samples, cat=far_cat(bench, bundle))
            pipeline.clear_incoming(lab)
            note(samples, rsync=bench.proxy.run(*pipeline.rsync_command(Wan.FAR)).wall)
            bundle = far_renewal(bench, samples)
    lab.stop_deployer()
    lab.write_known_hosts()
    lab.write_push_conf()
    return samples


def far_push(bench: Bench, samples: Samples) -> None:
    """A push that has nothing to reload: the wants, the bundle, its judgement, a look at every port, the verdict.

    The deployer asks for a bundle that it has when the last deployment failed: its record is made to say so."""
    record = json.loads(bench.lab.mail.read(RECORD))
    bench.lab.mail.write(RECORD, json.dumps(record | {"state": "failed"}), 0o600)
    bench.lab.proxy.path(f"{product.PUSH_STATE}/mailcow.json").unlink(missing_ok=True)
    run = bench.push("-v", stamp=True)
    note(samples, connected=moment(run, "connected"), opened=moment(run, "opened"), greeted=moment(run, "greeted"),
         judged=moment(run, "judged"), verdict=moment(run, "mailcow: primary: unchanged"), product_exit=run.wall)


def far_renewal(bench: Bench, samples: Samples) -> Bundle:
    """As far_push, with reloads and what the services take for them."""
    bundle = bench.lab.renew()
    bench.mail_host.settle()
    run = bench.push("-v", stamp=True)
    note(samples, renewal=moment(run, "mailcow: primary: deployed"))
    bench.lab.proxy.write("/run/bench/bundle.pem", bundle.fullchain + bundle.key, 0o600)
    return bundle


def far_cat(bench: Bench, bundle: Bundle) -> float:
    run = bench.proxy.run(*pipeline.cat_command(Wan.FAR), stdin="/run/bench/bundle.pem")
    assert bench.lab.mail.read(pipeline.BUNDLE) == bundle.fullchain + bundle.key
    return run.wall


def moment(run: Run, beginning: str) -> float:
    """When the line that begins so came."""
    return next(seconds for seconds, line in run.output if line.strip().startswith(beginning))


# ---- memory ----

def memory(bench: Bench) -> Samples:
    """Peak resident bytes of each process."""
    lab = bench.lab
    lab.renew()
    lab.start_deployer(wrapper=HOLD)
    full = peaks(pusher(lab), lab.deployer)
    idle = peaks(pusher(lab))
    lab.stop_deployer()
    return {"pusher_unchanged": [idle[0, 1]], "pusher": [full[0, 1]], "pusher_session": [full[0, 2]],
            "deployer": [full[1, 1]], "deployer_session": [full[1, 2]], "deployer_judge": [full[1, 3]]}


def pusher(lab: Lab):
    return lab.proxy.popen([*HOLD, product.PUSH, "-q"], stdin=subprocess.DEVNULL)
