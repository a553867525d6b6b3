/*
 * The preflight: what there is about mailcow, as it really is, that a deployment should not go on with, or a
 * person should know. Looks only, and changes nothing. A fact that cannot be had is no finding.
 *
 *   acme-active             refuse  mailcow's own ACME client would put its certificate over ours
 *   acme-unknown            warn    mailcow.conf lets it run, and Docker cannot be asked
 *   acme-stopped            note    it does not run, and would if Docker were restarted
 *   update-running          later   mailcow's update.sh is at work
 *   container-changing      later   a container is being made or removed
 *   container-missing, container-stopped, container-paused, container-restarting
 *                           warn    a service that is not optional does not run
 *   container-scaled, container-renamed
 *                           note
 *   project-empty           warn    no container has the project's label
 *   ssl-mount               warn    a container has another folder mounted than the one that is written to
 *   docker-unreachable      warn    (check only)
 *   symlink                 refuse  a link, or no file, where the pair is
 *   owner, mode             warn    who may read or write in the SSL folder
 *   stale-folder            warn    an SNI folder takes names of the primary, and its certificate is another
 *   folder-overlap          note    it is the same, or as young (check only)
 *   domains                 warn    names that not every service serves
 *   sni-folder              warn    a folder that cannot be a want
 *   dhparams                warn    Dovecot would not start
 *   sni-map                 warn    private keys that everybody may read
 *   read-only, disk-full    warn
 *   trust                   refuse  the file of trusted CAs cannot be used (check only)
 *   userns-remap, watchdog  note    (check only)
 *   clock, expiring, expired
 *                           warn    what is installed, by its own lifetime (check only)
 */
#ifndef DEPLOYER_PREFLIGHT_H
#define DEPLOYER_PREFLIGHT_H

#include "deployer/docker.h"
#include "deployer/finding.h"
#include "deployer/mailhost.h"

struct preflight_opts {
    struct docker *docker;                      /* NULL: it cannot be asked */
    const struct docker_containers *containers; /* NULL: not known */
    time_t now;
    bool check; /* also what no deployment needs to know */
};

/* Adds to out what it finds. Asks the engine only for what is needed, each time for 15 s at most. */
void preflight_run(const struct mailhost *host, const struct preflight_opts *opts, struct finding_list *out);

/* The operator's check: asks the engine for the containers first. */
void preflight_check(const struct mailhost *host, struct finding_list *out);

#endif
