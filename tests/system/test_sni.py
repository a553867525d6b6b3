"""SNI folders on the real services: renewed, added, changed and removed, each name served on every port as it should be."""
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

from tests.lab import mailcow
from tests.lab.host import PYTHON
from tests.lab.lab import HOSTNAME, LETSENCRYPT, NAMES
from tests.lab.pki import Bundle, Lineage

from tests.system.checks import (DONE, FAILED, TEMPORARY, acme, assert_deployed, end, everywhere, injecting, read_until, sessions,
                                 start_push)
from tests.system.protocol import HELLO, put, relay
from tests.system.test_ladder import OTHER_SERVER

OTHER = "other.example.edu"
MAP, MAP_DB, CONF = (f"{mailcow.PATH}/{name}" for name in mailcow.RENDERED)


def lineage(lab, name: str, bundle: Bundle) -> Lineage:
    return Lineage(lab.proxy.path(LETSENCRYPT), name, bundle)


def started(lab) -> str:
    """When each container was started: none may be restarted where a reload does."""
    return lab.docker("inspect", "--format={{.Name}} {{.State.StartedAt}}", *map(lab.mailcow.name, mailcow.SERVICES)).stdout


def configure(lab, **folders: str) -> None:
    """[sni NAME] sections, and a daemon that has read them."""
    lab.write_deploy_conf({f"sni {name}": {"domains": domains} for name, domains in folders.items()})
    lab.start_deployer()


@pytest.fixture
def impatient(product):
    """For what is never served as it should be: verified for a shorter time."""
    product.write_deploy_conf({"verify": {"timeout": "8s"}})
    product.start_deployer()
    return product


def pushed(lab, *args: str, status: int = DONE):
    result = lab.push("-v", *args)
    assert result.returncode == status, (result.stdout, result.stderr)
    return result


def words(result, step: str) -> list[str]:
    """The lines of a verbose pass that begin with this step."""
    return [line.strip() for line in result.stdout.splitlines() if re.match(rf"\s+{step}\b", line)]


def commands(result) -> list[tuple[str, str]]:
    """What was run in the containers."""
    return [re.search(r" ms  (\S+) .*command=(\S+)", line).groups() for line in words(result, "(?:not-)?reloaded")]


def folder(lab, name: str) -> dict[str, str]:
    path = lab.mail.path(f"{mailcow.SSL}/{name}")
    return {file.name: file.read_text() for file in path.iterdir()} if path.is_dir() else {}


def rendered(lab) -> tuple[str, str]:
    return lab.mail.read(MAP), lab.mail.read(CONF)


def assert_as_mailcow_renders(lab) -> None:
    """A restart, whose start scripts write everything anew, changes nothing."""
    before = rendered(lab)
    lab.mailcow.restart()
    assert rendered(lab) == before


# ---- renewal


def test_a_folders_renewal_is_served_on_every_port(product):
    old = product.issue(OTHER, age=60)
    product.mailcow.add_sni(OTHER, old, OTHER)
    assert product.served_everywhere(OTHER) == everywhere(old)
    new = product.issue(OTHER)
    lineage(product, "npm-20", new)
    before = started(product)
    result = pushed(product)
    assert product.served_everywhere(OTHER) == everywhere(new)
    assert_deployed(product, product.old)
    assert folder(product, OTHER) == {"cert.pem": new.fullchain, "key.pem": new.key, "domains": OTHER}
    assert started(product) == before
    assert sorted(commands(result)) == [("dovecot-mailcow", "reload"), ("nginx-mailcow", "reload"),
                                        ("postfix-mailcow", "postmap"), ("postfix-mailcow", "reload")]
    assert f"mailcow: {OTHER}: deployed {new.fingerprint} from npm/npm-20" in result.stdout


def test_the_primary_and_a_folder_are_renewed_by_one_push_and_one_reload(product):
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    new, other = product.renew(), product.issue(OTHER)
    lineage(product, "npm-20", other)
    result = pushed(product)
    assert_deployed(product, new)
    assert product.served_everywhere(OTHER) == everywhere(other)
    assert sorted(set(commands(result))) == sorted(commands(result))


