/* pusher/watch: what happens to the files of the sources is seen, however it happens, and nothing else. */
#include "tests/unit/testing.h"

#include "pusher/watch.h"

struct scene {
    const struct directory *d;
    struct watch *w;
    char path[700];
    char cert[700], key[700];
    struct push_conf conf;
};

static void scene_free(struct scene *s)
{
    watch_free(s->w);
}

static void arm(struct scene *s)
{
    struct error err;
    assert_int_equal(watch_arm(s->w, path_in(s->d, "push.conf"), &s->conf, &err), 0);
    watch_read(s->w);
}

/* A source: a folder of lineages at path. */
static struct scene of_folder(const struct directory *d, const char *path)
{
    struct scene s = {.d = d};
    struct error err;
    snprintf(s.path, sizeof s.path, "%s", path_in(d, path));
    s.conf.source_count = 1;
    assert_int_equal(watch_new(&s.w, &err), 0);
    return s;
}

/* s.conf points into s, which has moved since. */
static void begin(struct scene *s)
{
    if (s->path[0])
        s->conf.sources[0].path = s->path;
    arm(s);
    assert_false(watch_read(s->w));
}

static void sees(struct scene *s)
{
    assert_true(watch_read(s->w));
    arm(s);
    assert_false(watch_read(s->w));
}

static void sees_nothing(struct scene *s)
{
    assert_false(watch_read(s->w));
}

static void link_to(const struct directory *d, const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, d->fd, name), 0);
}

static void move(const struct directory *d, const char *from, const char *to)
{
    assert_int_equal(renameat(d->fd, from, d->fd, to), 0);
}

/* certbot's layout: the files in live/a are links to archive/a. */
static void make_certbot(const struct directory *d)
{
    make_folder(d, "live");
    make_folder(d, "live/a");
    make_folder(d, "archive");
    make_folder(d, "archive/a");
    write_text(d, "archive/a/fullchain1.pem", "1");
    write_text(d, "archive/a/privkey1.pem", "1");
    link_to(d, "../../archive/a/fullchain1.pem", "live/a/fullchain.pem");
    link_to(d, "../../archive/a/privkey1.pem", "live/a/privkey.pem");
}

static void sees_links_that_are_moved(void **state)
{
    const struct directory *d = *state;
    make_certbot(d);
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    write_text(d, "archive/a/fullchain2.pem", "2");
    sees_nothing(&s); /* nothing leads there yet */
    link_to(d, "../../archive/a/fullchain2.pem", "live/a/.new");
    sees_nothing(&s);
    move(d, "live/a/.new", "live/a/fullchain.pem");
    sees(&s);
    write_text(d, "archive/a/fullchain1.pem", "x");
    sees_nothing(&s); /* nothing leads there any more */
    write_text(d, "archive/a/fullchain2.pem", "x");
    sees(&s);
}

static void sees_what_a_link_leads_to(void **state)
{
    const struct directory *d = *state;
    make_certbot(d);
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    write_text(d, "archive/a/privkey1.pem", "rewritten in place");
    sees(&s);
    write_text(d, "archive/a/new", "2");
    sees_nothing(&s);
    move(d, "archive/a/new", "archive/a/privkey1.pem");
    sees(&s);
    set_mode(d, "archive/a/privkey1.pem", 0640);
    sees(&s);
    unlinkat(d->fd, "archive/a/privkey1.pem", 0);
    sees(&s);
    write_text(d, "archive/a/privkey1.pem", "back");
    sees(&s);
}

static void sees_lineages_come_and_go(void **state)
{
    const struct directory *d = *state;
    make_certbot(d);
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    make_folder(d, "live/b");
    sees(&s);
    write_text(d, "live/b/README", "");
    sees_nothing(&s);
    write_text(d, "live/b/fullchain.pem", "");
    sees(&s);
    write_text(d, "live/b/privkey.pem", "");
    sees(&s);
    move(d, "live/a", "live/c");
    sees(&s);
    write_text(d, "archive/a/fullchain1.pem", "");
    sees(&s);
}

static void sees_a_source_that_is_not_there_yet(void **state)
{
    const struct directory *d = *state;
    CLEANUP(scene_free) struct scene s = of_folder(d, "etc/letsencrypt/live");
    begin(&s);
    make_folder(d, "other");
    sees_nothing(&s);
    make_folder(d, "etc");
    sees(&s);
    make_folder(d, "etc/letsencrypt");
    sees(&s);
    make_folder(d, "etc/letsencrypt/live");
    sees(&s);
    make_folder(d, "etc/letsencrypt/live/a");
    sees(&s);
}

/* Made at once, and looked at only afterwards: nothing of it may be missed. */
static void sees_what_is_made_before_it_looks(void **state)
{
    const struct directory *d = *state;
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    make_certbot(d);
    sees(&s);
    write_text(d, "archive/a/fullchain1.pem", "2");
    sees(&s);
}

