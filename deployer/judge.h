/*
 * The judge: decides whether a bundle may be installed for a want. A pure function of bytes, policy and time:
 * it opens no file, no socket and no log, so that it can be fuzzed, and run where nothing can be reached
 * (judge_confined).
 */
#ifndef DEPLOYER_JUDGE_H
#define DEPLOYER_JUDGE_H

#include "common/cert.h"
#include "deployer/trust.h"

/* Why a bundle is refused; the token of judge_reason_str goes over the wire as reason=… */
enum judge_reason {
    JUDGE_ACCEPTED = 0,
    JUDGE_MALFORMED,
    JUDGE_NO_CERTIFICATE,
    JUDGE_NO_KEY,
    JUDGE_ENCRYPTED_KEY,
    JUDGE_KEY_MISMATCH,
    JUDGE_KEY_UNUSABLE,
    JUDGE_CA_AS_LEAF,
    JUDGE_NOT_COVERED,
    JUDGE_NOT_YET_VALID, /* the only one that time alone may cure */
    JUDGE_EXPIRED,
    JUDGE_UNTRUSTED,
    JUDGE_PURPOSE,
    JUDGE_WEAK,
    JUDGE_KEY_NOT_PROVEN,
    JUDGE_OLDER,
    JUDGE_CRASHED, /* the confined judge died or took too long */
};

struct judge_policy {
    const struct trust *trust;
    const char *const *names; /* every one must be covered by a dNSName SAN */
    size_t name_count;
    /* PEM of the certificate that is installed now, NULL if none. If it would itself be accepted for the
       names, a bundle whose leaf began earlier is refused as a downgrade; the same leaf is not. */
    const char *installed;
    size_t installed_len;
};

/* What an accepted bundle is: what to install, and what to say of it. Released by judge_verdict_wipe. */
struct judge_verdict {
    enum judge_reason reason;
    char why[600];       /* printable; for people, when not accepted */
    struct secret chain; /* PEM, leaf first, made from the parsed objects */
    struct secret key;   /* PEM, PKCS#8 */
    char fingerprint[65];
    char spki[65];
    char key_type[32];
    char issuer[200];
    time_t not_before;
    time_t not_after;
    size_t chain_length;
};

/* Fills *out (zeroed before). Negative only for lack of memory. */
int judge(const void *bundle, size_t len, const struct judge_policy *policy, time_t now,
          struct judge_verdict *out, struct error *err);
void judge_verdict_wipe(struct judge_verdict *v);
#define AUTO_VERDICT CLEANUP(judge_verdict_wipe)

/*
 * The same in a child process that holds no descriptor but its answer, no privilege, no system call but what
 * it needs to think and answer, and no more than JUDGE_SECONDS, JUDGE_CPU_SECONDS and JUDGE_MEMORY: a crash
 * or a timeout there is JUDGE_CRASHED. process_protect must have been called, since libraries can read none
 * of their files there.
 */
#define JUDGE_SECONDS     10
#define JUDGE_CPU_SECONDS 2 /* a chain of RSA-4096 takes 20 ms */
#define JUDGE_MEMORY      (256UL * 1024 * 1024)
int judge_confined(const void *bundle, size_t len, const struct judge_policy *policy, time_t now,
                   struct judge_verdict *out, struct error *err);

const char *judge_reason_str(enum judge_reason reason);

#endif
