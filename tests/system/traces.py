"""Where a private key is: in the memory of the product's processes, in their arguments and environment, in files."""
from __future__ import annotations

import base64
import errno
import os
import re
from pathlib import Path
from typing import Iterable, Iterator

from cryptography.hazmat.primitives import serialization

from tests.lab.host import Host

CHUNK = 16  # bytes: a part of a key is a find as well


def chunks(content: bytes) -> list[bytes]:
    return [content[i:i + CHUNK] for i in range(0, len(content) - CHUNK + 1, CHUNK)]


def numbers(key) -> list[int]:
    """What is secret in it."""
    if hasattr(key, "private_numbers"):
        values = key.private_numbers()
        return [values.private_value] if hasattr(values, "private_value") else [values.d, values.p, values.q]
    seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    return [int.from_bytes(seed, "big")]


class Key:
    """The forms in which a private key may be found: `number`, as DER and libcrypto have it, and `text`, its PEM."""

    def __init__(self, pem: str):
        load = (serialization.load_ssh_private_key if "OPENSSH" in pem else serialization.load_pem_private_key)
        secret = [n.to_bytes((n.bit_length() + 7) // 8, "big") for n in numbers(load(pem.encode(), None))]
        lines = [line for line in pem.splitlines() if not line.startswith("-----")]
        der = base64.b64decode("".join(lines))
        self.needles = {"number": [c for number in secret for order in (number, number[::-1]) for c in chunks(order)],
                        "text": [c for number in secret for c in self.text_of(der, number, len(lines[0]))]}

    @staticmethod
    def text_of(der: bytes, number: bytes, width: int) -> list[bytes]:
        """The base64 of the number alone, in pieces that no line break divides."""
        at = der.index(number)
        first, last = -(-at // 3) * 4, (at + len(number)) // 3 * 4
        text = base64.b64encode(der)
        lines = [text[max(first, i):min(last, i + width)] for i in range(first // width * width, last, width)]
        return [c for line in lines for c in chunks(line)]

    def count(self, content: bytes) -> dict[str, int]:
        """How often each form is there: as often as its commonest part."""
        found = {form: max(content.count(needle) for needle in needles) for form, needles in self.needles.items()}
        return {form: n for form, n in found.items() if n}


def memory(pid: int) -> bytes:
    """All that the process has mapped for itself; a process that ends meanwhile has what was read."""
    content = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            start, end, mode, path = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line).groups()
            if mode[0] == "r" and path not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                mem.seek(int(start, 16))
                try:
                    content.append(mem.read(int(end, 16) - int(start, 16)))
                except OSError:
                    pass
    return b"\0".join(content)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def processes(*hosts: Host) -> Iterator[tuple[str, int]]:
    """The product's in these hosts, each with its role: the program's name, and a `>` for each fork since it began."""
    spaces = {os.readlink(f"/proc/{host.pid}/ns/pid") for host in hosts}
    for name in os.listdir("/proc"):
        if not name.isdigit() or not program(int(name)).startswith("mailcow-cert-"):
            continue
        pid, role = int(name), program(int(name))
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") not in spaces:
                continue
            above = parent(pid)
            while program(above) == program(pid):
                role, above = role + ">", parent(above)
            yield role, pid
        except OSError:
            continue  # it has ended


def snapshot(*hosts: Host) -> list[tuple[str, bytes]]:
    """The memory of each process of the product, with its role."""
    return [(role, memory(pid)) for role, pid in processes(*hosts)]


def counted(key: Key, taken: list[tuple[str, bytes]]) -> dict[str, dict[str, int]]:
    """What each process of a snapshot holds of it; of two with the same role, what both hold."""
    found: dict[str, dict[str, int]] = {}
    for role, content in taken:
        counts = key.count(content)
        found[role] = {form: found.get(role, {}).get(form, 0) + counts.get(form, 0)
                       for form in {*counts, *found.get(role, {})}}
    return found


def in_memory(key: Key, *hosts: Host) -> dict[str, dict[str, int]]:
    return counted(key, snapshot(*hosts))


def on_display(key: Key, *hosts: Host) -> dict[str, dict[str, int]]:
    """In what is shown of the processes to others: arguments and environment."""
    shown = {role: Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
             for role, pid in processes(*hosts)}
    return {role: counts for role, content in shown.items() if (counts := key.count(content))}


def files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for top, _, names in os.walk(folder):
            yield from (path for name in names if (path := Path(top) / name).is_file() and not path.is_symlink())


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # a namespace that is mounted there; a file that has gone meanwhile
            return b""
        raise


def in_files(key: Key, *folders: Path) -> set[Path]:
    return {path for path in files(folders) if key.count(content(path))}
