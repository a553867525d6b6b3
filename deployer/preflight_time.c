#include "common/text.h"
#include "deployer/preflight_impl.h"

#define DAY           86400
#define WATCHDOG_DAYS 7 /* check_smtp -D 7, check_imap -D 7: data/Dockerfiles/watchdog/watchdog.sh */

/* Fractions of the lifetime, not days: certificates of 90, 45 and 6 days are renewed at a third of theirs. */
void preflight_lifetime(const struct want *want, time_t now, struct finding_list *out)
{
    int64_t lifetime = (int64_t)want->not_after - want->not_before, left = (int64_t)want->not_after - now;
    char when[TEXT_TIME_SIZE], left_text[32], lifetime_text[32];
    if (lifetime <= 0)
        return;
    if (now < want->not_before) {
        finding_add(out, FINDING_WARN, "clock", want->id, "the installed certificate is valid from %s only",
                    text_time(when, want->not_before));
        finding_remedy(out, "compare the clock of this host: timedatectl");
    } else if (left <= 0) {
        finding_add(out, FINDING_WARN, "expired", want->id,
                    "the installed certificate has EXPIRED, at %s: mail clients and servers refuse it",
                    text_time(when, want->not_after));
        finding_remedy(out, "on the proxy host: renew it, then mailcow-cert-push --force");
    } else if (left < lifetime / 3) {
        finding_add(out, FINDING_WARN, "expiring", want->id,
                    "the installed certificate has %s left of %s, less than a %s: %s",
                    text_span(left_text, left), text_span(lifetime_text, lifetime),
                    left < lifetime / 6 ? "SIXTH" : "third",
                    left < lifetime / 6 ? "renewal or push has been failing for long; it ends soon"
                                        : "its renewal is due, or was not pushed");
        finding_remedy(out, "on the proxy host: see whether it was renewed, then mailcow-cert-push -v");
    }
}

void preflight_watchdog(const struct want *want, struct finding_list *out)
{
    int64_t lifetime = (int64_t)want->not_after - want->not_before;
    char text[32];
    if (lifetime <= 0 || lifetime / 3 >= WATCHDOG_DAYS * DAY)
        return;
    finding_add(out, FINDING_NOTE, "watchdog", want->id,
                "mailcow's watchdog alerts when %d days are left; of a certificate for %s that is %s",
                WATCHDOG_DAYS, text_span(text, lifetime),
                lifetime <= WATCHDOG_DAYS * DAY ? "always" : "in every period, before its renewal is due");
    finding_remedy(out, "do not go by its mails about certificates: the number cannot be configured");
}
