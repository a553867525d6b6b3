/*
 * HTTP over the engine's unix socket or over TCP, with TLS when there are certificates: one request, one
 * bounded and timed answer. It knows nothing of what is asked. The object keeps one connection alive between
 * requests. The environment's proxies are not used, redirects not followed. The process must ignore SIGPIPE.
 */
#ifndef DEPLOYER_DOCKER_HTTP_H
#define DEPLOYER_DOCKER_HTTP_H

#include "common/cleanup.h"
#include "common/error.h"
#include "deployer/docker_host.h"
#include "deployer/docker_stream.h"

#include <stddef.h>
#include <stdint.h>

#define DOCKER_HTTP_CONNECT_MS 5000
#define DOCKER_HTTP_ANSWER_MAX (64u * 1024) /* bytes of an answer unless the request says otherwise */

struct docker_http;

/*
 * cert_path: NULL, or for TCP the folder of ca.pem, cert.pem and key.pem, which are read here: TLS 1.2 or
 * later, the peer's certificate from ca.pem (no other CA is trusted) and for its name, our own cert.pem.
 * E_CONFIG when they cannot be used. Nothing is connected yet.
 */
int docker_http_new(struct docker_http **out, const struct docker_host *host, const char *cert_path,
                    struct error *err);
void docker_http_free(struct docker_http *h);

struct docker_http_request {
    const char *path;             /* with its query, escaped */
    const char *body;             /* JSON of a POST; NULL: a GET */
    size_t max;                   /* bytes of the answer; 0: DOCKER_HTTP_ANSWER_MAX */
    int64_t deadline;             /* in clock_ms(); the connection alone has DOCKER_HTTP_CONNECT_MS */
    struct docker_stream *stream; /* or NULL; takes the body of an answer 200 */
};

struct docker_http_answer {
    long status;
    char *data; /* len bytes and a NUL; NULL without a body */
    size_t len;
};

void docker_http_answer_free(struct docker_http_answer *a);
#define AUTO_ANSWER CLEANUP(docker_http_answer_free)

/*
 * Sends req and reads the answer, whatever its status, into a zeroed out. E_TEMPORARY when the engine cannot
 * be reached, goes away or does not answer in time; E_CONFIG when the socket may not be used or TLS fails;
 * E_FAILED when the answer or the stream is too long, is not HTTP, or when a stream that has begun does not
 * end in time.
 */
int docker_http_call(struct docker_http *h, const struct docker_http_request *req,
                     struct docker_http_answer *out, struct error *err);

/* A header of the last answer, as the peer wrote it, or NULL; valid until the next call. */
const char *docker_http_header(struct docker_http *h, const char *name);

/* Percent-encodes for a query; owned by the caller, NULL without memory. */
char *docker_http_escape(struct docker_http *h, const char *text);

#endif
