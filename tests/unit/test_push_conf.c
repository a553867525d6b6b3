/* pusher/push_conf: sources and targets, their defaults, and what is missing or too much. */
#include "tests/unit/testing.h"

#include "pusher/push_conf.h"

#define SOURCE "[source npm]\npath = /live\n"
#define TARGET "[target mailcow]\nhost = mail.example.org\n"

struct reading {
    struct push_conf conf;
    struct problems problems;
    int rc;
};

static void forget(struct reading *r)
{
    push_conf_free(&r->conf);
    problems_free(&r->problems);
}

static void read_conf(struct reading *r, const struct directory *d, const char *text)
{
    forget(r);
    r->rc = push_conf_read(write_text(d, "push.conf", text), &r->conf, &r->problems);
    assert_int_equal(r->rc, r->problems.count ? E_CONFIG : 0);
}

static void refused(const struct directory *d, const char *text, const char *problem)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, d, text);
    assert_int_equal(r.rc, E_CONFIG);
    assert_has(r.problems.text, problem);
    assert_int_equal(r.problems.count, 1);
}

static void has_defaults(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, *state, SOURCE TARGET);
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.conf.state, "/var/lib/mailcow-cert-push");
    assert_int_equal(r.conf.verify_every, 86400);
    assert_int_equal(r.conf.watch_every, 3600);
    assert_string_equal(r.conf.textfile, "/var/lib/prometheus/node-exporter");
    assert_int_equal(r.conf.source_count, 1);
    assert_string_equal(r.conf.sources[0].name, "npm");
    assert_string_equal(r.conf.sources[0].path, "/live");
    assert_null(r.conf.sources[0].cert);
    assert_null(r.conf.sources[0].key);
    assert_int_equal(r.conf.target_count, 1);
    assert_string_equal(r.conf.targets[0].name, "mailcow");
    assert_string_equal(r.conf.targets[0].host, "mail.example.org");
    assert_int_equal(r.conf.targets[0].port, 22);
    assert_string_equal(r.conf.targets[0].user, "certsync");
    assert_string_equal(r.conf.targets[0].key, "/etc/mailcow-certsync/id_ed25519");
    assert_string_equal(r.conf.targets[0].known_hosts, "/etc/mailcow-certsync/known_hosts");
    assert_int_equal(r.conf.targets[0].wants.count, 0);
}

static void reads_every_key_of_several_sources_and_targets(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(
        &r, *state,
        "[push]\nstate = /s\nverify_every = 2d\nwatch_every = 10s\n[source a]\npath = /a\n[source b]\ncert = "
        "/b/c\nkey = /b/k\n"
        "[target x]\nhost = x.org\nport = 2222\nuser = u\nkey = /k\nknown_hosts = /kh\n[target y]\nhost = "
        "192.0.2.1\n");
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.conf.state, "/s");
    assert_int_equal(r.conf.verify_every, 172800);
    assert_int_equal(r.conf.watch_every, 10);
    assert_int_equal(r.conf.source_count, 2);
    assert_null(r.conf.sources[1].path);
    assert_string_equal(r.conf.sources[1].cert, "/b/c");
    assert_string_equal(r.conf.sources[1].key, "/b/k");
    assert_int_equal(r.conf.target_count, 2);
    assert_int_equal(r.conf.targets[0].port, 2222);
    assert_string_equal(r.conf.targets[0].user, "u");
    assert_string_equal(r.conf.targets[0].key, "/k");
    assert_string_equal(r.conf.targets[0].known_hosts, "/kh");
    assert_int_equal(r.conf.targets[1].port, 22);
    assert_string_equal(r.conf.targets[1].host, "192.0.2.1");
}

static void names_the_wants_of_a_target(void **state)
{
    static const char *const ids[] = {"primary", "imap.example.org", "*.example.net"};
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, *state, SOURCE TARGET "wants = primary, imap.example.org\n  *.example.net\n");
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.targets[0].wants.count, COUNT(ids));
    for (size_t i = 0; i < COUNT(ids); i++)
        assert_string_equal(r.conf.targets[0].wants.items[i], ids[i]);
    refused(
        *state, SOURCE TARGET "wants = primary, a/b\n",
        "push.conf:5: wants = a/b: expected wants as `mailcow-cert-push status` names them, such as primary");
    refused(*state, SOURCE TARGET "wants = ..\n", "push.conf:5: wants = ..: expected wants");
    refused(*state, SOURCE TARGET "wants = primary\nwants = a\n", "push.conf:6: wants is given twice");
    refused(*state, SOURCE TARGET "wants =\n", "push.conf:5: wants is empty");
}

static void wants_either_a_path_or_a_pair(void **state)
{
    static const char *const wrong[] = {
        "cert = /c\n",           "key = /k\n", "path = /p\ncert = /c\nkey = /k\n", "path = /p\ncert = /c\n",
        "path = /p\nkey = /k\n",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[300];
        snprintf(text, sizeof text, TARGET "[source s]\n%s", wrong[i]);
        refused(*state, text, "push.conf: [source s]: it needs either path, or cert and key");
    }
}

