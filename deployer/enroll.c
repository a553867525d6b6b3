#include "deployer/enroll.h"
#include "common/command.h"
#include "common/file.h"
#include "common/libexec.h"
#include "deployer/authorized_keys.h"
#include "deployer/sshd_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <shadow.h>
#include <string.h>

#define KEYS_FOLDER "/etc/ssh/certsync"
#define DROP_INS    "/etc/ssh/sshd_config.d"
#define DROP_IN     "mailcow-certsync.conf"
#define FILE_SIZE   262144
#define GROUPS      64
/* As sshd's PATTERNS, but nothing that would end the option's quotes. */
#define PATTERN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:*?!,/-_"

/* A file that is changed, and what it was. */
struct change {
    int folder;
    const char *name; /* in folder */
    char path[PATH_MAX];
    struct secret before;
    bool was_there;
    bool is_made;
};

struct enrolment {
    const struct enroll_opts *opts;
    struct report *report;
    struct public_key key;
    char receive[PATH_MAX]; /* mailcow-cert-receive */
    struct change keys, drop_in;
    struct finding_list findings;
};

/* ---- files ---- */

static int open_change(struct change *c, const char *folder, const char *name, struct error *err)
{
    c->name = name;
    snprintf(c->path, sizeof c->path, "%s/%s", folder, name);
    c->folder = file_open_dir(AT_FDCWD, folder, true, 0755, err);
    if (c->folder < 0)
        return c->folder;
    secret_init(&c->before, FILE_SIZE);
    int rc = file_read(c->folder, name, 0, &c->before, NULL, err);
    c->was_there = rc == 0;
    if (rc == FILE_CHANGED)
        return error_set(err, E_TEMPORARY, "%s: somebody else changes it; try again", c->path);
    return rc < 0 ? rc : 0;
}

static const char *text_of(const struct change *c)
{
    return c->before.data ? (const char *)c->before.data : "";
}

/* text: NULL removes it. */
static int write_change(struct change *c, const char *text, struct error *err)
{
    if (text ? c->was_there && strcmp(text, text_of(c)) == 0 : !c->was_there)
        return 0;
    c->is_made = true;
    if (text)
        return file_replace(c->folder, c->name, text, strlen(text), 0644, err);
    return unlinkat(c->folder, c->name, 0) < 0 ? error_errno(err, c->path, "remove") : 0;
}

/* Leaves the file as it was found; a failure in it is told along with that which it follows. */
static void undo(struct enrolment *e, struct change *c)
{
    struct error err;
    if (!c->is_made)
        return;
    int rc = c->was_there ? file_replace(c->folder, c->name, text_of(c), strlen(text_of(c)), 0644, &err)
                          : unlinkat(c->folder, c->name, 0);
    if (rc < 0)
        report_error(e->report, "%s: could not be put back", c->path);
}

static void close_change(struct change *c)
{
    cleanup_closep(&c->folder);
    secret_wipe(&c->before);
}

/* ---- sshd ---- */

static int test_configuration(struct enrolment *e, struct error *err)
{
    static const char *const argv[] = {"sshd", "-t", NULL};
    AUTO_COMMAND struct command_output output = {0};
    char line[400];
    int rc = command_run(argv, NULL, &output, err);
    if (rc > 0) {
        undo(e, &e->drop_in);
        if (!e->opts->remove) /* a key that is revoked is not put back for somebody's mistake elsewhere */
            undo(e, &e->keys);
        return error_set(err, E_CONFIG, "sshd -t refuses the configuration, %s: %s",
                         e->opts->remove ? "only the key was removed" : "nothing was changed",
                         command_first_line(output.errors, line, sizeof line));
    }
    return rc;
}

/* An address that a connection would come from: the one that `from` names, if it is one. */
static const char *sample_address(const char *from)
{
    unsigned char address[16];
    bool good = from && (inet_pton(AF_INET, from, address) == 1 || inet_pton(AF_INET6, from, address) == 1);
    return good ? from : "192.0.2.1";
}

