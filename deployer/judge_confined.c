/* judge() in a child process that can reach nothing; its answer is a struct reply followed by chain and key.
 */
#include "common/clock.h"
#include "common/io.h"
#include "common/process.h"
#include "common/sandbox.h"
#include "common/text.h"
#include "deployer/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct reply {
    int rc;
    struct error err;
    struct judge_verdict verdict; /* its secrets' pointers mean nothing here: the lengths count */
};

static bool limit_memory(void)
{
#ifdef PROCESS_SANITIZED
    return true;
#else
    return process_limit(RLIMIT_AS, JUDGE_MEMORY);
#endif
}

/* Its answer. */
static const struct sandbox_call calls[] = {{.name = "write"}, {.name = NULL}};

/* Leaves descriptor 0 (the answer) and nothing else; no further one can be opened. */
static bool confine(int answer_fd)
{
    return dup2(answer_fd, 0) == 0 && !process_confine(1) && process_limit(RLIMIT_FSIZE, 0) &&
           process_limit(RLIMIT_CPU, JUDGE_CPU_SECONDS) && limit_memory() && !sandbox_enter(calls);
}

static void child(int answer_fd, const void *bundle, size_t len, const struct judge_policy *policy,
                  time_t now)
{
    struct reply reply = {0};
    alarm(JUDGE_SECONDS + 1); /* a parent without CAP_KILL cannot end what has become another user */
    if (!confine(answer_fd)) {
        reply.rc = error_errno(&reply.err, "judge", "confine its process");
        _exit(io_write_all(answer_fd, &reply, sizeof reply) == 0 ? 0 : 2);
    }
    reply.rc = judge(bundle, len, policy, now, &reply.verdict, &reply.err);
    bool sent = io_write_all(0, &reply, sizeof reply) == 0 &&
                io_write_all(0, reply.verdict.chain.data, reply.verdict.chain.len) == 0 &&
                io_write_all(0, reply.verdict.key.data, reply.verdict.key.len) == 0;
    judge_verdict_wipe(&reply.verdict);
    _exit(sent ? 0 : 2);
}

static int crashed(struct judge_verdict *out, const char *how)
{
    out->reason = JUDGE_CRASHED;
    snprintf(out->why, sizeof out->why, "the judge %s on it", how);
    return 0;
}

static bool is_shown(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!text[i])
            return true;
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    }
    return false;
}

/* The child parsed what a peer sent, and may have been taken over by it: what it says is looked at here. */
static bool is_sound(const struct reply *reply)
{
    const struct judge_verdict *v = &reply->verdict;
    if (reply->rc)
        return reply->rc < 0 && reply->rc >= E_CONFIG && reply->err.code == reply->rc && reply->err.text[0] &&
               is_shown(reply->err.text, sizeof reply->err.text);
    if ((unsigned)v->reason > JUDGE_CRASHED || !is_shown(v->why, sizeof v->why) ||
        !is_shown(v->issuer, sizeof v->issuer) || !is_shown(v->key_type, sizeof v->key_type) ||
        !is_shown(v->fingerprint, sizeof v->fingerprint) || !is_shown(v->spki, sizeof v->spki))
        return false;
    return v->reason == JUDGE_ACCEPTED ? text_is_fingerprint(v->fingerprint) &&
                                             text_is_fingerprint(v->spki) && v->chain.len && v->key.len
                                       : v->why[0] && !v->chain.len && !v->key.len;
}

static int unpack(const struct secret *answer, struct judge_verdict *out, struct error *err)
{
    struct reply reply;
    if (answer->len < sizeof reply)
        return crashed(out, "died");
    memcpy(&reply, answer->data, sizeof reply);
    size_t chain_len = reply.verdict.chain.len, key_len = reply.verdict.key.len;
    size_t rest = answer->len - sizeof reply;
    if (chain_len > SECRET_MAX || key_len > SECRET_MAX || chain_len + key_len != rest || !is_sound(&reply))
        return crashed(out, "died");
    if (reply.rc < 0) {
        *err = reply.err;
        return reply.rc;
    }
    *out = reply.verdict;
    secret_init(&out->chain, SECRET_MAX);
    secret_init(&out->key, SECRET_MAX);
    const unsigned char *rest_of_it = answer->data + sizeof reply;
    if (secret_append(&out->chain, rest_of_it, chain_len) < 0 ||
        secret_append(&out->key, rest_of_it + chain_len, key_len) < 0)
        return error_memory(err);
    return 0;
}

int judge_confined(const void *bundle, size_t len, const struct judge_policy *policy, time_t now,
                   struct judge_verdict *out, struct error *err)
{
    int pair[2], status;
    AUTO_SECRET struct secret answer = SECRET(3 * SECRET_MAX);
    *out = (struct judge_verdict){0};
    if (pipe2(pair, O_CLOEXEC) < 0)
        return error_errno(err, "judge", "pipe");
    AUTO_CLOSE int answer_fd = pair[0];
    pid_t pid = fork();
    if (pid == 0)
        child(pair[1], bundle, len, policy, now);
    close(pair[1]);
    if (pid < 0)
        return error_errno(err, "judge", "fork");
    struct error unread;
    int rc = io_read_secret(answer_fd, clock_ms() + JUDGE_SECONDS * 1000, &answer, &unread);
    kill(pid, SIGKILL); /* whatever it still does: it has no more to say */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc < 0)
        return crashed(out, rc == E_TEMPORARY ? "took too long" : "said too much");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        return crashed(out, "tried a forbidden system call");
    return unpack(&answer, out, err);
}
