#include "common/io.h"
#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

int io_write_all(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

int io_wait(int fd, short events, int64_t deadline_ms)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    for (;;) {
        int left = clock_left_ms(deadline_ms);
        int n = left ? poll(&pfd, 1, left) : 0; /* past it, nothing is ready any more */
        if (n > 0 || !left)
            return n;
        if (n < 0 && errno != EINTR)
            return -1;
    }
}

int io_read_secret(int fd, int64_t deadline_ms, struct secret *out, struct error *err)
{
    char buffer[16384];
    for (;;) {
        int ready = io_wait(fd, POLLIN, deadline_ms);
        if (ready == 0)
            return error_set(err, E_TEMPORARY, "nothing came in time");
        ssize_t n = ready < 0 ? -1 : read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, E_TEMPORARY, "read: %s", strerror(errno));
        int rc = n ? secret_append(out, buffer, (size_t)n) : 0;
        explicit_bzero(buffer, (size_t)n);
        if (rc < 0)
            return error_set(err, E_FAILED, "more than %zu bytes", out->max);
        if (n == 0)
            return 0;
    }
}
