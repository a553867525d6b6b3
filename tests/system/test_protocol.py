"""The protocol as it is spoken: over the real sshd, through the relay, and at the socket; and everything it must survive."""
import contextlib
import hashlib
import os
import re
import socket
import time

import pytest

from tests.lab.host import wait_for
from tests.lab.lab import HOSTNAME
from tests.system.checks import DONE, Untouched, assert_deployed, assert_works_again, sessions, ssl_folder, undisturbed
from tests.system.protocol import HELLO, connect, greeted, parse, put, relay

FINGERPRINT, TIME = "[0-9a-f]{64}", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def over_ssh(lab, *parts: bytes, args=()):
    """A whole session: everything is sent at once, then the end."""
    result = lab.ssh(*args, input=b"".join(parts))
    return parse(result.stdout.decode("ascii"))


# ---- what is said


def test_the_greeting(undisturbed):
    with relay(undisturbed) as session:
        rows = greeted(session).rows
    assert re.fullmatch(rf"mailcow-cert-deploy version=\S+ protocol=1 host={HOSTNAME}", rows[0])
    assert re.fullmatch(rf"want id=primary installed={undisturbed.old.fingerprint} not-after={TIME} state=none", rows[1])
    assert rows[2:] == [f"name id=primary name={HOSTNAME}", "ready"]


def test_a_whole_session(product):
    new = product.issue()
    with relay(product) as session:
        greeted(session)
        judged = session.ask(HELLO, put(new.pem))
        assert judged.code == 250 and re.fullmatch(
            rf"judged want=primary fingerprint={new.fingerprint} not-after={TIME} key=P-256 chain=1 us=\d+", judged.text)
        verdict = session.ask("DEPLOY")
        assert session.line() is None  # the verdict is the end
    assert verdict.code == 250 and verdict.text == "deployed served=9 endpoints=9"
    assert re.fullmatch(rf"want id=primary result=deployed fingerprint={new.fingerprint} not-after={TIME} generation=\S+",
                        verdict.rows[0])
    words = [line.split()[0] for line in verdict.progress]
    assert words == ["staged", "installed", *["reloaded"] * 2, *["verified"] * 5, "reloaded", *["verified"] * 4]
    assert_deployed(product, new)
    with relay(product) as session:
        row = greeted(session).rows[1]
    assert f"installed={new.fingerprint}" in row and "state=served" in row


def test_what_is_installed_already(product):
    new = assert_works_again(product)
    with Untouched(product), relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(new.pem)).code == 251
        verdict = session.ask("DEPLOY")
    assert verdict.code == 251 and verdict.text.startswith("unchanged")


def test_a_bare_bundle_over_ssh(product):
    """cat fullchain.pem privkey.pem | ssh certsync@mail.example.org"""
    new = product.renew()
    live = "/etc/nginx/letsencrypt/live/npm-5"
    pem = product.proxy.run(["cat", f"{live}/fullchain.pem", f"{live}/privkey.pem"]).stdout
    greeting, judged, verdict = over_ssh(product, pem.encode())
    assert (greeting.code, judged.code, verdict.code) == (220, 250, 250)
    assert verdict.text == "deployed served=9 endpoints=9"
    assert_deployed(product, new)


@pytest.mark.parametrize("arrange", [
    lambda b: b.key + b.fullchain,
    lambda b: b.pem.replace("\n", "\r\n"),
], ids=["key first", "CRLF"])
def test_a_bare_bundle_in_another_form(product, arrange):
    new = product.renew()
    assert [reply.code for reply in over_ssh(product, arrange(new).encode())] == [220, 250, 250]
    assert_deployed(product, new)


def test_a_bare_bundle_that_is_refused(product):
    with Untouched(product):
        replies = over_ssh(product, product.issue("other.example.org").pem.encode())
    assert [reply.code for reply in replies] == [220, 550] and "reason=name-not-covered" in replies[-1].text


def test_arguments_and_commands_are_ignored(product):
    with Untouched(product):
        for args in (["reboot; id"], ["/bin/sh", "-c", "touch /tmp/was-here"], ["-s", "sftp"], ["true", "--socket", "/tmp/x"]):
            replies = over_ssh(product, HELLO, b"QUIT\n", args=args)
            assert [reply.code for reply in replies] == [220, 221], args
    assert not product.mail.exists("/tmp/was-here")


def test_no_terminal_and_no_forwarding(product):
    terminal = product.ssh("-tt", input=HELLO + b"QUIT\n")
    assert b"PTY allocation request failed" in terminal.stderr
    forward = product.ssh("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22", input=b"")
    assert forward.returncode == 255 and b"forwarding failed" in forward.stderr
    local = product.ssh("-W", "127.0.0.1:993", input=b"")
    assert local.returncode != 0 and b"prohibited" in local.stderr


