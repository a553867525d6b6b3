"""The monitoring examples against the tools that read them, and against the names that the programs use. Needs no lab."""
from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from tests.lab.make import REPOSITORY
from tests.system.test_docs import needs, run
from tests.system.test_events import fields_of_the_page, table

MONITORING = REPOSITORY / "conf/monitoring"
METRICS = REPOSITORY / "docs/metrics.md"


def metrics() -> set[str]:
    return {f"mailcow_certsync_{name}" for name in re.findall(r"^\| `((?:deploy|push)_\w+)` \|", METRICS.read_text(), re.MULTILINE)}


def test_every_example_is_described():
    text = (MONITORING / "README.md").read_text()
    names = {path.name if path.is_file() else f"{path.name}/" for path in MONITORING.iterdir()} - {"README.md"}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


# Prometheus


def test_promtool_takes_the_rules_and_they_fire():
    promtool = needs("promtool")
    checked = run(promtool, "check", "rules", MONITORING / "prometheus-rules.yml")
    assert checked.returncode == 0 and "SUCCESS" in checked.stdout, checked
    tested = run(promtool, "test", "rules", MONITORING / "prometheus-rules.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_does_not_fire_is_found(tmp_path):
    """The tests of the rules can fail."""
    for name in ("prometheus-rules.yml", "prometheus-rules.test.yml"):
        shutil.copy(MONITORING / name, tmp_path)
    rules = tmp_path / "prometheus-rules.yml"
    rules.write_text(rules.read_text().replace("< 0.3", "< 0.2"))
    assert run(needs("promtool"), "test", "rules", tmp_path / "prometheus-rules.test.yml").returncode != 0


@pytest.mark.parametrize("name", ["prometheus-rules.yml", "grafana-dashboard.json"])
def test_metrics_are_those_that_there_are(name):
    if not METRICS.exists():
        pytest.skip("docs/metrics.md is not there")
    used = set(re.findall(r"mailcow_certsync_\w+", (MONITORING / name).read_text()))
    assert used and sorted(used - metrics()) == []


# Grafana


def test_the_dashboard_is_one():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert dashboard["title"] and dashboard["schemaVersion"] and len({panel["id"] for panel in panels}) == len(panels) > 5
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and panel["title"] and panel["type"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_prometheus_can_parse_the_dashboards_queries(tmp_path):
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    rules = [{"record": f"q:{i}", "expr": target["expr"]} for i, target in enumerate(
        target for panel in dashboard["panels"] for target in panel["targets"])]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    result = run(needs("promtool"), "check", "rules", tmp_path / "queries.yml")
    assert result.returncode == 0, result.stdout + result.stderr


# Loki, Promtail


def test_promtails_configuration_takes_fields_that_there_are():
    scrape, = yaml.safe_load((MONITORING / "promtail.yml").read_text())["scrape_configs"]
    labels = {rule["target_label"]: rule["source_labels"] for rule in scrape["relabel_configs"] if "target_label" in rule}
    assert {"host", "program", "level", "event", "want", "target"} == set(labels)
    ours = {source for sources in labels.values() for source in sources if not re.match(r"__journal_(_|syslog_|priority_)", source)}
    assert {source.removeprefix("__journal_").upper() for source in ours} <= fields_of_the_page()
    keep, = (rule for rule in scrape["relabel_configs"] if rule.get("action") == "keep")
    assert all(re.fullmatch(keep["regex"], name) for name in ("mailcow-cert-push", "mailcow-cert-deploy", "mailcow-cert-alert"))


def test_lokis_rules_name_events_that_there_are():
    group, = yaml.safe_load((MONITORING / "loki-rules.yml").read_text())["groups"]
    scrape, = yaml.safe_load((MONITORING / "promtail.yml").read_text())["scrape_configs"]
    labels = {rule.get("target_label") for rule in scrape["relabel_configs"]} | {"job"}
    for rule in group["rules"]:
        events = {name for names in re.findall(r'event[=!]~"(.*?)"', rule["expr"]) for name in names.split("|")}
        assert events and events <= set(table())
        assert set(re.findall(r"(\w+)(?:=|!)~?\"", rule["expr"])) <= labels and "count_over_time" in rule["expr"]
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


# Wazuh


def test_wazuhs_rules_are_xml_and_name_messages_that_there_are():
    path = MONITORING / "wazuh-rules.xml"
    result = run(needs("xmllint"), "--noout", path)
    assert (result.returncode, result.stderr) == (0, "")
    rules = ElementTree.parse(path).getroot().findall("rule")
    ids = [int(rule.get("id")) for rule in rules]
    assert len(set(ids)) == len(ids) and all(100000 <= id_ <= 120000 for id_ in ids), "ids of a user's own"
    for rule in rules:
        parents = [int(node.text) for name in ("if_sid", "if_matched_sid") for node in rule.findall(name)]
        assert all(parent in ids[:ids.index(int(rule.get("id")))] for parent in parents)
        assert 0 <= int(rule.get("level")) <= 15 and rule.findtext("description")
    sources = "\n".join(p.read_text() for folder in ("common", "pusher", "deployer") for p in (REPOSITORY / folder).glob("*.c"))
    kinds = re.search(r"kinds\[ALARM_KINDS\] = \{(.*?)\}", sources)[1].replace('"', "").split(", ")
    words = set(table()) | {f"alarm {kind}" for kind in kinds}
    for match in (part.strip(": ") for rule in rules for part in rule.findtext("match", "").split("|") if part):
        assert match in words or match in sources, match
    assert {f"alarm {kind}" for kind in kinds} <= set(next(r for r in rules if r.get("id") == "110602").findtext("match").split("|"))


# Pings


def test_the_ping_is_a_unit_and_its_file_curls(tmp_path):
    analyze = needs("systemd-analyze")
    unit = tmp_path / "mailcow-cert-ping@.service"
    shutil.copy(MONITORING / "ping/mailcow-cert-ping@.service", unit)
    pass_ = tmp_path / "mailcow-cert-push.service"
    pass_.write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    (tmp_path / "mailcow-cert-push.service.d").mkdir()
    shutil.copy(MONITORING / "ping/ping.conf", tmp_path / "mailcow-cert-push.service.d")
    for path in (unit, pass_):
        result = run(analyze, "verify", "--man=no", path)
        assert (result.returncode, result.stdout + result.stderr) == (0, ""), path
    addresses = run(needs("curl"), "--config", MONITORING / "ping/mailcow-cert-push.service.ping", "--proto", "=file")
    assert addresses.returncode == 1, "curl reads the file, and would ask what it names"
