/* SPDX-License-Identifier: Apache-2.0
 *
 * Which worker owns an inbound session: (sender, session_id) → session.
 *
 * Asked once per connection and once per HTTP request, never per message; so plain
 * mutexes, in shards. A reference taken here keeps a session from being forgotten; only
 * its owner forgets it, when nobody holds one.
 */
#ifndef PARLEY_PEERS_SESSION_TABLE_H
#define PARLEY_PEERS_SESSION_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

#define SESSION_SHARDS 16u

struct session;
struct worker;

struct session_shard {
    pthread_mutex_t mutex;
    struct session *by_name;
    struct session *by_id;
    uint64_t last_id;
};

struct session_table {
    const struct alloc *alloc;
    uint32_t sessions_max;
    _Atomic(uint32_t) count;
    struct session_shard shards[SESSION_SHARDS];
};

void session_table_init(struct session_table *table, const struct alloc *alloc,
                        uint32_t sessions_max);
void session_table_fini(struct session_table *table);

/**
 * Finds a session and takes a reference, making it on `worker` when it is unknown.
 *
 * @param beyond make it even if sessions_max are known
 * @return PARLEY_OK; PARLEY_ELIMIT (sessions_max are known); PARLEY_ENOMEM
 */
parley_status session_table_acquire(struct session_table *table, const char *sender,
                                    const char *session_id, struct worker *worker, bool beyond,
                                    struct session **ret_session);

/** Finds a session by its id and takes a reference; NULL: gone. */
struct session *session_table_find(struct session_table *table, uint64_t id);

/** Takes one more reference to a session that is referenced already. */
void session_table_hold(struct session_table *table, struct session *session);

/** Gives a reference back. Any thread. */
void session_table_release(struct session_table *table, struct session *session);

/** Removes a session nobody references. On its owner. @return false: somebody does */
bool session_table_forget(struct session_table *table, struct session *session);

#endif
