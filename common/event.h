/*
 * Events: what an administrator may act on. Each has a name (EVENT=), a MESSAGE_ID under which the journal's
 * catalog explains it (systemd/mailcow-certsync.catalog), and a priority that means something: err is "mail
 * is or will be affected, somebody must act"; warning, that it may come to that; notice and info, what was
 * done. docs/events.md lists them. Names and ids are never used again for something else.
 */
#ifndef COMMON_EVENT_H
#define COMMON_EVENT_H

#include <stdbool.h>

enum event {
    EVENT_NONE,
    EVENT_DEPLOYED,     /* a want is served by every endpoint, after something was done */
    EVENT_SERVED_AGAIN, /* what was pending or failed is served, by itself */
    EVENT_PENDING,      /* accepted, and a later pass finishes it */
    EVENT_NOT_SERVED,   /* some endpoint does not serve it, at the end of the ladder */
    EVENT_ROLLED_BACK,  /* it broke a listener; the one before is back */
    EVENT_QUARANTINED,  /* what was rolled back came again */
    EVENT_REJECTED,     /* the judge refused a bundle */
    EVENT_REFUSED,      /* the preflight keeps anything from being installed */
    EVENT_WARNING,      /* a finding that keeps nothing from being installed */
    EVENT_NOT_VERIFIED, /* one endpoint */
    EVENT_NOT_RELOADED,
    EVENT_RESTARTED,
    EVENT_NOT_RESTARTED,
    EVENT_LOGIN_BROKEN, /* the service mailbox could log in before */
    EVENT_RECOVERED,    /* an installation that was cut short is finished */
    EVENT_NOT_RECOVERED,
    EVENT_ADDED,       /* an SNI folder */
    EVENT_REMOVED,     /* an SNI folder */
    EVENT_CROWD,       /* more pushers than there is room for */
    EVENT_UNAVAILABLE, /* no deployment can be begun */
    EVENT_SESSION_FAILED,
    EVENT_SESSION_CRASHED,
    EVENT_PUSH_DELAYED, /* a target: time alone may cure it */
    EVENT_PUSH_FAILED,  /* a target: somebody has to act */
    EVENT_HOST_KEY,     /* the mail host shows another host key than the pinned one */
    EVENT_KEY_REFUSED,
    EVENT_NO_LINEAGE,
    EVENT_LINEAGE_UNREADABLE,
    EVENT_SOURCE_UNREADABLE,
    EVENT_CONFIGURATION,
    EVENT_ALARM,       /* common/alarm.h: raised */
    EVENT_ALARM_AGAIN, /* it still stands, and is told again */
    EVENT_ALARM_HELD,  /* it stands and is not told now */
    EVENT_ALARM_OVER,  /* it is over */
    EVENT_COUNT
};

struct event_row {
    const char *name;
    const char *id; /* MESSAGE_ID: 32 hex digits */
    int priority;   /* syslog(3) */
    bool is_step;   /* told as a step of the deployer's, whose first word is the name */
};

/* NULL for EVENT_NONE and for what is no event. */
const struct event_row *event_row(enum event event);

/* The event that a line of progress is, by its first word; EVENT_NONE for all other lines. */
enum event event_of_line(const char *line);

#endif
