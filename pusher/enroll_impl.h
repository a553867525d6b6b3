/* What an enrolment works with: shared by enroll.c and enroll_remove.c. */
#ifndef PUSHER_ENROLL_IMPL_H
#define PUSHER_ENROLL_IMPL_H

#include "pusher/enroll.h"
#include "pusher/known_hosts.h"
#include "pusher/ssh_key.h"

struct enrolment {
    const struct arguments *a;
    struct report *report;
    int lock; /* the folder of push.conf, locked */
    struct secret conf_text;
    struct push_conf conf; /* what conf_text says */
    bool is_new;           /* target is not in conf_text yet */
    struct target *target; /* within conf */
    struct secret pins_text;
    struct known_hosts pins; /* for the target's host and port */
    struct ssh_key key;
};

/* Tells that something was done, or was there already. */
void enroll_tell(const struct enrolment *e, const char *result, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Replaces a file's content, whole; it keeps its owner and mode. What is new is readable by all. */
int enroll_write(const char *path, const char *text, struct error *err);

/* The same for known_hosts, with this key (NULL: none) pinned for the target. */
int enroll_pin(struct enrolment *e, const char *type, const char *base64, struct error *err);

/* Whether that target, one of push.conf, is the one that the arguments speak of. */
bool enroll_is_meant(const struct enrolment *e, const struct target *target);

/* Shows `mailcow-cert-deploy enroll OPTIONS KEY`, and on a terminal the hint before it. False: the key has no
 * public line. */
bool enroll_show_command(const struct enrolment *e, const char *options, const char *hint);

int enroll_remove(struct enrolment *e, struct error *err);

#endif
