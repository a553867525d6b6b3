"""Writes the bundles that the unit tests of cert, judge, store and install read, as PEM files into a folder.

  now           the clock of all of them, seconds since 1970: the tests judge by it, so the files do not age
  NAME.pem      a bundle as it might be sent
  NAME.chain    for one that is to be accepted: the chain that must come out, byte by byte
  NAME.key      and the key (PKCS#8)
  NAME.info     and what is said of it: fingerprint, spki, notBefore, notAfter, certificates above the leaf
  trust*.pem    trust files
"""
from __future__ import annotations

import calendar
import hashlib
import sys
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519  # noqa: E402
from cryptography.utils import CryptographyDeprecationWarning  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

from tests.lab import pki  # noqa: E402
from tests.lab.pki import CA, CLIENT_AUTH, DAY, SERVER_AUTH, Authority, Bundle, LargeRsaKey, build  # noqa: E402

NAME = "mail.example.org"
NOW = pki.now()
pki.now = lambda: NOW
TEXT = "Bag Attributes\n    friendlyName: Survivor\nsubject=CN = Survivor\n"


class Writer:
    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.text("now", str(calendar.timegm(NOW.timetuple())))

    def text(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content, newline="")

    def refused(self, name: str, bundle: Bundle | str) -> None:
        self.text(f"{name}.pem", bundle if isinstance(bundle, str) else bundle.pem)

    def good(self, name: str, bundle: Bundle, sent: str | None = None) -> None:
        """bundle is what must come out; sent (or just that) goes in."""
        self.text(f"{name}.pem", sent or bundle.pem)
        self.text(f"{name}.chain", bundle.fullchain)
        self.text(f"{name}.key", bundle.key)
        spki = bundle.x509.public_key().public_bytes(serialization.Encoding.DER,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo)
        times = [calendar.timegm(t.timetuple()) for t in (bundle.x509.not_valid_before, bundle.x509.not_valid_after)]
        self.text(f"{name}.info", f"{bundle.fingerprint} {hashlib.sha256(spki).hexdigest()} {times[0]} {times[1]} "
                                  f"{bundle.chain.count('BEGIN')}\n")


def resigned(bundle: Bundle, by: Authority, old: bytes, new: bytes) -> Bundle:
    """The certificate with some bytes replaced by as many others, signed again (ECDSA with SHA-256)."""
    tbs = bundle.x509.tbs_certificate_bytes
    assert tbs.count(old) == 1 and len(old) == len(new)
    tbs = tbs.replace(old, new)
    signature = by.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = pki.der_sequence(pki.der(0x06, bytes.fromhex("2a8648ce3d040302")))
    return bundle.replace(cert=pki.pem("CERTIFICATE", pki.der_sequence(tbs, algorithm, pki.der(0x03, b"\0" + signature))))


def der_of(certificate: str) -> bytes:
    return x509.load_pem_x509_certificate(certificate.encode()).public_bytes(serialization.Encoding.DER)


def key_der(key, encryption=serialization.NoEncryption()) -> bytes:
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, encryption)


def cross(subject: Authority, by: Authority, **times) -> str:
    """subject's name and key, certified by another."""
    times = {"not_before": NOW - 20 * DAY, "not_after": NOW + 365 * DAY, **times}
    name = subject.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return pki.cert_pem(by.sign(build(name, subject.key.public_key(), by.certificate.subject, ca=True, **times)))


def plain(by: Authority, key, names: list[str], subject: x509.Name = x509.Name([])) -> x509.CertificateBuilder:
    """A leaf with nothing but its names, as Let's Encrypt's short-lived profile has it: no subject, no SKID."""
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(by.certificate.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY).not_valid_after(NOW + 6 * DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=True))


def keys(w: Writer, ca: CA) -> None:
    for kind in ("p256", "p384", "p521", "ed25519", "rsa2048", "rsa4096"):
        w.good(f"key-{kind}", ca.issue(NAME, key=kind))
    w.refused("key-rsa1024", ca.issue(NAME, key="rsa1024"))
    for p, q in ((2203, 2281), (4253, 4423), (4253, 11213), (9689, 9941)):
        w.refused(f"key-rsa{p + q}", ca.issue(NAME, key=LargeRsaKey(p, q)))
    w.refused("key-p192", ca.issue(NAME, key=ec.generate_private_key(ec.SECP192R1())))
    w.refused("key-secp256k1", ca.issue(NAME, key=ec.generate_private_key(ec.SECP256K1())))
    w.refused("key-ed448", ca.issue(NAME, key=ed448.Ed448PrivateKey.generate()))
    w.refused("key-x25519", ca.issue(NAME, key=x25519.X25519PrivateKey.generate()))
    w.refused("key-forged-ec", ca.issue(NAME).with_forged_key())
    w.refused("key-forged-p384", ca.issue(NAME, key="p384").with_forged_key())
    w.refused("key-forged-rsa", ca.issue(NAME, key="rsa2048").with_forged_key())


