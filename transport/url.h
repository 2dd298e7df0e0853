/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer's address: parsing, and what is derived from it (PROTOCOL.md, Addresses).
 */
#ifndef PARLEY_TRANSPORT_URL_H
#define PARLEY_TRANSPORT_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"

#define URL_HOST_MAX 255
#define URL_PATH_MAX 1023

struct url {
    bool tls;
    uint16_t port;
    char host[URL_HOST_MAX + 1]; /* lower case, IPv6 without brackets */
    char path[URL_PATH_MAX + 1]; /* "" or "/prefix", never ending in '/' */
};

/**
 * Parses http, https, ws or wss.
 *
 * Refuses other schemes, a missing or malformed host, port 0 or above 65535, user:password@,
 * query, fragment, white space and control characters.
 *
 * @param error     receives one line that says what is wrong; may be NULL
 * @return PARLEY_OK or PARLEY_EURL
 */
parley_status url_parse(const char *text, struct url *ret_url, char *error, size_t error_len);

/** Writes "http[s]://host:port{path}{suffix}", IPv6 bracketed. @return length, or 0 if it does
 *  not fit */
size_t url_http(const struct url *url, const char *suffix, char *buffer, size_t len);

/** Writes "host" or "host:port" (port only where it is not the scheme's default), as in a Host
 *  header. @return length, or 0 */
size_t url_authority(const char *host, uint16_t port, bool tls, char *buffer, size_t len);

#endif
