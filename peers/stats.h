/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics: each worker adds up its own part in one go, so that every part is a
 * consistent snapshot; a round visits the workers one after another.
 */
#ifndef PARLEY_PEERS_STATS_H
#define PARLEY_PEERS_STATS_H

#include "peers/json.h"
#include "peers/service.h"
#include "transport/transport.h"

/** Gathers for GET /stats; endpoints_stats() is called on `bench` in the end, unless the
 * client has gone. @return false: out of memory */
bool stats_for_exchange(struct bench *bench, struct http_exchange *exchange);

/** The round is back at its origin (CONTROL_STATS). Frees it. */
void stats_round_home(struct control *control);

/** On the peer's worker: adds its statistics and wakes who asked (CONTROL_COUNT). */
struct peer;
void stats_count_peer(struct control *control, const struct peer *peer);

/** Writes the members of a JSON object, without braces. */
void stats_write(struct json_out *out, const parley_stats *stats);

#endif