def test_a_folder_without_a_lineage_hinders_no_other(product):
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    new = product.renew()
    result = pushed(product, status=FAILED)
    assert_deployed(product, new)
    assert f"{OTHER}: missing" in result.stderr and f"no lineage covers {OTHER}" in result.stderr
    assert f"mailcow: primary: deployed {new.fingerprint}" in result.stdout


# ---- the files


def test_the_keys_in_postfix_table_are_nobodys_to_read(product):
    """postmap would make the table readable for everybody, as the start script does."""
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    for path in (MAP, MAP_DB):
        product.mail.path(path).chmod(0o644)
    lineage(product, "npm-20", product.issue(OTHER))
    pushed(product)
    assert [stat.S_IMODE(product.mail.path(path).stat().st_mode) for path in (MAP, MAP_DB)] == [0o600, 0o600]
    assert_as_mailcow_renders(product)
    assert [stat.S_IMODE(product.mail.path(path).stat().st_mode) for path in (MAP, MAP_DB)] == [0o600, 0o600]


@pytest.mark.parametrize("text", ["a.example.edu\tb.example.edu", "a.example.edu b.example.edu\r\n",
                                  "a.example.edu\nb.example.edu\n", "*.example.edu", ".example.edu"])
def test_domains_that_only_some_services_understand_are_rewritten(product, text):
    """Such a folder is served by some services only, whoever renews it."""
    product.mailcow.add_sni(OTHER, product.issue("*.example.edu", age=60), text)
    new = product.issue("*.example.edu")
    lineage(product, "npm-20", new)
    pushed(product)
    for name in ("a.example.edu", "b.example.edu"):
        assert product.served_everywhere(name) == everywhere(new), name
    names = ["*.example.edu", ".example.edu"] if text[0] in "*." else ["a.example.edu", "b.example.edu"]
    assert folder(product, OTHER)["domains"] == " ".join(names)
    assert_as_mailcow_renders(product)


def test_domains_that_all_services_understand_are_left_alone(product):
    text = "B.example.edu  a.example.edu \n"
    product.mailcow.add_sni(OTHER, product.issue("*.example.edu", age=60), text)
    new = product.issue("a.example.edu", "b.example.edu")
    lineage(product, "npm-20", new)
    pushed(product)
    assert product.served_everywhere("b.example.edu") == everywhere(new)
    assert folder(product, OTHER)["domains"] == text


# ---- addition, change, removal


def test_a_folder_is_added_by_its_section(product):
    """Also for a wildcard, which Postfix, Dovecot and nginx each want in another form."""
    new = product.issue("example.com", "*.example.com")
    lineage(product, "npm-20", new)
    configure(product, **{"example.com": "*.example.com, example.com"})
    before = started(product)
    result = pushed(product)
    assert started(product) == before
    assert commands(result)[:2] == [("nginx-mailcow", "bootstrap"), ("nginx-mailcow", "reload")]
    assert folder(product, "example.com") == {"cert.pem": new.fullchain, "key.pem": new.key,
                                              "domains": "example.com *.example.com .example.com"}
    for name in ("example.com", "a.example.com", "mail.example.com"):
        assert product.served_everywhere(name) == everywhere(new), name
    for name in (None, "a.b.example.org", *NAMES):
        assert product.served_everywhere(name) == everywhere(product.old), name
    assert stat.S_IMODE(product.mail.path(MAP_DB).stat().st_mode) == 0o600
    assert_as_mailcow_renders(product)
    assert product.served_everywhere("a.example.com") == everywhere(new)


def test_a_wildcard_does_not_take_the_apex(product):
    new = product.issue("*.example.com")
    lineage(product, "npm-20", new)
    configure(product, wild="*.example.com")
    pushed(product)
    assert product.served_everywhere("a.example.com") == everywhere(new)
    assert product.served_everywhere("example.com") == everywhere(product.old)


def test_a_section_without_a_lineage_makes_no_folder(product):
    configure(product, **{"example.com": "example.com"})
    result = pushed(product, status=FAILED)
    assert "no lineage covers example.com" in result.stderr
    assert not folder(product, "example.com")
    assert product.deploy("reconcile").returncode in (DONE, 75)  # nothing is installed for it yet
    assert product.served_everywhere("example.com") == everywhere(product.old)


