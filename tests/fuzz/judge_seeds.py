"""Writes what the judge is fuzzed from: a root that is trusted, the issuer's key, bundles of every sort.

    python3 -m tests.fuzz.judge_seeds

writes tests/fuzz/judge/ and the seeds of tests/fuzz/corpus/judge/. All of it is in the repository, because a corpus is
worth nothing without the CA that it was found with; run again it keeps the CA, and writes only seeds that are missing.
The keys are worth nothing outside the tests. A line `policy=N` in front of a bundle chooses
one of fuzz_judge.c's policies.
"""
from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab import pki
from tests.lab.pki import CA, CLIENT_AUTH, Authority, Bundle

HERE = Path(__file__).resolve().parent
JUDGE, CORPUS = HERE / "judge", HERE / "corpus/judge"
NOW = datetime.datetime(2026, 11, 21, 8, 0, 0)  # fuzz_judge.c's clock
NAME, NAMES = "mail.example.org", ("mail.example.org", "*.example.org", "example.org")


def good(ca: CA) -> dict[str, Bundle]:
    return {
        "p256": ca.issue(NAME),
        "p384": ca.issue(NAME, key="p384"),
        "ed25519": ca.issue(NAME, key="ed25519"),
        "rsa2048": ca.issue(NAME, key="rsa2048"),
        "wildcard": ca.issue("*.example.org", "example.org"),
        "by-root": ca.issue(NAME, by=ca.root),
        "look-alike": look_alike(ca),
    }


def look_alike(ca: CA) -> Bundle:
    """In the chain a certificate that bears the root's name, and that nobody trusts."""
    name = ca.root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    plain = ca.issue(NAME)
    return plain.replace(chain=plain.chain + Authority(name, Authority("Stranger")).pem)


def by_weak(ca: CA, **authority) -> Bundle:
    weak = Authority("Weak Intermediate", ca.root, **authority)
    return ca.issue(NAME, by=weak).replace(chain=weak.pem)


def bad(ca: CA) -> dict[str, Bundle | str]:
    plain = ca.issue(NAME)
    key = plain.private_key()
    other = CA("Other")
    return {
        "expired": ca.issue(NAME, days=30, age=31),
        "not-yet-valid": ca.issue(NAME, age=-1),
        "other-name": ca.issue("other.example.org"),
        "no-name": ca.issue(cn=NAME),
        "address": ca.issue("192.0.2.1"),
        "client-only": ca.issue(NAME, usage=[CLIENT_AUTH]),
        "ca-as-leaf": ca.issue(NAME, ca=True),
        "untrusted": other.issue(NAME),
        "weak-digest": by_weak(ca, digest=hashes.SHA1()),
        "weak-key": by_weak(ca, key="rsa1024"),
        "rsa1024": ca.issue(NAME, key="rsa1024"),
        "secp256k1": ca.issue(NAME, key=ec.generate_private_key(ec.SECP256K1())),
        "forged-key": plain.with_forged_key(),
        "encrypted-key": plain.with_encrypted_key(),
        "encrypted-sec1": plain.fullchain + pki.key_pem(key, b"secret", traditional=True),
        "no-key": plain.fullchain,
        "no-certificate": plain.key,
        "no-chain": plain.cert + plain.key,
        "two-keys": plain.pem + pki.key_pem(pki.new_key("p256")),
        "other-key": plain.fullchain + pki.key_pem(pki.new_key("p256")),
        "sec1-key": plain.fullchain + pki.pem("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107")) + pki.key_pem(key, traditional=True),
        "key-first": plain.key + plain.fullchain,
        "crlf": plain.pem.replace("\n", "\r\n"),
        "root-too": plain.cert + plain.key + ca.root.pem + ca.intermediate.pem,
        "foreign-certificates": plain.pem + other.root.pem + other.intermediate.pem,
        "text-between": f"subject=CN = {NAME}\n{plain.cert}issuer\n{plain.chain}\n{plain.key}",
        "empty-block": plain.fullchain + pki.pem("EC PARAMETERS", b"") + plain.key,
        "trailing-byte": plain.fullchain + pki.pem("PRIVATE KEY", pki.base64.b64decode("".join(plain.key.split("\n")[1:-2])) + b"\0"),
        "seventeen": plain.cert + plain.chain * 16 + plain.key,
    }


def with_policy(ca: CA) -> dict[str, str]:
    return {
        "names": "policy=1\n" + ca.issue(*NAMES).pem,
        "names-missing": "policy=1\n" + ca.issue(NAME).pem,
        "younger-than-installed": "policy=2\n" + ca.issue(NAME, age=9).pem,
        "older-than-installed": "policy=2\n" + ca.issue(NAME, age=11).pem,
        "installed-is-garbage": "policy=3\n" + ca.issue(NAME, age=11).pem,
    }


def authority(name: str) -> Authority:
    """As it was written before."""
    it = Authority.__new__(Authority)
    it.certificate = x509.load_pem_x509_certificate((JUDGE / f"{name}.pem").read_bytes())
    it.key = serialization.load_pem_private_key((JUDGE / f"{name}.key").read_bytes(), None)
    return it


def make_ca() -> CA:
    ca = CA("Fuzz")
    for name, made in (("root", ca.root), ("issuer", ca.intermediate)):
        (JUDGE / f"{name}.pem").write_text(made.pem)
        (JUDGE / f"{name}.key").write_text(pki.key_pem(made.key))
    (JUDGE / "installed.pem").write_text(ca.issue(NAME, age=10).fullchain)
    return ca


def load_ca() -> CA:
    ca = CA.__new__(CA)
    ca.root, ca.intermediate = authority("root"), authority("issuer")
    return ca


def main() -> None:
    pki.now = lambda: NOW
    CORPUS.mkdir(parents=True, exist_ok=True)
    JUDGE.mkdir(exist_ok=True)
    ca = load_ca() if (JUDGE / "root.key").exists() else make_ca()
    for name, bundle in {**good(ca), **bad(ca), **with_policy(ca)}.items():
        if not (CORPUS / name).exists():
            (CORPUS / name).write_text(bundle if isinstance(bundle, str) else bundle.pem, newline="")


if __name__ == "__main__":
    main()
