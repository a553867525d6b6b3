/* common/process: what each program does to itself first. */
#include "tests/unit/testing.h"

#include "common/process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool is_protected(void)
{
    struct rlimit core;
    process_protect();
    return prctl(PR_GET_DUMPABLE) == 0 && getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 &&
           core.rlim_max == 0 && signal(SIGPIPE, SIG_IGN) == SIG_IGN;
}

static void protects_itself(void **state)
{
    (void)state;
    const struct rlimit some = {.rlim_cur = 4096, .rlim_max = 4096};
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0)
            setrlimit(RLIMIT_CORE, &some);
        _exit(!is_protected());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protects_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
