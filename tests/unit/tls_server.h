/*
 * TLS servers for unit tests: each a child process with OpenSSL on a loopback port that the kernel chose,
 * which follows a plan and keeps a tally in shared memory. Included by one test program, after cmocka.
 */
#ifndef TESTS_UNIT_TLS_SERVER_H
#define TESTS_UNIT_TLS_SERVER_H

#include "common/cert.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- leaves ---- */

struct leaf {
    EVP_PKEY *key;
    X509 *x;
    char fingerprint[65];
    char spki[65];
};

static struct leaf new_leaf, old_leaf, sni_leaf;

static void make_leaf(struct leaf *leaf, EVP_PKEY *key)
{
    static long serial;
    unsigned char *der = NULL;
    leaf->key = key;
    leaf->x = X509_new();
    X509_set_version(leaf->x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(leaf->x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(leaf->x), 0);
    X509_gmtime_adj(X509_getm_notAfter(leaf->x), 3600);
    X509_set_pubkey(leaf->x, key);
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    assert_true(X509_sign(leaf->x, key, md) > 0);
    int len = i2d_X509(leaf->x, &der);
    assert_true(len > 0 && cert_sha256(leaf->fingerprint, der, (size_t)len));
    OPENSSL_free(der);
    der = NULL;
    len = i2d_PUBKEY(key, &der);
    assert_true(len > 0 && cert_sha256(leaf->spki, der, (size_t)len));
    OPENSSL_free(der);
}

static void free_leaf(struct leaf *leaf)
{
    X509_free(leaf->x);
    EVP_PKEY_free(leaf->key);
}

/* ---- servers ---- */

enum behaviour {
    SERVE,
    HANG_UP,     /* close what was accepted */
    NO_LEAF,     /* no certificate: the handshake fails with an alert */
    STOP_MIDWAY, /* close after the script */
};

/* What a server does. script: "S…" is sent, "C…" must come exactly so, "W" nothing may come for 200 ms. */
struct plan {
    enum behaviour behaviour;
    unsigned proxy;                /* version of the PROXY header that must come first; 0: none */
    const char *const *script;     /* NULL-terminated; NULL: TLS at once */
    const char *const *tls_script; /* the same inside TLS; NULL: a farewell is awaited */
    const struct leaf *leaf;       /* NULL: new_leaf */
    unsigned old_from, old_to;     /* connections that see old_leaf, counted from 1 */
    int max_version;
    const char *ciphers; /* of TLS 1.2; NULL: OpenSSL's */
};

struct tally {
    unsigned connections, handshakes, resumed, farewells, surprises;
    unsigned closed;  /* connections that are over */
    char heard[4000]; /* inside TLS, by servers with a tls_script */
};

struct server {
    pid_t pid;
    uint16_t port;
    struct tally *tally; /* shared with the child */
};

static int choose_leaf(SSL *ssl, int *alert, void *arg)
{
    (void)alert, (void)arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name && strcmp(name, "sni.example.org") == 0) {
        SSL_use_certificate(ssl, sni_leaf.x);
        SSL_use_PrivateKey(ssl, sni_leaf.key);
    }
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_context(const struct plan *plan, const struct leaf *leaf)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, plan->max_version);
    if (plan->ciphers)
        SSL_CTX_set_cipher_list(ctx, plan->ciphers);
    if (plan->behaviour != NO_LEAF) {
        SSL_CTX_use_certificate(ctx, leaf->x);
        SSL_CTX_use_PrivateKey(ctx, leaf->key);
        SSL_CTX_set_tlsext_servername_callback(ctx, choose_leaf);
    }
    return ctx;
}

/* Whether the script went as written. */
static bool follow(int fd, const char *const *script)
{
    for (; script && *script; script++) {
        const char *words = *script + 1;
        char got[200] = "";
        size_t len = strlen(words), n = 0;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (**script == 'S' && send(fd, words, len, MSG_NOSIGNAL) != (ssize_t)len)
            return false;
        if (**script == 'W' && poll(&p, 1, 200) != 0 && recv(fd, got, 1, MSG_PEEK) > 0)
            return false;
        while (**script == 'C' && n < len) {
            ssize_t r = recv(fd, got + n, len - n, 0);
            if (r <= 0)
                return false;
            n += (size_t)r;
        }
        if (**script == 'C' && memcmp(got, words, len) != 0)
            return false;
    }
    return true;
}

