#include "deployer/mailhost.h"
#include "common/file.h"

int mailhost_open(struct mailhost **out, const struct deploy_conf *conf, struct error *err)
{
    AUTO_MAILHOST struct mailhost *m = calloc(1, sizeof *m);
    if (!m)
        return error_memory(err);
    m->conf = conf;
    m->ssl_fd = -1;
    int rc = mailcow_read(conf->mailcow, &m->mailcow, err);
    if (rc < 0)
        return rc;
    m->ssl_fd = mailcow_open_ssl(&m->mailcow, err);
    if (m->ssl_fd < 0)
        return err->code;
    rc = store_open(&m->store, conf->state, err);
    if (!rc)
        rc = mailcow_wants(&m->mailcow, conf, m->ssl_fd, &m->wants, &m->problems, err);
    if (rc < 0)
        return rc;
    *out = m;
    m = NULL;
    return 0;
}

void mailhost_close(struct mailhost *m)
{
    if (!m)
        return;
    cleanup_closep(&m->ssl_fd);
    want_list_free(&m->wants);
    problems_free(&m->problems);
    store_close(m->store);
    trust_free(m->own_trust);
    free(m);
}

struct install_place mailhost_place(const struct mailhost *m)
{
    return (struct install_place){
        .store = m->store, .ssl_fd = m->ssl_fd, .owner = deploy_conf_owner(m->conf)};
}

void mailhost_lend_trust(struct mailhost *m, const struct trust *trust)
{
    m->trust = trust;
}

int mailhost_load_trust(struct mailhost *m, struct error *err)
{
    int rc = m->trust ? 0 : trust_new(&m->own_trust, m->conf->trust, err);
    if (!m->trust)
        m->trust = m->own_trust;
    return rc;
}

int mailhost_judge(struct mailhost *m, const struct want *want, bool as_successor, const void *bundle,
                   size_t len, struct judge_verdict *out, struct error *err)
{
    AUTO_SECRET struct secret installed = SECRET(SECRET_MAX);
    int rc = mailhost_load_trust(m, err);
    if (!rc && as_successor)
        rc = mailcow_read_installed(m->ssl_fd, want->id, "cert.pem", &installed, err);
    if (rc < 0)
        return rc;
    struct judge_policy policy = {
        .trust = m->trust,
        .names = (const char *const *)want->names,
        .name_count = want->name_count,
        .installed = installed.len ? (const char *)installed.data : NULL,
        .installed_len = installed.len,
    };
    return judge_confined(bundle, len, &policy, time(NULL), out, err);
}
