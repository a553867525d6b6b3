/* deployer/judge_confined around a judge that misbehaves: what its process can reach, and what becomes of
 * what it says. */
#include <stdbool.h>

#include "tests/unit/testing.h"

/* The module is compiled once more into this program, with a judge and a time limit of the test's. */
#define judge          rogue_judge
#define judge_confined confined_rogue
#include "deployer/judge.h"
#undef JUDGE_SECONDS
#define JUDGE_SECONDS 1
#include "common/sandbox.h"
static const char *enter_sandbox(const struct sandbox_call *calls);
#define sandbox_enter enter_sandbox
#include "deployer/judge_confined.c"
#undef sandbox_enter

#include "common/text.h"
#include "tests/unit/forbidden.h"

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void (*conduct)(struct judge_verdict *out);
static int conduct_result;
static bool without_sandbox; /* shows the confinement below it */

static const char *enter_sandbox(const struct sandbox_call *list)
{
    return without_sandbox ? NULL : sandbox_enter(list);
}

int rogue_judge(const void *bundle, size_t len, const struct judge_policy *policy, time_t now,
                struct judge_verdict *out, struct error *err)
{
    (void)bundle, (void)len, (void)policy, (void)now;
    *out = (struct judge_verdict){0};
    secret_init(&out->chain, 4 * SECRET_MAX);
    secret_init(&out->key, 4 * SECRET_MAX);
    strcpy(out->fingerprint, FINGERPRINT);
    strcpy(out->spki, FINGERPRINT);
    secret_append(&out->chain, "chain", 5);
    secret_append(&out->key, "key", 3);
    conduct(out);
    return conduct_result < 0 ? error_set(err, conduct_result, "no more memory") : 0;
}

static int confined(void (*how)(struct judge_verdict *out), int result, struct judge_verdict *out,
                    struct error *err)
{
    static const struct judge_policy policy;
    conduct = how;
    conduct_result = result;
    int rc = confined_rogue("", 0, &policy, 0, out, err);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, dead or alive */
    assert_int_equal(errno, ECHILD);
    return rc;
}

static void crashes(void (*how)(struct judge_verdict *out), const char *why)
{
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err = {.text = ""};
    assert_int_equal(confined(how, 0, &v, &err), 0);
    assert_string_equal(judge_reason_str(v.reason), "judge-crashed");
    assert_string_equal(v.why, why);
    assert_string_equal(v.fingerprint, "");
    assert_int_equal(v.chain.len + v.key.len, 0);
}

/* ---- what its process can reach ---- */

