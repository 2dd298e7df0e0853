/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/limit.h"

#include <string.h>

#include "peers/hash.h"
#include "peers/service.h"
#include "runtime/clock.h"

struct limited_sender {
    UT_hash_handle by_name;
    struct limited_sender *next, *prev;
    struct pace paces[LIMIT_KINDS];
    char name[];
};

enum limit_kind limit_kind_of(const char *msg_type)
{
    static const struct {
        const char *type;
        enum limit_kind kind;
    } kinds[] = {
        {"handshake", LIMIT_HANDSHAKE},
        {"handshake_ack", LIMIT_HANDSHAKE},
        {"handshake_confirm", LIMIT_HANDSHAKE},
        {"handshake_init", LIMIT_HANDSHAKE},
        {"handshake_init_ack", LIMIT_HANDSHAKE},
        {"challenge_response", LIMIT_HANDSHAKE},
        {"session_established", LIMIT_HANDSHAKE},
        {"session_confirm", LIMIT_HANDSHAKE},
        {"ready", LIMIT_HANDSHAKE},
        {"heartbeat", LIMIT_HEARTBEAT},
        {"ping", LIMIT_HEARTBEAT},
        {"pong", LIMIT_HEARTBEAT},
        {"discovery", LIMIT_DISCOVERY},
        {"peer_discovery", LIMIT_DISCOVERY},
        {"capability_exchange", LIMIT_DISCOVERY},
        {"chunk", LIMIT_CHUNK},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(msg_type, kinds[i].type) == 0)
            return kinds[i].kind;
    }
    return LIMIT_TASK;
}

/* ---- The table ---- */

void limit_init(struct limit_table *table, const struct alloc *alloc,
                const parley_options *options, bool loopback)
{
    table->alloc = alloc;
    table->on = options->rates == PARLEY_RATES_ON ||
                (options->rates == PARLEY_RATES_AUTO && !loopback);
    table->senders_max = options->guests_max;
    pthread_mutex_init(&table->mutex, NULL);
    pace_init(&table->fresh[LIMIT_HANDSHAKE], options->rate_handshake_burst,
              options->rate_handshake_per_min);
    pace_init(&table->fresh[LIMIT_HEARTBEAT], options->rate_heartbeat_burst,
              options->rate_heartbeat_per_min);
    pace_init(&table->fresh[LIMIT_TASK], options->rate_task_burst, options->rate_task_per_min);
    pace_init(&table->fresh[LIMIT_DISCOVERY], options->rate_discovery_burst,
              options->rate_discovery_per_min);
    pace_init(&table->fresh[LIMIT_CHUNK], options->rate_chunk_burst,
              options->rate_chunk_per_min);
}

static void leave(struct limit_table *table, struct limited_sender *sender)
{
    if (sender->prev != NULL)
        sender->prev->next = sender->next;
    else
        table->first = sender->next;
    if (sender->next != NULL)
        sender->next->prev = sender->prev;
    else
        table->last = sender->prev;
}

static void join(struct limit_table *table, struct limited_sender *sender)
{
    sender->prev = NULL;
    sender->next = table->first;
    if (sender->next != NULL)
        sender->next->prev = sender;
    else
        table->last = sender;
    table->first = sender;
}

static void forget(struct limit_table *table, struct limited_sender *sender)
{
    const struct alloc *alloc = table->alloc;

    HASH_DELETE(by_name, table->by_name, sender);
    leave(table, sender);
    table->senders--;
    alloc_free(alloc, sender);
}

void limit_fini(struct limit_table *table)
{
    if (table->alloc == NULL)
        return;
    while (table->first != NULL)
        forget(table, table->first);
    pthread_mutex_destroy(&table->mutex);
}

/* @return NULL: out of memory */
static struct limited_sender *add(struct limit_table *table, const char *name, size_t len)
{
    const struct alloc *alloc = table->alloc;
    struct limited_sender *sender = alloc_zeroed(alloc, sizeof(*sender) + len + 1);

    if (sender == NULL)
        return NULL;
    memcpy(sender->name, name, len + 1);
    memcpy(sender->paces, table->fresh, sizeof(sender->paces));
    HASH_ADD_KEYPTR(by_name, table->by_name, sender->name, len, sender);
    if (sender->by_name.tbl == NULL) {
        alloc_free(alloc, sender);
        return NULL;
    }
    join(table, sender);
    if (++table->senders > table->senders_max)
        forget(table, table->last);
    return sender;
}

static struct limited_sender *find(struct limit_table *table, const char *name)
{
    struct limited_sender *sender = NULL;
    size_t len = strlen(name);

    HASH_FIND(by_name, table->by_name, name, len, sender);
    if (sender == NULL)
        return add(table, name, len);
    leave(table, sender);
    join(table, sender);
    return sender;
}

bool limit_take(struct limit_table *table, const char *sender, enum limit_kind kind,
                uint64_t now_ns, uint64_t *ret_at_ns)
{
    struct limited_sender *known;
    bool taken = false;

    pthread_mutex_lock(&table->mutex);
    known = find(table, sender);
    if (known != NULL)
        taken = pace_take(&known->paces[kind], now_ns, ret_at_ns);
    else
        *ret_at_ns = now_ns + NS_PER_S;
    pthread_mutex_unlock(&table->mutex);
    return taken;
}

uint32_t limit_wait_s(uint64_t now_ns, uint64_t at_ns)
{
    uint64_t wait_ns = at_ns > now_ns ? at_ns - now_ns : 0;
    uint64_t wait_s = wait_ns / NS_PER_S + (wait_ns % NS_PER_S != 0 ? 1 : 0);

    if (wait_s == 0)
        return 1;
    return wait_s < UINT32_MAX ? (uint32_t)wait_s : UINT32_MAX;
}

/* ---- Who is limited ---- */

bool limit_applies(struct parley *runtime, struct limit_trust *trust, const char *sender)
{
    uint32_t version;

    if (!runtime->limits.on)
        return false;
    /* acquire: pairs with the release in registry.c, so that a change seen here is found under
     * the mutex; one that is not seen yet is found next time. */
    version = atomic_load_explicit(&runtime->registry.version, memory_order_acquire);
    if (!trust->known || trust->version != version) {
        trust->version = version;
        trust->known = true;
        registry_lock(&runtime->registry);
        trust->trusted = registry_find(&runtime->registry, sender) != NULL;
        registry_unlock(&runtime->registry);
    }
    return !trust->trusted;
}
