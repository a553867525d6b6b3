#!/usr/bin/python3
"""Hostile clients: many connections to the deployer's socket at a time, each of which does the same.

As a script: crowd.py SOCKET COUNT CONDUCT [BUNDLE]; CONDUCT is a method of class Client. Prints "ready" when all are connected.
A connection that has ended is made anew at once, until standard input ends; then what became of them is printed as JSON.
"""
from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import sys
from collections import Counter

HELLO = b"HELLO 1 crowd/1\n"
LARGEST = 128 * 1024
seen = Counter()


def put(content: bytes, length: int | None = None) -> bytes:
    return b"PUT primary %d %s\n" % (length or len(content), hashlib.sha256(content).hexdigest().encode()) + content


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bundle: bytes):
        self.reader, self.writer, self.bundle = reader, writer, bundle

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def drip(self, content: bytes) -> None:
        for byte in content:
            await self.send(bytes([byte]))
            await asyncio.sleep(1)

    async def read(self) -> None:
        while line := await self.reader.readline():
            seen[line[:3].decode()] += 1

    async def silent(self) -> None:
        await self.read()

    async def half_closed(self) -> None:
        self.writer.write_eof()
        await self.read()

    async def half_closed_after_hello(self) -> None:
        await self.send(HELLO)
        self.writer.write_eof()
        await self.read()

    async def dripping_hello(self) -> None:
        await self.drip(HELLO)

    async def announcing(self) -> None:
        await self.send(HELLO + put(b"", LARGEST))
        await self.read()

    async def dripping_bundle(self) -> None:
        await self.send(HELLO + put(b"", LARGEST))
        await self.drip(b"-" * 1000)

    async def largest_bundles(self) -> None:
        await self.send(HELLO)
        while await self.ask(os.urandom(LARGEST)):
            pass

    async def bundle_after_bundle(self) -> None:
        await self.send(HELLO)
        while await self.ask(self.bundle):
            pass

    async def deaf(self) -> None:
        await self.send(HELLO)
        for _ in range(60):
            await self.send(put(os.urandom(100)))
        await asyncio.sleep(3600)

    async def deploying(self) -> None:
        await self.send(HELLO + put(self.bundle) + b"DEPLOY\n")
        await self.read()

    async def ask(self, content: bytes) -> bool:
        await self.send(put(content))
        while line := await self.reader.readline():
            seen[line[:3].decode()] += 1
            if line[3:4] == b" " and line[:3] not in (b"220", b"150"):
                return line[0] in b"25"
        return False


async def attack(path: str, conduct: str, bundle: bytes, connected: asyncio.Semaphore) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            seen["refused"] += 1
            await asyncio.sleep(0.1)
            continue
        seen["connections"] += 1
        connected.release()
        try:
            await getattr(Client(reader, writer, bundle), conduct)()
        except OSError:
            seen["broken"] += 1
        writer.close()


async def main(path: str, count: str, conduct: str, bundle: str = "") -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    content = open(bundle, "rb").read() if bundle else b""
    connected = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(attack(path, conduct, content, connected)) for _ in range(int(count))]
    for _ in tasks:
        await connected.acquire()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps(seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
