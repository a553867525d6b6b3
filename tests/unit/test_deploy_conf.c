/* deployer/deploy_conf: the defaults, every key, and what is refused. */
#include "tests/unit/testing.h"

#include "deployer/deploy_conf.h"

#include <grp.h>

struct reading {
    struct deploy_conf conf;
    struct problems problems;
    int rc;
};

static void forget(struct reading *r)
{
    deploy_conf_free(&r->conf);
    problems_free(&r->problems);
}

static void read_conf(struct reading *r, const struct directory *d, const char *text)
{
    forget(r);
    r->rc = deploy_conf_read(write_text(d, "deploy.conf", text), &r->conf, &r->problems);
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

static void has_a_default_for_everything(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, *state, "");
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.conf.state, "/var/lib/mailcow-cert-deploy");
    assert_string_equal(r.conf.socket, "/run/mailcow-cert-deploy/deploy.sock");
    assert_string_equal(r.conf.push_user, "certsync");
    assert_string_equal(r.conf.trust, "/etc/ssl/certs/ca-certificates.crt");
    assert_string_equal(r.conf.mailcow, "/opt/mailcow-dockerized");
    assert_string_equal(r.conf.docker_host, "unix:///var/run/docker.sock");
    assert_null(r.conf.docker_cert_path);
    assert_int_equal(r.conf.docker_containers.count, 0);
    assert_int_equal(r.conf.idle, 120);
    assert_int_equal(r.conf.verify_timeout, 30);
    assert_int_equal(r.conf.start_timeout, 300);
    assert_int_equal(r.conf.require.count, 0);
    assert_int_equal(r.conf.optional.count, 0);
    assert_int_equal(r.conf.endpoints.count, 0);
    assert_null(r.conf.login);
    assert_true(deploy_conf_owner(&r.conf).uid == (uid_t)-1);
    assert_true(deploy_conf_owner(&r.conf).gid == (gid_t)-1);
}

static void reads_every_key(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(
        &r, *state,
        "[deploy]\nstate = /s\nsocket = /s/s\npush_user = pusher-1\ntrust = /t\nidle = 5m\n"
        "[mailcow]\npath = /m\nrequire = mail.example.org, *.example.net\n    example.com\n"
        "ignore = a.org, b\noptional = nginx-mailcow\nowner = 231072\ngroup = daemon\n[docker]\nhost = "
        "tcp://a.org:1\ncert_path = /c\n"
        "containers = nginx-mailcow=web, nginx-mailcow=web-2\n  dovecot-mailcow=a.b_c\n"
        "[verify]\ntimeout = 1m\nstart_timeout = 10m\nendpoints = smtp://mail.example.org:25, imaps://[::1]\n"
        "login = /l\n[metrics]\ntextfile = off\n");
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.conf.state, "/s");
    assert_string_equal(r.conf.socket, "/s/s");
    assert_string_equal(r.conf.push_user, "pusher-1");
    assert_string_equal(r.conf.trust, "/t");
    assert_int_equal(r.conf.idle, 300);
    assert_string_equal(r.conf.mailcow, "/m");
    assert_int_equal(r.conf.require.count, 3);
    assert_string_equal(r.conf.require.items[2], "example.com");
    assert_true(deploy_conf_ignores(&r.conf, "b") && !deploy_conf_ignores(&r.conf, "a"));
    assert_string_equal(r.conf.optional.items[0], "nginx-mailcow");
    assert_string_equal(r.conf.docker_host, "tcp://a.org:1");
    assert_string_equal(r.conf.docker_cert_path, "/c");
    assert_int_equal(r.conf.docker_containers.count, 3);
    assert_string_equal(r.conf.docker_containers.items[2], "dovecot-mailcow=a.b_c");
    assert_int_equal(deploy_conf_owner(&r.conf).uid, 231072);
    assert_int_equal(deploy_conf_owner(&r.conf).gid, getgrnam("daemon")->gr_gid);
    assert_int_equal(r.conf.verify_timeout, 60);
    assert_int_equal(r.conf.start_timeout, 600);
    assert_int_equal(r.conf.endpoints.count, 2);
    assert_string_equal(r.conf.endpoints.items[1], "imaps://[::1]");
    assert_string_equal(r.conf.login, "/l");
}

