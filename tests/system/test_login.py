"""Logins to a service mailbox before and after the reload: what they tell, and what they break."""
import json
import os
import signal

import pytest

from tests.bench.load import Load
from tests.lab.lab import ETC, MAIL_ADDRESS
from tests.lab.mailcow import MAILBOX, PASSWORD, PATH
from tests.system.checks import DONE, FAILED, assert_deployed, installed_fingerprint, sessions
from tests.system.protocol import HELLO, connect, put

LOGIN_CONF = f"{ETC}/login.conf"
WHERE = ["imaps", "smtps", "submission"]
VERIFY = f"{PATH}/data/conf/dovecot/auth/passwd-verify.lua"


def configure(lab, password: str = PASSWORD, mode: int = 0o600, timeout: str = "20s") -> None:
    lab.mail.write(LOGIN_CONF, f"[login]\nname = {MAILBOX}\npassword = {password}\n", mode)
    lab.write_deploy_conf({"verify": {"login": LOGIN_CONF, "timeout": timeout}})
    lab.start_deployer()


def said(result) -> list[dict]:
    return json.loads(result.stdout)["steps"]


def told(steps: list[dict], step: str) -> list[str]:
    return sorted(s["endpoint"] for s in steps if s["step"] == step)


def halves(steps: list[dict]) -> tuple[list[dict], list[dict]]:
    """What was said before the pair was installed, and after it."""
    at = [s["step"] for s in steps].index("installed")
    return steps[:at], steps[at + 1:]


def push(lab) -> tuple[list[dict], list[dict]]:
    """A renewal that succeeds."""
    new = lab.renew()
    result = lab.push("--json")
    assert result.returncode == DONE, result
    assert_deployed(lab, new)
    return halves(said(result))


def test_logs_in_before_and_after(product):
    configure(product)
    postfix, dovecot = (len(product.mailcow.logs(f"{s}-mailcow")) for s in ("postfix", "dovecot"))
    before, after = push(product)
    assert told(before, "logged-in") == told(after, "logged-in") == WHERE
    assert told(after, "not-logged-in") == []
    assert [s["step"] for s in after if s["step"] in ("verified", "logged-in")][-3:] == ["logged-in"] * 3
    log = product.mailcow.logs("postfix-mailcow")[postfix:]
    assert log.count(" auth=1 noop=1 quit=1 ") == 4, "each ends as a client should"
    assert product.mailcow.logs("dovecot-mailcow")[dovecot:].count("Disconnected: Logged out") == 2


def test_a_wrong_password_is_told_and_breaks_nothing(product):
    configure(product, "not-the-password")
    before, after = push(product)
    assert told(before, "not-logged-in") == told(after, "not-logged-in") == WHERE
    details = {s["endpoint"]: s["detail"] for s in after if s["step"] == "not-logged-in"}
    assert details["imaps"].startswith("refused: ") and "AUTHENTICATIONFAILED" in details["imaps"]
    assert details["submission"].startswith("refused: 535 5.7.8 ")


def test_the_password_is_in_no_message(product):
    for password in (PASSWORD + "-wrong-and-secret", PASSWORD):
        configure(product, password)
        new = product.renew()
        results = [product.push("-v"), product.deploy("--force", "-v")]
        assert [r.returncode for r in results] == [DONE, DONE]
        assert_deployed(product, new)
        everything = "".join(r.stdout + r.stderr for r in results) + product.deployer_log()
        assert "logged-in" in everything
        assert "-wrong-and-secret" not in everything


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_is_not_used(product, mode):
    configure(product, mode=mode)
    new = product.renew()
    result = product.push("-v")
    assert result.returncode == DONE, result
    assert f"nobody logs in: the login's file: {LOGIN_CONF}: its mode is 0{mode:o}, others may read it" in result.stdout
    assert "logged-in" not in result.stdout
    assert_deployed(product, new)


def test_where_no_login_is_configured_nobody_logs_in(product):
    before, after = push(product)
    assert not [s for s in before + after if "logged-in" in s["step"]]


# ---- other people's logins


