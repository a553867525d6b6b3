"""Runs commands in a lab host and measures each; runs as a script there.

Each line on standard input is a JSON object: argv, and if wanted stdin (a file) and stamp (true: when each line of its
output came). The answer is a line with its exit status, wall and CPU seconds, and its output.

A command is spawned by vfork, so that nothing of this process is charged to it. Its CPU time is user and system time of
the command and of all descendants that were waited for, from wait4(2), which counts in nanoseconds.
"""
import json
import os
import sys
import time


def run(argv: list, stdin: str = "/dev/null", stamp: bool = False) -> dict:
    read_end, write_end = os.pipe()
    actions = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, write_end, 1),
               (os.POSIX_SPAWN_DUP2, write_end, 2)]
    begin = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    os.close(write_end)
    pieces = []
    with open(read_end, errors="replace") as output:
        for line in output:
            pieces.append((time.monotonic() - begin, line.rstrip("\n")))
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - begin
    return {"status": os.waitstatus_to_exitcode(status), "wall": wall, "cpu": usage.ru_utime + usage.ru_stime,
            "output": pieces if stamp else "\n".join(text for _, text in pieces)}


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(run(**json.loads(request))), flush=True)
