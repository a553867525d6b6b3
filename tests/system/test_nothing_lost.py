"""What was accepted is deployed, whatever goes away in between; who comes at the same time waits, and the newest one wins."""
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.host import wait_for
from tests.lab.lab import DEPLOY, LETSENCRYPT, PUSH_CONF, PUSH_STATE
from tests.lab.mailcow import SERVICES
from tests.lab.pki import Lineage
from tests.system.checks import (DONE, FAILED, TEMPORARY, assert_deployed, deploy_record, end, generations,
                                 installed_fingerprint, read_until, recorded, sessions, start_push, steps)
from tests.torture.tracer import Tracer


def restart_engine(lab) -> None:
    """Docker again after its end, and with it the containers."""
    lab.docker.start()
    lab.mailcow.heal()


def agree(lab, bundle) -> None:
    """The deployer needs no pusher to finish; the pusher, without a verdict so far, asks and is told the same."""
    result = lab.deploy("--json")
    assert result.returncode == DONE, result
    assert_deployed(lab, bundle)
    assert deploy_record(lab)["state"] == "served" and deploy_record(lab)["fingerprint"] == bundle.fingerprint
    result = lab.push("--json")
    assert result.returncode == DONE, result
    assert "installed" not in steps(result) and "reloaded" not in steps(result), "there is nothing left to do"
    assert recorded(lab) == bundle.fingerprint


# ---- what goes away


def test_docker_is_down(product):
    product.docker.stop()
    new = product.renew()
    result = product.push()
    assert result.returncode == TEMPORARY and recorded(product) is None, result
    assert deploy_record(product)["state"] == "pending" and installed_fingerprint(product) == new.fingerprint
    assert product.deploy().returncode == TEMPORARY
    restart_engine(product)
    agree(product, new)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_stopped(product, service):
    product.write_deploy_conf({"verify": {"timeout": "5s"}})
    product.start_deployer()
    product.docker("stop", "--time=2", product.mailcow.name(service))
    new = product.renew()
    assert product.push().returncode == FAILED and recorded(product) is None
    assert product.mailcow.state(service) == "exited", "what an administrator stopped is not started"
    product.mailcow.heal()
    agree(product, new)


@pytest.mark.parametrize("step", ["staged", "installed", "reloaded"])
def test_docker_is_restarted_midway(product, step):
    new = product.renew()
    push = start_push(product)
    read_until(push, step)
    product.docker.process.stop(signal.SIGKILL)
    product.docker.start()
    product.mailcow.heal()
    result = end(push)
    assert result.returncode in (DONE, TEMPORARY, FAILED), result
    assert (recorded(product) == new.fingerprint) == (result.returncode == DONE)
    agree(product, new)


def power_off(lab) -> None:
    """Nothing on the mail host lives on."""
    lab.mail.run(["sh", "-c", "kill -KILL -1"], check=False)
    lab.docker.process.wait()
    lab.stop_deployer(signal.SIGKILL)


def boot(lab) -> None:
    """In the order of the units: recover, then Docker, then the daemon."""
    lab.mail.path("/var/run/docker.sock").unlink(missing_ok=True)
    lab.mail.run([DEPLOY, "recover"])
    assert installed_fingerprint(lab), "a pair, before any container starts"
    restart_engine(lab)
    lab.sshd.start()
    lab.start_deployer()


@pytest.mark.parametrize("step", ["judged", "staged", "installed", "reloaded", "verified"])
def test_the_mail_host_is_rebooted(product, step):
    new = product.renew()
    push = start_push(product)
    read_until(push, step)
    power_off(product)
    result = end(push)
    assert result.returncode == TEMPORARY and recorded(product) is None, result
    boot(product)
    if step == "judged":  # nothing was promised
        assert product.push().returncode == DONE
    agree(product, new)


@pytest.mark.parametrize("path", ["record.json", "intent.json", "key.pem", "cert.pem"])
def test_the_mail_host_is_rebooted_at_a_rename(product, path):
    new = product.renew()
    with Tracer() as tracer:
        tracer.attach(product.deployer.inner(), [{"role": 1, "name": "renameat", "n": 0, "path": f"/{path}$", "do": "kill-all"}])
        assert product.push().returncode == TEMPORARY and recorded(product) is None
        assert tracer.result()["fired"][0]["path"].endswith(path)
    power_off(product)
    boot(product)
    if path == "record.json":
        assert installed_fingerprint(product) == product.old.fingerprint, "it was not yet accepted"
        assert product.push().returncode == DONE
    agree(product, new)


