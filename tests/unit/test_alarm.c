/* common/alarm: when an alarm is raised, told again, held and over; and its book on the disk. */
#include "tests/unit/testing.h"

#include "common/alarm.h"
#include "common/client.h"

#define DAY  86400
#define HOUR 3600
#define NOW  1790000000

static const struct alarm_conf conf = {.contact = 2 * DAY, .unserved = 3, .expiry = 30, .failures = 3};

static struct alarm_book *read_book(const struct directory *d, time_t now)
{
    struct alarm_book *book = NULL;
    struct error err;
    assert_int_equal(alarm_book_read(&book, d->fd, now, &err), 0);
    return book;
}

/* Writes and releases it; what its only alarm is now, or ALARM_STATES: there is none. */
static enum alarm_state end(struct alarm_book *book, const struct directory *d)
{
    struct error err;
    alarm_book_settle(book);
    assert_in_range(alarm_book_count(book), 0, 1);
    enum alarm_state state = alarm_book_count(book) ? alarm_book_at(book, 0)->state : ALARM_STATES;
    assert_int_equal(alarm_book_write(book, d->fd, &err), 0);
    alarm_book_free(book);
    return state;
}

/* A pass in which somebody was last heard of at `last`. */
static enum alarm_state contact(const struct directory *d, time_t last, time_t now)
{
    struct alarm_book *book = read_book(d, now);
    alarm_judge_contact(book, &conf, "", last);
    return end(book, d);
}

static void is_told_at_growing_intervals_and_once_when_it_is_over(void **state)
{
    struct directory *d = *state;
    char told[4000] = "";
    for (time_t now = NOW; now < NOW + 40 * DAY; now += HOUR) {
        enum alarm_state s = contact(d, NOW, now);
        size_t n = strlen(told);
        if (s == ALARM_RAISED || s == ALARM_AGAIN)
            snprintf(told + n, sizeof told - n, "%s %ld, ", alarm_state_str(s), (long)(now - NOW) / HOUR);
    }
    /* after one, two and four days, then every seven */
    assert_string_equal(
        told, "raised 48, again 72, again 120, again 216, again 384, again 552, again 720, again 888, ");
    assert_int_equal(contact(d, NOW + 40 * DAY, NOW + 40 * DAY), ALARM_OVER);
    assert_int_equal(contact(d, NOW + 40 * DAY, NOW + 40 * DAY), ALARM_STATES);
    assert_int_equal(contact(d, NOW + 40 * DAY, NOW + 43 * DAY), ALARM_RAISED);
}

static void is_held_in_between_and_stands(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, NOW, NOW + 2 * DAY), ALARM_RAISED);
    struct alarm_book *book = read_book(d, NOW + 2 * DAY + HOUR);
    alarm_judge_contact(book, &conf, "", NOW);
    assert_true(alarm_book_settle(book));
    assert_int_equal(alarm_book_at(book, 0)->state, ALARM_HELD);
    assert_int_equal(alarm_book_at(book, 0)->since, NOW + 2 * DAY);
    assert_true(alarm_stands(alarm_book_at(book, 0)));
    alarm_book_free(book);
}

/* A book that has long been there: so has another target. */
static void counts_from_the_first_pass_where_nobody_ever_came(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, NOW - 365 * DAY, NOW - 365 * DAY), ALARM_STATES);
    struct alarm_book *book = read_book(d, NOW);
    alarm_judge_contact(book, &conf, "", 0);
    assert_false(alarm_book_settle(book));
    assert_false(alarm_has_begun(alarm_book_at(book, 0)));
    assert_int_equal(end(book, d), ALARM_HELD);
    assert_int_equal(contact(d, 0, NOW + 2 * DAY - 1), ALARM_HELD);
    book = read_book(d, NOW + 2 * DAY);
    alarm_judge_contact(book, &conf, "", 0);
    assert_true(alarm_has_begun(alarm_book_at(book, 0)));
    assert_has(alarm_book_at(book, 0)->detail, "for 2 days (never since 2026-09-21T14:13:20Z)");
    assert_int_equal(end(book, d), ALARM_RAISED);
    assert_int_equal(contact(d, NOW + 2 * DAY, NOW + 2 * DAY), ALARM_OVER);
}

