/* pusher/lineage: finding lineages as certbot and NPM lay them out, choosing among them, reading a pair
 * whole. */
#include "tests/unit/make_cert.h"

#include "common/cert.h"
#include "common/clock.h"
#include "common/text.h"
#include "pusher/candidate.h"
#include "pusher/lineage.h"

#include <sys/wait.h>

#define NOBODY 65534

struct scan {
    struct lineage_list list;
    const char *said; /* the errors that were reported */
    int rc;
};

static void scan_free(struct scan *s)
{
    lineage_list_free(&s->list);
}
#define AUTO_SCAN CLEANUP(scan_free)

static void scan_conf(struct scan *s, const struct push_conf *conf)
{
    struct report *report = NULL;
    struct error err;
    struct capture c;
    lineage_list_free(&s->list);
    assert_int_equal(report_new(&report, &(struct report_opts){.program = "p"}, &err), 0);
    capture_begin(&c, STDERR_FILENO);
    s->rc = lineage_scan(conf, &s->list, report);
    candidate_parse(&s->list, report);
    s->said = capture_end(&c);
    report_free(report);
}

/* The folder as the source "npm". */
static void scan_folder(struct scan *s, const struct directory *d, const char *folder)
{
    char name[] = "npm", path[600];
    snprintf(path, sizeof path, "%s/%s", d->path, folder);
    scan_conf(s, &(struct push_conf){.sources = {{.name = name, .path = path}}, .source_count = 1});
}

static const struct cert_spec mail = {.names = "DNS:mail.example.org"};

/* Finding */

/* The files of live/NAME are links into archive/NAME. */
static void link_lineage(const struct directory *d, const char *name, int number)
{
    static const char *const files[] = {"fullchain", "privkey"};
    char from[300], to[300];
    snprintf(from, sizeof from, "live/%s", name);
    if (!is_there(d, from))
        make_folder(d, from);
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(to, sizeof to, "../../archive/%s%d/%s.pem", name, number, files[i]);
        snprintf(from, sizeof from, "live/%s/%s.pem", name, files[i]);
        unlinkat(d->fd, from, 0);
        assert_int_equal(symlinkat(to, d->fd, from), 0);
    }
}

static void make_live(const struct directory *d)
{
    make_folder(d, "live");
    make_folder(d, "archive");
    write_text(d, "live/README", "This directory contains your keys and certificates.");
    write_lineage(d, "archive/npm-51", &mail);
    write_lineage(d, "archive/npm-71", &(struct cert_spec){.names = "DNS:www.example.org"});
    link_lineage(d, "npm-5", 1);
    link_lineage(d, "npm-7", 1);
}

static void finds_the_lineages_of_a_folder(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_live(d);
    write_lineage(d, "live/.hidden", &mail);
    make_folder(d, "live/empty");
    scan_folder(&s, d, "live");
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.said, "");
    assert_int_equal(s.list.count, 2);
    assert_string_equal(s.list.list[0].name, "npm/npm-5");
    assert_string_equal(s.list.list[1].name, "npm/npm-7");
    assert_string_equal(s.list.list[0].cert_path, path_in(d, "live/npm-5/fullchain.pem"));
    assert_string_equal(s.list.list[0].key_path, path_in(d, "live/npm-5/privkey.pem"));
    assert_string_equal(cert_info(s.list.list[0].cert)->names[0], "mail.example.org");
}

