"""Enrolment on the mail host: `mailcow-cert-deploy enroll`, with the host's own sshd."""
import json

import pytest

from tests.lab.host import wait_for
from tests.lab.sshd import AUTHORIZED_KEYS, COMMAND, CONFIG
from tests.system.checks import CONFIG as CONFIGURATION
from tests.system.checks import DONE, FAILED, USAGE, assert_deployed

DROP_IN = "/etc/ssh/sshd_config.d/mailcow-certsync.conf"


@pytest.fixture
def bare(product):
    """sshd as Debian has it, and nobody who may push."""
    product.mail.path(AUTHORIZED_KEYS).unlink(missing_ok=True)
    product.mail.path(DROP_IN).unlink(missing_ok=True)
    start(product)
    yield product
    product.mail.path(DROP_IN).unlink(missing_ok=True)


def start(lab, **options: str) -> None:
    lab.mail.path("/etc/ssh/sshd_config.d").mkdir(exist_ok=True)
    lab.sshd.start(Include="/etc/ssh/sshd_config.d/*.conf", PidFile="/run/sshd.pid", AuthorizedKeysFile=".ssh/authorized_keys", **options)
    wait_for(lambda: lab.mail.exists("/run/sshd.pid"), "sshd's PidFile")


def files(lab) -> list[str | None]:
    return [lab.mail.read(path) if lab.mail.exists(path) else None for path in (AUTHORIZED_KEYS, DROP_IN)]


def enroll(lab, *args: str, expected: int = DONE) -> str:
    result = lab.deploy("enroll", *args)
    assert result.returncode == expected, result
    return result.stdout + result.stderr


def pushes(lab) -> bool:
    lab.renew()
    return lab.push().returncode == DONE


def wait_until_pushes(lab) -> None:
    wait_for(lambda: pushes(lab), "sshd to have read its configuration again")


def test_one_command_lets_a_proxy_host_push(bare):
    assert not pushes(bare)
    said = enroll(bare, bare.public_key)
    assert bare.mail.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[1] in said
    assert bare.mail.read(AUTHORIZED_KEYS) == f'restrict,command="{COMMAND}" {bare.public_key.strip()}\n'
    new = bare.renew()
    wait_for(lambda: bare.push().returncode == DONE, "sshd to have read its configuration again")
    assert_deployed(bare, new)
    effective = bare.mail.run(["sshd", "-T", "-C", "user=certsync,host=a,addr=192.0.2.1"]).stdout
    assert f"forcecommand {COMMAND}\n" in effective and "disableforwarding yes\n" in effective


def test_repeating_it_changes_nothing(bare):
    enroll(bare, bare.public_key)
    before = files(bare)
    assert "unchanged" in enroll(bare, bare.public_key)
    assert files(bare) == before


def test_other_keys_and_an_edited_drop_in_stay(bare):
    enroll(bare, bare.public_key)
    bare.mail.write(AUTHORIZED_KEYS, "# ours\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJNO2Yd0rZMlgTXBvcxfLnB0TvbhFzsPDeYwRzt1w3ks other\n"
                    + bare.mail.read(AUTHORIZED_KEYS))
    bare.mail.write(DROP_IN, bare.mail.read(DROP_IN).replace("ClientAliveInterval 15", "ClientAliveInterval 20"))
    before = files(bare)
    enroll(bare, bare.public_key)
    assert files(bare) == before
    enroll(bare, "--remove", bare.public_key)
    assert bare.mail.read(AUTHORIZED_KEYS).endswith(" other\n") and bare.mail.exists(DROP_IN)


def test_from_an_address_alone(bare):
    enroll(bare, "--from", "192.0.2.80", bare.public_key)
    wait_until_pushes(bare)
    enroll(bare, "--from", "192.0.2.81", bare.public_key)
    assert not pushes(bare)
    assert bare.mail.read(AUTHORIZED_KEYS).count("\n") == 1
    before = files(bare)
    enroll(bare, "--from", '192.0.2.80",command="/bin/sh', bare.public_key, expected=USAGE)
    assert "unchanged" in enroll(bare, bare.public_key), "nor does it count from elsewhere by being enrolled again"
    assert files(bare) == before
    enroll(bare, "--from", "*", bare.public_key)
    assert pushes(bare)


def test_it_can_be_undone(bare):
    enroll(bare, bare.public_key)
    wait_until_pushes(bare)
    assert "removed" in enroll(bare, "--remove", bare.public_key)
    assert files(bare) == [None, None]
    assert not pushes(bare)
    assert "unchanged" in enroll(bare, "--remove", bare.public_key)


