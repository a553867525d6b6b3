#include "deployer/waiting.h"
#include "common/clock.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static int remove_at(struct waiting *w, size_t i)
{
    int fd = w->fds[i];
    w->count--;
    memmove(w->fds + i, w->fds + i + 1, (w->count - i) * sizeof *w->fds);
    return fd;
}

/* Nobody would hear an answer: both directions are closed, not just the peer's. */
static bool is_gone(int fd)
{
    struct pollfd pfd = {.fd = fd};
    return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLHUP | POLLERR | POLLNVAL);
}

void waiting_tidy(struct waiting *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++)
        if (is_gone(w->fds[i]))
            close(w->fds[i]);
        else
            w->fds[kept++] = w->fds[i];
    w->count = kept;
}

int waiting_add(struct waiting *w, int fd)
{
    int removed = -1;
    if (w->count >= w->max)
        waiting_tidy(w);
    if (w->count >= w->max)
        removed = remove_at(w, (size_t)clock_us() % w->count);
    w->fds[w->count++] = fd;
    return removed;
}

int waiting_take(struct waiting *w)
{
    while (w->count) {
        int fd = remove_at(w, w->oldest_next ? 0 : w->count - 1);
        if (!is_gone(fd)) {
            w->oldest_next = !w->oldest_next;
            return fd;
        }
        close(fd);
    }
    return -1;
}

void waiting_close(struct waiting *w)
{
    for (size_t i = 0; i < w->count; i++)
        close(w->fds[i]);
    w->count = 0;
}
