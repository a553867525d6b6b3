/* What the files of the module pusher/ssh share: the job that the child is given and what it reports. */
#ifndef PUSHER_SSH_IMPL_H
#define PUSHER_SSH_IMPL_H

#include "pusher/known_hosts.h"
#include "pusher/ssh.h"
#include "pusher/ssh_key.h"
#include "pusher/ssh_wire.h"

#include <stdbool.h>
#include <sys/types.h>

#define SSH_STDERR_MAX 1024 /* bytes of the remote command's stderr that are kept */
#define SSH_CLOSE_MS   1000 /* for the peer to close the channel; less than the parent's grace */

/* The descriptors that the child has: the stream and the events from the start, the socket once connected. */
enum {
    SSH_FD_SOCKET,
    SSH_FD_STREAM,
    SSH_FD_EVENTS,
    SSH_FD_COUNT
};

struct ssh_job {
    const struct ssh_opts *opts; /* defaults filled in */
    struct ssh_key key;
    struct known_hosts known;
    bool learn; /* only what host key the server shows: reported as `type base64`, whatever is pinned */
    int64_t start_us;
    pid_t parent;
};

/* One record of the event channel. The parent believes nothing in it: codes are checked, texts cleaned. */
struct ssh_event {
    bool is_end;
    int step;   /* enum ssh_step */
    int code;   /* of the end: 0 or a failure */
    int event;  /* of the end: enum event */
    int64_t us; /* since the step before */
    char text[1024];
    size_t stderr_len; /* of the end */
    unsigned char remote_stderr[SSH_STDERR_MAX];
};

struct ssh_child {
    const struct ssh_job *job;
    struct ssh_wire wire;
    struct error err;
    int64_t last_us;           /* clock of the last step */
    unsigned packets;          /* sent when the authentication began */
    const char *doing;         /* for messages: "key exchange" */
    void *session;             /* LIBSSH2_SESSION */
    void *channel;             /* LIBSSH2_CHANNEL */
    char ours[SSH_LISTS][512]; /* what this client offers */
    unsigned char remote_stderr[SSH_STDERR_MAX];
    size_t stderr_len;
};

/* Takes over a fresh child process; stream and events are its ends of the channels. */
_Noreturn void ssh_child_run(const struct ssh_job *job, int stream, int events);

/* Tells the parent that a step is done. */
void ssh_child_step(struct ssh_child *c, enum ssh_step step, const char *detail);

/* Resolves the host and connects to one of its addresses, each with its share of the time. The socket or a
 * code. */
int ssh_connect(struct ssh_child *c);

/* Makes the libssh2 session and its offers; E_CONFIG when nothing usable is pinned. Touches no network. */
int ssh_session_prepare(struct ssh_child *c);
/* From the TCP connection to the accepted command. */
int ssh_session_open(struct ssh_child *c);
void ssh_session_free(struct ssh_child *c);
/* Sets c->err from what the wire and libssh2's result rc say. */
int ssh_session_explain(struct ssh_child *c, int rc);

/* Moves bytes between stream and channel until one side ends. */
int ssh_relay(struct ssh_child *c);

#endif
