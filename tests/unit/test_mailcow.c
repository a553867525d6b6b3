/* deployer/mailcow: mailcow.conf as people really have it, and the wants that follow. */
#include "tests/unit/make_cert.h"

#include "tests/unit/failing.h"

#include "common/cert.h"
#include "deployer/mailcow.h"

#define HOST "MAILCOW_HOSTNAME=mail.example.org\n"

static int read_conf(const struct directory *d, const char *text, struct mailcow *out, struct error *err)
{
    write_text(d, "mailcow.conf", text);
    *err = (struct error){0};
    return mailcow_read(d->path, out, err);
}

static void hostname_is(const struct directory *d, const char *text, const char *hostname)
{
    struct mailcow m;
    struct error err;
    if (read_conf(d, text, &m, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(m.hostname, hostname);
}

/* problem: what comes behind the path of the file. */
static void refused(const struct directory *d, const char *text, const char *problem)
{
    struct mailcow m;
    struct error err;
    char whole[600];
    assert_int_equal(read_conf(d, text, &m, &err), E_CONFIG);
    snprintf(whole, sizeof whole, "%s/mailcow.conf%s", d->path, problem);
    assert_string_equal(err.text, whole);
    assert_int_equal(err.code, E_CONFIG);
}

static void reads_what_mailcow_generates(void **state)
{
    const struct directory *d = *state;
    struct mailcow m;
    struct error err;
    char ssl[300];
    assert_int_equal(
        read_conf(d,
                  "# ------------------------------\n# mailcow web ui configuration\n\n" HOST
                  "MAILCOW_PASS_SCHEME=BLF-CRYPT\nDBPASS=x#y\"'\nHTTP_PORT=80\nHTTPS_PORT=8443\n"
                  "HTTPS_BIND=127.0.0.1\nSMTP_PORT=127.0.0.1:25\nCOMPOSE_PROJECT_NAME=MailcowDockerized\n"
                  "ADDITIONAL_SERVER_NAMES=a.org,b.org\n"
                  "SKIP_LETS_ENCRYPT=y\n",
                  &m, &err),
        0);
    assert_string_equal(m.hostname, "mail.example.org");
    assert_string_equal(m.project, "mailcowdockerized");
    assert_int_equal(m.https_port, 8443);
    assert_string_equal(m.skip_acme, "y");
    snprintf(ssl, sizeof ssl, "%s/data/assets/ssl", d->path);
    assert_string_equal(m.ssl_path, ssl);
    assert_string_equal(m.server_names, "a.org,b.org");
}

static void has_defaults(void **state)
{
    struct directory *d = *state;
    struct mailcow m;
    struct error err;
    char folder[400];
    make_folder(d, "Mailcow.Dockerized"); /* the project has its name then, as compose makes it */
    write_text(d, "Mailcow.Dockerized/mailcow.conf", HOST);
    snprintf(folder, sizeof folder, "%s/Mailcow.Dockerized/", d->path);
    assert_int_equal(mailcow_read(folder, &m, &err), 0);
    assert_string_equal(m.project, "mailcowdockerized");
    assert_int_equal(m.https_port, 443);
    assert_string_equal(m.skip_acme, "");
    assert_int_equal(read_conf(*state, HOST "HTTPS_PORT=\nCOMPOSE_PROJECT_NAME=\"\"\n", &m, &err), 0);
    assert_int_equal(m.https_port, 443);
}

/* As its bootstrap.py takes them. */
static void knows_when_nginx_expects_a_proxy_header(void **state)
{
    static const struct {
        const char *text;
        bool expected;
    } cases[] = {
        {"", false},
        {"NGINX_USE_PROXY_PROTOCOL=y\n", true},
        {"NGINX_USE_PROXY_PROTOCOL=Yes\n", true},
        {"NGINX_USE_PROXY_PROTOCOL=n\n", false},
        {"NGINX_USE_PROXY_PROTOCOL=true\n", false},
        {"NGINX_USE_PROXY_PROTOCOL=\n", false},
        {"#NGINX_USE_PROXY_PROTOCOL=y\n", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[200];
        struct mailcow m;
        struct error err;
        snprintf(text, sizeof text, HOST "%s", cases[i].text);
        assert_int_equal(read_conf(*state, text, &m, &err), 0);
        if (m.https_proxy != cases[i].expected)
            fail_msg("%s", cases[i].text);
    }
}

static void takes_quotes_off(void **state)
{
    hostname_is(*state, "MAILCOW_HOSTNAME=\"mail.example.org\"\n", "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME='mail.example.org'\n", "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME=\"mail.example.org\" # the mail host\n", "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME= \"mail.example.org\"  \n", "mail.example.org");
    refused(*state, "MAILCOW_HOSTNAME=\"mail.example.org\n",
            ":1: MAILCOW_HOSTNAME=\"mail.example.org: expected a host name");
    refused(*state, "MAILCOW_HOSTNAME=\"mail.example.org'\n",
            ":1: MAILCOW_HOSTNAME=\"mail.example.org': expected a host name");
    refused(*state, "MAILCOW_HOSTNAME=\"\n", ":1: MAILCOW_HOSTNAME=\": expected a host name");
}

static void reads_crlf_and_a_missing_last_line_end(void **state)
{
    struct mailcow m;
    struct error err;
    assert_int_equal(
        read_conf(*state,
                  "# x\r\nMAILCOW_HOSTNAME=mail.example.org\r\nHTTPS_PORT=\"444\"\r\nCOMPOSE_PROJECT_NAME=p",
                  &m, &err),
        0);
    assert_string_equal(m.hostname, "mail.example.org");
    assert_int_equal(m.https_port, 444);
    assert_string_equal(m.project, "p");
}

static void takes_the_last_of_duplicates(void **state)
{
    hostname_is(*state, "MAILCOW_HOSTNAME=old.example.org\n" HOST, "mail.example.org");
    refused(*state, HOST "\nMAILCOW_HOSTNAME=x\n", ":3: MAILCOW_HOSTNAME=x: expected a host name");
    refused(*state, HOST "MAILCOW_HOSTNAME=\n",
            ": MAILCOW_HOSTNAME is not set: is this a mailcow directory?");
}

static void understands_export_comments_and_space(void **state)
{
    hostname_is(*state, "export MAILCOW_HOSTNAME=mail.example.org\n", "mail.example.org");
    hostname_is(*state, "  export   MAILCOW_HOSTNAME=mail.example.org\n", "mail.example.org");
    hostname_is(*state, "\tMAILCOW_HOSTNAME=mail.example.org \t\n", "mail.example.org");
    hostname_is(*state, HOST "#MAILCOW_HOSTNAME=other.example.org\n # MAILCOW_HOSTNAME=other.example.org\n",
                "mail.example.org");
    hostname_is(*state,
                HOST "XMAILCOW_HOSTNAME=a\nMAILCOW_HOSTNAMES=b\nMAILCOW_HOSTNAME_X=c\nMAILCOW_HOSTNAME\n",
                "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME=mail.example.org # the mail host\n", "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME=mail.example.org\t#x\n", "mail.example.org");
    refused(*state, "MAILCOW_HOSTNAME=mail.example.org#x\n",
            ":1: MAILCOW_HOSTNAME=mail.example.org#x: expected a host name");
    refused(*state, "MAILCOW_HOSTNAME=#mail.example.org\n",
            ": MAILCOW_HOSTNAME is not set: is this a mailcow directory?");
}

static void takes_host_names_as_people_write_them(void **state)
{
    static const char *const wrong[] = {
        "localhost", "mail.example.org..", "mail_1.example.org", "-a.org",
        "a b.org",   "*.example.org",      "${X}.org",           "mail.example.org:443"};
    char text[400], problem[400], label[256];
    hostname_is(*state, "MAILCOW_HOSTNAME=Mail.EXAMPLE.org\n", "mail.example.org");
    hostname_is(*state, "MAILCOW_HOSTNAME=mail.example.org.\n", "mail.example.org");
    for (size_t i = 0; i < COUNT(wrong); i++) {
        snprintf(text, sizeof text, "MAILCOW_HOSTNAME=%s\n", wrong[i]);
        snprintf(problem, sizeof problem, ":1: MAILCOW_HOSTNAME=%s: expected a host name", wrong[i]);
        refused(*state, text, problem);
    }
    refused(*state, "MAILCOW_HOSTNAME=a\x1b.org\n", ":1: MAILCOW_HOSTNAME=a\\x1b.org: expected a host name");
    /* longer than a name can be: never cut to one that fits */
    for (int i = 0; i < 127; i++)
        memcpy(label + 2 * i, "a.", 2);
    label[254] = 'a';
    label[255] = '\0';
    struct mailcow m;
    struct error err;
    snprintf(text, sizeof text, "MAILCOW_HOSTNAME=%s\n", label);
    assert_int_equal(read_conf(*state, text, &m, &err), E_CONFIG);
}

static void wants_a_plain_https_port(void **state)
{
    static const char *const wrong[] = {"127.0.0.1:8443", "0", "65536", "https", "443 444", "-1"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[200], problem[200];
        snprintf(text, sizeof text, HOST "\nHTTPS_PORT=%s\n", wrong[i]);
        snprintf(problem, sizeof problem,
                 ":3: HTTPS_PORT=%s: expected a port number (the address belongs in HTTPS_BIND)", wrong[i]);
        refused(*state, text, problem);
    }
}

static void wants_a_project_name(void **state)
{
    refused(*state, HOST "COMPOSE_PROJECT_NAME=a/b\n",
            ":2: COMPOSE_PROJECT_NAME=a/b: expected letters, digits, - and _, 127 at most");
    char text[200] = HOST "COMPOSE_PROJECT_NAME=", problem[300];
    memset(text + strlen(text), 'p', 128);
    snprintf(problem, sizeof problem,
             ":2: COMPOSE_PROJECT_NAME=%.96s...: expected letters, digits, - and _, 127 at most",
             strstr(text, "ppp"));
    refused(*state, text, problem);
}

static void follows_a_link_to_the_file(void **state)
{
    const struct directory *d = *state;
    struct mailcow m;
    struct error err;
    write_text(d, "elsewhere.conf", HOST);
    assert_int_equal(symlinkat("elsewhere.conf", d->fd, "mailcow.conf"), 0);
    assert_int_equal(mailcow_read(d->path, &m, &err), 0);
    assert_string_equal(m.hostname, "mail.example.org");
}

static void names_a_file_that_is_missing_or_empty(void **state)
{
    const struct directory *d = *state;
    struct mailcow m;
    struct error err;
    assert_int_equal(mailcow_read(d->path, &m, &err), E_CONFIG);
    assert_has(err.text, "mailcow's configuration (set path in [mailcow]): ");
    assert_has(err.text, "/mailcow.conf: open: No such file or directory");
    refused(d, "", ": MAILCOW_HOSTNAME is not set: is this a mailcow directory?");
    refused(d, "\n\n", ": MAILCOW_HOSTNAME is not set: is this a mailcow directory?");
    write_bytes(d, "mailcow.conf", HOST "\0", strlen(HOST) + 1);
    assert_int_equal(mailcow_read(d->path, &m, &err), E_CONFIG);
    assert_has(err.text, "/mailcow.conf: not a text file: NUL bytes");
    refused(d, "HTTPS_PORT=443\n", ": MAILCOW_HOSTNAME is not set: is this a mailcow directory?");
    assert_int_equal(unlinkat(d->fd, "mailcow.conf", 0), 0);
    make_folder(d, "mailcow.conf");
    assert_int_equal(mailcow_read(d->path, &m, &err), E_CONFIG);
    assert_has(err.text, "not a regular file");
}

/* The SSL folder */

static void opens_the_ssl_folder_and_no_link_to_one(void **state)
{
    const struct directory *d = *state;
    struct mailcow m = {.hostname = "a.org"};
    struct error err;
    snprintf(m.ssl_path, sizeof m.ssl_path, "%s/ssl", d->path);
    assert_true(mailcow_open_ssl(&m, &err) < 0);
    assert_int_equal(err.code, E_CONFIG);
    assert_has(err.text, "mailcow's SSL folder: ");
    assert_has(err.text, "No such file or directory");
    make_folder(d, "real");
    assert_int_equal(symlinkat("real", d->fd, "ssl"), 0);
    assert_true(mailcow_open_ssl(&m, &err) < 0);
    assert_int_equal(err.code, E_CONFIG);
    assert_has(err.text, "/ssl: it is a symbolic link, and the containers have what it led to");
    assert_int_equal(unlinkat(d->fd, "ssl", 0), 0);
    make_folder(d, "ssl");
    int fd = mailcow_open_ssl(&m, &err);
    assert_true(fd >= 0);
    close(fd);
}

static void looks_at_what_is_installed(void **state)
{
    const struct directory *d = *state;
    struct want want = {.id = WANT_PRIMARY};
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    char pem[4096];
    EVP_PKEY *key = make_key();
    cert_pem(&(struct cert_spec){.names = "DNS:mail.example.org", .from = -100 * DAY, .until = -10 * DAY},
             key, pem, sizeof pem);
    EVP_PKEY_free(key);
    assert_int_equal(cert_parse(pem, strlen(pem), CERT_KEY_IGNORED, &c, &err), 0);
    write_text(d, "cert.pem", pem);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, cert_info(c)->fingerprint);
    assert_int_equal(want.not_after, cert_info(c)->not_after);
    write_text(d, "cert.pem", "nonsense");
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, "");
    assert_int_equal(want.not_after, 0);
    write_text(d, "other.pem", pem);
    assert_int_equal(unlinkat(d->fd, "cert.pem", 0), 0);
    assert_int_equal(symlinkat("other.pem", d->fd, "cert.pem"), 0);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, "");
}

