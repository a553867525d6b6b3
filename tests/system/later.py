"""Between a client and the deployer, makes one side a later version: what it says gets what docs/protocol.md ("Versions") lets a
version add, or, for "codes", other codes of the same class. Runs on the mail host: as the forced command, `later.py WHO SOCKET`,
or at a socket of its own, `later.py WHO SOCKET LISTEN`."""
import os
import re
import socket
import sys
import threading

WORDS = b" gladly later=1"  # a word after the known ones, and a field
ROW = b"-novelty of=tomorrow want=- id=primary result=deployed: a row of another kind\n"
STEP = b"150 pondered later=1 us=12: a step that nobody knows\n"


def reply(line: bytes) -> bytes:
    """A line of a later deployer."""
    begin, rest = re.fullmatch(rb"(\d{3}[ -][^ \n:]*)(.*\n)", line, re.DOTALL).groups()
    rest = re.sub(rb" version=\S+", b" version=9.0.0", re.sub(rb" reason=\S+", b" reason=ill-omened", rest))
    said = begin + WORDS + rest if begin[4:] != b"" and not rest.startswith(b":") else line
    return (STEP if line.startswith(b"150") else b"") + said + (line[:3] + ROW if line[3:4] == b"-" else b"")


def codes(line: bytes) -> bytes:
    """Codes that nobody knows, of the same class; the greeting's is its own."""
    return line if line[:3] in (b"220", b"555") else line[:2] + b"9" + line[3:]


def command(line: bytes) -> bytes:
    """A line of a later client."""
    return line.rstrip(b"\n") + WORDS + b"\n"


def say(client, upstream, change) -> None:
    """What the client says; a bundle goes through as it is."""
    for line in client:
        upstream.sendall(change(line))
        if line.startswith(b"PUT "):
            upstream.sendall(client.read(int(line.split()[2])))
    upstream.shutdown(socket.SHUT_WR)


def main(who: str, path: str, listen: str = "") -> None:
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(path)
    if listen:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(listen)
        listener.listen(1)
        print("ready", flush=True)
        stream = listener.accept()[0].detach()
        os.dup2(stream, 0)
        os.dup2(stream, 1)
        os.close(stream)
    change = {"client": command}.get(who, bytes), {"deployer": reply, "codes": codes}.get(who, bytes)
    threading.Thread(target=say, args=(sys.stdin.buffer, upstream, change[0]), daemon=True).start()
    for line in upstream.makefile("rb"):
        sys.stdout.buffer.write(change[1](line))
        sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
