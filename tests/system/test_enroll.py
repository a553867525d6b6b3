"""Enrolment from the proxy host's side: the key, the mail host's key, push.conf, and the line for the mail host."""
import contextlib
import json
import os
import pty
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.lab.host import wait_for
from tests.lab.lab import (ETC, HOSTNAME, KEY, KNOWN_HOSTS, LETSENCRYPT, MAIL_ADDRESS, PUSH, PUSH_CONF, PUSH_STATE)
from tests.lab.pki import Lineage
from tests.system.checks import CONFIG, DONE, FAILED, TEMPORARY, USAGE, assert_deployed

COMMAND = "mailcow-cert-deploy enroll '(ssh-ed25519 [A-Za-z0-9+/=]+ mailcow-certsync@proxy)'\n"


@pytest.fixture
def bare(installed_lab, lab):
    """The lab, its proxy host with the product and lineages and nothing configured."""
    lab.proxy.path(ETC).rename(lab.proxy.path("/etc/kept"))
    yield lab
    shutil.rmtree(lab.proxy.path(ETC), ignore_errors=True)
    lab.proxy.path("/etc/kept").rename(lab.proxy.path(ETC))


@pytest.fixture
def bare_with_deployer(bare):
    bare.start_deployer()
    yield bare
    bare.stop_deployer()


def fingerprint(lab, kind: str = "ed25519") -> str:
    """What an administrator reads on the mail host."""
    return lab.mail.run(["ssh-keygen", "-lf", f"/etc/ssh/ssh_host_{kind}_key.pub"]).stdout.split()[1]


def enroll(lab, *args: str, host: str = HOSTNAME, **kwargs) -> subprocess.CompletedProcess:
    return lab.push("enroll", host, *args, **kwargs)


def enrolled(lab, *args: str) -> subprocess.CompletedProcess:
    result = enroll(lab, "--fingerprint", fingerprint(lab), *args)
    assert result.returncode == DONE, result
    return result


def public_key(result: subprocess.CompletedProcess) -> str:
    """From the line to run on the mail host, which is all of stdout."""
    return re.fullmatch(COMMAND, result.stdout)[1]


def files(lab) -> dict[str, tuple]:
    """What is in /etc/mailcow-certsync."""
    folder = lab.proxy.path(ETC)
    return {p.name: (p.read_bytes(), p.stat().st_ino) for p in folder.iterdir()} if folder.exists() else {}


def on_a_terminal(lab, answer: str, *args: str) -> subprocess.CompletedProcess:
    """With a person there, who types that answer when the question has been asked."""
    ours, theirs = pty.openpty()
    process = lab.proxy.popen([PUSH, "enroll", HOSTNAME, *args], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=lab.environment)
    os.close(theirs)
    said = b""
    while not said.endswith((b"here) ", b"here: ")) and (got := os.read(process.stderr.fileno(), 1000)):
        said += got
    os.write(ours, answer.encode() + b"\n")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    return subprocess.CompletedProcess(args, process.returncode, out.decode(), (said + err).decode())


# ---- from nothing to a push


def test_from_nothing_to_a_served_certificate(bare_with_deployer):
    lab = bare_with_deployer
    new = lab.renew()
    result = enrolled(lab, "--target", "mailcow")
    lab.sshd.authorize(public_key(result))
    pushed = lab.push()
    assert f"mailcow: primary: deployed {new.fingerprint}" in pushed.stdout, pushed
    assert_deployed(lab, new)


def test_what_is_written(bare):
    result = enrolled(bare)
    assert bare.proxy.read(PUSH_CONF) == (f"[source npm]\npath = {LETSENCRYPT}/live\n\n[target {HOSTNAME}]\n"
                                         f"host = {HOSTNAME}\n")
    assert bare.proxy.read(KNOWN_HOSTS) == f"{HOSTNAME} {bare.sshd.host_key()}\n"
    assert public_key(result).split()[:2] == bare.proxy.read(f"{KEY}.pub").split()[:2]
    assert sorted(files(bare)) == ["id_ed25519", "id_ed25519.pub", "known_hosts", "push.conf"]
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in bare.proxy.path(ETC).iterdir()}
    assert modes == {"id_ed25519": 0o600, "id_ed25519.pub": 0o644, "known_hosts": 0o644, "push.conf": 0o644}
    assert stat.S_IMODE(bare.proxy.path(ETC).stat().st_mode) == 0o755