/* What holds for the push account; owned by the caller. */
static int effective(const struct enrolment *e, struct command_output *output, struct error *err)
{
    char who[256], line[400];
    const char *address = sample_address(e->opts->from);
    snprintf(who, sizeof who, "user=%s,host=%s,addr=%s", e->opts->push_user, address, address);
    const char *const argv[] = {"sshd", "-T", "-C", who, NULL};
    int rc = command_run(argv, NULL, output, err);
    return rc > 0 ? error_set(err, E_CONFIG, "sshd -T: %s",
                              command_first_line(output->errors, line, sizeof line))
                  : rc;
}

static void check_account(struct enrolment *e, const struct passwd *user, const char *text)
{
    const char *name = e->opts->push_user, *shell = strrchr(user->pw_shell, '/');
    shell = shell ? shell + 1 : user->pw_shell;
    if (strcmp(shell, "nologin") == 0 || strcmp(shell, "false") == 0) {
        finding_add(&e->findings, FINDING_REFUSE, "account-shell", NULL,
                    "the shell of %s is %s: sshd runs the forced command with it", name, user->pw_shell);
        finding_remedy(&e->findings, "usermod --shell /bin/sh %s", name);
    }
    AUTO_FREE char *pam = sshd_check_value(text, "usepam");
    const struct spwd *shadow = getspnam(name);
    if (shadow && shadow->sp_pwdp[0] == '!' && pam && strcmp(pam, "yes") != 0) {
        finding_add(&e->findings, FINDING_REFUSE, "account-locked", NULL,
                    "%s is locked, and without UsePAM sshd lets it in with no key", name);
        finding_remedy(&e->findings, "usermod --password '*' %s", name);
    }
}

/* sshd opens the file as the account. */
static void check_folder(struct enrolment *e)
{
    struct stat st;
    if (fstat(e->keys.folder, &st) < 0 || (st.st_mode & S_IXOTH) ||
        ((st.st_mode & S_IXGRP) && st.st_gid != 0)) /* a group of somebody's: its own */
        return;
    finding_add(&e->findings, FINDING_REFUSE, "keys-folder", NULL,
                "%s has mode 0%o: sshd reads the keys in it as %s, and cannot", KEYS_FOLDER,
                (unsigned)st.st_mode & 07777, e->opts->push_user);
    finding_remedy(&e->findings, "chmod 755 %s", KEYS_FOLDER);
}

static void name_groups(const struct passwd *user, const char **names, char **owned)
{
    gid_t ids[GROUPS];
    int count = GROUPS;
    size_t used = 0;
    if (getgrouplist(user->pw_name, user->pw_gid, ids, &count) < 0)
        count = GROUPS;
    for (int i = 0; i < count; i++) {
        const struct group *group = getgrgid(ids[i]);
        if (group && (owned[used] = strdup(group->gr_name)))
            names[used] = owned[used], used++;
    }
}

static int check(struct enrolment *e, const char *text, struct error *err)
{
    const char *names[GROUPS + 1] = {NULL};
    char *owned[GROUPS] = {NULL};
    const struct passwd *user = getpwnam(e->opts->push_user);
    if (!user)
        return error_set(err, E_CONFIG, "there is no user %s; run: systemd-sysusers", e->opts->push_user);
    check_account(e, user, text);
    check_folder(e);
    name_groups(user, names, owned);
    sshd_check(text,
               &(struct sshd_account){.user = e->opts->push_user,
                                      .groups = names,
                                      .keys_file = e->keys.path,
                                      .command = e->receive,
                                      .key_type = e->key.type},
               &e->findings);
    for (size_t i = 0; i < GROUPS; i++)
        free(owned[i]);
    return 0;
}

