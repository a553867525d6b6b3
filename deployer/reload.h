/*
 * The services that hold the certificate in memory, and how each is told to read it again: by its own reload
 * command inside its container, never by the engine's kill, which would switch the restart policy off.
 *
 * A reload that reports success proves nothing, and one that reports failure does not end the run: the others
 * are still reloaded, and what is served is for the verification to say.
 */
#ifndef DEPLOYER_RELOAD_H
#define DEPLOYER_RELOAD_H

#include "common/error.h"
#include "deployer/docker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was changed, and so what the services have to do; each does what the one before it does, too. */
enum reload_level {
    RELOAD_PRIMARY, /* cert.pem and key.pem: the services read them again */
    RELOAD_SNI,     /* the pair of an SNI folder: Postfix has its content in a table, which is made anew */
    RELOAD_REBUILD, /* a folder has come, gone or changed its names, and sni_render has been run: nginx writes
                       its configuration anew, and keeps the one it has if it cannot use the new one */
};

struct reload_command {
    const char *name; /* one word, for people */
    enum reload_level from;
    bool reads_stderr;       /* a warning or an error there is a failure, whatever the exit code */
    const char *const *argv; /* ends by itself after 20 s; NULL-terminated */
};

struct reload_service {
    const char *name;              /* of the compose service */
    const char *const *check_argv; /* fails where a start with the configuration would */
    const struct reload_command *commands;
    size_t command_count;
};

/* In the order in which they are reloaded: nginx-mailcow, postfix-mailcow, dovecot-mailcow. */
extern const struct reload_service reload_services[];
extern const size_t reload_service_count;
/* Its place there; reload_service_count when it has none. */
size_t reload_service_index(const char *name);

enum reload_outcome {
    RELOAD_DONE,        /* the command said so */
    RELOAD_FAILED,      /* the command failed, could not be run or did not end */
    RELOAD_NOT_RUNNING, /* the container is stopped, paused or restarting */
    RELOAD_ABSENT,      /* the service has no container */
    RELOAD_FORBIDDEN,   /* no command may be run in it: a restart is what is left */
};

struct reload_step {
    const char *service;
    const char *container; /* its name, NULL when there is none */
    const char *command;   /* name of the command that was run, NULL when none was */
    enum reload_outcome outcome;
    bool tolerated;     /* does not make the result incomplete */
    const char *detail; /* printable: the command's output, the container's state or the error; may be "" */
    int64_t us;
};

struct reload_opts {
    enum reload_level level;
    const char *service;         /* only this one; NULL: all */
    const char *const *optional; /* services that may be absent or not running; NULL-terminated, or NULL */
    void (*on_step)(void *ctx, const struct reload_step *step); /* or NULL */
    void *ctx;
};

/* Positive result: every service had its turn, and a step that is not tolerated is not RELOAD_DONE. */
#define RELOAD_INCOMPLETE 1

/*
 * Reloads every running container of every service; on_step is told of each command, and once of each
 * container that does not run or service that has none. A command that says that it failed does not keep back
 * those behind it; one that could not be run does, in that container. A stopped container beside a running
 * one of its service (scaled down, left behind by compose) is reported and tolerated: it serves nothing and
 * reads the files when it starts. An error only when the engine does not answer any more; what is left is not
 * tried then.
 */
int reload_run(struct docker *d, const struct docker_containers *containers, const struct reload_opts *opts,
               struct error *err);

/* Reloads nothing: only says, by the same rules, which services are not running. 0 or RELOAD_INCOMPLETE. */
int reload_look(const struct docker_containers *containers, const struct reload_opts *opts);

/*
 * Whether the service of the container, one of reload_services, could be started with the configuration that
 * it finds: one that works may have been configured since, and would not come back. E_FAILED with its own
 * words where it could not; 0 also where it cannot be asked, or does not answer in time, as Postfix's check
 * over a large queue.
 */
int reload_check(struct docker *d, const struct docker_container *c, struct error *err);

/* "done", "failed", "not running", "absent", "forbidden" */
const char *reload_outcome_str(enum reload_outcome outcome);

#endif
