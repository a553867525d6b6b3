"""Every bundle that must not be installed, and every odd one that must: by PUT, and from the lineage."""
import re

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.lab import HOSTNAME
from tests.lab.pki import CA, CLIENT_AUTH, Authority, Bundle, LargeRsaKey, key_pem, pem, self_signed
from tests.system.checks import (DONE, FAILED, TEMPORARY, Untouched, assert_deployed, assert_works_again, everywhere,
                                 push_state, recorded, spki, undisturbed)
from tests.system.protocol import HELLO, greeted, put, relay

pytestmark = pytest.mark.filterwarnings("ignore:SHA1 signatures")


def weak(lab, leaf: dict | None = None, **intermediate) -> Bundle:
    """By an intermediate of its own under the trusted root."""
    authority = Authority("Weak Intermediate", lab.ca.root, **intermediate)
    return lab.issue(by=authority, **leaf or {}).replace(chain=authority.pem)


def corrupted(text: str) -> str:
    """PEM whose DER is damaged: some base64 in its midst is replaced."""
    lines = text.splitlines()
    lines[3] = lines[3][::-1]
    return "\n".join(lines) + "\n"


def other_key(lab) -> str:
    return lab.issue().key


def older(lab) -> Bundle:
    return lab.issue(age=61)


# what is wrong -> (bundle, code and reason of the answer, what the pusher says of such a lineage)
REFUSED = {
    "another key": (lambda lab: lab.issue().replace(key=other_key(lab)), "550 key-mismatch", "key"),
    "another kind of key": (lambda lab: lab.issue().replace(key=lab.issue(key="rsa2048").key), "550 key-mismatch", "key"),
    "forged RSA key": (lambda lab: lab.issue(key="rsa2048").with_forged_key(), "550 key-not-proven", "sign"),
    "forged EC key": (lambda lab: lab.issue().with_forged_key(), "550 key-not-proven|malformed", "sign|key"),
    "encrypted key": (lambda lab: lab.issue().with_encrypted_key(), "550 encrypted-key", "encrypted"),
    "no key": (lambda lab: lab.issue().replace(key=""), "550 no-key", "key"),
    "two keys": (lambda lab: lab.issue().replace(key=lab.issue().key + lab.issue().key), "550 malformed", "key"),
    "damaged key": (lambda lab: lab.issue().replace(key=pem("PRIVATE KEY", b"0" * 100)), "550 malformed|no-key", "key"),
    "no certificate": (lambda lab: lab.issue().replace(cert="", chain=""), "550 no-certificate", "certificate"),
    "damaged certificate": (lambda lab: damaged(lab.issue()), "550 malformed|key-mismatch", "."),
    "empty": (lambda lab: Bundle("", "", ""), "550 no-certificate", "certificate"),
    "text": (lambda lab: Bundle("hello\n", "", "hello\n"), "550 no-certificate", "certificate"),
    "NUL bytes": (lambda lab: Bundle("\0" * 500, "", "\0" * 500), "550 no-certificate|malformed", "."),
    "too many certificates": (lambda lab: lab.issue().replace(chain=lab.ca.intermediate.pem * 20), "550 malformed", "."),
    "expired": (lambda lab: lab.issue(days=30, age=31), "550 expired", "expired"),
    "not yet valid": (lambda lab: lab.issue(age=-1), "450 not-yet-valid", "begins only at"),
    "another name": (lambda lab: lab.issue("other.example.org"), "550 name-not-covered", "expired|cover"),
    "CN only": (lambda lab: lab.ca.issue(cn=HOSTNAME), "550 name-not-covered", "."),
    "wildcard of another level": (lambda lab: lab.issue("*.mail.example.org", "*.org"), "550 name-not-covered", "."),
    "partial wildcard": (lambda lab: lab.issue("m*.example.org"), "550 name-not-covered", "."),
    "name with a NUL": (lambda lab: lab.issue("mail.example.org\0.example.net"), "550 name-not-covered", "."),
    "client only": (lambda lab: lab.issue(usage=(CLIENT_AUTH,)), "550 wrong-purpose", "purpose"),
    "CA as leaf": (lambda lab: lab.issue(ca=True), "550 ca-as-leaf", "CA"),
    "self-signed": (lambda lab: self_signed(HOSTNAME), "550 untrusted", "self-signed|trust|issuer"),
    "unknown CA": (lambda lab: CA("Other").issue(HOSTNAME), "550 untrusted", "trust|issuer|self-signed"),
    "unknown CA of the same name": (lambda lab: CA().issue(HOSTNAME), "550 untrusted", "."),
    "chain missing": (lambda lab: lab.issue().replace(chain=""), "550 untrusted", "issuer|chain"),
    "chain of another CA": (lambda lab: lab.issue().replace(chain=CA("Other").intermediate.pem), "550 untrusted", "."),
    "SHA-1 leaf": (lambda lab: lab.issue(digest=hashes.SHA1()), "550 weak-chain", "weak|digest|SHA-?1"),
    "SHA-1 intermediate": (lambda lab: weak(lab, digest=hashes.SHA1()), "550 weak-chain", "weak|digest"),
    "RSA-1024 intermediate": (lambda lab: weak(lab, key="rsa1024"), "550 weak-chain", "small|weak"),
    "RSA-1024 leaf": (lambda lab: lab.issue(key="rsa1024"), "550 key-unusable", "RSA 1024"),
    "RSA-4484 leaf": (lambda lab: lab.issue(key=LargeRsaKey()), "550 key-unusable", "RSA 4484"),
    "P-224 leaf": (lambda lab: lab.issue(key=ec.generate_private_key(ec.SECP224R1())), "550 key-unusable", "224"),
    "older than installed": (older, "550 older", "began at"),
}