def test_twice_is_once(bare):
    first = enrolled(bare)
    before = files(bare)
    second = enroll(bare)  # needs no fingerprint: the key is pinned
    assert (second.returncode, second.stdout) == (DONE, first.stdout)
    assert files(bare) == before
    assert second.stderr.count("unchanged") == 3


def test_json(bare):
    result = json.loads(enrolled(bare, "--json").stdout)
    results = {row.get("id"): row for row in result["results"]}
    assert [results[i]["result"] for i in ("host-key", "key", "configuration")] == ["pinned", "created", "written"]
    assert re.fullmatch(COMMAND.strip(), results[None]["detail"])


def test_certbots_folder_is_found_too(bare):
    bare.proxy.path("/etc/letsencrypt").mkdir(exist_ok=True)
    Lineage(bare.proxy.path("/etc/letsencrypt"), "example.org", bare.old)
    enrolled(bare)
    assert re.findall(r"^(?:\[source.*|path.*)$", bare.proxy.read(PUSH_CONF), re.M) == [
        "[source certbot]", "path = /etc/letsencrypt/live", "[source npm]", f"path = {LETSENCRYPT}/live"]
    shutil.rmtree(bare.proxy.path("/etc/letsencrypt/live"))
    shutil.rmtree(bare.proxy.path("/etc/letsencrypt/archive"))


def test_no_lineage_is_told_and_can_be_given_later(bare):
    shutil.rmtree(bare.proxy.path(LETSENCRYPT))
    assert "--source FOLDER" in enrolled(bare).stderr
    assert "[source" not in bare.proxy.read(PUSH_CONF)
    enrolled(bare, "--source", "/srv/tls")
    enrolled(bare, "--source", "/srv/tls")
    assert bare.proxy.read(PUSH_CONF).count("[source lineages]\npath = /srv/tls\n") == 1


# ---- the mail host's key


@pytest.mark.parametrize("answer", ["yes", "fingerprint"])
def test_a_person_confirms(bare, answer):
    result = on_a_terminal(bare, fingerprint(bare) if answer == "fingerprint" else answer)
    assert result.returncode == DONE, result
    assert f"ssh-ed25519 {fingerprint(bare)}" in result.stderr
    assert public_key(result)


@pytest.mark.parametrize("answer", ["no", "", "y", "SHA256:" + "A" * 43])
def test_what_is_not_confirmed_changes_nothing(bare, answer):
    result = on_a_terminal(bare, answer)
    assert (result.returncode, result.stdout) == (FAILED, "")
    assert "not confirmed" in result.stderr and files(bare) == {}


def test_without_a_terminal_it_says_how(bare):
    result = enroll(bare, stdin=subprocess.DEVNULL)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert "--fingerprint" in result.stderr and "ssh-keygen -lf" in result.stderr and fingerprint(bare) in result.stderr
    assert files(bare) == {}


def test_another_fingerprint_is_refused(bare):
    result = enroll(bare, "--fingerprint", fingerprint(bare, "rsa"))
    assert (result.returncode, result.stdout) == (CONFIG, "")
    assert fingerprint(bare) in result.stderr and files(bare) == {}


@pytest.fixture
def new_host_key(bare):
    """Enrolled; then the mail host gets another key."""
    enrolled(bare)
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        bare.mail.path(f"/etc/ssh/{name}").rename(bare.mail.path(f"/etc/ssh/kept_{name}"))
    bare.mail.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key"])
    bare.sshd.start()
    yield bare
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        bare.mail.path(f"/etc/ssh/kept_{name}").rename(bare.mail.path(f"/etc/ssh/{name}"))
    bare.sshd.start()


def test_a_changed_key_needs_more_than_yes(new_host_key):
    before = files(new_host_key)
    assert enroll(new_host_key, stdin=subprocess.DEVNULL).returncode == USAGE
    result = on_a_terminal(new_host_key, "yes")
    assert result.returncode == FAILED and "ANOTHER KEY IS PINNED" in result.stderr
    assert files(new_host_key) == before


def test_a_changed_key_is_replaced_when_it_is_confirmed(new_host_key):
    assert "pinned" in enrolled(new_host_key).stderr
    assert new_host_key.proxy.read(KNOWN_HOSTS) == f"{HOSTNAME} {new_host_key.sshd.host_key()}\n"


