/*
 * What stands between libssh2 and the TCP socket: a deadline and a byte budget that hold in every call (a
 * server that floods before its banner keeps libssh2 1.10 in a loop that no timeout of its own ends), a queue
 * that makes sending never block (libssh2 wants the very call repeated that could not send), prompt
 * acknowledgements, and a record of what the peer said in clear, for the messages.
 */
#ifndef PUSHER_SSH_WIRE_H
#define PUSHER_SSH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SSH_WIRE_UNAUTHENTICATED (64 * 1024) /* bytes from a peer before authentication; 3 KiB are usual */
#define SSH_WIRE_SESSION         (64 * 1024 * 1024) /* bytes from a peer in one session */
#define SSH_WIRE_QUEUE           (128 * 1024)       /* unsent bytes: four of libssh2's largest packets */
#define SSH_WIRE_KEXINIT         (8 * 1024)

enum ssh_wire_end {
    SSH_WIRE_UP,
    SSH_WIRE_CLOSED, /* by the peer, or an error of the socket */
    SSH_WIRE_LATE,   /* the deadline has passed */
    SSH_WIRE_FLOOD,  /* the budget is used up, or the peer does not read */
};

struct ssh_wire {
    int fd; /* non-blocking */
    int64_t deadline_ms;
    int64_t budget; /* bytes that may still come */
    int64_t received;
    unsigned packets; /* that libssh2 has sent: it hands them over one by one */
    enum ssh_wire_end end;
    int number;             /* errno of SSH_WIRE_CLOSED, 0 for an orderly end */
    bool greeted;           /* the line SSH-… has come */
    unsigned char line[80]; /* the first line that came */
    size_t line_len;
    size_t column;   /* in the line that is coming */
    size_t prefixed; /* how much of "SSH-" this line began with */
    bool first_line_done;
    unsigned char kexinit[SSH_WIRE_KEXINIT]; /* what followed the banner */
    size_t kexinit_len;
    unsigned char queue[SSH_WIRE_QUEUE];
    size_t queued;
};

/* libssh2's callbacks; *abstract is the struct ssh_wire. Bytes, or -errno. */
ssize_t ssh_wire_recv(int fd, void *buffer, size_t len, int flags, void **abstract);
ssize_t ssh_wire_send(int fd, const void *buffer, size_t len, int flags, void **abstract);

/* Sends what is queued as far as the socket takes it. */
void ssh_wire_flush(struct ssh_wire *w);

/* Acknowledges what has come and asks for the next acknowledgement to be prompt: before every wait. */
void ssh_wire_acknowledge(struct ssh_wire *w);

/* Waits until the peer has sent something; false when w->end says why not. */
bool ssh_wire_wait(struct ssh_wire *w);

/* The name-lists of the peer's KEXINIT, in its order. */
enum ssh_wire_list {
    SSH_LIST_KEX,
    SSH_LIST_HOSTKEY,
    SSH_LIST_CIPHER_OUT,
    SSH_LIST_CIPHER_IN,
    SSH_LIST_MAC_OUT,
    SSH_LIST_MAC_IN,
    SSH_LISTS,
};

/* Finds a list in what followed the banner; false if that is no whole KEXINIT. */
bool ssh_wire_offer(const struct ssh_wire *w, enum ssh_wire_list list, const char **out, size_t *out_len);

/* Whether a name of the comma-separated list is also in theirs. */
bool ssh_wire_common(const char *ours, const char *theirs, size_t theirs_len);

#endif
