/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node answers over HTTP (PROTOCOL.md, "Endpoints").
 */
#ifndef PARLEY_PEERS_ENDPOINTS_H
#define PARLEY_PEERS_ENDPOINTS_H

#include "peers/session.h"
#include "transport/transport.h"

/* the transport's events */
void endpoints_request(struct http_exchange *exchange, void *user);
void endpoints_gone(struct http_exchange *exchange, void *user);

/** A posted message or batch has been answered. */
void endpoints_answered(struct inbound_request *request);

/** GET /stats: the statistics have been gathered, or could not be. */
void endpoints_stats(struct http_exchange *exchange, struct bench *bench,
                     const parley_stats *stats);

#endif