static void tells_what_cannot_be_read_from_what_is_not_there(void **state)
{
    const struct directory *d = *state;
    AUTO_SECRET struct secret out = SECRET(10);
    struct want want = {.id = WANT_PRIMARY, .installed = "x"};
    struct error err;
    assert_int_equal(mailcow_read_installed(d->fd, "primary", "cert.pem", &out, &err), MAILCOW_NOTHING);
    assert_int_equal(mailcow_read_installed(d->fd, "shop", "cert.pem", &out, &err), MAILCOW_NOTHING);
    write_text(d, "shop", "no folder");
    assert_int_equal(mailcow_read_installed(d->fd, "shop", "cert.pem", &out, &err), MAILCOW_NOTHING);
    write_text(d, "cert.pem", "01234567890");
    assert_int_equal(mailcow_read_installed(d->fd, "primary", "cert.pem", &out, &err), MAILCOW_NOTHING);
    write_text(d, "cert.pem", "0123456789");
    for (rlim_t left = 0; left < 2; left++) {
        leave_descriptors(left);
        assert_int_equal(mailcow_read_installed(d->fd, "primary", "cert.pem", &out, &err), E_TEMPORARY);
        assert_int_equal(mailcow_look(d->fd, &want, &err), E_TEMPORARY);
        leave_descriptors(1000);
        assert_non_null(strstr(err.text, "what is installed for primary cannot be read: "));
        assert_string_equal(want.installed, "");
    }
    assert_int_equal(mailcow_read_installed(d->fd, "primary", "cert.pem", &out, &err), 0);
    assert_int_equal(out.len, 10);
}

