"""Endpoints behind a load balancer: listeners that expect a PROXY header, as mailcow has them for haproxy."""
import json

import pytest

from tests.lab.lab import ETC
from tests.lab.mailcow import EXTRA, HAPROXY, MAILBOX, PASSWORD, PATH, SUBNET
from tests.lab.wire import ENDPOINTS
from tests.system.checks import DONE, FAILED, everywhere

POSTFIX, DOVECOT = ("smtp", "smtps", "submission"), ("imap", "imaps", "pop3", "pop3s", "sieve")
HINT = "hung up after the PROXY header: is one expected, and this host trusted (Dovecot: haproxy_trusted_networks)?"


def trust(lab) -> None:
    lab.mail.write(EXTRA, f"haproxy_trusted_networks = {SUBNET}.0/24\n")
    lab.mailcow.reload("dovecot-mailcow")


def configure(lab, endpoints: list[str], **verify: str) -> None:
    lab.write_deploy_conf({"verify": {"endpoints": "\n    ".join(endpoints), **verify}})
    lab.start_deployer()


def behind(scheme: str) -> list[str]:
    """Every listener of mailcow's for haproxy, at its container's address; scheme: proxy or proxy2."""
    return [*(f"{proto}+{scheme}://{SUBNET}.253" for proto in POSTFIX),
            *(f"{proto}+{scheme}://{SUBNET}.250" for proto in DOVECOT)]


def push(lab) -> tuple:
    """A renewal: bundle, exit status, steps."""
    new = lab.renew()
    result = lab.push("--json")
    return new, result.returncode, json.loads(result.stdout)["steps"]


def endpoints(steps: list[dict], step: str) -> list[str]:
    return sorted(s["endpoint"] for s in steps if s["step"] == step)


def test_both_versions_are_taken_by_postfix_and_dovecot(product):
    trust(product)
    configure(product, [*behind("proxy"), *behind("proxy2")])
    new, status, steps = push(product)
    assert status == DONE, steps
    assert endpoints(steps, "verified") == sorted(f"{proto}+{scheme}" for proto in POSTFIX + DOVECOT
                                                  for scheme in ("proxy", "proxy2"))
    assert product.served_everywhere() == everywhere(new)


def test_dovecot_trusts_nobody_until_it_is_told_whom(product):
    configure(product, [*behind("proxy"), f"imaps+proxy2://{SUBNET}.250"], timeout="5s")
    _, status, steps = push(product)
    assert status == FAILED
    assert endpoints(steps, "verified") == sorted(f"{proto}+proxy" for proto in POSTFIX)
    assert "restarted" not in {s["step"] for s in steps}, "no restart mends that"
    refused = {s["endpoint"]: s["detail"] for s in steps if s["step"] == "not-verified"}
    assert sorted(refused) == sorted([*(f"{proto}+proxy" for proto in DOVECOT), "imaps+proxy2"])
    assert all(HINT in detail for detail in refused.values()), refused


def test_what_is_published_for_haproxy_is_found(product):
    """mailcow's override for haproxy, beside the usual ports; then nothing but it, where all mail comes from a balancer."""
    trust(product)
    for service, ports in HAPROXY.items():
        product.mailcow.recreate(service, *(f"--publish=127.0.0.1:{port}:{port}" for port in ports))
    _, status, steps = push(product)
    assert status == DONE, steps
    both = sorted([*ENDPOINTS, *(f"{proto}+proxy" for proto in POSTFIX + DOVECOT)])
    assert endpoints(steps, "verified") == both
    for service, ports in HAPROXY.items():
        product.mailcow.recreate(service, ports=ports)
    new, status, steps = push(product)
    assert status == DONE, steps
    assert endpoints(steps, "verified") == sorted(["https", *(f"{proto}+proxy" for proto in POSTFIX + DOVECOT)])
    address = {"host": product.mail, "address": f"{SUBNET}.250"}
    assert product.served(993, **address) == new.fingerprint, "the direct twin serves it, too"


def use_proxy_protocol(lab) -> None:
    lab.mail.write(f"{PATH}/mailcow.conf", lab.mail.read(f"{PATH}/mailcow.conf") + "NGINX_USE_PROXY_PROTOCOL=y\n", 0o600)
    lab.mailcow.recreate("nginx-mailcow", "--env=NGINX_USE_PROXY_PROTOCOL=y")


def test_nginx_expects_a_header_where_mailcow_conf_says_so(product):
    use_proxy_protocol(product)
    _, status, steps = push(product)
    assert status == DONE, steps
    assert endpoints(steps, "verified") == sorted([*(e for e in ENDPOINTS if e != "https"), "https+proxy"])
    configure(product, ["https+proxy2://127.0.0.1"])
    _, status, steps = push(product)
    assert (status, endpoints(steps, "verified")) == (DONE, ["https+proxy2"])


@pytest.mark.parametrize("scheme", ["proxy", "proxy2"])
def test_logins_go_behind_a_balancer(product, scheme):
    trust(product)
    product.mail.write(f"{ETC}/login.conf", f"[login]\nname = {MAILBOX}\npassword = {PASSWORD}\n", 0o600)
    configure(product, behind(scheme), login=f"{ETC}/login.conf")
    _, status, steps = push(product)
    assert status == DONE, steps
    assert endpoints(steps, "logged-in") == sorted(2 * [f"{proto}+{scheme}" for proto in ("imaps", "smtps", "submission")])
