/* deployer/pair: what may be gone back to. */
#include "tests/unit/testing.h"

#include "deployer/pair.h"

/* A folder is removed only where that loses nothing: it came with this deployment, and its pair is a
 * generation. */
static void goes_back_to_what_was_there(void **state)
{
    static const struct {
        const char *expected, *current, *previous; /* previous: a generation; the others: fingerprints */
        bool is_due, new_domains, is_new, can, is_repeated;
    } cases[] = {
        {"a", "a", "", true, true, true, true}, /* a folder that this deployment made */
        {"a", "a", "old", true, false, false, true},
        {"a", "a", "old", false, false, false, false},
        {"a", "a", "", true, false, false, false}, /* renewed where there was nothing to keep */
        {"a", "a", "", true, true, false, false},  /* the folder stood there, with other names */
        {"a", "", "", true, true, false, false},   /* and its pair was never ours */
        {"a", "", "", true, true, true, false},    /* an inert folder with somebody's pair, now with names */
        {"a", "a", "old", true, false, false, false, true}, /* these bytes were served already */
        {"a", "a", "old", true, true, false, false, true},  /* whatever names they have now */
        {"a", "a", "", true, true, true, true, true},       /* but under none */
        {"b", "a", "", true, true, true, false},    /* somebody put another pair in the place of ours */
        {"b", "a", "old", true, true, true, false}, /* which is not for us to replace */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct want want = {.id = "x"};
        struct pair p = {.want = &want,
                         .is_due = cases[i].is_due,
                         .new_domains = cases[i].new_domains,
                         .is_new = cases[i].is_new,
                         .is_repeated = cases[i].is_repeated};
        strcpy(p.expected, cases[i].expected);
        strcpy(p.record.fingerprint, cases[i].current);
        strcpy(p.record.previous, cases[i].previous);
        if (pair_can_revert(&p) != cases[i].can)
            fail_msg("case %zu", i);
        p.is_reverted = true;
        assert_false(pair_can_revert(&p));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_back_to_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
