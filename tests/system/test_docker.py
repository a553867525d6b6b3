"""The engine: over TCP with TLS, behind a proxy with rules, of other versions, and one that misbehaves."""
import os
import re
import shutil
import signal
import time

import pytest

from tests.lab.engine import Front, Haproxy, rules, write_certificates
from tests.lab.lab import DEPLOY, DEPLOY_CONF, SOCKET
from tests.lab.mailcow import SERVICES
from tests.lab.pki import CA
from tests.system.checks import (CONFIG, DONE, FAILED, TEMPORARY, UNHURRIED, Untouched, assert_deployed, deploy_record,
                                 installed_fingerprint, recorded)
from tests.system.test_ladder import PROGRAMS, SLOW_START, assert_old, breaking, deaf, ecdsa_only, quarantine  # noqa: F401

CERTS = "/etc/mailcow-certsync/docker"
ALLOW_ALL = ["http-request allow"]
ENDPOINTS = "smtp://127.0.0.1 smtps://127.0.0.1 submission://127.0.0.1 imap://127.0.0.1 imaps://127.0.0.1 " \
            "pop3://127.0.0.1 pop3s://127.0.0.1 sieve://127.0.0.1 https://127.0.0.1"


def use_engine(lab, host: str, cert_path: str | None = None, **changes) -> None:
    lab.write_deploy_conf({"docker": {"host": host} | ({"cert_path": cert_path} if cert_path else {}), **changes})
    lab.start_deployer()


def words(result) -> str:
    return result.stdout + result.stderr


# ---- TLS


@pytest.fixture(scope="module")
def docker_ca() -> CA:
    return CA("Docker")


def refused(lab, port: int, reason: str, code: int = FAILED, name: str = "localhost") -> None:
    """A reconciliation says why, and changes nothing."""
    use_engine(lab, f"tcp://{name}:{port}", CERTS)
    with Untouched(lab):
        result = lab.deploy()
    assert result.returncode == code, words(result)
    assert f"docker at tcp://{name}:{port}: list the containers: {reason}" in words(result)


def test_the_real_engine_with_tlsverify(product, docker_ca):
    """As Docker's manual protects a daemon's socket: both sides show a certificate of one CA."""
    server = docker_ca.issue("mail.example.org", "127.0.0.1")
    write_certificates(product.mail, "/etc/docker-tls", docker_ca.root.pem, server)
    write_certificates(product.mail, CERTS, docker_ca.root.pem, docker_ca.issue("deployer.example.org"))
    product.docker.stop()
    product.docker.start("-H", "unix:///var/run/docker.sock", "-H", "tcp://127.0.0.1:2376", "--tlsverify",
                         "--tlscacert=/etc/docker-tls/ca.pem", "--tlscert=/etc/docker-tls/cert.pem",
                         "--tlskey=/etc/docker-tls/key.pem")
    try:
        product.mailcow.heal()
        product.environment["https_proxy"] = "http://127.0.0.1:9"  # the engine is not asked through it
        use_engine(product, "tcp://127.0.0.1:2376", CERTS)
        new = product.renew()
        assert product.push().returncode == DONE
        assert_deployed(product, new)
        use_engine(product, "tcp://127.0.0.1:2376")
        assert "HTTP 400: Client sent an HTTP request to an HTTPS server." in words(product.deploy())
        refused(product, 2376, "TLS: the engine's certificate is for another name: one of its subjectAltNames must be the "
                               "host of host = tcp://localhost:2376")
        write_certificates(product.mail, CERTS, docker_ca.root.pem, CA("Other").issue("deployer.example.org"))
        refused(product, 2376, "TLS: the engine refuses our cert.pem: it must be from the CA that its --tlscacert names",
                name="127.0.0.1")
        write_certificates(product.mail, CERTS, CA("Other").root.pem, docker_ca.issue("deployer.example.org"))
        refused(product, 2376, "TLS: the engine's certificate is not from ca.pem: put its CA's there", name="127.0.0.1")
    finally:
        product.docker.stop()
        product.docker.start()


def write_server(lab, name: str, bundle, ca: CA) -> str:
    """The options of a haproxy's bind that shows it and asks for a certificate of the CA."""
    lab.mail.write(f"/run/lab/{name}.pem", bundle.pem, 0o600)
    lab.mail.write("/run/lab/clients.pem", ca.root.pem)
    return f"ssl crt /run/lab/{name}.pem ca-file /run/lab/clients.pem verify required"


NOT_FROM_CA = "TLS: the engine's certificate is not from ca.pem: put its CA's there (its --tlscacert)"


