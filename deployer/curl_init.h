/*
 * libcurl's one-time set-up, for every module that uses it: with an allocator that wipes, because names and
 * passwords are copied into its options, buffers and messages. Counted: each call is undone by one of
 * curl_global_cleanup.
 */
#ifndef DEPLOYER_CURL_INIT_H
#define DEPLOYER_CURL_INIT_H

#include <stdbool.h>

bool curl_init(void);

#endif
