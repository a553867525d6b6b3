"""The lab for people: `python3 -m tests.lab demo`, `up` (until Ctrl-C) or `shell proxy|mail` (until the shell ends)."""
import shlex
import signal
import sys
import time

from . import demo
from .host import ENVIRONMENT
from .lab import Lab

USAGE = "usage: python3 -m tests.lab demo | up | shell proxy|mail"


def main() -> int:
    words = sys.argv[1:]
    if words not in (["demo"], ["up"], ["shell", "proxy"], ["shell", "mail"]):
        print(USAGE, file=sys.stderr)
        return 64
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    try:
        if words == ["demo"]:
            return demo.main()
        with Lab() as lab:
            print(f"The lab is up after {time.monotonic() - begin:.1f} s.")
            try:
                lab.install()
                lab.start_deployer()
            except RuntimeError as error:
                print(f"Without the product: {error}", file=sys.stderr)
            if words[0] == "shell":
                host = getattr(lab, words[1])
                return host.popen(["/bin/bash"], env={"TERM": "xterm", "PS1": f"{host.name}# "}, start_new_session=False).wait()
            for host in (lab.proxy, lab.mail):
                variables = " ".join(f"{k}={v}" for k, v in ENVIRONMENT.items())
                print(f"  {host.name}: env {variables} {shlex.join(host.enter(['/bin/bash']))}")
            print("Ctrl-C ends it.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
