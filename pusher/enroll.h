/*
 * Enrolment: introduces this host to a mail host, or takes that back. What is there already stays as it is.
 */
#ifndef PUSHER_ENROLL_H
#define PUSHER_ENROLL_H

#include "pusher/arguments.h"

/*
 * Makes the key, has the mail host's key confirmed and pins it, writes the target (and a source, if there is
 * none) into push.conf, and prints on stdout the line to run on the mail host. Until the key is confirmed
 * nothing is written. With --remove: takes the target, the pin and what is remembered of the target away.
 */
int enroll_run(const struct arguments *a, struct report *report, struct error *err);

#endif
