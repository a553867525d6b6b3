#include "deployer/docker_http.h"

#include "common/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

struct docker_http {
    CURL *curl;
    struct curl_slist *headers;
    char *socket;
};

/* What libcurl hands to the callbacks. */
struct sink {
    struct docker_http *h;
    const struct docker_http_request *req;
    struct docker_http_answer *answer;
    size_t header_len;
    int stopped; /* why a callback takes no more */
    const char *reason;
};

/* curl_global_init counts its calls, so each object undoes its own. */
int docker_http_new(struct docker_http **out, const char *socket_path, struct error *err)
{
    struct sockaddr_un address;
    if (!*socket_path || strlen(socket_path) >= sizeof address.sun_path)
        return error_set(err, E_CONFIG, "docker: socket: a path of 1 to %zu bytes is needed",
                         sizeof address.sun_path - 1);
    struct docker_http *h = calloc(1, sizeof *h);
    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(h);
        return error_memory(err);
    }
    h->curl = curl_easy_init();
    h->socket = strdup(socket_path);
    h->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!h->curl || !h->socket || !h->headers) {
        docker_http_free(h);
        return error_memory(err);
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
    free(h->socket);
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

/* libcurl has a bound of its own for headers only since 8.3, and it keeps them all. */
static size_t on_header(char *bytes, size_t size, size_t count, void *ctx)
{
    struct sink *sink = ctx;
    (void)bytes;
    sink->header_len += size * count;
    if (sink->header_len <= DOCKER_HTTP_ANSWER_MAX)
        return size * count;
    sink->stopped = E_FAILED;
    sink->reason = "the answer's header is too long";
    return 0;
}

/*
 * No option may fail unseen: without the unix socket libcurl would look for a host named "docker". With it,
 * no proxy of the environment is used.
 */
static bool set_options(struct docker_http *h, const char *url, long timeout_ms, struct sink *sink)
{
    CURL *c = h->curl;
    const char *body = sink->req->body;
    curl_easy_reset(c);
    bool ok = !curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, h->socket) &&
              !curl_easy_setopt(c, CURLOPT_URL, url) && !curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http") &&
              !curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) && !curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L) &&
              !curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
              !curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)DOCKER_HTTP_CONNECT_MS) &&
              !curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout_ms) &&
              !curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) &&
              !curl_easy_setopt(c, CURLOPT_HEADERDATA, sink) &&
              !curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) &&
              !curl_easy_setopt(c, CURLOPT_WRITEDATA, sink);
    if (ok && body)
        ok = !curl_easy_setopt(c, CURLOPT_POST, 1L) && !curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers) &&
             !curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)strlen(body)) &&
             !curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    return ok;
}

static int cannot_connect(const struct docker_http *h, struct error *err)
{
    long number = 0;
    curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &number);
    bool denied = number == EACCES || number == EPERM;
    return error_set(err, denied ? E_CONFIG : E_TEMPORARY, "cannot connect: %s%s",
                     number ? strerror((int)number) : "no reason given",
                     number == ENOENT || number == ECONNREFUSED ? " (is the engine running?)" : "");
}

/* Only libcurl's fixed sentences are shown: its error buffer quotes what the peer sent. */
static int transport_error(const struct sink *sink, CURLcode rc, struct error *err)
{
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
        return cannot_connect(sink->h, err);
    case CURLE_WRITE_ERROR:
        return error_set(err, sink->stopped, "%s", sink->reason);
    case CURLE_OPERATION_TIMEDOUT:
        if (sink->req->stream && sink->answer->status == 200)
            return error_set(err, E_FAILED, "the command did not end in time");
        return error_set(err, E_TEMPORARY, "no answer in time");
    case CURLE_OUT_OF_MEMORY:
        return error_memory(err);
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return error_set(err, E_TEMPORARY, "the connection was lost: %s", curl_easy_strerror(rc));
    default:
        return error_set(err, E_FAILED, "the answer is not HTTP as it should be: %s", curl_easy_strerror(rc));
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
    if (asprintf(&url, "http://docker%s", req->path) < 0) {
        url = NULL;
        return error_memory(err);
    }
    if (!set_options(h, url, left, &sink))
        return error_memory(err);
    CURLcode rc = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &out->status);
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
