#include "common/process.h"
#include "common/cert.h"

#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534

bool process_limit(int resource, rlim_t value)
{
    const struct rlimit r = {.rlim_cur = value, .rlim_max = value};
    return setrlimit(resource, &r) == 0;
}

void process_protect(void)
{
    cert_init();
    tzset();
    prctl(PR_SET_DUMPABLE, 0);
    process_limit(RLIMIT_CORE, 0);
    signal(SIGPIPE, SIG_IGN);
}

static bool drop_uid(void)
{
    return geteuid() != 0 || (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
                              setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

const char *process_confine(unsigned count)
{
    if (close_range(count, ~0U, 0) < 0)
        return "close descriptors";
    if (!drop_uid())
        return "become user 65534";
    if (!process_limit(RLIMIT_NOFILE, count) || !process_limit(RLIMIT_CORE, 0) ||
        !process_limit(RLIMIT_NPROC, 0))
        return "set limits";
    /* After the change of uid, at which the kernel sets the dumpable flag anew. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return "prctl";
    return NULL;
}
