#include "common/metrics.h"
#include "common/file.h"

#include <fcntl.h>
#include <string.h>

#define PREFIX "mailcow_certsync_"

struct metrics {
    FILE *out; /* to text */
    char *text;
    size_t len;
    const char *name, *help;
    enum metrics_type type;
    bool begun; /* the family's head is written */
};

bool metrics_is_place(const char *textfile)
{
    return *textfile == '/' || strcmp(textfile, METRICS_OFF) == 0;
}

int metrics_new(struct metrics **out, struct error *err)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m || !(m->out = open_memstream(&m->text, &m->len))) {
        free(m);
        return error_memory(err);
    }
    *out = m;
    return 0;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    if (m->out)
        fclose(m->out);
    free(m->text);
    free(m);
}

void metrics_family(struct metrics *m, const char *name, enum metrics_type type, const char *help)
{
    m->name = name;
    m->type = type;
    m->help = help;
    m->begun = false;
}

static void begin(struct metrics *m)
{
    if (m->begun)
        return;
    fprintf(m->out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", m->name, m->help, m->name,
            m->type == METRICS_COUNTER ? "counter" : "gauge");
    m->begun = true;
}

static void write_value(FILE *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', out);
        fputs(*value == '\n' ? "\\n" : (char[]){*value, '\0'}, out);
    }
}

void metrics_add(struct metrics *m, const struct metrics_label *labels, double value)
{
    begin(m);
    fprintf(m->out, PREFIX "%s", m->name);
    for (const struct metrics_label *l = labels; l && l->name; l++) {
        fprintf(m->out, "%s%s=\"", l == labels ? "{" : ",", l->name);
        write_value(m->out, l->value);
        fputc('"', m->out);
    }
    fprintf(m->out, "%s %.15g\n", labels && labels->name ? "}" : "", value);
}

bool metrics_are_wanted(const char *textfile)
{
    if (strcmp(textfile, METRICS_FOLDER) == 0)
        return faccessat(AT_FDCWD, textfile, W_OK | X_OK, AT_EACCESS) == 0;
    return strcmp(textfile, METRICS_OFF) != 0;
}

int metrics_write(struct metrics *m, const char *textfile, const char *file, struct error *err)
{
    if (!metrics_are_wanted(textfile))
        return 0;
    if (fflush(m->out) || ferror(m->out))
        return error_memory(err);
    AUTO_CLOSE int dirfd = open(textfile, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dirfd < 0 ? error_errno(err, file, "open the folder")
                       : file_replace(dirfd, file, m->text, m->len, 0644, err);
    return rc ? error_wrap(err, "metrics in %s", textfile) : 0;
}
