"""A wide-area link between two lab hosts: an interface in each, and every packet between them takes its time.

Runs as a script: wan.py ONE OTHER DELAY, where ONE and OTHER are process ids in the hosts' network namespaces and DELAY
is in seconds, each way. Says "ready" when the interfaces are there; they go when standard input ends.

Packets are delayed and not streams, since half of what a session costs far away is TCP's: Nagle's algorithm in the server
waits for acknowledgements that the client's side may put off. A relay of streams would answer for both.
"""
import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x1, 0x1000, 0x40000000
NAME = "wan0"
LIBC = ctypes.CDLL(None, use_errno=True)


def open_interface(pid: str) -> int:
    """An interface belongs to the namespace in which it was made."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", NAME.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def carry(tuns: list, delay: float) -> None:
    """Until standard input ends. The delay is the same for all: the packets of a direction stay in their order."""
    other = {tuns[0]: tuns[1], tuns[1]: tuns[0]}
    waiting: collections.deque = collections.deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([*tuns, sys.stdin], [], [], pause)
        if sys.stdin in ready:
            return
        for tun in ready:
            waiting.append((time.monotonic() + delay, other[tun], os.read(tun, 65536)))
        while waiting and waiting[0][0] <= time.monotonic():
            _, tun, packet = waiting.popleft()
            os.write(tun, packet)


if __name__ == "__main__":
    ends = [open_interface(pid) for pid in sys.argv[1:3]]
    print("ready", flush=True)
    carry(ends, float(sys.argv[3]))
