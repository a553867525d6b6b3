"""A host's own Docker Engine (Debian's docker.io) and the image that its containers are made from."""
from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from .host import ENVIRONMENT, Host, wait_for
from .make import alone

RECIPE = Path(__file__).with_name("mailcow") / "build-image"
IMAGE = "certsync-lab"
LOG = "/var/log/dockerd.log"


def image(cache: Path, recipe: Path = RECIPE) -> Path:
    """The root that a recipe builds, as a tar file; built when the recipe has changed."""
    tar = cache / f"image-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:16]}.tar"
    with alone(cache):
        if not tar.exists():
            build_image(recipe, tar)
    return tar


def build_image(recipe: Path, tar: Path) -> None:
    fresh = tar.with_suffix(".new")
    try:
        subprocess.run([recipe, fresh], check=True, capture_output=True, text=True,
                       env=ENVIRONMENT | {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")})
        fresh.rename(tar)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{recipe}: {error.stderr}") from None
    finally:
        fresh.unlink(missing_ok=True)


class Docker:
    DATA = "/var/lib/docker"  # must be a plain folder of its host
    SOCKET = "/var/run/docker.sock"

    def __init__(self, host: Host):
        self.host = host
        self.start()

    def start(self, *options: str) -> None:
        """options: of dockerd, until the next start"""
        with self.host.path(LOG).open("ab") as log:
            self.process = self.host.popen(
                ["dockerd", "--exec-opt", "native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{self.host.cgroup}",
                 *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.answers, f"{self.host.name}: dockerd (its log: {LOG})")

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.host.name}: dockerd has ended:\n{self.log()[-2000:]}")
        return self.host.exists(self.SOCKET) and self("version", check=False).returncode == 0

    def stop(self) -> None:
        """Ends the engine, and with it the containers."""
        self.process.stop()

    def __call__(self, *argv, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        return self.host.run(["docker", *argv], check=check, **kwargs)

    def log(self) -> str:
        return self.host.read(LOG)

    def load(self, tar: Path) -> None:
        with tar.open("rb") as stream:
            self("import", "-", IMAGE, stdin=stream, timeout=300)
