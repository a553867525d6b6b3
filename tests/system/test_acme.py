"""From a real issuance to the wire: certbot asks pebble by http-01, its live folder is the source, pebble's root the trust."""
import contextlib
import json
import shutil
import subprocess

import pytest

from tests.lab.host import PYTHON, wait_for
from tests.lab.lab import ETC, HOSTNAME, NAMES, PUSH_CONF
from tests.lab.pki import Bundle
from tests.system.checks import DONE, FAILED, Untouched
from tests.system.test_watch import PATIENCE, Watch

SRV, LIVE = "/srv/pebble", "/etc/letsencrypt/live"
ACME, MANAGEMENT, DNS, HTTP = 14000, 15000, 8053, 5002  # in the proxy host's own network
FETCH = "import ssl, sys, urllib.request as r; print(r.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2]))" \
        ".read().decode())"


def configure_pebble(lab) -> None:
    web = lab.ca.issue("localhost")
    lab.proxy.write(f"{SRV}/web.pem", web.fullchain)
    lab.proxy.write(f"{SRV}/web.key", web.key, 0o600)
    lab.proxy.write(f"{SRV}/ca.pem", lab.ca.root.pem)
    lab.proxy.write(f"{SRV}/config.json", json.dumps({"pebble": {
        "listenAddress": f"127.0.0.1:{ACME}", "managementListenAddress": f"127.0.0.1:{MANAGEMENT}",
        "certificate": f"{SRV}/web.pem", "privateKey": f"{SRV}/web.key", "httpPort": HTTP, "tlsPort": 5001,
        "ocspResponderURL": "", "externalAccountBindingRequired": False}}))


def fetch_root(lab) -> str:
    result = lab.proxy.run([PYTHON, "-c", FETCH, f"https://localhost:{MANAGEMENT}/roots/0", f"{SRV}/ca.pem"], check=False)
    return result.stdout if "BEGIN CERTIFICATE" in result.stdout else ""


@pytest.fixture
def pebble(product):
    """The lab with pebble, whose validation finds every name on the proxy host; the deployer trusts its root."""
    configure_pebble(product)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    programs = [["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{DNS}",
                 "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", ""],
                ["pebble", "-config", f"{SRV}/config.json", "-dnsserver", f"127.0.0.1:{DNS}"]]
    with contextlib.ExitStack() as stack:
        for argv in programs:
            process = product.proxy.popen(argv, env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}, **quiet)
            stack.callback(process.stop)
        stack.callback(lambda: [shutil.rmtree(product.proxy.path(path), ignore_errors=True)
                                for path in ("/etc/letsencrypt", SRV)])
        root = wait_for(lambda: fetch_root(product), "pebble")
        product.mail.write(f"{ETC}/pebble-root.pem", root)
        stack.callback(product.mail.path(f"{ETC}/pebble-root.pem").unlink)
        product.write_deploy_conf({"deploy": {"trust": f"{ETC}/pebble-root.pem"}})
        product.start_deployer()
        text = product.proxy.read(PUSH_CONF)
        product.proxy.write(PUSH_CONF, text.replace("[source npm]", "[source certbot]")
                            .replace("/etc/nginx/letsencrypt/live", LIVE))
        yield product


def certbot(lab, *args: str) -> None:
    lab.proxy.run(["certbot", *args, "--non-interactive", "--no-random-sleep-on-renew"], timeout=120,
                  env={"REQUESTS_CA_BUNDLE": f"{SRV}/ca.pem"})


def issue(lab, *names: str) -> Bundle:
    certbot(lab, "certonly", "--agree-tos", "--register-unsafely-without-email", "--server", f"https://localhost:{ACME}/dir",
            "--standalone", "--http-01-port", str(HTTP), *(f"--domain={name}" for name in names))
    return in_live(lab, names[0])


def in_live(lab, name: str) -> Bundle:
    return Bundle(lab.proxy.read(f"{LIVE}/{name}/cert.pem"), lab.proxy.read(f"{LIVE}/{name}/chain.pem"),
                  lab.proxy.read(f"{LIVE}/{name}/privkey.pem"))


def assert_pushed(lab, bundle: Bundle) -> None:
    result = lab.push()
    assert result.returncode == DONE, result
    assert f"deployed {bundle.fingerprint} from certbot/{HOSTNAME}" in result.stdout
    for name in (None, *NAMES):
        assert set(lab.served_everywhere(name).values()) == {bundle.fingerprint}, name


def test_issued_pushed_renewed_and_pushed_again(pebble):
    issue(pebble, "www.example.org")
    with Untouched(pebble):
        assert pebble.push().returncode == FAILED
    first = issue(pebble, *NAMES)
    assert_pushed(pebble, first)
    assert "unchanged" in pebble.push().stdout
    certbot(pebble, "renew", "--force-renewal", "--cert-name", HOSTNAME)
    second = in_live(pebble, HOSTNAME)
    assert second.fingerprint != first.fingerprint
    assert_pushed(pebble, second)


def served(lab, bundle: Bundle) -> bool:
    return set(lab.served_everywhere().values()) == {bundle.fingerprint}


def test_watch_pushes_what_certbot_issues_and_renews(pebble):
    """From before certbot has made its folder."""
    assert not pebble.proxy.exists(LIVE)
    with Watch(pebble):
        first = issue(pebble, *NAMES)
        wait_for(lambda: served(pebble, first), "the first certificate", PATIENCE)
        certbot(pebble, "renew", "--force-renewal", "--cert-name", HOSTNAME)
        second = in_live(pebble, HOSTNAME)
        wait_for(lambda: served(pebble, second), "the renewal", PATIENCE)


def test_what_another_ca_issued_is_refused(pebble):
    """Trust is pebble's root and nothing else: a good certificate of the lab's own CA is not accepted."""
    issue(pebble, HOSTNAME)
    pebble.push()
    pebble.proxy.write(PUSH_CONF, pebble.proxy.read(PUSH_CONF).replace(LIVE, "/etc/nginx/letsencrypt/live"))
    pebble.renew()
    with Untouched(pebble):
        result = pebble.push()
    assert result.returncode == FAILED and "rejected" in result.stderr