static void refuses_bad_values(void **state)
{
    refused(*state, "[deploy]\nstate = state\n", "deploy.conf:2: state = state: expected an absolute path");
    refused(*state, "[deploy]\npush_user = Root\n", ":2: push_user = Root: expected a user name");
    refused(*state, "[deploy]\npush_user =\n", ":2: push_user = : expected a user name");
    refused(*state, "[deploy]\nidle = 0\n", ":2: idle = 0: expected a duration");
    refused(*state, "[mailcow]\nrequire = Mail.example.org\n",
            ":2: require = Mail.example.org: expected host names in lower case");
    refused(*state, "[mailcow]\nrequire = a.org;b.org\n", ":2: require = a.org;b.org: expected host names");
    refused(*state, "[mailcow]\noptional = nginx\n",
            ":2: optional = nginx: expected services: nginx-mailcow");
    refused(*state, "[mailcow]\nowner = no such\n", ":2: owner = no such: expected a user of this host");
    refused(*state, "[mailcow]\nowner =\n", ":2: owner = : expected a user of this host");
    refused(*state, "[mailcow]\ngroup = -1\n", ":2: group = -1: expected a group of this host, or a number");
    refused(*state, "[mailcow]\ngroup = 4294967295\n", ":2: group = 4294967295: expected a group");
    refused(*state, "[metrics]\ntextfile = no\n",
            ":2: textfile = no: expected off, or the absolute path of a folder");
    refused(*state, "[verify]\ntimeout = 4\n", ":2: timeout = 4: expected a duration");
    refused(*state, "[verify]\ntimeout = 5m\n", ":2: timeout = 5m: expected a duration");
    refused(*state, "[verify]\nendpoints = http://a.org\n",
            ":2: endpoints = http://a.org: expected auto, or endpoints");
    refused(*state, "[verify]\nendpoint = auto\n",
            ":2: unknown key endpoint in [verify]; there are timeout, start_timeout, endpoints, login");
    refused(*state, "[mailcow x]\npath = /a\n",
            ":1: unknown section [mailcow x]; there are [deploy], [mailcow], [docker], [verify], [alarm], "
            "[metrics], [sni NAME]");
}

static void reads_sni_sections(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, *state,
              "[sni mail.example.net]\ndomains = example.net, *.example.net\n    mail.example.com\n"
              "[sni other]\ndomains=a.org\n");
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.sni_count, 2);
    assert_string_equal(r.conf.sni[0].name, "mail.example.net");
    assert_int_equal(r.conf.sni[0].domains.count, 3);
    assert_string_equal(r.conf.sni[0].domains.items[1], "*.example.net");
    assert_string_equal(r.conf.sni[1].name, "other");
}

static void refuses_sni_sections_that_cannot_be(void **state)
{
    static const char *const taken[] = {"primary",      "acme",    "acme-sh",     "backups", "cert.pem",
                                        "dhparams.pem", "key.pem", "force_renew", "domains"};
    char text[300], problem[300];
    for (size_t i = 0; i < COUNT(taken); i++) {
        snprintf(text, sizeof text, "\n[sni %s]\ndomains = a.org\n", taken[i]);
        snprintf(problem, sizeof problem, ":2: [sni %s]: mailcow, or this program, has that name", taken[i]);
        refused(*state, text, problem);
    }
    refused(*state, "[sni ../x]\ndomains = a.org\n", ":1: [sni ../x]: a name has letters, digits");
    refused(*state, "[sni]\ndomains = a.org\n", ":1: unknown section [sni]");
    refused(*state, "[sni a]\ndomains = A.org\n", ":2: domains = A.org: expected host names in lower case");
    refused(*state, "[sni a]\ndomains = .a.org\n", ":2: domains = .a.org: expected host names");
    refused(*state, "[sni a]\ndomains = a.org;\n", ":2: domains = a.org;: expected host names");
    refused(*state, "[sni a]\ndomains =\n", "deploy.conf: [sni a]: domains is missing");
    refused(*state, "[sni a]\n[verify]\n", "deploy.conf: [sni a]: domains is missing");
    refused(*state, "[verify]\n\n[sni a]", "deploy.conf: [sni a]: domains is missing");
    refused(*state, "[sni a]\ndomain = a.org\n", ":2: unknown key domain in [sni]; there are domains");
    refused(*state, "[mailcow]\nignore = b, a\n[sni a]\ndomains = a.org\n",
            "deploy.conf: [sni a]: ignore names it, too");
    refused(*state, "[mailcow]\nignore = a/b\n", ":2: ignore = a/b: expected names of folders");
    refused(*state, "[sni a]\ndomains = a.org\ndomains = b.org\n", ":3: domains is given twice in [sni a]");
}

static void bounds_the_sni_sections_and_their_names(void **state)
{
    char text[16000] = "[sni a]\ndomains =\n";
    size_t n = strlen(text);
    for (int i = 0; i < 257; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "  n%d.example.org\n", i);
    refused(*state, text, "[sni a]: more than 256 domains");
    n = 0;
    for (int i = 0; i < 257; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "[sni n%d]\ndomains=n%d.example.org\n", i, i);
    refused(*state, text, ":514: too many [sni] sections");
}