#define REFUSE_UNLESS(out, condition)                                                                        \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (out)->reason = JUDGE_MALFORMED;                                                                 \
            snprintf((out)->why, sizeof(out)->why, "%s", #condition);                                        \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

static bool limited_to(int resource, rlim_t value)
{
    struct rlimit r;
    return getrlimit(resource, &r) == 0 && r.rlim_cur == value && r.rlim_max == value;
}

static void look_around(struct judge_verdict *out)
{
    uid_t r, e, s;
    for (int fd = 1; fd < 1024; fd++)
        REFUSE_UNLESS(out, fcntl(fd, F_GETFD) < 0 && errno == EBADF);
    REFUSE_UNLESS(out, open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
    REFUSE_UNLESS(out, socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EMFILE);
    REFUSE_UNLESS(out, dup(0) < 0 && errno == EMFILE);
    REFUSE_UNLESS(out, limited_to(RLIMIT_CORE, 0));
    REFUSE_UNLESS(out, limited_to(RLIMIT_NPROC, 0));
    REFUSE_UNLESS(out, limited_to(RLIMIT_FSIZE, 0));
    REFUSE_UNLESS(out, limited_to(RLIMIT_CPU, JUDGE_CPU_SECONDS));
    REFUSE_UNLESS(out, prctl(PR_GET_DUMPABLE) == 0);
    REFUSE_UNLESS(out, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    REFUSE_UNLESS(out, getresuid(&r, &e, &s) == 0 && r && e && s);
    REFUSE_UNLESS(out, getresgid(&r, &e, &s) == 0 && r && e && s);
    REFUSE_UNLESS(out, setuid(0) < 0);
    REFUSE_UNLESS(out, getgroups(0, NULL) == 0);
    REFUSE_UNLESS(out, kill(getppid(), 0) < 0);
    REFUSE_UNLESS(out, fork() < 0);
}

static void accepts(void (*how)(struct judge_verdict *out))
{
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err = {.text = ""};
    assert_int_equal(confined(how, 0, &v, &err), 0);
    assert_string_equal(v.why, "");
    assert_int_equal(v.reason, JUDGE_ACCEPTED);
    assert_string_equal(v.fingerprint, FINGERPRINT);
    assert_string_equal((char *)v.chain.data, "chain");
    assert_string_equal((char *)v.key.data, "key");
}

static void test_reaches_nothing(void **state)
{
    (void)state;
    const gid_t group = 4242; /* which it is to lose */
    if (geteuid() != 0)
        skip();
    assert_int_equal(setgroups(1, &group), 0);
    without_sandbox = true;
    accepts(look_around);
    assert_int_equal(setgroups(0, NULL), 0);
}

static int restore_sandbox(void **state)
{
    (void)state;
    without_sandbox = false;
    return 0;
}

static bool enter(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return null >= 0 && confine(null);
}

static void test_calls_nothing(void **state)
{
    (void)state;
    static const char *const allowed[] = {"write", NULL};
    assert_allows_only(enter, allowed);
}

static void open_a_file(struct judge_verdict *out)
{
    (void)out;
    (void)!open("/etc/passwd", O_RDONLY);
}

/* What libraries read when they first need it, they have read before. */
static void use_libraries(struct judge_verdict *out)
{
    char when[TEXT_TIME_SIZE], digest[65];
    REFUSE_UNLESS(out, cert_sha256(digest, "", 0) && *text_time(when, 0));
}

static void test_needs_no_file(void **state)
{
    (void)state;
    accepts(use_libraries);
}

static void test_forbidden_call(void **state)
{
    (void)state;
    crashes(open_a_file, "the judge tried a forbidden system call on it");
}

static void take_memory(struct judge_verdict *out)
{
    void *volatile little = malloc(JUDGE_MEMORY / 4); /* volatile, or a compiler supposes success */
    void *volatile much = malloc(JUDGE_MEMORY);
    REFUSE_UNLESS(out, little && !much);
}

static void test_memory_is_limited(void **state)
{
    (void)state;
#ifdef PROCESS_SANITIZED
    skip();
#endif
    accepts(take_memory);
}

static void say_nothing_special(struct judge_verdict *out)
{
    (void)out;
}

static size_t count_descriptors(void)
{
    AUTO_DIR DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    return count;
}

static void test_parent_keeps_nothing(void **state)
{
    (void)state;
    size_t before = count_descriptors();
    accepts(say_nothing_special);
    assert_int_equal(count_descriptors(), before);
}

/* The answer's descriptors are 0 and 1 then. */
static void test_without_standard_descriptors(void **state)
{
    (void)state;
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err = {.text = ""};
    int saved[2] = {fcntl(0, F_DUPFD_CLOEXEC, 10), fcntl(1, F_DUPFD_CLOEXEC, 10)};
    fflush(NULL);
    close(0);
    close(1);
    conduct = say_nothing_special;
    int rc = confined_rogue("", 0, &(struct judge_policy){0}, 0, &v, &err);
    dup2(saved[0], 0);
    dup2(saved[1], 1);
    close(saved[0]);
    close(saved[1]);
    assert_int_equal(rc, 0);
    assert_int_equal(v.reason, JUDGE_ACCEPTED);
}

/* ---- when it ends otherwise ---- */

static void fault(struct judge_verdict *out)
{
    const char *volatile nowhere = (const char *)8;
    out->why[0] = *nowhere;
}

static void leave(struct judge_verdict *out)
{
    (void)out;
    _exit(0);
}

static void wait_for_ever(struct judge_verdict *out)
{
    static int word;
    (void)out;
    for (;;)
        syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL);
}

static void close_and_wait(struct judge_verdict *out)
{
    close(0);
    wait_for_ever(out);
}

static void stop(struct judge_verdict *out)
{
    (void)out;
    close(0);
    raise(SIGSTOP);
}

static void talk_without_end(struct judge_verdict *out)
{
    while (write(0, out, sizeof *out) > 0)
        ;
}

static void test_crash(void **state)
{
    (void)state;
    void (*handler)(int) = signal(SIGSEGV, SIG_DFL); /* cmocka's or a sanitizer's would want to say more */
    crashes(fault, "the judge died on it");
    signal(SIGSEGV, handler);
    crashes(leave, "the judge died on it");
}

static void test_hang(void **state)
{
    (void)state;
    int64_t start = clock_ms();
    crashes(wait_for_ever, "the judge took too long on it");
    assert_true(clock_ms() - start >= 1000);
    assert_true(clock_ms() - start < 30000);
}

/* The daemon's unit has no CAP_KILL, and the judge is another user. */
static void test_hang_without_the_right_to_kill(void **state)
{
    (void)state;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2], some[2];
    assert_int_equal(syscall(SYS_capget, &header, all), 0);
    memcpy(some, all, sizeof some);
    some[0].effective &= ~(1U << CAP_KILL);
    assert_int_equal(syscall(SYS_capset, &header, some), 0);
    int64_t start = clock_ms();
    crashes(wait_for_ever, "the judge took too long on it");
    assert_true(clock_ms() - start < 10000);
    assert_int_equal(syscall(SYS_capset, &header, all), 0);
}

static void test_hang_after_closing(void **state)
{
    (void)state;
    without_sandbox = true;
    crashes(close_and_wait, "the judge died on it");
    crashes(stop, "the judge died on it");
}

static void test_flood(void **state)
{
    (void)state;
    crashes(talk_without_end, "the judge said too much on it");
}

static void test_no_memory(void **state)
{
    (void)state;
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err = {.text = ""};
    assert_int_equal(confined(say_nothing_special, E_TEMPORARY, &v, &err), E_TEMPORARY);
    assert_string_equal(err.text, "no more memory");
}

/* ---- when it lies ---- */

static void write_some(struct judge_verdict *out)
{
    (void)!write(0, out, 20);
    _exit(0);
}

static void claim_more(struct judge_verdict *out)
{
    struct reply reply = {.verdict = *out};
    reply.verdict.key.len += 1;
    io_write_all(0, &reply, sizeof reply);
    io_write_all(0, "chainkey", 8);
    _exit(0);
}

static void claim_less(struct judge_verdict *out)
{
    struct reply reply = {.verdict = *out};
    reply.verdict.chain.len = 0;
    io_write_all(0, &reply, sizeof reply);
    io_write_all(0, "chainkey", 8);
    _exit(0);
}

static void claim_wrapping(struct judge_verdict *out)
{
    struct reply reply = {.verdict = *out};
    reply.verdict.chain.len = SIZE_MAX - 100;
    reply.verdict.key.len = 109;
    io_write_all(0, &reply, sizeof reply);
    io_write_all(0, "chainkey", 8);
    _exit(0);
}

static void send_large_chain(struct judge_verdict *out)
{
    static char much[SECRET_MAX];
    secret_append(&out->chain, much, sizeof much);
}

static void send_large_key(struct judge_verdict *out)
{
    static char much[SECRET_MAX];
    secret_append(&out->key, much, sizeof much);
}

static void send_open_why(struct judge_verdict *out)
{
    out->reason = JUDGE_MALFORMED;
    memset(out->why, 'w', sizeof out->why);
}

static void send_open_issuer(struct judge_verdict *out)
{
    memset(out->issuer, 'i', sizeof out->issuer);
}

static void send_open_key_type(struct judge_verdict *out)
{
    memset(out->key_type, 'k', sizeof out->key_type);
}

static void send_open_fingerprint(struct judge_verdict *out)
{
    memset(out->fingerprint, 'a', sizeof out->fingerprint);
}

static void send_open_spki(struct judge_verdict *out)
{
    memset(out->spki, 'a', sizeof out->spki);
}

static void refuse_with_open_fingerprint(struct judge_verdict *out)
{
    out->reason = JUDGE_MALFORMED;
    memset(out->fingerprint, 'a', sizeof out->fingerprint);
}

static void refuse_with_open_spki(struct judge_verdict *out)
{
    out->reason = JUDGE_MALFORMED;
    memset(out->spki, 'a', sizeof out->spki);
}

static void send_path(struct judge_verdict *out)
{
    strcpy(out->fingerprint, "/../../../x");
}

static void send_other_spki(struct judge_verdict *out)
{
    strcpy(out->spki, "x");
}

static void send_control_bytes(struct judge_verdict *out)
{
    strcpy(out->issuer, "CN=x\n250 accepted");
}

static void send_strange_reason(struct judge_verdict *out)
{
    out->reason = (enum judge_reason)1000;
}

static void test_lies(void **state)
{
    (void)state;
    crashes(write_some, "the judge died on it");
    crashes(claim_more, "the judge died on it");
    crashes(claim_less, "the judge died on it");
    crashes(claim_wrapping, "the judge died on it");
    crashes(send_large_chain, "the judge died on it");
    crashes(send_large_key, "the judge died on it");
    crashes(send_open_why, "the judge died on it");
    crashes(send_open_issuer, "the judge died on it");
    crashes(send_open_key_type, "the judge died on it");
    crashes(send_open_fingerprint, "the judge died on it");
    crashes(send_open_spki, "the judge died on it");
    crashes(refuse_with_open_fingerprint, "the judge died on it");
    crashes(refuse_with_open_spki, "the judge died on it");
    crashes(send_path, "the judge died on it");
    crashes(send_other_spki, "the judge died on it");
    crashes(send_control_bytes, "the judge died on it");
    crashes(send_strange_reason, "the judge died on it");
}

static void send_control_bytes_as_error(struct judge_verdict *out)
{
    struct reply reply = {.rc = E_TEMPORARY, .verdict = *out};
    memset(reply.err.text, '\n', sizeof reply.err.text);
    io_write_all(0, &reply, sizeof reply);
    io_write_all(0, "chainkey", 8);
    _exit(0);
}

static void test_lying_error(void **state)
{
    (void)state;
    crashes(send_control_bytes_as_error, "the judge died on it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_reaches_nothing, restore_sandbox),
        cmocka_unit_test(test_calls_nothing),
        cmocka_unit_test(test_needs_no_file),
        cmocka_unit_test(test_forbidden_call),
        cmocka_unit_test(test_memory_is_limited),
        cmocka_unit_test(test_parent_keeps_nothing),
        cmocka_unit_test(test_without_standard_descriptors),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_hang_without_the_right_to_kill),
        cmocka_unit_test_teardown(test_hang_after_closing, restore_sandbox),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_lying_error),
    };
    process_protect();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