static int tell_findings(const struct enrolment *e, struct error *err)
{
    for (size_t i = 0; i < e->findings.count; i++) {
        const struct finding *f = &e->findings.list[i];
        char detail[sizeof f->text + sizeof f->remedy + 2];
        snprintf(detail, sizeof detail, "%s%s%s", f->text, *f->remedy ? "; " : "", f->remedy);
        report_result(e->report, &(struct report_result){.result = finding_severity_str(f->severity),
                                                         .id = f->id,
                                                         .detail = detail,
                                                         .failed = f->severity == FINDING_REFUSE});
    }
    return finding_of(&e->findings, FINDING_REFUSE)
               ? error_set(err, E_CONFIG,
                           "sshd would not let %s push; resolve this, then run the same command again",
                           e->opts->push_user)
               : 0;
}

/* ssh.service is Debian's, sshd.service that of others; without systemd it is the process of its PidFile. */
static int reload(const char *text, struct error *err)
{
    AUTO_FREE char *pid_file = sshd_check_value(text, "pidfile");
    AUTO_COMMAND struct command_output output = {0};
    if (access("/run/systemd/system", F_OK) == 0) {
        static const char *const argv[] = {"systemctl", "try-reload-or-restart", "ssh.service",
                                           "sshd.service", NULL};
        command_run(argv, NULL, &output, err); /* it fails for the unit that is not there */
        return 0;
    }
    if (!pid_file || strcmp(pid_file, "none") == 0 || access(pid_file, R_OK) < 0)
        return 1;
    const char *const argv[] = {"sh", "-c", "kill -HUP \"$(cat \"$1\")\"", "sh", pid_file, NULL};
    return command_run(argv, NULL, &output, err);
}

/* ---- what is told ---- */

static void tell_host_keys(struct enrolment *e, const char *text)
{
    static const char *const types[] = {"ed25519", "ecdsa"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char path[PATH_MAX], shown[200];
        struct error ignored;
        AUTO_COMMAND struct command_output output = {0};
        snprintf(path, sizeof path, "/etc/ssh/ssh_host_%s_key", types[i]);
        if (!strstr(text, path))
            continue;
        snprintf(path, sizeof path, "/etc/ssh/ssh_host_%s_key.pub", types[i]);
        const char *const argv[] = {"ssh-keygen", "-lf", path, NULL};
        if (command_run(argv, NULL, &output, &ignored) == 0)
            report_result(e->report, &(struct report_result){
                                         .result = "host-key",
                                         .detail = command_first_line(output.out, shown, sizeof shown)});
    }
}

static int tell_key(struct enrolment *e, struct error *err)
{
    static const char *const argv[] = {"ssh-keygen", "-lf", "-", NULL};
    AUTO_COMMAND struct command_output output = {0};
    char line[1300], shown[300];
    snprintf(line, sizeof line, "%s %s %s\n", e->key.type, e->key.blob, e->key.comment);
    int rc = command_run(argv, line, &output, err);
    if (rc > 0)
        return error_set(err, E_USAGE, "not a public key: ssh-keygen: %s",
                         command_first_line(output.errors, shown, sizeof shown));
    if (!rc)
        report_step(e->report, "%s %s", e->opts->remove ? "removing" : "key",
                    command_first_line(output.out, shown, sizeof shown));
    return rc;
}

static int result(struct enrolment *e, const char *result, const char *detail)
{
    report_result(e->report, &(struct report_result){.result = result, .detail = detail});
    return 0;
}

/* ---- the two ways ---- */

/*
 * Without --from the options of a key that is confined already stay: they are somebody's. Of one that is not
 * so confined those stay that restrict it further.
 */
static int write_key(struct enrolment *e, struct error *err)
{
    char confined[sizeof e->receive + 30];
    AUTO_FREE char *options = NULL;
    snprintf(confined, sizeof confined, "restrict,command=\"%s\"", e->receive);
    if (!e->opts->from && authorized_keys_has(text_of(&e->keys), &e->key, confined))
        return 0;
    AUTO_FREE char *from = authorized_keys_option(text_of(&e->keys), &e->key, "from");
    AUTO_FREE char *expiry = authorized_keys_option(text_of(&e->keys), &e->key, "expiry-time");
    const char *addresses = e->opts->from ? e->opts->from : from;
    if (asprintf(&options, "%s%s%s%s%s%s%s", addresses ? "from=\"" : "", addresses ? addresses : "",
                 addresses ? "\"," : "", expiry ? "expiry-time=\"" : "", expiry ? expiry : "",
                 expiry ? "\"," : "", confined) < 0)
        return error_memory(err);
    AUTO_FREE char *text = authorized_keys_with(text_of(&e->keys), &e->key, options);
    return text ? write_change(&e->keys, text, err) : error_memory(err);
}

