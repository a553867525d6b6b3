"""The words against the programs: manual pages, configuration files, units, protocol and architecture. Needs no lab."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab.host import wait_for
from tests.lab.make import BUILD, REPOSITORY, make

MAN, CONF, SYSTEMD = REPOSITORY / "docs/man", REPOSITORY / "conf", REPOSITORY / "systemd"
PROTOCOL, ARCHITECTURE = REPOSITORY / "docs/protocol.md", REPOSITORY / "docs/architecture.md"
SECURITY = REPOSITORY / "docs/security.md"
README = REPOSITORY / "README.md"
PROGRAMS = ("mailcow-cert-push", "mailcow-cert-deploy")
UNITS = sorted(p.name for p in SYSTEMD.iterdir() if p.suffix in (".service", ".socket", ".timer", ".path"))


def run(*argv: str | Path, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **kwargs)


def needs(program: str) -> str:
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture(scope="session")
def build() -> Path:
    """The folder of the built programs."""
    make("all")
    return BUILD


# Manual pages


def help_of(build: Path, program: str) -> dict[str, dict[str, str]]:
    """Sections of --help, each as left column -> right column."""
    result = run(build / program, "--help")
    assert result.returncode == 0, result.stderr
    sections: dict[str, dict[str, str]] = {}
    for line in result.stdout.splitlines():
        if heading := re.fullmatch(r"(\w[\w ]*?)(?: \(.*\))?:", line):
            rows = sections.setdefault(heading[1], {})
        elif row := re.fullmatch(r"  (\S.*?|    \S.*?)  +(.*)", line):
            rows[row[1].strip()] = row[2]
    return sections


def items(page: str) -> list[str]:
    """The .It lines of a page."""
    return re.findall(r"^\.It (.*)$", page, re.MULTILINE)


def section(page: str, name: str) -> str:
    return re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)", page, re.MULTILINE | re.DOTALL)[1]


def as_help(item: str) -> str:
    """`Fl t , Fl -target Ar NAME` as --help writes it: `-t, --target NAME`."""
    return re.sub(r"Fl |Ar ", lambda m: "-" if m[0] == "Fl " else "", item).replace(" ,", ",")


def exit_table(page: str) -> dict[str, str]:
    return dict(re.findall(r"^\.It (\d+)\n(.*)$", section(page, "EXIT STATUS"), re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_manual_has_the_options(build, program):
    page = (MAN / f"{program}.8").read_text()
    assert [as_help(i) for i in items(page) if i.startswith("Fl ")] == list(help_of(build, program)["options"])


@pytest.mark.parametrize("program", PROGRAMS)
def test_manual_has_the_commands(build, program):
    page = (MAN / f"{program}.8").read_text()
    assert {i[3:] for i in items(section(page, "DESCRIPTION")) if i.startswith("Cm ")} == {words.split()[0] for words in
                                                                                            help_of(build, program)["commands"]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_manual_and_readme_have_the_exit_codes(build, program):
    codes = help_of(build, program)["exit codes"]
    assert len(codes) == 5
    assert exit_table((MAN / f"{program}.8").read_text()) == codes
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", README.read_text(), re.MULTILINE)) == codes


def test_manual_of_the_relay_has_codes_of_the_table(build):
    codes = help_of(build, "mailcow-cert-push")["exit codes"]
    relay = exit_table((MAN / "mailcow-cert-receive.8").read_text())
    assert relay and relay.items() <= codes.items()


@pytest.mark.parametrize("page", sorted(p.name for p in MAN.iterdir()))
def test_manual_is_clean(page):
    result = run(needs("mandoc"), "-Tlint", "-Wstyle", page, cwd=MAN)
    # Which other manuals are installed is not this page's concern.
    complaints = [line for line in (result.stdout + result.stderr).splitlines()
                  if "referenced manual not found" not in line and "outdated mandoc.db" not in line]
    assert complaints == []
    headings = re.findall(r"^\.Sh (.*)$", (MAN / page).read_text(), re.MULTILINE)
    assert {"FILES", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS"} <= set(headings)


# Configuration files


def known_keys(build: Path, program: str, sections: list[str], folder: Path) -> dict[str, set[str]]:
    """The keys of each section, from what the program says about an unknown one."""
    path, keys = folder / "unknown.conf", {}
    for name in sections:
        path.write_text(f"[{name}]\nno_such_key = x\n")
        result = run(build / program, "status", "--config", path)
        assert result.returncode == 78
        keys[name.split()[0]] = set(re.search(r"unknown key no_such_key in \[\w+\]; there are (.*)", result.stderr)[1].split(", "))
    return keys


def known_sections(build: Path, program: str, folder: Path) -> list[str]:
    path = folder / "sections.conf"
    path.write_text("[nosuch]\nx = y\n")
    result = run(build / program, "status", "--config", path)
    return [s.replace("NAME", "n") for s in re.findall(r"\[(\w+(?: NAME)?)\]", result.stderr.split("there are ", 1)[1].splitlines()[0])]


def uncommented(name: str) -> str:
    """The file with every setting in force; prose begins with `# `."""
    return re.sub(r"^#(?=\S)", "", (CONF / name).read_text(), flags=re.MULTILINE)


def keys_of(text: str) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)(?: [\w.]+)?\]", line):
            rows = keys.setdefault(heading[1], set())
        elif "=" in line and not line.startswith("#"):
            rows.add(line.split("=")[0].strip())
    return keys


FILES = {"mailcow-cert-push": "push.conf", "mailcow-cert-deploy": "deploy.conf"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_configuration_file_and_manual_have_every_key(build, program, tmp_path):
    known = known_keys(build, program, known_sections(build, program, tmp_path), tmp_path)
    assert len(known) >= 3
    assert keys_of(uncommented(FILES[program])) == known
    page = (MAN / f"{program}.conf.5").read_text()
    described = {name: {item[3:] for item in items(body)} for name, body in
                 re.findall(r"^\.Ss Section (\w+)(?: NAME)?\n(.*?)(?=^\.S[sh] )", page, re.MULTILINE | re.DOTALL)}
    assert described == known


@pytest.mark.parametrize("program", PROGRAMS)
def test_configuration_file_parses_with_every_setting(build, program, tmp_path):
    """Whatever the command does then, it does not complain of the file."""
    text = re.sub(r"^state = .*$", f"state = {tmp_path}/state", uncommented(FILES[program]), flags=re.MULTILINE)
    text = re.sub(r"^socket = /run/.*$", f"socket = {tmp_path}/socket", text, flags=re.MULTILINE)
    # A [source] is one of both kinds; the file shows each in a section of its own.
    (tmp_path / "all.conf").write_text(text)
    result = run(build / program, "status", "--config", tmp_path / "all.conf")
    assert result.returncode == {"mailcow-cert-push": 0, "mailcow-cert-deploy": 75}[program], result.stderr
    assert "all.conf" not in result.stderr


def test_configuration_file_shows_the_defaults_of_the_manual():
    """`#key = value` is what the manual calls the default, where there is one."""
    for program, name in FILES.items():
        page = (MAN / f"{program}.conf.5").read_text()
        for key, default in re.findall(r"^\.It Cm (\w+)\n(?:(?!\.It|\.El).*\n)*?(?:.*[Dd]efault: ?)\n?(.*)$", page, re.MULTILINE):
            default = re.sub(r"^\.(Pa|Cm) ", "", default)
            shown = re.findall(rf"^#{key} = (.*)$", (CONF / name).read_text(), re.MULTILINE)
            if default != "none":
                assert default.replace("120s", "2m") in shown, f"{name}: {key}"


def test_readme_configuration_parses(build, tmp_path):
    text = re.search(r"```ini\n(.*?)```", README.read_text(), re.DOTALL)[1]
    (tmp_path / "push.conf").write_text(f"[push]\nstate = {tmp_path}/state\n{text}")
    result = run(build / "mailcow-cert-push", "status", "--config", tmp_path / "push.conf")
    assert (result.returncode, result.stderr) == (0, "")


# sshd and systemd


PLACES = {"@bindir@": "bin", "@sbindir@": "sbin", "@libexecdir@": "libexec"}


def place(source: Path, target: Path, prefix: Path) -> Path:
    """What `make install` does: placeholders become paths."""
    text = source.read_text()
    for placeholder, folder in PLACES.items():
        text = text.replace(placeholder, f"{prefix}/{folder}")
    assert not re.search(r"@\w+@", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    target.write_text(text)
    return target


def test_placeholders_are_those_that_are_replaced():
    files = [p for folder in (MAN, CONF, SYSTEMD) for p in folder.rglob("*") if p.is_file()]
    assert {name for path in files for name in re.findall(r"@[a-z]+@", path.read_text())} == set(PLACES)


def test_sshd_accepts_its_configuration(tmp_path):
    if os.geteuid():
        pytest.skip("needs root: sshd reads its host key and looks for /run/sshd")
    sshd, key = needs("sshd"), tmp_path / "host_key"
    run(needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key)
    included = place(CONF / "sshd_config.d/mailcow-certsync.conf", tmp_path / "mailcow-certsync.conf", Path("/usr"))
    (tmp_path / "sshd_config").write_text(f"Include {included}\nHostKey {key}\nX11Forwarding yes\n")

    def ask(*options: str) -> subprocess.CompletedProcess:
        """With a /run of its own: /run/sshd is missing where sshd was never started."""
        script = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"'
        return run(needs("unshare"), "--mount", "sh", "-c", script, "sh", sshd, "-f", tmp_path / "sshd_config", *options)

    result = ask("-t")
    assert (result.returncode, result.stderr) == (0, "")
    pushes = ask("-T", "-C", "user=certsync,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22").stdout.splitlines()
    assert {"forcecommand /usr/libexec/mailcow-cert-receive", "disableforwarding yes", "permittty no", "maxsessions 1",
            "authorizedkeysfile /etc/ssh/certsync/%u"} <= set(pushes)
    others = ask("-T", "-C", "user=root,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22").stdout.splitlines()
    assert {"forcecommand none", "disableforwarding no", "x11forwarding yes"} <= set(others)


def test_units_verify(tmp_path):
    analyze = needs("systemd-analyze")
    for program, folder in {"mailcow-cert-push": "bin", "mailcow-cert-deploy": "sbin", "mailcow-cert-alert": "libexec"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / program).touch(mode=0o755)
    units = [place(SYSTEMD / name, tmp_path / name, tmp_path) for name in UNITS]
    result = run(analyze, "verify", "--man=no", *units)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_units_call_commands_that_exist(build):
    called = re.findall(r"^ExecStart=@s?bindir@/(\S+) (\w+)$", "\n".join((SYSTEMD / n).read_text() for n in UNITS), re.MULTILINE)
    assert len(called) == 5
    for program, command in called:
        assert command in help_of(build, program)["commands"]


def test_socket_is_the_one_that_the_programs_use():
    path = re.search(r"^ListenStream=(.*)$", (SYSTEMD / "mailcow-cert-deploy.socket").read_text(), re.MULTILINE)[1]
    assert f'"{path}"' in (REPOSITORY / "deployer/receive.c").read_text()
    assert f"#socket = {path}\n" in (CONF / "deploy.conf").read_text()


@pytest.mark.parametrize("program, account, shell", [("mailcow-cert-deploy", "certsync", "/bin/sh"),
                                                     ("mailcow-cert-push", "certsync-push", "/usr/sbin/nologin")])
def test_account_is_made(program, account, shell, tmp_path):
    sysusers = needs("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    result = run(sysusers, f"--root={tmp_path}", SYSTEMD / f"sysusers.d/{program}.conf")
    assert result.returncode == 0, result.stderr
    fields = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (fields[0], fields[5], fields[6]) == (account, "/", shell)


# systemd-analyze security knows none of the reasons in the units' comments; 0 is the best.
EXPOSURE = {"mailcow-cert-push.service": 1.4, "mailcow-cert-deploy.service": 2.4, "mailcow-cert-recover.service": 1.2,
            "mailcow-cert-reconcile.service": 0.7, "mailcow-cert-alert@.service": 2.6}


@pytest.mark.parametrize("unit", [name for name in UNITS if name.endswith(".service")])
def test_units_are_hardened(unit, tmp_path):
    path = place(SYSTEMD / unit, tmp_path / unit, Path("/usr"))
    result = run(needs("systemd-analyze"), "security", "--offline=true", path)
    exposure = float(re.search(r"Overall exposure level for .*: ([\d.]+)", result.stdout)[1])
    assert exposure <= EXPOSURE.get(unit, 1.4), result.stdout


@pytest.mark.parametrize("name", ["deploy", "recover", "push", "push-watch"])
def test_what_holds_keys_is_neither_swapped_nor_dumped_nor_boundless(name):
    lines = (SYSTEMD / f"mailcow-cert-{name}.service").read_text().splitlines()
    assert {"LimitCORE=0", "MemorySwapMax=0"} <= set(lines) and any(line.startswith("MemoryMax=") for line in lines)


@pytest.mark.parametrize("path", ["systemd/mailcow-cert-alert@.service", "conf/monitoring/ping/mailcow-cert-ping@.service"])
def test_what_a_quiet_unit_says_is_kept(path):
    """LogLevelMax= drops what is less; stderr is `info` by default, and holds why nobody could be told."""
    assert {"LogLevelMax=notice", "SyslogLevel=notice"} <= set((REPOSITORY / path).read_text().splitlines())


def test_packages_have_the_version_of_the_programs():
    makefile, changelog = (REPOSITORY / "Makefile").read_text(), (REPOSITORY / "debian/changelog").read_text()
    assert re.match(r"mailcow-certsync \((.*)-\d+\)", changelog)[1] == re.search(r"^VERSION := (.*)$", makefile, re.MULTILINE)[1]


# The protocol


@pytest.fixture
def deployer(build, tmp_path) -> Iterator[Path]:
    """The socket of a deployer without certificate, CA or Docker."""
    ssl = tmp_path / "mailcow/data/assets/ssl"
    ssl.mkdir(parents=True)
    (tmp_path / "mailcow/mailcow.conf").write_text("MAILCOW_HOSTNAME=mail.example.org\n")
    (tmp_path / "deploy.conf").write_text(f"[deploy]\nstate = {tmp_path}/state\n[mailcow]\npath = {tmp_path}/mailcow\n"
                                          f"[docker]\nhost = unix://{tmp_path}/docker.sock\n")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([build / "mailcow-cert-deploy", "serve", "--config", tmp_path / "deploy.conf", "--socket",
                                    tmp_path / "socket"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or (tmp_path / "socket").exists(), "the deployer's socket")
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield tmp_path / "socket"
        finally:
            process.terminate()
            process.wait(20)


def talk(path: Path, *sent: bytes) -> list[str]:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(path))
        s.sendall(b"".join(sent))
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b"")).decode().splitlines()


def shape(line: str) -> str:
    """A line without the values of its fields and without free text."""
    return re.sub(r"=\S+", "=", line.split(": ")[0])


def transcripts() -> list[str]:
    """What the deployer says in the transcripts, in their order."""
    blocks = re.findall(r"```\n(.*?)```", PROTOCOL.read_text(), re.DOTALL)
    return [line.removeprefix("S: ") for block in blocks for line in block.splitlines() if re.match(r"(S: )?\d{3}[ -]", line)]


def test_transcript_has_the_greeting(deployer):
    greeting = talk(deployer, b"QUIT\n")[:-1]
    assert [shape(line) for line in transcripts()[:len(greeting)]] == [shape(line) for line in greeting]
    protocol = re.search(r" protocol=(\d+) ", greeting[0])[1]
    assert set(re.findall(r" protocol=(\d+) ", PROTOCOL.read_text())) == {protocol}


def test_replies_are_in_the_tables(deployer):
    bundle = b"abc"
    digest = hashlib.sha256(bundle).hexdigest().encode()
    said = [line for sent in (
        [b"QUIT\n"], [b"HELLO 9 x\n"], [b"HELLO x\n"], [b"NONSENSE\n"], [b"HELLO 1 x\n", b"DEPLOY\n"], [b"HELLO 1 x\n", b"STATUS\n"],
        [b"HELLO 1 x\n", b"PUT primary 3 " + b"0" * 64 + b"\n", bundle], [b"HELLO 1 x\n", b"PUT nosuch 3 " + digest + b"\n", bundle],
        [b"HELLO 1 x\n", b"PUT primary 3 " + digest + b"\n", bundle], [b"HELLO 1 x\n", b"PUT primary 200000 " + digest + b"\n"],
        [b"HELLO 1 x\n", b"PUT primary 9 " + digest + b"\n", bundle], [b"-----BEGIN NOTHING-----\n"], [b"x" * 2000 + b"\n"],
    ) for line in talk(deployer, *sent)[4:]]
    table = {int(code): set(re.findall(r"`([\w-]+)`", words)) for code, words in
             re.findall(r"^\| (\d{3}) \| (.*?) \| .* \|$", PROTOCOL.read_text().split("## Codes")[1], re.MULTILINE)}
    final = [(int(line[:3]), line[4:].split(" ")[0].rstrip(":")) for line in said if line[3] == " "]
    assert {code for code, _ in final} >= {221, 250, 500, 501, 503, 504, 550, 552}
    assert [(code, word) for code, word in final if word not in table.get(code, ())] == []


def test_every_code_and_reason_is_described():
    text = PROTOCOL.read_text()
    codes = re.findall(r"^    WIRE_\w+ = (\d{3}),", (REPOSITORY / "common/wire.h").read_text(), re.MULTILINE)
    assert sorted(codes) == re.findall(r"^\| (\d{3}) \|", text.split("## Codes")[1], re.MULTILINE)
    reasons = re.findall(r'^    \[JUDGE_\w+\] = "(.*)"', (REPOSITORY / "deployer/judge.c").read_text(), re.MULTILINE)
    assert [r for r in reasons if r != "accepted" and f"`{r}`" not in text] == []


def test_limits_are_those_of_the_code():
    text = PROTOCOL.read_text().split("## Limits")[1]
    for file, name, shown in (("common/wire.h", "WIRE_LINE", "1000 bytes"), ("common/secret.h", "SECRET_MAX", "131072 bytes"),
                              ("common/wire.h", "WIRE_BUDGET", "8 MiB"), ("common/want.h", "WANT_MAX", "1024"),
                              ("common/want.h", "WANT_MAX_NAMES", "256 names"), ("deployer/session.h", "SESSION_COMMAND_MS", "60 s"),
                              ("deployer/session.h", "SESSION_SAY_MS", "5 s"), ("deployer/deploy.h", "DEPLOY_LOCK_MS", "120 s"),
                              ("deployer/deploy.h", "DEPLOY_OPERATOR_LOCK_MS", "600 s"),
                              ("deployer/serve.h", "SERVE_MAX_PUSHERS", "256 pushers"),
                              ("deployer/waiting.h", "WAITING_MAX", "1024 more"), ("deployer/session.h", "SESSION_HELLO_MS", "15 s"),
                              ("deployer/turn.h", "TURN_SILENT_MS", "1 s"), ("deployer/turn.h", "TURN_BUNDLE_MS", "3 s"),
                              ("deployer/turn.h", "TURN_NEXT_MS", "3 s"), ("deployer/turn.h", "TURN_REPEAT_MS", "5 min"), ("deployer/serve.h", "SERVE_MAX_OPERATORS", "8 operators"),
                              ("deployer/receive.c", "IDLE_MS", "300 s"), ("deployer/receive.c", "TOTAL_SEC", "20 min"),
                              ("pusher/contact.h", "CONTACT_MS", "10 min"), ("deployer/operator.c", "SESSION_MS", "15 min")):
        value = re.search(rf"#define {name}\b[\s\\]*\(?([\d *]+)", (REPOSITORY / file).read_text())[1]
        number, unit = re.match(r"(\d+) ?(\w*)", shown).groups()
        scale = {"MiB": 1024 * 1024, "s": 1000, "min": 60 if name == "TOTAL_SEC" else 60000}.get(unit, 1)
        product = 1
        for factor in value.split("*"):
            product *= int(factor)
        assert (product, shown in text) == (int(number) * scale, True), name


# The architecture


def test_every_file_is_in_the_architecture():
    text = ARCHITECTURE.read_text()
    files = {p.name for folder in ("common", "pusher", "deployer") for p in (REPOSITORY / folder).glob("*.c")}
    assert sorted(name for name in files if f"`{name}`" not in text) == []
    assert sorted(name for name in re.findall(r"`(?:\w+/)?(\w+\.c)`", text) if name not in files) == []


# Security


def threats() -> list[list[str]]:
    """The rows of the table: who, threat, what stops it, where, test."""
    table = SECURITY.read_text().split("## Threats")[1].split("## ")[0]
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines() if row.startswith("| ")]
    return rows[1:]


def defines(path: Path, test: str) -> bool:
    """Whether the file has that test, and runs it."""
    text = path.read_text()
    if path.suffix == ".py":
        return f"\ndef {test}(" in text
    return f"static void {test}(void **state)" in text and len(re.findall(rf"\b{test}\b", text)) > 1


def test_every_metric_is_described():
    """A family of the code is a row of docs/metrics.md, with the same labels, and the other way round."""
    rows = dict(re.findall(r"^\| `((?:deploy|push)_\w+)` \| (.*?) \|", (REPOSITORY / "docs/metrics.md").read_text(), re.MULTILINE))
    code = "".join((REPOSITORY / path).read_text() for path in ("deployer/deploy_metrics.c", "pusher/push_metrics.c"))
    assert set(rows) == set(re.findall(r'"((?:deploy|push)_\w+)"', code))
    assert {label for labels in rows.values() for label in re.findall(r"`(\w+)`", labels)} == set(re.findall(r'\{"(\w+)", [^"]', code))


def test_every_threat_has_a_test_that_exists():
    rows = threats()
    assert len(rows) > 25
    for who, threat, _, where, tests in rows:
        named = re.findall(r"`(\w+/\w+\.(?:py|c))::(\w+)`", tests)
        assert named and tests.count("`") == 2 * len(named), threat
        assert [f"{file}::{test}" for file, test in named if not defines(REPOSITORY / "tests" / file, test)] == [], threat
        assert [path for path in re.findall(r"`([^`]+)`", where) if not (REPOSITORY / path).is_file()] == [], threat
        assert who in re.sub(r"[*\n-]", " ", SECURITY.read_text().split("## Threats")[0]).lower(), threat


# Fuzzing


def test_fuzz_readme_has_every_target_and_the_figures():
    text = (REPOSITORY / "tests/fuzz/README.md").read_text()
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    assert described == {p.stem[len("fuzz_"):] for p in (REPOSITORY / "tests/fuzz").glob("fuzz_*.c")}
    figures = run("/usr/bin/python3", "-m", "tests.fuzz", "figures", cwd=REPOSITORY)
    assert figures.returncode == 0, figures.stderr
    assert (REPOSITORY / "tests/fuzz/figures.json").exists()
    assert figures.stdout.strip() in text