@pytest.fixture
def cable(product):
    """The cable between the hosts, to be cut once."""
    with product.link() as link:
        product.push_through(link)

        def cut() -> None:
            link.process.kill()
            product.write_known_hosts()
            product.write_push_conf()

        yield cut


@pytest.mark.parametrize("step", ["sent", "judged", "staged", "installed", "reloaded", "verified"])
def test_the_network_is_cut_between_put_and_verdict(product, cable, step):
    """The deployment goes on; the pusher knows nothing, and says so."""
    new = product.renew()
    push = start_push(product)
    read_until(push, step)
    cable()
    result = end(push)
    assert result.returncode == TEMPORARY and recorded(product) is None, result
    wait_for(lambda: not sessions(product), "the end of the deployment", 60)
    if step in ("sent", "judged") and installed_fingerprint(product) != new.fingerprint:
        assert product.push().returncode == DONE
    agree(product, new)


def test_the_network_is_cut_and_docker_goes_down(product, cable):
    new = product.renew()
    push = start_push(product)
    read_until(push, "staged")
    cable()
    product.docker.process.stop(signal.SIGKILL)
    assert end(push).returncode == TEMPORARY and recorded(product) is None
    wait_for(lambda: not sessions(product), "the end of the deployment", 120)
    restart_engine(product)
    agree(product, new)


# ---- who comes at the same time


class SecondProxy:
    """Another pusher with a lineage and a state of its own."""
    TOP = "/srv/second"

    def __init__(self, lab, bundle):
        self.lab = lab
        Lineage(lab.proxy.path(f"{self.TOP}/letsencrypt"), "cert", bundle)
        lab.proxy.write(f"{self.TOP}/push.conf", lab.proxy.read(PUSH_CONF).replace(LETSENCRYPT, f"{self.TOP}/letsencrypt")
                        .replace(PUSH_STATE, f"{self.TOP}/state"))

    def push(self, *args: str) -> subprocess.CompletedProcess:
        return self.lab.push("--config", f"{self.TOP}/push.conf", *args)

    def remove(self) -> None:
        shutil.rmtree(self.lab.proxy.path(self.TOP))


@pytest.fixture
def second(product):
    """Makes the other proxy."""
    made = []

    def make(bundle) -> SecondProxy:
        made.append(SecondProxy(product, bundle))
        return made[-1]

    yield make
    for proxy in made:
        proxy.remove()


def at_once(*calls) -> list:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@pytest.mark.parametrize("attempt", range(3))
def test_two_proxies_push_different_certificates(product, second, attempt):
    older, younger = product.issue(age=2), product.issue(age=1)
    product.renew(younger)
    other = second(older)
    results = at_once(product.push, other.push)
    assert results[0].returncode == DONE, results
    assert results[1].returncode == DONE or older.fingerprint in results[1].stderr, results
    late = other.push("--force")
    assert late.returncode == FAILED and "the installed one" in late.stderr, "the older one is refused from now on"
    agree(product, younger)


def test_two_proxies_push_the_same_certificate(product, second):
    new = product.renew()
    for result in at_once(product.push, second(new).push):
        assert result.returncode == DONE, result
    assert [name[-12:] for name in generations(product)].count(new.fingerprint[:12]) == 1, "staged once"
    agree(product, new)


def test_a_push_during_a_force(product):
    first = product.renew(product.issue(age=1))
    assert product.push().returncode == DONE
    second = product.renew()
    for result in at_once(lambda: product.deploy("--force"), product.push):
        assert result.returncode == DONE, result
    assert first.fingerprint != second.fingerprint
    agree(product, second)


def test_two_reconciles_at_once(product):
    product.docker.stop()
    new = product.renew()
    assert product.push().returncode == TEMPORARY
    restart_engine(product)
    results = at_once(*[lambda: product.deploy("--json")] * 2)
    assert [result.returncode for result in results] == [DONE, DONE], results
    assert sum("reloaded" in steps(result) for result in results) <= 1, "the second one finds nothing to do"
    agree(product, new)


def test_everybody_at_once(product, second):
    """Two proxies, three persons with a certificate each, two reconciles and a force."""
    *older, youngest = [product.issue(age=age) for age in (5, 4, 3, 2, 1)]
    product.renew(youngest)
    persons = [lambda bundle=bundle: product.ssh(input=bundle.pem) for bundle in older[:3]]
    results = at_once(*persons, product.push, second(older[3]).push, product.deploy, product.deploy,
                      lambda: product.deploy("--force"))
    assert all(result.returncode in (DONE, FAILED) for result in results), results
    assert results[3].returncode == DONE, results
    agree(product, youngest)
