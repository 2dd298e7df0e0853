/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/secure_table.h"

#include <assert.h>
#include <string.h>

#define SESSIONS_MAX 4096
#define READY_MAX    2 /* of one entity: the last one's requests may still be under way */

void secure_table_init(struct secure_table *table, const struct alloc *alloc)
{
    pthread_mutex_init(&table->mutex, NULL);
    table->alloc = alloc;
}

static void session_free(struct secure_table *table, struct secure_session *session)
{
    seal_fini(&session->in);
    seal_fini(&session->out);
    handshake_fini(&session->handshake);
    pthread_mutex_destroy(&session->mutex);
    alloc_free(table->alloc, session);
}

struct secure_session *secure_session_new(struct secure_table *table, const char *id,
                                          const char *entity, uint64_t now_ns)
{
    struct secure_session *session = alloc_zeroed(table->alloc, sizeof(*session));

    if (session == NULL)
        return NULL;
    pthread_mutex_init(&session->mutex, NULL);
    handshake_init(&session->handshake);
    snprintf(session->id, sizeof(session->id), "%s", id);
    snprintf(session->entity, sizeof(session->entity), "%s", entity);
    session->made_ns = now_ns;
    session->references = 1;
    return session;
}

/* ---- Under the table's mutex ---- */

static bool put(struct secure_table *table, struct secure_session *session)
{
    const struct alloc *alloc = table->alloc;

    HASH_ADD_KEYPTR(by_id, table->ids, session->id, strlen(session->id), session);
    if (session->by_id.tbl == NULL)
        return false;
    session->next = table->first;
    if (table->first != NULL)
        table->first->prev = session;
    else
        table->last = session;
    table->first = session;
    table->count++;
    return true;
}

static void unreference(struct secure_table *table, struct secure_session *session)
{
    assert(session->references > 0);
    if (--session->references == 0)
        session_free(table, session);
}

/* The table's own reference goes, too. */
static void forget(struct secure_table *table, struct secure_session *session)
{
    const struct alloc *alloc = table->alloc;

    if (session->forgotten)
        return;
    session->forgotten = true;
    assert(table->ids != NULL);
    HASH_DELETE(by_id, table->ids, session);
    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        table->first = session->next;
    if (session->next != NULL)
        session->next->prev = session->prev;
    else
        table->last = session->prev;
    table->count--;
    unreference(table, session);
}

static struct secure_session *find(struct secure_table *table, const char *id)
{
    struct secure_session *session;

    HASH_FIND(by_id, table->ids, id, strlen(id), session);
    return session;
}

/* Whether it is set up is read without its mutex: a session changes to that once, and what is
 * forgotten too early is set up anew. */
static bool is_ready(struct secure_session *session)
{
    bool ready;

    pthread_mutex_lock(&session->mutex);
    ready = session->ready;
    pthread_mutex_unlock(&session->mutex);
    return ready;
}

static void forget_old(struct secure_table *table, uint64_t old_ns)
{
    while (table->last != NULL && table->last->made_ns < old_ns)
        forget(table, table->last);
}

/* ---- The table ---- */

void secure_table_fini(struct secure_table *table)
{
    while (table->first != NULL)
        forget(table, table->first);
    if (table->alloc != NULL)
        pthread_mutex_destroy(&table->mutex);
}

static void forget_pending(struct secure_table *table, const char *entity)
{
    for (struct secure_session *session = table->first, *next; session != NULL;
         session = next) {
        next = session->next;
        if (strcmp(session->entity, entity) == 0 && !is_ready(session))
            forget(table, session);
    }
}

bool secure_table_add(struct secure_table *table, struct secure_session *session,
                      uint64_t old_ns)
{
    bool added = false;

    pthread_mutex_lock(&table->mutex);
    forget_old(table, old_ns);
    if (find(table, session->id) == NULL) { /* a copy of its step 1 changes nothing */
        forget_pending(table, session->entity);
        if (table->count >= SESSIONS_MAX)
            forget(table, table->last);
        added = put(table, session);
    }
    if (added)
        session->references++;
    else
        unreference(table, session);
    pthread_mutex_unlock(&table->mutex);
    return added;
}

struct secure_session *secure_table_find(struct secure_table *table, const char *id)
{
    struct secure_session *session;

    pthread_mutex_lock(&table->mutex);
    session = find(table, id);
    if (session != NULL)
        session->references++;
    pthread_mutex_unlock(&table->mutex);
    return session;
}

void secure_table_ready(struct secure_table *table, struct secure_session *session)
{
    unsigned ready = 0;

    pthread_mutex_lock(&table->mutex);
    for (struct secure_session *other = table->first, *next; other != NULL; other = next) {
        next = other->next;
        if (other == session ||
            (strcmp(other->entity, session->entity) == 0 && is_ready(other)))
            ready++;
        if (other != session && ready > READY_MAX &&
            strcmp(other->entity, session->entity) == 0)
            forget(table, other);
    }
    pthread_mutex_unlock(&table->mutex);
}

void secure_table_drop(struct secure_table *table, struct secure_session *session)
{
    pthread_mutex_lock(&table->mutex);
    forget(table, session);
    pthread_mutex_unlock(&table->mutex);
}

void secure_table_release(struct secure_table *table, struct secure_session *session)
{
    pthread_mutex_lock(&table->mutex);
    unreference(table, session);
    pthread_mutex_unlock(&table->mutex);
}
