/*
 * The deployer's state: generations (what was accepted), one record per want (what is current and how it
 * stands), and the intent of an installation under way. All of it lives outside mailcow's directory, mode
 * 0700, and is written so that a crash leaves the old or the new.
 *
 *   <state>/lock
 *   <state>/intent.json                          {"want": …, "generation": …} while a pair is being installed
 *   <state>/wants/<want>/record.json
 *   <state>/wants/<want>/<generation>/{cert.pem,key.pem,meta.json}
 */
#ifndef DEPLOYER_STORE_H
#define DEPLOYER_STORE_H

#include "common/want.h"
#include "deployer/judge.h"

#define STORE_GENERATION_SIZE 32 /* "20261121T070200Z-0123456789ab" with the NUL */
#define STORE_KEPT            4  /* generations of a want: the current one and those before it */

struct store;

/* Opens the state folder, making it if it is missing. E_CONFIG when others may enter it. */
int store_open(struct store **out, const char *path, struct error *err);
void store_close(struct store *s);
CLEANUP_DEFINE(struct store *, store_close)
#define AUTO_STORE CLEANUP(store_closep)

/* One deployment at a time, over all processes: waits until deadline_ms (clock_ms()). 0, or E_TEMPORARY:
 * busy. */
int store_lock(struct store *s, int64_t deadline_ms, struct error *err);

/* ---- generations ---- */

struct generation {
    char id[STORE_GENERATION_SIZE];
    struct secret chain; /* PEM, leaf first */
    struct secret key;   /* PEM */
    char fingerprint[65];
    time_t not_before;
    time_t not_after;
};
void generation_wipe(struct generation *g);
#define AUTO_GENERATION CLEANUP(generation_wipe)

/* Stages an accepted bundle: a new generation, fsynced whole. out_id: STORE_GENERATION_SIZE bytes. */
int store_stage(struct store *s, const char *want, const struct judge_verdict *verdict, time_t now,
                char *out_id, struct error *err);
int store_load(struct store *s, const char *want, const char *id, struct generation *out, struct error *err);
/* Removes the oldest generations beyond STORE_KEPT, never the current one nor `keep`. */
int store_prune(struct store *s, const char *want, const char *keep, struct error *err);

/* ---- records ---- */

enum store_state {
    STORE_NONE,    /* nothing was ever deployed here */
    STORE_PENDING, /* accepted, not yet installed and verified: the next pass takes it up */
    STORE_SERVED,  /* installed and seen on the wire */
    STORE_FAILED,  /* installed, and some endpoint does not serve it */
};

struct record {
    enum store_state state;
    char current[STORE_GENERATION_SIZE];  /* generation to be served; "" if none */
    char previous[STORE_GENERATION_SIZE]; /* what was current before; "" if none */
    char fingerprint[65];                 /* of current */
    time_t not_after;                     /* of current */
    time_t changed;                       /* when current became it */
    time_t verified;                      /* when it was last seen on every endpoint, 0 if never */
    char detail[400];                     /* why it is pending or failed */
};

const char *store_state_str(enum store_state state);

/* A missing record is STORE_NONE. */
int store_read_record(struct store *s, const char *want, struct record *out, struct error *err);
int store_write_record(struct store *s, const char *want, const struct record *record, struct error *err);

/* ---- the intent ---- */

int store_write_intent(struct store *s, const char *want, const char *generation, struct error *err);
/* 0 with both ids, or STORE_NO_INTENT. */
enum {
    STORE_NO_INTENT = 1
};
int store_read_intent(struct store *s, char *out_want, char *out_generation, struct error *err);
int store_clear_intent(struct store *s, struct error *err);

#endif