static void wants_the_host_name_and_what_is_required(void **state)
{
    const struct directory *d = *state;
    char first[] = "example.net", second[] = "mail.example.org", third[] = "*.example.com";
    char *items[] = {first, second, third, NULL};
    const struct deploy_conf conf = {.require = {.items = items, .count = 3}};
    const struct mailcow m = {.hostname = "mail.example.org"};
    AUTO_WANTS struct want_list wants = {0};
    AUTO_PROBLEMS struct problems problems = {0};
    struct error err;
    assert_int_equal(mailcow_wants(&m, &conf, d->fd, &wants, &problems, &err), 0);
    assert_int_equal(problems.count, 0);
    assert_int_equal(wants.count, 1);
    assert_string_equal(wants.list[0].id, "primary");
    assert_int_equal(wants.list[0].name_count, 3);
    assert_string_equal(wants.list[0].names[0], "mail.example.org");
    assert_string_equal(wants.list[0].names[1], "example.net");
    assert_string_equal(wants.list[0].names[2], "*.example.com");
    assert_string_equal(wants.list[0].installed, "");
}

/* ---- SNI folders ---- */

static void make_sni(const struct directory *d, const char *folder, const char *domains)
{
    static const char *const files[] = {"cert.pem", "key.pem", "domains"};
    char name[400];
    make_folder(d, folder);
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        write_text(d, name, i == 2 ? domains : "pem");
    }
}

