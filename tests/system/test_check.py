"""mailcow as it really is: `mailcow-cert-deploy check`, and what a deployment makes of the same findings."""
import json

import pytest

from tests.lab import mailcow
from tests.lab.host import wait_for
from tests.lab.lab import DEPLOY_STATE, HOSTNAME, NAMES, TRUST
from tests.lab.mailcow import COMPOSE, PATH, PROJECT, SSL
from tests.lab.pki import Bundle
from tests.system.checks import DONE, FAILED, TEMPORARY, Untouched, acme, assert_deployed, deploy_record, recorded, updating
from tests.system.protocol import HELLO, greeted, relay

ACME, NGINX, DOVECOT, POSTFIX = "acme-mailcow", "nginx-mailcow", "dovecot-mailcow", "postfix-mailcow"
QUICK = {"verify": {"timeout": "5s"}}  # where a test lets the verification wait in vain


@pytest.fixture
def young(product):
    """The product with a pair installed that was issued an hour ago, so that nothing is to be said of it."""
    product.mailcow.install(product.issue())
    return product


def check(lab) -> tuple[int, dict[str, dict]]:
    """The exit status and the findings by their ids."""
    result = lab.deploy("check", "--json")
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == result.returncode
    findings = [row for row in answer["results"] if "id" in row]
    assert len({(row["id"], row.get("want"), row["detail"]) for row in findings}) == len(findings)
    return result.returncode, {row["id"]: row for row in findings}


def only(lab, severity: str, name: str, *parts: str) -> dict:
    """The one finding that there is."""
    code, findings = check(lab)
    assert set(findings) == {name}, findings
    assert findings[name]["result"] == severity
    for part in parts:
        assert part in findings[name]["detail"]
    assert code == {"note": DONE, "later": TEMPORARY}.get(severity, FAILED)
    return findings[name]


def restart(lab, changes: dict) -> None:
    lab.write_deploy_conf(changes)
    lab.start_deployer()


# ---- the command


def test_there_is_nothing_to_say(young):
    with Untouched(young):
        result = young.deploy("check")
    assert (result.returncode, result.stderr) == (DONE, "")
    assert result.stdout == "ok: nothing to complain of\n"
    assert check(young) == (DONE, {})


