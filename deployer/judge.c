#include "deployer/judge.h"
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const reason_words[] = {
    [JUDGE_ACCEPTED] = "accepted",
    [JUDGE_MALFORMED] = "malformed",
    [JUDGE_NO_CERTIFICATE] = "no-certificate",
    [JUDGE_NO_KEY] = "no-key",
    [JUDGE_ENCRYPTED_KEY] = "encrypted-key",
    [JUDGE_KEY_MISMATCH] = "key-mismatch",
    [JUDGE_KEY_UNUSABLE] = "key-unusable",
    [JUDGE_CA_AS_LEAF] = "ca-as-leaf",
    [JUDGE_NOT_COVERED] = "name-not-covered",
    [JUDGE_NOT_YET_VALID] = "not-yet-valid",
    [JUDGE_EXPIRED] = "expired",
    [JUDGE_UNTRUSTED] = "untrusted",
    [JUDGE_PURPOSE] = "wrong-purpose",
    [JUDGE_WEAK] = "weak-chain",
    [JUDGE_KEY_NOT_PROVEN] = "key-not-proven",
    [JUDGE_OLDER] = "older",
    [JUDGE_CRASHED] = "judge-crashed",
};

const char *judge_reason_str(enum judge_reason reason)
{
    size_t i = (size_t)reason;
    return i < sizeof reason_words / sizeof *reason_words ? reason_words[i] : "unknown";
}

static enum judge_reason reason_of_fault(int fault)
{
    switch (fault) {
    case CERT_NONE:
        return JUDGE_NO_CERTIFICATE;
    case CERT_NO_KEY:
        return JUDGE_NO_KEY;
    case CERT_ENCRYPTED_KEY:
        return JUDGE_ENCRYPTED_KEY;
    case CERT_KEY_MISMATCH:
        return JUDGE_KEY_MISMATCH;
    case CERT_KEY_KIND:
        return JUDGE_KEY_UNUSABLE;
    default:
        return JUDGE_MALFORMED;
    }
}

static enum judge_reason reason_of_trust(int fault)
{
    return fault == TRUST_PURPOSE ? JUDGE_PURPOSE : fault == TRUST_WEAK ? JUDGE_WEAK : JUDGE_UNTRUSTED;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct judge_verdict *out, enum judge_reason reason,
                                                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->why, sizeof out->why, fmt, ap);
    va_end(ap);
    out->reason = reason;
    return 0;
}

static int refuse_uncovered(struct judge_verdict *out, const struct cert_info *info, const char *name)
{
    char has[400] = "";
    size_t n = 0;
    for (size_t i = 0; i < info->name_count && n < sizeof has; i++)
        n += (size_t)snprintf(has + n, sizeof has - n, "%s%s", i ? ", " : "", info->names[i]);
    return refuse(out, JUDGE_NOT_COVERED, "it does not cover %s (it covers %s)", name,
                  info->name_count ? has : "no name: there is no dNSName, and the CN does not count");
}

static int check_trust(const struct cert *c, const struct judge_policy *policy, time_t now,
                       struct judge_verdict *out, struct error *err)
{
    struct error detail;
    int fault = trust_verify(policy->trust, c, now, &detail);
    if (fault < 0) {
        *err = detail;
        return fault;
    }
    return fault ? refuse(out, reason_of_trust(fault), "%s", detail.text) : 0;
}

/* What holds for the new certificate and for the installed one before it may set a floor. */
static int check_standing(const struct cert *c, const struct judge_policy *policy, time_t now,
                          struct judge_verdict *out, struct error *err)
{
    const struct cert_info *info = cert_info(c);
    char when[TEXT_TIME_SIZE];
    if (info->is_ca)
        return refuse(out, JUDGE_CA_AS_LEAF, "it is a CA's certificate, not a server's");
    const char *name = cert_first_uncovered(c, policy->names, policy->name_count);
    if (name)
        return refuse_uncovered(out, info, name);
    if (now < info->not_before)
        return refuse(out, JUDGE_NOT_YET_VALID, "it is not valid before %s; compare the clocks of both hosts",
                      text_time(when, info->not_before));
    if (now >= info->not_after)
        return refuse(out, JUDGE_EXPIRED, "it expired at %s", text_time(when, info->not_after));
    return check_trust(c, policy, now, out, err);
}