/* Said once for a source, and not for each of those that are left out. */
static void says_once_that_there_are_too_many(void **state)
{
    const struct directory *d = *state;
    char first[] = "npm", second[] = "more", live[600];
    struct lineage_list list = {0};
    struct report *report = NULL;
    struct error err;
    struct capture c;
    make_folder(d, "live");
    write_text(d, "file.pem", "");
    for (int i = 0; i < LINEAGE_MAX + 3; i++) {
        char name[40], file[60];
        snprintf(name, sizeof name, "live/npm-%05d", i);
        make_folder(d, name);
        snprintf(file, sizeof file, "%s/fullchain.pem", name);
        assert_int_equal(linkat(d->fd, "file.pem", d->fd, file, 0), 0);
        snprintf(file, sizeof file, "%s/privkey.pem", name);
        assert_int_equal(linkat(d->fd, "file.pem", d->fd, file, 0), 0);
    }
    snprintf(live, sizeof live, "%s/live", d->path);
    const struct push_conf conf = {.sources = {{.name = first, .path = live}, {.name = second, .path = live}},
                                   .source_count = 2};
    assert_int_equal(report_new(&report, &(struct report_opts){.program = "p"}, &err), 0);
    capture_begin(&c, STDERR_FILENO);
    lineage_scan(&conf, &list, report);
    const char *said = capture_end(&c);
    report_free(report);
    assert_int_equal(list.count, LINEAGE_MAX);
    assert_string_equal(list.list[LINEAGE_MAX - 1].name, "npm/npm-04095");
    assert_true(list.is_partial);
    assert_string_equal(
        said, "p: source npm: more than 4096 lineages: npm-04096 and those that come after it are left "
              "out; what is needed of them can be a source of its own, in front of this one\n"
              "p: source more: more than 4096 lineages: npm-00000 and those that come after it are left "
              "out; what is needed of them can be a source of its own, in front of this one\n");
    lineage_list_free(&list);
}

static void takes_one_lineage_for_a_folder(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_live(d);
    scan_folder(&s, d, "live/npm-5");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.list.count, 1);
    assert_string_equal(s.list.list[0].name, "npm");
}

static void takes_a_pair_of_files(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    char name[] = "files", cert[600], key[600];
    write_lineage(d, "l", &mail);
    snprintf(cert, sizeof cert, "%s/l/fullchain.pem", d->path);
    snprintf(key, sizeof key, "%s/l/privkey.pem", d->path);
    const struct push_conf conf = {.sources = {{.name = name, .cert = cert, .key = key}}, .source_count = 1};
    scan_conf(&s, &conf);
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.list.count, 1);
    assert_string_equal(s.list.list[0].name, "files");
    assert_int_equal(unlink(key), 0);
    scan_conf(&s, &conf);
    assert_true(s.rc < 0);
    assert_int_equal(s.list.count, 0);
    assert_has(s.said, "p: source files: ");
    assert_has(s.said, "/l/privkey.pem: stat: No such file or directory");
    assert_int_equal(unlink(cert), 0);
    scan_conf(&s, &conf);
    assert_has(s.said, "/l/fullchain.pem: stat: No such file or directory");
}

static void says_that_a_source_is_missing_or_empty(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    scan_folder(&s, d, "live");
    assert_int_equal(s.rc, E_CONFIG);
    assert_has(s.said, "source npm: ");
    assert_has(s.said, "/live: open the folder: No such file or directory");
    make_folder(d, "live");
    write_text(d, "live/README", "x");
    scan_folder(&s, d, "live");
    assert_int_equal(s.rc, E_FAILED);
    assert_has(s.said, "/live: no lineage in it (no folder with a fullchain.pem)");
}

static void goes_on_behind_a_missing_source(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    char gone[] = "gone", npm[] = "npm", none[600], path[600];
    make_live(d);
    snprintf(none, sizeof none, "%s/none", d->path);
    snprintf(path, sizeof path, "%s/live", d->path);
    scan_conf(&s, &(struct push_conf){.sources = {{.name = gone, .path = none}, {.name = npm, .path = path}},
                                      .source_count = 2});
    assert_int_equal(s.rc, E_CONFIG);
    assert_int_equal(s.list.count, 2);
}

static void reports_half_a_lineage_and_takes_the_others(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_live(d);
    make_folder(d, "live/half");
    write_text(d, "live/half/fullchain.pem", "x");
    make_folder(d, "live/dangling");
    assert_int_equal(symlinkat("../../archive/none/fullchain.pem", d->fd, "live/dangling/fullchain.pem"), 0);
    scan_folder(&s, d, "live");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.list.count, 2);
    assert_has(s.said, "/live/half/privkey.pem: stat: No such file or directory");
    assert_has(s.said, "/live/dangling/fullchain.pem: stat: No such file or directory");
}

static void says_which_file_may_not_be_seen(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    if (geteuid() != 0)
        skip();
    make_live(d);
    assert_int_equal(fchmod(d->fd, 0755), 0);
    set_mode(d, "live", 0755);
    set_mode(d, "live/npm-5", 0755);
    set_mode(d, "live/npm-7", 0755);
    assert_int_equal(seteuid(NOBODY), 0);
    scan_folder(&s, d, "live");
    int rc = seteuid(0);
    assert_int_equal(rc, 0);
    assert_int_equal(s.list.count, 0);
    assert_has(s.said, "/live/npm-5/fullchain.pem: stat: Permission denied");
}