/* One that is there stays: somebody may have added to it. What it comes to is checked. */
static int write_drop_in(struct enrolment *e, struct error *err)
{
    char path[PATH_MAX];
    if (e->drop_in.was_there)
        return 0;
    AUTO_SECRET struct secret text = SECRET(FILE_SIZE);
    int rc = libexec_data(path, sizeof path, "sshd_config.d/" DROP_IN, err);
    if (!rc)
        rc = file_read(AT_FDCWD, path, FILE_FOLLOW, &text, NULL, err);
    if (rc)
        return rc < 0 ? rc : error_set(err, E_FAILED, "%s: not installed as it should be", path);
    return write_change(&e->drop_in, (const char *)text.data, err);
}

static int add(struct enrolment *e, struct error *err)
{
    AUTO_COMMAND struct command_output sshd = {0};
    int rc = write_key(e, err);
    if (!rc)
        rc = write_drop_in(e, err);
    if (!rc)
        rc = test_configuration(e, err);
    if (!rc)
        rc = effective(e, &sshd, err);
    if (!rc)
        rc = check(e, sshd.out, err);
    /* Also where nothing was changed: what kept the account out may have been resolved since. */
    if (!rc && reload(sshd.out, err) > 0)
        result(e, "note", "sshd was not reloaded: do so yourself");
    if (!rc)
        rc = tell_findings(e, err);
    if (rc)
        return rc;
    result(e, e->keys.is_made || e->drop_in.is_made ? "enrolled" : "unchanged", e->keys.path);
    tell_host_keys(e, sshd.out);
    return 0;
}

static int take_away(struct enrolment *e, struct error *err)
{
    AUTO_COMMAND struct command_output sshd = {0};
    AUTO_FREE char *text = authorized_keys_without(text_of(&e->keys), &e->key);
    if (!text)
        return error_memory(err);
    bool last = !authorized_keys_has_any(text);
    int rc = write_change(&e->keys, last ? NULL : text, err);
    if (!rc && last)
        rc = write_change(&e->drop_in, NULL, err);
    if (!rc && e->drop_in.is_made)
        rc = test_configuration(e, err);
    if (!rc && e->drop_in.is_made)
        rc = effective(e, &sshd, err);
    if (!rc && e->drop_in.is_made && reload(sshd.out, err) > 0)
        result(e, "note", "sshd was not reloaded: do so yourself");
    return rc ? rc : result(e, e->keys.is_made ? "removed" : "unchanged", e->keys.path);
}

int enroll(const struct enroll_opts *o, struct report *report, struct error *err)
{
    struct enrolment e = {.opts = o, .report = report, .keys.folder = -1, .drop_in.folder = -1};
    if (o->from && (!*o->from || strspn(o->from, PATTERN) != strlen(o->from)))
        return error_set(err, E_USAGE, "--from: addresses, with * and ? in them, separated by commas");
    if (geteuid() != 0)
        return error_set(err, E_FAILED, "enroll: sshd's files belong to root; run it as root");
    int rc = libexec_path(e.receive, sizeof e.receive, "mailcow-cert-receive", err);
    if (!rc)
        rc = public_key_parse(o->key, &e.key, err);
    if (!rc)
        rc = tell_key(&e, err);
    if (!rc)
        rc = open_change(&e.keys, KEYS_FOLDER, o->push_user, err);
    if (!rc)
        rc = open_change(&e.drop_in, DROP_INS, DROP_IN, err);
    if (!rc)
        rc = o->remove ? take_away(&e, err) : add(&e, err);
    close_change(&e.keys);
    close_change(&e.drop_in);
    return rc;
}
