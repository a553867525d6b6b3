#include "deployer/login.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/file.h"
#include "common/io.h"
#include "common/text.h"
#include "deployer/curl_init.h"
#include "deployer/dialogue.h"
#include "deployer/proxy_header.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#define FILE_BYTES         4096
#define PASSWORD_BYTES     256
#define CONNECT_TIMEOUT_MS 2000 /* for one address, before the next is tried */
#define FAREWELL_S         2    /* libcurl waits for the answer to it, and all logins with it */

/* ---- the file ---- */

#define AT(field) offsetof(struct login, field)

static const struct conf_key keys[] = {
    {.name = "name", .type = CONF_STRING, .offset = AT(name), .expected = "the mailbox's address"},
    {.name = "password", .type = CONF_SECRET, .offset = AT(password)},
};

static void *the_record(void *config, const char *instance)
{
    (void)instance;
    return config;
}

static const struct conf_section section = {
    .name = "login",
    .record = the_record,
    .keys = keys,
    .key_count = sizeof keys / sizeof *keys,
};

/* inih's line buffer was on the stack. */
static __attribute__((noinline)) void wipe_stack(void)
{
    char room[8192];
    explicit_bzero(room, sizeof room);
}

static int parse(const char *path, struct secret *text, struct login *out, struct error *err)
{
    AUTO_PROBLEMS struct problems problems = {0};
    conf_parse(path, (char *)text->data, &section, 1, out, &problems);
    wipe_stack();
    if (!problems.count && (!out->name || !out->password.len))
        problem_add(&problems, "%s: [login] needs both name and password", path);
    if (!problems.count)
        return 0;
    for (char *p = problems.text; p && *p; p++)
        if (*p == '\n')
            *p = ';';
    return error_set(err, E_CONFIG, "%s", problems.text ? problems.text : path);
}

int login_read(const char *path, struct login *out, struct error *err)
{
    AUTO_SECRET struct secret text = SECRET(FILE_BYTES);
    AUTO_LOGIN struct login l = {.password = SECRET(PASSWORD_BYTES)};
    int rc = file_read(AT_FDCWD, path, FILE_PRIVATE_KEY, &text, NULL, err);
    if (rc == FILE_CHANGED || rc == E_TEMPORARY)
        return E_TEMPORARY;
    if (rc || secret_append(&text, "\n", 1) < 0) {
        err->code = E_CONFIG;
        return error_wrap(err, "the login's file");
    }
    if (memchr(text.data, '\0', text.len))
        return error_set(err, E_CONFIG, "%s: not a configuration file: NUL bytes", path);
    rc = parse(path, &text, &l, err);
    if (rc)
        return rc;
    *out = l;
    l = (struct login){0};
    return 0;
}

void login_wipe(struct login *l)
{
    free(l->name);
    secret_wipe(&l->password);
    *l = (struct login){0};
}

/* ---- who can log in ---- */

static const struct {
    const char *proto;
    const char *scheme;
} schemes[] = {
    {"imaps", "imaps"},
    {"smtps", "smtps"},
    {"submission", "smtp"},
};

static const char *find_scheme(const struct endpoint *e)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(schemes[i].proto, e->proto->name) == 0)
            return schemes[i].scheme;
    return NULL;
}

const char *login_state_str(enum login_state state)
{
    static const char *const names[] = {
        [LOGIN_DONE] = "logged in",        [LOGIN_REFUSED] = "refused", [LOGIN_OTHER_KEY] = "another key",
        [LOGIN_UNRESOLVED] = "unresolved", [LOGIN_FAILED] = "failed",
    };
    return names[state];
}

/* ---- one login ---- */

struct run;

struct attempt {
    struct run *run;
    struct login_result *result;
    CURL *curl;
    int fd; /* connected, until libcurl takes it; then -1 */
    bool is_smtp;
    unsigned agreed; /* replies that say yes: IMAP: all; SMTP: to AUTH and after it */
    bool denied;     /* the server said no; reply says how */
    bool greeted;    /* IMAP: logged in without being asked for a password */
    char reply[160];
};

