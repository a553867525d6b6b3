/*
 * push.conf, and its defaults.
 */
#ifndef PUSHER_PUSH_CONF_H
#define PUSHER_PUSH_CONF_H

#include "common/alarm.h"
#include "common/conf.h"

#define PUSH_CONF_MAX_SOURCES 32
#define PUSH_CONF_MAX_TARGETS 32

struct source {
    char *name;
    char *path; /* a folder of lineages, or one lineage; NULL if cert and key are given */
    char *cert; /* a file with leaf and chain */
    char *key;
};

struct target {
    char *name;
    char *host;
    long port;
    char *user;
    char *key;              /* file of the private key */
    char *known_hosts;      /* file that pins the host key */
    int64_t timeout;        /* seconds for connecting, and again for the SSH handshake */
    struct conf_list wants; /* ids of those that are pushed; none: all that the mail host has */
    unsigned wants_line;    /* 0: the key is not there */
};

struct push_conf {
    char *state;
    int64_t verify_every; /* seconds */
    int64_t watch_every;  /* seconds between the passes of `watch` */
    struct alarm_conf alarm;
    char *textfile; /* folder of the metrics, or "off": common/metrics.h */
    struct source sources[PUSH_CONF_MAX_SOURCES];
    size_t source_count;
    struct target targets[PUSH_CONF_MAX_TARGETS];
    size_t target_count;
};

#define PUSH_CONF_PATH "/etc/mailcow-certsync/push.conf"
#define PUSH_CONF_KEY  "/etc/mailcow-certsync/id_ed25519"
/* All problems are in problems; 0 or E_CONFIG. */
int push_conf_read(const char *path, struct push_conf *out, struct problems *problems);

/* The same of a file that need not be complete: there may be no source, and no target. */
int push_conf_read_part(const char *path, struct push_conf *out, struct problems *problems);
/* The same of text, which is written to. */
int push_conf_parse(const char *path, char *text, struct push_conf *out, struct problems *problems);

/* Whether a target may have that name, as far as others are concerned: its state is NAME.json. */
bool push_conf_is_target_name(const char *name);
#define PUSH_CONF_TARGET_NAME                                                                                \
    "no target may have that name, since " ALARM_BOOK ".json holds the alarms: choose another one"

/* The target of that name, which is made with its defaults if it is missing; NULL when there is no room. */
struct target *push_conf_target(struct push_conf *s, const char *name);
void push_conf_free(struct push_conf *s);
#define AUTO_PUSH_CONF CLEANUP(push_conf_free)

#endif
