/* SPDX-License-Identifier: Apache-2.0
 *
 * The host's callbacks: message handlers by type, and the observers. Workers read them
 * without a lock: a change publishes a new immutable table, and the tables it replaced
 * live until the runtime closes, since a worker may still be looking at one.
 */
#ifndef PARLEY_PEERS_HANDLERS_H
#define PARLEY_PEERS_HANDLERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "parley.h"
#include "runtime/alloc.h"

struct handler {
    const char *type; /* NULL: the default */
    size_t type_len;
    parley_message_fn run;
    void *user;
};

struct handler_table {
    struct handler_table *replaced; /* an older one, for handlers_fini() */
    parley_state_fn on_state;
    void *on_state_user;
    parley_writable_fn on_writable;
    void *on_writable_user;
    parley_stats_fn on_stats;
    void *on_stats_user;
    struct handler fallback;
    size_t len;
    struct handler entries[]; /* the types' text follows */
};

struct handlers {
    const struct alloc *alloc;
    pthread_mutex_t mutex; /* between writers */
    _Atomic(struct handler_table *) table;
};

parley_status handlers_init(struct handlers *handlers, const struct alloc *alloc);
void handlers_fini(struct handlers *handlers);

/** The table in force. Any thread; it stays readable until handlers_fini(). */
const struct handler_table *handlers_get(const struct handlers *handlers);

/** The handler for a type, NULL: none. */
const struct handler *handlers_find(const struct handler_table *table, const char *type);

parley_status handlers_set_message(struct handlers *handlers, const char *type,
                                   parley_message_fn run, void *user);
parley_status handlers_set_state(struct handlers *handlers, parley_state_fn fn, void *user);
parley_status handlers_set_writable(struct handlers *handlers, parley_writable_fn fn,
                                    void *user);
parley_status handlers_set_stats(struct handlers *handlers, parley_stats_fn fn, void *user);

#endif
