"""Certificates for tests: a private CA (root and intermediate), leafs of every sort, and lineages as certbot keeps them.

A Bundle is what a lineage holds at one renewal. CA.issue() makes good ones; the malformed are one argument or one
function away, so that every test says in one line what is wrong with its certificate.
"""
from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_AUTH, CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
DAY = datetime.timedelta(days=1)
LINEAGE_README = """This directory contains your keys and certificates.

`privkey.pem`  : the private key for your certificate.
`fullchain.pem`: the certificate file used in most server software.
`chain.pem`    : used for OCSP stapling in Nginx >=1.3.7.
`cert.pem`     : will break many server configurations, and should not be used
                 without reading further documentation (see link below).
"""


def now() -> datetime.datetime:
    return datetime.datetime.utcnow().replace(microsecond=0)


def new_key(kind: str):
    """p256, p384, p521, ed25519 or rsaBITS; beyond 4096 bits use LargeRsaKey."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[kind]())


def key_pem(key, password: bytes | None = None, traditional: bool = False) -> str:
    if isinstance(key, LargeRsaKey):
        return key.pem
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def cert_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class Bundle:
    """A certificate, its chain and its key, all PEM. Tests damage it with replace()."""
    cert: str
    chain: str
    key: str

    @property
    def fullchain(self) -> str:
        return self.cert + self.chain

    @property
    def pem(self) -> str:
        """As `cat fullchain.pem privkey.pem` gives it."""
        return self.fullchain + self.key

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.cert.encode())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf's DER, lower-case hex."""
        return hashlib.sha256(self.x509.public_bytes(serialization.Encoding.DER)).hexdigest()

    def replace(self, **parts: str) -> Bundle:
        return replace(self, **parts)

    def with_encrypted_key(self, password: bytes = b"secret") -> Bundle:
        return self.replace(key=key_pem(self.private_key(), password))

    def with_forged_key(self) -> Bundle:
        """A key that says it is this certificate's (the public half is) and cannot sign for it. RSA or EC."""
        return self.replace(key=forged_key(self.x509))

    def private_key(self):
        return serialization.load_pem_private_key(self.key.encode(), None)


def alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    def general(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)
    return x509.SubjectAlternativeName([general(name) for name in names])


def build(subject: str, public_key, issuer: x509.Name, *, not_before, not_after, ca: bool = False,
          names: Sequence[str] = (), usage: Sequence = (), serial: int | None = None) -> x509.CertificateBuilder:
    builder = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
               .issuer_name(issuer).public_key(public_key).serial_number(serial or x509.random_serial_number())
               .not_valid_before(not_before).not_valid_after(not_after)
               .add_extension(x509.BasicConstraints(ca, None), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
               .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True))
    if names:
        builder = builder.add_extension(alternative_names(names), critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder


class Authority:
    """One certificate that signs others."""

    def __init__(self, name: str, parent: Authority | None = None, key: str = "p256", digest=None, days: int = 3650):
        self.key = new_key(key)
        signer = parent or self
        issuer = parent.certificate.subject if parent else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = signer.sign(
            build(name, self.key.public_key(), issuer, not_before=now() - 30 * DAY, not_after=now() + days * DAY, ca=True),
            digest)

    def sign(self, builder: x509.CertificateBuilder, digest=None) -> x509.Certificate:
        """The digest is SHA-256 unless given; Ed25519 has none."""
        return builder.sign(self.key, None if isinstance(self.key, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256())

    @property
    def pem(self) -> str:
        return cert_pem(self.certificate)


class CA:
    """A root that is trusted (root.pem) and an intermediate that issues."""

    def __init__(self, name: str = "Lab", **intermediate):
        """intermediate: arguments of its Authority, to make a chain that is too weak (key="rsa1024", digest=SHA1())."""
        self.root = Authority(f"{name} Root")
        self.intermediate = Authority(f"{name} Intermediate", self.root, **intermediate)

    def issue(self, *names: str, key: str | object = "p256", days: float = 90, age: float = 1 / 24,
              usage: Sequence = (SERVER_AUTH, CLIENT_AUTH), cn: str | None = None, serial: int | None = None, ca: bool = False,
              digest=None, by: Authority | None = None) -> Bundle:
        """A leaf for names (none: no SAN at all; cn alone names it), valid for `days` since `age` days ago: expired
        is days=30, age=31; not yet valid age=-1. key: a kind for new_key() or a key."""
        private = new_key(key) if isinstance(key, str) else key
        issuer = by or self.intermediate
        begin = now() - age * DAY
        certificate = issuer.sign(
            build(cn or (names[0] if names else "localhost"), private.public_key(), issuer.certificate.subject,
                  not_before=begin, not_after=begin + days * DAY, ca=ca, names=names, usage=usage, serial=serial), digest)
        chain = self.intermediate.pem if issuer is self.intermediate else ""
        return Bundle(cert_pem(certificate), chain, key_pem(private))


def self_signed(*names: str, key: str = "p256", days: float = 90) -> Bundle:
    private = new_key(key)
    builder = build(names[0], private.public_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]),
                    not_before=now() - DAY, not_after=now() + days * DAY, names=names, usage=[SERVER_AUTH])
    return Bundle(cert_pem(builder.sign(private, hashes.SHA256())), "", key_pem(private))


