/* pusher/state: what is remembered of a target, and that no change goes unnoticed. */
#include "tests/unit/make_cert.h"

#include "pusher/candidate.h"
#include "pusher/state.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char host[] = "mail.example.org", user[] = "certsync";
static const struct target target = {.host = host, .port = 22, .user = user};

/* The lineages of d/live now. */
static void scan(const struct directory *d, struct lineage_list *out)
{
    struct report *report = NULL;
    struct error err;
    char name[] = "npm", path[600];
    snprintf(path, sizeof path, "%s/live", d->path);
    lineage_list_free(out);
    assert_int_equal(report_new(&report, &(struct report_opts){.program = "p"}, &err), 0);
    const struct push_conf conf = {.sources = {{.name = name, .path = path}}, .source_count = 1};
    assert_int_equal(lineage_scan(&conf, out, report), 0);
    report_free(report);
}

static void add_want(struct state *s, const char *id, const char *name, const char *fingerprint)
{
    struct want *want = NULL;
    struct error err;
    assert_int_equal(want_add(&s->names, id, &want, &err), 0);
    assert_int_equal(want_add_name(want, name, &err), 0);
    s->wants = reallocarray(s->wants, s->names.count, sizeof *s->wants);
    struct state_want *out = &s->wants[s->names.count - 1];
    *out = (struct state_want){.not_after = 1795244520};
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", fingerprint);
    snprintf(out->lineage, sizeof out->lineage, "npm/npm-5");
}

/* A state after a contact at which everything was served. */
static void fill(struct state *s, const struct lineage_list *lineages)
{
    struct error err;
    *s = (struct state){.contact = 1795240000};
    add_want(s, "primary", "mail.example.org", FINGERPRINT);
    add_want(s, "*.example.net", "*.example.net", FINGERPRINT);
    assert_int_equal(want_add_name(&s->names.list[0], "example.org", &err), 0);
    assert_int_equal(state_sign(s, &target, lineages, &err), 0);
}

static void make_live(const struct directory *d)
{
    make_folder(d, "live");
    write_lineage(d, "live/npm-5", &(struct cert_spec){.names = "DNS:mail.example.org"});
    write_lineage(d, "live/npm-7", &(struct cert_spec){.names = "DNS:www.example.org"});
}

/* Reading and writing */

