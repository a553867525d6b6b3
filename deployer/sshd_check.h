/*
 * Whether sshd, configured as it is, lets the push account in: what `sshd -T` prints, held against what
 * mailcow-cert-push needs.
 */
#ifndef DEPLOYER_SSHD_CHECK_H
#define DEPLOYER_SSHD_CHECK_H

#include "deployer/finding.h"

/* What holds for the push account. */
struct sshd_account {
    const char *user;
    const char *const *groups; /* names; the last is NULL */
    const char *keys_file;     /* where its keys are */
    const char *command;       /* that it is to run */
    const char *key_type;      /* "ssh-ed25519" */
};

/* text: the output of `sshd -T -C user=…`. Adds what keeps the account out (FINDING_REFUSE), or may do so. */
void sshd_check(const char *text, const struct sshd_account *account, struct finding_list *findings);

/* The value of a keyword (lower case) in that output, its first; NULL when it is not there. Owned by the
 * caller. */
char *sshd_check_value(const char *text, const char *keyword);

#endif
