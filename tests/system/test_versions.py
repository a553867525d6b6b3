"""One side is one version later: what docs/protocol.md ("Versions") lets it say besides is passed over by the other. Both are the
real programs; later.py, between them, adds it."""
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab.host import PYTHON
from tests.lab.lab import DEPLOY, SOCKET
from tests.lab.pki import CA
from tests.system.checks import DONE, FAILED, TEMPORARY, Untouched, assert_deployed, recorded, steps
from tests.system.later import codes, command, reply

LATER, LISTEN = "/srv/later.py", "/run/later.sock"


@pytest.fixture
def later(product):
    """Makes one side of the SSH session later."""
    product.mail.write(LATER, Path(__file__).with_name("later.py").read_bytes())
    return lambda who: product.sshd.authorize(product.public_key, options=f'restrict,command="{PYTHON} -I {LATER} {who} {SOCKET}"')


def test_what_is_added():
    """That later.py does what it is for."""
    assert reply(b"220-mailcow-cert-deploy version=0.1.0 protocol=1 host=h\n").startswith(
        b"220-mailcow-cert-deploy gladly later=1 version=9.0.0 protocol=1 host=h\n220-novelty ")
    assert reply(b"250 deployed served=9: well\n") == b"250 deployed gladly later=1 served=9: well\n"
    assert reply(b"421 busy: others\n") == b"421 busy: others\n"
    assert reply(b"150 staged want=a\n").splitlines()[1] == b"150 staged gladly later=1 want=a"
    assert command(b"DEPLOY force\n") == b"DEPLOY force gladly later=1\n"
    assert codes(b"250-want\n") == b"259-want\n" and codes(b"220 ready\n") == b"220 ready\n"


@pytest.mark.parametrize("who", ["deployer", "codes", "client"])
def test_a_renewal_arrives(product, later, who):
    later(who)
    new = product.renew()
    result = product.push()
    assert result.returncode == DONE, result
    assert re.fullmatch(rf"mailcow: primary: deployed {new.fingerprint} from npm/npm-5 until \S+Z\n", result.stdout), result
    assert recorded(product) == new.fingerprint
    assert_deployed(product, new)
    assert "unchanged" in product.push(check=True).stdout
    forced = product.push("--force", "--json")
    assert forced.returncode == DONE and {"reloaded", "verified"} <= set(steps(forced)), forced
    assert who != "deployer" or "pondered" in steps(forced)
    assert product.push("check").returncode == DONE


@pytest.mark.parametrize("who", ["deployer", "codes", "client"])
def test_a_refusal_is_one(product, later, who):
    """Also for a reason that nobody knows."""
    later(who)
    product.renew(CA("Other").issue("mail.example.org"))
    with Untouched(product):
        result = product.push()
    assert result.returncode == FAILED and "primary: rejected" in result.stderr, result
    assert recorded(product) is None


@pytest.mark.parametrize("who", ["deployer", "codes", "client"])
def test_what_is_put_off_is_temporary(product, later, who):
    later(who)
    product.write_deploy_conf({"docker": {"host": "unix:///run/lab/no.sock"}})
    product.start_deployer()
    product.renew()
    result = product.push()
    assert result.returncode == TEMPORARY and "primary: pending" in result.stderr, result
    assert recorded(product) is None


@pytest.mark.parametrize("who", ["deployer", "client"])
def test_the_operators_commands(product, later, who):
    """As while an upgrade waits for the daemon of before to end."""
    for _ in range(2):
        product.renew()
        assert product.push().returncode == DONE

    def ask(*words: str) -> subprocess.CompletedProcess:
        product.mail.path(LISTEN).unlink(missing_ok=True)
        with product.mail.popen([PYTHON, "-I", LATER, who, SOCKET, LISTEN], stdout=subprocess.PIPE, text=True) as between:
            assert between.stdout.readline() == "ready\n"
            said = product.mail.run([DEPLOY, *words, "--socket", LISTEN], check=False, timeout=120)
            between.wait(10)
        return said

    said, plain = ask("status", "--json"), product.deploy("status", "--json")
    told = re.sub(r'"version": "[^"]+"', '"version": "later"', said.stdout)
    assert said.returncode == DONE and told == re.sub(r'"version": "[^"]+"', '"version": "later"', plain.stdout)
    said, plain = ask("check"), product.deploy("check")
    assert (said.returncode, said.stdout, said.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    for words in (["reconcile"], ["rollback", "--force"]):
        assert ask(*words).returncode == DONE, words
    assert product.mailcow.installed() != ("", "")