static void what_only_counted_has_no_end(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, 0, NOW), ALARM_HELD);
    assert_int_equal(contact(d, NOW + HOUR, NOW + HOUR), ALARM_STATES);
    assert_int_equal(contact(d, 0, NOW + 3 * DAY), ALARM_HELD);
    assert_int_equal(contact(d, 0, NOW), ALARM_HELD); /* the clock was set back */
    assert_int_equal(contact(d, 0, NOW + 2 * DAY), ALARM_RAISED);
}

/* As when the state is lost while it stands. */
static void what_stands_is_not_over_since_the_last_contact_is_not_known(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, NOW, NOW + 2 * DAY), ALARM_RAISED);
    assert_int_equal(contact(d, 0, NOW + 2 * DAY + HOUR), ALARM_HELD);
    assert_int_equal(contact(d, 0, NOW + 4 * DAY), ALARM_AGAIN);
}

static void a_clock_that_was_set_back_delays_it_at_most_once(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, NOW, NOW + 100 * DAY), ALARM_RAISED);
    assert_int_equal(contact(d, NOW, NOW + 10 * DAY), ALARM_HELD);
    assert_int_equal(contact(d, NOW, NOW + 11 * DAY), ALARM_AGAIN);
}

static enum alarm_state pass(const struct directory *d, int rc, time_t now)
{
    struct alarm_book *book = read_book(d, now);
    alarm_judge_pass(book, &conf, "mailcow", "", rc, "it is away");
    return end(book, d);
}

static void what_may_pass_by_itself_is_given_time(void **state)
{
    struct directory *d = *state;
    assert_int_equal(pass(d, E_TEMPORARY, NOW), ALARM_HELD);
    assert_int_equal(pass(d, E_TEMPORARY, NOW + HOUR), ALARM_HELD);
    assert_int_equal(pass(d, 0, NOW + 2 * HOUR), ALARM_STATES); /* never told: not worth an end */
    assert_int_equal(pass(d, E_TEMPORARY, NOW + 3 * HOUR), ALARM_HELD);
    assert_int_equal(pass(d, E_TEMPORARY, NOW + 4 * HOUR), ALARM_HELD);
    assert_int_equal(pass(d, E_TEMPORARY, NOW + 5 * HOUR), ALARM_RAISED);
    assert_int_equal(pass(d, E_TEMPORARY, NOW + 6 * HOUR), ALARM_HELD);
    assert_int_equal(pass(d, 0, NOW + 7 * HOUR), ALARM_OVER);
}

static void what_does_not_is_told_at_once(void **state)
{
    struct directory *d = *state;
    assert_int_equal(pass(d, E_CONFIG, NOW), ALARM_RAISED);
    struct alarm_book *book = read_book(d, NOW + HOUR);
    alarm_judge_pass(book, &conf, "mailcow", "", E_CONFIG, "it is away");
    alarm_book_settle(book);
    assert_string_equal(alarm_book_at(book, 0)->detail, "2 passes in a row failed; the last: it is away");
    assert_string_equal(alarm_book_at(book, 0)->target, "mailcow");
    alarm_book_free(book);
}

/* A certificate for `days`, of which `left` are left. */
static enum alarm_state expiry(const struct directory *d, double days, double left)
{
    struct alarm_book *book = read_book(d, NOW);
    const struct alarm_cert served = {.target = "",
                                      .want = "primary",
                                      .not_before = NOW - (time_t)((days - left) * DAY),
                                      .not_after = NOW + (time_t)(left * DAY)};
    alarm_judge_expiry(book, &conf, &served);
    enum alarm_state state = alarm_book_count(book) ? alarm_book_at(book, 0)->state : ALARM_STATES;
    alarm_book_free(book);
    return state;
}

