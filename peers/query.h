/* SPDX-License-Identifier: Apache-2.0
 *
 * One value of a URL's query.
 */
#ifndef PARLEY_PEERS_QUERY_H
#define PARLEY_PEERS_QUERY_H

#include <stddef.h>

/** Decodes the first `name=` of "a=b&c=d" into `buffer`; "" when it is absent, malformed or
 *  does not fit. */
void query_value(const char *query, const char *name, char *buffer, size_t len);

#endif
