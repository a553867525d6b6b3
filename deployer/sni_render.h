/*
 * What Postfix and Dovecot read of the SNI folders: data/conf/postfix/sni.map and data/conf/dovecot/sni.conf,
 * as mailcow's start scripts would write them now. In both folders the containers themselves can write:
 * nothing here follows a symbolic link, and no word of a file `domains` is written that could not be a name.
 * A folder that is not read from here (sni_folder.is_unread) keeps the names that the files have for it.
 */
#ifndef DEPLOYER_SNI_RENDER_H
#define DEPLOYER_SNI_RENDER_H

#include "deployer/mailcow.h"

struct sni_changes {
    bool postfix; /* sni.map was replaced: it needs postmap and a reload */
    bool dovecot; /* sni.conf was replaced: it needs a reload */
    bool unread;  /* a folder is not read: what is in it may be new to Postfix whenever a pair is */
};

/*
 * Makes both files what the start scripts would make of the folders, each replaced whole and only where it is
 * different. With names in it, sni.map and sni.map.db are made 0600: postmap writes the private keys into the
 * latter, and gives it the mode of the former, but only when it makes it.
 *
 * no_postfix: Postfix runs with SKIP_LETS_ENCRYPT in its own environment: its start script empties the map.
 * ssl_fd: the open SSL folder. *out says what was replaced also when the other could not be.
 *
 * Who dies before the reload leaves files that are as they should be: that services still serve by the old
 * ones is for the verification to see.
 */
int sni_render(const struct mailcow *m, int ssl_fd, bool no_postfix, struct sni_changes *out,
               struct error *err);

/* Removes what a crash left half-written in both folders. */
void sni_render_remove_temporaries(const struct mailcow *m);

#endif