static void says_what_is_missing(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    refused(*state, TARGET, "push.conf: no [source NAME]: say where the lineages are");
    refused(*state, SOURCE, "push.conf: no [target NAME]: say where to push");
    refused(*state, SOURCE "[target x]\nport = 22\n", "push.conf: [target x]: host is missing");
    read_conf(&r, *state, "");
    assert_int_equal(r.problems.count, 2);
    forget(&r);
    assert_int_equal(push_conf_read(path_in(*state, "none"), &r.conf, &r.problems), E_CONFIG);
    assert_has(r.problems.text, "/none: read: No such file or directory");
    assert_int_equal(r.problems.count, 1);
}

static void refuses_bad_values(void **state)
{
    refused(*state, SOURCE TARGET "port = 0\n", "push.conf:5: port = 0: expected a number from 1 to 65535");
    refused(*state, SOURCE TARGET "port = 65536\n", ":5: port = 65536: expected a number");
    refused(*state, SOURCE TARGET "user = -oProxyCommand=x\n",
            ":5: user = -oProxyCommand=x: expected a user name");
    refused(*state, SOURCE TARGET "user = a b\n", ":5: user = a b: expected a user name");
    refused(*state, SOURCE TARGET "known_hosts = kh\n", ":5: known_hosts = kh: expected an absolute path");
    refused(*state, SOURCE TARGET "[metrics]\ntextfile = x\n",
            ":6: textfile = x: expected off, or the absolute path of a folder");
    refused(*state, SOURCE TARGET "[push]\nverify_every = 59\n",
            ":6: verify_every = 59: expected a duration");
    refused(*state, SOURCE TARGET "hosts = a\n",
            ":5: unknown key hosts in [target]; there are host, port, user, key, known_hosts");
    refused(*state, SOURCE TARGET "[target a/b]\nhost = a\n", ":5: [target a/b]: a name has letters, digits");
    refused(*state, SOURCE TARGET "[target alarms]\nhost = a\n",
            "push.conf:5: [target alarms]: no target may have that name, since alarms.json holds the alarms: "
            "choose another");
    refused(*state, SOURCE TARGET "[target ..]\nhost = a\n", ":5: [target ..]: a name has letters, digits");
    refused(
        *state, SOURCE TARGET "[targets]\nhost = a\n",
        ":5: unknown section [targets]; there are [push], [alarm], [metrics], [source NAME], [target NAME]");
}

/* Else it is raised whenever nothing changes for verify_every. */
static void contact_is_longer_than_verify_every(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    refused(*state, SOURCE TARGET "[alarm]\ncontact = 1d\n",
            "push.conf:6: contact = 86400s is no longer than verify_every, 86400s, the time between two "
            "contacts");
    refused(*state, "[alarm]\ncontact = 3d\n[push]\nverify_every = 4d\n" SOURCE TARGET,
            "push.conf:2: contact = 259200s is no longer than verify_every, 345600s");
    refused(*state, SOURCE TARGET "[alarm]\ncontact = 1h\n[push]\nverify_every = 1x\n",
            ":8: verify_every = 1x");
    read_conf(&r, *state, SOURCE TARGET "[alarm]\ncontact = 0\n");
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.alarm.contact, 0);
    read_conf(&r, *state, SOURCE TARGET "[alarm]\ncontact = 25h\n");
    assert_int_equal(r.rc, 0);
    read_conf(&r, *state, SOURCE TARGET "[push]\nverify_every = 365d\n");
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.alarm.contact, 730 * 86400);
}

static void bounds_sources_and_targets(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    char text[8000] = "";
    size_t n = 0;
    for (int i = 0; i < 32; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "[source s%d]\npath = /p\n[target t%d]\nhost = h\n",
                              i, i);
    read_conf(&r, *state, text);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.source_count, 32);
    assert_int_equal(r.conf.target_count, 32);
    strcat(text, "[source s32]\npath = /p\n[target t32]\nhost = h\n");
    read_conf(&r, *state, text);
    assert_int_equal(r.problems.count, 2);
    assert_has(r.problems.text, "push.conf:130: too many [source] sections");
    assert_has(r.problems.text, "push.conf:132: too many [target] sections");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(has_defaults),
        WITH_DIRECTORY(reads_every_key_of_several_sources_and_targets),
        WITH_DIRECTORY(names_the_wants_of_a_target),
        WITH_DIRECTORY(wants_either_a_path_or_a_pair),
        WITH_DIRECTORY(says_what_is_missing),
        WITH_DIRECTORY(refuses_bad_values),
        WITH_DIRECTORY(contact_is_longer_than_verify_every),
        WITH_DIRECTORY(bounds_sources_and_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
