"""PID 1 of a lab host; runs as a script in fresh namespaces, see host.py.

Gives the host a root of its own (an overlay on the machine's), says its process id as the machine counts and then
"ready", and reaps orphans until its standard input ends: with the lab, however that ends. Everything in the host
goes with it.
"""
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
LIBC = ctypes.CDLL(None, use_errno=True)
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x40000, 2
SYS_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41


def mount(*args) -> None:
    subprocess.run(["mount", *map(str, args)], check=True)


def climb_out() -> None:
    """To the top of the mount namespace, also from a chroot: there, / is no mount that could be made private or left."""
    os.chdir("/")
    os.chroot("/usr")  # the working directory is now outside the root, where ".." leads on
    while not os.path.samefile(".", ".."):
        os.chdir("..")
    os.chroot(".")


def succeed(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def make_mounts_private() -> None:
    """Lets no mount of the host reach the machine."""
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    climb_out()
    succeed(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    os.fchdir(here)
    os.chroot(".")
    os.close(here)


def file_system(path: Path) -> str:
    return subprocess.run(["stat", "--file-system", "--format=%T", str(path)], check=True, capture_output=True,
                          text=True).stdout.strip()


def make_empty(upper: Path, path: str) -> None:
    """Lets a folder of the machine appear empty, whatever it holds there."""
    folder = upper
    for part in Path(path).parts[1:]:
        folder = folder / part
        if not folder.exists():
            folder.mkdir()
            below = Path("/") / folder.relative_to(upper)
            if below.is_dir():
                os.chmod(folder, below.stat().st_mode & 0o7777)
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def build_root(directory: Path, empty: list, plain: list) -> Path:
    """An overlay on / with its changes below directory; plain folders are no overlay (as Docker's data must not be)."""
    if file_system(directory) == "overlayfs":  # a container's root: no overlay can have its changes there
        mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", directory)
    upper, work, root = (directory / name for name in ("changes", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir(mode=0o755)
    for path in empty:
        make_empty(upper, path)
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", root)
    for number, path in enumerate(plain):
        source = directory / f"plain{number}"
        source.mkdir()
        (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, root / path.lstrip("/"))
    return root


def mount_system(root: Path) -> None:
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "sysfs", root / "sys")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "run")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")
    mount_cgroups(root / "sys/fs/cgroup")


def mount_cgroups(top: Path) -> None:
    hierarchies = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    if hierarchies == [""]:
        mount("-t", "cgroup2", "cgroup2", top)
        return
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", top)
    for controllers in filter(None, hierarchies):
        folder = top / controllers.removeprefix("name=")
        folder.mkdir()
        mount("-t", "cgroup", "-o", controllers if folder.name == controllers else f"none,{controllers}", "cgroup", folder)


def enter_root(root: Path) -> None:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    climb_out()
    os.fchdir(folder)
    os.close(folder)
    succeed(LIBC.syscall(SYS_PIVOT_ROOT, b".", b"."))
    succeed(LIBC.umount2(b".", MNT_DETACH))
    os.chdir("/")


def reap(*_) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def remove_cgroups(name: str) -> None:
    """The containers' cgroups are the machine's: they would outlive the host. In a hybrid hierarchy they are in
    unified/ as well."""
    deadline = time.monotonic() + 15
    left = True
    while left and time.monotonic() < deadline:
        left = False
        for top in [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:  # its processes are still dying
                    left = True
        if left:
            time.sleep(0.02)


def main() -> None:
    options = json.loads(sys.argv[1])
    print(os.readlink("/proc/self"), flush=True)
    for interrupt in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(interrupt, signal.SIG_IGN)
    make_mounts_private()
    root = build_root(Path(options["directory"]), options["empty"], options["plain"])
    mount_system(root)
    enter_root(root)
    subprocess.run(["hostname", options["name"]], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, reap)
    print("ready", flush=True)
    while os.read(0, 1):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    remove_cgroups(options["cgroup"])


if __name__ == "__main__":
    main()
