"""A deployment dies, or a call of it fails, at a sample of its system calls; `make torture` tries all of them."""
import errno

import pytest

from tests.lab.lab import DEPLOY_STATE
from tests.lab.mailcow import SSL
from tests.torture import crowd, deployer, load, powercut, pusher, scenario, table
from tests.torture.__main__ import PARTS
from tests.torture.deployer import SESSION, lie, rule
from tests.torture.outcome import Tally

pytestmark = pytest.mark.flaky(reruns=0)  # a pair that was torn once is torn


def bad(outcomes) -> list[str]:
    return [f"{outcome.point}: {'; '.join(outcome.problems)}" for outcome in outcomes if not outcome.good]


@pytest.mark.parametrize("which", [scenario.Primary, scenario.SniRenewal], ids=lambda which: which.name)
def test_wherever_a_deployment_dies_or_fails_the_next_pass_finishes_it(installed_lab, which):
    with deployer.Torture(installed_lab, which) as torture:
        outcomes = [torture.run(*point) for point in deployer.sample(torture)]
    assert not bad(outcomes)
    assert {outcome.state for outcome in outcomes} == {"old", "new"}
    assert sum(outcome.reached for outcome in outcomes) >= 35


def test_wherever_a_pass_dies_its_state_can_be_read(installed_lab):
    with pusher.Torture(installed_lab) as torture:
        outcomes = [torture.run(*point) for point in pusher.sample(torture)]
    assert not bad(outcomes) and sum(outcome.reached for outcome in outcomes) >= 8


def test_wherever_the_power_goes_a_boot_finds_a_pair(installed_lab):
    with powercut.PowerCut(installed_lab) as power:
        outcomes = power.run(powercut.LATE)
    assert not bad(outcomes) and len(outcomes) > 200


@pytest.mark.parametrize("name", ["meta.json", "cert.pem", "key.pem"])
def test_an_error_that_passes_costs_the_recovery_no_pair(installed_lab, name):
    with deployer.Torture(installed_lab) as torture:
        crash = [rule(next(p for p in torture.calls() if p["name"] == "renameat" and p["path"] == f"{SSL}/cert.pem"), "kill-all")]
        read = next(p for p in torture.recovery_calls(crash) if p["name"] == "openat" and p["path"].startswith(DEPLOY_STATE) and
                    p["path"].endswith(f"/{name}"))
        outcome = torture.run("it cannot be read once", crash, [rule(read, "error", errno.EIO)])
    assert outcome.reached and not outcome.problems


def test_an_error_that_passes_costs_no_rollback(installed_lab):
    with deployer.Torture(installed_lab, scenario.Rollback) as torture:
        opened = [p for p in torture.calls() if p["name"] in ("flock", "openat")]
        begun = next(i for i, p in enumerate(opened) if p["name"] == "flock")
        known = next(i for i, p in enumerate(opened) if i > begun and p["path"].endswith("/record.json"))
        look = next(p for p in reversed(opened[begun:known]) if p["path"] == f"{SSL}/cert.pem")
        outcome = torture.run("what is installed cannot be read once", [rule(look, "error", errno.EIO)])
        assert outcome.reached and not outcome.problems
        assert "what is installed for primary cannot be read: cert.pem: open: Input/output error" in torture.heard


def counted(part: str) -> dict:
    """A row of this part, of no points."""
    scenario_name, kind = part.split("/")
    if scenario_name == "crowd":
        return crowd.Counts(kind, failure="nobody got through").counts()
    return load.Counts(kind).counts() if scenario_name == "load" else Tally(scenario_name, kind).counts()


def test_the_page_has_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    table.write([{"part": part, "every": 2} | counted(part) for part in PARTS])
    page = (tmp_path / "page.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| ")]
    assert sum("one in 2" in row for row in rows) == sum(not part.startswith(("crowd/", "load/")) for part in PARTS)
    assert sum("failed: nobody got through" in row for row in rows) == len(crowd.KINDS)
    assert sum(row.startswith(("| imaps |", "| submission |")) for row in rows) == 2 * len(load.KINDS)


# What the product does for its safety is taken out: it must be missed.


@pytest.mark.parametrize("lies, recovers, dies_at, problem", [
    (lie("renameat", "intent.json$"), True, f"{SSL}/cert.pem", "torn"),
    ([], False, f"{SSL}/cert.pem", "torn"),
    (lie("unlinkat", "certsync$"), True, f"{DEPLOY_STATE}/intent.json", "left in mailcow's tree"),
], ids=["no intent", "no recovery", "temporary files stay"])
def test_what_is_taken_out_is_missed(installed_lab, lies, recovers, dies_at, problem):
    with deployer.Torture(installed_lab) as torture:
        point = next(p for p in torture.calls() if p["name"] == "renameat" and p["path"] == dies_at)
        assert not torture.run("with it", [rule(point, "kill-all")]).problems
        torture.lies, torture.recovers = lies, recovers
        outcome = torture.run("without it", [rule(point, "kill-all")])
    assert any(problem in line for line in outcome.problems), outcome


def test_an_fsync_taken_out_is_missed(installed_lab):
    with powercut.PowerCut(installed_lab) as power:
        assert bad(power.run(powercut.LATE, [{"role": SESSION, "name": "fsync", "n": 0, "do": "fake"}]))
