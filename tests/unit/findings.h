/*
 * Assertions about findings. Included after tests/unit/testing.h.
 */
#ifndef TESTS_UNIT_FINDINGS_H
#define TESTS_UNIT_FINDINGS_H

#include "deployer/finding.h"

/* Static: too large for a stack of many. */
static UNUSED struct finding_list found;

static UNUSED void found_nothing(void)
{
    if (found.count)
        fail_msg("found %s: %s", found.list[0].id, found.list[0].text);
}

/* Exactly one finding, with these parts in its text and its remedy; it is forgotten then. */
static UNUSED void found_one(enum finding_severity severity, const char *id, const char *text,
                             const char *remedy)
{
    if (found.count != 1)
        fail_msg("%zu findings, expected %s", found.count, id);
    const struct finding *f = &found.list[0];
    assert_string_equal(f->id, id);
    if (f->severity != severity)
        fail_msg("%s is %s", id, finding_severity_str(f->severity));
    assert_has(f->text, text);
    assert_has(f->remedy, remedy);
    found.count = 0;
}

#endif
