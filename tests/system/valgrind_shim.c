/*
 * Preloaded into the product under valgrind: limits and filters that would end valgrind itself, and not the
 * product, are accepted and not set. All other limits, and everything else of the confinement, are as they
 * are without it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/resource.h>

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limits)
{
    int (*real)(__rlimit_resource_t, const struct rlimit *);
    *(void **)&real = dlsym(RTLD_NEXT, "setrlimit");
    struct rlimit adapted = *limits;
    switch (resource) {
    case RLIMIT_NOFILE: /* valgrind keeps the hard limit to itself (EPERM); it does honour the soft one */
        if (getrlimit(RLIMIT_NOFILE, &adapted) < 0)
            return -1;
        adapted.rlim_cur = limits->rlim_cur;
        return real(resource, &adapted);
    case RLIMIT_AS:    /* its own memory is in the same address space */
    case RLIMIT_FSIZE: /* its log is a file */
        return 0;
    default:
        return real(resource, limits);
    }
}

int seccomp_load(const void *filter)
{
    (void)filter;
    return 0;
}

/* valgrind 3.19 knows no seccomp(2): libseccomp, asking it, would take no action but the oldest for valid. */
__attribute__((constructor)) static void assume_actions(void)
{
    int (*set_level)(unsigned level);
    *(void **)&set_level = dlsym(RTLD_DEFAULT, "seccomp_api_set");
    if (set_level)
        set_level(3); /* where there is SCMP_ACT_KILL_PROCESS: seccomp_api_get(3) */
}