static void the_end_of_a_certificate_is_near_by_its_own_lifetime(void **state)
{
    struct directory *d = *state;
    assert_int_equal(expiry(d, 90, 30), ALARM_STATES); /* a renewal is due, not overdue */
    assert_int_equal(expiry(d, 90, 27.1), ALARM_STATES);
    assert_int_equal(expiry(d, 90, 26.9), ALARM_RAISED);
    assert_int_equal(expiry(d, 6, 1.9), ALARM_STATES);
    assert_int_equal(expiry(d, 6, 1.7), ALARM_RAISED);
    assert_int_equal(expiry(d, 90, -1), ALARM_RAISED);
}

/* Also when it is not known for how long it was good. */
static void says_that_it_has_expired(void **state)
{
    struct directory *d = *state;
    for (time_t not_before = 0; not_before <= 1; not_before++) {
        struct alarm_book *book = read_book(d, NOW);
        const struct alarm_cert served = {
            .target = "", .want = "primary", .not_before = not_before, .not_after = NOW};
        alarm_judge_expiry(book, &conf, &served);
        assert_int_equal(alarm_book_count(book), 1);
        assert_has(alarm_book_at(book, 0)->detail, "EXPIRED");
        alarm_book_free(book);
    }
}

static enum alarm_state expiry_in_a_pass(const struct directory *d, const struct alarm_cert *served)
{
    struct alarm_book *book = read_book(d, NOW);
    alarm_judge_expiry(book, &conf, served);
    return end(book, d);
}

static void what_is_not_known_to_last_is_neither_raised_nor_over(void **state)
{
    struct directory *d = *state;
    const struct alarm_cert nothing = {.target = "", .want = "primary"},
                            later = {.target = "", .want = "primary", .not_after = NOW + DAY},
                            ending = {
                                .target = "", .want = "primary", .not_before = 1, .not_after = NOW + DAY};
    assert_int_equal(expiry_in_a_pass(d, &nothing), ALARM_STATES);
    assert_int_equal(expiry_in_a_pass(d, &later), ALARM_STATES);
    assert_int_equal(expiry_in_a_pass(d, &ending), ALARM_RAISED);
    assert_int_equal(expiry_in_a_pass(d, &nothing), ALARM_HELD);
    assert_int_equal(expiry_in_a_pass(d, &later), ALARM_HELD);
}

static enum alarm_state unserved(const struct directory *d, double age, bool is_served)
{
    struct alarm_book *book = read_book(d, NOW);
    const struct alarm_cert renewal = {.target = "mailcow",
                                       .want = "primary",
                                       .not_before = NOW - (time_t)(age * DAY),
                                       .not_after = NOW + (time_t)((90 - age) * DAY)};
    alarm_judge_unserved(book, &conf, &renewal, is_served);
    enum alarm_state state = alarm_book_count(book) ? alarm_book_at(book, 0)->state : ALARM_STATES;
    alarm_book_free(book);
    return state;
}

static void a_renewal_has_a_share_of_its_lifetime_to_be_served(void **state)
{
    struct directory *d = *state;
    assert_int_equal(unserved(d, 2.6, false), ALARM_STATES);
    assert_int_equal(unserved(d, 2.8, false), ALARM_RAISED);
    assert_int_equal(unserved(d, 2.8, true), ALARM_STATES);
}

static void each_threshold_can_be_never(void **state)
{
    struct directory *d = *state;
    const struct alarm_conf never = {.contact = 0};
    const struct alarm_cert old = {.target = "", .want = "primary", .not_before = 1, .not_after = 2};
    struct alarm_book *book = read_book(d, NOW);
    alarm_judge_contact(book, &never, "", 1);
    alarm_judge_expiry(book, &never, &old);
    alarm_judge_unserved(book, &never, &old, false);
    alarm_judge_pass(book, &never, "", "", E_FAILED, "x");
    assert_int_equal(end(book, d), ALARM_STATES);
}

/* A want that is gone has no alarm any more. */
static void what_nobody_judges_is_over(void **state)
{
    struct directory *d = *state;
    assert_int_equal(contact(d, NOW, NOW + 2 * DAY), ALARM_RAISED);
    assert_int_equal(end(read_book(d, NOW + 2 * DAY), d), ALARM_OVER);
    assert_int_equal(end(read_book(d, NOW + 2 * DAY), d), ALARM_STATES);
}