/* "id: name name" in lines. */
static const char *wants_of(const struct directory *d, const struct deploy_conf *conf,
                            struct problems *problems)
{
    static char out[4000];
    const struct mailcow m = {.hostname = "mail.example.org"};
    AUTO_WANTS struct want_list wants = {0};
    struct error err = {0};
    size_t n = 0;
    if (mailcow_wants(&m, conf, d->fd, &wants, problems, &err) != 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < wants.count; i++) {
        n += (size_t)snprintf(out + n, sizeof out - n, "%s:", wants.list[i].id);
        for (size_t k = 0; k < wants.list[i].name_count; k++)
            n += (size_t)snprintf(out + n, sizeof out - n, " %s", wants.list[i].names[k]);
        n += (size_t)snprintf(out + n, sizeof out - n, "\n");
    }
    return out;
}

static void wants_a_certificate_for_each_folder(void **state)
{
    const struct directory *d = *state;
    const struct deploy_conf conf = {.sni_count = 0};
    AUTO_PROBLEMS struct problems problems = {0};
    make_sni(d, "mail.example.net", "mail.example.net *.example.com .example.com\n");
    make_sni(d, "mail.example.com", "mail.example.com");
    make_folder(d, "backups");
    make_folder(d, "half");
    write_text(d, "half/cert.pem", "pem");
    assert_string_equal(wants_of(d, &conf, &problems), "primary: mail.example.org\n"
                                                       "mail.example.com: mail.example.com\n"
                                                       "mail.example.net: mail.example.net *.example.com\n");
    assert_int_equal(problems.count, 0);
}