# ---- what is wrong


@pytest.mark.parametrize("said, code", [
    (b"EHLO example.org\n", 500),
    (b"hello 1 test\n", 500),
    (b"GET / HTTP/1.1\r\nHost: mail\r\n\r\n", 500),
    (b"\n", 500),
    (b"PUT primary 3 abc\n", 500),  # before HELLO
    (b"DEPLOY\n", 500),
    (b"HELLO 2 test\n", 504),
    (b"HELLO 0 test\n", 504),
    (b"HELLO\n", 501),
    (b"HELLO one test\n", 501),
    (HELLO + b"FLY\n", 500),
    (HELLO + b"DEPLOY\n", 503),
    (HELLO + b"PUT\n", 501),
    (HELLO + b"PUT primary 5 short\nhello", 501),
    (HELLO + b"PUT primary -5 " + b"0" * 64 + b"\n", 501),
    (HELLO + b"PUT primary 99999999999999999999 " + b"0" * 64 + b"\n", 501),
    (HELLO + b"PUT ../x 5 " + b"0" * 64 + b"\nhello", 501),
    (HELLO + put("x" * 100, want="nobody"), 501),
    (HELLO + put("x" * 100, digest="0" * 64), 501),
    (HELLO + put("", length=128 * 1024 + 1), 552),
    (HELLO + put("x" * 10, length=2**31 - 1), 552),
    (HELLO + put(""), 550),
    (HELLO + put("x" * 100), 550),
    (b"\x00\x01\xff\xfe\n", 500),
    (HELLO + b"PUT \xff\n", 500),
    (b"x" * 1001 + b"\n", 500),
    (b"x" * (1 << 20), 500),
    (HELLO + b"PUT " + b"x" * (1 << 20), 500),
    (bytes(range(256)) * 64, 500),
], ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value))
def test_what_is_wrong_is_answered(undisturbed, said, code):
    with Untouched(undisturbed), relay(undisturbed) as session:
        greeted(session)
        with contextlib.suppress(BrokenPipeError):
            session.send(said)
        reply = session.reply()
        assert reply.code == code and len(reply.text) > 8, reply
        assert "�" not in reply.text


def test_a_wrong_digest_is_told_and_the_session_goes_on(product):
    new = product.issue()
    with relay(product) as session:
        greeted(session)
        reply = session.ask(HELLO, put(new.pem, digest="0" * 64))
        assert reply.code == 501 and hashlib.sha256(new.pem.encode()).hexdigest() in reply.text
        assert session.ask("DEPLOY").code == 503


def test_a_second_bundle_takes_the_place_of_the_first(product):
    first, second = product.issue(), product.issue()
    with relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(first.pem)).code == 250
        assert session.ask(put(second.pem)).code == 250
        assert session.ask("DEPLOY").code == 250
    assert_deployed(product, second)


def test_a_refused_second_bundle_leaves_nothing_to_deploy(product):
    """What is deployed is what was said last."""
    with Untouched(product), relay(product) as session:
        greeted(session)
        assert session.ask(HELLO, put(product.issue().pem)).code == 250
        assert session.ask(put("rubbish")).code == 550
        reply = session.ask("DEPLOY")
        assert reply.code in (251, 503), reply


@pytest.mark.parametrize("start", [b"", HELLO, b"-----BEGIN CERTIFICATE-----\n",
                                   HELLO + b"PUT primary 100000 " + b"0" * 64 + b"\n"],
                         ids=["nothing", "hello", "bare", "put"])
def test_ten_mebibytes(product, start):
    with Untouched(product):
        result = product.ssh(input=start + b"A" * (10 << 20), timeout=30)
        replies = [int(line[:3]) for line in result.stdout.decode().splitlines() if line[3] == " "]
    assert replies[0] == 220 and replies[1] >= 500, result
    assert_works_again(product)


def test_a_session_has_a_budget(product):
    """Good bundles over and over: the session ends, nothing else does."""
    bundle = put("x" * 120_000)
    with Untouched(product), relay(product) as session:
        greeted(session)
        session.send(HELLO)
        codes = []
        with contextlib.suppress(BrokenPipeError):
            for _ in range(100):
                codes.append(session.ask(bundle).code)
                if codes[-1] != 550:
                    break
        assert codes[-1] in (421, 500, 552) and 30 < len(codes) < 100, codes
    assert_works_again(product)


# ---- cut, half-closed, silent


def positions(total: int) -> list[int]:
    return [1, len(HELLO) - 1, len(HELLO) + 5, *range(100, total, 150), total - 1]