static void sees_folders_that_are_exchanged(void **state)
{
    const struct directory *d = *state;
    make_folder(d, "one");
    make_folder(d, "two");
    make_folder(d, "one/a");
    make_folder(d, "two/a");
    write_text(d, "one/a/fullchain.pem", "");
    write_text(d, "two/a/fullchain.pem", "");
    link_to(d, "one", "live");
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    write_text(d, "two/a/fullchain.pem", "");
    sees_nothing(&s);
    link_to(d, path_in(d, "two"), "new");
    move(d, "new", "live");
    sees(&s);
    write_text(d, "two/a/fullchain.pem", "");
    sees(&s);
    write_text(d, "one/a/fullchain.pem", "");
    sees_nothing(&s);
    move(d, "two", "three");
    sees(&s);
    make_folder(d, "two");
    sees(&s);
}

static void sees_a_pair_of_files(void **state)
{
    const struct directory *d = *state;
    make_folder(d, "tls");
    write_text(d, "tls/key", "");
    CLEANUP(scene_free) struct scene s = of_folder(d, "");
    s.path[0] = '\0';
    snprintf(s.cert, sizeof s.cert, "%s", path_in(d, "tls/cert"));
    snprintf(s.key, sizeof s.key, "%s", path_in(d, "tls/key"));
    s.conf.sources[0].cert = s.cert;
    s.conf.sources[0].key = s.key;
    begin(&s);
    write_text(d, "tls/key", "2");
    sees(&s);
    write_text(d, "tls/cert", "2");
    sees(&s);
    write_text(d, "tls/other", "2");
    sees_nothing(&s);
}

static void bears_links_that_lead_nowhere(void **state)
{
    const struct directory *d = *state;
    link_to(d, "b", "a");
    link_to(d, "a", "b");
    CLEANUP(scene_free) struct scene s = of_folder(d, "a/live");
    begin(&s);
    unlinkat(d->fd, "a", 0);
    make_folder(d, "a");
    sees(&s);
    make_folder(d, "a/live");
    sees(&s);
}

static void sees_the_configuration(void **state)
{
    const struct directory *d = *state;
    CLEANUP(scene_free) struct scene s = of_folder(d, "");
    s.path[0] = '\0';
    s.conf.source_count = 0;
    begin(&s);
    write_text(d, "push.conf", "");
    sees(&s);
    write_text(d, "push.conf.new", "2");
    sees_nothing(&s);
    move(d, "push.conf.new", "push.conf");
    sees(&s);
}

/* The kernel drops events when its queue is full: whatever they were, all is to be looked at. */
static void takes_an_overflow_for_a_change(void **state)
{
    const struct directory *d = *state;
    unsigned max = 16384;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%u", &max), 1);
    fclose(f);
    if (max > 100000)
        skip();
    make_folder(d, "live");
    make_folder(d, "live/a");
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    write_text(d, "live/a/irrelevant", "");
    sees_nothing(&s);
    for (unsigned i = 0; i <= max / 2; i++) {
        char name[40];
        snprintf(name, sizeof name, "live/a/irrelevant%u", i);
        write_text(d, name, "");
        unlinkat(d->fd, name, 0);
    }
    sees(&s);
}

/* How many the kernel has. */
static size_t watches_of(const struct watch *w)
{
    char path[64], line[300];
    size_t n = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", watch_fd(w));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        n += strncmp(line, "inotify wd:", strlen("inotify wd:")) == 0;
    fclose(f);
    return n;
}

static void watches_no_more_than_it_needs(void **state)
{
    const struct directory *d = *state;
    make_certbot(d);
    CLEANUP(scene_free) struct scene s = of_folder(d, "live");
    begin(&s);
    size_t before = watch_folders(s.w);
    for (int i = 0; i < 10; i++)
        arm(&s);
    assert_int_equal(watch_folders(s.w), before);
    s.conf.source_count = 0;
    arm(&s);
    size_t above = watch_folders(s.w); /* for the configuration */
    assert_in_range(above, 1, before - 1);
    assert_int_equal(watches_of(s.w), above);
    write_text(d, "archive/a/fullchain1.pem", "2");
    sees_nothing(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(sees_links_that_are_moved),
        WITH_DIRECTORY(sees_what_a_link_leads_to),
        WITH_DIRECTORY(sees_lineages_come_and_go),
        WITH_DIRECTORY(sees_a_source_that_is_not_there_yet),
        WITH_DIRECTORY(sees_what_is_made_before_it_looks),
        WITH_DIRECTORY(sees_folders_that_are_exchanged),
        WITH_DIRECTORY(sees_a_pair_of_files),
        WITH_DIRECTORY(bears_links_that_lead_nowhere),
        WITH_DIRECTORY(sees_the_configuration),
        WITH_DIRECTORY(takes_an_overflow_for_a_change),
        WITH_DIRECTORY(watches_no_more_than_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