class LargeRsaKey:
    """A working RSA key of p + q bits at once, from two Mersenne primes (2203, 2281, 3217, 4253, 4423, 9689, 9941, 11213
    are exponents of such): by default one just beyond 4096 bits. OpenSSL refuses to use more than 16384."""

    def __init__(self, p: int = 2203, q: int = 2281):
        self.p, self.q, self.e = 2**p - 1, 2**q - 1, 65537
        self.d = pow(self.e, -1, (self.p - 1) * (self.q - 1))

    def public_key(self) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(self.e, self.p * self.q).public_key()

    @property
    def pem(self) -> str:
        return rsa_key_pem(self.p * self.q, self.e, self.d, self.p, self.q)


def rsa_key_pem(n: int, e: int, d: int, p: int, q: int) -> str:
    """Written by hand: the library would check the numbers, which takes minutes for large ones and forbids forged ones."""
    fields = [0, n, e, d, p, q, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)]
    return pem("RSA PRIVATE KEY", der_sequence(*map(der_integer, fields)))


def forged_key(certificate: x509.Certificate) -> str:
    """The public half of a certificate's key with a private half that is not its own: it passes comparisons."""
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        other = new_key(f"rsa{public.key_size}").private_numbers()
        return rsa_key_pem(public.public_numbers().n, public.public_numbers().e, other.d, other.p, other.q)
    other = ec.generate_private_key(public.curve)
    size = (public.curve.key_size + 7) // 8
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    curve = {"secp256r1": "2a8648ce3d030107", "secp384r1": "2b81040022"}[public.curve.name]
    return pem("EC PRIVATE KEY", der_sequence(
        der_integer(1), der(0x04, other.private_numbers().private_value.to_bytes(size, "big")),
        der(0xA0, der(0x06, bytes.fromhex(curve))), der(0xA1, der(0x03, b"\0" + point))))


def der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def der_integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def der_sequence(*parts: bytes) -> bytes:
    return der(0x30, b"".join(parts))


def pem(label: str, content: bytes) -> str:
    text = base64.b64encode(content).decode()
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


class Lineage:
    """A lineage as certbot and NPM lay it out: <top>/live/<name>/*.pem are links to <top>/archive/<name>/*<n>.pem."""
    PARTS = ("cert", "chain", "fullchain", "privkey")

    def __init__(self, top: Path, name: str, bundle: Bundle):
        self.name, self.generation = name, 0
        self.live, self.archive = Path(top) / "live" / name, Path(top) / "archive" / name
        for folder in (self.live, self.archive):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o755)
        (self.live / "README").write_text(LINEAGE_README)
        self.renew(bundle)

    def renew(self, bundle: Bundle) -> None:
        """Writes the next generation and moves the four links, one after another as certbot does."""
        self.write_generation(bundle)
        for part in self.PARTS:
            self.point(part, self.generation)

    def write_generation(self, bundle: Bundle) -> None:
        self.generation += 1
        contents = {"cert": bundle.cert, "chain": bundle.chain, "fullchain": bundle.fullchain, "privkey": bundle.key}
        for part in self.PARTS:
            path = self.archive / f"{part}{self.generation}.pem"
            path.touch(mode=0o600 if part == "privkey" else 0o644)
            path.write_text(contents[part])

    def point(self, part: str, generation: int) -> None:
        """Moves one link; a reader between two of these sees a torn lineage."""
        link = self.live / f"{part}.pem"
        fresh = self.live / f".{part}.new"
        fresh.symlink_to(f"../../archive/{self.name}/{part}{generation}.pem")
        os.replace(fresh, link)
