#include "deployer/docker.h"

#include "common/clock.h"
#include "common/text.h"
#include "deployer/docker_http.h"
#include "deployer/docker_json.h"
#include "deployer/docker_stream.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define API_OLDEST      1024u /* 1.24: our calls have kept their shape since */
#define API_NEWEST      1052u /* 1.52: the highest version they were checked against */
#define PING_TIMEOUT_MS 5000
#define TIMEOUT_MS      15000
#define LIST_MAX        (4u * 1024 * 1024)
#define INSPECT_MAX     (1u * 1024 * 1024) /* health checks' outputs are in it, and the environment */

struct docker {
    struct docker_http *http;
    char *host;
    char prefix[16]; /* "/v1.41", "" until the version is negotiated */
    int timeout_ms;
};

int docker_new(struct docker **out, const char *host, const char *cert_path, struct error *err)
{
    struct docker_host where;
    char shown[120];
    if (!docker_host_parse(host, &where))
        return error_set(err, E_CONFIG, "docker: host = %s: expected " DOCKER_HOST_FORMS,
                         text_escape(shown, sizeof shown, host, strlen(host)));
    struct docker *d = calloc(1, sizeof *d);
    if (!d)
        return error_memory(err);
    d->timeout_ms = TIMEOUT_MS;
    d->host = strdup(host);
    int r = d->host ? docker_http_new(&d->http, &where, cert_path, err) : error_memory(err);
    if (r) {
        docker_free(d);
        return r;
    }
    *out = d;
    return 0;
}

void docker_free(struct docker *d)
{
    if (!d)
        return;
    docker_http_free(d->http);
    free(d->host);
    free(d);
}

void docker_set_timeout(struct docker *d, int timeout_ms)
{
    d->timeout_ms = timeout_ms;
}

/* Forwards a result; in front of a failure's text come the engine, the container and what was wanted. */
static int in_context(const struct docker *d, int result, struct error *err, const char *id,
                      const char *action)
{
    char shown[80] = "";
    if (result >= 0 && result != DOCKER_FORBIDDEN)
        return result;
    if (id)
        text_escape(shown, sizeof shown, id, strlen(id) == 64 ? 12 : strlen(id));
    error_wrap(err, "docker at %s: %s%s%s%s", d->host, id ? "container " : "", shown, id ? ": " : "", action);
    return result;
}

/* Requests with an expected status */

static const char *remark(long status)
{
    if (status >= 300 && status < 400)
        return "a redirect, which is not followed; is this a Docker Engine? ";
    return status == 409   ? "not possible in the container's present state: "
           : status == 403 ? "forbidden by a proxy or plugin in front of the engine: "
                           : "";
}

static int http_error(const struct docker_http_answer *a, struct error *err)
{
    char shown[400];
    docker_json_message(shown, sizeof shown, a->data ? a->data : "", a->len);
    int code = a->status == 503 || a->status == 429 ? E_TEMPORARY
               : a->status == 403                   ? DOCKER_FORBIDDEN
                                                    : E_FAILED;
    return error_set(err, code, "%sHTTP %ld: %s", remark(a->status), a->status,
                     *shown ? shown : "no reason given");
}

/* Where there is no way around what is forbidden: what would have to be allowed. */
static int must_be_allowed(int result, struct error *err, const char *request)
{
    if (result != DOCKER_FORBIDDEN)
        return result;
    if (err)
        err->code = E_CONFIG;
    error_wrap(err, "%s has to be allowed", request);
    return E_CONFIG;
}

/* A lost engine may come back as another version. */
static int expect(struct docker *d, const struct docker_http_request *req, long status,
                  struct docker_http_answer *a, struct error *err)
{
    int r = docker_http_call(d->http, req, a, err);
    if (r)
        d->prefix[0] = '\0';
    else if (a->status != status)
        r = http_error(a, err);
    else if (!a->data)
        a->data = calloc(1, 1);
    return !r && !a->data ? error_memory(err) : r;
}

static bool parse_version(const char *text, unsigned *out)
{
    unsigned major, minor;
    char rest;
    if (strspn(text, "0123456789.") != strlen(text) || sscanf(text, "%3u.%3u%c", &major, &minor, &rest) != 2)
        return false;
    *out = major * 1000 + minor;
    return true;
}

static int server_version(struct docker *d, int64_t deadline, unsigned *out, struct error *err)
{
    AUTO_ANSWER struct docker_http_answer a = {0};
    struct docker_http_request req = {.path = "/_ping", .deadline = deadline};
    int r = expect(d, &req, 200, &a, err);
    if (r)
        return r;
    const char *text = docker_http_header(d->http, "Api-Version");
    if (!text || !parse_version(text, out))
        return error_set(err, E_FAILED, "the answer to /_ping names no API version: is it a Docker Engine?");
    return 0;
}