/* A want less would be one whose alarms are over. */
static void has_no_want_less_for_a_folder_that_cannot_be_read(void **state)
{
    const struct directory *d = *state;
    const struct deploy_conf conf = {.sni_count = 0};
    const struct mailcow m = {.hostname = "mail.example.org"};
    make_sni(d, "x", "a.org");
    for (size_t i = 0; i < COUNT(sni_failures); i++) {
        AUTO_WANTS struct want_list wants = {0};
        AUTO_PROBLEMS struct problems problems = {0};
        struct error err = {0};
        failing = sni_failures[i];
        int rc = mailcow_wants(&m, &conf, d->fd, &wants, &problems, &err);
        failing = (struct failing){0};
        assert_true(rc < 0);
        assert_has(err.text, "x: ");
    }
}

static void prefers_a_section_to_the_file(void **state)
{
    const struct directory *d = *state;
    char old[] = "old", new[] = "new", a[] = "a.org", b[] = "b.org";
    char *as[] = {a, NULL}, *bs[] = {b, NULL};
    const struct deploy_conf conf = {
        .sni = {{.name = new, .domains = {.items = as, .count = 1}},
                {.name = old, .domains = {.items = bs, .count = 1}}},
        .sni_count = 2,
    };
    AUTO_PROBLEMS struct problems problems = {0};
    make_sni(d, "old", "c.org d.org;");
    make_sni(d, "zz", "e.org");
    assert_string_equal(wants_of(d, &conf, &problems),
                        "primary: mail.example.org\nnew: a.org\nold: b.org\nzz: e.org\n");
    assert_int_equal(problems.count, 0);
}

