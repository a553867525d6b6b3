/*
 * What mailcow says of itself: mailcow.conf, its SSL folder, and the wants that follow from them.
 */
#ifndef DEPLOYER_MAILCOW_H
#define DEPLOYER_MAILCOW_H

#include "common/want.h"
#include "deployer/deploy_conf.h"

#include <stdint.h>

struct mailcow {
    char hostname[254];  /* MAILCOW_HOSTNAME, lower case */
    char project[128];   /* COMPOSE_PROJECT_NAME, lower case as compose makes it */
    uint16_t https_port; /* HTTPS_PORT: also nginx's port inside its container */
    char ssl_path[4096]; /* data/assets/ssl */
};

/*
 * Reads <path>/mailcow.conf as compose reads an env file: KEY=value, the last one counts, quotes around a
 * value, CRLF, comments and a leading `export` are understood; it may be a symbolic link. E_CONFIG, naming
 * file and line, when it is missing or a value that is needed cannot be used.
 */
int mailcow_read(const char *path, struct mailcow *out, struct error *err);

/* Only sets ssl_path. */
void mailcow_locate(const char *path, struct mailcow *out);

/* Opens the SSL folder itself (never through a symbolic link); -1 with E_CONFIG in err when it is missing. */
int mailcow_open_ssl(const struct mailcow *m, struct error *err);

/*
 * The wants of this mail host with what is installed for each: the primary, covering MAILCOW_HOSTNAME and
 * `require`. ssl_fd: the open SSL folder.
 */
int mailcow_wants(const struct mailcow *m, const struct deploy_conf *conf, int ssl_fd, struct want_list *out,
                  struct error *err);

/* Reads again what is installed for a want. What cannot be read or parsed counts as nothing: a push replaces
 * it. */
void mailcow_look(int ssl_fd, struct want *want);

#endif
