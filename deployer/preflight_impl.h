/*
 * The parts of the preflight: functions of facts, each adding what it finds to the list. Between preflight*.c
 * and their tests.
 */
#ifndef DEPLOYER_PREFLIGHT_IMPL_H
#define DEPLOYER_PREFLIGHT_IMPL_H

#include "common/file.h"
#include "deployer/docker.h"
#include "deployer/finding.h"
#include "deployer/mailcow.h"
#include "deployer/sni.h"

#include <sys/statvfs.h>

/* ---- containers (preflight_containers.c) ---- */

/* What is the same for all of them. */
struct preflight_stack {
    const char *directory; /* mailcow's */
    const char *project;
    const char *const *optional; /* services that may be missing; NULL-terminated, or NULL */
    time_t now;
};

#define PREFLIGHT_ACME "acme-mailcow"

/* An acme container. */
struct preflight_acme {
    const char *container;
    const char *state;
    const char *skip;       /* SKIP_LETS_ENCRYPT in its environment; NULL: not set */
    bool starts_by_itself;  /* when the engine is started: its restart policy */
    const char *configured; /* SKIP_LETS_ENCRYPT in mailcow.conf */
};

void preflight_acme(const struct preflight_stack *stack, const struct preflight_acme *acme,
                    struct finding_list *out);
void preflight_containers(const struct preflight_stack *stack, const struct docker_containers *containers,
                          struct finding_list *out);
/* Whether they have the folder ssl_fd mounted, whose path is ssl_path. */
void preflight_mounts(const struct docker_containers *containers, int ssl_fd, const char *ssl_path,
                      struct finding_list *out);

/* ---- files (preflight_files.c) ---- */

/* Who is expected to own what. */
struct preflight_owners {
    struct file_owner configured; /* -1: not */
    bool is_remapped;             /* the containers' root is not the host's root, but: */
    bool root_is_known;
    struct file_owner root;
};

/* The pair of a want in its folder, folder_fd; path: that folder's, for people. */
void preflight_pair(int folder_fd, const char *path, const char *want, const struct preflight_owners *owners,
                    struct finding_list *out);
/* Whether any of it belongs to somebody unexpected, as far as owners tells. */
bool preflight_is_foreign(int folder_fd, const struct preflight_owners *owners);
void preflight_dhparams(int ssl_fd, const char *ssl_path, const struct preflight_owners *owners,
                        struct finding_list *out);
/* postfix: the folder with sni.map and sni.map.db. */
void preflight_sni_map(const char *postfix, struct finding_list *out);
void preflight_space(const char *path, const struct statvfs *fs, struct finding_list *out);

/* ---- time (preflight_time.c) ---- */

/* Of what is installed for a want. */
void preflight_lifetime(const struct want *want, time_t now, struct finding_list *out);
/* mailcow's watchdog, whose threshold is seven days. */
void preflight_watchdog(const struct want *want, struct finding_list *out);

/* ---- SNI folders (preflight_sni.c) ---- */

/* A folder whose certificate a service serves for a name of the primary. */
struct preflight_shadow {
    const char *service;
    const char *name;
    const struct want *folder, *primary;
};
/* check: also when it does no harm yet, as while both are renewed. */
void preflight_shadow(const struct preflight_shadow *s, time_t now, bool check, struct finding_list *out);
/* Files that Postfix, Dovecot and nginx read differently. */
void preflight_domains(const char *ssl_path, const struct sni_folders *folders, struct finding_list *out);
/* What mailcow_wants says of folders that are no wants. */
void preflight_problems(const struct problems *problems, struct finding_list *out);

#endif
