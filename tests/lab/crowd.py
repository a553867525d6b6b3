#!/usr/bin/python3
"""Hostile clients: many sessions with the deployer at a time, each of which does the same.

As a script: crowd.py COUNT CONDUCT BUNDLE TARGET...; CONDUCT is a method of class Client, BUNDLE the file that it sends, TARGET the
deployer's socket or a command whose stdio leads there. Prints "ready" when all have been connected once. A session that has ended
is made anew at once, until standard input ends; then what became of them is printed as JSON.
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
            seen[line.split(b":")[0].decode(errors="replace")] += 1  # "421 busy"

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

    async def babbling(self) -> None:
        await self.send(b"\x01\n")
        await self.read()

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


class Crowd:
    def __init__(self, conduct: str, bundle: bytes, target: list[str]):
        self.conduct, self.bundle, self.target = conduct, bundle, target
        self.connected = asyncio.Semaphore(0)
        self.starting = asyncio.Semaphore(8)  # sshd drops more than ten that have not logged in yet

    async def attack(self) -> None:
        while True:
            try:
                await (self.by_socket() if len(self.target) == 1 else self.by_command())
            except OSError:
                seen["broken"] += 1
                await asyncio.sleep(0.01)

    async def by_socket(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.target[0])
        try:
            await self.go(Client(reader, writer, self.bundle))
        finally:
            writer.close()

    async def by_command(self) -> None:
        async with self.starting:
            process = await asyncio.create_subprocess_exec(*self.target, stdin=asyncio.subprocess.PIPE,
                                                           stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
            seen[(await process.stdout.readline())[:3].decode()] += 1
        try:
            await self.go(Client(process.stdout, process.stdin, self.bundle))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def go(self, client: Client) -> None:
        seen["connections"] += 1
        self.connected.release()
        await getattr(client, self.conduct)()


async def main(count: str, conduct: str, bundle: str, *target: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open(bundle, "rb") as file:
        crowd = Crowd(conduct, file.read(), list(target))
    tasks = [asyncio.create_task(crowd.attack()) for _ in range(int(count))]
    for _ in tasks:
        await crowd.connected.acquire()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps(seen), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