def test_names_are_added_to_a_folder_and_taken_away(product):
    bundle = product.issue("a.example.edu", "b.example.edu", "c.example.edu")
    lineage(product, "npm-20", bundle)
    configure(product, net="a.example.edu, b.example.edu")
    pushed(product)
    configure(product, net="b.example.edu, c.example.edu")
    before = started(product)
    result = product.deploy("reconcile", "-v")
    assert result.returncode == DONE, result
    assert started(product) == before
    assert folder(product, "net")["domains"] == "b.example.edu c.example.edu"
    for name, expected in {"a.example.edu": product.old, "b.example.edu": bundle, "c.example.edu": bundle}.items():
        assert product.served_everywhere(name) == everywhere(expected), name
    assert_as_mailcow_renders(product)


def test_a_folder_is_removed(product):
    bundle = product.issue("*.example.edu", OTHER)
    product.mailcow.add_sni(OTHER, bundle, OTHER, restart=False)
    product.mailcow.add_sni("stays", product.issue("stays.example.com"), "stays.example.com")
    before = started(product)
    result = product.deploy("remove", OTHER)
    assert result.returncode == DONE, result
    assert started(product) == before
    assert not product.mail.exists(f"{mailcow.SSL}/{OTHER}")
    assert product.served_everywhere(OTHER) == everywhere(product.old)
    assert set(product.served_everywhere("stays.example.com").values()) != {product.old.fingerprint}
    assert OTHER not in "".join(rendered(product))
    new = product.renew()  # a reload would fail if a configuration still named the folder
    pushed(product, status=FAILED)  # nobody has a lineage for "stays"
    assert_deployed(product, new)
    assert_as_mailcow_renders(product)


def test_what_is_left_to_another_folder_is_served_by_it(product):
    """Behind a removed folder comes whatever other folder has the name, by a wildcard, too."""
    wild = product.issue("*.example.edu")
    product.mailcow.add_sni("wild", wild, "*.example.edu .example.edu", restart=False)
    product.mailcow.add_sni("exact", product.issue(OTHER), OTHER)
    result = product.deploy("remove", "exact")
    assert result.returncode == DONE, result
    assert product.served_everywhere(OTHER) == everywhere(wild)


def test_a_folder_with_files_of_others_stays_and_serves_no_more(product):
    product.mailcow.add_sni(OTHER, product.issue(OTHER), OTHER)
    product.mail.write(f"{mailcow.SSL}/{OTHER}/notes.txt", "mine")
    result = product.deploy("remove", OTHER, "-v")
    assert result.returncode == DONE, result
    assert folder(product, OTHER) == {"notes.txt": "mine"}
    assert "notes.txt" in result.stdout
    assert product.served_everywhere(OTHER) == everywhere(product.old)


def test_a_removal_ends_beside_what_is_never_served(product):
    """A port that is closed, and a server that shows another leaf whatever is done, are no reason to go on with it for ever."""
    product.mailcow.add_sni(OTHER, product.issue(OTHER), OTHER)
    product.mail.write("/run/lab/other.pem", product.issue("other.example.org").pem)
    server = product.mail.popen([PYTHON, "-I", "-c", OTHER_SERVER], stdout=subprocess.PIPE, text=True)
    try:
        good = ", ".join(f"{name}://127.0.0.1:{port}" for name, port in (("smtps", 465), ("imaps", 993), ("https", 443)))
        never = f"pop3s://127.0.0.1:1, imaps://127.0.0.1:{int(server.stdout.readline())}"
        product.write_deploy_conf({"verify": {"timeout": "5s", "endpoints": f"{good}, {never}"}})
        product.start_deployer()
        result = product.deploy("remove", OTHER, "-v")
        assert result.returncode == FAILED and "2 of 5 endpoints" in result.stdout + result.stderr, result
        assert words(result, "removed") and not product.mail.exists(f"{mailcow.SSL}/{OTHER}")
        result = product.deploy("reconcile", "-v")
        assert result.returncode == FAILED and ("nginx-mailcow", "bootstrap") not in commands(result)
        anew = product.issue(OTHER)
        product.mailcow.add_sni(OTHER, anew, OTHER)
        product.deploy("reconcile")
        assert folder(product, OTHER) == {"cert.pem": anew.fullchain, "key.pem": anew.key, "domains": OTHER}
        assert product.served_everywhere(OTHER) == everywhere(anew)
    finally:
        server.stop()