def test_tls_that_fails_says_why(product, docker_ca):
    """A real haproxy with certificates that an engine must not have."""
    stranger = CA("Stranger")
    servers = {
        2401: ("good", docker_ca.issue("localhost"), None),
        2402: ("expired", docker_ca.issue("localhost", days=30, age=31),
               "TLS: the engine's certificate has expired: renew the one that its --tlscert names"),
        2403: ("early", docker_ca.issue("localhost", age=-1),
               "TLS: the engine's certificate is not valid yet: compare the clocks of both hosts"),
        2404: ("stranger", stranger.issue("localhost"), NOT_FROM_CA),
        2405: ("public", product.issue("localhost"), NOT_FROM_CA),  # from a CA that the system trusts, see below
        2406: ("other", docker_ca.issue("mail.example.org"),
               "TLS: the engine's certificate is for another name: one of its subjectAltNames must be the host of "
               "host = tcp://localhost:2406"),
    }
    listeners = {port: (write_server(product, name, bundle, docker_ca), ALLOW_ALL)
                 for port, (name, bundle, _) in servers.items()}
    product.mail.write("/etc/ssl/certs/lab-root.pem", product.ca.root.pem)
    product.mail.run(["openssl", "rehash", "/etc/ssl/certs"])
    write_certificates(product.mail, CERTS, docker_ca.root.pem, docker_ca.issue("deployer.example.org"))
    with Haproxy(product.mail, listeners | {2407: ("", ALLOW_ALL)}):
        for port, (_, _, reason) in servers.items():
            if reason:
                refused(product, port, reason)
        refused(product, 2407, "TLS: no connection (does the engine listen with --tlsverify there?): ")
        write_certificates(product.mail, CERTS, docker_ca.root.pem, stranger.issue("deployer.example.org"))
        refused(product, 2401, "TLS: the engine refuses our cert.pem: ")
        write_certificates(product.mail, CERTS, docker_ca.root.pem, docker_ca.issue("d.example.org", days=1, age=2))
        refused(product, 2401, "TLS: the engine refuses our cert.pem: ")
        write_certificates(product.mail, CERTS, docker_ca.root.pem, docker_ca.issue("deployer.example.org"))
        use_engine(product, "tcp://localhost:2401", CERTS)
        new = product.renew()
        assert product.push().returncode == DONE
        assert_deployed(product, new)


def test_certificates_that_cannot_be_used_say_why(product, docker_ca):
    good = docker_ca.issue("deployer.example.org")
    shutil.rmtree(product.mail.path(CERTS), ignore_errors=True)

    def said(reason: str) -> None:
        use_engine(product, "tcp://localhost:2401", CERTS)
        assert reason in words(product.deploy()), reason

    prefix = "docker: cert_path (the folder of ca.pem, cert.pem and key.pem): /etc/mailcow-certsync/docker/"
    said(f"{prefix}ca.pem: open: No such file or directory")
    write_certificates(product.mail, CERTS, docker_ca.root.pem, good)
    product.mail.path(f"{CERTS}/key.pem").chmod(0o644)
    said(f"{prefix}key.pem: ")
    with Haproxy(product.mail, {2401: (write_server(product, "good", docker_ca.issue("localhost"), docker_ca), ALLOW_ALL)}):
        write_certificates(product.mail, CERTS, "no certificate\n", good)
        said("TLS: ca.pem cannot be used: ")
        write_certificates(product.mail, CERTS, docker_ca.root.pem, good.replace(key=docker_ca.issue("x.example.org").key))
        said("TLS: cert.pem and key.pem cannot be used: ")


def test_a_remote_engine_without_tls_is_refused(product):
    product.stop_deployer()
    product.write_deploy_conf({"docker": {"host": "tcp://192.0.2.80:2375"}})
    result = product.mail.run([DEPLOY, "serve", "--config", DEPLOY_CONF, "--socket", SOCKET], check=False)
    line = 1 + product.mail.read(DEPLOY_CONF).splitlines().index("host = tcp://192.0.2.80:2375")
    assert result.returncode == CONFIG
    assert f"{DEPLOY_CONF}:{line}: host = tcp://192.0.2.80:2375: without TLS everybody on the way there would be root" \
        in words(result)


# ---- a proxy with rules


PORT = 2375
NAMES = {"containers": ", ".join(f"{service}=mailcowdockerized-{service}-1" for service in SERVICES)}


def behind(lab, *rows: str, containers: bool = False, endpoints: str = "auto", timeout: str = "30s") -> Haproxy:
    """A started proxy, and the deployer before it."""
    proxy = Haproxy(lab.mail, {PORT: ("", list(rows))})
    lab.write_deploy_conf({"docker": {"host": f"tcp://127.0.0.1:{PORT}"} | (NAMES if containers else {}),
                           "verify": {"endpoints": endpoints, "timeout": timeout}})
    lab.start_deployer()
    return proxy


