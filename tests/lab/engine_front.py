"""Runs in a host, by itself: a front of the Docker Engine that passes requests on, one for each connection, and does what
its fault says with those whose request line matches ("lost": passes them on, and not their answers), from the n-th (nth) of
them to the n-th (last). See engine.py."""
import itertools
import json
import os
import re
import socket
import sys
import threading
import time

OPTIONS = json.loads(sys.argv[1])
NUMBERS = itertools.count(1)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def repeat(peer: socket.socket, piece: bytes, total: int = 200_000_000, pause: float = 0) -> None:
    for _ in range(0, total, len(piece)):
        peer.sendall(piece)
        time.sleep(pause)


def hang(peer: socket.socket) -> None:
    while peer.recv(65536):
        pass


def drip(peer: socket.socket) -> None:
    peer.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
    repeat(peer, b" ", pause=0.05)


def cut(peer: socket.socket) -> None:
    peer.sendall(OK + b"Content-Length: 1000\r\n\r\n[{\"Id\":")


def flood(peer: socket.socket) -> None:
    peer.sendall(OK + b"Content-Length: 200000000\r\n\r\n")
    repeat(peer, b" " * 65536)


def chunked_flood(peer: socket.socket) -> None:
    peer.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    repeat(peer, b"10000\r\n" + b" " * 65536 + b"\r\n")


def headers(peer: socket.socket) -> None:
    peer.sendall(OK)
    repeat(peer, b"X-Filler: 0123456789\r\n" * 100)


def garbage(peer: socket.socket) -> None:
    peer.sendall(os.urandom(5000))


def not_json(peer: socket.socket) -> None:
    peer.sendall(OK + b"Content-Length: 20\r\n\r\n<html>\x1b[2J\nno</html>")


def redirect(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")


def bad_chunk(peer: socket.socket) -> None:
    peer.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n")


def failing(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{\"message\":\"address in use\"}")


def close(peer: socket.socket) -> None:
    pass


FAULTS = {f.__name__: f for f in (hang, drip, cut, flood, chunked_flood, headers, garbage, not_json, redirect, bad_chunk, failing, close)}


def read_request(peer: socket.socket) -> bytes:
    """One request with its body; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int((re.search(rb"(?i)\r\ncontent-length: *(\d+)", head) or [0, 0])[1])
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


def number(version: str) -> tuple:
    return tuple(map(int, version.split(".")))


def answer_as(peer: socket.socket, request: bytes, newest: str, oldest: str) -> bytes | None:
    """As an engine that speaks the API from oldest to newest; the request as the real one understands it, None when it has
    been answered."""
    line = request.split(b"\r\n")[0].decode()
    asked = re.match(r"\w+ /v([\d.]+)/", line)
    if re.match(r"\w+ /_ping ", line):
        peer.sendall(f"HTTP/1.1 200 OK\r\nApi-Version: {newest}\r\nContent-Length: 2\r\n\r\nOK".encode())
        return None
    if re.match(r"\w+ /version ", line):
        body = json.dumps({"ApiVersion": newest, "MinAPIVersion": oldest})
        peer.sendall(OK + f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return None
    if asked and not number(oldest) <= number(asked[1]) <= number(newest):
        word, limit = ("old. Minimum", oldest) if number(asked[1]) < number(oldest) else ("new. Maximum", newest)
        body = json.dumps({"message": f"client version {asked[1]} is too {word} supported API version is {limit}"})
        peer.sendall(f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        return None
    return re.sub(rb"^(\w+) /v[\d.]+/", rb"\1 /v1.41/", request)


def pass_on(peer: socket.socket, request: bytes, answers: bool = True) -> None:
    """The engine closes after its answer, whose end need not be understood here."""
    engine = socket.socket(socket.AF_UNIX)
    engine.connect(OPTIONS["engine"])
    engine.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    while piece := engine.recv(65536):
        if answers:
            peer.sendall(piece)


def is_meant(number: int) -> bool:
    return OPTIONS.get("nth", 1) <= number <= OPTIONS.get("last", number)


def serve(peer: socket.socket) -> None:
    with peer:
        try:
            request = read_request(peer)
            line = request.split(b"\r\n")[0].decode()
            if not request:
                return
            print(line, flush=True)
            if OPTIONS.get("newest"):
                request = answer_as(peer, request, OPTIONS["newest"], OPTIONS["oldest"])
            meant = request and OPTIONS["fault"] and re.search(OPTIONS["match"], line) and is_meant(next(NUMBERS))
            if meant and OPTIONS["fault"] in FAULTS:
                FAULTS[OPTIONS["fault"]](peer)
            elif request:
                pass_on(peer, request, answers=not meant)
        except (BrokenPipeError, ConnectionResetError):
            pass


def main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(OPTIONS["listen"])
    listener.listen(100)
    print("ready", flush=True)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve, args=[peer], daemon=True).start()


if __name__ == "__main__":
    main()
