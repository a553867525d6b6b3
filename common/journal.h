/*
 * Records for systemd's journal, with fields: the `journal` of report_opts. The only module that knows
 * sd_journal_sendv.
 *
 * Beside what every record has, an event has MESSAGE_ID= and EVENT= (common/event.h). What is empty is left
 * out; docs/events.md lists the fields.
 */
#ifndef COMMON_JOURNAL_H
#define COMMON_JOURNAL_H

#include "common/report.h"

/* False when there is no journal to write to. */
bool journal_write(const struct report_record *record);

#endif