static void reads_what_it_wrote(void **state)
{
    const struct directory *d = *state;
    AUTO_LINEAGES struct lineage_list lineages = {0};
    AUTO_STATE struct state s = {0};
    AUTO_STATE struct state back = {0};
    struct error err;
    struct stat st;
    make_live(d);
    scan(d, &lineages);
    fill(&s, &lineages);
    assert_int_equal(state_write(d->fd, "mailcow", &s, &err), 0);
    assert_int_equal(fstatat(d->fd, "mailcow.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(state_read(d->fd, "mailcow", &back, &err), 0);
    assert_int_equal(back.contact, 1795240000);
    assert_int_equal(back.names.count, 2);
    assert_string_equal(back.names.list[0].id, "primary");
    assert_int_equal(back.names.list[0].name_count, 2);
    assert_string_equal(back.names.list[0].names[1], "example.org");
    assert_string_equal(back.wants[1].id, "*.example.net");
    assert_string_equal(back.wants[1].fingerprint, FINGERPRINT);
    assert_string_equal(back.wants[1].lineage, "npm/npm-5");
    assert_int_equal(back.wants[1].not_after, 1795244520);
    assert_int_equal(back.signature_count, 3);
    assert_true(state_is_current(&back, &target, &lineages));
}

static void takes_a_missing_file_for_an_empty_state(void **state)
{
    const struct directory *d = *state;
    AUTO_LINEAGES struct lineage_list none = {0};
    AUTO_STATE struct state s = {.contact = 1};
    struct error err;
    assert_int_equal(state_read(d->fd, "mailcow", &s, &err), 0);
    assert_int_equal(s.contact, 0);
    assert_int_equal(s.names.count, 0);
    assert_false(state_is_current(&s, &target, &none));
}

static void takes_a_damaged_file_for_an_empty_state(void **state)
{
    const struct directory *d = *state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"contact\": 5, \"wants\": []}",
        "{\"contact\": \"yesterday\", \"wants\": []}",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [5]}",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [{\"id\": \"../x\"}]}",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [{\"id\": \"a\"}, {\"id\": \"a\"}]}",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [{\"id\": \"a\", \"names\": [\"A B\"]}]}",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [{\"id\": \"a\", \"names\": [1]}]}",
        "{\"contact\": \"2026-11-21T07:02:00Z\"} trailing",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        AUTO_STATE struct state s = {0};
        struct error err = {0};
        write_text(d, "mailcow.json", texts[i]);
        if (state_read(d->fd, "mailcow", &s, &err) != STATE_DAMAGED)
            fail_msg("%s passes", texts[i]);
        assert_has(err.text, "state mailcow.json: ");
        assert_int_equal(s.contact, 0);
        assert_int_equal(s.names.count, 0);
        assert_null(s.wants);
    }
}

static void reads_what_has_less_than_it_should(void **state)
{
    const struct directory *d = *state;
    AUTO_LINEAGES struct lineage_list none = {0};
    AUTO_STATE struct state s = {0};
    struct error err;
    write_text(
        d, "mailcow.json",
        "{\"contact\": \"2026-11-21T07:02:00Z\", \"wants\": [{\"id\": \"a\", \"fingerprint\": \"served\", "
        "\"not_after\": \"x\"}], \"signatures\": [\"mail.example.org:22 certsync\"]}");
    assert_int_equal(state_read(d->fd, "mailcow", &s, &err), 0);
    assert_int_equal(s.wants[0].not_after, 0);
    assert_string_equal(s.wants[0].fingerprint, ""); /* it was none */
    assert_false(state_is_current(&s, &target, &none));
}

static void reports_a_state_that_cannot_be_read(void **state)
{
    const struct directory *d = *state;
    AUTO_STATE struct state s = {0};
    struct error err;
    make_folder(d, "mailcow.json");
    assert_true(state_read(d->fd, "mailcow", &s, &err) < 0);
    assert_has(err.text, "mailcow.json: not a regular file");
    assert_int_equal(s.contact, 0);
}

static void keeps_the_old_state_when_it_cannot_be_written(void **state)
{
    const struct directory *d = *state;
    AUTO_LINEAGES struct lineage_list none = {0};
    AUTO_STATE struct state s = {0};
    AUTO_STATE struct state back = {0};
    struct error err;
    fill(&s, &none);
    assert_int_equal(state_write(d->fd, "mailcow", &s, &err), 0);
    assert_false(is_there(d, ".mailcow.json.tmp"));
    make_folder(d, ".mailcow.json.tmp");
    s.contact++;
    assert_true(state_write(d->fd, "mailcow", &s, &err) < 0);
    assert_int_equal(state_read(d->fd, "mailcow", &back, &err), 0);
    assert_int_equal(back.contact, 1795240000);
}

static void keeps_targets_apart(void **state)
{
    const struct directory *d = *state;
    AUTO_LINEAGES struct lineage_list none = {0};
    AUTO_STATE struct state s = {0};
    AUTO_STATE struct state other = {0};
    struct error err;
    fill(&s, &none);
    assert_int_equal(state_write(d->fd, "a", &s, &err), 0);
    assert_int_equal(state_read(d->fd, "b", &other, &err), 0);
    assert_int_equal(other.contact, 0);
}

/* Comparing */

struct changing {
    struct lineage_list lineages;
    struct state state;
};

static void changing_free(struct changing *c)
{
    lineage_list_free(&c->lineages);
    state_free(&c->state);
}

static void begin(struct changing *c, const struct directory *d)
{
    changing_free(c);
    scan(d, &c->lineages);
    fill(&c->state, &c->lineages);
    scan(d, &c->lineages);
    assert_true(state_is_current(&c->state, &target, &c->lineages));
}

static bool is_current(struct changing *c, const struct directory *d)
{
    scan(d, &c->lineages);
    return state_is_current(&c->state, &target, &c->lineages);
}

static void notices_a_renewal_by_links(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    make_folder(d, "archive");
    write_lineage(d, "archive/1", &(struct cert_spec){.names = "DNS:a.org"});
    write_lineage(d, "archive/2", &(struct cert_spec){.names = "DNS:a.org", .serial = 2});
    make_folder(d, "live/npm-9");
    assert_int_equal(symlinkat("../../archive/1/privkey.pem", d->fd, "live/npm-9/privkey.pem"), 0);
    assert_int_equal(symlinkat("../../archive/1/fullchain.pem", d->fd, "live/npm-9/fullchain.pem"), 0);
    begin(&c, d);
    static const char *const files[] = {"fullchain.pem", "privkey.pem"};
    for (size_t i = 0; i < COUNT(files); i++) { /* either of the links alone, too */
        char link[100], to[100];
        snprintf(link, sizeof link, "live/npm-9/%s", files[i]);
        snprintf(to, sizeof to, "../../archive/2/%s", files[i]);
        assert_int_equal(unlinkat(d->fd, link, 0), 0);
        assert_int_equal(symlinkat(to, d->fd, link), 0);
        assert_false(is_current(&c, d));
        begin(&c, d);
    }
}

/* Rewrites a byte of a file in place and sets its time of change of content back. */
static void rewrite_in_place(const struct directory *d, const char *name)
{
    struct stat before, after;
    int fd = openat(d->fd, name, O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &before), 0);
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    do { /* the kernel's clock for files ticks each few milliseconds */
        assert_int_equal(pwrite(fd, "X", 1, 40), 1);
        assert_int_equal(futimens(fd, times), 0);
        assert_int_equal(fstat(fd, &after), 0);
    } while (before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
    close(fd);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

static void notices_a_file_rewritten_in_place(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    begin(&c, d);
    rewrite_in_place(d, "live/npm-5/fullchain.pem");
    assert_false(is_current(&c, d));
    begin(&c, d);
    rewrite_in_place(d, "live/npm-7/privkey.pem");
    assert_false(is_current(&c, d));
}

static void notices_a_file_that_was_replaced(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    begin(&c, d);
    write_text(d, "new", "another");
    assert_int_equal(renameat(d->fd, "new", d->fd, "live/npm-5/privkey.pem"), 0);
    assert_false(is_current(&c, d));
}

static void notices_lineages_that_come_go_and_are_renamed(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    begin(&c, d);
    write_lineage(d, "live/npm-9", &(struct cert_spec){.names = "DNS:b.org"});
    assert_false(is_current(&c, d));
    begin(&c, d);
    assert_int_equal(renameat(d->fd, "live/npm-9", d->fd, "live/npm-8"), 0); /* NPM numbers anew */
    assert_false(is_current(&c, d));
    begin(&c, d);
    assert_int_equal(renameat(d->fd, "live/npm-8", d->fd, "gone"), 0);
    assert_false(is_current(&c, d));
    begin(&c, d);
    assert_true(is_current(&c, d));
}

static void notices_another_address(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    char other[] = "other";
    make_live(d);
    begin(&c, d);
    assert_false(
        state_is_current(&c.state, &(struct target){.host = host, .port = 2222, .user = user}, &c.lineages));
    assert_false(
        state_is_current(&c.state, &(struct target){.host = other, .port = 22, .user = user}, &c.lineages));
    assert_false(
        state_is_current(&c.state, &(struct target){.host = host, .port = 22, .user = other}, &c.lineages));
}

static void notices_other_wants(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    struct error err;
    char primary[] = "primary", other[] = "*.example.net", *both[] = {primary, other, NULL};
    struct target named = target;
    make_live(d);
    begin(&c, d);
    named.wants = (struct conf_list){both, 2};
    assert_false(state_is_current(&c.state, &named, &c.lineages));
    assert_int_equal(state_sign(&c.state, &named, &c.lineages, &err), 0);
    assert_true(state_is_current(&c.state, &named, &c.lineages));
    named.wants.count = 1;
    assert_false(state_is_current(&c.state, &named, &c.lineages));
    assert_false(state_is_current(&c.state, &target, &c.lineages));
}

static void is_not_current_until_every_want_is_served(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    begin(&c, d);
    c.state.wants[1].fingerprint[0] = '\0';
    assert_false(is_current(&c, d));
    begin(&c, d);
    want_list_free(&c.state.names); /* no want was ever told */
    assert_false(is_current(&c, d));
}

static void sign_now(struct changing *c, const struct directory *d)
{
    scan(d, &c->lineages);
    candidate_parse(&c->lineages, NULL);
    state_free(&c->state);
    fill(&c->state, &c->lineages);
}

/* Neither its inode nor its time tells that it can be read again. */
static void notices_that_a_lineage_can_be_read_again(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    scan(d, &c.lineages);
    leave_descriptors(0);
    candidate_parse(&c.lineages, NULL);
    leave_descriptors(1000);
    fill(&c.state, &c.lineages);
    assert_false(is_current(&c, d));
    sign_now(&c, d);
    assert_true(is_current(&c, d));
}

/* What can never be read must not have every pass ask the mail host. */
static void a_lineage_that_stays_unreadable_is_no_change(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    make_live(d);
    make_folder(d, "live/npm-9");
    make_folder(d, "live/npm-9/fullchain.pem");
    write_text(d, "live/npm-9/privkey.pem", "x");
    sign_now(&c, d);
    assert_true(is_current(&c, d));
    write_text(d, "live/npm-9/privkey.pem", "another");
    assert_true(is_current(&c, d));
    assert_int_equal(unlinkat(d->fd, "live/npm-9/fullchain.pem", AT_REMOVEDIR), 0);
    write_lineage(d, "live/npm-9", &(struct cert_spec){.names = "DNS:b.org"});
    assert_false(is_current(&c, d));
}

static void signs_anew(void **state)
{
    const struct directory *d = *state;
    CLEANUP(changing_free) struct changing c = {0};
    struct error err;
    make_live(d);
    begin(&c, d);
    write_lineage(d, "live/npm-9", &(struct cert_spec){.names = "DNS:b.org"});
    assert_false(is_current(&c, d));
    assert_int_equal(state_sign(&c.state, &target, &c.lineages, &err), 0);
    assert_true(is_current(&c, d));
}

/* The folder */

static void makes_its_folder(void **state)
{
    const struct directory *d = *state;
    struct error err = {0};
    struct stat st;
    int fd = state_open(path_in(d, "state"), &err);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    close(fd);
    assert_true(state_open(path_in(d, "none/state"), &err) < 0);
    assert_has(err.text, "/none/state: open the directory: No such file or directory");
}

static void lets_one_pass_in_at_a_time(void **state)
{
    const struct directory *d = *state;
    struct error err;
    int fds[2];
    struct pollfd entered = {.events = POLLIN};
    assert_int_equal(pipe(fds), 0);
    entered.fd = fds[0];
    int fd = state_open(d->path, &err);
    assert_int_equal(state_lock(fd, 0, &err), 0);
    pid_t pid = fork();
    if (!pid) {
        close(fd); /* the lock is the parent's as long as the parent has it open */
        alarm(20);
        int mine = state_open(d->path, &err);
        _exit(state_lock(mine, 0, &err) != E_TEMPORARY || state_lock(mine, 15000, &err) < 0 ||
              write(fds[1], "x", 1) != 1);
    }
    assert_int_equal(poll(&entered, 1, 200), 0);
    close(fd);
    assert_int_equal(poll(&entered, 1, 20000), 1);
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(reads_what_it_wrote),
        WITH_DIRECTORY(takes_a_missing_file_for_an_empty_state),
        WITH_DIRECTORY(takes_a_damaged_file_for_an_empty_state),
        WITH_DIRECTORY(reads_what_has_less_than_it_should),
        WITH_DIRECTORY(reports_a_state_that_cannot_be_read),
        WITH_DIRECTORY(keeps_the_old_state_when_it_cannot_be_written),
        WITH_DIRECTORY(keeps_targets_apart),
        WITH_DIRECTORY(notices_a_renewal_by_links),
        WITH_DIRECTORY(notices_a_file_rewritten_in_place),
        WITH_DIRECTORY(notices_a_file_that_was_replaced),
        WITH_DIRECTORY(notices_lineages_that_come_go_and_are_renamed),
        WITH_DIRECTORY(notices_another_address),
        WITH_DIRECTORY(notices_other_wants),
        WITH_DIRECTORY(is_not_current_until_every_want_is_served),
        WITH_DIRECTORY(notices_that_a_lineage_can_be_read_again),
        WITH_DIRECTORY(a_lineage_that_stays_unreadable_is_no_change),
        WITH_DIRECTORY(signs_anew),
        WITH_DIRECTORY(makes_its_folder),
        WITH_DIRECTORY(lets_one_pass_in_at_a_time),
    };
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