def test_a_renewal_costs_at_most_what_is_under_way(product):
    """`dovecot reload` cuts off who is just logging in: of each client at most that one session. Nobody is refused, and
    afterwards all is well."""
    clients = 3
    with Load(product.proxy, MAIL_ADDRESS, clients=clients) as load:
        new = product.renew()
        assert product.push().returncode == DONE
    for protocol, counts in load.protocols().items():
        assert counts["refused"] == 0, load.counts
        assert counts["handshake"] + counts["login"] + counts["dropped"] <= clients, load.counts
    with Load(product.proxy, MAIL_ADDRESS, clients=clients) as afterwards:
        assert_deployed(product, new)
    assert afterwards.failures() == 0 and afterwards.sessions() >= 2, afterwards.counts


# ---- what breaks


@pytest.fixture
def choosy(product):
    """Dovecot takes passwords only as long as the old certificate is installed: its check dislikes the new one, as one would
    that verified nginx's certificate."""
    lab = product
    own = lab.mail.read(VERIFY)
    lab.mail.write(VERIFY, own + f"""
local check = auth_password_verify
local leaf = {lab.old.fullchain.split("-----")[2].strip()[:64]!r}
function auth_password_verify(request, password)
  local file = io.open("/etc/ssl/mail/cert.pem")
  local text = file:read("a")
  file:close()
  if not text:find(leaf, 1, true) then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "Upstream error"
  end
  return check(request, password)
end
""")
    lab.mailcow.reload("dovecot-mailcow")
    configure(lab, timeout="8s")
    return lab


def test_a_login_that_breaks_is_rolled_back(choosy):
    bad = choosy.renew()
    result = choosy.push("--json")
    assert result.returncode == FAILED, result
    answer = json.loads(result.stdout)["results"][0]
    assert answer["result"] == "rolled-back"
    assert "worked before and does not any more: " in answer["detail"]
    steps = said(result)
    after = steps[[s["step"] for s in steps].index("rolled-back"):]
    assert told(after, "logged-in") == WHERE, "with the old pair everybody can log in again"
    assert_deployed(choosy, choosy.old)
    again = choosy.push()
    assert again.returncode == FAILED and "the login over " in again.stderr and "--force" in again.stderr, again
    assert installed_fingerprint(choosy) == choosy.old.fingerprint != bad.fingerprint


def test_a_login_that_was_broken_before_is_no_reason_to_go_back(choosy):
    """The first certificate went in when nobody looked."""
    first = choosy.issue(age=1)
    choosy.mailcow.install(first)
    choosy.mailcow.reload()
    new = choosy.renew()
    result = choosy.push("--json")
    assert result.returncode == DONE, result
    before, after = halves(said(result))
    assert told(before, "not-logged-in") == told(after, "not-logged-in") == WHERE
    assert_deployed(choosy, new)


def test_a_crash_does_not_forget_that_logins_worked(choosy):
    """Killed between installation and reload: the next pass finds logins already broken, and knows that they were not."""
    lab, bad = choosy, choosy.issue()
    with connect(lab) as session:
        session.reply()
        session.send(HELLO, put(bad.pem))
        assert session.reply().code == 250
        session.send("DEPLOY")
        while "installed" not in session.line():
            pass
        for pid in [*sessions(lab), lab.deployer.inner()]:
            os.kill(pid, signal.SIGKILL)
        lab.stop_deployer()
    lab.mailcow.reload()
    lab.start_deployer()
    result = lab.deploy("--json")
    assert result.returncode == FAILED, result
    assert json.loads(result.stdout)["results"][0]["result"] == "rolled-back", result
    assert_deployed(lab, lab.old)


def test_logins_that_no_rollback_mends_are_told(product):
    """nginx answers no password check any more once it reads its configuration anew, whatever certificate is installed."""
    configure(product, timeout="6s")
    product.mailcow.recreated.add("nginx-mailcow")
    product.mailcow.exec("nginx-mailcow", "sed", "-i", "s/listen 9082/listen 9999/", "/etc/nginx/nginx.conf")
    product.renew()
    result = product.push("--json")
    assert result.returncode == FAILED, result
    answer = json.loads(result.stdout)["results"][0]
    assert "the login over " in answer["detail"] and "worked before and does not any more" in answer["detail"]
    assert_deployed(product, product.old)
