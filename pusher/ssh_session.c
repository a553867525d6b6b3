/* libssh2 from its banner to the accepted command, in the confined child. */
#include "common/clock.h"
#include "common/text.h"
#include "pusher/ssh_blob.h"
#include "pusher/ssh_impl.h"

#include <libssh2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A shell that runs this, because the forced command is missing, answers "not found" and does no harm. */
#define COMMAND "mailcow-certsync-forced-command-missing"

#define WINDOW 262144 /* bytes that the peer may send unread: what libssh2 can be made to hold */
#define PACKET 32768

/* Strongest first; what the libssh2 at hand does not know (1.10: most of the first half) is left out. */
#define KEX                                                                                                  \
    "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,"     \
    "curve25519-sha256@libssh.org,ecdh-sha2-nistp521,ecdh-sha2-nistp384,ecdh-sha2-nistp256,"                 \
    "diffie-hellman-group16-sha512,diffie-hellman-group14-sha256,ext-info-c,kex-strict-c-v00@openssh.com"
#define CIPHERS                                                                                              \
    "aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,"     \
    "aes128-ctr"
#define MACS "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512,hmac-sha2-256"

static const struct {
    int method;
    enum ssh_wire_list list;
    const char *wish; /* NULL: what is pinned */
    const char *what;
    const char *option; /* of sshd_config */
} offers[] = {
    {LIBSSH2_METHOD_KEX, SSH_LIST_KEX, KEX, "key exchange", "KexAlgorithms"},
    {LIBSSH2_METHOD_HOSTKEY, SSH_LIST_HOSTKEY, NULL, "host key", "HostKeyAlgorithms"},
    {LIBSSH2_METHOD_CRYPT_CS, SSH_LIST_CIPHER_OUT, CIPHERS, "cipher", "Ciphers"},
    {LIBSSH2_METHOD_CRYPT_SC, SSH_LIST_CIPHER_IN, CIPHERS, "cipher", "Ciphers"},
    {LIBSSH2_METHOD_MAC_CS, SSH_LIST_MAC_OUT, MACS, "MAC", "MACs"},
    {LIBSSH2_METHOD_MAC_SC, SSH_LIST_MAC_IN, MACS, "MAC", "MACs"},
};
#define OFFERS (sizeof offers / sizeof *offers)