def test_findings_are_told_on_the_right_stream(young):
    young.mailcow.install(young.old)
    young.mail.path(f"{SSL}/dhparams.pem").unlink()
    young.mail.run(["ln", "-sf", "dhparams.pem", f"{SSL}/key.pem"])
    result = young.deploy("check")
    assert result.returncode == FAILED
    assert [line.split(":")[1] for line in result.stderr.splitlines()] == [" primary", " check findings=3"]
    assert "refuse symlink" in result.stderr
    assert {line.split(": ")[0] for line in result.stdout.splitlines()} == {"warn dhparams", "primary"}
    quiet = young.deploy("check", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (FAILED, "", result.stderr)


def test_the_push_user_may_not_check(young):
    with relay(young) as session:
        greeted(session)
        assert session.ask(HELLO, "CHECK").code == 530


# ---- acme-mailcow


def test_acme_is_active(young):
    with acme(young, "n", "n"):
        only(young, "refuse", "acme-active", "SKIP_LETS_ENCRYPT=n", "set SKIP_LETS_ENCRYPT=y in mailcow.conf, then",
             f"in {PATH}: docker compose up -d acme-mailcow")


@pytest.mark.parametrize("by", ["push", "reconcile"])
def test_nothing_is_installed_while_acme_is_active(product, by):
    new = product.renew()
    with acme(product, "n", "n"):
        with Untouched(product):
            result = product.push()
            assert result.returncode == FAILED and "acme-active" in result.stderr
            assert f"in {PATH}: docker compose up -d acme-mailcow" in result.stderr
            assert product.deploy("--force").returncode == FAILED, "force does not help"
        assert recorded(product) is None
        assert "acme-active" in product.deploy("status").stdout
    result = product.push() if by == "push" else product.deploy()
    assert result.returncode == DONE, result
    assert_deployed(product, new)


@pytest.mark.parametrize("value", ["true", "1", ""])
def test_what_is_no_yes_for_mailcow(young, value):
    with acme(young, value):
        only(young, "refuse", "acme-active")


def test_acme_was_not_made_anew(young):
    """mailcow.conf was edited, and nothing else."""
    with acme(young, "n", "y"):
        finding = only(young, "refuse", "acme-active", "mailcow.conf says otherwise, but the container was made before that")
        assert "set SKIP" not in finding["detail"]


def test_acme_is_off_whatever_the_file_says(young):
    with acme(young, "YES", "n"):
        assert check(young) == (DONE, {})


def test_acme_is_stopped(young):
    with acme(young, "n"):
        young.docker("stop", "--time=0", young.mailcow.name(ACME))
        only(young, "note", "acme-stopped", "docker compose up -d acme-mailcow")
        young.docker("update", "--restart=no", young.mailcow.name(ACME))
        assert check(young) == (DONE, {})
        young.mailcow.remove(ACME)
        assert check(young) == (DONE, {})


def test_acme_cannot_be_asked(young):
    restart(young, {"docker": {"host": "unix:///run/nobody.sock"}})
    only(young, "warn", "docker-unreachable", "/run/nobody.sock")
    with acme(young, "y", "n"):
        _, findings = check(young)
        assert findings.keys() == {"docker-unreachable", "acme-unknown"}
        assert findings["acme-unknown"]["result"] == "warn"


# ---- containers


def test_a_container_is_missing(young):
    young.mailcow.remove(NGINX)
    only(young, "warn", "container-missing", NGINX, f"in {PATH}: docker compose up -d nginx-mailcow")
    restart(young, {"mailcow": {"optional": NGINX}})
    assert check(young) == (DONE, {})


def test_the_project_is_another(young):
    text = young.mail.read(f"{PATH}/mailcow.conf")
    young.mail.write(f"{PATH}/mailcow.conf", text.replace(f"NAME={PROJECT}", "NAME=other"), 0o600)
    only(young, "warn", "project-empty", "project=other", "COMPOSE_PROJECT_NAME")


@pytest.mark.parametrize("action,name,parts", [
    ("stop", "container-stopped", ["is exited", "docker start mailcowdockerized-nginx-mailcow-1"]),
    ("pause", "container-paused", ["docker unpause mailcowdockerized-nginx-mailcow-1"])])
def test_a_container_does_not_run(young, action, name, parts):
    young.docker(action, young.mailcow.name(NGINX))
    only(young, "warn", name, *parts)
    restart(young, {"mailcow": {"optional": NGINX}})
    assert check(young) == (DONE, {})


def test_a_container_restarts_again_and_again(young):
    young.mailcow.remove(NGINX)
    try:
        young.docker("run", "--detach", "--restart=always", f"--name={young.mailcow.name(NGINX)}",
                     f"--label=com.docker.compose.project={PROJECT}", f"--label=com.docker.compose.service={NGINX}",
                     "--security-opt=apparmor=unconfined", "--security-opt=seccomp=unconfined", "certsync-lab", "false")
        finding = wait_for(lambda: check(young)[1].get("container-restarting"), "a restart")
        assert "docker logs" in finding["detail"]
    finally:
        young.mailcow.remove(NGINX)


def test_a_container_is_being_made(young):
    """Made, but not started: as in the middle of `compose up -d`."""
    young.mailcow.remove(NGINX)
    try:
        young.docker("create", f"--name={young.mailcow.name(NGINX)}", f"--label=com.docker.compose.project={PROJECT}",
                     f"--label=com.docker.compose.service={NGINX}", "certsync-lab", "false")
        only(young, "later", "container-changing", "is being made")
    finally:
        young.mailcow.remove(NGINX)


def test_containers_are_found_whatever_they_are_called(young):
    young.docker("rename", young.mailcow.name(NGINX), "web")
    try:
        only(young, "note", "container-renamed", "docker rename web mailcowdockerized-nginx-mailcow-1")
        restart(young, QUICK)
        new = young.renew()
        assert young.push().returncode == DONE
        young.docker("rename", "web", young.mailcow.name(NGINX))
        assert_deployed(young, new)
    finally:
        young.docker("rename", "web", young.mailcow.name(NGINX), check=False)


def test_a_service_is_scaled(young):
    second = f"{PROJECT}-{NGINX}-2"
    _, _, options, command = COMPOSE[NGINX]
    young.docker("run", "--detach", f"--name={second}", f"--network={mailcow.NETWORK}", "--security-opt=apparmor=unconfined",
                 "--security-opt=seccomp=unconfined", f"--label=com.docker.compose.project={PROJECT}",
                 f"--label=com.docker.compose.service={NGINX}", *options, "certsync-lab", *command)
    only(young, "note", "container-scaled", "2 containers of nginx-mailcow run", "--scale nginx-mailcow=1")
    new = young.renew()
    result = young.push("-v")
    assert result.returncode == DONE, result
    assert result.stdout.count("reloaded") == 4 and second in result.stdout
    assert_deployed(young, new)


def test_the_containers_were_made_from_another_directory(young):
    young.mail.run(["cp", "-a", PATH, "/opt/copy"])
    try:
        restart(young, {"mailcow": {"path": "/opt/copy"}})
        code, findings = check(young)
        assert code == FAILED and findings.keys() == {"ssl-mount"}
        assert f"{SSL} mounted at /etc/ssl/mail, not /opt/copy/data/assets/ssl" in findings["ssl-mount"]["detail"]
    finally:
        young.mail.run(["rm", "-r", "/opt/copy"])


# ---- update.sh


@pytest.mark.parametrize("command", [["./update.sh", "--force"], ["bash", "update.sh"], [f"{PATH}/update.sh"]])
def test_update_is_at_work(young, command):
    with updating(young, *command):
        only(young, "later", "update-running", f"{PATH}/update.sh is at work (process ")
    assert check(young) == (DONE, {})


def test_nothing_is_touched_while_update_is_at_work(product):
    """What was pushed is kept, and deployed by the next pass without the pusher."""
    new = product.renew()
    before = product.docker("logs", product.mailcow.name(POSTFIX)).stdout.count("reload")
    with updating(product, "./update.sh"):
        with Untouched(product):
            result = product.push()
            assert result.returncode == TEMPORARY and "update-running" in result.stderr
            result = product.deploy()
            assert result.returncode == TEMPORARY and "update-running" in result.stderr
        assert product.docker("logs", product.mailcow.name(POSTFIX)).stdout.count("reload") == before
        assert "pending" in product.deploy("status").stdout + product.deploy("status").stderr
        assert recorded(product) is None
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


def test_what_is_served_stays_so_in_the_record_while_update_is_at_work(product):
    new = product.renew()
    assert product.push().returncode == DONE
    with updating(product, "./update.sh"):
        assert product.deploy().returncode == TEMPORARY
        assert product.deploy("rollback").returncode == TEMPORARY
        assert deploy_record(product)["state"] == "served"
    assert_deployed(product, new)
    result = product.deploy("--json")
    assert result.returncode == DONE and "reloaded" not in result.stdout


def test_update_of_another_directory(young):
    young.mail.path("/opt/other").mkdir()
    with updating(young, "./update.sh", directory="/opt/other"):
        assert check(young) == (DONE, {})
    young.mail.path("/opt/other").rmdir()


# ---- the SSL folder


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_link_in_the_place_of_a_file(young, name):
    young.mail.run(["mv", f"{SSL}/{name}", f"/opt/{name}"])
    young.mail.path(f"{SSL}/{name}").symlink_to(f"/opt/{name}")
    finding = only(young, "refuse", "symlink", f"{SSL}/{name} is a symbolic link")
    young.mail.run(["sh", "-c", finding["detail"].split("; ")[-1]])
    assert check(young) == (DONE, {})
    young.mail.path(f"/opt/{name}").unlink()


def test_a_link_is_not_written_over(product):
    product.mail.run(["mv", f"{SSL}/key.pem", "/opt/key.pem"])
    product.mail.path(f"{SSL}/key.pem").symlink_to("/opt/key.pem")
    new = product.renew()
    with Untouched(product):
        result = product.push("-v")
        assert result.returncode == FAILED and "symlink" in result.stderr and "cp --remove-destination" in result.stderr
        assert "reloaded" not in result.stdout, "no service could read the key"
    product.mail.run(["cp", "--remove-destination", "/opt/key.pem", f"{SSL}/key.pem"])
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)
    product.mail.path("/opt/key.pem").unlink()


