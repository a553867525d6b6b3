/*
 * What mailcow says of itself: mailcow.conf, its SSL folder, and the wants that follow from them.
 */
#ifndef DEPLOYER_MAILCOW_H
#define DEPLOYER_MAILCOW_H

#include "common/want.h"
#include "deployer/deploy_conf.h"

#include <stdbool.h>
#include <stdint.h>

/* Its services that show a certificate, as compose has them. */
#define MAILCOW_NGINX   "nginx-mailcow"
#define MAILCOW_POSTFIX "postfix-mailcow"
#define MAILCOW_DOVECOT "dovecot-mailcow"

struct mailcow {
    char hostname[254];      /* MAILCOW_HOSTNAME, lower case */
    char project[128];       /* COMPOSE_PROJECT_NAME, lower case as compose makes it */
    uint16_t https_port;     /* HTTPS_PORT: also nginx's port inside its container */
    bool https_proxy;        /* NGINX_USE_PROXY_PROTOCOL: nginx expects a PROXY header */
    char server_names[512];  /* ADDITIONAL_SERVER_NAMES, as it is: nginx has them in its first server */
    char ssl_path[4096];     /* data/assets/ssl */
    char postfix_path[4096]; /* data/conf/postfix */
    char dovecot_path[4096]; /* data/conf/dovecot */
    char skip_acme[16];      /* SKIP_LETS_ENCRYPT as it stands there, "" without it; see mailcow_is_yes */
};

/*
 * Reads <path>/mailcow.conf as compose reads an env file: KEY=value, the last one counts, quotes around a
 * value, CRLF, comments and a leading `export` are understood; it may be a symbolic link. E_CONFIG, naming
 * file and line, when it is missing or a value that is needed cannot be used.
 */
int mailcow_read(const char *path, struct mailcow *out, struct error *err);

/* Whether mailcow takes the value of a switch for yes: `y`, `yes` in any case; `true` and `1` are no. */
bool mailcow_is_yes(const char *value);

/* Only sets the paths. */
void mailcow_locate(const char *path, struct mailcow *out);

/* Opens the SSL folder itself (never through a symbolic link); -1 with E_CONFIG in err when it is missing. */
int mailcow_open_ssl(const struct mailcow *m, struct error *err);

/*
 * The wants of this mail host with what is installed for each: the primary, covering MAILCOW_HOSTNAME and
 * `require`; one for each [sni NAME], whose folder need not be there yet; one for each other SNI folder that
 * the services read and `ignore` does not name, in their order. ssl_fd: the open SSL folder.
 *
 * A folder that cannot be a want, or that asks for a name that another one asks for already, is left out and
 * told in problems: its certificate is nobody's to renew. One that cannot be read now is an error. A name of
 * the primary may also be one of a folder (mailcow's own ACME leaves such a folder): see mailcow_serves.
 */
int mailcow_wants(const struct mailcow *m, const struct deploy_conf *conf, int ssl_fd, struct want_list *out,
                  struct problems *problems, struct error *err);

/*
 * Reads cert.pem or key.pem (name) of a want's own folder. 0; MAILCOW_NOTHING when there is none, or what no
 * service could read either: a link, a folder, more than out->max bytes. An error: it is there and cannot be
 * read now, which is not to be taken for nothing.
 */
enum {
    MAILCOW_NOTHING = 1
};
int mailcow_read_installed(int ssl_fd, const char *want, const char *name, struct secret *out,
                           struct error *err);

/* Reads again what is installed for a want: nothing, too, when it cannot be parsed; a push replaces it. 0, or
 * an error as above, and then it says that nothing is. */
int mailcow_look(int ssl_fd, struct want *want, struct error *err);

/* Whether the SSL folder or any SNI folder in it, be it a want or not, holds the leaf; or may do so, because
 * it cannot be read now. */
bool mailcow_holds(int ssl_fd, const char *fingerprint);

/* When what is installed for a want, or what folders there are, changed last. */
time_t mailcow_changed_at(int ssl_fd, const char *want);

/*
 * The want whose certificate a service (nginx-mailcow, postfix-mailcow, dovecot-mailcow) is to serve when the
 * client asks for name, a host name; NULL asks for none. Only wants with something installed count; the
 * primary is what no other serves. They differ: nginx keeps the primary for MAILCOW_HOSTNAME,
 * ADDITIONAL_SERVER_NAMES and for all names of a folder that names MAILCOW_HOSTNAME; nginx and Postfix prefer
 * exact names and longer wildcards, for any number of labels; Dovecot takes the first folder that matches, a
 * wildcard being one label.
 */
const struct want *mailcow_serves(const struct mailcow *m, const struct want_list *wants, const char *service,
                                  const char *name);

#endif
