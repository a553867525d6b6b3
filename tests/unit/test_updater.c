/* deployer/updater: which processes are mailcow's update.sh at work. */
#include "tests/unit/testing.h"

#include "deployer/updater.h"

#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

/* A shell at work on other/update.sh, which is not mailcow's. */
static pid_t start_other(const struct directory *d)
{
    write_text(d, "other/update.sh", "read line\n");
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(pipe_fds[0], 0) == 0 && chdir(path_in(d, "other")) == 0)
            execl("/bin/sh", "sh", "./update.sh", NULL);
        _exit(127);
    }
    close(pipe_fds[0]);
    return pid;
}

/* Without CAP_SYS_PTRACE, as in the daemon's unit, the working directory of who has it is hidden. */
static void takes_roots_for_it_where_the_folder_is_hidden(void **state)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2], some[2];
    if (geteuid() != 0)
        skip();
    set_up(*state);
    pid_t pid = start_other(*state), found = 0;
    assert_int_equal(syscall(SYS_capget, &header, all), 0);
    memcpy(some, all, sizeof some);
    some[0].effective &= ~(1U << CAP_SYS_PTRACE);
    assert_int_equal(syscall(SYS_capset, &header, some), 0);
    for (int i = 0; i < 1000 && !found && waitpid(pid, NULL, WNOHANG) == 0; i++) {
        found = updater_find("/proc", path_in(*state, "mailcow"));
        usleep(1000);
    }
    assert_int_equal(syscall(SYS_capset, &header, all), 0);
    assert_int_equal(found, pid);
    assert_int_not_equal(updater_find("/proc", path_in(*state, "mailcow")), pid);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
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
        WITH_DIRECTORY(takes_roots_for_it_where_the_folder_is_hidden),
        WITH_DIRECTORY(knows_nothing_without_proc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