static void refuses_an_engine_that_is_no_host(void **state)
{
    refused(*state, "[docker]\nsocket = /var/run/docker.sock\n",
            ":2: unknown key socket in [docker]; there are host, cert_path, containers");
    refused(*state, "[docker]\nhost = /var/run/docker.sock\n",
            ":2: host = /var/run/docker.sock: expected unix:///PATH or tcp://HOST:PORT, such as "
            "unix:///var/run/docker.sock or tcp://127.0.0.1:2375");
    refused(*state, "[docker]\ncert_path = tls\n", ":2: cert_path = tls: expected an absolute path");
    refused(*state, "[docker]\ncontainers = nginx=web\n",
            ":2: containers = nginx=web: expected SERVICE=NAME");
    refused(*state, "[docker]\ncontainers = nginx-mailcow\n", ": expected SERVICE=NAME");
    refused(*state, "[docker]\ncontainers = nginx-mailcow=../x\n", ": expected SERVICE=NAME");
    refused(*state, "[docker]\ncontainers = nginx-mailcow=a/b\n", ": expected SERVICE=NAME");
}

/* Its line, although the reason is what does not stand there. */
static void refuses_an_engine_beyond_the_host_without_tls(void **state)
{
    static const char *const remote[] = {"tcp://192.0.2.1:2375", "tcp://docker:2375",
                                         "tcp://[2001:db8::1]:2375", "tcp://128.0.0.1:1",
                                         "tcp://localhost.example.org:1"};
    static const char *const near[] = {"tcp://127.0.0.1:2375", "tcp://localhost:2375", "tcp://[::1]:2375",
                                       "tcp://127.9.9.9:1"};
    char text[200];
    for (size_t i = 0; i < COUNT(remote); i++) {
        CLEANUP(forget) struct reading r = {0};
        snprintf(text, sizeof text, "[docker]\n\nhost = %s\n", remote[i]);
        refused(*state, text, "deploy.conf:3: host = tcp://");
        refused(*state, text,
                ": without TLS everybody on the way there would be root on this host; set cert_path");
        snprintf(text, sizeof text, "[docker]\nhost = %s\ncert_path = /c\n", remote[i]);
        read_conf(&r, *state, text);
        assert_int_equal(r.rc, 0);
    }
    for (size_t i = 0; i < COUNT(near); i++) {
        CLEANUP(forget) struct reading r = {0};
        snprintf(text, sizeof text, "[docker]\nhost = %s\n", near[i]);
        read_conf(&r, *state, text);
        assert_int_equal(r.rc, 0);
    }
}

static void takes_auto_or_a_list_of_endpoints(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(&r, *state, "[verify]\nendpoints = auto\n");
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.endpoints.count, 0);
    refused(*state, "[verify]\nendpoints = smtp://a.org, auto\n",
            "endpoints: either auto or a list of endpoints, not both");
}

static void bounds_the_endpoints(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    char text[8000] = "[verify]\nendpoints =\n";
    size_t n = strlen(text);
    for (int i = 0; i < 64; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "  smtp://a.org:%d\n", i + 1);
    read_conf(&r, *state, text);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.conf.endpoints.count, 64);
    strcat(text, "  smtp://a.org:99\n");
    refused(*state, text, "endpoints: more than 64");
}

static void refuses_a_missing_file_that_was_named(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    assert_int_equal(deploy_conf_read(path_in(*state, "none"), &r.conf, &r.problems), E_CONFIG);
    assert_has(r.problems.text, "/none: read: No such file or directory");
}

static void reports_all_problems_at_once(void **state)
{
    CLEANUP(forget) struct reading r = {0};
    read_conf(
        &r, *state,
        "[deploy]\nidle = x\nsomething\n[mailcow]\nhost = a\n[verify]\nendpoints = auto, pop3://a.org\n");
    assert_int_equal(r.problems.count, 4);
    assert_has(r.problems.text, "deploy.conf:2: idle");
    assert_has(r.problems.text, "deploy.conf:3: neither");
    assert_has(r.problems.text, "deploy.conf:5: unknown key host");
    assert_has(r.problems.text, "deploy.conf: endpoints: either");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(has_a_default_for_everything),
        WITH_DIRECTORY(reads_every_key),
        WITH_DIRECTORY(refuses_bad_values),
        WITH_DIRECTORY(refuses_an_engine_that_is_no_host),
        WITH_DIRECTORY(refuses_an_engine_beyond_the_host_without_tls),
        WITH_DIRECTORY(takes_auto_or_a_list_of_endpoints),
        WITH_DIRECTORY(bounds_the_endpoints),
        WITH_DIRECTORY(refuses_a_missing_file_that_was_named),
        WITH_DIRECTORY(reports_all_problems_at_once),
        WITH_DIRECTORY(reads_sni_sections),
        WITH_DIRECTORY(refuses_sni_sections_that_cannot_be),
        WITH_DIRECTORY(bounds_the_sni_sections_and_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
