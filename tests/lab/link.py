#!/usr/bin/python3
"""A TCP link with faults: forwards a port with a delay each way, and on demand cuts, drips or swallows.

As a script: link.py LISTEN CONNECT [option=value…], where LISTEN and CONNECT are address:port and the options are those
of class Link; prints the port that it listens on. Lines on standard input change options while it runs; its end ends the
link. Directions: `up` is from the client to the server.
"""
from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass, fields


@dataclass
class Options:
    delay: float = 0        # seconds in each direction; two of them make the round trip
    cut_up: int = -1        # after so many bytes of a connection the link is cut; -1: never
    cut_down: int = -1
    reset: int = 0          # 1: cut with RST; 0: with FIN, which looks like a normal end
    drip_up: float = 0      # bytes per second; 0: unlimited
    drip_down: float = 0
    hole: int = 0           # 1: what arrives is swallowed, connections stay open
    refuse: int = 0         # 1: new connections are cut at once

    def set(self, text: str) -> None:
        for word in text.split():
            name, value = word.split("=", 1)
            kind = {"int": int, "float": float}[next(f.type for f in fields(self) if f.name == name)]
            setattr(self, name, kind(value))


class Cut(Exception):
    """The link ends here."""


class Direction:
    """Copies one way: a reader that stamps, a queue as long as the delay, a writer that paces."""

    def __init__(self, name: str, options: Options, reader: asyncio.StreamReader, earliest: float = 0):
        self.name, self.options, self.reader, self.earliest = name, options, reader, earliest
        self.queue: asyncio.Queue = asyncio.Queue(maxsize=4096)
        self.count = 0

    async def receive(self) -> None:
        loop = asyncio.get_running_loop()
        data = b"more"
        while data:
            try:
                data = await self.reader.read(65536)
            except ConnectionError:
                data = b""
            await self.queue.put((max(self.earliest, loop.time() + self.options.delay), data))

    async def send(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self.queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.options.hole:
                continue
            if not data:
                writer.write_eof()
                return
            cut = getattr(self.options, f"cut_{self.name}")
            if 0 <= cut <= self.count + len(data):
                await self.write(writer, data[:cut - self.count])
                raise Cut
            await self.write(writer, data)

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        rate = getattr(self.options, f"drip_{self.name}")
        self.count += len(data)
        size = max(1, int(rate / 20)) if rate else max(1, len(data))
        for start in range(0, len(data), size):
            writer.write(data[start:start + size])
            await writer.drain()
            await asyncio.sleep(size / rate if rate else 0)


class Link:
    def __init__(self, connect: tuple[str, int], options: Options):
        self.connect, self.options = connect, options

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            await self.join(reader, writer, ends)
        except* (Cut, OSError):
            pass
        finally:
            for end in ends:
                if self.options.reset:
                    end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: list) -> None:
        if self.options.refuse:
            raise Cut
        # The client has not felt the handshake: on a real link the server accepts after one and a half round trips, and
        # what the client sends first comes with it.
        handshake = 3 * self.options.delay
        async with asyncio.TaskGroup() as group:
            up = Direction("up", self.options, reader, asyncio.get_running_loop().time() + handshake)
            group.create_task(up.receive())
            await asyncio.sleep(handshake)
            far_reader, far_writer = await asyncio.open_connection(*self.connect)
            ends.append(far_writer)
            down = Direction("down", self.options, far_reader)
            for task in (down.receive(), up.send(far_writer), down.send(writer)):
                group.create_task(task)


async def main(listen: str, connect: str, *words: str) -> None:
    options = Options()
    options.set(" ".join(words))
    address, port = connect.rsplit(":", 1)
    link = Link((address, int(port)), options)
    server = await asyncio.start_server(link.serve, *listen.rsplit(":", 1))
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        options.set(line.decode())
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