static void passes_over_a_broken_certificate(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    struct error err;
    make_live(d);
    write_text(d, "archive/npm-51/fullchain.pem",
               "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write_lineage(d, "live/good", &mail);
    scan_folder(&s, d, "live");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.list.count, 3);
    assert_has(s.said, "p: lineage npm/npm-5: ");
    assert_has(s.said, "/live/npm-5/fullchain.pem: a certificate cannot be parsed");
    assert_lacks(s.said, "npm-7");
    char name[] = "mail.example.org", *names[] = {name};
    const struct want want = {.id = "primary", .names = names, .name_count = 1};
    assert_string_equal(candidate_choose(&s.list, &want, time(NULL), &err)->name, "npm/good");
}

/* A lineage's name is a value among fields. */
static void makes_names_fit_for_reports(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_folder(d, "live");
    write_lineage(d, "live/a b=c\n\xff", &mail);
    scan_folder(&s, d, "live");
    assert_string_equal(s.list.list[0].name, "npm/a_b_c\\x0a\\xff");
    assert_has(s.list.list[0].signature, "/live/a b=c\\x0a\\xff/fullchain.pem ");
}

/* Signatures */

static void signs_the_same_as_long_as_nothing_changes(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan a = {0};
    AUTO_SCAN struct scan b = {0};
    make_live(d);
    scan_folder(&a, d, "live");
    scan_folder(&b, d, "live");
    assert_string_equal(a.list.list[0].signature, b.list.list[0].signature);
    write_lineage(d, "archive/npm-52", &mail);
    link_lineage(d, "npm-5", 2); /* a renewal */
    scan_folder(&b, d, "live");
    assert_string_not_equal(a.list.list[0].signature, b.list.list[0].signature);
    assert_string_equal(a.list.list[1].signature, b.list.list[1].signature);
}

/* Choosing */

static const struct lineage *choose(const struct scan *s, time_t now, struct error *err, const char *first,
                                    const char *second)
{
    char a[100], b[100], *names[] = {a, b};
    const struct want want = {.id = "primary", .names = names, .name_count = second ? 2 : 1};
    snprintf(a, sizeof a, "%s", first);
    snprintf(b, sizeof b, "%s", second ? second : "");
    *err = (struct error){0};
    return candidate_choose(&s->list, &want, now, err);
}

static void chosen_is(const struct scan *s, const char *first, const char *second, const char *name)
{
    struct error err;
    const struct lineage *l = choose(s, time(NULL), &err, first, second);
    if (!l)
        fail_msg("%s: %s", name, err.text);
    assert_string_equal(l->name, name);
}

static void none_is_chosen(const struct scan *s, time_t now, const char *first, const char *second,
                           const char *text)
{
    struct error err;
    assert_null(choose(s, now, &err, first, second));
    assert_string_equal(err.text, text);
    /* time alone cures what is not yet valid */
    assert_int_equal(err.code, strstr(text, "begins only") ? E_TEMPORARY : E_FAILED);
}

static void chooses_the_newest_that_is_valid(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_folder(d, "live");
    write_lineage(d, "live/a-old",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -50 * DAY, .until = 60 * DAY});
    write_lineage(d, "live/b-new",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -10 * DAY, .until = 20 * DAY});
    write_lineage(d, "live/c-middle",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -20 * DAY, .until = 80 * DAY});
    write_lineage(d, "live/d-expired",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -5 * DAY, .until = -DAY});
    write_lineage(d, "live/e-early",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = DAY, .until = 90 * DAY});
    write_lineage(d, "live/f-other",
                  &(struct cert_spec){.names = "DNS:www.example.org", .from = -DAY, .until = 90 * DAY});
    scan_folder(&s, d, "live");
    chosen_is(&s, "mail.example.org", NULL, "npm/b-new");
}

