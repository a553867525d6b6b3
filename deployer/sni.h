/*
 * SNI folders: data/assets/ssl/<name>/{cert.pem,key.pem,domains}. mailcow's start scripts make of them
 * Postfix's sni.map and Dovecot's sni.conf (deployer/sni_render.h), and nginx's configuration inside its
 * container, which only its own /bootstrap.py writes (deployer/reload.h).
 *
 * A folder without one of the three files is inert: no start script reads it. So the order is
 *   adding: the folder with its pair (deployer/install.h), sni_write_domains, sni_render, reload, verify;
 *   removing: sni_retire_folder (only domains goes), sni_render, reload, verify, sni_remove_folder.
 * Each of these can be done again after a crash. The pair must not go first: while a configuration names a
 * missing file, nginx refuses every reload and Dovecot keeps all that it had, its primary certificate too.
 *
 * acme-mailcow can write in the SSL folder: nothing here is opened through a symbolic link. The start scripts
 * follow them, so it is looked whether one leads to a file.
 */
#ifndef DEPLOYER_SNI_H
#define DEPLOYER_SNI_H

#include "common/conf.h"
#include "common/want.h"

#include <limits.h>

#define SNI_DOMAINS_MAX (64 * 1024)     /* bytes of a file `domains` */
#define SNI_MOUNTED     "/etc/ssl/mail" /* the SSL folder in the containers */

/* ---- the file `domains` ---- */

struct sni_domains {
    struct conf_list names; /* as wants have them: lower case, `*.x` also for a mere `.x`; each once */
    bool uniform;           /* Postfix, Dovecot and nginx all serve every one of them, and no other */
};

/* Whose start script reads it. */
enum sni_reader {
    SNI_POSTFIX, /* the first line, split at spaces */
    SNI_DOVECOT, /* the words between white space */
};

/* The words that this reader takes for names, less those with other characters than letters, digits and
 * - . _ (and `*.` in front): they could match nothing, and harm where they are pasted. */
int sni_words(const char *text, enum sni_reader reader, struct conf_list *out, struct error *err);

/*
 * Reads what the three services understand: Postfix the first line, split at spaces; Dovecot the words
 * between white space; nginx likewise. Postfix needs a wildcard as `.x`, Dovecot as `*.x`. names: what any of
 * them serves. E_FAILED when there is no name or one is no host name: err says which.
 */
int sni_parse_domains(const char *text, struct sni_domains *out, struct error *err);
void sni_domains_free(struct sni_domains *d);
#define AUTO_SNI_DOMAINS CLEANUP(sni_domains_free)

/* The text that all three need: one line without its end, single spaces, exact names first, `*.x .x` for a
 * wildcard. names as wants have them. Owned by the caller; NULL without memory. */
char *sni_format_domains(char *const *names, size_t count);

/* ---- the folders ---- */

enum sni_state {
    SNI_USED,     /* the services read it, and its names are good: a want */
    SNI_INERT,    /* it lacks one of the three: no service reads it */
    SNI_UNUSABLE, /* it has all three, but is no want; services may read it all the same */
};

struct sni_folder {
    char name[WANT_ID_SIZE];      /* made printable where it is no want's id */
    char file_name[NAME_MAX + 1]; /* as it is */
    enum sni_state state;
    struct sni_domains domains; /* empty unless SNI_USED */
    char *text;                 /* of the file `domains`, NULL where it was not read */
    bool is_unread; /* it was not read, but Postfix's and Dovecot's start scripts may: through a link, say */
    char problem[400]; /* printable; "" for SNI_USED */
};

struct sni_folders {
    struct sni_folder *list;
    size_t count;
};

/* The order of folders in what the start scripts write: that of a shell's pattern `*` with a slash behind it.
 */
int sni_compare(const char *a, const char *b);

/* The subfolders that hold cert.pem or domains, in this order. ssl_fd: the open SSL folder. One that is there
 * and cannot be read now is an error: it is not to be taken for none. */
int sni_scan(int ssl_fd, struct sni_folders *out, struct error *err);
void sni_folders_free(struct sni_folders *folders);
#define AUTO_SNI_FOLDERS CLEANUP(sni_folders_free)

/*
 * Replaces the folder's file `domains` by what sni_format_domains makes of the names. SNI_NEW: there was
 * none, so that no service has read the folder. SNI_SAME: it says just these already, so that every service
 * serves them, and stays as it is.
 */
enum {
    SNI_SAME = 1,
    SNI_NEW = 2
};
int sni_write_domains(int ssl_fd, const char *name, char *const *names, size_t count, struct error *err);

/* Removes what a crash left half-written in a folder. */
void sni_remove_temporaries(int ssl_fd);

/* Whether there is such a folder with a file `domains`: 1, 0, or an error. */
int sni_has_domains(int ssl_fd, const char *name, struct error *err);

/* Removes only the file `domains`. 0 also when it, or the folder, is gone. */
int sni_retire_folder(int ssl_fd, const char *name, struct error *err);

/*
 * Removes a folder that no configuration names any more: domains, key.pem, cert.pem, acme.csr, our temporary
 * files, then itself; each only if it is there. SNI_KEPT: it holds files of somebody else, and stays with
 * them; err says which.
 */
enum {
    SNI_KEPT = 3
};
int sni_remove_folder(int ssl_fd, const char *name, struct error *err);

#endif
