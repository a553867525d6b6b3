/* common/metrics: the text format, and where the file goes. */
#include "tests/unit/testing.h"

#include "common/metrics.h"

static void write_all(struct directory *d, struct metrics *m)
{
    struct error err;
    assert_int_equal(metrics_write(m, d->path, "x.prom", &err), 0);
    metrics_free(m);
}

static struct metrics *begin(void)
{
    struct metrics *m;
    struct error err;
    assert_int_equal(metrics_new(&m, &err), 0);
    return m;
}

static void writes_families(void **state)
{
    struct directory *d = *state;
    struct metrics *m = begin();
    const struct metrics_label labels[] = {{"want", "primary"}, {"state", "served"}, {0}};
    const struct metrics_label none[] = {{0}};
    metrics_family(m, "left_out", METRICS_GAUGE, "Has no sample.");
    metrics_family(m, "one", METRICS_GAUGE, "The first.");
    metrics_add(m, labels, 1795000000);
    metrics_add(m, NULL, 0.25);
    metrics_family(m, "two_total", METRICS_COUNTER, "The second.");
    metrics_add(m, none, 3);
    write_all(d, m);
    assert_string_equal(read_text_of(d, "x.prom"),
                        "# HELP mailcow_certsync_one The first.\n"
                        "# TYPE mailcow_certsync_one gauge\n"
                        "mailcow_certsync_one{want=\"primary\",state=\"served\"} 1795000000\n"
                        "mailcow_certsync_one 0.25\n"
                        "# HELP mailcow_certsync_two_total The second.\n"
                        "# TYPE mailcow_certsync_two_total counter\n"
                        "mailcow_certsync_two_total 3\n");
}

static void escapes_values(void **state)
{
    struct directory *d = *state;
    struct metrics *m = begin();
    const struct metrics_label labels[] = {{"lineage", "a\"b\\c\nd"}, {0}};
    metrics_family(m, "one", METRICS_GAUGE, "x");
    metrics_add(m, labels, 1);
    write_all(d, m);
    assert_has(read_text_of(d, "x.prom"), "one{lineage=\"a\\\"b\\\\c\\nd\"} 1\n");
}

static void replaces_the_file_for_everybody(void **state)
{
    struct directory *d = *state;
    struct stat st;
    umask(0077);
    write_text(d, "x.prom", "old");
    write_all(d, begin());
    assert_string_equal(read_text_of(d, "x.prom"), "");
    assert_int_equal(fstatat(d->fd, "x.prom", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_false(is_there(d, ".x.prom.tmp"));
}

static void tells_where_nobody_asked(void **state)
{
    struct directory *d = *state;
    AUTO_METRICS struct metrics *m = begin();
    struct error err;
    assert_int_equal(metrics_write(m, METRICS_OFF, "x.prom", &err), 0);
    assert_false(metrics_are_wanted(METRICS_OFF));
    assert_true(metrics_are_wanted(path_in(d, "missing")));
    assert_true(metrics_write(m, path_in(d, "missing"), "x.prom", &err) < 0);
    assert_has(err.text, "missing: x.prom: open the folder: No such file or directory");
    assert_int_equal(metrics_are_wanted(METRICS_FOLDER), access(METRICS_FOLDER, W_OK) == 0);
}

static void knows_a_place(void **state)
{
    (void)state;
    assert_true(metrics_is_place("/srv/x"));
    assert_true(metrics_is_place("off"));
    assert_false(metrics_is_place("srv/x"));
    assert_false(metrics_is_place("no"));
    assert_false(metrics_is_place(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(writes_families),
        WITH_DIRECTORY(escapes_values),
        WITH_DIRECTORY(replaces_the_file_for_everybody),
        WITH_DIRECTORY(tells_where_nobody_asked),
        cmocka_unit_test(knows_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