struct run {
    const struct login_opts *opts;
    CURLM *multi;
    struct attempt attempts[ENDPOINT_MAX];
    size_t count;
    char pin[64];        /* as libcurl wants it */
    struct secret token; /* name and password as AUTH PLAIN sends them: base64 */
    int64_t start_us;
    int64_t deadline_ms;
};

static void end(struct attempt *a, enum login_state state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void end(struct attempt *a, enum login_state state, const char *fmt, ...)
{
    const struct run *run = a->run;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->result->detail, sizeof a->result->detail, fmt, ap);
    va_end(ap);
    a->result->state = state;
    a->result->us = clock_us() - run->start_us;
    if (run->opts->on_result)
        run->opts->on_result(run->opts->ctx, a->result);
}

static bool holds(const char *line, size_t len, const struct secret *s)
{
    return s->len && memmem(line, len, s->data, s->len);
}

/* What the server says is quoted, unless it repeats what it was told. */
static void keep_reply(struct attempt *a, const char *line, size_t len)
{
    const struct run *run = a->run;
    while (len && isspace((unsigned char)line[len - 1]))
        len--;
    if (holds(line, len, &run->opts->login->password) || holds(line, len, &run->token))
        snprintf(a->reply, sizeof a->reply, "(its words hold the password)");
    else
        text_escape(a->reply, sizeof a->reply, line, len);
}

/* libcurl asks an IMAP server for its capabilities before it logs in. */
static unsigned replies_to_login(const struct attempt *a)
{
    return a->is_smtp ? 1 : 2;
}

/* A reply's last line, whatever it answers. */
static void take_reply(struct attempt *a, const char *line, size_t len, bool is_good)
{
    a->agreed += is_good;
    if (!is_good && a->agreed < replies_to_login(a)) {
        a->denied = true;
        keep_reply(a, line, len);
    }
    if (a->agreed > replies_to_login(a)) /* to NOOP: what follows is the farewell */
        curl_easy_setopt(a->curl, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long)FAREWELL_S);
}

/* Every line that the server says. libcurl's IMAP tags are a letter and three digits. */
static size_t on_line(char *line, size_t size, size_t count, void *ctx)
{
    struct attempt *a = ctx;
    size_t len = size * count;
    if (a->is_smtp && len > 4 && line[3] == ' ' && (a->agreed || *line > '3' || strncmp(line, "235", 3) == 0))
        take_reply(a, line, len, *line < '4');
    else if (!a->is_smtp && len > 7 && line[4] == ' ' && isdigit((unsigned char)line[3]))
        take_reply(a, line, len, strncasecmp(line + 5, "OK", 2) == 0);
    else if (!a->is_smtp && len > 9 && strncasecmp(line, "* PREAUTH", 9) == 0)
        a->greeted = true;
    return len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    (void)bytes, (void)ctx;
    return size * count;
}

static curl_socket_t hand_over_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct attempt *a = ctx;
    int fd = a->fd;
    (void)purpose, (void)address;
    a->fd = -1;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int is_connected(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    (void)ctx, (void)fd, (void)purpose;
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

/*
 * Nothing may fail unseen. The URL's host is never connected to, the socket is: an address in its place has
 * libcurl look up no name and send none as SNI. Without a certificate there is nothing that a pin could be
 * held against (libcurl 7.88 passes over it), so anonymous ciphers are out.
 */
static bool set_options(struct attempt *a, const char *url)
{
    CURL *c = a->curl;
    const struct run *run = a->run;
    const struct login *l = run->opts->login;
    return !curl_easy_setopt(c, CURLOPT_URL, url) &&
           !curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "imaps,smtp,smtps") &&
           !curl_easy_setopt(c, CURLOPT_PROXY, "") && !curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, hand_over_socket) &&
           !curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, a) &&
           !curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, is_connected) &&
           !curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) &&
           !curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) &&
           !curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)clock_left_ms(run->deadline_ms)) &&
           !curl_easy_setopt(c, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL) &&
           !curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           !curl_easy_setopt(c, CURLOPT_SSL_CIPHER_LIST, "DEFAULT:!aNULL:!eNULL") &&
           !curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, 0L) &&
           !curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L) &&
           !curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L) &&
           !curl_easy_setopt(c, CURLOPT_PINNEDPUBLICKEY, run->pin) &&
           !curl_easy_setopt(c, CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN") &&
           !curl_easy_setopt(c, CURLOPT_USERNAME, l->name) &&
           !curl_easy_setopt(c, CURLOPT_PASSWORD, (const char *)l->password.data) &&
           !curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, "NOOP") &&
           !curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_line) &&
           !curl_easy_setopt(c, CURLOPT_HEADERDATA, a) &&
           !curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) && !curl_easy_setopt(c, CURLOPT_PRIVATE, a);
}