static void leaves_out_and_tells_what_cannot_be_a_want(void **state)
{
    const struct directory *d = *state;
    char new[] = "new", a[] = "a.org";
    char *as[] = {a, NULL};
    const struct deploy_conf conf = {.sni = {{.name = new, .domains = {.items = as, .count = 1}}},
                                     .sni_count = 1};
    AUTO_PROBLEMS struct problems problems = {0};
    make_sni(d, "first", "b.org c.org");
    make_sni(d, "second", "d.org C.ORG");
    make_sni(d, "third", "a.org");
    make_sni(d, "unusable", "e.org;");
    assert_string_equal(wants_of(d, &conf, &problems),
                        "primary: mail.example.org\nnew: a.org\nfirst: b.org c.org\n");
    assert_int_equal(problems.count, 3);
    assert_has(problems.text, "SNI folder second: c.org belongs to first already: it is left out");
    assert_has(problems.text, "SNI folder third: a.org belongs to new already: it is left out");
    assert_has(problems.text, "SNI folder unusable: domains: not a host name: e.org;");
}

static void leaves_to_others_what_it_is_told_to(void **state)
{
    const struct directory *d = *state;
    char used[] = "a", bad[] = "b";
    char *items[] = {used, bad, NULL};
    const struct deploy_conf conf = {.ignore = {.items = items, .count = 2}};
    AUTO_PROBLEMS struct problems problems = {0};
    make_sni(d, "a", "a.org");
    make_sni(d, "b", "no_name");
    make_sni(d, "c", "a.org");
    assert_string_equal(wants_of(d, &conf, &problems), "primary: mail.example.org\nc: a.org\n");
    assert_int_equal(problems.count, 0);
}

static void knows_whether_any_folder_holds_a_leaf(void **state)
{
    const struct directory *d = *state;
    struct want want = {.id = "x"};
    struct error err;
    char pem[4096];
    EVP_PKEY *key = make_key();
    cert_pem(&(struct cert_spec){.names = "DNS:a.org", .from = -10 * DAY, .until = 10 * DAY}, key, pem,
             sizeof pem);
    EVP_PKEY_free(key);
    make_sni(d, "x", "no_name");
    make_sni(d, "y", "a.org");
    write_text(d, "x/cert.pem", pem);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_true(mailcow_holds(d->fd, want.installed));
    assert_int_equal(renameat(d->fd, "x/cert.pem", d->fd, "cert.pem"), 0);
    assert_true(mailcow_holds(d->fd, want.installed));
    assert_false(mailcow_holds(d->fd, "other"));
    failing = (struct failing){"openat", "y", 0, EIO}; /* what cannot be read may be it */
    assert_true(mailcow_holds(d->fd, "other"));
    failing = (struct failing){"openat", "cert.pem", 0, EIO};
    assert_true(mailcow_holds(d->fd, "other"));
    failing = (struct failing){0};
    assert_int_equal(unlinkat(d->fd, "cert.pem", 0), 0);
    assert_false(mailcow_holds(d->fd, want.installed));
}

static void looks_into_the_folder_of_the_want(void **state)
{
    const struct directory *d = *state;
    struct want want = {.id = "x"};
    struct error err;
    char pem[4096];
    EVP_PKEY *key = make_key();
    cert_pem(&(struct cert_spec){.names = "DNS:a.org", .from = -10 * DAY, .until = 10 * DAY}, key, pem,
             sizeof pem);
    EVP_PKEY_free(key);
    write_text(d, "cert.pem", pem);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, "");
    make_folder(d, "x");
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, "");
    write_text(d, "x/cert.pem", pem);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_int_equal(strlen(want.installed), 64);
    assert_int_equal(renameat(d->fd, "x", d->fd, "y"), 0);
    assert_int_equal(symlinkat("y", d->fd, "x"), 0);
    assert_int_equal(mailcow_look(d->fd, &want, &err), 0);
    assert_string_equal(want.installed, "");
}

/* ---- which certificate is served ---- */

static struct want make_want(const char *id, char **names, size_t count)
{
    struct want want = {.names = names, .name_count = count, .installed = "x"};
    snprintf(want.id, sizeof want.id, "%s", id);
    return want;
}