static const struct {
    const char *type;    /* in known_hosts */
    const char *methods; /* in the negotiation; libssh2 1.10 has no rsa-sha2 */
} host_keys[] = {
    {"ssh-ed25519", "ssh-ed25519"},
    {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
    {"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
    {"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
    {"ssh-rsa", "rsa-sha2-512,rsa-sha2-256"},
};

/* An allocator that wipes: libssh2 1.10 frees keys and payload as they are. */
union header {
    size_t size;
    max_align_t align;
};

static void *wiping_alloc(size_t count, void **abstract)
{
    (void)abstract;
    union header *h = count < SIZE_MAX - sizeof *h ? malloc(sizeof *h + count) : NULL;
    if (!h)
        return NULL;
    h->size = count;
    return h + 1;
}

static void wiping_free(void *p, void **abstract)
{
    (void)abstract;
    union header *h = p;
    if (!h)
        return;
    h--;
    explicit_bzero(h, sizeof *h + h->size);
    free(h);
}

static void *wiping_realloc(void *p, size_t count, void **abstract)
{
    size_t old = p ? ((union header *)p - 1)->size : 0;
    void *fresh = wiping_alloc(count, abstract);
    if (fresh && p) {
        memcpy(fresh, p, old < count ? old : count);
        wiping_free(p, abstract);
    }
    return fresh;
}

static bool is_pinned(const struct known_hosts *known, const char *type)
{
    for (size_t i = 0; i < known->count; i++)
        if (!known->keys[i].revoked && strcmp(known->keys[i].type, type) == 0)
            return true;
    return false;
}

static void wish_for(const struct known_hosts *known, bool pinned, char *out, size_t size)
{
    for (size_t i = 0; i < sizeof host_keys / sizeof *host_keys; i++) {
        size_t used = strlen(out);
        if (is_pinned(known, host_keys[i].type) == pinned)
            snprintf(out + used, size - used, "%s%s", used ? "," : "", host_keys[i].methods);
    }
}

/* Only kinds that are pinned; to learn a key, all others after them. */
static void wish_for_host_keys(const struct ssh_job *job, char *out, size_t size)
{
    out[0] = '\0';
    wish_for(&job->known, true, out, size);
    if (job->learn)
        wish_for(&job->known, false, out, size);
}

static bool is_supported(const char *name, size_t len, const char *const *supported, int count)
{
    for (int i = 0; i < count; i++)
        if (strlen(supported[i]) == len && memcmp(supported[i], name, len) == 0)
            return true;
    return false;
}

/* The names of wish that libssh2 knows; libssh2_session_method_pref() strips them with overlapping memcpy. */
static void filter(struct ssh_child *c, int method, const char *wish, char *out, size_t size)
{
    const char **supported = NULL;
    int count = libssh2_session_supported_algs(c->session, method, &supported);
    size_t used = 0;
    out[0] = '\0';
    while (*wish) {
        size_t n = strcspn(wish, ",");
        if (is_supported(wish, n, supported, count) && used + n + 2 <= size)
            used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? "," : "", (int)n, wish);
        wish += n + (wish[n] == ',');
    }
    if (count > 0)
        libssh2_free(c->session, supported);
}

static int set_offers(struct ssh_child *c)
{
    for (size_t i = 0; i < OFFERS; i++) {
        char pinned[256];
        const char *wish = offers[i].wish;
        char *ours = c->ours[offers[i].list];
        if (!wish) {
            wish_for_host_keys(c->job, pinned, sizeof pinned);
            wish = pinned;
        }
        filter(c, offers[i].method, wish, ours, sizeof c->ours[0]);
        /* When nothing remains, libssh2 would go on with its own list. */
        if (!*ours || libssh2_session_method_pref(c->session, offers[i].method, ours) != 0)
            return error_set(&c->err, E_FAILED, "libssh2 %s: offers no usable %s", libssh2_version(0),
                             offers[i].what);
    }
    return 0;
}

/* Whether anything is pinned that could be negotiated. */
static int check_pins(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    const struct known_hosts *known = &c->job->known;
    char wish[256], usable[256];
    if (!known->pinned) {
        if (known->count)
            error_set(
                &c->err, E_CONFIG,
                "host key REVOKED: %s:%zu revokes a key of this host and no other is pinned: pin its new key",
                o->known_hosts_path, known->keys[0].line);
        else
            error_set(&c->err, E_CONFIG,
                      "host key UNKNOWN: %s pins no key for this host: compare it and pin it with "
                      "`mailcow-cert-push "
                      "enroll %s`",
                      o->known_hosts_path, o->host);
        return error_mark(&c->err, EVENT_HOST_KEY);
    }
    wish_for_host_keys(c->job, wish, sizeof wish);
    filter(c, LIBSSH2_METHOD_HOSTKEY, wish, usable, sizeof usable);
    if (*usable)
        return 0;
    return error_set(
        &c->err, E_CONFIG,
        "host key: %s:%zu pins only a key of the kind %s, which libssh2 %s cannot use%s: pin another "
        "with `ssh-keyscan -t ed25519 -p %u %s`",
        o->known_hosts_path, known->keys[0].line, known->keys[0].type, libssh2_version(0),
        is_pinned(known, "ssh-rsa") ? " (no rsa-sha2)" : "", o->port, o->host);
}

int ssh_session_prepare(struct ssh_child *c)
{
    if (libssh2_init(0) != 0)
        return error_set(&c->err, E_FAILED, "libssh2: cannot be initialised");
    c->session = libssh2_session_init_ex(wiping_alloc, wiping_free, wiping_realloc, &c->wire);
    if (!c->session)
        return error_memory(&c->err);
    union {
        ssize_t (*recv)(int, void *, size_t, int, void **);
        ssize_t (*send)(int, const void *, size_t, int, void **);
        void *any;
    } recv_cb = {.recv = ssh_wire_recv}, send_cb = {.send = ssh_wire_send};
    libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_RECV, recv_cb.any);
    libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_SEND, send_cb.any);
    libssh2_session_set_blocking(c->session, 0);
    int rc = c->job->learn ? 0 : check_pins(c);
    return rc < 0 ? rc : set_offers(c);
}

static bool began_with(const struct ssh_child *c, const char *text)
{
    return c->wire.line_len >= strlen(text) && memcmp(c->wire.line, text, strlen(text)) == 0;
}

