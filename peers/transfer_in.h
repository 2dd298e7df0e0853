/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks as sessions receive them. What is unfinished is kept for the whole runtime, by
 * sender and transfer id, behind one mutex: an older sender's pieces come over any of its
 * sessions, which may live on different workers. The mutex is held to file one piece or to
 * forget old ones; decoding, joining and the handler run without it, on the worker of the
 * session that the completing piece came by, whose number gets the handler's outcome.
 */
#ifndef PARLEY_PEERS_TRANSFER_IN_H
#define PARLEY_PEERS_TRANSFER_IN_H

#include <pthread.h>

#include "peers/chunk_in.h"

struct transfers_in {
    pthread_mutex_t mutex;
    struct chunks chunks; /* under it */
};

struct session;
struct envelope;

void transfers_in_init(struct transfers_in *transfers, const struct alloc *alloc,
                       const parley_options *options);
/** Nothing happens if it was never initialised. */
void transfers_in_fini(struct transfers_in *transfers);

/** Forgets what has waited for too long. Any thread. */
void transfers_in_sweep(struct transfers_in *transfers, uint64_t now_ns);

/** A message of type CHUNK_TYPE has begun as `number`: stored, refused, or, if it completes a
 *  transfer, the whole is run in its place. On the session's owner. */
void transfer_in_chunk(struct session *session, const struct envelope *envelope,
                       uint64_t number, parley_transport transport);

#endif