static void chooses_the_longer_one_of_two_of_the_same_second(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_folder(d, "live");
    /* X509_gmtime_adj counts from the clock: tried again when a second passed in between */
    for (int i = 0; i < 10; i++) {
        write_lineage(d, "live/a",
                      &(struct cert_spec){.names = "DNS:mail.example.org", .from = -DAY, .until = 10 * DAY});
        write_lineage(d, "live/b",
                      &(struct cert_spec){.names = "DNS:mail.example.org", .from = -DAY, .until = 11 * DAY});
        write_lineage(d, "live/c",
                      &(struct cert_spec){.names = "DNS:mail.example.org", .from = -DAY, .until = 9 * DAY});
        scan_folder(&s, d, "live");
        if (cert_info(s.list.list[0].cert)->not_before == cert_info(s.list.list[2].cert)->not_before)
            break;
    }
    chosen_is(&s, "mail.example.org", NULL, "npm/b");
}

static void covers_by_names_and_wildcards_and_never_by_the_cn(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_folder(d, "live");
    write_lineage(d, "live/cn", &(struct cert_spec){.cn = "cn.example.org"});
    write_lineage(d, "live/cn2",
                  &(struct cert_spec){.cn = "cn.example.org", .names = "DNS:other.example.net"});
    write_lineage(d, "live/wild", &(struct cert_spec){.names = "DNS:example.org,DNS:*.example.org"});
    write_lineage(d, "live/two", &(struct cert_spec){.names = "DNS:a.example.com,DNS:b.example.com"});
    scan_folder(&s, d, "live");
    time_t now = time(NULL);
    chosen_is(&s, "mail.example.org", NULL, "npm/wild");
    chosen_is(&s, "mail.example.org", "example.org", "npm/wild");
    chosen_is(&s, "*.example.org", NULL, "npm/wild");
    chosen_is(&s, "b.example.com", "a.example.com", "npm/two");
    none_is_chosen(&s, now, "a.b.example.org", NULL, "no lineage covers a.b.example.org");
    none_is_chosen(&s, now, "example.net", NULL, "no lineage covers example.net");
    none_is_chosen(&s, now, "*.example.com", NULL, "no lineage covers *.example.com");
    none_is_chosen(&s, now, "a.example.com", "c.example.com",
                   "no lineage covers all 2 names; npm/two comes nearest and lacks c.example.com");
    const struct scan cn = {.list = {.list = s.list.list, .count = 2}};
    none_is_chosen(&cn, now, "cn.example.org", NULL, "no lineage covers cn.example.org");
}

static void says_why_none_will_do(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    char text[300], when[TEXT_TIME_SIZE];
    make_folder(d, "live");
    write_lineage(d, "live/a",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -9 * DAY, .until = 9 * DAY});
    write_lineage(
        d, "live/b",
        &(struct cert_spec){.names = "DNS:mail.example.org,DNS:b.org", .from = -8 * DAY, .until = 8 * DAY});
    scan_folder(&s, d, "live");
    const struct cert_info *b = cert_info(s.list.list[1].cert);
    snprintf(text, sizeof text, "lineage npm/b covers mail.example.org, but expired at %s",
             text_time(when, b->not_after));
    none_is_chosen(&s, time(NULL) + 20 * DAY, "mail.example.org", NULL, text);
    snprintf(text, sizeof text, "lineage npm/b covers mail.example.org, but begins only at %s",
             text_time(when, b->not_before));
    none_is_chosen(&s, time(NULL) - 20 * DAY, "mail.example.org", NULL, text);
    struct error err;
    assert_non_null(choose(&s, b->not_before, &err, "b.org", NULL));
    assert_null(choose(&s, b->not_before - 1, &err, "b.org", NULL));
    assert_non_null(choose(&s, b->not_after - 1, &err, "b.org", NULL));
    assert_null(choose(&s, b->not_after, &err, "b.org", NULL));
}

/* As when no descriptor is left: its files are as they were. */
static void parse_without_descriptors(struct lineage_list *l)
{
    leave_descriptors(0);
    candidate_parse(l, NULL);
    leave_descriptors(1000);
}

static void what_could_not_be_read_may_be_what_is_missed(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    struct error err;
    char name[] = "npm", path[600];
    const struct push_conf conf = {.sources = {{.name = name, .path = path}}, .source_count = 1};
    make_live(d);
    snprintf(path, sizeof path, "%s/live", d->path);
    assert_int_equal(lineage_scan(&conf, &s.list, NULL), 0);
    parse_without_descriptors(&s.list);
    assert_null(choose(&s, time(NULL), &err, "mail.example.org", NULL));
    assert_int_equal(err.code, E_TEMPORARY);
    assert_string_equal(err.text,
                        "no lineage covers mail.example.org; what lineage npm/npm-5 holds could not be read");
    candidate_parse(&s.list, NULL);
    chosen_is(&s, "mail.example.org", NULL, "npm/npm-5");
    none_is_chosen(&s, time(NULL), "other.example.org", NULL, "no lineage covers other.example.org");
}

