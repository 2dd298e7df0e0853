/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/handlers.h"

#include <string.h>

parley_status handlers_init(struct handlers *handlers, const struct alloc *alloc)
{
    struct handler_table *table = alloc_zeroed(alloc, sizeof(*table));

    if (table == NULL)
        return PARLEY_ENOMEM;
    handlers->alloc = alloc;
    pthread_mutex_init(&handlers->mutex, NULL);
    atomic_init(&handlers->table, table);
    return PARLEY_OK;
}

void handlers_fini(struct handlers *handlers)
{
    struct handler_table *table;

    if (handlers->alloc == NULL)
        return;
    table = atomic_load_explicit(&handlers->table, memory_order_relaxed);
    while (table != NULL) {
        struct handler_table *replaced = table->replaced;

        alloc_free(handlers->alloc, table);
        table = replaced;
    }
    pthread_mutex_destroy(&handlers->mutex);
}

const struct handler_table *handlers_get(const struct handlers *handlers)
{
    /* acquire: the table's contents; pairs with the release store in publish(). */
    return atomic_load_explicit(&handlers->table, memory_order_acquire);
}

const struct handler *handlers_find(const struct handler_table *table, const char *type)
{
    size_t len = strlen(type);

    for (size_t i = 0; i < table->len; i++) {
        const struct handler *handler = &table->entries[i];

        if (handler->type_len == len && memcmp(handler->type, type, len) == 0)
            return handler;
    }
    return table->fallback.run != NULL ? &table->fallback : NULL;
}

/* Room for one entry more than `old` has, and for the text of all types and of `type`. */
static struct handler_table *copy(struct handlers *handlers, const struct handler_table *old,
                                  const char *type)
{
    size_t entries = old->len + 1;
    size_t text = type != NULL ? strlen(type) + 1 : 1;
    struct handler_table *table;
    char *end;

    for (size_t i = 0; i < old->len; i++)
        text += old->entries[i].type_len + 1;
    table = alloc_zeroed(handlers->alloc,
                         sizeof(*table) + entries * sizeof(table->entries[0]) + text);
    if (table == NULL)
        return NULL;
    memcpy(table, old, sizeof(*old));
    end = (char *)&table->entries[entries];
    for (size_t i = 0; i < old->len; i++) {
        table->entries[i] = old->entries[i];
        table->entries[i].type =
            memcpy(end, old->entries[i].type, old->entries[i].type_len + 1);
        end += old->entries[i].type_len + 1;
    }
    if (type != NULL) {
        table->entries[old->len].type_len = strlen(type);
        table->entries[old->len].type = memcpy(end, type, strlen(type) + 1);
    }
    return table;
}

static void publish(struct handlers *handlers, struct handler_table *old,
                    struct handler_table *table)
{
    table->replaced = old;
    /* release: the new table's contents; pairs with the acquire load in handlers_get(). */
    atomic_store_explicit(&handlers->table, table, memory_order_release);
}

static void set_entry(struct handler_table *table, const char *type, parley_message_fn run,
                      void *user)
{
    size_t at = 0;

    if (type == NULL) {
        table->fallback = (struct handler){.run = run, .user = user};
        return;
    }
    while (strcmp(table->entries[at].type, type) != 0)
        at++; /* ends at the spare entry copy() made for this type */
    if (run == NULL) {
        if (at < table->len)
            table->entries[at] = table->entries[--table->len];
        return;
    }
    table->entries[at].run = run;
    table->entries[at].user = user;
    if (at == table->len)
        table->len++;
}

parley_status handlers_set_message(struct handlers *handlers, const char *type,
                                   parley_message_fn run, void *user)
{
    parley_status status = PARLEY_ENOMEM;
    struct handler_table *old, *table;

    pthread_mutex_lock(&handlers->mutex);
    old =
        atomic_load_explicit(&handlers->table, memory_order_relaxed); /* mutex: sole writer */
    table = copy(handlers, old, type);
    if (table != NULL) {
        set_entry(table, type, run, user);
        publish(handlers, old, table);
        status = PARLEY_OK;
    }
    pthread_mutex_unlock(&handlers->mutex);
    return status;
}

enum observer { OBSERVER_STATE, OBSERVER_WRITABLE, OBSERVER_STATS };

struct observer_change {
    enum observer which;
    parley_state_fn state;
    parley_writable_fn writable;
    parley_stats_fn stats;
    void *user;
};

static void set_observer(struct handler_table *table, const struct observer_change *change)
{
    switch (change->which) {
    case OBSERVER_STATE:
        table->on_state = change->state;
        table->on_state_user = change->user;
        break;
    case OBSERVER_WRITABLE:
        table->on_writable = change->writable;
        table->on_writable_user = change->user;
        break;
    case OBSERVER_STATS:
        table->on_stats = change->stats;
        table->on_stats_user = change->user;
        break;
    }
}

static parley_status observe(struct handlers *handlers, const struct observer_change *change)
{
    parley_status status = PARLEY_ENOMEM;
    struct handler_table *old, *table;

    pthread_mutex_lock(&handlers->mutex);
    old =
        atomic_load_explicit(&handlers->table, memory_order_relaxed); /* mutex: sole writer */
    table = copy(handlers, old, NULL);
    if (table != NULL) {
        set_observer(table, change);
        publish(handlers, old, table);
        status = PARLEY_OK;
    }
    pthread_mutex_unlock(&handlers->mutex);
    return status;
}

parley_status handlers_set_state(struct handlers *handlers, parley_state_fn fn, void *user)
{
    return observe(handlers, &(struct observer_change){
                                 .which = OBSERVER_STATE, .state = fn, .user = user});
}

parley_status handlers_set_writable(struct handlers *handlers, parley_writable_fn fn,
                                    void *user)
{
    return observe(handlers, &(struct observer_change){
                                 .which = OBSERVER_WRITABLE, .writable = fn, .user = user});
}

parley_status handlers_set_stats(struct handlers *handlers, parley_stats_fn fn, void *user)
{
    return observe(handlers, &(struct observer_change){
                                 .which = OBSERVER_STATS, .stats = fn, .user = user});
}
