/*
 * Changes to the text of a known_hosts file: a host's key is pinned, or no longer. All other lines stay as
 * they are.
 */
#ifndef PUSHER_PIN_H
#define PUSHER_PIN_H

#include "pusher/known_hosts.h"

/*
 * The text without the lines that pin what is in known for this very port, and, if type is not NULL, with one
 * that pins this key. What a pin without port says of another port than 22 stays, and so does every @revoked.
 * E_CONFIG when a line that would have to go names other hosts, too.
 */
int pin_edit(const char *text, const char *path, const struct known_hosts *known, const char *host,
             uint16_t port, const char *type, const char *base64, char **out, struct error *err);

#endif