static void alarms_are_told_apart(void **state)
{
    struct directory *d = *state;
    struct alarm_book *book = read_book(d, NOW);
    alarm_judge_pass(book, &conf, "a", "", E_FAILED, "x");
    alarm_judge_pass(book, &conf, "b", "", E_FAILED, "x");
    alarm_judge_pass(book, &conf, "", "b", E_FAILED, "x");
    alarm_judge_contact(book, &conf, "a", 1);
    assert_int_equal(alarm_book_count(book), 4);
    alarm_book_free(book);
}

static void a_damaged_book_is_an_empty_one(void **state)
{
    struct directory *d = *state;
    static const char *const damages[] = {"", "{", "[]", "{}", "{\"alarms\": [{}]}"};
    for (size_t i = 0; i < COUNT(damages); i++) {
        struct alarm_book *book = NULL;
        struct error err;
        write_text(d, "alarms.json", damages[i]);
        assert_int_equal(alarm_book_read(&book, d->fd, NOW, &err), ALARM_DAMAGED);
        assert_has(err.text, "alarms.json is damaged");
        assert_int_equal(alarm_book_count(book), 0);
        assert_int_equal(end(book, d), ALARM_STATES);
    }
}

static void the_book_is_private(void **state)
{
    struct directory *d = *state;
    struct stat st;
    contact(d, NOW, NOW + 2 * DAY);
    assert_int_equal(fstatat(d->fd, "alarms.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void is_read_from_a_row(void **state)
{
    struct alarm a;
    (void)state;
    assert_true(client_parse_alarm(
        "alarm state=again id=contact want=- told=2 since=2026-11-21T07:02:00Z: no one", &a));
    assert_int_equal(a.kind, ALARM_CONTACT);
    assert_int_equal(a.state, ALARM_AGAIN);
    assert_string_equal(a.want, "");
    assert_string_equal(a.detail, "no one");
    assert_int_equal(a.since, 1795244520);
    assert_true(alarm_stands(&a));
    assert_true(client_parse_alarm(
        "alarm state=held id=failing want=x.org told=0 since=2026-11-21T07:02:00Z: x", &a));
    assert_string_equal(a.want, "x.org");
    assert_false(alarm_stands(&a));
    assert_false(client_parse_alarm("alarm state=odd id=failing want=x told=0: x", &a));
    assert_false(client_parse_alarm("alarm state=held id=odd want=x told=0: x", &a));
    assert_false(client_parse_alarm("alarm state=held id=failing want=x told=-1: x", &a));
    assert_false(client_parse_alarm("want state=held id=failing want=x told=0: x", &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(is_told_at_growing_intervals_and_once_when_it_is_over),
        WITH_DIRECTORY(is_held_in_between_and_stands),
        WITH_DIRECTORY(counts_from_the_first_pass_where_nobody_ever_came),
        WITH_DIRECTORY(what_only_counted_has_no_end),
        WITH_DIRECTORY(what_stands_is_not_over_since_the_last_contact_is_not_known),
        WITH_DIRECTORY(a_clock_that_was_set_back_delays_it_at_most_once),
        WITH_DIRECTORY(what_may_pass_by_itself_is_given_time),
        WITH_DIRECTORY(what_does_not_is_told_at_once),
        WITH_DIRECTORY(the_end_of_a_certificate_is_near_by_its_own_lifetime),
        WITH_DIRECTORY(says_that_it_has_expired),
        WITH_DIRECTORY(what_is_not_known_to_last_is_neither_raised_nor_over),
        WITH_DIRECTORY(a_renewal_has_a_share_of_its_lifetime_to_be_served),
        WITH_DIRECTORY(each_threshold_can_be_never),
        WITH_DIRECTORY(what_nobody_judges_is_over),
        WITH_DIRECTORY(alarms_are_told_apart),
        WITH_DIRECTORY(a_damaged_book_is_an_empty_one),
        WITH_DIRECTORY(the_book_is_private),
        cmocka_unit_test(is_read_from_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