/* Repeats a call of libssh2 until it is done or the wire ends. */
static int drive(struct ssh_child *c, const char *doing, int (*call)(struct ssh_child *))
{
    c->doing = doing;
    for (;;) {
        int64_t received = c->wire.received;
        int rc = call(c);
        if (rc == 0)
            return 0;
        /* What one call waits for, another may have taken off the wire: poll(2) would not see it. */
        if (rc == LIBSSH2_ERROR_EAGAIN && c->wire.received != received)
            continue;
        if (rc != LIBSSH2_ERROR_EAGAIN || !ssh_wire_wait(&c->wire))
            return ssh_session_explain(c, rc);
    }
}

static int shake_hands(struct ssh_child *c)
{
    return libssh2_session_handshake(c->session, SSH_FD_SOCKET);
}

/* The public key right away, without asking for the list of methods: one round trip less. */
static int authenticate(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    return libssh2_userauth_publickey_frommemory(c->session, o->user, strlen(o->user), NULL, 0,
                                                 (const char *)o->key->data, o->key->len, NULL);
}

static int open_channel(struct ssh_child *c)
{
    if (!c->channel)
        c->channel = libssh2_channel_open_ex(c->session, "session", 7, WINDOW, PACKET, NULL, 0);
    return c->channel ? 0 : libssh2_session_last_errno(c->session);
}

/*
 * The channel is asked for right behind the signature, without waiting for the answer to it: OpenSSH's sshd
 * takes the two in turn, and puts its answer into one segment with the host keys that it announces after a
 * login. That saves a round trip. Before the signature, which is the second packet, nothing may be asked, and
 * no other server is known to bear it.
 */
static int authenticate_and_ask(struct ssh_child *c)
{
    int rc = authenticate(c);
    if (rc != LIBSSH2_ERROR_EAGAIN || c->wire.packets - c->packets < 2 || !began_with(c, "SSH-2.0-OpenSSH_"))
        return rc;
    int asked = open_channel(c);
    return asked == 0 ? rc : asked;
}

static int request_command(struct ssh_child *c)
{
    return libssh2_channel_exec(c->channel, COMMAND);
}

static int tell_host_key(struct ssh_child *c, const char *type, const unsigned char *blob, size_t len)
{
    char text[1024], base64[960];
    if (!ssh_blob_encode(base64, sizeof base64, blob, len))
        return error_set(&c->err, E_FAILED, "host key: the server's is too long (%s, %zu bytes)", type, len);
    snprintf(text, sizeof text, "%.60s %s", type, base64);
    ssh_child_step(c, SSH_HOST_KEY, text);
    return 0;
}

static int verify_host_key(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    const struct known_key *key = NULL;
    char shown[SSH_FINGERPRINT_SIZE], pinned[SSH_FINGERPRINT_SIZE], raw[64] = "?", type[128], detail[200];
    size_t len = 0;
    int kind;
    const char *blob = libssh2_session_hostkey(c->session, &len, &kind);
    if (!blob)
        return error_set(&c->err, E_FAILED, "host key: the server shows none");
    ssh_blob_type((const unsigned char *)blob, len, raw, sizeof raw);
    text_escape(type, sizeof type, raw, strlen(raw));
    ssh_blob_fingerprint(shown, (const unsigned char *)blob, len);
    if (c->job->learn)
        return tell_host_key(c, type, (const unsigned char *)blob, len);
    switch (known_hosts_judge(&c->job->known, (const unsigned char *)blob, len, &key)) {
    case KNOWN_MATCH:
        snprintf(detail, sizeof detail, "%s %s", type, shown);
        ssh_child_step(c, SSH_HOST_KEY, detail);
        return 0;
    case KNOWN_REVOKED:
        error_set(
            &c->err, E_CONFIG,
            "host key REVOKED: the server shows %s %s, which %s:%zu revokes: give the host a new key and "
            "pin that",
            type, shown, o->known_hosts_path, key->line);
        break;
    case KNOWN_CHANGED:
        error_set(
            &c->err, E_CONFIG,
            "host key CHANGED: the server shows %s %s, but %s:%zu pins %s: the host was installed anew, "
            "or someone is in between: compare it on the host itself, then pin it with `mailcow-cert-push "
            "enroll %s`",
            type, shown, o->known_hosts_path, key->line, ssh_blob_fingerprint(pinned, key->blob, key->len),
            o->host);
        break;
    case KNOWN_UNKNOWN:
        error_set(
            &c->err, E_CONFIG,
            "host key UNKNOWN: the server shows %s %s and %s pins no key of that kind for it: compare it on "
            "the host itself, then pin it with `mailcow-cert-push enroll %s`",
            type, shown, o->known_hosts_path, o->host);
    }
    return error_mark(&c->err, EVENT_HOST_KEY);
}