def test_a_folder_that_was_made_anew_is_not_removed(product):
    """By hand, before any pass could finish its removal."""
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    product.write_deploy_conf({"docker": {"host": "unix:///run/none.sock"}})
    product.start_deployer()
    assert product.deploy("remove", OTHER).returncode == TEMPORARY
    assert product.deploy("reconcile").returncode == TEMPORARY
    assert folder(product, OTHER).keys() == {"cert.pem", "key.pem"}
    anew = product.issue(OTHER)
    product.mailcow.install(anew, OTHER)
    product.mail.write(f"{mailcow.SSL}/{OTHER}/domains", OTHER)
    product.write_deploy_conf()
    product.start_deployer()
    result = product.deploy("reconcile", "-v")
    assert result.returncode == DONE and words(result, "kept") != [] and words(result, "removed") == [], result
    assert folder(product, OTHER) == {"cert.pem": anew.fullchain, "key.pem": anew.key, "domains": OTHER}
    assert product.served_everywhere(OTHER) == everywhere(anew)


def test_a_folder_stays_while_nginx_may_read_it_and_who_brings_nothing_new_is_not_reloaded_for(impatient):
    """nginx would refuse every reload without its files; and a removal that waits lets no pusher reload again and again."""
    new = impatient.renew()
    pushed(impatient)
    impatient.mailcow.add_sni(OTHER, impatient.issue(OTHER), OTHER)
    impatient.mailcow.add_sni("evil", impatient.issue("evil.example.edu"), "evil.example.edu; }", restart=False)
    assert impatient.deploy("remove", OTHER).returncode == FAILED
    told = []
    for _ in range(2):
        with relay(impatient) as session:
            session.reply()
            assert session.ask(HELLO, put(new.pem)).code == 251
            told.append({line.split()[0] for line in session.ask("DEPLOY").progress})
        assert folder(impatient, OTHER).keys() == {"cert.pem", "key.pem"}
    assert "reloaded" in told[0] and "reloaded" not in told[1], told
    shutil.rmtree(impatient.mail.path(f"{mailcow.SSL}/evil"))
    assert impatient.deploy("reconcile").returncode == DONE
    assert not impatient.mail.exists(f"{mailcow.SSL}/{OTHER}")
    assert impatient.served_everywhere(OTHER) == everywhere(new)


def test_a_folder_that_its_section_asks_for_is_not_removed(product):
    lineage(product, "npm-20", product.issue(OTHER))
    configure(product, **{OTHER: OTHER})
    pushed(product)
    result = product.deploy("remove", OTHER)
    assert result.returncode != DONE and f"[sni {OTHER}]" in result.stderr
    assert "domains" in folder(product, OTHER)


# ---- the rollback


def rolled_back(result) -> list[str]:
    return [line.split()[1] for line in words(result, "rolled-back")]


def test_a_folder_of_somebody_elses_outlives_a_rollback(impatient):
    """Its `domains` is written anew while the primary certificate is one that Dovecot cannot load, so that its names break, too."""
    own = impatient.issue("a.example.edu", "b.example.edu", age=60)
    impatient.mail.write(mailcow.EXTRA, "ssl_cipher_list = DEFAULT@SECLEVEL=3\nssl_dh =\n")
    impatient.mailcow.add_sni(OTHER, own, "a.example.edu\nb.example.edu")
    impatient.renew(impatient.issue(key="rsa2048"))
    result = pushed(impatient, status=FAILED)
    assert rolled_back(result) == ["primary"]
    assert folder(impatient, OTHER) == {"cert.pem": own.fullchain, "key.pem": own.key, "domains": "a.example.edu b.example.edu"}
    for name in ("a.example.edu", "b.example.edu"):
        assert impatient.served_everywhere(name) == everywhere(own), name
    assert_deployed(impatient, impatient.old)
    assert_as_mailcow_renders(impatient)


