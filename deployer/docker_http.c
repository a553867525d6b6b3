#include "deployer/docker_http.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/text.h"
#include "deployer/curl_init.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The folder of certificates, as docker names them. */
struct certs {
    struct secret ca, cert, key;
};

struct docker_http {
    CURL *curl;
    struct curl_slist *headers;
    struct docker_host host;
    bool has_tls;
    struct certs certs;
    char why[CURL_ERROR_SIZE]; /* of the last failure; it may quote what the peer sent */
};

/* What libcurl hands to the callbacks. */
struct sink {
    struct docker_http *h;
    const struct docker_http_request *req;
    struct docker_http_answer *answer;
    size_t header_len;
    bool has_header; /* to its end */
    int stopped;     /* why a callback takes no more */
    const char *reason;
};

static int read_pem(const char *folder, const char *name, int flags, struct secret *out, struct error *err)
{
    AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return error_memory(err);
    }
    secret_init(out, SECRET_MAX);
    int r = file_read(AT_FDCWD, path, FILE_FOLLOW | flags, out, NULL, err);
    if (r == 0)
        return 0;
    r = r == FILE_CHANGED || r == E_TEMPORARY ? E_TEMPORARY : E_CONFIG;
    if (err)
        err->code = r;
    error_wrap(err, "docker: cert_path (the folder of ca.pem, cert.pem and key.pem)");
    return r;
}

static int read_certs(struct certs *certs, const char *folder, struct error *err)
{
    int r = read_pem(folder, "ca.pem", 0, &certs->ca, err);
    if (!r)
        r = read_pem(folder, "cert.pem", 0, &certs->cert, err);
    return r ? r : read_pem(folder, "key.pem", FILE_PRIVATE_KEY, &certs->key, err);
}

/* curl_init counts its calls, so each object undoes its own. */
int docker_http_new(struct docker_http **out, const struct docker_host *host, const char *cert_path,
                    struct error *err)
{
    struct docker_http *h = calloc(1, sizeof *h);
    if (!h || !curl_init()) {
        free(h);
        return error_memory(err);
    }
    h->host = *host;
    h->has_tls = cert_path && !*host->path;
    h->curl = curl_easy_init();
    h->headers = curl_slist_append(NULL, "Content-Type: application/json");
    int r = h->curl && h->headers ? 0 : error_memory(err);
    if (!r && h->has_tls)
        r = read_certs(&h->certs, cert_path, err);
    if (r) {
        docker_http_free(h);
        return r;
    }
    *out = h;
    return 0;
}

void docker_http_free(struct docker_http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    curl_slist_free_all(h->headers);
    secret_wipe(&h->certs.ca);
    secret_wipe(&h->certs.cert);
    secret_wipe(&h->certs.key);
    free(h);
    curl_global_cleanup();
}

void docker_http_answer_free(struct docker_http_answer *a)
{
    free(a->data);
    memset(a, 0, sizeof *a);
}

static int answer_append(struct docker_http_answer *a, size_t max, const char *bytes, size_t len)
{
    if (len > max - a->len)
        return E_FAILED;
    char *grown = realloc(a->data, a->len + len + 1);
    if (!grown)
        return E_TEMPORARY;
    memcpy(grown + a->len, bytes, len);
    a->data = grown;
    a->len += len;
    a->data[a->len] = '\0';
    return 0;
}

/*
 * What flows into a stream is refused like any other answer when it does not end: from the moment that its
 * client goes, the engine (20.10) reports 126 as the command's exit code.
 */
static void feed_stream(struct sink *sink, const char *bytes, size_t len)
{
    int r = docker_stream_feed(sink->req->stream, bytes, len);
    sink->stopped = r ? E_FAILED : 0;
    sink->reason = r == DOCKER_STREAM_CUT ? "the command's output is too long"
                                          : "the command's output is not in frames as the engine sends them";
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sink *sink = ctx;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(sink->h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (sink->req->stream && status == 200) {
        feed_stream(sink, bytes, len);
    } else {
        size_t max = sink->req->max ? sink->req->max : DOCKER_HTTP_ANSWER_MAX;
        sink->stopped = answer_append(sink->answer, max, bytes, len);
        sink->reason = sink->stopped == E_TEMPORARY ? "out of memory" : "the answer is too long";
    }
    return sink->stopped ? 0 : len;
}

/*
 * Is given one line at a time, trailers included. libcurl has a bound of its own for headers only since 8.3,
 * and it keeps them all; and it takes one that is cut off (7.88) for a whole one.
 */
static size_t on_header(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sink *sink = ctx;
    size_t len = size * count;
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0)
        sink->has_header = false;
    else if (len && (*bytes == '\r' || *bytes == '\n'))
        sink->has_header = true;
    sink->header_len += len;
    if (sink->header_len <= DOCKER_HTTP_ANSWER_MAX)
        return len;
    sink->stopped = E_FAILED;
    sink->reason = "the answer's header is too long";
    return 0;
}

/* The request */

#define SET(option, value) (!curl_easy_setopt(h->curl, option, value))

