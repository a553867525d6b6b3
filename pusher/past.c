#include "pusher/past.h"
#include "common/member.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

const char *const past_results[] = {"done", "failed", "temporary", "configuration", NULL};

static const char *result_of(int rc)
{
    return past_results[rc >= 0 ? 0 : rc == E_TEMPORARY ? 2 : rc == E_CONFIG ? 3 : 1];
}

const char *past_file(char out[NAME_MAX], const char *target)
{
    snprintf(out, NAME_MAX, "%.200s.history", target);
    return out;
}

int past_add(int state_fd, const char *target, const struct past_pass *pass, struct error *err)
{
    char file[NAME_MAX];
    json_auto_t *history = NULL;
    const char *result = result_of(pass->rc);
    int rc = history_read(&history, state_fd, past_file(file, target), err);
    if (rc < 0)
        return rc;
    history_count(history, PAST_PASSES, result);
    if (pass->rc >= 0)
        json_object_set_new(history, PAST_SUCCESS, member_new_time(time(NULL)));
    history_add_pass(history,
                     json_pack("{s:o, s:s, s:I, s:o}", "time", member_new_time(time(NULL)), "result", result,
                               "us", (json_int_t)pass->us, "detail", member_new_text(pass->detail)));
    return history_write(history, state_fd, file, err);
}

/* One that root wrote, who typed a pass, is only to be replaced. */
static void rewrite(int state_fd, const char *file)
{
    json_auto_t *history = NULL;
    struct error ignored;
    if (history_read(&history, state_fd, file, &ignored) == 0)
        history_write(history, state_fd, file, &ignored);
}

void past_touch(int state_fd, const char *target)
{
    char file[NAME_MAX], temporary[NAME_MAX + 8];
    if (utimensat(state_fd, past_file(file, target), NULL, AT_SYMLINK_NOFOLLOW) < 0 && errno == EACCES)
        rewrite(state_fd, file);
    snprintf(temporary, sizeof temporary, ".%s.tmp", file); /* file_replace's, of a pass that was killed */
    unlinkat(state_fd, temporary, 0);
}

int past_read(json_t **out, time_t *out_last, int state_fd, const char *target, struct error *err)
{
    char file[NAME_MAX];
    struct stat st;
    bool known = fstatat(state_fd, past_file(file, target), &st, AT_SYMLINK_NOFOLLOW) == 0;
    *out_last = known ? st.st_mtim.tv_sec : 0;
    return history_read(out, state_fd, file, err);
}
