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

struct change {
    const char *type; /* of a handler; NULL: the default */
    parley_message_fn message;
    parley_state_fn state;
    parley_writable_fn writable;
    parley_stats_fn stats;
    void *user;
};

typedef void (*apply_fn)(struct handler_table *table, const struct change *change);

static parley_status change_table(struct handlers *handlers, apply_fn apply,
                                  const struct change *change)
{
    parley_status status = PARLEY_ENOMEM;
    struct handler_table *old, *table;

    pthread_mutex_lock(&handlers->mutex);
    old =
        atomic_load_explicit(&handlers->table, memory_order_relaxed); /* mutex: sole writer */
    table = copy(handlers, old, change->type);
    if (table != NULL) {
        apply(table, change);
        table->replaced = old;
        /* release: the new table's contents; pairs with the acquire load in handlers_get(). */
        atomic_store_explicit(&handlers->table, table, memory_order_release);
        status = PARLEY_OK;
    }
    pthread_mutex_unlock(&handlers->mutex);
    return status;
}

static void apply_message(struct handler_table *table, const struct change *change)
{
    size_t at = 0;

    if (change->type == NULL) {
        table->fallback = (struct handler){.run = change->message, .user = change->user};
        return;
    }
    while (strcmp(table->entries[at].type, change->type) != 0)
        at++; /* ends at the spare entry copy() made for this type */
    if (change->message == NULL) {
        if (at < table->len)
            table->entries[at] = table->entries[--table->len];
        return;
    }
    table->entries[at].run = change->message;
    table->entries[at].user = change->user;
    if (at == table->len)
        table->len++;
}

static void apply_state(struct handler_table *table, const struct change *change)
{
    table->on_state = change->state;
    table->on_state_user = change->user;
}

static void apply_writable(struct handler_table *table, const struct change *change)
{
    table->on_writable = change->writable;
    table->on_writable_user = change->user;
}

static void apply_stats(struct handler_table *table, const struct change *change)
{
    table->on_stats = change->stats;
    table->on_stats_user = change->user;
}

parley_status handlers_set_message(struct handlers *handlers, const char *type,
                                   parley_message_fn run, void *user)
{
    const struct change change = {.type = type, .message = run, .user = user};

    return change_table(handlers, apply_message, &change);
}

parley_status handlers_set_state(struct handlers *handlers, parley_state_fn fn, void *user)
{
    const struct change change = {.state = fn, .user = user};

    return change_table(handlers, apply_state, &change);
}

parley_status handlers_set_writable(struct handlers *handlers, parley_writable_fn fn,
                                    void *user)
{
    const struct change change = {.writable = fn, .user = user};

    return change_table(handlers, apply_writable, &change);
}

parley_status handlers_set_stats(struct handlers *handlers, parley_stats_fn fn, void *user)
{
    const struct change change = {.stats = fn, .user = user};

    return change_table(handlers, apply_stats, &change);
}