/* A mail host that asks for nothing by name must not get, or break, anything. */
static void chooses_none_for_no_name(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    struct error err;
    const struct want want = {.id = "empty"};
    assert_null(candidate_choose(&s.list, &want, time(NULL), &err));
    make_live(d);
    write_text(d, "archive/npm-51/fullchain.pem", "broken");
    scan_folder(&s, d, "live");
    assert_null(candidate_choose(&s.list, &want, time(NULL), &err));
    assert_string_equal(err.text, "want empty has no names");
}

/* Reading a pair */

static int load(const struct lineage *l, struct secret *bundle, struct cert **out, struct error *err)
{
    secret_init(bundle, SECRET_MAX);
    *err = (struct error){0};
    return candidate_load(l, clock_ms() + CANDIDATE_LOAD_MS, bundle, out, err);
}

static void loads_certificates_and_key(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle;
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    make_live(d);
    scan_folder(&s, d, "live");
    assert_int_equal(load(&s.list.list[0], &bundle, &c, &err), 0);
    assert_true(cert_key_proves(c));
    assert_string_equal(cert_info(c)->fingerprint, cert_info(s.list.list[0].cert)->fingerprint);
    const char *text = (const char *)bundle.data;
    assert_true(strstr(text, "BEGIN CERTIFICATE") < strstr(text, "BEGIN PRIVATE KEY"));
}

static void loads_a_certificate_without_a_last_line_end(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle;
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    struct stat st;
    make_live(d);
    assert_int_equal(stat(path_in(d, "archive/npm-51/fullchain.pem"), &st), 0);
    assert_int_equal(truncate(path_in(d, "archive/npm-51/fullchain.pem"), st.st_size - 1), 0);
    scan_folder(&s, d, "live");
    assert_int_equal(load(&s.list.list[0], &bundle, &c, &err), 0);
}

/* Half of the links point at the renewal, and stay so. */
static void tear(const struct directory *d)
{
    write_lineage(d, "archive/npm-52", &(struct cert_spec){.names = "DNS:mail.example.org", .serial = 2});
    unlinkat(d->fd, "live/npm-5/fullchain.pem", 0);
    assert_int_equal(symlinkat("../../archive/npm-52/fullchain.pem", d->fd, "live/npm-5/fullchain.pem"), 0);
}

static void reports_a_torn_pair_after_two_seconds(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle;
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    make_live(d);
    tear(d);
    scan_folder(&s, d, "live");
    int64_t start = clock_ms();
    assert_int_equal(load(&s.list.list[0], &bundle, &c, &err), E_FAILED);
    assert_in_range(clock_ms() - start, 1500, 10000);
    assert_null(c);
    assert_int_equal(bundle.len, 0);
    assert_has(err.text, "lineage npm/npm-5 (");
    assert_has(err.text, "/live/npm-5/privkey.pem): the private key belongs to none of its certificates");
}

/* Who waited for another one waits no longer for it. */
static void reads_a_torn_pair_once_after_the_deadline(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    make_live(d);
    scan_folder(&s, d, "live");
    int64_t start = clock_ms();
    assert_int_equal(candidate_load(&s.list.list[0], start, &bundle, &c, &err), 0);
    cert_freep(&c);
    secret_wipe(&bundle);
    c = NULL;
    tear(d);
    assert_int_equal(candidate_load(&s.list.list[0], start, &bundle, &c, &err), E_FAILED);
    assert_true(clock_ms() - start < 1500);
}

static void waits_for_a_renewal_to_be_whole(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle;
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    make_live(d);
    scan_folder(&s, d, "live");
    tear(d);
    assert_int_equal(unlinkat(d->fd, "live/npm-5/privkey.pem", 0), 0);
    pid_t pid = fork();
    if (!pid) {
        usleep(300000);
        _exit(symlinkat("../../archive/npm-52/privkey.pem", d->fd, "live/npm-5/privkey.pem") < 0);
    }
    int rc = load(&s.list.list[0], &bundle, &c, &err), status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(rc, 0);
    assert_string_not_equal(cert_info(c)->fingerprint, cert_info(s.list.list[0].cert)->fingerprint);
}

