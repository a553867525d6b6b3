/*
 * Alarms about what has not happened: no contact, a renewal that is not served, a certificate about to end,
 * passes that fail. Each side judges them at the end of its hourly pass, over a book that it keeps in its
 * state folder (alarms.json).
 *
 * An alarm that stands is told once, then again after a day, two, four, and every week; and once more when it
 * is over. In between it is held: the pass fails all the same, and with it its unit, but what sends alerts
 * (mailcow-cert-alert) has nothing to send. What is judged in a pass is all that there is: an alarm that
 * nobody judges any more (its want is gone) is over. What cannot be judged is to be kept.
 */
#ifndef COMMON_ALARM_H
#define COMMON_ALARM_H

#include "common/conf.h"
#include "common/report.h"
#include "common/want.h"

#include <time.h>

#define ALARM_BOOK "alarms" /* with ".json": the book's file, and no other's */

enum alarm_kind {
    ALARM_CONTACT,  /* nobody was heard of for too long */
    ALARM_UNSERVED, /* a renewal that the source has is not served */
    ALARM_EXPIRY,   /* what is served ends before long: its renewal is overdue */
    ALARM_FAILING,  /* passes fail */
    ALARM_KINDS
};

/* "contact", "unserved", "expiry", "failing"; the second is false when there is no such kind. */
const char *alarm_kind_str(enum alarm_kind kind);
bool alarm_parse_kind(const char *text, enum alarm_kind *out);

enum alarm_state {
    ALARM_HELD, /* stands, but is not told now: it was before, or it has to last for longer */
    ALARM_RAISED,
    ALARM_AGAIN,
    ALARM_OVER,
    ALARM_STATES
};

/* "held", "raised", "again", "over" */
const char *alarm_state_str(enum alarm_state state);
bool alarm_parse_state(const char *text, enum alarm_state *out);

struct alarm {
    enum alarm_kind kind;
    enum alarm_state state;
    char target[254];        /* "" on the mail host */
    char want[WANT_ID_SIZE]; /* "" for none in particular */
    time_t since;
    time_t told;     /* last; 0: not yet */
    unsigned times;  /* told */
    unsigned passes; /* in which it stood, this one included; 0: its time only counts */
    char detail[400];
};

/* Section [alarm] of either configuration. 0: that alarm is never raised. */
struct alarm_conf {
    int64_t contact;       /* seconds without */
    unsigned contact_line; /* where it stands, 0: it is the default */
    long unserved;         /* percent of the lifetime of the renewal */
    long expiry;           /* percent of the lifetime that are left */
    long failures;         /* passes in a row, where time alone may cure it */
};
extern const struct alarm_conf alarm_conf_defaults;
/* For a struct alarm_conf; the last one, `unserved`, is the pusher's. */
extern const struct conf_key alarm_keys[];
#define ALARM_KEYS_DEPLOYER 3
#define ALARM_KEYS_PUSHER   4

struct alarm_book;

/* A missing book is an empty one; so is a damaged one, with the reason in err and ALARM_DAMAGED. */
enum {
    ALARM_DAMAGED = 1
};
int alarm_book_read(struct alarm_book **out, int dirfd, time_t now, struct error *err);
void alarm_book_free(struct alarm_book *b);
CLEANUP_DEFINE(struct alarm_book *, alarm_book_free)
#define AUTO_ALARMS CLEANUP(alarm_book_freep)

/* ---- judging; target is "" on the mail host, want "" where it concerns none in particular ---- */

/* last: 0 if never; then the first pass with that counts, which the book has as an alarm without passes. One
 * in the future is for the caller to mend: no alarm is raised until the clock has come to it. */
void alarm_judge_contact(struct alarm_book *b, const struct alarm_conf *conf, const char *target,
                         time_t last);

struct alarm_cert {
    const char *target, *want;
    time_t not_before, not_after;
};
/* What is served, as far as is known. A time of 0 is not: what stands is kept then, and only what has expired
 * is judged without not_before. */
void alarm_judge_expiry(struct alarm_book *b, const struct alarm_conf *conf, const struct alarm_cert *served);
/* A renewal that a lineage has. */
void alarm_judge_unserved(struct alarm_book *b, const struct alarm_conf *conf,
                          const struct alarm_cert *renewal, bool is_served);

/* How a pass came out: 0, E_TEMPORARY or another failure, which is told at once. detail: why. */
void alarm_judge_pass(struct alarm_book *b, const struct alarm_conf *conf, const char *target,
                      const char *want, int rc, const char *detail);

/*
 * What could not be judged this time, for want of knowledge, stays as it is: neither told nor over. want:
 * NULL for all. since: when that began which would end it; an alarm that is older is over. 0: none is.
 */
void alarm_keep(struct alarm_book *b, enum alarm_kind kind, const char *target, const char *want,
                time_t since);

/* Ends the judging. Returns whether one stands: the pass has failed then. */
bool alarm_book_settle(struct alarm_book *b);
/* After it, in no order; those that stood and were never told are not among those that are over. */
size_t alarm_book_count(const struct alarm_book *b);
const struct alarm *alarm_book_at(const struct alarm_book *b, size_t i);
int alarm_book_write(const struct alarm_book *b, int dirfd, struct error *err);

/*
 * Whether this pass is one of those whose unit tells people (MAILCOW_CERT_ALARMS=keep in its environment).
 * Only such a pass writes the book: what a person has seen by hand has not been told.
 */
bool alarm_is_kept(void);
/* Whether it judges none (=off), as those of a resident service, whose unit does not end. */
bool alarm_is_off(void);

/* Whether it is to be told of at all; else its time only counts. */
bool alarm_has_begun(const struct alarm *a);
/* Whether it has been told and is not over. */
bool alarm_stands(const struct alarm *a);

/* Tells it, as the event that it is. */
void alarm_tell(const struct alarm *a, struct report *report);

#endif