def damaged(bundle: Bundle) -> Bundle:
    return bundle.replace(cert=corrupted(bundle.cert))


def answers(lab, *bundles: str | bytes) -> list:
    with relay(lab) as session:
        greeted(session)
        session.send(HELLO)
        return [session.ask(put(bundle)) for bundle in bundles]


@pytest.mark.parametrize("wrong", REFUSED)
def test_refused_by_the_deployer(undisturbed, wrong):
    make, expected, _ = REFUSED[wrong]
    code, reasons = expected.split()
    bundle = make(undisturbed).pem
    with Untouched(undisturbed), relay(undisturbed) as session:
        greeted(session)
        reply = session.ask(HELLO, put(bundle))
        assert reply.code == int(code) and re.search(rf" reason=({reasons}) us=\d+: .{{10}}", reply.text), reply
        assert session.ask("DEPLOY").code == 503
    assert not re.search(r"[A-Za-z0-9+/=]{70}", reply.text)


@pytest.mark.parametrize("wrong", [
    "another key", "forged RSA key", "encrypted key", "no key", "no certificate", "damaged certificate", "expired",
    "not yet valid", "another name", "CN only", "client only", "CA as leaf", "unknown CA", "chain missing", "RSA-1024 leaf",
    "older than installed"])
def test_refused_from_the_lineage(product, wrong):
    make, _, said = REFUSED[wrong]
    product.renew(make(product))
    with Untouched(product):
        result = product.push("--force")
    assert result.returncode in (FAILED, TEMPORARY), result
    assert re.search(said, result.stderr) and "deployed" not in result.stdout, result
    assert recorded(product) is None


def test_after_all_of_them_the_next_good_push_works(product):
    """In one session, and each as a bare bundle."""
    bundles = [make(product).pem for make, _, _ in REFUSED.values()]
    with Untouched(product):
        assert {reply.code for reply in answers(product, *bundles)} == {550, 450}
        for bundle in bundles:
            if bundle.startswith("-----BEGIN "):
                result = product.mail.run(["/usr/libexec/mailcow-cert-receive"], user="certsync", input=bundle)
                assert re.search(r"\n[45]50 rejected want=primary ", result.stdout), result
    assert push_state(product) is None
    assert_works_again(product)


def test_truncated_at_every_hundredth_byte(product):
    whole = product.issue().pem.encode()
    end_of_key = len(whole) - len("-----END PRIVATE KEY-----\n")
    cuts = [*range(0, end_of_key, 100), end_of_key]
    with Untouched(product):
        replies = answers(product, *(whole[:cut] for cut in cuts))
    assert {reply.code for reply in replies} == {550}, dict(zip(cuts, replies))
    assert_works_again(product)


def test_a_truncated_lineage(product):
    new = product.issue()
    with Untouched(product):
        product.renew(new.replace(cert=new.cert[:300], chain=""))
        assert product.push().returncode == FAILED
    product.renew(new.replace(key=new.key[:100]))
    with Untouched(product):
        assert product.push().returncode == FAILED
    assert_works_again(product)