@pytest.fixture
def breaking(impatient):
    """A folder is to be made that Postfix breaks with."""
    impatient.mailcow.take_ecdsa_alone()
    lineage(impatient, "npm-20", impatient.issue(OTHER, key="rsa2048"))
    impatient.write_deploy_conf({f"sni {OTHER}": {"domains": OTHER}, "verify": {"timeout": "8s"}})
    impatient.start_deployer()
    return impatient


def test_a_new_folder_that_breaks_a_listener_is_removed_again(breaking):
    new = breaking.renew()
    result = pushed(breaking, status=FAILED)
    assert rolled_back(result) == [] and words(result, "removed") != [], result.stdout
    assert not folder(breaking, OTHER)
    for name in (None, OTHER):
        assert breaking.served_everywhere(name) == everywhere(new), name


def assert_removed_later(lab) -> None:
    assert folder(lab, OTHER).keys() == {"cert.pem", "key.pem", "domains"}
    result = lab.deploy("reconcile", "-v")
    assert result.returncode == FAILED and words(result, "removed") != [], result
    assert not folder(lab, OTHER)
    for name in (None, OTHER):
        assert lab.served_everywhere(name) == everywhere(lab.old), name


def test_a_new_folder_whose_removal_could_not_be_recorded_is_removed_later(breaking):
    with injecting(breaking, "renameat", "error=EIO:when=3", "record.json"):
        assert "cannot be rolled back" in pushed(breaking, status=FAILED).stderr
    assert_removed_later(breaking)


@pytest.mark.parametrize("refused_first", [False, True])
def test_a_new_folder_that_breaks_a_listener_is_removed_after_a_crash(breaking, refused_first):
    """The session died once `domains` was written: to the next it is no new one, but for the record. refused_first: its pair
    was accepted before, and kept for when a finding is resolved."""
    if refused_first:
        with acme(breaking, "n"):
            assert "acme-active" in pushed(breaking, status=FAILED).stderr
        assert not folder(breaking, OTHER)
    push = start_push(breaking)
    read_until(push, "added")
    for pid in sessions(breaking):
        os.kill(pid, signal.SIGKILL)
    assert end(push).returncode == TEMPORARY
    assert_removed_later(breaking)


# ---- folders that overlap


def test_a_forgotten_folder_of_the_main_name_is_renewed_with_it(product):
    """mailcow's own ACME leaves it: nginx passes it over, Postfix and Dovecot serve it for the mail host's name."""
    product.mailcow.add_sni(HOSTNAME, product.issue(HOSTNAME, days=90, age=100), HOSTNAME)
    assert product.served(993, servername=HOSTNAME) != product.old.fingerprint
    assert product.served(443, servername=HOSTNAME) == product.old.fingerprint
    new = product.renew()
    before = started(product)
    result = pushed(product)
    for name in (None, *NAMES):
        assert product.served_everywhere(name) == everywhere(new), name
    assert folder(product, HOSTNAME)["cert.pem"] == new.fullchain
    assert sorted(set(commands(result))) == sorted(commands(result))
    assert started(product) == before


def test_a_forgotten_folder_may_have_a_lineage_of_its_own(product):
    product.mailcow.add_sni(HOSTNAME, product.issue(HOSTNAME, age=80), f"{HOSTNAME} old.example.org")
    own = product.issue(HOSTNAME, "old.example.org")
    lineage(product, "npm-20", own)
    product.write_deploy_conf({"mailcow": {"require": "imap.example.org"}})
    product.start_deployer()
    new = product.renew()
    pushed(product)
    assert product.served(993, servername=HOSTNAME) == own.fingerprint
    assert product.served(443, servername=HOSTNAME) == product.served(993) == new.fingerprint
    assert product.served(443, servername="old.example.org") == new.fingerprint  # nginx passes the folder over


