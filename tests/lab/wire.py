"""What is served, seen with `openssl s_client` and not with the product."""
from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from .host import Host

# name -> (port, STARTTLS dialect of s_client)
ENDPOINTS = {"smtp": (25, "smtp"), "smtps": (465, None), "submission": (587, "smtp"), "imap": (143, "imap"), "imaps": (993, None),
             "pop3": (110, "pop3"), "pop3s": (995, None), "sieve": (4190, "sieve"), "https": (443, None)}


def served(host: Host, address: str, port: int, starttls: str | None = None, servername: str | None = None,
           timeout: float = 20) -> str | None:
    """The SHA-256 fingerprint of the leaf that is served; None when no handshake came about in time."""
    name = ["-servername", servername] if servername else ["-noservername"]
    dialect = ["-starttls", starttls] if starttls else []
    try:
        result = host.run(["openssl", "s_client", "-connect", f"{address}:{port}", *name, *dialect], input=b"",
                          check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    match = re.search(rb"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", result.stdout, re.DOTALL)
    return hashlib.sha256(base64.b64decode(match[1])).hexdigest() if match else None


def served_everywhere(host: Host, address: str, servername: str | None = None) -> dict[str, str | None]:
    """endpoint -> fingerprint, for the nine endpoints of a mail host."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(ENDPOINTS, pool.map(lambda e: served(host, address, *e, servername), ENDPOINTS.values())))