static int check_downgrade(const struct cert *c, const struct judge_policy *policy, time_t now,
                           struct judge_verdict *out, struct error *err)
{
    AUTO_CERT struct cert *installed = NULL;
    struct judge_verdict standing = {0};
    char new_time[TEXT_TIME_SIZE], old_time[TEXT_TIME_SIZE];
    struct error ignored;
    if (!policy->installed ||
        cert_parse(policy->installed, policy->installed_len, CERT_KEY_IGNORED, &installed, &ignored))
        return 0;
    int rc = check_standing(installed, policy, now, &standing, err);
    if (rc < 0 || standing.reason != JUDGE_ACCEPTED)
        return rc;
    if (strcmp(cert_info(c)->fingerprint, cert_info(installed)->fingerprint) == 0 ||
        cert_info(c)->not_before >= cert_info(installed)->not_before)
        return 0;
    return refuse(out, JUDGE_OLDER, "it began at %s, the installed one at %s",
                  text_time(new_time, cert_info(c)->not_before),
                  text_time(old_time, cert_info(installed)->not_before));
}

/* Order matters for the message: what is wrong with the key first, then what is wrong with the certificate.
 */
static int check(const struct cert *c, const struct judge_policy *policy, time_t now,
                 struct judge_verdict *out, struct error *err)
{
    if (!cert_key_is_usable(c))
        return refuse(out, JUDGE_KEY_UNUSABLE,
                      "its key is %s; accepted are RSA of 2048 to 4096 bits, P-256, P-384, P-521 and Ed25519",
                      cert_info(c)->key_type);
    int rc = check_standing(c, policy, now, out, err);
    if (rc < 0 || out->reason != JUDGE_ACCEPTED)
        return rc;
    if (!cert_key_proves(c))
        return refuse(out, JUDGE_KEY_NOT_PROVEN,
                      "what the private key signs, the certificate's key does not verify");
    return check_downgrade(c, policy, now, out, err);
}

static int describe(const struct cert *c, struct judge_verdict *out, struct error *err)
{
    const struct cert_info *info = cert_info(c);
    memcpy(out->fingerprint, info->fingerprint, sizeof out->fingerprint);
    memcpy(out->spki, info->spki, sizeof out->spki);
    memcpy(out->key_type, info->key_type, sizeof out->key_type);
    memcpy(out->issuer, info->issuer, sizeof out->issuer);
    out->not_before = info->not_before;
    out->not_after = info->not_after;
    out->chain_length = info->chain_length;
    int rc = cert_write_chain(c, &out->chain, err);
    return rc ? rc : cert_write_key(c, &out->key, err);
}

int judge(const void *bundle, size_t len, const struct judge_policy *policy, time_t now,
          struct judge_verdict *out, struct error *err)
{
    AUTO_CERT struct cert *c = NULL;
    struct error detail;
    *out = (struct judge_verdict){0};
    secret_init(&out->chain, SECRET_MAX);
    secret_init(&out->key, SECRET_MAX);
    int fault = cert_parse(bundle, len, CERT_KEY_REQUIRED, &c, &detail);
    if (fault < 0) {
        *err = detail;
        return fault;
    }
    if (fault)
        return refuse(out, reason_of_fault(fault), "%s", detail.text);
    int rc = check(c, policy, now, out, err);
    if (rc < 0 || out->reason != JUDGE_ACCEPTED)
        return rc;
    rc = trust_trim(policy->trust, c, now, err);
    if (!rc)
        rc = check_trust(c, policy, now, out, err); /* what clients will be shown */
    return rc < 0 || out->reason != JUDGE_ACCEPTED ? rc : describe(c, out, err);
}

void judge_verdict_wipe(struct judge_verdict *v)
{
    secret_wipe(&v->chain);
    secret_wipe(&v->key);
}
