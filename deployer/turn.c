#include "deployer/turn.h"
#include "common/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define NEVER       INT64_MAX
#define COURTESY_MS 100 /* an operator asks for the lock of the state every 50 ms */

struct turn {
    struct turns *all;
    int64_t begin_ms;
    _Atomic int64_t until_ms; /* of clock_ms(): the end of the turn */
};

struct turns {
    /* Robust: a session that ends within, or is killed there, gives them back. */
    pthread_mutex_t judge;
    pthread_mutex_t deploy;
    pthread_mutex_t again; /* before `deploy`, for who brings nothing new */
    _Atomic int64_t repeat_until_ms;
    _Atomic bool crowded;
    _Atomic int64_t minute; /* of the messages that are counted */
    _Atomic unsigned told;
    _Atomic unsigned left_out;
    struct turn list[];
};

static int init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);
    if (!rc)
        rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (!rc)
        rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (!rc)
        rc = pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return rc;
}

int turns_new(struct turns **out, size_t count, struct error *err)
{
    struct turns *t = mmap(NULL, sizeof *t + count * sizeof *t->list, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED)
        return error_errno(err, "turns", "mmap");
    int rc = init_mutex(&t->judge);
    if (!rc)
        rc = init_mutex(&t->deploy);
    if (!rc)
        rc = init_mutex(&t->again);
    if (rc) {
        errno = rc;
        return error_errno(err, "turns", "make a mutex");
    }
    *out = t;
    return 0;
}

void turns_set_crowded(struct turns *t, bool crowded)
{
    t->crowded = crowded;
}

struct turn *turn_begin(struct turns *t, size_t i)
{
    struct turn *turn = &t->list[i];
    *turn = (struct turn){.all = t, .begin_ms = clock_ms()};
    turn->until_ms = turn->begin_ms + TURN_SILENT_MS;
    return turn;
}

bool turn_is_over(const struct turn *t)
{
    return t && t->until_ms <= clock_ms();
}

bool turn_ended_before(const struct turn *a, const struct turn *b)
{
    return a->until_ms < b->until_ms;
}

void turn_spoke(struct turn *t)
{
    if (t)
        t->until_ms = t->begin_ms + TURN_BUNDLE_MS;
}

int64_t turns_repeat_until(const struct turns *t)
{
    return t->repeat_until_ms;
}

bool turn_should_end(const struct turn *t)
{
    return t && t->all->crowded && turn_is_over(t);
}

static bool lock(pthread_mutex_t *mutex, int64_t deadline_ms)
{
    const struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    int rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    if (rc == EOWNERDEAD)
        rc = pthread_mutex_consistent(mutex);
    return rc == 0;
}

bool turn_judge_begin(struct turn *t, int64_t deadline_ms)
{
    if (!t)
        return true;
    t->until_ms = NEVER;
    bool begun = lock(&t->all->judge, deadline_ms);
    if (!begun)
        t->until_ms = 0;
    return begun;
}

void turn_judge_end(struct turn *t, bool accepted)
{
    if (!t)
        return;
    pthread_mutex_unlock(&t->all->judge);
    t->until_ms = accepted ? clock_ms() + TURN_NEXT_MS : 0;
}

/* Who had to wait lets others go first that are waiting as well: who brings something new, an operator. */
static bool stand_in_line(pthread_mutex_t *mutex, int64_t deadline_ms)
{
    int64_t start = clock_ms();
    if (!lock(mutex, deadline_ms))
        return false;
    if (clock_ms() - start > 1)
        poll(NULL, 0, COURTESY_MS);
    return true;
}

bool turn_deploy_begin(struct turn *t, bool brings_new, int64_t deadline_ms)
{
    if (!t)
        return true;
    if (!brings_new && !stand_in_line(&t->all->again, deadline_ms)) /* meanwhile its turn may be over */
        return false;
    t->until_ms = NEVER;
    return stand_in_line(&t->all->deploy, deadline_ms);
}

bool turn_may_repeat(struct turn *t)
{
    int64_t now = clock_ms();
    if (!t)
        return true;
    if (now < t->all->repeat_until_ms)
        return false;
    t->all->repeat_until_ms = now + TURN_REPEAT_MS;
    return true;
}

/* Sessions that ask at the same moment may be told yes once more than they should: it is a log. */
bool turn_may_tell(struct turn *t, unsigned *out_left_out)
{
    *out_left_out = 0;
    if (!t)
        return true;
    int64_t minute = clock_ms() / 60000;
    if (t->all->minute != minute) {
        t->all->minute = minute;
        t->all->told = 0;
    }
    bool may = t->all->told++ < TURN_TOLD_MAX;
    if (may)
        *out_left_out = atomic_exchange(&t->all->left_out, 0);
    else
        t->all->left_out++;
    return may;
}
