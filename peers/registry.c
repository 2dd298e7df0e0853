/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/registry.h"

#include <string.h>

#include "peers/peer.h"

parley_status registry_init(struct registry *registry, const struct alloc *alloc,
                            uint32_t peers_max)
{
    uint32_t most = REGISTRY_CHUNK * REGISTRY_CHUNKS_MAX;

    registry->alloc = alloc;
    registry->peers_max = peers_max < most ? peers_max : most;
    if (pthread_mutex_init(&registry->mutex, NULL) != 0)
        return PARLEY_ESYSTEM;
    return PARLEY_OK;
}

void registry_fini(struct registry *registry)
{
    if (registry->alloc == NULL)
        return;
    for (uint32_t i = 0; i < REGISTRY_CHUNKS_MAX; i++) {
        struct slot *chunk =
            atomic_load_explicit(&registry->chunks[i], memory_order_relaxed); /* alone now */

        if (chunk == NULL)
            break;
        alloc_free_aligned(registry->alloc, chunk);
    }
    pthread_mutex_destroy(&registry->mutex);
}

static uint32_t handle_generation(parley_peer handle)
{
    return (uint32_t)(handle.value >> 32);
}

uint32_t credit_generation(parley_peer handle)
{
    return handle_generation(handle) & 0xffff;
}

static parley_peer make_handle(uint32_t generation, uint32_t index)
{
    return (parley_peer){((uint64_t)generation << 32) | (index + 1)};
}

/* Its low half follows credit_open(), which passes over 0. */
static uint32_t next_generation(uint32_t generation)
{
    generation++;
    return (generation & 0xffff) != 0 ? generation : generation + 1;
}

static struct slot *slot_at(struct registry *registry, uint32_t index)
{
    struct slot *chunk;

    if (index >= REGISTRY_CHUNK * REGISTRY_CHUNKS_MAX)
        return NULL;
    /* acquire: the chunk's slots; pairs with the release store in add_chunk(). */
    chunk =
        atomic_load_explicit(&registry->chunks[index / REGISTRY_CHUNK], memory_order_acquire);
    return chunk != NULL ? &chunk[index % REGISTRY_CHUNK] : NULL;
}

/* A handle's low half is the slot's index plus one, so that no handle is 0. */
static struct slot *slot_of(struct registry *registry, parley_peer handle)
{
    return slot_at(registry, (uint32_t)handle.value - 1);
}

struct slot *registry_slot(struct registry *registry, parley_peer handle)
{
    struct slot *slot = slot_of(registry, handle);

    /* acquire: the slot's peer pointer; pairs with the release store in registry_attach(). */
    if (slot == NULL || atomic_load_explicit(&slot->generation, memory_order_acquire) !=
                            handle_generation(handle))
        return NULL;
    return slot;
}

bool registry_issued(struct registry *registry, parley_peer handle)
{
    struct slot *slot = slot_of(registry, handle);

    return slot != NULL && handle_generation(handle) != 0 &&
           handle_generation(handle) <=
               atomic_load_explicit(&slot->generation, memory_order_relaxed); /* a hint only */
}

parley_peer registry_handle_at(struct registry *registry, uint32_t index)
{
    struct slot *slot = slot_at(registry, index);

    if (slot == NULL)
        return (parley_peer){0};
    return make_handle(atomic_load_explicit(&slot->generation, memory_order_relaxed), index);
}

void registry_lock(struct registry *registry)
{
    pthread_mutex_lock(&registry->mutex);
}

void registry_unlock(struct registry *registry)
{
    pthread_mutex_unlock(&registry->mutex);
}

static parley_status add_chunk(struct registry *registry)
{
    uint32_t chunk_index = registry->slots / REGISTRY_CHUNK;
    struct slot *chunk;

    if (chunk_index >= REGISTRY_CHUNKS_MAX)
        return PARLEY_ELIMIT;
    chunk = alloc_aligned(registry->alloc, CACHE_LINE, REGISTRY_CHUNK * sizeof(*chunk));
    if (chunk == NULL)
        return PARLEY_ENOMEM;
    for (uint32_t i = REGISTRY_CHUNK; i-- > 0;) {
        credit_init(&chunk[i].credit);
        chunk[i].index = registry->slots + i;
        chunk[i].next_free = registry->free;
        registry->free = chunk[i].index + 1;
    }
    registry->slots += REGISTRY_CHUNK;
    /* release: the slots; pairs with the acquire load in slot_at(). */
    atomic_store_explicit(&registry->chunks[chunk_index], chunk, memory_order_release);
    return PARLEY_OK;
}

parley_status registry_attach(struct registry *registry, struct peer *peer)
{
    const struct alloc *alloc = registry->alloc;
    parley_status status = PARLEY_OK;
    struct slot *slot;
    uint32_t generation;

    if (registry_find(registry, peer->id) != NULL)
        return PARLEY_EEXIST;
    if (registry->peers >= registry->peers_max)
        return PARLEY_ELIMIT;
    if (registry->free == 0 && (status = add_chunk(registry)) != PARLEY_OK)
        return status;
    HASH_ADD_KEYPTR(by_id, registry->ids, peer->id, strlen(peer->id), peer);
    if (peer->by_id.tbl == NULL)
        return PARLEY_ENOMEM;
    atomic_fetch_add_explicit(&registry->version, 1, memory_order_release); /* limit.c */
    slot = slot_at(registry, registry->free - 1);
    registry->free = slot->next_free;
    registry->peers++;
    generation =
        next_generation(atomic_load_explicit(&slot->generation, memory_order_relaxed));
    peer->slot = slot;
    peer->handle = make_handle(generation, slot->index);
    atomic_store_explicit(&slot->peer, peer, memory_order_relaxed);
    atomic_store_explicit(&slot->rejects, false, memory_order_relaxed);
    atomic_store_explicit(&slot->drops, false, memory_order_relaxed);
    atomic_store_explicit(&slot->refused_bytes, 0, memory_order_relaxed);
    /* release: the peer pointer; pairs with the acquire load in registry_slot(). */
    atomic_store_explicit(&slot->generation, generation, memory_order_release);
    return PARLEY_OK;
}

struct peer *registry_find(struct registry *registry, const char *id)
{
    struct peer *peer = NULL;

    HASH_FIND(by_id, registry->ids, id, strlen(id), peer);
    return peer;
}

struct peer *registry_get(struct registry *registry, parley_peer handle)
{
    struct slot *slot = registry_slot(registry, handle);
    struct peer *peer;

    if (slot == NULL)
        return NULL;
    peer = atomic_load_explicit(&slot->peer, memory_order_relaxed); /* the mutex orders it */
    return peer != NULL && !peer->removed ? peer : NULL;
}

void registry_forget(struct registry *registry, struct peer *peer)
{
    const struct alloc *alloc = registry->alloc;

    HASH_DELETE(by_id, registry->ids, peer);
    atomic_fetch_add_explicit(&registry->version, 1, memory_order_release); /* limit.c */
    peer->removed = true;
}

void registry_detach(struct registry *registry, struct peer *peer)
{
    struct slot *slot = peer->slot;

    atomic_store_explicit(&slot->peer, NULL, memory_order_relaxed); /* the mutex orders it */
    slot->next_free = registry->free;
    registry->free = slot->index + 1;
    registry->peers--;
}

struct peer *registry_at(struct registry *registry, uint32_t index)
{
    struct slot *slot = slot_at(registry, index);

    return slot != NULL ? atomic_load_explicit(&slot->peer, memory_order_relaxed) : NULL;
}