def test_other_pins_stay(bare):
    bare.proxy.path(ETC).mkdir()
    others = f"# ours\nother.example.org {bare.sshd.host_key('ecdsa')}\n@revoked {HOSTNAME} {bare.sshd.host_key('rsa')}\n"
    bare.proxy.write(KNOWN_HOSTS, others)
    enrolled(bare)
    assert bare.proxy.read(KNOWN_HOSTS) == others + f"{HOSTNAME} {bare.sshd.host_key()}\n"


def test_a_revoked_key_is_refused(bare):
    bare.proxy.write(KNOWN_HOSTS, f"@revoked {HOSTNAME} {bare.sshd.host_key()}\n")
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == CONFIG and "REVOKED" in result.stderr


def test_another_port(bare):
    bare.sshd.stop()
    with bare.link() as link:
        bare.sshd.start()
        result = enroll(bare, "--port", str(link.port), "--user", "pusher", "--fingerprint", fingerprint(bare), host="127.0.0.1")
        assert result.returncode == DONE, result
    assert bare.proxy.read(KNOWN_HOSTS) == f"[127.0.0.1]:{link.port} {bare.sshd.host_key()}\n"
    assert bare.proxy.read(PUSH_CONF).endswith(f"[target 127.0.0.1]\nhost = 127.0.0.1\nport = {link.port}\nuser = pusher\n")


# ---- what keeps it from enrolling


@pytest.mark.parametrize("options, said", [
    ({"Ciphers": "aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"}, "`Ciphers`"),
    ({"MACs": "hmac-sha2-256-etm@openssh.com"}, "`MACs`"),
    ({"KexAlgorithms": "sntrup761x25519-sha512@openssh.com"}, "`KexAlgorithms`"),
])
def test_algorithms_that_lock_libssh2_out_are_named(bare, options, said):
    bare.sshd.start(**options)
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == FAILED and said in result.stderr and "sshd_config" in result.stderr
    assert files(bare) == {}


def test_a_host_with_rsa_alone_is_told_how_to_get_another_key(bare):
    bare.sshd.start(host_keys=("rsa",))
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == CONFIG and "ssh-keygen -A" in result.stderr
    assert files(bare) == {}


def test_nobody_there(bare):
    bare.sshd.stop()
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == TEMPORARY and "connection refused" in result.stderr
    assert files(bare) == {}


@pytest.mark.parametrize("args, said", [
    (["-x"], "-x"),
    (["--fingerprint", "MD5:00"], "SHA256:"),
    (["--port", "0"], "--port"),
    (["--target", "a b"], "--target"),
    (["--target", "alarms"], "[target alarms]: no target may have that name"),
    (["--source", "live"], "--source"),
    (["--force"], "--force"),
])
def test_a_wrong_command_line(bare, args, said):
    result = enroll(bare, *args)
    assert result.returncode == USAGE and said in result.stderr
    assert files(bare) == {}


@pytest.mark.parametrize("host", ["", "a,b", "*.example.org", "a b", "x\ny"])
def test_a_wrong_host(bare, host):
    assert enroll(bare, host=host).returncode == USAGE
    assert files(bare) == {}


def test_a_host_whose_name_no_target_may_have(bare):
    result = enroll(bare, host="alarms")
    assert result.returncode == USAGE and "choose another one by --target NAME" in result.stderr
    assert files(bare) == {}


def test_a_key_that_cannot_be_used_is_refused(bare):
    bare.proxy.path(ETC).mkdir()
    bare.proxy.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", KEY])
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == CONFIG and "RSA" in result.stderr


# ---- what is there already


def test_the_rest_of_the_configuration_stays_to_the_byte(bare):
    before = "; mine\n[push]\nverify_every=12h   \n\n\n[source x]\ncert = /a\nkey   =/b\n# end, without a newline"
    bare.proxy.write(PUSH_CONF, before, 0o640)
    enrolled(bare)
    assert bare.proxy.read(PUSH_CONF) == f"{before}\n\n[target {HOSTNAME}]\nhost = {HOSTNAME}\n"
    assert stat.S_IMODE(bare.proxy.path(PUSH_CONF).stat().st_mode) == 0o640


def test_a_link_stays_a_link(bare):
    bare.proxy.write("/srv/push.conf", "")
    bare.proxy.path(ETC).mkdir()
    bare.proxy.path(PUSH_CONF).symlink_to("/srv/push.conf")
    enrolled(bare)
    assert bare.proxy.path(PUSH_CONF).is_symlink() and "[target" in bare.proxy.read("/srv/push.conf")


