/*
 * Opens one session with pusher/ssh and connects its own stdio to it: for tests/system/test_ssh.py.
 *
 *   ssh_driver [-x] [-c MS] [-h MS] [-s MS] HOST PORT USER KEY KNOWN_HOSTS
 *
 * -x closes the session as soon as it is open.
 * Steps, the remote stderr and the error go to stderr, one line each; the exit code is that of error.h.
 */
#include "common/error.h"
#include "common/io.h"
#include "common/process.h"
#include "common/secret.h"
#include "pusher/ssh.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FILE_MAX (1024 * 1024)

static void show_step(void *ctx, enum ssh_step step, const char *detail, int64_t us)
{
    static const char *const names[] = {"connected", "host-key", "authenticated", "open"};
    (void)ctx;
    fprintf(stderr, "step %s %" PRId64 " %s\n", names[step], us, detail);
}

static bool slurp(const char *path, struct secret *out)
{
    char buffer[65536];
    secret_init(out, FILE_MAX);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (;;) {
        ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
        if (n <= 0)
            return n == 0 && secret_append(out, "", 0) == 0;
        if (secret_append(out, buffer, (size_t)n) < 0)
            return false;
    }
}

/* One read of stdin, written whole to the stream. False when there is no more to send. */
static bool forward(int stream)
{
    char buffer[65536];
    ssize_t n = read(0, buffer, sizeof buffer);
    if (n > 0 && io_write_all(stream, buffer, (size_t)n) == 0)
        return true;
    if (n > 0)
        fprintf(stderr, "write: %s\n", strerror(errno));
    shutdown(stream, SHUT_WR);
    return false;
}

static void copy(int stream)
{
    char buffer[65536];
    bool sending = true;
    for (;;) {
        struct pollfd pfds[] = {{.fd = stream, .events = POLLIN}, {.fd = sending ? 0 : -1, .events = POLLIN}};
        if (poll(pfds, 2, -1) < 0)
            return;
        if (pfds[0].revents) {
            ssize_t n = read(stream, buffer, sizeof buffer);
            if (n <= 0 || io_write_all(1, buffer, (size_t)n) < 0)
                return;
        }
        if (pfds[1].revents)
            sending = forward(stream);
    }
}

static int run(const struct ssh_opts *opts, bool close_at_once, struct error *err)
{
    struct ssh *session;
    char remote_stderr[2048];
    int rc = ssh_open(&session, opts, err);
    if (rc < 0)
        return rc;
    if (!close_at_once)
        copy(ssh_fd(session));
    rc = ssh_close(session, remote_stderr, sizeof remote_stderr, err);
    fprintf(stderr, "stderr %s\n", remote_stderr);
    return rc;
}

int main(int argc, char **argv)
{
    AUTO_SECRET struct secret key = {0}, known_hosts = {0};
    struct ssh_opts opts = {.on_step = show_step, .key = &key};
    struct error err = {0};
    bool close_at_once = false;
    int option;
    process_protect(); /* as the worker does */
    while ((option = getopt(argc, argv, "xc:h:s:")) != -1) {
        int *slot = option == 'c'   ? &opts.connect_timeout_ms
                    : option == 'h' ? &opts.handshake_timeout_ms
                                    : &opts.session_timeout_ms;
        if (option == '?')
            return error_exit_code(E_USAGE);
        if (option == 'x')
            close_at_once = true;
        else
            *slot = atoi(optarg);
    }
    argv += optind;
    if (argc - optind != 5 || !slurp(argv[3], &key) || !slurp(argv[4], &known_hosts))
        return error_exit_code(E_USAGE);
    opts.host = argv[0];
    opts.port = (uint16_t)atoi(argv[1]);
    opts.user = argv[2];
    opts.key_path = argv[3];
    opts.known_hosts = (const char *)known_hosts.data;
    opts.known_hosts_path = argv[4];
    int rc = run(&opts, close_at_once, &err);
    if (rc < 0)
        fprintf(stderr, "error %s\n", err.text);
    return error_exit_code(rc);
}