@pytest.mark.parametrize("age", [80, 100])
def test_a_forgotten_folder_that_no_lineage_covers_is_told_with_the_way_out(impatient, age):
    """Expired, it is a failure: mail clients see it. Either way nothing is restarted for it."""
    impatient.mailcow.add_sni(HOSTNAME, impatient.issue(HOSTNAME, days=90, age=age), f"{HOSTNAME} old.example.org")
    new = impatient.renew()
    before = started(impatient)
    result = pushed(impatient, status=FAILED)
    assert f"mailcow-cert-deploy remove {HOSTNAME}" in result.stdout
    assert "old.example.org" in result.stderr
    assert (f"primary: deployed {new.fingerprint}" in result.stdout) == (age < 90)
    assert started(impatient) == before
    assert impatient.deploy("remove", HOSTNAME).returncode == DONE
    assert impatient.served_everywhere(HOSTNAME) == everywhere(new)
    assert pushed(impatient).returncode == DONE


def test_two_folders_with_one_name_are_told(impatient):
    """Which of them is served is by chance: nginx takes the first in the file system, Dovecot the last."""
    first, second = impatient.issue("dup.example.edu"), impatient.issue("dup.example.edu")
    impatient.mailcow.add_sni("first", first, "dup.example.edu", restart=False)
    impatient.mailcow.add_sni("second", second, "dup.example.edu")
    lineage(impatient, "npm-20", impatient.issue("dup.example.edu"))
    new = impatient.renew()
    before = started(impatient)
    result = pushed(impatient, status=FAILED)
    assert "SNI folder second: dup.example.edu belongs to first already" in result.stdout
    assert f"mailcow: primary: deployed {new.fingerprint}" in result.stdout
    assert_deployed(impatient, new)
    assert folder(impatient, "second")["cert.pem"] == second.fullchain
    assert started(impatient) == before, "no restart cures that"


def test_an_unusable_folder_is_told_and_hinders_no_other(product):
    product.mailcow.add_sni("bad", product.issue("bad.example.edu"), "bad.example.edu under_score.example.edu")
    new = product.renew()
    result = pushed(product)
    assert "SNI folder bad: domains: not a host name: under_score.example.edu" in result.stdout
    assert_deployed(product, new)


# Links inside the SSL folder, which mailcow's start scripts follow.
LINKED, PARTLY = "linked.example.com", "partly.example.com"


@pytest.fixture
def linked(product) -> Bundle:
    """Served, as mailcow has it: a folder that is a link, and one whose pair is the primary's by links."""
    bundle, ssl = product.issue(LINKED, age=60), product.mail.path(mailcow.SSL)
    (ssl / "archive/linked").mkdir(parents=True)
    product.mailcow.install(bundle, "archive/linked")
    (ssl / "archive/linked/domains").write_text(LINKED)
    (ssl / LINKED).symlink_to("archive/linked")
    (ssl / PARTLY).mkdir()
    (ssl / PARTLY / "domains").write_text(PARTLY)
    for name in ("cert.pem", "key.pem"):
        (ssl / PARTLY / name).symlink_to(f"../{name}")
    product.mailcow.restart()
    assert product.served_everywhere(LINKED) == everywhere(bundle)
    assert product.served_everywhere(PARTLY) == everywhere(product.old)
    return bundle


def assert_links_are_told(result) -> None:
    told = "\n".join(words(result, "warning"))
    for what in (f"SNI folder {LINKED}: it is a symbolic link", f"SNI folder {PARTLY}: key.pem is a symbolic link"):
        assert f"{what}, which is not followed from here: nothing renews it; put the f" in told, result


def test_what_is_linked_stays_on_the_wire(product, linked):
    before, files, new = started(product), rendered(product), product.renew()
    assert_links_are_told(pushed(product))
    assert_deployed(product, new)
    assert product.served_everywhere(LINKED) == everywhere(linked)
    assert product.served_everywhere(PARTLY) == everywhere(new)
    assert rendered(product) == files and started(product) == before
    result = product.deploy("check")
    assert f"SNI folder {LINKED}: it is a symbolic link" in result.stdout + result.stderr