/* Longer than a session waits for a pair, and no longer than is needed. */
static void settles_before_a_session(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    make_live(d);
    scan_folder(&s, d, "live");
    int64_t start = clock_ms();
    candidate_settle(&s.list);
    assert_true(clock_ms() - start < 5000); /* nothing is torn */
    tear(d);
    pid_t pid = fork();
    if (!pid) {
        usleep(3000000);
        unlinkat(d->fd, "live/npm-5/privkey.pem", 0);
        _exit(symlinkat("../../archive/npm-52/privkey.pem", d->fd, "live/npm-5/privkey.pem") < 0);
    }
    start = clock_ms();
    candidate_settle(&s.list);
    int status = -1;
    assert_in_range(clock_ms() - start, 2500, 9500);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* What no waiting cures is reported at once. */
static void does_not_wait_for_what_will_not_change(void **state)
{
    const struct directory *d = *state;
    AUTO_SCAN struct scan s = {0};
    AUTO_SECRET struct secret bundle;
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    if (geteuid() != 0)
        skip();
    make_live(d);
    scan_folder(&s, d, "live");
    assert_int_equal(fchmod(d->fd, 0755), 0);
    static const char *const open_folders[] = {"live", "live/npm-5", "archive", "archive/npm-51"};
    for (size_t i = 0; i < COUNT(open_folders); i++)
        set_mode(d, open_folders[i], 0755);
    set_mode(d, "archive/npm-51/fullchain.pem", 0644);
    int64_t start = clock_ms();
    assert_int_equal(seteuid(NOBODY), 0);
    int rc = load(&s.list.list[0], &bundle, &c, &err);
    int back = seteuid(0);
    assert_int_equal(back, 0);
    assert_int_equal(rc, E_FAILED);
    assert_has(err.text, "privkey.pem: open: Permission denied");
    static char large[SECRET_MAX];
    memset(large, '\n', sizeof large);
    write_bytes(d, "archive/npm-51/fullchain.pem", large, sizeof large);
    assert_int_equal(load(&s.list.list[0], &bundle, &c, &err), E_FAILED);
    assert_has(err.text, "certificates and key take more than 131072 bytes");
    assert_true(clock_ms() - start < 3000); /* waiting takes each of them two seconds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(finds_the_lineages_of_a_folder),
        WITH_DIRECTORY(says_once_that_there_are_too_many),
        WITH_DIRECTORY(takes_one_lineage_for_a_folder),
        WITH_DIRECTORY(takes_a_pair_of_files),
        WITH_DIRECTORY(says_that_a_source_is_missing_or_empty),
        WITH_DIRECTORY(goes_on_behind_a_missing_source),
        WITH_DIRECTORY(reports_half_a_lineage_and_takes_the_others),
        WITH_DIRECTORY(says_which_file_may_not_be_seen),
        WITH_DIRECTORY(passes_over_a_broken_certificate),
        WITH_DIRECTORY(makes_names_fit_for_reports),
        WITH_DIRECTORY(signs_the_same_as_long_as_nothing_changes),
        WITH_DIRECTORY(chooses_the_newest_that_is_valid),
        WITH_DIRECTORY(chooses_the_longer_one_of_two_of_the_same_second),
        WITH_DIRECTORY(covers_by_names_and_wildcards_and_never_by_the_cn),
        WITH_DIRECTORY(says_why_none_will_do),
        WITH_DIRECTORY(what_could_not_be_read_may_be_what_is_missed),
        WITH_DIRECTORY(chooses_none_for_no_name),
        WITH_DIRECTORY(loads_certificates_and_key),
        WITH_DIRECTORY(loads_a_certificate_without_a_last_line_end),
        WITH_DIRECTORY(reports_a_torn_pair_after_two_seconds),
        WITH_DIRECTORY(reads_a_torn_pair_once_after_the_deadline),
        WITH_DIRECTORY(waits_for_a_renewal_to_be_whole),
        WITH_DIRECTORY(settles_before_a_session),
        WITH_DIRECTORY(does_not_wait_for_what_will_not_change),
    };
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
