#include "common/text.h"
#include "deployer/preflight_impl.h"
#include "deployer/sni.h"

#include <string.h>

/* ---- folders that take names of the primary ---- */

static bool ends_soon(const struct want *want, time_t now)
{
    return want->not_after - now < (want->not_after - want->not_before) / 6;
}

void preflight_shadow(const struct preflight_shadow *s, time_t now, bool check, struct finding_list *out)
{
    char when[TEXT_TIME_SIZE];
    bool is_same = strcmp(s->folder->installed, s->primary->installed) == 0;
    bool is_older = s->folder->not_after < s->primary->not_after;
    if (!is_same && (ends_soon(s->folder, now) || (check && is_older)))
        finding_add(
            out, FINDING_WARN, "stale-folder", s->folder->id,
            "%s serves for %s what is in the SNI folder %s, not the primary certificate: it is another "
            "one, valid until %s",
            s->service, s->name, s->folder->id, text_time(when, s->folder->not_after));
    else if (check)
        finding_add(out, FINDING_NOTE, "folder-overlap", s->folder->id,
                    "%s serves for %s what is in the SNI folder %s, %s", s->service, s->name, s->folder->id,
                    is_same ? "the same certificate as the primary one" : "not the primary certificate");
    else
        return;
    finding_remedy(
        out, "mailcow-cert-deploy remove %s; or have it renewed as well: its names are in its file domains",
        s->folder->id);
}

/* ---- the files `domains` ---- */

static void report_words(const char *ssl_path, const struct sni_folder *folder, struct finding_list *out)
{
    AUTO_FREE char *text = sni_format_domains(folder->domains.names.items, folder->domains.names.count);
    finding_add(
        out, FINDING_WARN, "domains", folder->name,
        "%s/%s/domains: Postfix, Dovecot and nginx do not all serve every name in it: it has to be one "
        "line, single spaces between, a wildcard in both its forms",
        ssl_path, folder->name);
    if (text)
        finding_remedy(out, "printf %%s '%s' > %s/%s/domains; mailcow-cert-deploy --force", text, ssl_path,
                       folder->name);
}

void preflight_domains(const char *ssl_path, const struct sni_folders *folders, struct finding_list *out)
{
    for (size_t i = 0; i < folders->count; i++)
        if (folders->list[i].state == SNI_USED && !folders->list[i].domains.uniform)
            report_words(ssl_path, &folders->list[i], out);
}

/* problems: lines, as mailcow_wants makes them. */
void preflight_problems(const struct problems *problems, struct finding_list *out)
{
    for (const char *line = problems->text; line && *line;) {
        size_t len = strcspn(line, "\n");
        finding_add(out, FINDING_WARN, "sni-folder", NULL, "%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
}