/* ---- connecting ---- */

/* 0 with *out_fd, or an errno. */
static int connect_to(const struct addrinfo *to, int64_t deadline_ms, int *out_fd)
{
    AUTO_CLOSE int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int cause = 0;
    socklen_t len = sizeof cause;
    if (fd < 0)
        return errno;
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
        if (errno != EINPROGRESS)
            return errno;
        if (io_wait(fd, POLLOUT, deadline_ms) <= 0)
            return ETIMEDOUT;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &len) < 0 || cause)
            return cause ? cause : errno;
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}

/* Says in why what was wrong with the address if it is. False when it does not resolve. */
static bool connect_address(struct attempt *a, const struct endpoint_address *to, char *why, size_t size)
{
    struct addrinfo *found;
    if (endpoint_resolve(to, &found, why, size))
        return false;
    for (struct addrinfo *i = found; i && a->fd < 0; i = i->ai_next) {
        int64_t deadline = clock_ms() + CONNECT_TIMEOUT_MS;
        int cause = connect_to(i, deadline < a->run->deadline_ms ? deadline : a->run->deadline_ms, &a->fd);
        if (cause)
            snprintf(why, size, "connect: %s", strerror(cause));
    }
    freeaddrinfo(found);
    return true;
}

static bool connect_endpoint(struct attempt *a)
{
    const struct endpoint *e = a->result->endpoint;
    char why[220] = "it has no address";
    bool resolved = !e->address_count;
    for (size_t i = 0; i < e->address_count && a->fd < 0; i++) {
        endpoint_address_text(a->result->address, &e->addresses[i]);
        resolved |= connect_address(a, &e->addresses[i], why, sizeof why);
    }
    int cause = a->fd >= 0 && e->proxy ? proxy_header_send(a->fd, e->proxy) : 0;
    if (cause)
        snprintf(why, sizeof why, "PROXY header: %s", strerror(cause));
    if (a->fd < 0 || cause)
        end(a, resolved ? LOGIN_FAILED : LOGIN_UNRESOLVED, "%s", why);
    return a->fd >= 0 && !cause;
}

/* ---- the run ---- */

static void run_free(struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        struct attempt *a = &run->attempts[i];
        if (a->curl)
            curl_multi_remove_handle(run->multi, a->curl);
        curl_easy_cleanup(a->curl);
        cleanup_closep(&a->fd);
    }
    curl_multi_cleanup(run->multi);
    secret_wipe(&run->token);
    curl_global_cleanup();
}

/* Without memory only; what cannot be connected to has its result. */
static int start(struct run *run, const struct endpoint *e, struct login_result *result, struct error *err)
{
    char url[80];
    const char *scheme = find_scheme(e);
    struct attempt *a = &run->attempts[run->count++];
    *result = (struct login_result){.endpoint = e, .state = LOGIN_FAILED};
    *a = (struct attempt){.run = run, .result = result, .fd = -1, .is_smtp = *scheme == 's'};
    snprintf(url, sizeof url, "%s://127.0.0.1/%s", scheme, a->is_smtp ? DIALOGUE_HELLO_NAME : "");
    if (!connect_endpoint(a))
        return 0;
    a->curl = curl_easy_init();
    if (!a->curl || !set_options(a, url) || curl_multi_add_handle(run->multi, a->curl))
        return error_memory(err);
    return 0;
}