/* libcurl looks into the folder of the system's CAs unless it is told that there is none. */
static bool set_tls(struct docker_http *h)
{
    struct curl_blob ca = {h->certs.ca.data, h->certs.ca.len, CURL_BLOB_NOCOPY};
    struct curl_blob cert = {h->certs.cert.data, h->certs.cert.len, CURL_BLOB_NOCOPY};
    struct curl_blob key = {h->certs.key.data, h->certs.key.len, CURL_BLOB_NOCOPY};
    return SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
           SET(CURLOPT_SSL_VERIFYHOST, 2L) && SET(CURLOPT_CAPATH, NULL) && SET(CURLOPT_CAINFO, NULL) &&
           SET(CURLOPT_CAINFO_BLOB, &ca) && SET(CURLOPT_SSLCERT_BLOB, &cert) &&
           SET(CURLOPT_SSLKEY_BLOB, &key);
}

/* Without the unix socket libcurl would look for a host named "docker". */
static bool set_transport(struct docker_http *h)
{
    if (*h->host.path)
        return SET(CURLOPT_UNIX_SOCKET_PATH, h->host.path) && SET(CURLOPT_PROTOCOLS_STR, "http");
    return SET(CURLOPT_PROXY, "") && SET(CURLOPT_PROTOCOLS_STR, h->has_tls ? "https" : "http") &&
           (!h->has_tls || set_tls(h));
}

static bool set_body(struct docker_http *h, const char *body)
{
    return SET(CURLOPT_POST, 1L) && SET(CURLOPT_HTTPHEADER, h->headers) &&
           SET(CURLOPT_POSTFIELDSIZE, (long)strlen(body)) && SET(CURLOPT_POSTFIELDS, body);
}

/* No option may fail unseen. */
static bool set_options(struct docker_http *h, const char *url, long timeout_ms, struct sink *sink)
{
    curl_easy_reset(h->curl);
    h->why[0] = '\0';
    return set_transport(h) && SET(CURLOPT_URL, url) && SET(CURLOPT_ERRORBUFFER, h->why) &&
           SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_PATH_AS_IS, 1L) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           SET(CURLOPT_CONNECTTIMEOUT_MS, (long)DOCKER_HTTP_CONNECT_MS) &&
           SET(CURLOPT_TIMEOUT_MS, timeout_ms) && SET(CURLOPT_HEADERFUNCTION, on_header) &&
           SET(CURLOPT_HEADERDATA, sink) && SET(CURLOPT_WRITEFUNCTION, on_body) &&
           SET(CURLOPT_WRITEDATA, sink) && (!sink->req->body || set_body(h, sink->req->body));
}

/* Failures */

static int cannot_connect(const struct docker_http *h, struct error *err)
{
    long number = 0;
    curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &number);
    bool denied = number == EACCES || number == EPERM;
    return error_set(err, denied ? E_CONFIG : E_TEMPORARY, "cannot connect: %s%s",
                     number ? strerror((int)number) : "no reason given",
                     number == ENOENT || number == ECONNREFUSED ? " (is the engine running?)" : "");
}

static bool has_happened(const struct docker_http *h, CURLINFO time)
{
    curl_off_t us = 0;
    curl_easy_getinfo(h->curl, time, &us);
    return us > 0;
}

static int timed_out(const struct sink *sink, struct error *err)
{
    if (sink->req->stream && sink->answer->status == 200)
        return error_set(err, E_FAILED, "the command did not end in time");
    if (sink->header_len)
        return error_set(err, E_TEMPORARY, "the answer did not end in time; %zu bytes of it came",
                         sink->header_len + sink->answer->len);
    if (!has_happened(sink->h, CURLINFO_CONNECT_TIME_T))
        return error_set(err, E_TEMPORARY, "cannot connect: no answer in time");
    return error_set(err, E_TEMPORARY, "no answer in time");
}

/* Texts of libcurl and OpenSSL, which may quote the peer. */
static int tls_failed(const struct docker_http *h, struct error *err, const char *what)
{
    char shown[CURL_ERROR_SIZE];
    return error_set(err, E_CONFIG, "TLS: %s: %s", what,
                     text_escape(shown, sizeof shown, h->why, strlen(h->why)));
}

/* OpenSSL's numbers of what is wrong with a chain (X509_verify_cert_error_string(3)). */
static const struct {
    long number;
    const char *what;
} chain_errors[] = {
    {9, "the engine's certificate is not valid yet: compare the clocks of both hosts"},
    {10, "the engine's certificate has expired: renew the one that its --tlscert names"},
    {18, "the engine's certificate is not from ca.pem: put its CA's there (its --tlscacert)"},
    {19, "the engine's certificate is not from ca.pem: put its CA's there (its --tlscacert)"},
    {20, "the engine's certificate is not from ca.pem: put its CA's there (its --tlscacert)"},
    {21, "the engine's certificate is not from ca.pem: put its CA's there (its --tlscacert)"},
};