def huge_dsa_key() -> str:
    """Its public half is missing, and takes hours to compute; the numbers need not be primes for that."""
    p, g, x = (1 << 99_999) + 1, (1 << 99_990) - 1, (1 << 99_980) - 1
    group = pki.der_sequence(*map(pki.der_integer, (p, (1 << 255) + 1, g)))
    algorithm = pki.der_sequence(pki.der(0x06, bytes.fromhex("2a8648ce380401")), group)
    return pki.pem("PRIVATE KEY", pki.der_sequence(pki.der_integer(0), algorithm, pki.der(0x04, pki.der_integer(x))))


def key_files(w: Writer, ca: CA, good: Bundle) -> None:
    key = good.private_key()
    other = pki.key_pem(pki.new_key("p256"))
    encrypted = serialization.BestAvailableEncryption(b"secret")
    sec1 = pki.key_pem(key, traditional=True)
    parameters = pki.pem("EC PARAMETERS", bytes.fromhex("06082a8648ce3d030107"))
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    w.text("good.scalar", bytes(b ^ 0xFF for b in scalar).hex())  # complemented: a copy in memory would be found
    w.refused("key-missing", good.fullchain)
    w.refused("key-wrong", good.fullchain + other)
    w.refused("key-wrong-kind", good.fullchain + pki.key_pem(pki.new_key("ed25519")))
    w.refused("key-encrypted", good.with_encrypted_key())
    w.refused("key-encrypted-traditional", good.fullchain + pki.key_pem(key, b"secret", traditional=True))
    w.refused("key-encrypted-mislabelled", good.fullchain + pki.pem("PRIVATE KEY", key_der(key, encrypted)))
    w.refused("key-encrypted-second", good.pem + good.with_encrypted_key().key)
    w.refused("keys-two", good.pem + other)
    w.refused("keys-two-equal", good.pem + good.key)
    w.refused("key-trailing", good.fullchain + pki.pem("PRIVATE KEY", key_der(key) + b"\0"))
    w.refused("key-garbage", good.fullchain + pki.pem("PRIVATE KEY", b"no key at all"))
    w.refused("key-empty", good.fullchain + pki.pem("PRIVATE KEY", b""))
    w.refused("key-dsa", good.fullchain + huge_dsa_key())
    w.refused("parameters-empty", good.fullchain + pki.pem("EC PARAMETERS", b"") + good.key)
    w.good("key-first", good, good.key + good.fullchain)
    w.good("key-between", good, good.cert + good.key + good.chain)
    w.good("key-sec1", good, good.fullchain + sec1)
    w.good("parameters", good, good.fullchain + parameters + sec1)
    rsa = ca.issue(NAME, key="rsa2048")
    w.good("key-pkcs1", rsa, rsa.fullchain + pki.key_pem(rsa.private_key(), traditional=True))


def text(w: Writer, good: Bundle) -> None:
    w.good("crlf", good, (TEXT + good.cert + TEXT + good.chain + TEXT + good.key + TEXT).replace("\n", "\r\n"))
    w.good("label-old", good, good.pem.replace("CERTIFICATE--", "X509 CERTIFICATE--"))
    w.refused("label-trusted", good.pem.replace("CERTIFICATE--", "TRUSTED CERTIFICATE--"))
    w.refused("empty", "")
    w.refused("garbage", "\x01\x02 nothing that anybody would call PEM\n" * 40)
    w.refused("begin-only", "-----BEGIN CERTIFICATE-----\n")
    w.refused("base64-broken", good.pem.replace("MII", "M!I", 1))
    w.refused("label-mixed", good.pem.replace("END CERTIFICATE", "END X509 CRL", 1))
    w.refused("trailing", good.replace(cert=pki.pem("CERTIFICATE", der_of(good.cert) + b"\0")))
    w.refused("cut-der", good.replace(cert=pki.pem("CERTIFICATE", der_of(good.cert)[:-1])))
    w.refused("certificates-17", good.cert + good.chain * 16 + good.key)
    w.refused("key-only", good.key)
    w.text("good.survivor", "Survivor")