# ---- odd ones that are good


def shuffled(lab) -> Bundle:
    """A chain of two, upside down, the root and a stranger among it."""
    lower = Authority("Lower Intermediate", lab.ca.intermediate)
    good = lab.issue(by=lower)
    return good.replace(chain=lab.ca.root.pem + lab.ca.intermediate.pem + CA("Other").intermediate.pem + lower.pem)


def with_text(lab) -> Bundle:
    new = lab.issue()
    return new.replace(cert=f"Bag Attributes\r\n    friendlyName: mail\r\n{new.cert}".replace("\n", "\r\n"))


def two_leaves(lab) -> Bundle:
    """Old and new of different keys: the leaf is the one that the key belongs to."""
    new = lab.issue()
    return new.replace(cert=lab.old.cert + new.cert)


GOOD = {
    "RSA 2048": lambda lab: lab.issue(key="rsa2048"),
    "RSA 4096": lambda lab: lab.issue(key="rsa4096"),
    "P-384": lambda lab: lab.issue(key="p384"),
    "P-521": lambda lab: lab.issue(key="p521"),
    "Ed25519": lambda lab: lab.issue(key="ed25519"),
    "wildcard": lambda lab: lab.issue("*.example.org"),
    "traditional RSA key": lambda lab: traditional(lab.issue(key="rsa2048")),
    "chain shuffled": shuffled,
    "superfluous root": lambda lab: lab.issue().replace(chain=lab.ca.intermediate.pem + lab.ca.root.pem),
    "text and CRLF": with_text,
    "two leaves": two_leaves,
    "no serverAuth but no usage at all": lambda lab: lab.issue(usage=()),
    "as old as the installed one": lambda lab: lab.issue(age=59.9),
}


def traditional(bundle: Bundle) -> Bundle:
    return bundle.replace(key=key_pem(bundle.private_key(), traditional=True))


def leaf_of(bundle: Bundle) -> str:
    """The fingerprint of the leaf that belongs to the key."""
    certificates = re.findall(r"-----BEGIN CERT.*?-----END CERTIFICATE-----\r?\n", bundle.fullchain, re.DOTALL)
    wanted = spki(bundle.private_key().public_key())
    candidates = [Bundle(text.replace("\r", ""), "", "") for text in certificates]
    return next(c.fingerprint for c in candidates if spki(c.x509.public_key()) == wanted)


@pytest.mark.parametrize("kind", GOOD)
def test_good_ones_are_served_everywhere(product, kind):
    new = GOOD[kind](product)
    fingerprint = leaf_of(new)
    with relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(new.pem)).code == 250
        verdict = session.ask("DEPLOY")
    assert verdict.code == 250 and verdict.text == "deployed served=9 endpoints=9", verdict
    assert set(product.served_everywhere().values()) == {fingerprint}
    cert, key = product.mailcow.installed()
    assert Bundle(cert, "", key).fingerprint == fingerprint and "\r" not in cert and "Bag" not in cert
    assert cert.count("BEGIN CERTIFICATE") == (3 if kind == "chain shuffled" else 2)
    assert product.ca.root.pem not in cert and key.count("BEGIN PRIVATE KEY") == 1


@pytest.mark.parametrize("kind", ["RSA 2048", "Ed25519", "wildcard", "chain shuffled", "text and CRLF"])
def test_good_ones_from_the_lineage(product, kind):
    new = product.renew(GOOD[kind](product))
    result = product.push()
    assert result.returncode == DONE and f"deployed {leaf_of(new)}" in result.stdout, result
    assert set(product.served_everywhere().values()) == {leaf_of(new)}


def test_the_same_as_installed(product):
    with Untouched(product):
        reply, = answers(product, product.old.pem)
    assert reply.code == 251
    assert product.push().returncode == DONE
    assert product.served_everywhere() == everywhere(product.old)


def test_what_was_installed_by_others_sets_no_floor_when_it_is_bad(product):
    """An installed pair that would itself be refused keeps nothing out, whatever its dates say."""
    product.mailcow.install(self_signed(HOSTNAME))
    new = product.renew(product.issue(age=20))
    assert product.push().returncode == DONE
    assert_deployed(product, new)


def test_younger_with_an_earlier_end_is_no_downgrade(product):
    new = product.renew(product.issue(days=5))
    assert product.push().returncode == DONE
    assert_deployed(product, new)
