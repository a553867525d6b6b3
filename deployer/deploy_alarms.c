#include "deployer/deploy_alarms.h"
#include "common/cert.h"
#include "common/file.h"

/* What is installed; false when nothing is that can be read. */
static bool read_validity(const struct mailhost *host, const char *want, struct alarm_cert *out)
{
    AUTO_SECRET struct secret pem = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error ignored;
    AUTO_CLOSE int folder = install_open_folder(host->ssl_fd, want, &ignored);
    if (folder < 0 || file_read(folder, "cert.pem", 0, &pem, NULL, &ignored) ||
        cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &c, &ignored))
        return false;
    *out = (struct alarm_cert){.target = "",
                               .want = want,
                               .not_before = cert_info(c)->not_before,
                               .not_after = cert_info(c)->not_after};
    return true;
}

static int result_of(const struct outcome *o)
{
    return o->result <= OUTCOME_DEPLOYED ? 0 : o->result == OUTCOME_PENDING ? E_TEMPORARY : E_FAILED;
}

int deploy_alarms_judge(const struct mailhost *host, const struct deploy_outcome *outcome, bool keep,
                        struct alarm_book **out, struct error *err)
{
    const struct alarm_conf *conf = &host->conf->alarm;
    AUTO_ALARMS struct alarm_book *book = NULL;
    int rc = alarm_book_read(&book, store_folder(host->store), time(NULL), err);
    if (rc < 0)
        return rc;
    alarm_judge_contact(book, conf, "", store_last_contact(host->store));
    for (size_t i = 0; i < outcome->pair_count; i++) {
        const struct pair *p = &outcome->pairs[i];
        struct alarm_cert served;
        if (p->is_removed)
            continue;
        if (read_validity(host, p->want->id, &served))
            alarm_judge_expiry(book, conf, &served);
        alarm_judge_pass(book, conf, "", p->want->id, result_of(&p->outcome), p->outcome.detail);
    }
    alarm_book_settle(book);
    rc = keep ? alarm_book_write(book, store_folder(host->store), err) : 0;
    if (rc < 0)
        return rc;
    *out = book;
    book = NULL;
    return 0;
}