static void conclude(struct attempt *a, CURLcode rc)
{
    bool accepted = a->agreed >= replies_to_login(a);
    const char *hint = a->result->endpoint->proxy ? "; it " ENDPOINT_PROXY_HINT : "";
    if (rc == CURLE_OK && a->greeted)
        end(a, LOGIN_FAILED, "the server did not ask for name and password");
    else if (rc == CURLE_OK && accepted)
        end(a, LOGIN_DONE, "%s", "");
    else if (rc == CURLE_SSL_PINNEDPUBKEYNOTMATCH)
        end(a, LOGIN_OTHER_KEY, "another key is served than the expected one: the password was not sent");
    else if (rc == CURLE_LOGIN_DENIED && a->denied)
        end(a, LOGIN_REFUSED, "%s", a->reply);
    else if (rc == CURLE_OK || rc == CURLE_LOGIN_DENIED)
        end(a, LOGIN_FAILED, "AUTH PLAIN is not announced");
    else if (rc == CURLE_OPERATION_TIMEDOUT)
        end(a, LOGIN_FAILED, "no answer in time");
    else
        end(a, LOGIN_FAILED, "%s%s%s%s", curl_easy_strerror(rc), a->denied ? ": " : "", a->reply, hint);
}

static void conclude_finished(struct run *run)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(run->multi, &left));) {
        struct attempt *a = NULL;
        if (m->msg == CURLMSG_DONE && !curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&a) && a)
            conclude(a, m->data.result);
    }
}

/* Every transfer has the deadline as its timeout, so this ends. */
static int talk(struct run *run, struct error *err)
{
    int running;
    for (;;) {
        if (curl_multi_perform(run->multi, &running))
            return error_memory(err);
        conclude_finished(run);
        if (!running)
            return 0;
        if (curl_multi_poll(run->multi, NULL, 0, clock_left_ms(run->deadline_ms) + 1, NULL))
            return error_memory(err);
    }
}

static bool make_pin(const char *spki, char *out)
{
    unsigned char digest[32];
    for (size_t i = 0; i < sizeof digest; i++)
        if (sscanf(spki + 2 * i, "%2hhx", &digest[i]) != 1)
            return false;
    out += sprintf(out, "sha256//");
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
    return true;
}

static bool make_token(struct run *run)
{
    const struct login *l = run->opts->login;
    AUTO_SECRET struct secret plain = SECRET(1024);
    unsigned char base64[2048];
    if (secret_append(&plain, "", 1) || secret_append(&plain, l->name, strlen(l->name) + 1) ||
        secret_append(&plain, l->password.data, l->password.len))
        return false;
    int n = EVP_EncodeBlock(base64, plain.data, (int)plain.len);
    bool ok = !secret_append(&run->token, base64, (size_t)n);
    explicit_bzero(base64, sizeof base64);
    return ok;
}

static int run_init(struct run *run, const struct login_opts *opts, struct error *err)
{
    run->opts = opts;
    run->start_us = clock_us();
    run->deadline_ms = clock_ms() + opts->timeout_ms;
    secret_init(&run->token, 2048);
    if (!text_is_fingerprint(opts->spki) || !make_pin(opts->spki, run->pin))
        return error_set(err, E_FAILED, "login: there is no key to expect");
    run->multi = curl_multi_init();
    return run->multi && make_token(run) ? 0 : error_memory(err);
}

int login_run(const struct login_opts *opts, struct login_result *out_results, size_t *out_count,
              struct error *err)
{
    if (!curl_init())
        return error_memory(err);
    CLEANUP(run_free) struct run run = {.count = 0};
    int rc = run_init(&run, opts, err);
    for (size_t i = 0; !rc && i < opts->endpoints->count; i++)
        if (find_scheme(&opts->endpoints->list[i]))
            rc = start(&run, &opts->endpoints->list[i], &out_results[run.count], err);
    if (!rc && !run.count)
        rc = error_set(err, E_FAILED, "login: none of the endpoints is imaps, smtps or submission");
    if (!rc)
        rc = talk(&run, err);
    if (rc)
        return rc;
    *out_count = run.count;
    for (size_t i = 0; i < run.count; i++)
        if (out_results[i].state != LOGIN_DONE)
            return 1;
    return 0;
}