int ssh_session_open(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    char detail[200], user[100];
    c->wire.fd = SSH_FD_SOCKET;
    c->wire.budget = SSH_WIRE_UNAUTHENTICATED;
    c->wire.deadline_ms = c->last_us / 1000 + o->handshake_timeout_ms;
    int rc = drive(c, "key exchange", shake_hands);
    if (rc == 0)
        rc = verify_host_key(c);
    if (c->job->learn)
        return rc;
    c->packets = c->wire.packets;
    if (rc == 0)
        rc = drive(c, "authentication", authenticate_and_ask);
    secret_wipe(o->key); /* this process's copy */
    if (rc < 0)
        return rc;
    c->wire.budget = SSH_WIRE_SESSION;
    snprintf(detail, sizeof detail, "%s with %s", text_escape(user, sizeof user, o->user, strlen(o->user)),
             c->job->key.type);
    ssh_child_step(c, SSH_AUTHENTICATED, detail);
    rc = drive(c, "opening the channel", open_channel);
    if (rc == 0)
        rc = drive(c, "requesting the command", request_command);
    if (rc < 0)
        return rc;
    ssh_child_step(c, SSH_OPEN, "");
    return 0;
}

/* The socket first: with a peer that is gone, libssh2 would wait for it in every call below. */
void ssh_session_free(struct ssh_child *c)
{
    if (!c->session)
        return;
    if (c->wire.fd == SSH_FD_SOCKET && c->wire.budget) {
        libssh2_session_disconnect(c->session, "done");
        ssh_wire_flush(&c->wire);
        shutdown(SSH_FD_SOCKET, SHUT_RDWR);
    }
    c->wire.end = SSH_WIRE_CLOSED;
    if (c->channel)
        libssh2_channel_free(c->channel);
    libssh2_session_free(c->session);
    c->session = c->channel = NULL;
    libssh2_exit();
}

static int not_ssh(struct ssh_child *c, const char *how)
{
    char line[4 * sizeof c->wire.line];
    text_escape(line, sizeof line, c->wire.line, c->wire.line_len);
    return error_set(&c->err, E_FAILED, "not an SSH server: %s, and it began with `%s`: check host and port",
                     how, line);
}

/* Cut inside a banner that was one so far. */
static bool could_be_banner(const struct ssh_child *c)
{
    size_t n = c->wire.line_len < 4 ? c->wire.line_len : 4;
    return !c->wire.first_line_done && memcmp(c->wire.line, "SSH-", n) == 0;
}

/* sshd says why it drops a connection since 7.x, in one line in place of the banner. */
static int explain_greeting(struct ssh_child *c)
{
    int ms = c->job->opts->handshake_timeout_ms;
    bool spoke = c->wire.received > 0 && !could_be_banner(c);
    if (began_with(c, "Exceeded MaxStartups") || began_with(c, "Not allowed at this time"))
        return error_set(
            &c->err, E_TEMPORARY,
            "dropped before its banner: `%.*s`: MaxStartups or PerSourcePenalties of its sshd: too "
            "many connections or failed logins from here",
            (int)c->wire.line_len, (const char *)c->wire.line);
    if (c->wire.end == SSH_WIRE_LATE && !spoke)
        return error_set(&c->err, E_TEMPORARY, "handshake: timed out: no banner within %d.%d s", ms / 1000,
                         ms % 1000 / 100);
    if (c->wire.end == SSH_WIRE_LATE)
        return not_ssh(c, "no banner came in time");
    if (c->wire.end == SSH_WIRE_FLOOD)
        return not_ssh(c, "it sent 64 KiB without a banner");
    if (spoke || c->wire.end != SSH_WIRE_CLOSED)
        return not_ssh(c, "what it sent is no banner");
    return error_set(&c->err, E_TEMPORARY,
                     "dropped before its banner: MaxStartups or PerSourcePenalties of its sshd? (%s)",
                     c->wire.number ? strerror(c->wire.number) : "connection closed");
}

