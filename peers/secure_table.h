/* SPDX-License-Identifier: Apache-2.0
 *
 * Security sessions over HTTP, as the responder keeps them. A session's requests come in on
 * any worker, so they are found here by id, and each is used under a mutex of its own: one
 * peer has one request at a time.
 *
 * Bounded: an entity has one session that is being set up, which the next one replaces, and
 * the two that were set up last. There are so many in all, of which the oldest makes room: its
 * peer sets up another. Only a step 1 that its sender's trusted key has signed makes one.
 *
 * Threads: any. The table's mutex is held for a look-up, a session's while it encrypts.
 */
#ifndef PARLEY_PEERS_SECURE_TABLE_H
#define PARLEY_PEERS_SECURE_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "peers/handshake.h"
#include "peers/hash.h"
#include "peers/seal.h"
#include "runtime/alloc.h"

struct secure_session {
    UT_hash_handle by_id;
    struct secure_session *next, *prev; /* newest first */
    uint32_t references;                /* under the table's mutex, as the above */
    bool forgotten;
    /* immutable */
    char id[ENVELOPE_SESSION_MAX + 1];
    char entity[ENVELOPE_ID_MAX + 1];
    uint64_t made_ns;
    /* under its own */
    pthread_mutex_t mutex;
    struct handshake handshake; /* wiped when it is READY */
    struct seal in, out;
    bool ready;
    uint8_t peer_key[IDENTITY_KEY_BYTES]; /* of its identity, which it has proven; then */
};

struct secure_table {
    pthread_mutex_t mutex;
    const struct alloc *alloc;
    struct secure_session *ids, *first, *last;
    uint32_t count;
};

void secure_table_init(struct secure_table *table, const struct alloc *alloc);
void secure_table_fini(struct secure_table *table);

/** Makes a session that is not in the table. @return NULL: no memory */
struct secure_session *secure_session_new(struct secure_table *table, const char *id,
                                          const char *entity, uint64_t now_ns);

/** Puts it there, referenced, in the place of the one its entity was setting up.
 *  @return false: the id is taken, or there is no memory; it was freed */
bool secure_table_add(struct secure_table *table, struct secure_session *session,
                      uint64_t old_ns);

/** The session of this id, referenced; NULL: none. */
struct secure_session *secure_table_find(struct secure_table *table, const char *id);

/** It is set up: what its entity had before the last one goes. */
void secure_table_ready(struct secure_table *table, struct secure_session *session);

/** Forgets it. The reference stays the caller's. */
void secure_table_drop(struct secure_table *table, struct secure_session *session);
void secure_table_release(struct secure_table *table, struct secure_session *session);

#endif