def test_a_deployment_tells_its_warnings_and_goes_on(product):
    product.mail.path(f"{SSL}/dhparams.pem").chmod(0o644)
    product.mail.run(["chown", "1001:1001", f"{SSL}/cert.pem"])
    new = product.renew()
    result = product.push("--json")
    assert result.returncode == DONE, result
    warnings = [step for step in json.loads(result.stdout)["steps"] if step["step"] == "warning"]
    assert [warning["id"] for warning in warnings] == ["owner"] and "chown root:root" in warnings[0]["detail"]
    assert_deployed(product, new)


def test_a_link_in_the_place_of_the_folder(young):
    young.mail.run(["mv", SSL, "/opt/ssl"])
    young.mail.path(SSL).symlink_to("/opt/ssl")
    try:
        result = young.deploy("check")
        assert result.returncode == 78 and "it is a symbolic link" in result.stderr and "force-recreate" in result.stderr
    finally:
        young.mail.path(SSL).unlink()
        young.mail.run(["mv", "/opt/ssl", SSL])


def test_owners_and_modes(young):
    young.mail.run(["chown", "1001", f"{SSL}/key.pem"])
    only(young, "warn", "owner", f"{SSL}/key.pem belongs to uid 1001", "owner = 1001")
    restart(young, {"mailcow": {"owner": "1001"}})
    assert check(young) == (DONE, {})
    young.mail.run(["chmod", "644", f"{SSL}/key.pem"])
    finding = only(young, "warn", "mode", f"{SSL}/key.pem has mode 0644")
    young.mail.run(["sh", "-c", finding["detail"].split("; ")[-1]])
    assert check(young) == (DONE, {})


