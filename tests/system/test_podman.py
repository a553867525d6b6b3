"""Podman's compatible socket in the place of the Docker Engine: the lab's mailcow in Podman's containers."""
import pytest

from tests.lab.lab import Lab
from tests.lab.mailcow import SERVICES
from tests.lab.podman import Podman
from tests.system.checks import DONE, TEMPORARY, UNHURRIED, assert_deployed, deploy_record, everywhere


@pytest.fixture(scope="module")
def podman_lab():
    with Lab(engine=Podman) as podman_lab:
        podman_lab.install()
        yield podman_lab


@pytest.fixture
def podman(podman_lab):
    podman_lab.reset()
    podman_lab.start_deployer()
    yield podman_lab
    podman_lab.stop_deployer()


def started(lab: Lab) -> dict[str, str]:
    return {service: lab.docker("inspect", "--format={{.State.StartedAt}}", lab.mailcow.name(service)).stdout
            for service in SERVICES}


def test_a_renewal_is_reloaded_and_served(podman):
    before = started(podman)
    new = podman.renew()
    result = podman.push("-v")
    assert result.returncode == DONE, result
    assert_deployed(podman, new)
    assert result.stdout.count(" reloaded ") == 3 and started(podman) == before


def test_a_service_that_does_not_reload_is_restarted(podman):
    podman.write_deploy_conf(UNHURRIED)
    podman.start_deployer()
    before = started(podman)
    podman.mailcow.exec("dovecot-mailcow", "mv", "/usr/sbin/dovecot", "/usr/sbin/dovecot.away")
    podman.mailcow.exec("dovecot-mailcow", "sh", "-c", "printf '#!/bin/sh\\n[ \"$1\" = reload ] && exit 1\\n"
                        "exec /usr/sbin/dovecot.away \"$@\"\\n' > /usr/sbin/dovecot && chmod 755 /usr/sbin/dovecot")
    try:
        new = podman.renew()
        result = podman.push("-v")
        assert result.returncode == DONE, result
        assert " restarted " in result.stdout
        assert_deployed(podman, new)
        assert started(podman)["dovecot-mailcow"] != before["dovecot-mailcow"]
    finally:
        podman.mailcow.exec("dovecot-mailcow", "mv", "/usr/sbin/dovecot.away", "/usr/sbin/dovecot")


def test_a_stopped_service_is_told(podman):
    podman.write_deploy_conf({"verify": {"timeout": "5s"}})
    podman.start_deployer()
    podman.docker("stop", "--time=2", podman.mailcow.name("nginx-mailcow"))
    podman.renew()
    result = podman.push("-v")
    assert result.returncode != DONE and "nginx-mailcow" in result.stderr
    assert podman.mailcow.state("nginx-mailcow") == "exited"


def test_the_service_is_down_and_comes_back(podman):
    podman.docker.stop()
    new = podman.renew()
    result = podman.push()
    assert result.returncode == TEMPORARY and Podman.SOCKET in result.stderr
    assert podman.served_everywhere() == everywhere(podman.old)
    podman.docker.start()
    assert podman.deploy().returncode == DONE
    assert_deployed(podman, new)
    assert deploy_record(podman)["state"] == "served"
