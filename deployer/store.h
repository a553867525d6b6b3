/*
 * The deployer's state: generations (what was accepted), one record per want (what is current and how it
 * stands), and the intent of an installation under way. All of it lives outside mailcow's directory, mode
 * 0700, and is written so that a crash leaves the old or the new.
 *
 *   <state>/lock
 *   <state>/contact                              its time: when a pusher was here last
 *   <state>/alarms.json                          common/alarm.h
 *   <state>/history.json                         what deployments did: deployer/ledger.h
 *   <state>/intent.json                          {"want": …, "generation": …} while a pair is being installed
 *   <state>/wants/<want>/record.json
 *   <state>/wants/<want>/quarantine.json         what was rolled back, and why
 *   <state>/wants/<want>/<generation>/{cert.pem,key.pem,meta.json}
 */
#ifndef DEPLOYER_STORE_H
#define DEPLOYER_STORE_H

#include "common/want.h"
#include "deployer/judge.h"

#define STORE_GENERATION_SIZE 32 /* "20261121T070200Z-0123456789ab" with the NUL */

struct store;

/* Opens the state folder, making it if it is missing. E_CONFIG when others may enter it. */
int store_open(struct store **out, const char *path, struct error *err);
void store_close(struct store *s);
CLEANUP_DEFINE(struct store *, store_close)
#define AUTO_STORE CLEANUP(store_closep)

/* The state folder's descriptor: for what needs no care (common/alarm.h, common/history.h). */
int store_folder(const struct store *s);

/* A pusher was here; and when the last one was, 0 if never. Neither is worth an error. */
void store_note_contact(struct store *s);
time_t store_last_contact(const struct store *s);

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
/* Removes the oldest generations beyond `kept`, never the current nor the previous one. */
int store_prune(struct store *s, const char *want, size_t kept, struct error *err);

struct generation_meta {
    char id[STORE_GENERATION_SIZE];
    char fingerprint[65];
    time_t not_after;
};
/* The generations of a want that can be read, the oldest first; *out is the caller's to free. */
int store_list(struct store *s, const char *want, struct generation_meta **out, size_t *out_count,
               struct error *err);

/* Removes all that is kept of a want that is no more. */
int store_forget(struct store *s, const char *want, struct error *err);

/* ---- quarantine ---- */

#define STORE_QUARANTINE_MAX 8 /* the oldest goes first */
#define STORE_REASON_SIZE    400

/* Remembers that a leaf was rolled back. */
int store_quarantine(struct store *s, const char *want, const char *fingerprint, time_t now,
                     const char *reason, struct error *err);
/* STORE_QUARANTINED with the reason (STORE_REASON_SIZE bytes), or 0. */
enum {
    STORE_QUARANTINED = 1
};
int store_is_quarantined(struct store *s, const char *want, const char *fingerprint, char *out_reason,
                         struct error *err);
int store_count_quarantined(struct store *s, const char *want, size_t *out, struct error *err);
/* It was served after all. */
int store_release(struct store *s, const char *want, const char *fingerprint, struct error *err);

/* ---- records ---- */

enum store_state {
    STORE_NONE,    /* nothing was ever deployed here */
    STORE_PENDING, /* accepted, not yet installed and brought to the wire: the next pass takes it up */
    STORE_SERVED,  /* installed and seen on the wire */
    STORE_FAILED,  /* installed, and some endpoint does not serve it */
    STORE_REMOVED, /* its folder is to go as soon as no service needs it */
};

#define STORE_DOWN_UNKNOWN "?" /* nobody could look */

struct record {
    enum store_state state;
    char current[STORE_GENERATION_SIZE];  /* generation to be served; "" if none */
    char previous[STORE_GENERATION_SIZE]; /* what was current before; "" if none */
    char fingerprint[65];                 /* of current */
    time_t not_after;                     /* of current */
    time_t changed;                       /* when current became it */
    time_t verified;                      /* when it was last seen on every endpoint, 0 if never */
    char detail[400];                     /* why it is pending or failed */
    /* While it is pending: the listeners that completed no handshake before it was installed, as
       rollout_down_before has them, or STORE_DOWN_UNKNOWN. */
    char down_before[1000];
    bool is_new;     /* while it is pending: its folder had no `domains` when it was staged */
    bool is_retired; /* removed: no service finds the folder any more; a `domains` in it is somebody else's */
};

const char *store_state_str(enum store_state state);

/* A missing record is STORE_NONE. */
int store_read_record(struct store *s, const char *want, struct record *out, struct error *err);
int store_write_record(struct store *s, const char *want, const struct record *record, struct error *err);

/* Calls visit for each want whose state is STORE_REMOVED, in no order. */
int store_each_removed(struct store *s, int (*visit)(void *ctx, const char *want, struct error *err),
                       void *ctx, struct error *err);

/* ---- the intent ---- */

struct intent {
    char want[WANT_ID_SIZE];
    char generation[STORE_GENERATION_SIZE];
    bool makes_folder; /* the want's folder did not exist */
};
int store_write_intent(struct store *s, const struct intent *intent, struct error *err);
/* 0, or STORE_NO_INTENT. */
enum {
    STORE_NO_INTENT = 1
};
int store_read_intent(struct store *s, struct intent *out, struct error *err);
int store_clear_intent(struct store *s, struct error *err);

#endif