/* Only an engine newer than the calls here is asked for the oldest version that it still speaks. */
static int oldest_version(struct docker *d, int64_t deadline, unsigned *out, struct error *err)
{
    char text[16];
    AUTO_ANSWER struct docker_http_answer a = {0};
    struct docker_http_request req = {.path = "/version", .deadline = deadline};
    int r = expect(d, &req, 200, &a, err);
    if (!r)
        r = docker_json_oldest_api(a.data, a.len, text, err);
    if (!r && !parse_version(text, out))
        r = error_set(err, E_FAILED, "the answer to /version is not as documented: MinAPIVersion");
    return r;
}

static int negotiate(struct docker *d, int64_t deadline, struct error *err)
{
    unsigned server = 0, oldest = 0;
    int64_t own = clock_ms() + PING_TIMEOUT_MS;
    if (d->prefix[0])
        return 0;
    deadline = own < deadline ? own : deadline;
    int r = must_be_allowed(server_version(d, deadline, &server, err), err, "GET /_ping");
    if (!r && server > API_NEWEST)
        r = must_be_allowed(oldest_version(d, deadline, &oldest, err), err, "GET /version");
    if (r)
        return r;
    unsigned use = server < API_NEWEST ? server : API_NEWEST;
    use = use < oldest ? oldest : use;
    if (use < API_OLDEST)
        return error_set(err, E_FAILED, "API version %u.%u is too old, %u.%u is needed", use / 1000,
                         use % 1000, API_OLDEST / 1000, API_OLDEST % 1000);
    snprintf(d->prefix, sizeof d->prefix, "/v%u.%u", use / 1000, use % 1000);
    return 0;
}

int docker_ping(struct docker *d, struct error *err)
{
    d->prefix[0] = '\0';
    return in_context(d, negotiate(d, clock_ms() + PING_TIMEOUT_MS, err), err, NULL, "ask for its version");
}

/* req->path is what follows the version. */
static int call(struct docker *d, const struct docker_http_request *req, long status,
                struct docker_http_answer *a, struct error *err)
{
    AUTO_FREE char *path = NULL;
    int r = negotiate(d, req->deadline, err);
    if (r)
        return r;
    if (asprintf(&path, "%s%s", d->prefix, req->path) < 0) {
        path = NULL;
        return error_memory(err);
    }
    struct docker_http_request versioned = *req;
    versioned.path = path;
    return expect(d, &versioned, status, a, err);
}

/* The containers */

/* NULL without memory. */
static char *list_path(struct docker *d, const char *project)
{
    AUTO_FREE char *filters = docker_json_filters(project);
    AUTO_FREE char *escaped = filters ? docker_http_escape(d->http, filters) : NULL;
    char *path = NULL;
    if (!escaped || asprintf(&path, "/containers/json?all=1&filters=%s", escaped) < 0)
        return NULL;
    return path;
}

static int list_containers(struct docker *d, const char *project, struct docker_containers *out,
                           struct error *err)
{
    char lower[128];
    if (!*project || strlen(project) >= sizeof lower)
        return error_set(err, E_CONFIG, "the compose project's name is empty or too long");
    text_lower(lower, sizeof lower, project);
    AUTO_FREE char *path = list_path(d, lower);
    AUTO_ANSWER struct docker_http_answer a = {0};
    if (!path)
        return error_memory(err);
    struct docker_http_request req = {.path = path, .max = LIST_MAX, .deadline = clock_ms() + d->timeout_ms};
    int r = call(d, &req, 200, &a, err);
    return r ? r : docker_json_containers(a.data, a.len, lower, out, err);
}

int docker_containers(struct docker *d, const char *project, struct docker_containers *out, struct error *err)
{
    return in_context(d, list_containers(d, project, out, err), err, NULL, "list the containers");
}

/* What becomes part of a path: an id, or a name as the engine allows them; neither needs escaping. */
static int check_id(const char *id, struct error *err)
{
    size_t len = strlen(id);
    bool ok = len && len < 256 && isalnum((unsigned char)id[0]);
    for (size_t i = 0; ok && i < len; i++)
        ok = isalnum((unsigned char)id[i]) || strchr("_.-", id[i]);
    return ok ? 0 : error_set(err, E_FAILED, "not the id or the name of a container");
}

/* Besides DOCKER_FORBIDDEN a positive result of inspect, with the sentence in err as well. */
#define NO_CONTAINER 2

static int inspect(struct docker *d, const char *id, int64_t deadline, struct docker_container *out,
                   struct error *err)
{
    char path[300];
    AUTO_ANSWER struct docker_http_answer a = {0};
    int r = check_id(id, err);
    if (r)
        return r;
    snprintf(path, sizeof path, "/containers/%s/json", id);
    struct docker_http_request req = {.path = path, .max = INSPECT_MAX, .deadline = deadline};
    r = call(d, &req, 200, &a, err);
    if (a.status == 404)
        return NO_CONTAINER;
    return r ? r : docker_json_container(a.data, a.len, out, err);
}

