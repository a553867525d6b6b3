/*
 * `mailcow-cert-deploy enroll`: lets a proxy host push, or no longer. Works on sshd's files, as root, without
 * the daemon.
 */
#ifndef DEPLOYER_ENROLL_H
#define DEPLOYER_ENROLL_H

#include "common/report.h"

struct enroll_opts {
    const char *key;  /* one line: the public key that `mailcow-cert-push enroll` shows */
    const char *from; /* where it may come from: an sshd pattern list; NULL: from anywhere */
    bool remove;
    const char *push_user;
};

/*
 * Puts the key into /etc/ssh/certsync/<user>, makes sshd's drop-in for that account unless there is one, has
 * `sshd -t` judge it (else everything is put back), looks for what keeps the account out, has sshd read its
 * configuration again and tells the host keys. With remove: takes the key away, and with the last one the
 * drop-in. Repeating it changes nothing.
 *
 * 0; E_USAGE: no key, or no pattern list; E_CONFIG: sshd refuses its configuration, or keeps the account out;
 * E_FAILED, E_TEMPORARY: a file could not be written, a program not be run. What was found is told.
 */
int enroll(const struct enroll_opts *o, struct report *report, struct error *err);

#endif