static void knows_which_certificate_a_service_serves(void **state)
{
    char host[] = "mail.example.org", net[] = "mail.example.net", wild[] = "*.example.com",
         imap[] = "imap.example.org", exact[] = "a.example.com", orgs[] = "*.example.org",
         web[] = "web.example.org", both[] = "d.example.com";
    char *primary[] = {host}, *first[] = {net, wild}, *second[] = {exact}, *shadow[] = {host, imap},
         *third[] = {orgs, web}, *section[] = {both};
    struct want list[] = {make_want("primary", primary, 1), make_want("zz", section, 1),
                          make_want("first", first, 2),     make_want("second", second, 1),
                          make_want("shadow", shadow, 2),   make_want("third", third, 2)};
    struct want_list wants = {.list = list, .count = COUNT(list)};
    const struct mailcow m = {.hostname = "mail.example.org", .server_names = "x.org, Web.example.org"};
    static const struct {
        const char *name, *nginx, *postfix, *dovecot;
    } cases[] = {
        {NULL, "primary", "primary", "primary"},
        {"unknown.org", "primary", "primary", "primary"},
        {"mail.example.net", "first", "first", "first"},
        {"b.example.com", "first", "first", "first"},
        {"c.b.example.com", "first", "first", "primary"},
        {"example.com", "primary", "primary", "primary"},
        {"a.example.com", "second", "second", "first"}, /* Dovecot: the first that matches */
        {"d.example.com", "zz", "zz", "first"},
        {"mail.example.org", "primary", "shadow", "shadow"},
        {"imap.example.org", "third", "shadow", "shadow"}, /* nginx skips the whole folder */
        {"web.example.org", "primary", "third", "third"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_string_equal(mailcow_serves(&m, &wants, "nginx-mailcow", cases[i].name)->id, cases[i].nginx);
        assert_string_equal(mailcow_serves(&m, &wants, "postfix-mailcow", cases[i].name)->id,
                            cases[i].postfix);
        assert_string_equal(mailcow_serves(&m, &wants, "dovecot-mailcow", cases[i].name)->id,
                            cases[i].dovecot);
    }
    list[2].installed[0] = '\0'; /* its folder is not there yet */
    assert_string_equal(mailcow_serves(&m, &wants, "nginx-mailcow", "mail.example.net")->id, "primary");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(reads_what_mailcow_generates),
        WITH_DIRECTORY(has_defaults),
        WITH_DIRECTORY(knows_when_nginx_expects_a_proxy_header),
        WITH_DIRECTORY(takes_quotes_off),
        WITH_DIRECTORY(reads_crlf_and_a_missing_last_line_end),
        WITH_DIRECTORY(takes_the_last_of_duplicates),
        WITH_DIRECTORY(understands_export_comments_and_space),
        WITH_DIRECTORY(takes_host_names_as_people_write_them),
        WITH_DIRECTORY(wants_a_plain_https_port),
        WITH_DIRECTORY(wants_a_project_name),
        WITH_DIRECTORY(follows_a_link_to_the_file),
        WITH_DIRECTORY(names_a_file_that_is_missing_or_empty),
        WITH_DIRECTORY(opens_the_ssl_folder_and_no_link_to_one),
        WITH_DIRECTORY(looks_at_what_is_installed),
        WITH_DIRECTORY(tells_what_cannot_be_read_from_what_is_not_there),
        WITH_DIRECTORY(wants_the_host_name_and_what_is_required),
        WITH_DIRECTORY(wants_a_certificate_for_each_folder),
        WITH_DIRECTORY(has_no_want_less_for_a_folder_that_cannot_be_read),
        WITH_DIRECTORY(prefers_a_section_to_the_file),
        WITH_DIRECTORY(leaves_out_and_tells_what_cannot_be_a_want),
        WITH_DIRECTORY(leaves_to_others_what_it_is_told_to),
        WITH_DIRECTORY(knows_whether_any_folder_holds_a_leaf),
        WITH_DIRECTORY(looks_into_the_folder_of_the_want),
        cmocka_unit_test(knows_which_certificate_a_service_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
