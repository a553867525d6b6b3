"""What Prometheus is told, on both hosts: that it can be read, and that it is so."""
from __future__ import annotations

import re
import subprocess
import time

import pytest

from tests.lab.host import Host
from tests.lab.lab import DEPLOY_STATE, Lab
from tests.system.checks import DONE, FAILED, TEMPORARY, assert_deployed
from tests.system.test_ladder import breaking, deaf, ecdsa_only  # noqa: F401

FOLDER = "/var/lib/prometheus/node-exporter"
PUSH_FILE, DEPLOY_FILE = f"{FOLDER}/mailcow-cert-push.prom", f"{FOLDER}/mailcow-cert-deploy.prom"
PREFIX = "mailcow_certsync_"
DAY = 86400
ENDPOINTS = 9


@pytest.fixture
def measured(product) -> Lab:
    """Both hosts have the node exporter's folder."""
    for host in (product.proxy, product.mail):
        host.path(FOLDER).mkdir(parents=True, exist_ok=True)
        for path in host.path(FOLDER).iterdir():
            path.unlink()
    return product


def read(host: Host, path: str) -> dict[str, float]:
    """The samples, `name{labels}` -> value; promtool has nothing to complain of."""
    text = host.read(path)
    check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (check.returncode, check.stdout) == (0, "")
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name.startswith(PREFIX) and name not in samples
            samples[name.removeprefix(PREFIX)] = float(value)
    return samples


def deployer(lab: Lab) -> dict[str, float]:
    return read(lab.mail, DEPLOY_FILE)


def pusher(lab: Lab) -> dict[str, float]:
    return read(lab.proxy, PUSH_FILE)


def only(samples: dict[str, float], name: str) -> dict[str, float]:
    return {labels: value for labels, value in samples.items() if labels.split("{")[0] == name}


def near(value: float, expected: float, within: float = 120) -> bool:
    return abs(value - expected) < within


def seconds(bundle) -> tuple[float, float]:
    """Until when it is valid, and for how long."""
    x509 = bundle.x509
    return x509.not_valid_after.timestamp() - time.timezone, (x509.not_valid_after - x509.not_valid_before).total_seconds()


def test_a_renewal_is_measured_on_both_sides(measured):
    new = measured.renew()
    assert measured.push().returncode == DONE
    end, lifetime = seconds(new)
    now = time.time()
    seen = deployer(measured)
    assert near(seen['deploy_installed_not_after_timestamp_seconds{want="primary"}'], end, 1)
    assert near(seen['deploy_installed_lifetime_seconds{want="primary"}'], lifetime, 1)
    for family, value in {"deploy_endpoint_served": 1, "deploy_endpoint_not_after_timestamp_seconds": end,
                          "deploy_endpoint_lifetime_seconds": lifetime, "deploy_endpoint_seen_timestamp_seconds": now}.items():
        samples = only(seen, family)
        assert len(samples) == ENDPOINTS and all(near(found, value) for found in samples.values()), samples
        assert any('want="primary",endpoint="imaps",listener="imaps@' in labels for labels in samples)
    for name in ('deploy_last_success_timestamp_seconds{want="primary"}', "deploy_last_contact_timestamp_seconds",
                 "deploy_last_deployment_timestamp_seconds"):
        assert near(seen[name], now), name
    assert 0 < seen["deploy_last_deployment_duration_seconds"] < 100 and seen["deploy_last_deployment_success"] == 1
    assert seen['deploy_deployments_total{result="deployed"}'] == 1
    assert seen['deploy_pending{want="primary"}'] == seen['deploy_quarantined{want="primary"}'] == seen["deploy_rollbacks_total"] == 0
    assert set(only(seen, "deploy_reloads_total").values()) == {0, 1}
    assert seen['deploy_reloads_total{service="nginx-mailcow",result="done"}'] == 1
    assert set(only(seen, "deploy_restarts_total").values()) == {0}
    assert [labels for labels, value in only(seen, "deploy_want_state").items() if value] == [
        'deploy_want_state{want="primary",state="served"}']

    seen = pusher(measured)
    want = '{target="mailcow",want="primary",lineage="npm/npm-5"}'
    assert seen[f"push_served{want}"] == 1 and seen[f"push_pending{want}"] == 0
    assert near(seen[f"push_not_after_timestamp_seconds{want}"], end, 1) and near(seen[f"push_lifetime_seconds{want}"], lifetime, 1)
    for name in ("contact", "pass", "success"):
        assert near(seen[f'push_last_{name}_timestamp_seconds{{target="mailcow"}}'], now)
    assert seen['push_last_pass_success{target="mailcow"}'] == 1 and seen['push_last_pass_duration_seconds{target="mailcow"}'] > 0
    assert seen['push_passes_total{target="mailcow",result="done"}'] == 1


def test_everybody_may_read_it_and_nothing_else_is_left(measured):
    measured.renew()
    assert measured.push().returncode == DONE
    for host, path in ((measured.proxy, PUSH_FILE), (measured.mail, DEPLOY_FILE)):
        assert [p.name for p in host.path(FOLDER).iterdir()] == [path.rsplit("/", 1)[1]]
        assert host.path(path).stat().st_mode & 0o777 == 0o644


def test_counters_survive_restarts(measured):
    for count in (1, 2):
        measured.renew(measured.issue(age=3 - count))
        assert measured.push().returncode == DONE
        measured.start_deployer()
        assert measured.deploy("--force").returncode == DONE
        seen = deployer(measured)
        assert seen['deploy_reloads_total{service="dovecot-mailcow",result="done"}'] == 2 * count
        assert seen['deploy_deployments_total{result="deployed"}'] == 2 * count
        assert pusher(measured)['push_passes_total{target="mailcow",result="done"}'] == count