static int explain_wire(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    bool open = strcmp(c->doing, "session") == 0;
    int ms = open ? o->session_timeout_ms : o->handshake_timeout_ms;
    if (c->wire.end == SSH_WIRE_LATE)
        return error_set(&c->err, E_TEMPORARY, "%s: timed out: not finished within %d.%d s (%s)",
                         open ? "session" : "handshake", ms / 1000, ms % 1000 / 100, c->doing);
    if (c->wire.end == SSH_WIRE_FLOOD)
        return error_set(&c->err, E_FAILED, "%s: the server sends without end or does not read", c->doing);
    return error_set(&c->err, E_TEMPORARY, "%s: connection lost: %s", c->doing,
                     c->wire.number ? strerror(c->wire.number) : "closed by the server");
}

/* Which list has nothing in common with what the server offered; positive if all have. */
static int explain_algorithms(struct ssh_child *c)
{
    const char *theirs;
    size_t len;
    char shown[300];
    for (size_t i = 0; i < OFFERS; i++) {
        const char *ours = c->ours[offers[i].list];
        if (!ssh_wire_offer(&c->wire, offers[i].list, &theirs, &len) || ssh_wire_common(ours, theirs, len))
            continue;
        text_escape(shown, sizeof shown, theirs, len);
        if (offers[i].list == SSH_LIST_HOSTKEY && c->job->learn)
            return error_set(
                &c->err, E_CONFIG,
                "host key: the server offers only %s, which libssh2 %s cannot use: add `HostKey "
                "/etc/ssh/ssh_host_ed25519_key` to its sshd_config (`ssh-keygen -A` makes the key)",
                shown, libssh2_version(0));
        if (offers[i].list == SSH_LIST_HOSTKEY) {
            error_set(
                &c->err, E_CONFIG,
                "host key UNKNOWN: the server offers only %s, and %s pins %s: pin a key of a kind that it "
                "offers, or add one by `HostKey` in its sshd_config",
                shown, c->job->opts->known_hosts_path, ours);
            return error_mark(&c->err, EVENT_HOST_KEY);
        }
        return error_set(&c->err, E_FAILED,
                         "no common %s: the server offers only %s: add one of %s to `%s` in its sshd_config",
                         offers[i].what, shown, ours, offers[i].option);
    }
    return 1;
}

static int explain_key(struct ssh_child *c)
{
    const struct ssh_opts *o = c->job->opts;
    const struct ssh_key *key = &c->job->key;
    char fingerprint[SSH_FINGERPRINT_SIZE];
    error_set(
        &c->err, E_CONFIG,
        "authentication: key refused: the server does not accept %s %s (%s) for user %s: `mailcow-cert-push "
        "enroll %s` prints the command that puts it into the authorized_keys there; look at from= and "
        "expiry-time= as well, and at PubkeyAcceptedAlgorithms in its sshd_config",
        key->type, ssh_blob_fingerprint(fingerprint, key->blob, key->len), o->key_path, o->user, o->host);
    return error_mark(&c->err, EVENT_KEY_REFUSED);
}

/*
 * The wire knows best: libssh2 turns a connection that is lost during authentication into "key refused". Only
 * a missing algorithm goes first, since the server closes after it as well.
 */
int ssh_session_explain(struct ssh_child *c, int rc)
{
    char *text = NULL, shown[200];
    int len = 0;
    if (!c->wire.greeted)
        return explain_greeting(c);
    if (rc == LIBSSH2_ERROR_KEX_FAILURE) {
        int found = explain_algorithms(c);
        if (found < 0)
            return found;
    }
    if (c->wire.end != SSH_WIRE_UP)
        return explain_wire(c);
    libssh2_session_last_error(c->session, &text, &len, 0);
    text_escape(shown, sizeof shown, text ? text : "", text ? (size_t)len : 0);
    switch (rc) {
    case LIBSSH2_ERROR_AUTHENTICATION_FAILED:
    case LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
        return explain_key(c);
    case LIBSSH2_ERROR_FILE:
    case LIBSSH2_ERROR_KEYFILE_AUTH_FAILED:
        return error_set(&c->err, E_CONFIG,
                         "%s: damaged private key: make one with `ssh-keygen -t ed25519 -N ''`",
                         c->job->opts->key_path);
    case LIBSSH2_ERROR_CHANNEL_FAILURE:
        return error_set(
            &c->err, E_TEMPORARY,
            "channel refused: the server allows no session: look at MaxSessions in its sshd_config (%s)",
            shown);
    case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED:
        return error_set(&c->err, E_TEMPORARY,
                         "command refused: the server could not start the forced command: see its journal");
    default:
        return error_set(&c->err, c->channel ? E_TEMPORARY : E_FAILED,
                         "%s: the server broke the protocol: %s (libssh2 %d)", c->doing, shown, rc);
    }
}
