/*
 * Metrics for Prometheus: a file for the textfile collector of its node exporter, in the text exposition
 * format. docs/metrics.md lists them.
 *
 * A family is begun with its name (which gets the prefix mailcow_certsync_), type and help, and has the
 * samples that follow; one without samples is left out.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include "common/cleanup.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Where Debian's prometheus-node-exporter looks. */
#define METRICS_FOLDER "/var/lib/prometheus/node-exporter"
#define METRICS_OFF    "off"

/* The setting `textfile`: METRICS_OFF or the absolute path of a folder. */
bool metrics_is_place(const char *textfile);
#define METRICS_EXPECTED "off, or the absolute path of a folder"

struct metrics;

int metrics_new(struct metrics **out, struct error *err);
void metrics_free(struct metrics *m);
CLEANUP_DEFINE(struct metrics *, metrics_free)
#define AUTO_METRICS CLEANUP(metrics_freep)

enum metrics_type {
    METRICS_GAUGE,
    METRICS_COUNTER
};
/* name and help must outlive the samples. */
void metrics_family(struct metrics *m, const char *name, enum metrics_type type, const char *help);

/* A list ends with a NULL name. Values are UTF-8 of any characters. */
struct metrics_label {
    const char *name;
    const char *value;
};
/* labels may be NULL: none. */
void metrics_add(struct metrics *m, const struct metrics_label *labels, double value);

/* False where nobody has asked for them: textfile is METRICS_OFF, or it is METRICS_FOLDER and that is not
 * there, or nothing may be written to it. */
bool metrics_are_wanted(const char *textfile);

/* Writes it as textfile/file, which everybody may read, by a rename; or nothing where it is not wanted. */
int metrics_write(struct metrics *m, const char *textfile, const char *file, struct error *err);

#endif
