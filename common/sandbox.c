#include "common/sandbox.h"
#include "common/cleanup.h"
#include "common/process.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>

CLEANUP_DEFINE(scmp_filter_ctx, seccomp_release)
#define AUTO_FILTER CLEANUP(seccomp_releasep)

/* What libc and libcrypto call by themselves; restart_syscall is the kernel's own, after a SIGCONT. */
static const struct sandbox_call every[] = {
    {.name = "brk"},
    {.name = "munmap"},
    {.name = "mremap"},
    {.name = "futex"},
    {.name = "futex_time64"},
    {.name = "clock_gettime"},
    {.name = "clock_gettime64"},
    {.name = "gettimeofday"},
    {.name = "time"},
    {.name = "getrandom"},
    {.name = "getpid"},
    {.name = "restart_syscall"},
    {.name = "exit_group"},
#ifdef PROCESS_SANITIZED
    {.name = "sigaltstack"},
    {.name = "madvise"},
    {.name = "write"},
#endif
    {.name = NULL},
};

static int allow(scmp_filter_ctx filter, const char *name, unsigned count,
                 const struct scmp_arg_cmp *condition)
{
    int number = seccomp_syscall_resolve_name(name);
    return number == __NR_SCMP_ERROR
               ? -EINVAL
               : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, condition);
}

static int allow_all(scmp_filter_ctx filter, const struct sandbox_call *calls)
{
    int rc = 0;
    for (; calls->name && !rc; calls++) {
        const struct scmp_arg_cmp equal = {
            .arg = calls->argument, .op = SCMP_CMP_EQ, .datum_a = calls->value};
        rc = allow(filter, calls->name, calls->argument ? 1 : 0, &equal);
    }
    return rc;
}

/* mmap2 is what 32-bit architectures have. */
static int allow_memory(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp not_executable = {
        .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0};
    int rc = allow(filter, "mmap", 1, &not_executable);
    return rc ? rc : allow(filter, "mmap2", 1, &not_executable);
}

const char *sandbox_enter(const struct sandbox_call *calls)
{
    AUTO_FILTER scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = filter ? seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) : -ENOMEM;
    if (!rc)
        rc = allow_all(filter, every);
    if (!rc)
        rc = allow_memory(filter);
    if (!rc)
        rc = allow_all(filter, calls);
    if (!rc)
        rc = seccomp_load(filter);
    errno = -rc;
    return rc ? "filter system calls" : NULL;
}