/* As follow; what comes after the script's end is heard, too. */
static bool follow_tls(SSL *ssl, const char *const *script, struct tally *tally)
{
    size_t heard = strlen(tally->heard);
    for (; *script; script++) {
        const char *words = *script + 1;
        size_t len = strlen(words), begin = heard;
        if (**script == 'S' && SSL_write(ssl, words, (int)len) != (int)len)
            return false;
        while (**script == 'C' && heard < begin + len) {
            int r = SSL_read(ssl, tally->heard + heard, (int)(begin + len - heard));
            if (r <= 0)
                return false;
            heard += (size_t)r;
        }
        if (**script == 'C' && memcmp(tally->heard + begin, words, len) != 0)
            return false;
    }
    size_t end = heard;
    int r;
    while ((r = SSL_read(ssl, tally->heard + end, (int)(sizeof(tally->heard) - 1 - end))) > 0)
        end += (size_t)r;
    return end == heard;
}

/* Only the addresses differ from one run to the next: the version's fixed bytes, and the client's port. */
static bool takes_proxy_header(int fd, unsigned version)
{
    struct sockaddr_in client, server;
    socklen_t len = sizeof(client);
    char expected[108], got[108] = "";
    getpeername(fd, (struct sockaddr *)&client, &len);
    getsockname(fd, (struct sockaddr *)&server, &len);
    size_t n = (size_t)snprintf(expected, sizeof(expected), "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\n",
                                ntohs(client.sin_port), ntohs(server.sin_port));
    if (version == 2) {
        n = 28;
        memcpy(expected, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01", 24);
        memcpy(expected + 24, &client.sin_port, 2);
        memcpy(expected + 26, &server.sin_port, 2);
    }
    return recv(fd, got, n, MSG_WAITALL) == (ssize_t)n && memcmp(got, expected, n) == 0;
}

static void handle(int fd, SSL_CTX *ctx, const struct plan *plan, struct tally *tally)
{
    char farewell[64] = "";
    if (plan->behaviour == HANG_UP)
        return;
    if (plan->proxy && !takes_proxy_header(fd, plan->proxy)) {
        tally->surprises++;
        return;
    }
    if (!follow(fd, plan->script))
        tally->surprises++;
    if (plan->behaviour == STOP_MIDWAY)
        return;
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        tally->resumed += SSL_session_reused(ssl) == 1;
        tally->handshakes++;
        if (plan->tls_script)
            tally->surprises += !follow_tls(ssl, plan->tls_script, tally);
        else if (SSL_read(ssl, farewell, sizeof(farewell) - 1) > 0)
            tally->farewells += strcasestr(farewell, "QUIT\r\n") || strcasestr(farewell, "LOGOUT\r\n");
    }
    SSL_free(ssl);
}

static void serve(int listener, const struct plan *plan, struct tally *tally)
{
    struct timeval patience = {.tv_sec = 5};
    SSL_CTX *ctx = server_context(plan, plan->leaf ? plan->leaf : &new_leaf);
    SSL_CTX *old = server_context(plan, &old_leaf);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        unsigned n = ++tally->connections;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        handle(fd, n >= plan->old_from && n <= plan->old_to ? old : ctx, plan, tally);
        close(fd);
        tally->closed++;
    }
}

static int bind_any(uint16_t *out_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *out_port = ntohs(sa.sin_port);
    return fd;
}

static void server_start(struct server *s, const struct plan *plan)
{
    int listener = bind_any(&s->port);
    assert_int_equal(listen(listener, 128), 0);
    s->tally = mmap(NULL, sizeof(*s->tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, plan, s->tally);
    }
    close(listener);
}

/* Until it is done with its connection. */
static inline void server_settle(const struct server *s)
{
    const volatile struct tally *t = s->tally;
    for (int i = 0; i < 5000 && (!t->connections || t->closed < t->connections); i++)
        poll(NULL, 0, 1);
    assert_int_equal(t->closed, t->connections);
}

static void server_stop(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    munmap(s->tally, sizeof(*s->tally));
}

#endif