def test_the_owner_is_kept_or_configured(product):
    """As under userns-remap, where the containers' root is another user of the host."""
    def owners() -> list[str]:
        return product.mail.run(["stat", "--format=%u:%g", f"{SSL}/cert.pem", f"{SSL}/key.pem"]).stdout.split()

    product.mail.run(["chown", "231072:231073", f"{SSL}/cert.pem", f"{SSL}/key.pem"])
    product.renew()
    assert product.push().returncode == DONE
    assert owners() == ["231072:231073"] * 2
    restart(product, {"mailcow": {"owner": "0", "group": "1001"}})
    product.renew()
    assert product.push().returncode == DONE
    assert owners() == ["0:1001"] * 2


def test_the_engine_remaps_users(young):
    """The containers' root is another user of the host then, who cannot read a key of root's."""
    young.docker.stop()
    for name in ("passwd", "group", "subuid", "subgid"):
        line = {"passwd": "remap:x:64000:64000::/:/bin/false", "group": "remap:x:64000:"}.get(name, "remap:231072:65536")
        young.mail.write(f"/etc/{name}", f"{young.mail.read(f'/etc/{name}')}{line}\n")
    try:
        young.docker.start("--userns-remap=remap")
        young.docker("import", "-", "empty", input=b"\0" * 10240)
        for number, options in enumerate([["--userns=host"], []]):
            young.docker("create", f"--name=remapped-{number}", f"--label=com.docker.compose.project={PROJECT}",
                         f"--label=com.docker.compose.service={POSTFIX}", *options, "empty", "true")
            _, findings = check(young)
            assert ("userns-remap" in findings) == (number == 1)
        assert findings["userns-remap"]["result"] == "note" and "uid 231072" in findings["userns-remap"]["detail"]
        assert f"{SSL}/key.pem belongs to uid 0" in findings["owner"]["detail"]
        young.mail.run(["sh", "-c", findings["owner"]["detail"].split("; ")[-1]])
        assert "owner" not in check(young)[1]
    finally:
        young.docker.stop()


def test_dhparams_are_missing(young):
    young.mail.path(f"{SSL}/dhparams.pem").unlink()
    only(young, "warn", "dhparams", f"{SSL}/dhparams.pem is missing", f"{SSL}-example/dhparams.pem")


# ---- SNI folders


def sni_folder(lab, name: str, bundle: Bundle, domains: str) -> None:
    lab.mailcow.install(bundle, name)
    lab.mail.write(f"{SSL}/{name}/domains", domains)


def test_a_stale_folder_takes_a_name(young):
    """What mailcow's own ACME client left behind."""
    stale = young.issue(HOSTNAME, days=90, age=85)
    sni_folder(young, HOSTNAME, stale, HOSTNAME)
    code, findings = check(young)
    assert code == FAILED and findings["stale-folder"]["want"] == HOSTNAME
    assert f"mailcow-cert-deploy remove {HOSTNAME}" in findings["stale-folder"]["detail"]
    assert "nginx-mailcow serves" not in findings["stale-folder"]["detail"], "it skips this folder"
    sni_folder(young, HOSTNAME, young.issue(HOSTNAME, age=0), HOSTNAME)
    only(young, "note", "folder-overlap", f"for {HOSTNAME}")


