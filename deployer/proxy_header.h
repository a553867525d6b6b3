/*
 * The PROXY protocol's header (haproxy's proxy-protocol.txt), which a listener that stands behind a load
 * balancer expects in front of everything else: version 1 is a line of text, version 2 binary. It names the
 * connection's own addresses, as a balancer would name its client's.
 *
 * UNKNOWN and LOCAL, for connections of a balancer's own, are not written: Postfix (3.7) hangs up on the one,
 * and only what names addresses goes the way of clients. Every server that takes a version takes the
 * addresses.
 */
#ifndef DEPLOYER_PROXY_HEADER_H
#define DEPLOYER_PROXY_HEADER_H

#include <stddef.h>
#include <sys/socket.h>

#define PROXY_HEADER_MAX 107 /* bytes: §2.1; version 2 has 28 or 52 */

/*
 * Writes the header for a TCP connection from source to destination, both of the same family, AF_INET or
 * AF_INET6 (of v4-mapped addresses the IPv4 ones are written). version: 1 or 2; out: PROXY_HEADER_MAX bytes.
 * Returns its length, 0 for any other addresses.
 */
size_t proxy_header(unsigned version, const struct sockaddr *source, const struct sockaddr *destination,
                    unsigned char *out);

/* Sends it on a socket that has just been connected. 0, or an errno. */
int proxy_header_send(int fd, unsigned version);

#endif