def test_cut_at_many_places(product):
    """Whatever was not sent whole is not installed, whether or not DEPLOY could have followed."""
    new = product.issue()
    whole = HELLO + put(new.pem) + b"DEPLOY"
    with Untouched(product):
        for end in positions(len(whole)):
            with relay(product) as session:
                greeted(session)
                session.send(whole[:end])
                session.process.stdin.close()
                reply = session.reply()
                assert reply is None or reply.code in (250, 501), (end, reply)
            wait_for(lambda: not sessions(product), "the session has ended")
    assert_works_again(product)


def test_a_bare_bundle_cut_at_many_places(product):
    new = product.issue()
    end_of_key = len(new.pem) - len("-----END PRIVATE KEY-----\n")
    with Untouched(product):
        for end in [30, *range(100, end_of_key, 200), end_of_key]:
            with relay(product) as session:
                greeted(session)
                session.send(new.pem[:end].encode())
                session.process.stdin.close()
                reply = session.reply()
                assert reply.code in (500, 550), (end, reply)
    assert_works_again(product)


def test_the_relay_is_killed_in_mid_bundle(product):
    with Untouched(product):
        with relay(product) as session:
            greeted(session)
            session.send(HELLO, put(product.issue().pem)[:500])
            session.process.kill()
        wait_for(lambda: not sessions(product), "the session has ended", 45)  # less than it may last
    assert_works_again(product)


def test_a_half_closed_stream_is_still_answered(product):
    new = product.renew()
    replies = over_ssh(product, HELLO, put(new.pem), b"DEPLOY\n")
    assert [reply.code for reply in replies] == [220, 250, 250]
    assert_deployed(product, new)


def test_a_client_that_leaves_after_deploy_is_deployed_for(product):
    new = product.issue()
    with connect(product) as session:
        greeted(session)
        session.send(HELLO, put(new.pem), "DEPLOY")
        session.progress("staged")
    wait_for(lambda: not sessions(product), "the session has ended")
    assert_deployed(product, new)


def test_a_client_that_does_not_read_does_not_stop_the_deployment(product):
    new = product.issue()
    with connect(product) as session:
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        session.send(HELLO, put(new.pem), "DEPLOY")
        wait_for(lambda: product.mailcow.installed()[1] == new.key, "the pair")
        wait_for(lambda: not sessions(product), "the session has ended", 60)
    assert_deployed(product, new)


def test_bytes_one_at_a_time(product):
    new = product.issue()
    with connect(product) as session:
        greeted(session)
        for byte in HELLO + put(new.pem) + b"DEPLOY\n":
            session.send(bytes([byte]))
        assert session.reply().code == 250
        assert session.reply().code == 250
    assert_deployed(product, new)


def test_many_silent_sessions_keep_nobody_out(product):
    """Neither the operator, nor for longer than they live an honest push."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(relay(product)) for _ in range(40)]
        assert {session.reply().code for session in silent} == {220}
        assert product.deploy("status").returncode == DONE
        assert product.deploy().returncode == DONE
    wait_for(lambda: not sessions(product), "the sessions have ended")
    assert_works_again(product)


def test_a_pusher_that_says_nothing_is_told_and_ended(product):
    begin = time.monotonic()
    with relay(product) as silent:
        greeted(silent)
        assert silent.reply(timeout=40).code == 421
    assert 14 < time.monotonic() - begin < 30


@pytest.mark.skipif("CERTSYNC_SLOW_TESTS" not in os.environ, reason="takes the product's own limit, a minute")
def test_a_slow_client_is_told_and_ended(product):
    begin = time.monotonic()
    with relay(product) as in_put, connect(product) as dripping:
        greeted(in_put)
        greeted(dripping)
        in_put.send(HELLO, put(product.issue().pem)[:300])
        while sessions(product) and time.monotonic() - begin < 58:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                dripping.send(b"H")
            time.sleep(0.2)  # the drip of a client that never finishes
        for session in (in_put, dripping):
            assert session.reply(timeout=20).code == 421
    assert 55 < time.monotonic() - begin < 75


def test_the_relay_says_when_nobody_listens(product):
    product.stop_deployer()
    with relay(product) as session:
        assert session.line().startswith("421 unavailable")
        assert session.line() is None
        assert session.process.wait(10) == 75


def test_two_deployments_at_once(product):
    """One after the other; what stays is one of them, whole and served."""
    first, second = product.issue(age=2), product.issue(age=1)
    with relay(product) as one, relay(product) as two:
        for session, bundle in ((one, first), (two, second)):
            greeted(session)
            session.send(HELLO, put(bundle.pem), "DEPLOY")
        replies = [[session.reply(), session.reply()] for session in (one, two)]
    assert [judged.code for judged, _ in replies] == [250, 250]
    assert replies[1][1].code == 250 and replies[0][1].code in (250, 550, 554), replies
    assert_deployed(product, second)
    assert set(ssl_folder(product)) == {".", "cert.pem", "dhparams.pem", "key.pem"}