def life(lab, service: str) -> tuple[str, str]:
    """When its container was stopped last and started last."""
    return tuple(lab.docker("inspect", "--format={{.State.FinishedAt}} {{.State.StartedAt}}",
                            lab.mailcow.name(service)).stdout.split())


RESTRICTED = {
    "restarts only": (rules("_ping", "version", post=True, restarts=True), {"containers": True, "endpoints": ENDPOINTS}),
    "no commands": (rules("_ping", "version", "containers", post=True), {}),
    "restarts and a look": (["http-request allow if METH_GET { path,url_dec -m reg -i ^/v[0-9.]+/containers/mailcow[^/]*/json }",
                             *rules("_ping", post=True, restarts=True)], {"containers": True}),
}


@pytest.mark.parametrize("case", RESTRICTED)
def test_without_commands_the_services_are_restarted(product, case):
    """One after the other, nginx last: Dovecot's logins go through it."""
    rows, settings = RESTRICTED[case]
    before = {service: life(product, service) for service in SERVICES}
    with behind(product, *rows, **settings):
        new = product.renew()
        result = product.push("-v")
        assert result.returncode == DONE, words(result)
        assert_deployed(product, new)
        after = {service: life(product, service) for service in SERVICES}
        assert all(after[service] > before[service] for service in SERVICES)
        order = sorted(SERVICES, key=after.get)
        assert order == ["dovecot-mailcow", "postfix-mailcow", "nginx-mailcow"]
        for one, other in zip(order, order[1:]):
            assert after[one][1] < after[other][0], f"{other} was stopped before {one} had started"
        assert product.deploy().returncode == DONE
        assert {service: life(product, service) for service in SERVICES} == after, "what is served is left alone"


def test_who_starts_slowly_is_waited_for_also_where_nobody_may_look(product, deaf):
    """Docker's proxy accepts for it, and nobody can say when its container was started."""
    rows, _ = RESTRICTED["restarts only"]
    deaf("dovecot-mailcow", PROGRAMS["dovecot-mailcow"], SLOW_START)
    with behind(product, *rows, containers=True, endpoints="smtps://127.0.0.1 imaps://127.0.0.1 https://127.0.0.1", timeout="5s"):
        new = product.renew()
        result = product.push("-v")
        assert result.returncode == DONE, words(result)
        assert_deployed(product, new)


def test_what_breaks_without_commands_is_rolled_back_as_well(ecdsa_only):
    """Each service is restarted with the old pair, whatever the others showed with the new one."""
    rows, settings = RESTRICTED["no commands"]
    with behind(ecdsa_only, *rows, **settings, timeout="8s"):
        bad = ecdsa_only.renew(breaking(ecdsa_only))
        result = ecdsa_only.push("-v")
        assert result.returncode == FAILED and "rolled-back" in words(result), words(result)
        assert_old(ecdsa_only, ecdsa_only.old)
        assert [item["fingerprint"] for item in quarantine(ecdsa_only)] == [bad.fingerprint]


def test_a_proxy_that_allows_all_that_is_needed(product):
    before = {service: life(product, service) for service in SERVICES}
    with behind(product, *rules("_ping", "version", "containers", "exec", post=True)):
        new = product.renew()
        assert product.push().returncode == DONE
        assert_deployed(product, new)
        assert {service: life(product, service) for service in SERVICES} == before


def test_a_list_that_is_forbidden_without_names(product):
    with behind(product, *rules("_ping", "version", post=True, restarts=True)), Untouched(product):
        result = product.deploy()
    assert result.returncode == FAILED
    assert "set containers = SERVICE=NAME, ... in [docker]: docker at tcp://127.0.0.1:2375: list the containers: forbidden by " \
           "a proxy or plugin in front of the engine: HTTP 403: " in words(result)


def test_a_proxy_that_allows_nothing(product):
    with behind(product, "http-request deny"), Untouched(product):
        result = product.deploy()
    assert result.returncode == FAILED
    assert "list the containers: GET /_ping has to be allowed: forbidden by a proxy" in words(result)


def test_a_proxy_that_allows_only_looking(product):
    """Nothing can be reloaded, and nothing restarted: the verdict says what would have to be allowed."""
    with behind(product, *rules("_ping", "version", "containers"), timeout="5s"):
        new = product.renew()
        result = product.push("-v")
        assert result.returncode == FAILED
        assert "POST /containers/NAME/restart has to be allowed: forbidden by a proxy" in result.stderr
        assert installed_fingerprint(product) == new.fingerprint
    use_engine(product, "unix:///var/run/docker.sock")
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


