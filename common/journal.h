/*
 * Records for systemd's journal, with fields: the `journal` of report_opts. The only module that knows
 * sd_journal_send.
 */
#ifndef COMMON_JOURNAL_H
#define COMMON_JOURNAL_H

#include "common/report.h"

void journal_write(int priority, const char *text, const struct report_result *result);

#endif