def names(w: Writer, ca: CA) -> None:
    w.good("wildcard", ca.issue("*.example.org"))
    w.good("several", ca.issue(NAME, "autodiscover.example.org", "*.example.net"))
    w.good("upper", ca.issue("MAIL.Example.ORG"))
    w.good("many", ca.issue(*[f"n{i}.example.org" for i in range(299)], NAME))
    w.refused("other-name", ca.issue("www.example.org"))
    w.refused("wildcard-partial", ca.issue("m*.example.org"))
    w.refused("wildcard-inner", ca.issue("mail.*.org"))
    w.refused("wildcard-top", ca.issue("*.org"))
    w.refused("cn-only", ca.issue(cn=NAME))
    w.refused("ip-only", ca.issue("192.0.2.1", cn=NAME))
    w.refused("san-nul", resigned(ca.issue(f"{NAME}!evil.test", cn="x"), ca.intermediate, b"org!evil", b"org\0evil"))
    w.refused("san-broken", resigned(ca.issue(NAME, cn="x"), ca.intermediate, b"\x82\x10mail", b"\x82\x7fmail"))
    w.refused("san-escape", ca.issue("www.example.org\r\n250 ok"))
    key = pki.new_key("p256")
    short = ca.intermediate.sign(plain(ca.intermediate, key, [NAME]))
    w.good("subject-empty", Bundle(pki.cert_pem(short), ca.intermediate.pem, pki.key_pem(key)))


def validity(w: Writer, ca: CA, good: Bundle) -> None:
    w.refused("expired", ca.issue(NAME, days=30, age=31))
    w.refused("not-yet-valid", ca.issue(NAME, age=-1))
    w.good("younger", ca.issue(NAME, age=0.01))
    w.good("equal", ca.issue(NAME))
    w.good("older", ca.issue(NAME, age=2))
    w.good("purpose-server", ca.issue(NAME, usage=[SERVER_AUTH]))
    w.good("purpose-none", ca.issue(NAME, usage=[]))
    w.refused("purpose-client", ca.issue(NAME, usage=[CLIENT_AUTH]))
    w.refused("ca-as-leaf", ca.issue(NAME, ca=True))
    w.good("serial-negative", resigned(ca.issue(NAME, serial=0x1122334455667788), ca.intermediate,
                                       bytes.fromhex("1122334455667788"), bytes.fromhex("9122334455667788")))
    w.refused("signature", good.replace(cert=pki.pem("CERTIFICATE", der_of(good.cert)[:-1]
                                                     + bytes([der_of(good.cert)[-1] ^ 1]))))


def leaves(w: Writer, ca: CA, good: Bundle) -> None:
    other = ca.issue("www.example.org")
    key = good.private_key()
    fresh = ca.issue(NAME, key=key, age=0.01)
    authority = ca.issue(NAME, key=key, age=0.001, ca=True)
    w.good("leaves-other-first", good, other.cert + good.pem)
    w.good("leaves-other-last", good, good.cert + other.cert + good.chain + good.key)
    w.good("leaves-younger-first", fresh, fresh.cert + good.pem)
    w.good("leaves-younger-last", fresh, good.cert + fresh.pem)
    w.good("leaves-ca-first", good, authority.cert + good.pem)
    w.good("leaves-ca-last", good, good.cert + authority.cert + good.chain + good.key)


def chains(w: Writer, ca: CA, good: Bundle) -> None:
    stranger, twin = CA("Stranger"), CA("Lab")
    lower = Authority("Lab Lower", ca.intermediate)
    deep = ca.issue(NAME, by=lower).replace(chain=lower.pem + ca.intermediate.pem)
    w.good("chain-root", good, good.fullchain + ca.root.pem + good.key)
    w.good("chain-root-first", good, ca.root.pem + good.pem)
    w.good("chain-unrelated", good, good.cert + stranger.intermediate.pem + good.chain + good.key)
    w.good("chain-deep", deep)
    w.good("chain-reversed", deep, ca.root.pem + ca.intermediate.pem + lower.pem + deep.cert + deep.key)
    w.good("chain-swapped", deep, deep.cert + ca.intermediate.pem + lower.pem + deep.key)
    w.good("certificates-16", good, good.fullchain + ca.root.pem * 14 + good.key)
    w.refused("chain-missing", good.replace(chain=""))
    w.refused("chain-gap", deep.replace(chain=ca.intermediate.pem))
    w.refused("chain-missing-lower", deep.replace(chain=lower.pem))
    w.refused("stranger", stranger.issue(NAME))
    w.refused("stranger-root", stranger.issue(NAME).replace(chain=stranger.intermediate.pem + stranger.root.pem))
    w.refused("twin", twin.issue(NAME))
    w.refused("self-signed", pki.self_signed(NAME))
    expired = Authority("Lab Expired", ca.root, days=-1)
    w.good("chain-expired", ca.issue(NAME, by=expired, age=3).replace(chain=expired.pem))  # until a day ago
    renewed = ca.issue(NAME, by=expired).replace(chain=cross(expired, ca.root))
    w.good("chain-renewed-last", renewed, renewed.cert + expired.pem + renewed.chain + renewed.key)
    w.good("chain-renewed-first", renewed, renewed.cert + renewed.chain + expired.pem + renewed.key)
    issue_by_leaf(w, ca)
    limited = Authority("Lab Clients", ca.root)
    limited.certificate = ca.root.sign(
        build("Lab Clients", limited.key.public_key(), ca.root.certificate.subject, not_before=NOW - DAY,
              not_after=NOW + DAY, ca=True, usage=[CLIENT_AUTH]))
    w.refused("chain-purpose", ca.issue(NAME, by=limited).replace(chain=limited.pem))


