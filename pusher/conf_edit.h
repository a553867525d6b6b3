/*
 * Changes to the text of push.conf that leave all else in it as it is, to the byte.
 */
#ifndef PUSHER_CONF_EDIT_H
#define PUSHER_CONF_EDIT_H

/* The text with a section (header and keys, each line ended) behind it. Owned by the caller; NULL: no memory.
 */
char *conf_edit_append(const char *text, const char *section);

/*
 * The text without the sections [kind name]: from the header to the last key, with the empty line before it.
 * Comments behind the last key stay. Owned by the caller; NULL: no memory.
 */
char *conf_edit_remove(const char *text, const char *kind, const char *name);

#endif
