/*
 * Installing a generation into mailcow's SSL folder: cert.pem and key.pem are replaced as one.
 *
 * The folder is a bind mount in the containers: its inode stays, files are renamed over and never unlinked
 * first (a gap would let mailcow's update.sh put a snake-oil half there). Both new files are written and
 * fsynced under other names in the same folder (so that they get its SELinux label), then the intent is
 * recorded, then both are renamed. A crash before the intent leaves the old pair and two temporary files, a
 * crash after it the old, a mixed or the new pair and the intent: install_recover makes a whole pair of any
 * of these.
 */
#ifndef DEPLOYER_INSTALL_H
#define DEPLOYER_INSTALL_H

#include "common/file.h"
#include "deployer/store.h"

/* Where to. */
struct install_place {
    struct store *store;     /* locked */
    int ssl_fd;              /* the open SSL folder */
    struct file_owner owner; /* of the files, and of a folder that is made; -1: kept */
};

/*
 * Installs g for want: into the SSL folder itself for the primary, else into its subfolder of that name,
 * which is made if it is missing. Owner and group that are not configured are kept from the replaced files
 * (userns-remap), else they are those of the folder, and a new one's those of the SSL folder; modes are 0644
 * and 0600, of a new folder 0755.
 */
int install_generation(const struct install_place *place, const char *want, const struct generation *g,
                       struct error *err);

/*
 * Finishes an installation that a crash interrupted, and removes its temporary files. 0: there was none;
 * INSTALL_RECOVERED: out_want (WANT_ID_SIZE bytes) is whole again; INSTALL_LOST: its generation cannot be
 * read (err says why), the intent is forgotten and the next push installs another. An installation into a
 * subfolder that was removed since is forgotten.
 */
enum {
    INSTALL_RECOVERED = 1,
    INSTALL_LOST = 2
};
int install_recover(const struct install_place *place, char *out_want, struct error *err);

/*
 * Opens the folder that a want's pair lives in: the SSL folder itself for the primary, else its subfolder of
 * that name. -1 with err.
 */
int install_open_folder(int ssl_fd, const char *want, struct error *err);

#endif
