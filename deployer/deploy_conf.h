/*
 * deploy.conf, and its defaults.
 */
#ifndef DEPLOYER_DEPLOY_CONF_H
#define DEPLOYER_DEPLOY_CONF_H

#include "common/alarm.h"
#include "common/conf.h"
#include "common/file.h"

#define DEPLOY_CONF_SNI_MAX 256

/* [sni NAME]: an SNI folder that is to be there. */
struct deploy_sni {
    char *name;               /* of the folder, and of its want */
    struct conf_list domains; /* host names, wildcards as *.x; at least one */
};

struct deploy_conf {
    char *state;               /* folder of the generations and records */
    char *socket;              /* where the daemon listens and its clients connect */
    char *push_user;           /* may push, and nothing else */
    char *trust;               /* PEM file of trusted CAs */
    int64_t idle;              /* seconds without a session after which a socket-activated daemon exits */
    long keep;                 /* generations of a want: the current one and those before it */
    char *mailcow;             /* mailcow's directory */
    struct conf_list require;  /* names that the primary certificate must cover besides MAILCOW_HOSTNAME */
    struct conf_list ignore;   /* SNI folders that are others' to renew */
    struct conf_list optional; /* services whose container may be missing */
    char *owner, *group;       /* of what is installed, names or numbers; NULL: as it was */
    struct deploy_sni sni[DEPLOY_CONF_SNI_MAX];
    size_t sni_count;
    char *docker_host;         /* one of DOCKER_HOST_FORMS */
    unsigned docker_host_line; /* where it stands, 0: it is the default */
    char *docker_cert_path;    /* folder of ca.pem, cert.pem, key.pem, or NULL: no TLS; not for unix:// */
    struct conf_list docker_containers; /* SERVICE=NAME, for an engine whose list is forbidden */
    int64_t verify_timeout;             /* seconds */
    int64_t start_timeout;              /* seconds */
    struct conf_list endpoints;         /* proto://host[:port], or the single word auto */
    struct alarm_conf alarm;
    char *textfile; /* folder of the metrics, or "off": common/metrics.h */
    char *login;    /* file with a service mailbox's name and password; NULL: no logins */
};

/*
 * Reads path; a missing file is an error unless it is the default one, in which case the defaults hold. All
 * problems are in problems; 0 or E_CONFIG.
 */
#define DEPLOY_CONF_PATH "/etc/mailcow-certsync/deploy.conf"
int deploy_conf_read(const char *path, struct deploy_conf *out, struct problems *problems);
/* What holds without a file. */
int deploy_conf_defaults(struct deploy_conf *s);
/* The section [sni NAME], or NULL. */
const struct deploy_sni *deploy_conf_sni(const struct deploy_conf *s, const char *name);
/* Whether `ignore` names this folder. */
bool deploy_conf_ignores(const struct deploy_conf *s, const char *name);
void deploy_conf_free(struct deploy_conf *s);
/* Who is to own what is installed; (uid_t)-1 and (gid_t)-1 where nothing is configured. */
struct file_owner deploy_conf_owner(const struct deploy_conf *s);
#define AUTO_DEPLOY_CONF CLEANUP(deploy_conf_free)

#endif