def test_what_sshd_refuses_is_put_back(bare):
    bare.mail.write(CONFIG, bare.mail.read(CONFIG) + "NoSuchOption yes\n")
    said = enroll(bare, bare.public_key, expected=CONFIGURATION)
    assert "nothing was changed" in said and "NoSuchOption" in said
    assert files(bare) == [None, None]


@pytest.mark.parametrize("options,finding", [
    ({"Ciphers": "chacha20-poly1305@openssh.com"}, "Ciphers +aes256-ctr"),
    ({"AllowUsers": "root"}, "add certsync to AllowUsers"),
    ({"DenyGroups": "certsync"}, "take certsync out of DenyGroups"),
])
def test_what_keeps_the_pusher_out_is_told_with_its_remedy(bare, options, finding):
    start(bare, **options)
    assert finding in enroll(bare, bare.public_key, expected=CONFIGURATION)
    assert not pushes(bare)
    start(bare)
    enroll(bare, bare.public_key)
    wait_until_pushes(bare)


def test_a_configuration_without_the_include(bare):
    bare.mail.write(CONFIG, "".join(line for line in bare.mail.read(CONFIG).splitlines(True) if not line.startswith("Include")))
    assert "Include /etc/ssh/sshd_config.d/*.conf" in enroll(bare, bare.public_key, expected=CONFIGURATION)


def test_what_was_resolved_takes_effect_with_the_next_enrolment(bare):
    """Nobody has to know that sshd reads its configuration only when it is told to."""
    whole = bare.mail.read(CONFIG)
    bare.mail.write(CONFIG, "".join(line for line in whole.splitlines(True) if not line.startswith("Include")))
    enroll(bare, bare.public_key, expected=CONFIGURATION)
    bare.mail.write(CONFIG, whole)
    assert "unchanged" in enroll(bare, bare.public_key)
    wait_until_pushes(bare)


def test_the_folder_of_keys_is_sshds_to_read(bare):
    folder = bare.mail.path(AUTHORIZED_KEYS).parent
    folder.rmdir()
    bare.mail.run(["sh", "-c", 'umask 077; exec mailcow-cert-deploy enroll "$1"', "sh", bare.public_key])
    wait_until_pushes(bare)
    folder.chmod(0o700)
    assert f"chmod 755 {'/' + str(folder.relative_to(bare.mail.path('/')))}" in enroll(bare, bare.public_key, expected=CONFIGURATION)
    folder.chmod(0o755)


def test_what_restricts_a_key_further_stays_when_its_command_is_another(bare):
    enroll(bare, "--from", "192.0.2.80", bare.public_key)
    before = bare.mail.read(AUTHORIZED_KEYS)
    bare.mail.write(AUTHORIZED_KEYS, 'expiry-time="20991231",' + before.replace(COMMAND, "/usr/local/libexec/mailcow-cert-receive"))
    enroll(bare, bare.public_key)
    assert bare.mail.read(AUTHORIZED_KEYS) == before.replace("restrict", 'expiry-time="20991231",restrict')


def test_a_key_is_taken_away_whatever_else_is_wrong(bare):
    enroll(bare, bare.public_key)
    wait_until_pushes(bare)
    bare.mail.write(CONFIG, bare.mail.read(CONFIG) + "NoSuchOption yes\n")
    said = enroll(bare, "--remove", bare.public_key, expected=CONFIGURATION)
    assert "only the key was removed" in said and "NoSuchOption" in said
    assert files(bare)[0] is None and not pushes(bare)


def test_a_locked_account(bare):
    bare.mail.run(["usermod", "--lock", "certsync"])
    try:
        assert "usermod --password '*' certsync" in enroll(bare, bare.public_key, expected=CONFIGURATION)
        assert not pushes(bare)
    finally:
        bare.mail.run(["usermod", "--password", "*", "certsync"])


def test_what_is_no_key(bare):
    for key in ("", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7", "ssh-ed25519 AAAA", 'command="/bin/sh" ' + bare.public_key):
        enroll(bare, key, expected=USAGE)
    assert files(bare) == [None, None]


def test_for_programs(bare):
    answer = json.loads(bare.deploy("enroll", "--json", bare.public_key).stdout)
    assert [r["result"] for r in answer["results"]] == ["enrolled", "host-key", "host-key"]


def test_only_root_may(bare):
    result = bare.mail.run(["/usr/sbin/mailcow-cert-deploy", "enroll", bare.public_key], user="certsync", check=False)
    assert result.returncode == FAILED and "root" in result.stderr