def test_a_pass_that_has_nothing_to_do_is_a_pass(measured):
    measured.renew()
    assert measured.push().returncode == DONE
    before = pusher(measured)
    time.sleep(1.1)  # the file has whole seconds
    assert "unchanged" in measured.push().stdout
    after = pusher(measured)
    name = 'push_last_pass_timestamp_seconds{target="mailcow"}'
    assert after.pop(name) > before.pop(name) and after == before


def test_what_fails_is_told(measured):
    measured.renew()
    measured.sshd.stop()
    assert measured.push().returncode == TEMPORARY
    seen = pusher(measured)
    assert seen['push_last_pass_success{target="mailcow"}'] == 0
    assert seen['push_passes_total{target="mailcow",result="temporary"}'] == 1
    assert 'push_last_success_timestamp_seconds{target="mailcow"}' not in seen
    measured.sshd.start()
    measured.write_deploy_conf({"verify": {"timeout": "5s", "endpoints": "https://127.0.0.1:443, imaps://127.0.0.1:9"}})
    measured.start_deployer()
    assert measured.push().returncode == FAILED
    seen = deployer(measured)
    assert seen["deploy_last_deployment_success"] == 0 and seen['deploy_deployments_total{result="failed"}'] == 1
    assert seen['deploy_want_state{want="primary",state="failed"}'] == 1
    served = {re.search('endpoint="(.*?)"', labels)[1]: value for labels, value in only(seen, "deploy_endpoint_served").items()}
    assert served["imaps"] == 0 and served["https"] == 1
    assert only(pusher(measured), "push_served").popitem()[1] == 0


def test_a_restart_is_counted(measured, deaf):
    measured.renew()
    deaf("nginx-mailcow", "/usr/sbin/nginx")
    measured.write_deploy_conf({"verify": {"timeout": "8s"}})
    measured.start_deployer()
    assert measured.push().returncode == DONE
    assert deployer(measured)['deploy_restarts_total{service="nginx-mailcow",result="done"}'] == 1


def test_a_rollback_is_counted(measured, ecdsa_only):
    good = measured.renew(measured.issue(age=2))
    assert measured.push().returncode == DONE
    measured.renew(breaking(measured))
    assert measured.push().returncode == FAILED
    seen = deployer(measured)
    assert seen["deploy_rollbacks_total"] == seen['deploy_deployments_total{result="rolled-back"}'] == 1
    assert seen['deploy_quarantined{want="primary"}'] == 1 and seen["deploy_last_deployment_success"] == 0
    assert near(seen['deploy_installed_not_after_timestamp_seconds{want="primary"}'], seconds(good)[0], 1)


def test_what_is_pending_is_told(measured):
    measured.write_deploy_conf({"docker": {"host": "unix:///run/elsewhere.sock"}})
    measured.start_deployer()
    measured.renew()
    assert measured.push().returncode == TEMPORARY
    assert deployer(measured)['deploy_pending{want="primary"}'] == 1
    assert only(pusher(measured), "push_pending").popitem()[1] == 1
    measured.write_deploy_conf()
    measured.start_deployer()
    assert measured.deploy().returncode == DONE
    assert deployer(measured)['deploy_pending{want="primary"}'] == 0


@pytest.mark.parametrize("textfile", ["off", "/srv/metrics"])
def test_it_goes_where_it_is_wanted(measured, textfile):
    for host in (measured.proxy, measured.mail):
        host.path("/srv/metrics").mkdir(exist_ok=True)
    measured.write_push_conf({"metrics": {"textfile": textfile}})
    measured.write_deploy_conf({"metrics": {"textfile": textfile}})
    measured.start_deployer()
    measured.renew()
    assert measured.push().returncode == DONE
    written = {path.name for host in (measured.proxy, measured.mail) for path in host.path("/srv/metrics").iterdir()}
    assert written == ({"mailcow-cert-push.prom", "mailcow-cert-deploy.prom"} if textfile != "off" else set())
    assert not [*measured.proxy.path(FOLDER).iterdir(), *measured.mail.path(FOLDER).iterdir()]


def test_a_folder_that_is_missing_is_told_and_changes_nothing(measured):
    measured.write_push_conf({"metrics": {"textfile": "/srv/nowhere"}})
    measured.write_deploy_conf({"metrics": {"textfile": "/srv/nowhere"}})
    measured.start_deployer()
    new = measured.renew()
    result = measured.push("-v")
    assert result.returncode == DONE and "metrics in /srv/nowhere: " in result.stderr
    assert "warning" in result.stdout and "metrics in /srv/nowhere: " in result.stdout
    assert_deployed(measured, new)


def test_without_the_node_exporter_there_is_nothing(product):
    for host in (product.proxy, product.mail):
        for path in (host.path(FOLDER).iterdir() if host.exists(FOLDER) else ()):
            path.unlink()
        if host.exists(FOLDER):
            host.path(FOLDER).rmdir()
    product.renew()
    result = product.push("-v")
    assert result.returncode == DONE and "metrics" not in result.stdout + result.stderr
    assert not product.proxy.exists(FOLDER) and not product.mail.exists(FOLDER)


def test_a_damaged_history_is_begun_anew(measured):
    measured.renew(measured.issue(age=1))
    assert measured.push().returncode == DONE
    measured.mail.write(f"{DEPLOY_STATE}/history.json", '{"counters": 7, "passes": {}, "seen": "x"')
    measured.proxy.write("/var/lib/mailcow-cert-push/mailcow.history", '{"counters": {"passes": []}, "passes": 3}')
    measured.renew()
    assert measured.push().returncode == DONE
    assert deployer(measured)['deploy_deployments_total{result="deployed"}'] == 1
    assert pusher(measured)['push_passes_total{target="mailcow",result="done"}'] == 1
