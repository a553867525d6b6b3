/*
 * What a program tells of a pass: its steps while they happen, its results, its end.
 *
 * A step is one line of words and key=value fields as in the protocol ("verified endpoint=imaps us=1200"), so
 * that what the deployer streams back and what the pusher does itself are shown alike. Where it goes:
 *   terminal   every step with its time, then the results;
 *   pipe       the results (with verbose: the steps too);
 *   journal    the results and the events as records with fields (with verbose: also the steps, and results
 *              that say that nothing was to be done);
 *   --json     one object on stdout at the end: steps, results, exit code.
 * Where a report is told something it may be NULL: nobody listens.
 */
#ifndef COMMON_REPORT_H
#define COMMON_REPORT_H

#include "common/cleanup.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct report;

struct report_result;

/* One record of the journal. */
struct report_record {
    const char *program;
    int priority; /* syslog(3) */
    const char *text;
    const struct report_result *result; /* its fields, or NULL */
};

struct report_opts {
    const char *program;
    /* Writes a record with its fields to the journal (journal_write). Where it is NULL or returns false, the
       record goes to stderr as a line with its priority in front (sd-daemon(3)), which systemd understands as
       well. */
    bool (*journal)(const struct report_record *record);
    bool json;
    bool quiet; /* nothing but errors */
    bool aside; /* results go to stderr: stdout is for what the command is asked for */
    bool verbose;
};

int report_new(struct report **out, const struct report_opts *opts, struct error *err);
void report_free(struct report *r);
CLEANUP_DEFINE(struct report *, report_free)
#define AUTO_REPORT CLEANUP(report_freep)

/* A step that was done; us= among its fields is its time. */
void report_step(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * A step of this program's own that may be an event (event_of_line), which then is a record of its own, with
 * the step's fields. Not for what a peer says.
 */
void report_progress(struct report *r, const char *line);

/* A further field of a record; a list ends with a NULL name. */
struct report_field {
    const char *name; /* as the journal has it: "ENDPOINT" */
    const char *value;
};

/* How one want of one target came out. Empty strings and zeroes are left out. */
struct report_result {
    enum event event; /* which gives the record its priority; EVENT_NONE: err if it failed, else info */
    const char *target;
    const char *want;
    const char *result; /* deployed, unchanged, rejected, … */
    const char *id;     /* of a finding, whose severity is the result */
    const char *lineage;
    const char *fingerprint;
    time_t not_after;
    const char *detail;
    bool failed; /* shown as an error */
    const struct report_field *fields;
};
void report_result(struct report *r, const struct report_result *result);

/* A failure that concerns no single want. */
void report_error(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same as an event; its field TARGET is target, which may be NULL. */
void report_event(struct report *r, enum event event, const char *target, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* What ended the program: the event that the error is, or that its code is. */
void report_failure(struct report *r, const struct error *err);

/* A table of a status: on stdout, or with --json the array of that name. */
struct table;
void report_table(struct report *r, const char *name, const struct table *table);

/* Ends the report; with --json prints it. Returns exit_code. */
int report_end(struct report *r, int exit_code);

#endif
