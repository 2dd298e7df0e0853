/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/session_table.h"

#include <stdatomic.h>
#include <string.h>

#include "peers/envelope.h"
#include "peers/session.h"

#define NAME_MAX_BYTES (ENVELOPE_ID_MAX + ENVELOPE_SESSION_MAX + 2)

void session_table_init(struct session_table *table, const struct alloc *alloc,
                        uint32_t sessions_max)
{
    table->alloc = alloc;
    table->sessions_max = sessions_max;
    for (unsigned i = 0; i < SESSION_SHARDS; i++)
        pthread_mutex_init(&table->shards[i].mutex, NULL);
}

void session_table_fini(struct session_table *table)
{
    if (table->alloc == NULL)
        return;
    for (unsigned i = 0; i < SESSION_SHARDS; i++)
        pthread_mutex_destroy(&table->shards[i].mutex);
}

static unsigned shard_of(const char *name, size_t len)
{
    return (hash_bytes(name, len) >> 16) % SESSION_SHARDS; /* the low bits are uthash's */
}

static size_t make_name(char *name, const char *sender, const char *session_id)
{
    size_t sender_len = strlen(sender) + 1, session_len = strlen(session_id) + 1;

    memcpy(name, sender, sender_len);
    memcpy(name + sender_len, session_id, session_len);
    return sender_len + session_len;
}

static parley_status add(struct session_table *table, unsigned shard_index, const char *name,
                         size_t name_len, struct worker *worker, bool beyond,
                         struct session **ret_session)
{
    const struct alloc *alloc = table->alloc;
    struct session_shard *shard = &table->shards[shard_index];
    struct session *session;

    /* relaxed: a bound, nothing is published through it. */
    if (atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed) >=
            table->sessions_max &&
        !beyond) {
        atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
        return PARLEY_ELIMIT;
    }
    session = session_new(bench_of(worker)->runtime, worker, name, name_len);
    if (session == NULL)
        goto no_memory;
    session->id = ++shard->last_id * SESSION_SHARDS + shard_index;
    HASH_ADD_KEYPTR(by_name, shard->by_name, session->name, session->name_len, session);
    if (session->by_name.tbl == NULL)
        goto no_memory;
    HASH_ADD(by_id, shard->by_id, id, sizeof(session->id), session);
    if (session->by_id.tbl == NULL) {
        HASH_DELETE(by_name, shard->by_name, session);
        goto no_memory;
    }
    session_start(session);
    *ret_session = session;
    return PARLEY_OK;

no_memory:
    atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
    session_free(session);
    return PARLEY_ENOMEM;
}

parley_status session_table_acquire(struct session_table *table, const char *sender,
                                    const char *session_id, struct worker *worker, bool beyond,
                                    struct session **ret_session)
{
    char name[NAME_MAX_BYTES];
    size_t name_len = make_name(name, sender, session_id);
    unsigned index = shard_of(name, name_len);
    struct session_shard *shard = &table->shards[index];
    struct session *session = NULL;
    parley_status status = PARLEY_OK;

    pthread_mutex_lock(&shard->mutex);
    HASH_FIND(by_name, shard->by_name, name, name_len, session);
    if (session == NULL)
        status = add(table, index, name, name_len, worker, beyond, &session);
    if (status == PARLEY_OK) {
        session->references++;
        *ret_session = session;
    }
    pthread_mutex_unlock(&shard->mutex);
    return status;
}

struct session *session_table_find(struct session_table *table, uint64_t id)
{
    struct session_shard *shard = &table->shards[id % SESSION_SHARDS];
    struct session *session = NULL;

    pthread_mutex_lock(&shard->mutex);
    HASH_FIND(by_id, shard->by_id, &id, sizeof(id), session);
    if (session != NULL)
        session->references++;
    pthread_mutex_unlock(&shard->mutex);
    return session;
}

void session_table_hold(struct session_table *table, struct session *session)
{
    struct session_shard *shard = &table->shards[session->id % SESSION_SHARDS];

    pthread_mutex_lock(&shard->mutex);
    session->references++;
    pthread_mutex_unlock(&shard->mutex);
}

void session_table_release(struct session_table *table, struct session *session)
{
    struct session_shard *shard = &table->shards[session->id % SESSION_SHARDS];

    pthread_mutex_lock(&shard->mutex);
    session->references--;
    pthread_mutex_unlock(&shard->mutex);
}

bool session_table_forget(struct session_table *table, struct session *session)
{
    const struct alloc *alloc = table->alloc;
    struct session_shard *shard = &table->shards[session->id % SESSION_SHARDS];
    bool unused;

    pthread_mutex_lock(&shard->mutex);
    unused = session->references == 0;
    if (unused) {
        HASH_DELETE(by_name, shard->by_name, session);
        HASH_DELETE(by_id, shard->by_id, session);
        atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->mutex);
    return unused;
}
