/* deployer/updater: which processes are mailcow's update.sh at work. */
#include "tests/unit/testing.h"

#include "deployer/updater.h"

#include <dirent.h>

/* A process of the folder proc, with the working directory cwd. words: each ended by a NUL. */
static void process(const struct directory *d, const char *pid, const char *cwd, const char *words,
                    size_t len)
{
    char name[100];
    snprintf(name, sizeof name, "proc/%s", pid);
    make_folder(d, name);
    snprintf(name, sizeof name, "proc/%s/cmdline", pid);
    write_bytes(d, name, words, len);
    snprintf(name, sizeof name, "proc/%s/cwd", pid);
    assert_int_equal(symlinkat(path_in(d, cwd), d->fd, name), 0);
}

static pid_t find(const struct directory *d)
{
    return updater_find(path_in(d, "proc"), path_in(d, "mailcow"));
}

static void set_up(const struct directory *d)
{
    make_folder(d, "proc");
    make_folder(d, "proc/self");
    make_folder(d, "mailcow");
    make_folder(d, "mailcow/data");
    make_folder(d, "other");
}

static pid_t with(const struct directory *d, const char *cwd, const char *words, size_t len)
{
    process(d, "4711", cwd, words, len);
    pid_t pid = find(d);
    assert_int_equal(unlinkat(d->fd, "proc/4711/cmdline", 0), 0);
    assert_int_equal(unlinkat(d->fd, "proc/4711/cwd", 0), 0);
    assert_int_equal(unlinkat(d->fd, "proc/4711", AT_REMOVEDIR), 0);
    return pid;
}

#define WITH(cwd, words) with(*state, cwd, words, sizeof words - 1)

static void finds_it_however_it_was_called(void **state)
{
    char words[600];
    set_up(*state);
    assert_int_equal(WITH("mailcow", "bash\0./update.sh\0--force\0"), 4711);
    assert_int_equal(WITH("mailcow", "/usr/bin/bash\0-x\0-e\0update.sh\0"), 4711);
    assert_int_equal(WITH("mailcow", "sh\0update.sh"), 4711);
    assert_int_equal(WITH("mailcow", "./update.sh\0"), 4711);
    assert_int_equal(WITH("mailcow/data", "bash\0../update.sh\0"), 4711);
    int n = snprintf(words, sizeof words, "bash%c%s/update.sh", 0, path_in(*state, "mailcow"));
    assert_int_equal(with(*state, "other", words, (size_t)n + 1), 4711);
}

static void takes_nothing_else_for_it(void **state)
{
    char words[600];
    set_up(*state);
    assert_int_equal(WITH("mailcow", "vim\0update.sh\0"), 0);
    assert_int_equal(WITH("mailcow", "sudo\0./update.sh\0"), 0); /* its child is the one */
    assert_int_equal(WITH("mailcow", "bash\0"), 0);
    assert_int_equal(WITH("mailcow", "bash\0-c\0"), 0);
    assert_int_equal(WITH("mailcow", "bash\0./generate_config.sh\0update.sh\0"), 0);
    assert_int_equal(WITH("mailcow", "bash\0./my-update.sh\0"), 0);
    assert_int_equal(WITH("mailcow", ""), 0); /* of the kernel, or dead */
    assert_int_equal(WITH("other", "bash\0./update.sh\0"), 0);
    assert_int_equal(WITH("gone", "bash\0./update.sh\0"), 0);
    int n = snprintf(words, sizeof words, "bash%c%s/update.sh", 0, path_in(*state, "other"));
    assert_int_equal(with(*state, "mailcow", words, (size_t)n + 1), 0);
}

static void finds_it_among_many(void **state)
{
    set_up(*state);
    process(*state, "1", "other", "init\0", 5);
    process(*state, "99", "mailcow", "bash\0update.sh\0", 15);
    process(*state, "100", "other", "bash\0update.sh\0", 15);
    assert_int_equal(find(*state), 99);
}

static void knows_nothing_without_proc(void **state)
{
    set_up(*state);
    assert_int_equal(updater_find(path_in(*state, "none"), path_in(*state, "mailcow")), 0);
    assert_int_equal(updater_find(path_in(*state, "proc"), path_in(*state, "none")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(finds_it_however_it_was_called),
        WITH_DIRECTORY(takes_nothing_else_for_it),
        WITH_DIRECTORY(finds_it_among_many),
        WITH_DIRECTORY(knows_nothing_without_proc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