def test_a_folder_that_takes_no_name_of_the_primary(young):
    sni_folder(young, "www.example.net", young.issue("www.example.net"), "www.example.net")
    assert check(young) == (DONE, {})


@pytest.mark.parametrize("domains,right", [
    ("a.example.net\tb.example.net", "a.example.net b.example.net"), ("a.example.net\nb.example.net\n", "a.example.net b.example.net"),
    ("*.example.net", "*.example.net .example.net"), (".example.net", "*.example.net .example.net")])
def test_domains_that_are_read_differently(young, domains, right):
    sni_folder(young, "example.net", young.issue("a.example.net", "b.example.net", "*.example.net"), domains)
    finding = only(young, "warn", "domains", f"printf %s '{right}' > {SSL}/example.net/domains")
    young.mail.run(["sh", "-c", finding["detail"].split("; ")[-2]])
    assert check(young) == (DONE, {})


def test_a_folder_that_cannot_be_renewed(young):
    sni_folder(young, "one", young.issue("a.example.net"), "a.example.net")
    sni_folder(young, "two", young.issue("a.example.net"), "a.example.net")
    only(young, "warn", "sni-folder", "a.example.net belongs to one already")
    sni_folder(young, "two", young.issue("b.example.net"), "b.example.net;reboot")
    only(young, "warn", "sni-folder", "SNI folder two: domains: not a host name: b.example.net;reboot")


def test_keys_that_everybody_may_read(young):
    """As mailcow's start script leaves it: sni.map has the mode that it had, 0644 the first time."""
    sni_folder(young, "www.example.net", young.issue("www.example.net"), "www.example.net")
    young.docker("restart", "--time=2", young.mailcow.name(POSTFIX))
    young.mailcow.wait()
    finding = only(young, "warn", "sni-map", f"{PATH}/data/conf/postfix/sni.map.db has mode 0644")
    young.mail.run(["sh", "-c", finding["detail"].split("; ")[-1]])
    assert check(young) == (DONE, {})
    young.docker("restart", "--time=2", young.mailcow.name(POSTFIX))
    young.mailcow.wait()
    assert check(young) == (DONE, {}), "the mode has not lasted"


# ---- lifetimes, the CAs, file systems


@pytest.mark.parametrize("days", [90, 45, 160 / 24])
def test_thresholds_follow_the_lifetime(young, days):
    def with_age(fraction: float) -> None:
        young.mailcow.install(young.issue(days=days, age=days * fraction))

    with_age(0.6)
    assert check(young) == (DONE, {})
    with_age(0.7)
    only(young, "warn", "expiring", "less than a third")
    with_age(0.9)
    only(young, "warn", "expiring", "less than a SIXTH")
    with_age(1.01)
    only(young, "warn", "expired")


def test_the_watchdog_alerts_at_seven_days(young):
    young.docker("run", "--detach", "--name=watchdog", f"--label=com.docker.compose.project={PROJECT}",
                 "--label=com.docker.compose.service=watchdog-mailcow", "--security-opt=apparmor=unconfined",
                 "--security-opt=seccomp=unconfined", "certsync-lab", "sleep", "infinity")
    assert check(young) == (DONE, {})
    young.mailcow.install(young.issue(days=160 / 24))
    only(young, "note", "watchdog", "7 days", "always")


def test_the_cas_are_missing(young):
    young.mail.write(TRUST, "")
    only(young, "refuse", "trust", TRUST, "apt install ca-certificates")


def test_the_state_has_no_room(young):
    young.stop_deployer()
    young.mail.path(DEPLOY_STATE).mkdir(mode=0o700)
    young.mail.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", DEPLOY_STATE])
    try:
        young.start_deployer()
        only(young, "warn", "disk-full", f"{DEPLOY_STATE} is on a file system that is full", f"df -h {DEPLOY_STATE}")
    finally:
        young.stop_deployer()
        young.mail.run(["umount", "-l", DEPLOY_STATE])


def test_the_ssl_folder_is_read_only(young):
    young.mail.run(["mount", "--bind", SSL, SSL])
    try:
        young.mail.run(["mount", "-o", "remount,bind,ro", SSL])
        only(young, "warn", "read-only", f"{SSL} is on a file system that is mounted read-only")
    finally:
        young.mail.run(["umount", "-l", SSL])