def test_a_broken_configuration_is_left_alone(bare):
    bare.proxy.write(PUSH_CONF, "[push]\nnonsense\n[target a]\n")
    result = enroll(bare, "--fingerprint", fingerprint(bare))
    assert result.returncode == CONFIG and f"{PUSH_CONF}:2" in result.stderr and "host is missing" in result.stderr
    assert list(files(bare)) == ["push.conf"]


@pytest.mark.parametrize("args, said", [
    (["--port", "2222"], "port = 22"),
    (["--user", "root"], "user = certsync"),
])
def test_what_is_configured_otherwise_is_not_overruled(bare, args, said):
    enrolled(bare)
    before = files(bare)
    result = enroll(bare, *args)
    assert result.returncode == CONFIG and said in result.stderr
    assert files(bare) == before


def test_a_name_that_is_taken(bare):
    enrolled(bare, "--target", "mailcow")
    result = enroll(bare, "--target", "mailcow", host=MAIL_ADDRESS)
    assert result.returncode == CONFIG and HOSTNAME in result.stderr


# ---- and back


def test_removing_undoes_it(bare):
    before = f"[source npm]\npath = {LETSENCRYPT}/live\n"
    bare.proxy.write(PUSH_CONF, before)
    line = enrolled(bare).stdout
    result = enroll(bare, "--remove")
    assert result.returncode == DONE, result
    assert result.stdout == line.replace("enroll ", "enroll --remove ")
    assert {name: content for name, (content, _) in files(bare).items()} == {"push.conf": before.encode(), "known_hosts": b""}
    assert enroll(bare, "--remove").returncode == USAGE


@pytest.mark.parametrize("spoil, said", [
    (lambda key: key.chmod(0o640), f"chmod 600 {KEY}"),
    (lambda key: key.write_text("no key\n"), "not a private key"),
])
def test_removing_tells_first_which_key_the_mail_host_is_to_forget(bare, spoil, said):
    line = enrolled(bare).stdout
    key = bare.proxy.path(KEY)
    private = key.read_text()
    spoil(key)
    before = files(bare)
    result = enroll(bare, "--remove")
    assert result.returncode == CONFIG and "nothing was removed" in result.stderr and said in result.stderr, result
    assert files(bare) == before and not result.stdout
    key.chmod(0o600)
    key.write_text(private)
    assert enroll(bare, "--remove").stdout == line.replace("enroll ", "enroll --remove ")


def test_removing_without_a_key(bare):
    enrolled(bare)
    bare.proxy.path(KEY).unlink()
    result = enroll(bare, "--remove")
    assert (result.returncode, result.stdout) == (DONE, "") and "[target" not in bare.proxy.read(PUSH_CONF)


def kept(lab, target: str) -> set[str]:
    return {path.suffix[1:] for path in lab.proxy.path(PUSH_STATE).glob(f"{target}.*")}


def test_removing_one_of_two_leaves_the_other(bare_with_deployer):
    lab = bare_with_deployer
    lab.sshd.authorize(public_key(enrolled(lab)))
    assert enroll(lab, "--fingerprint", fingerprint(lab), host=MAIL_ADDRESS).returncode == DONE
    assert lab.push().returncode == DONE
    assert kept(lab, MAIL_ADDRESS) == kept(lab, HOSTNAME) == {"json", "history"}
    key = lab.proxy.read(KEY)
    assert enroll(lab, "--remove", host=MAIL_ADDRESS).returncode == DONE
    assert kept(lab, MAIL_ADDRESS) == set() and kept(lab, HOSTNAME) == {"json", "history"}
    assert lab.proxy.read(KEY) == key and lab.proxy.read(KNOWN_HOSTS).split()[0] == HOSTNAME
    assert lab.push().returncode == DONE


def opened(process) -> set[str]:
    """The files that it has open."""
    folder = Path(f"/proc/{process.inner() or 'self'}/fd")
    links = set()
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            links.add(os.readlink(folder / name))
    return links


def test_two_at_once_are_one_after_the_other(bare):
    bare.proxy.path(ETC).mkdir()
    lock = bare.proxy.popen(["flock", ETC, "sh", "-c", "echo locked; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lock.stdout.readline()
    process = bare.proxy.popen([PUSH, "enroll", HOSTNAME, "--fingerprint", fingerprint(bare)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=bare.environment)
    wait_for(lambda: ETC in opened(process), "that it wants the lock")
    assert files(bare) == {} and process.poll() is None
    lock.stdin.close()
    lock.wait(10)
    process.communicate(timeout=60)
    assert process.returncode == DONE and "push.conf" in files(bare)