# ---- other versions


@pytest.mark.parametrize("newest, oldest, used", [("1.52", "1.44", "1.52"), ("1.56", "1.40", "1.52"), ("1.99", "1.60", "1.60"),
                                                  ("1.41", "1.12", "1.41"), ("1.24", "1.12", "1.24")])
def test_engines_of_other_versions(product, newest, oldest, used):
    """A stand-in before the real engine that speaks only these versions, as Docker 29 does: 1.52, and not below 1.44."""
    with Front(product.mail, "", "", newest=newest, oldest=oldest) as front:
        use_engine(product, front.host)
        new = product.renew()
        result = product.push()
        assert result.returncode == DONE, words(result)
        assert_deployed(product, new)
        product.stop_deployer()
        versions = set(re.findall(r" /v([\d.]+)/", "\n".join(front.requests())))
    assert versions == {used}


def test_an_engine_that_is_too_old(product):
    with Front(product.mail, "", "", newest="1.23", oldest="1.12") as front:
        use_engine(product, front.host)
        result = product.deploy()
    assert result.returncode == FAILED and "API version 1.23 is too old, 1.24 is needed" in words(result)


# ---- an engine that misbehaves


LIST = "GET /v[0-9.]+/containers/json"
BAD_LISTS = {
    "hang": (TEMPORARY, "no answer in time"),
    "drip": (TEMPORARY, "the answer did not end in time; "),
    "cut": (TEMPORARY, "the connection was closed in the midst of the answer"),
    "close": (TEMPORARY, "the connection was closed without an answer"),
    "flood": (FAILED, "the answer is too long"),
    "chunked_flood": (FAILED, "the answer is too long"),
    "headers": (FAILED, "the answer's header is too long"),
    "garbage": (FAILED, "the answer is not HTTP: is this a Docker Engine?"),
    "not_json": (FAILED, 'the answer is not JSON: "<html>\\x1b[2J\\x0ano</html>"'),
    "redirect": (FAILED, "a redirect, which is not followed; is this a Docker Engine? HTTP 307"),
    "bad_chunk": (FAILED, "the answer is not HTTP: it is badly chunked"),
}


@pytest.mark.parametrize("fault", BAD_LISTS)
def test_an_engine_that_misbehaves(product, fault):
    """The verdict says so within the time of one call, the pair is kept, and the next pass with a good engine serves it."""
    code, reason = BAD_LISTS[fault]
    with Front(product.mail, LIST, fault) as front:
        use_engine(product, front.host)
        new = product.renew()
        begin = time.monotonic()
        result = product.push()
        took = time.monotonic() - begin
    assert result.returncode == code, words(result)
    assert f"list the containers: {reason}" in words(result)
    assert took < 30 and recorded(product) is None
    use_engine(product, "unix:///var/run/docker.sock")
    result = product.deploy()
    assert result.returncode == DONE, words(result)
    assert_deployed(product, new)
    assert deploy_record(product)["state"] == "served"
    assert product.push().returncode == DONE and recorded(product) == new.fingerprint


def test_an_engine_that_is_stopped_in_its_tracks(product):
    """The real one, which then accepts connections and answers nothing."""
    engine = product.docker.process
    engine.send_signal(signal.SIGSTOP)
    try:
        new = product.renew()
        begin = time.monotonic()
        result = product.push()
        took = time.monotonic() - begin
    finally:
        engine.send_signal(signal.SIGCONT)
        os.kill(engine.pid, signal.SIGCONT)  # nsenter stops with what it runs
    assert result.returncode == TEMPORARY and "no answer in time" in words(result), words(result)
    assert took < 20
    assert product.deploy().returncode == DONE
    assert_deployed(product, new)


@pytest.mark.parametrize("request_line, fault", [("POST .*/containers/ID/exec ", "hang"), ("POST .*/exec/.*/start ", "flood"),
                                                 ("GET .*/exec/.*/json ", "cut")])
def test_commands_of_an_engine_that_misbehaves(product, request_line, fault):
    """The list works, commands do not: bounded, and what is not reloaded is restarted. ID: of Dovecot's container."""
    dovecot = product.docker("inspect", "--format={{.Id}}", product.mailcow.name("dovecot-mailcow")).stdout.strip()
    with Front(product.mail, request_line.replace("ID", dovecot), fault) as front:
        use_engine(product, front.host, **UNHURRIED)
        new = product.renew()
        begin = time.monotonic()
        result = product.push("-v")
        took = time.monotonic() - begin
    assert result.returncode == DONE, words(result)
    assert "not-reloaded " in result.stdout
    assert_deployed(product, new)
    assert took < 200
