/*
 * The Docker Engine API, as far as a deployment needs it: list the containers of a compose project, run a
 * command in one, restart one. libcurl is in docker_http.c, and nowhere else.
 *
 * Every answer is bounded in bytes and time; a hanging, garbling or flooding engine gives an error, never a
 * wait beyond the deadline. Objects are owned by the caller and released by their _free. All functions return
 * 0 or a code of common/error.h; E_TEMPORARY means that the engine cannot be reached, does not answer in time
 * or asks to try again, and E_CONFIG that it may not be used, or not securely. What an engine says is escaped
 * before it is shown, also in the records below.
 */
#ifndef DEPLOYER_DOCKER_H
#define DEPLOYER_DOCKER_H

#include "common/cleanup.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct docker;

/*
 * host: where the engine listens, one of DOCKER_HOST_FORMS. cert_path: NULL, or for tcp:// the folder of
 * ca.pem, cert.pem and key.pem, as docker's DOCKER_CERT_PATH with --tlsverify: the engine's certificate must
 * come from ca.pem and be for its name, and it is shown cert.pem. Both are copied, the files read. No
 * connection is made yet; the first call negotiates the API version.
 */
int docker_new(struct docker **out, const char *host, const char *cert_path, struct error *err);
void docker_free(struct docker *d);
CLEANUP_DEFINE(struct docker *, docker_free)
#define AUTO_DOCKER CLEANUP(docker_freep)

/* Bounds the calls that are given no time of their own; 15 s when it is not called. */
void docker_set_timeout(struct docker *d, int timeout_ms);

/* Asks whether the engine answers, negotiating again, for 5 s at most. */
int docker_ping(struct docker *d, struct error *err);

struct docker_port {
    uint16_t container_port; /* TCP only */
    uint16_t host_port;      /* 0: exposed, not published */
    char host_ip[46];        /* address it is published on, "" when not published */
};

/* Paths as they are, not escaped. One that is longer than this has room for is left out, never cut. */
struct docker_mount {
    char source[256]; /* path on the host, "" for a tmpfs */
    char target[128]; /* path in the container */
};

/* Containers have more room than mailcow's need (13 mounts, 10 ports); what is beyond it is left out. */
struct docker_container {
    char id[65];
    char name[128];        /* without the leading slash */
    char service[64];      /* label com.docker.compose.service, "" without it */
    char state[16];        /* created, running, paused, restarting, removing, exited, dead */
    char status[64];       /* for people: "Up 3 minutes (healthy)" */
    char health[16];       /* starting, healthy, unhealthy; "" without a health check, and in a list */
    int64_t created;       /* time_t; 0 when it is not known */
    char addresses[8][46]; /* of its networks, IPv4 and IPv6 */
    size_t address_count;
    struct docker_port ports[64];
    size_t port_count;
    struct docker_mount mounts[32];
    size_t mount_count;
};

#define DOCKER_CONTAINERS_MAX 256 /* in one project; more are an error */

/*
 * Positive result: what stands in front of the engine (a proxy with rules, an authorisation plugin) forbids
 * the request, HTTP 403. The error given along then holds the sentence, for whom nothing else is left to try.
 */
#define DOCKER_FORBIDDEN 1

struct docker_containers {
    struct docker_container *list;
    size_t count;
    bool is_by_name; /* the project may have others, which may not be listed */
};

/* All containers (also stopped ones, not one-off ones) whose compose project is `project`, compared in lower
 * case. None is a list of none, not an error. DOCKER_FORBIDDEN when they may not be listed. */
int docker_containers(struct docker *d, const char *project, struct docker_containers *out,
                      struct error *err);

/*
 * The containers by their names, where the list is forbidden; names: "SERVICE=NAME", NULL-terminated. One
 * that does not exist is left out. Where looking at a container is forbidden too, it is taken to be running,
 * its id is its name, and nothing else is known of it: no addresses, no ports, no mounts.
 */
int docker_containers_named(struct docker *d, const char *const *names, struct docker_containers *out,
                            struct error *err);

/* As the list says, or where it is forbidden by their names; E_CONFIG when there are none (NULL, or empty).
 */
int docker_containers_found(struct docker *d, const char *project, const char *const *names,
                            struct docker_containers *out, struct error *err);
void docker_containers_free(struct docker_containers *containers);
#define AUTO_CONTAINERS CLEANUP(docker_containers_free)

/* What the list does not tell of a container. */
struct docker_details {
    char **env;              /* KEY=value as they are, ended by a NULL; there are passwords in it */
    char userns_mode[32];    /* "host": its root is the mail host's; "": as the engine does it */
    char restart_policy[32]; /* no, always, unless-stopped, on-failure */
    int64_t started;         /* time_t, when it was started last; 0 when it is not known */
};
int docker_inspect(struct docker *d, const char *id, struct docker_details *out, struct error *err);
/* The value of a variable of its environment, NULL when it is not set. */
const char *docker_env(const struct docker_details *details, const char *key);
void docker_details_free(struct docker_details *details);
#define AUTO_DETAILS CLEANUP(docker_details_free)

/* What is known of the engine itself. */
struct docker_info {
    bool remaps_users;  /* userns-remap: the containers' root is another user of the mail host */
    bool root_is_known; /* who that is */
    unsigned root_uid, root_gid;
};
int docker_info(struct docker *d, struct docker_info *out, struct error *err);

struct docker_exec {
    int exit_code;     /* as the engine reports it after the command has ended */
    char output[2048]; /* stdout and stderr as they came, on one line, cut at the size, made printable */
    char errors[2048]; /* stderr alone, likewise */
};

/*
 * Runs argv (NULL-terminated) in the container and waits for its end, at most timeout_ms. A command that
 * could not be started (exit codes 126 and 127 by convention) is an error, and so is one in a container that
 * is not running or one that writes more than 1 MiB; a command that failed is not: look at exit_code, and
 * believe it only when it says failure. DOCKER_FORBIDDEN when it may not be run, or may be and its end not
 * be looked at.
 *
 * The engine does not end a command whose client has gone, so the deadline here ends the waiting and not the
 * command: callers wrap it in timeout(1), {"timeout", "20", …}, and give this call some seconds more.
 */
int docker_exec(struct docker *d, const char *id, const char *const argv[], int timeout_ms,
                struct docker_exec *out, struct error *err);

/*
 * Stops (with the container's own grace period, 10 s by default) and starts the container again; waits for
 * the answer, so timeout_ms is to be half a minute more than that period. When it passes the engine still
 * finishes what it was asked for. A stopped container is started, a paused one runs: look at its state
 * before.
 */
int docker_restart(struct docker *d, const char *id, int timeout_ms, struct error *err);

/*
 * Waits until the container runs and, if it has a health check, is healthy. E_FAILED when it does not within
 * timeout_ms, with the state that it was in, or when it has gone; DOCKER_FORBIDDEN when it may not be looked
 * at.
 */
int docker_wait_running(struct docker *d, const char *id, int timeout_ms, struct error *err);

#endif