def issue_by_leaf(w: Writer, ca: CA) -> None:
    """A certificate signed with the key of somebody's server certificate, which does not say what its key is for."""
    leaf = Authority("Lab Leaf", ca.intermediate)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.test")])
    leaf.certificate = ca.intermediate.sign(
        plain(ca.intermediate, leaf.key, ["evil.test"], name)
        .add_extension(x509.BasicConstraints(False, None), critical=True))
    w.refused("chain-leaf-issues", ca.issue(NAME, by=leaf).replace(chain=leaf.pem + ca.intermediate.pem))


def crossed(w: Writer) -> None:
    """Root Y, signed by X: as Let's Encrypt's generation Y is by X2, and that by X1."""
    x, y = Authority("X Root"), Authority("Y Root")
    issuing = Authority("Y Intermediate", y)
    y_by_x, x_by_y = cross(y, x), cross(x, y)
    ca = CA("Unused")
    leaf = ca.issue(NAME, by=issuing)
    w.text("trust-x.pem", x.pem)
    w.text("trust-y.pem", y.pem)
    w.text("trust-xy.pem", x.pem + y.pem)
    w.good("cross", leaf.replace(chain=issuing.pem + y_by_x))
    w.good("cross-untrusted", leaf.replace(chain=issuing.pem), leaf.cert + issuing.pem + y_by_x + leaf.key)
    w.good("cross-roots", leaf.replace(chain=issuing.pem + y_by_x),
           x.pem + y.pem + leaf.cert + y_by_x + issuing.pem + leaf.key)
    w.good("cross-loop", leaf.replace(chain=issuing.pem + y_by_x + x_by_y))
    w.refused("cross-missing", leaf.replace(chain=issuing.pem))


def weak(w: Writer) -> None:
    sha1 = hashes.SHA1()
    ca = CA("Lab Sha1", digest=sha1)
    small = CA("Lab Small", key="rsa1024")
    root = Authority("Lab Old Root", digest=sha1)
    below = Authority("Lab Old Below", root)
    w.refused("weak-sha1-chain", ca.issue(NAME))
    w.refused("weak-rsa1024", small.issue(NAME))
    w.good("weak-root-only", ca.issue(NAME, by=below).replace(chain=below.pem))
    w.text("trust-weak.pem", ca.root.pem + small.root.pem + root.pem)


def trust_files(w: Writer, ca: CA) -> None:
    w.text("trust.pem", "# Lab Root\n" + ca.root.pem)
    w.text("trust-intermediate.pem", ca.intermediate.pem)
    w.text("trust-empty.pem", "")
    w.text("trust-garbage.pem", "no certificate\n")
    w.text("trust-broken.pem", ca.root.pem + pki.pem("CERTIFICATE", b"broken"))


def main(folder: str) -> None:
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # SHA-1 is what is wanted
    w, ca = Writer(Path(folder)), CA("Lab")
    good = ca.issue(NAME)
    w.good("good", good)
    w.good("other", ca.issue("www.example.org"))
    w.refused("weak-sha1-leaf", ca.issue(NAME, digest=hashes.SHA1()))
    trust_files(w, ca)
    keys(w, ca)
    key_files(w, ca, good)
    text(w, good)
    names(w, ca)
    validity(w, ca, good)
    leaves(w, ca, good)
    chains(w, ca, good)
    crossed(w)
    weak(w)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    main(sys.argv[1])
