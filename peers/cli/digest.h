/* SPDX-License-Identifier: Apache-2.0
 *
 * The SHA-256 of a payload as commands print it: 64 hex digits, as sha256sum(1) does.
 */
#ifndef PARLEY_PEERS_CLI_DIGEST_H
#define PARLEY_PEERS_CLI_DIGEST_H

#include <stddef.h>

#define DIGEST_TEXT 65 /* with its NUL */

void cli_digest(const char *bytes, size_t len, char text[DIGEST_TEXT]);

#endif