static void take_as_running(struct docker_container *c, const char *name)
{
    *c = (struct docker_container){.state = "running", .status = "not to be looked at"};
    snprintf(c->id, sizeof c->id, "%s", name);
    snprintf(c->name, sizeof c->name, "%s", name);
}

/* assignment: SERVICE=NAME */
static int add_named(struct docker *d, const char *assignment, int64_t deadline,
                     struct docker_containers *all, struct error *err)
{
    struct docker_container *c = &all->list[all->count];
    size_t len = strcspn(assignment, "=");
    const char *name = assignment + len + (assignment[len] == '=');
    if (!len || !*name || len >= sizeof c->service || strlen(name) >= sizeof c->id)
        return error_set(err, E_CONFIG,
                         "docker: containers: expected SERVICE=NAME, a name of less than %zu bytes",
                         sizeof c->id);
    int r = inspect(d, name, deadline, c, err);
    if (r == NO_CONTAINER)
        return 0;
    if (r == DOCKER_FORBIDDEN)
        take_as_running(c, name);
    else if (r)
        return in_context(d, r, err, name, "look at it");
    snprintf(c->service, sizeof c->service, "%.*s", (int)len, assignment);
    all->count++;
    return 0;
}

int docker_containers_named(struct docker *d, const char *const *names, struct docker_containers *out,
                            struct error *err)
{
    AUTO_CONTAINERS struct docker_containers all = {0};
    int64_t deadline = clock_ms() + d->timeout_ms;
    size_t count = 0;
    while (names[count])
        count++;
    if (count > DOCKER_CONTAINERS_MAX)
        return error_set(err, E_CONFIG, "docker: containers: more than %d", DOCKER_CONTAINERS_MAX);
    all.list = calloc(count + 1, sizeof *all.list);
    if (!all.list)
        return error_memory(err);
    for (size_t i = 0; i < count; i++) {
        int r = add_named(d, names[i], deadline, &all, err);
        if (r)
            return r;
    }
    all.is_by_name = true;
    *out = all;
    all.list = NULL;
    return 0;
}

int docker_containers_found(struct docker *d, const char *project, const char *const *names,
                            struct docker_containers *out, struct error *err)
{
    int r = docker_containers(d, project, out, err);
    if (r != DOCKER_FORBIDDEN)
        return r;
    if (names && *names)
        return docker_containers_named(d, names, out, err);
    if (err)
        err->code = E_CONFIG;
    error_wrap(err, "set containers = SERVICE=NAME, ... in [docker]");
    return E_CONFIG;
}

/* Details */

static int details_of(struct docker *d, const char *id, struct docker_details *out, struct error *err)
{
    char path[300];
    AUTO_ANSWER struct docker_http_answer a = {0};
    int r = check_id(id, err);
    if (r)
        return r;
    snprintf(path, sizeof path, "/containers/%s/json", id);
    struct docker_http_request req = {
        .path = path, .max = INSPECT_MAX, .deadline = clock_ms() + d->timeout_ms};
    r = call(d, &req, 200, &a, err);
    return r ? r : docker_json_details(a.data, a.len, out, err);
}

int docker_inspect(struct docker *d, const char *id, struct docker_details *out, struct error *err)
{
    return in_context(d, details_of(d, id, out, err), err, id, "inspect it");
}

static int ask_engine(struct docker *d, struct docker_info *out, struct error *err)
{
    AUTO_ANSWER struct docker_http_answer a = {0};
    struct docker_http_request req = {
        .path = "/info", .max = INSPECT_MAX, .deadline = clock_ms() + d->timeout_ms};
    int r = call(d, &req, 200, &a, err);
    return r ? r : docker_json_info(a.data, a.len, out, err);
}

int docker_info(struct docker *d, struct docker_info *out, struct error *err)
{
    return in_context(d, ask_engine(d, out, err), err, NULL, "ask what it is");
}

/* Commands */

static int exec_create(struct docker *d, const char *id, const char *const argv[], int64_t deadline,
                       char out[65], struct error *err)
{
    char path[300];
    AUTO_ANSWER struct docker_http_answer a = {0};
    AUTO_FREE char *body = docker_json_exec(argv);
    if (!body)
        return error_memory(err);
    snprintf(path, sizeof path, "/containers/%s/exec", id);
    struct docker_http_request req = {.path = path, .body = body, .deadline = deadline};
    int r = call(d, &req, 201, &a, err);
    return r ? r : docker_json_exec_id(a.data, a.len, out, err);
}