static int not_verified(const struct docker_http *h, struct error *err)
{
    long number = 0;
    curl_easy_getinfo(h->curl, CURLINFO_SSL_VERIFYRESULT, &number);
    for (size_t i = 0; i < sizeof chain_errors / sizeof *chain_errors; i++)
        if (chain_errors[i].number == number)
            return error_set(err, E_CONFIG, "TLS: %s", chain_errors[i].what);
    if (number <= 1) /* the chain is good: 0, or 1 as libcurl (7.88) leaves it */
        return error_set(err, E_CONFIG,
                         "TLS: the engine's certificate is for another name: one of its subjectAltNames must "
                         "be the host of host = tcp://%s",
                         h->host.authority);
    return tls_failed(h, err, "the engine's certificate is not good");
}

/* With TLS 1.3 the engine refuses us only when the handshake is over for us. */
static bool is_refusal(const struct docker_http *h, CURLcode rc)
{
    return h->has_tls && strstr(h->why, " alert ") &&
           (rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR);
}

static int tls_error(const struct docker_http *h, CURLcode rc, struct error *err)
{
    if (is_refusal(h, rc))
        return tls_failed(h, err,
                          "the engine refuses our cert.pem: it must be from the CA that its --tlscacert "
                          "names, for clients, and not expired");
    switch (rc) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return not_verified(h, err);
    case CURLE_SSL_CACERT_BADFILE:
        return tls_failed(h, err, "ca.pem cannot be used");
    case CURLE_SSL_CERTPROBLEM:
        return tls_failed(h, err, "cert.pem and key.pem cannot be used");
    default:
        return tls_failed(h, err, "no connection (does the engine listen with --tlsverify there?)");
    }
}

static int connection_lost(const struct docker_http *h, CURLcode rc, struct error *err)
{
    long number = 0;
    curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &number);
    if (rc == CURLE_RECV_ERROR && strstr(h->why, "chunk"))
        return error_set(err, E_FAILED, "the answer is not HTTP: it is badly chunked");
    return error_set(err, E_TEMPORARY, "the connection was lost: %s",
                     number ? strerror((int)number) : curl_easy_strerror(rc));
}

/* Also what libcurl (7.88) says of one line of a header that is longer than 100 KiB. */
static int no_memory(const struct sink *sink, struct error *err)
{
    if (has_happened(sink->h, CURLINFO_PRETRANSFER_TIME_T) && !sink->has_header)
        return error_set(err, E_FAILED, "the answer's header is too long");
    return error_memory(err);
}

/* Only sentences of our own and libcurl's fixed ones are shown unescaped. */
static int transport_error(const struct sink *sink, CURLcode rc, struct error *err)
{
    const struct docker_http *h = sink->h;
    if (is_refusal(h, rc))
        return tls_error(h, rc, err);
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(err, E_TEMPORARY, "cannot connect: no address is known of this host");
    case CURLE_COULDNT_CONNECT:
        return cannot_connect(h, err);
    case CURLE_WRITE_ERROR:
        return error_set(err, sink->stopped, "%s", sink->reason);
    case CURLE_OPERATION_TIMEDOUT:
        return timed_out(sink, err);
    case CURLE_OUT_OF_MEMORY:
        return no_memory(sink, err);
    case CURLE_GOT_NOTHING:
        return error_set(err, E_TEMPORARY, "the connection was closed without an answer");
    case CURLE_PARTIAL_FILE:
        return error_set(err, E_TEMPORARY, "the connection was closed in the midst of the answer");
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return connection_lost(h, rc, err);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return error_set(err, E_FAILED, "the answer is not HTTP: is this a Docker Engine?");
    default:
        return h->has_tls ? tls_error(h, rc, err)
                          : error_set(err, E_FAILED, "the answer is not HTTP as it should be: %s",
                                      curl_easy_strerror(rc));
    }
}

int docker_http_call(struct docker_http *h, const struct docker_http_request *req,
                     struct docker_http_answer *out, struct error *err)
{
    AUTO_FREE char *url = NULL;
    struct sink sink = {.h = h, .req = req, .answer = out};
    int left = clock_left_ms(req->deadline);
    if (!left)
        return error_set(err, E_TEMPORARY, "no answer in time");
    if (asprintf(&url, "%s://%s%s", h->has_tls ? "https" : "http",
                 *h->host.path ? "docker" : h->host.authority, req->path) < 0) {
        url = NULL;
        return error_memory(err);
    }
    if (!set_options(h, url, left, &sink))
        return error_memory(err);
    CURLcode rc = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &out->status);
    if (!rc && !sink.has_header)
        rc = CURLE_PARTIAL_FILE;
    return rc ? transport_error(&sink, rc, err) : 0;
}

const char *docker_http_header(struct docker_http *h, const char *name)
{
    struct curl_header *header;
    return curl_easy_header(h->curl, name, 0, CURLH_HEADER, -1, &header) ? NULL : header->value;
}

char *docker_http_escape(struct docker_http *h, const char *text)
{
    char *escaped = curl_easy_escape(h->curl, text, 0);
    char *copy = escaped ? strdup(escaped) : NULL;
    curl_free(escaped);
    return copy;
}