def test_what_is_linked_stays_on_the_wire_when_a_folder_is_added(product, linked):
    other = product.issue(OTHER)
    lineage(product, "npm-20", other)
    configure(product, **{OTHER: OTHER})
    before = started(product)
    assert_links_are_told(pushed(product))
    assert product.served_everywhere(OTHER) == everywhere(other)
    assert product.served_everywhere(LINKED) == everywhere(linked)
    assert product.served_everywhere(PARTLY) == everywhere(product.old)
    assert started(product) == before
    assert_as_mailcow_renders(product)


def test_what_breaks_nginx_configuration_is_not_put_in_place(product):
    """What somebody has written into another folder must not cost the renewals to come."""
    product.mailcow.add_sni("evil", product.issue("evil.example.edu"), "evil.example.edu; }", restart=False)
    lineage(product, "npm-20", product.issue(OTHER))
    product.write_deploy_conf({f"sni {OTHER}": {"domains": OTHER}, "verify": {"timeout": "8s"}})
    product.start_deployer()
    before = started(product)
    result = product.push("-v")
    assert "command=bootstrap: exit code 1: " in result.stdout and "[emerg]" in result.stdout, result
    assert started(product) == before, "nginx would not come back"
    assert product.mailcow.exec("nginx-mailcow", "nginx", "-t", check=False).returncode == 0
    new = product.renew()
    product.push()
    assert product.served_everywhere() == everywhere(new)


# ---- what postmap says, and many folders


def test_what_postmap_says_is_told(impatient):
    """It leaves out what it cannot read, and exits with 0: as another user it cannot read the keys."""
    impatient.mailcow.add_sni(OTHER, impatient.issue(OTHER, age=60), OTHER)
    for path in (MAP, MAP_DB):
        impatient.mail.run(["chown", "100000:100000", path])
    lineage(impatient, "npm-20", impatient.issue(OTHER))
    result = pushed(impatient, status=FAILED)
    assert re.search(r"not-reloaded +\S+ ms  postfix-mailcow .*command=postmap: postmap: warning: .*Permission denied",
                     result.stdout), result.stdout
    assert f"{OTHER}: failed" in result.stderr


def test_a_map_of_another_user_is_made_roots_again(product):
    product.mailcow.add_sni(OTHER, product.issue(OTHER, age=60), OTHER)
    product.mail.run(["chown", "-R", "1000:1000", f"{mailcow.PATH}/data/conf/postfix"])
    new = product.issue(OTHER)
    lineage(product, "npm-20", new)
    pushed(product)
    assert product.served_everywhere(OTHER) == everywhere(new)


def test_postfix_may_have_been_told_to_leave_the_folders_out(product):
    """By SKIP_LETS_ENCRYPT in its own environment, which mailcow's compose file does not give it, but an override may."""
    old = product.issue(OTHER, age=60)
    product.mailcow.add_sni(OTHER, old, OTHER, restart=False)
    product.mailcow.recreate("postfix-mailcow", "--env=SKIP_LETS_ENCRYPT=y")
    product.mailcow.restart()
    assert product.mail.read(MAP) == ""
    new = product.issue(OTHER)
    lineage(product, "npm-20", new)
    pushed(product)
    served = product.served_everywhere(OTHER)
    assert {name for name in served if served[name] == product.old.fingerprint} == {"smtp", "smtps", "submission"}
    assert set(served.values()) == {product.old.fingerprint, new.fingerprint}
    assert product.mail.read(MAP) == ""


def test_fifty_folders_in_one_push(product):
    bundles = {f"n{i}.example.edu": product.issue(f"n{i}.example.edu", key="p256") for i in range(50)}
    for i, (name, bundle) in enumerate(bundles.items()):
        lineage(product, f"npm-{100 + i}", bundle)
    configure(product, **{name: f"{name}" for name in bundles})
    begin = time.monotonic()
    result = pushed(product)
    print(f"fifty folders: {time.monotonic() - begin:.1f} s")
    assert sorted(set(commands(result))) == sorted(commands(result))
    for name in ("n0.example.edu", "n49.example.edu"):
        assert product.served_everywhere(name) == everywhere(bundles[name])
