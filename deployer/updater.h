/*
 * mailcow's update.sh: whether it runs now, by the processes of this host. It takes the containers down, and
 * puts mailcow's example certificate where it finds none.
 */
#ifndef DEPLOYER_UPDATER_H
#define DEPLOYER_UPDATER_H

#include <sys/types.h>

/*
 * The process that executes the update.sh of the mailcow directory: that file by its path, or a shell whose
 * script it is; an editor that has it open is none. 0 when there is none, or /proc does not tell.
 * proc: "/proc".
 */
pid_t updater_find(const char *proc, const char *mailcow);

#endif
