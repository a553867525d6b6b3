/*
 * One SSH session to a mail host, run by a child process. The only module that includes libssh2.
 *
 * The child resolves, connects, and then gives up everything but the socket, a stream and an event channel to
 * its parent (no other descriptor can be open or opened: RLIMIT_NOFILE; not dumpable; no new privileges;
 * another uid if it was root; no system call but those on its descriptors) before libssh2 reads the first
 * byte of the peer, since libssh2 1.10 parses the key exchange before the host key can be checked. The host
 * key must be pinned by known_hosts; there is no trust on first use, no password, no agent. When the forced
 * command runs, bytes written to ssh_fd() reach its stdin and its stdout can be read there.
 *
 * The exit status of the remote command means nothing here (libssh2 reports 0 when none arrived): success is
 * what the stream says.
 */
#ifndef PUSHER_SSH_H
#define PUSHER_SSH_H

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"
#include "pusher/ssh_blob.h"

#include <stdint.h>

struct ssh;

enum ssh_step {
    SSH_CONNECTED,     /* detail: address and port */
    SSH_HOST_KEY,      /* detail: type and SHA-256 fingerprint as ssh-keygen -l prints it */
    SSH_AUTHENTICATED, /* detail: user and key type */
    SSH_OPEN,          /* the forced command was requested and accepted */
};

struct ssh_opts {
    const char *host; /* name or address; what known_hosts must pin */
    uint16_t port;
    const char *user;
    struct secret *key;           /* content of the private key file: OpenSSH or PEM, unencrypted. The child
                                     wipes its copy when it has authenticated */
    const char *key_path;         /* for messages */
    const char *known_hosts;      /* content of the known_hosts file, NUL-terminated */
    const char *known_hosts_path; /* for messages */
    int connect_timeout_ms;       /* name resolution and TCP connection, over all addresses; 0: 15000 */
    int handshake_timeout_ms;     /* from the TCP connection to SSH_OPEN; 0: 30000 */
    int session_timeout_ms;       /* from SSH_OPEN to the end of the session; 0: 600000 */
    void (*on_step)(void *ctx, enum ssh_step step, const char *detail,
                    int64_t us); /* us: since the step before */
    void *ctx;
};

/*
 * Blocks until SSH_OPEN. E_CONFIG: no usable key (RSA, encrypted, garbage), known_hosts has a bad line (with
 * `file:line`) or pins nothing for the host, the name does not exist, the host key is unknown, CHANGED or
 * revoked, or the key was refused; E_TEMPORARY: refused, timed out, dropped, name service failing, no session
 * or command allowed; E_FAILED: no common algorithm, not an SSH server, a broken protocol, a child that
 * cannot be confined. Each cause has its own sentence.
 *
 * The child inherits a copy of the parent's memory: open the session before private keys of certificates are
 * read. process_protect must have been called: libraries can read none of their files in the child.
 */
int ssh_open(struct ssh **out, const struct ssh_opts *opts, struct error *err);

/* A host key that a server has shown. */
struct ssh_host_key {
    char type[64]; /* "ssh-ed25519" */
    char base64[1024];
    char fingerprint[SSH_FINGERPRINT_SIZE];
};

/*
 * Connects, takes the host key that the server proves to have, and hangs up without logging in: one of a kind
 * that known_hosts pins for the host if it has one. Whether to trust it is for the caller to find out. Of the
 * options, user and key are not used. Codes as of ssh_open.
 */
int ssh_learn(const struct ssh_opts *opts, struct ssh_host_key *out, struct error *err);

/*
 * The stream: a connected socket, for poll(2), read, write and shutdown(SHUT_WR). Owned by s. It ends when
 * the remote command's stdout does, or the session for whatever reason; a write fails with EPIPE then, which
 * is a SIGPIPE where that is not ignored.
 */
int ssh_fd(const struct ssh *s);

/*
 * Ends the session: closes the stream, waits for the child (killing it after a grace of two seconds). Returns
 * 0 when the session ended in order (by either side), or the failure that ended it (err filled): connection
 * lost, timed out, forced command killed by a signal. out_stderr gets what the remote command wrote to stderr
 * (1 KiB of it), made printable, cut at its size; "" if nothing. Frees s.
 */
int ssh_close(struct ssh *s, char *out_stderr, size_t size, struct error *err);

#endif
