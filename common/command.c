#include "common/command.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/text.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* What exec(2) wants, it does not change. */
static char path_variable[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale_variable[] = "LC_ALL=C";
static char *const environment[] = {path_variable, locale_variable, NULL};

static int exec_in(const char *folder, const char *const *argv)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, argv[0]);
    union {
        const char *const *in;
        char *const *out;
    } words = {argv};
    return execve(path, words.out, environment);
}

static pid_t spawn(const char *const *argv, const int files[3])
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    for (int i = 0; i < 3; i++)
        if (dup2(files[i], i) < 0)
            _exit(127);
    signal(SIGPIPE, SIG_DFL); /* which is ignored in our programs */
    exec_in("/usr/sbin", argv);
    exec_in("/usr/bin", argv);
    exec_in("/sbin", argv);
    exec_in("/bin", argv);
    dprintf(2, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* What was written to the file, as text. */
static char *content(int fd)
{
    char *text = calloc(1, COMMAND_OUTPUT + 1);
    size_t used = 0;
    ssize_t n;
    while (text && used < COMMAND_OUTPUT &&
           (n = pread(fd, text + used, COMMAND_OUTPUT - used, (off_t)used)) > 0)
        used += (size_t)n;
    return text;
}

static int wait_for(pid_t pid, const char *program, struct error *err)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_errno(err, program, "wait");
    if (!WIFEXITED(status))
        return error_set(err, E_FAILED, "%s: ended by signal %d", program, WTERMSIG(status));
    return WEXITSTATUS(status);
}

int command_run(const char *const *argv, const char *input, struct command_output *output, struct error *err)
{
    AUTO_CLOSE int in = memfd_create("stdin", MFD_CLOEXEC);
    AUTO_CLOSE int out = memfd_create("stdout", MFD_CLOEXEC);
    AUTO_CLOSE int errors = memfd_create("stderr", MFD_CLOEXEC);
    if (in < 0 || out < 0 || errors < 0)
        return error_errno(err, argv[0], "memfd_create");
    if (input && (io_write_all(in, input, strlen(input)) < 0 || lseek(in, 0, SEEK_SET) < 0))
        return error_errno(err, argv[0], "write");
    pid_t pid = spawn(argv, (int[]){in, out, errors});
    if (pid < 0)
        return error_errno(err, argv[0], "fork");
    int status = wait_for(pid, argv[0], err);
    if (!output)
        return status;
    output->out = content(out);
    output->errors = content(errors);
    return output->out && output->errors ? status : error_memory(err);
}

void command_free(struct command_output *output)
{
    free(output->out);
    free(output->errors);
}

char *command_first_line(const char *text, char *out, size_t size)
{
    text += strspn(text, "\r\n");
    return text_escape(out, size, text, strcspn(text, "\r\n"));
}
