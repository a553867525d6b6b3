/*
 * A stand-in for the Docker Engine: a forked process that answers HTTP requests on a unix socket in a folder
 * of its own by a table of rules, faults included, and notes what it was asked.
 */
#ifndef TESTS_UNIT_FAKE_ENGINE_H
#define TESTS_UNIT_FAKE_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum fault {
    FAULT_NONE,
    FAULT_HANG,         /* says nothing and keeps the connection */
    FAULT_HANG_AFTER,   /* says what it has and keeps the connection open, the body being longer */
    FAULT_DRIP,         /* a byte each 20 ms, without end */
    FAULT_FLOOD,        /* 200 MB of body */
    FAULT_FLOOD_HEADER, /* 200 MB of headers */
    FAULT_FLOOD_LINE,   /* 200 MB of one header */
    FAULT_FLOOD_BEFORE, /* 200 MB of answers that only announce one (100 Continue) */
    FAULT_DRIP_HEADER,  /* a byte each 20 ms in a header */
    FAULT_CUT_HEADER,   /* closes in the midst of the headers */
    FAULT_CUT,          /* closes before the announced end of the body */
    FAULT_CLOSE,        /* closes without a word */
};

struct rule {
    const char *request; /* part of the request line, "POST /v1.41/exec/"; NULL: no rule */
    int status;          /* 0: body is all that is said, HTTP or not */
    const char *body;
    size_t body_len;     /* 0: strlen(body) */
    const char *headers; /* "Name: value\r\n" */
    bool once;           /* for one request only, then the next rule that matches */
    bool until_close;    /* no Content-Length: the body ends with the connection, as streams do */
    enum fault fault;
};

struct engine_notes {
    int connections;
    char requests[60000];
};

struct engine {
    char dir[40];
    char path[60];
    char host[70]; /* unix://path */
    pid_t pid;
    struct engine_notes *notes;
};

#define PING_141                                                                                             \
    {                                                                                                        \
        .request = "/_ping", .status = 200, .body = "OK", .headers = "Api-Version: 1.41\r\n"                 \
    }

static inline bool fake_send(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* Reads one request with its body, NUL-terminated; false at the end of the connection. */
static inline bool fake_request(int fd, char *out, size_t size)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, out + len, size - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        out[len] = '\0';
        const char *end = strstr(out, "\r\n\r\n");
        const char *length = strcasestr(out, "\r\nContent-Length:");
        size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
        if (end && len >= (size_t)(end + 4 - out) + body)
            return true;
    }
}

static inline void fake_repeat(int fd, const char *piece, long pause_us)
{
    size_t len = strlen(piece);
    for (size_t sent = 0; sent < 200000000 && fake_send(fd, piece, len); sent += len)
        if (pause_us)
            nanosleep(&(struct timespec){.tv_nsec = pause_us * 1000}, NULL);
}

/* Returns whether the connection lives on. */
static inline bool fake_answer(int fd, const struct rule *rule)
{
    char head[600];
    static char block[65536];
    size_t len = rule->body_len ? rule->body_len : rule->body ? strlen(rule->body) : 0;
    bool longer = rule->fault == FAULT_CUT || rule->fault == FAULT_HANG_AFTER || rule->fault == FAULT_FLOOD ||
                  rule->fault == FAULT_DRIP;
    size_t announced = longer ? 250000000 : len;
    if (rule->fault == FAULT_HANG)
        pause();
    if (rule->fault == FAULT_CLOSE)
        return false;
    if (rule->fault == FAULT_FLOOD_BEFORE)
        fake_repeat(fd, "HTTP/1.1 100 Continue\r\n\r\n", 0);
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d Word\r\nContent-Type: application/json\r\n%s",
                     rule->status, rule->headers ? rule->headers : "");
    if (rule->status)
        fake_send(fd, head, (size_t)n);
    if (rule->fault == FAULT_FLOOD_HEADER)
        fake_repeat(
            fd, "X-Filler: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 0);
    if (rule->fault == FAULT_FLOOD_LINE || rule->fault == FAULT_DRIP_HEADER) {
        fake_send(fd, "X-Filler: ", 10);
        fake_repeat(fd, "01234567890123456789", rule->fault == FAULT_DRIP_HEADER ? 20000 : 0);
    }
    if (rule->fault == FAULT_CUT_HEADER)
        return false;
    n = rule->until_close ? snprintf(head, sizeof head, "\r\n")
                          : snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", announced);
    if (rule->status)
        fake_send(fd, head, (size_t)n);
    fake_send(fd, rule->body, len);
    if (rule->fault == FAULT_HANG_AFTER)
        pause();
    if (rule->fault == FAULT_DRIP)
        fake_repeat(fd, " ", 20000);
    memset(block, ' ', sizeof block - 1);
    if (rule->fault == FAULT_FLOOD)
        fake_repeat(fd, block, 0);
    return rule->status && !longer && !rule->until_close;
}

static inline const struct rule *fake_rule(const struct rule *rules, size_t count, bool *used,
                                           const char *request)
{
    static const struct rule none = {.status = 404, .body = "{\"message\":\"page not found\"}"};
    char line[1000];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(request, "\r"), request);
    for (size_t i = 0; i < count; i++)
        if (!used[i] && rules[i].request && strstr(line, rules[i].request)) {
            used[i] = rules[i].once;
            return &rules[i];
        }
    return &none;
}

static inline void fake_serve(int listener, const struct rule *rules, size_t count,
                              struct engine_notes *notes)
{
    static char request[20000];
    bool used[64] = {false};
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        bool open = fd >= 0;
        notes->connections++;
        while (open && fake_request(fd, request, sizeof request)) {
            size_t len = strlen(notes->requests);
            snprintf(notes->requests + len, sizeof notes->requests - len, "%s\n", request);
            open = fake_answer(fd, fake_rule(rules, count, used, request));
        }
        close(fd);
    }
}

static inline void engine_start(struct engine *e, const struct rule *rules, size_t count)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(e->dir, "/tmp/fake-engine.XXXXXX");
    assert_non_null(mkdtemp(e->dir));
    snprintf(e->path, sizeof e->path, "%s/docker.sock", e->dir);
    snprintf(e->host, sizeof e->host, "unix://%s", e->path);
    strcpy(address.sun_path, e->path);
    e->notes = mmap(NULL, sizeof *e->notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(e->notes != MAP_FAILED);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 10), 0);
    e->pid = fork();
    assert_true(e->pid >= 0);
    if (e->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fake_serve(listener, rules, count, e->notes);
    }
    close(listener);
}

static inline void engine_stop(struct engine *e)
{
    if (e->pid > 0) {
        kill(e->pid, SIGKILL);
        waitpid(e->pid, NULL, 0);
        munmap(e->notes, sizeof *e->notes);
    }
    e->pid = 0;
    if (*e->dir) {
        unlink(e->path);
        rmdir(e->dir);
    }
    *e->dir = '\0';
}

/* A fixture for cmocka: *state is a struct engine that has not been started. */
static inline int engine_setup(void **state)
{
    *state = calloc(1, sizeof(struct engine));
    return *state ? 0 : -1;
}

static inline int engine_teardown(void **state)
{
    engine_stop(*state);
    free(*state);
    return 0;
}

#endif
