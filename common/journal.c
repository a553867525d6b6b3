#include "common/journal.h"

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

void journal_write(int priority, const char *text, const struct report_result *result)
{
    if (!result)
        sd_journal_send("PRIORITY=%d", priority, "MESSAGE=%s", text, NULL);
    else
        sd_journal_send("PRIORITY=%d", priority, "MESSAGE=%s", text, "TARGET=%s",
                        text_or_empty(result->target), "WANT=%s", text_or_empty(result->want), "LINEAGE=%s",
                        text_or_empty(result->lineage), "FINGERPRINT=%s", text_or_empty(result->fingerprint),
                        NULL);
}
