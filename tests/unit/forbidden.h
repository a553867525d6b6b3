/*
 * What a sandbox lets through, tried call by call. Included by one test program, after tests/unit/testing.h.
 */
#ifndef TESTS_UNIT_FORBIDDEN_H
#define TESTS_UNIT_FORBIDDEN_H

#include "common/process.h"

#include <seccomp.h>
#include <signal.h>
#include <sys/wait.h>

#ifdef __x86_64__
#define UPROBE 336 /* Linux 6.18 exempts it from filters; it fails when no probe has made it */
#else
#define UPROBE (-1)
#endif

/* The allowed calls that do anything when all their arguments are 0, beside those that the test names. */
static const char *const always_allowed[] = {
    "brk",         "munmap",    "mremap", "futex",           "clock_gettime", "gettimeofday",
    "time",        "getrandom", "getpid", "restart_syscall", "exit_group",    "mmap",
#ifdef PROCESS_SANITIZED
    "sigaltstack", "madvise",   "write",
#endif
};

static bool is_allowed(int number, const char *const *names)
{
    for (size_t i = 0; i < COUNT(always_allowed); i++)
        if (number == seccomp_syscall_resolve_name(always_allowed[i]))
            return true;
    for (; *names; names++)
        if (number == seccomp_syscall_resolve_name(*names))
            return true;
    return false;
}

/* How a child ends that enters the sandbox and does this: its wait status. */
static int status_of(bool (*enter)(void), void (*deed)(long), long argument)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(5);
        if (enter())
            deed(argument);
        _exit(1);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool is_killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void call(long number)
{
    syscall(number, 0, 0, 0, 0, 0, 0);
}

static void map_executable(long flags)
{
    (void)flags;
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void map_writable(long flags)
{
    (void)flags;
    _exit(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

/* Every system call, and every number that is none yet, ends a process in the sandbox; but for those allowed.
 */
static UNUSED void assert_allows_only(bool (*enter)(void), const char *const *names)
{
    for (int number = 0; number < 512; number++) {
        if (is_allowed(number, names) || number == UPROBE)
            continue;
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
        if (!is_killed(status_of(enter, call, number)))
            fail_msg("system call %d (%s) is let through", number, name ? name : "nameless");
        free(name);
    }
    assert_true(is_killed(status_of(enter, map_executable, 0)));
    assert_int_equal(status_of(enter, map_writable, 0), 0);
}

#endif