static int exec_start(struct docker *d, const char *exec_id, int64_t deadline, struct docker_stream *stream,
                      struct error *err)
{
    char path[100];
    AUTO_ANSWER struct docker_http_answer a = {0};
    snprintf(path, sizeof path, "/exec/%s/start", exec_id);
    struct docker_http_request req = {
        .path = path, .body = "{\"Detach\":false,\"Tty\":false}", .deadline = deadline, .stream = stream};
    return call(d, &req, 200, &a, err);
}

static int exec_look(struct docker *d, const char *exec_id, int64_t deadline, int *out_code,
                     struct error *err)
{
    char path[100];
    AUTO_ANSWER struct docker_http_answer a = {0};
    snprintf(path, sizeof path, "/exec/%s/json", exec_id);
    struct docker_http_request req = {.path = path, .deadline = deadline};
    int r = call(d, &req, 200, &a, err);
    return r ? r : docker_json_exec_state(a.data, a.len, out_code, err);
}

/* The stream ends a little before the engine has taken notice of the command's end, or was cut long before.
 */
static int exec_wait(struct docker *d, const char *exec_id, int64_t deadline, int *out_code,
                     struct error *err)
{
    for (int pause_ms = 5;; pause_ms = pause_ms < 200 ? pause_ms * 2 : pause_ms) {
        int r = exec_look(d, exec_id, deadline, out_code, err);
        if (r != DOCKER_JSON_RUNNING)
            return r;
        if (clock_left_ms(deadline) <= pause_ms)
            return error_set(err, E_FAILED, "the command did not end in time");
        poll(NULL, 0, pause_ms);
    }
}

/* Lines become one: the text is for messages and records. */
static void show_output(char *out, size_t size, unsigned char *kept, size_t len)
{
    while (len && isspace(kept[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++)
        if (isspace(kept[i]))
            kept[i] = ' ';
    text_escape(out, size, kept, len);
}

static int run_command(struct docker *d, const char *id, const char *const argv[], int timeout_ms,
                       struct docker_exec *out, struct error *err)
{
    char exec_id[65];
    struct docker_stream stream = {0};
    int64_t deadline = clock_ms() + timeout_ms;
    struct docker_exec result = {0};
    int r = check_id(id, err);
    if (!r)
        r = exec_create(d, id, argv, deadline, exec_id, err);
    if (!r)
        r = exec_start(d, exec_id, deadline, &stream, err);
    if (!r)
        r = exec_wait(d, exec_id, deadline, &result.exit_code, err);
    if (r)
        return r;
    show_output(result.output, sizeof result.output, stream.kept, stream.kept_len);
    show_output(result.errors, sizeof result.errors, stream.errors, stream.errors_len);
    if (result.exit_code == 126 || result.exit_code == 127)
        return error_set(err, E_FAILED, "it could not be started (exit code %d): %.400s", result.exit_code,
                         result.output);
    *out = result;
    return 0;
}

int docker_exec(struct docker *d, const char *id, const char *const argv[], int timeout_ms,
                struct docker_exec *out, struct error *err)
{
    return in_context(d, run_command(d, id, argv, timeout_ms, out, err), err, id, "run a command");
}

static int restart(struct docker *d, const char *id, int timeout_ms, struct error *err)
{
    char path[300];
    AUTO_ANSWER struct docker_http_answer a = {0};
    int r = check_id(id, err);
    if (r)
        return r;
    snprintf(path, sizeof path, "/containers/%s/restart", id);
    struct docker_http_request req = {.path = path, .body = "", .deadline = clock_ms() + timeout_ms};
    return must_be_allowed(call(d, &req, 204, &a, err), err, "POST /containers/NAME/restart");
}

int docker_restart(struct docker *d, const char *id, int timeout_ms, struct error *err)
{
    return in_context(d, restart(d, id, timeout_ms, err), err, id, "restart");
}

static bool is_ready(const struct docker_container *c)
{
    return strcmp(c->state, "running") == 0 && (!*c->health || strcmp(c->health, "healthy") == 0);
}

static int wait_running(struct docker *d, const char *id, int64_t deadline, struct error *err)
{
    for (int pause_ms = 50;; pause_ms = pause_ms < 500 ? pause_ms * 2 : pause_ms) {
        struct docker_container c;
        int r = inspect(d, id, deadline, &c, err);
        if (r)
            return r == NO_CONTAINER ? E_FAILED : r;
        if (is_ready(&c))
            return 0;
        if (clock_left_ms(deadline) <= pause_ms)
            return error_set(err, E_FAILED, "not in time: it is %s%s%s", c.state, *c.health ? " and " : "",
                             c.health);
        poll(NULL, 0, pause_ms);
    }
}

int docker_wait_running(struct docker *d, const char *id, int timeout_ms, struct error *err)
{
    return in_context(d, wait_running(d, id, clock_ms() + timeout_ms, err), err, id,
                      "wait until it runs and is healthy");
}
