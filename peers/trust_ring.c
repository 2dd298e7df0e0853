/* SPDX-License-Identifier: Apache-2.0
 *
 * A slot that was emptied keeps a tombstone, so that what stands behind it is still found; a
 * larger table, made when half of the slots have been used, leaves them behind.
 */
#include "peers/trust_ring.h"

#include <assert.h>
#include <string.h>

#include "peers/hash.h"

#define CAPACITY_MIN 16

static const struct trust_entry tombstone; /* only its address counts */

static struct trust_entry *the_tombstone(void)
{
    return (struct trust_entry *)(uintptr_t)&tombstone;
}

parley_status trust_entry_new(const struct alloc *alloc, const char *id,
                              const uint8_t key[IDENTITY_KEY_BYTES],
                              struct trust_entry **ret_entry)
{
    size_t len = strlen(id);
    struct trust_entry *entry = alloc_zeroed(alloc, sizeof(*entry) + len + 1);
    parley_status status;

    if (entry == NULL)
        return PARLEY_ENOMEM;
    status = identity_key_new(alloc, key, &entry->key);
    if (status != PARLEY_OK) {
        alloc_free(alloc, entry);
        return status;
    }
    entry->garbage.kind = TRUST_ENTRY;
    entry->hash = hash_bytes(id, len);
    memcpy(entry->id, id, len + 1);
    *ret_entry = entry;
    return PARLEY_OK;
}

void trust_entry_free(const struct alloc *alloc, struct trust_entry *entry)
{
    if (entry == NULL)
        return;
    identity_key_free(entry->key);
    alloc_free(alloc, entry);
}

struct trust_ring *trust_ring_new(const struct alloc *alloc, size_t entries)
{
    size_t capacity = CAPACITY_MIN;
    struct trust_ring *ring;

    while (capacity < 2 * (entries + 1))
        capacity *= 2;
    ring = alloc_zeroed(alloc, sizeof(*ring) + capacity * sizeof(ring->slots[0]));
    if (ring == NULL)
        return NULL;
    ring->garbage.kind = TRUST_RING;
    ring->capacity = capacity;
    return ring;
}

struct trust_entry *trust_ring_find(const struct trust_ring *ring, const char *id)
{
    uint32_t hash = hash_bytes(id, strlen(id));

    for (size_t i = 0; i < ring->capacity; i++) {
        /* acquire: pairs with the release in trust_ring_put(), which published the entry. */
        struct trust_entry *entry = atomic_load_explicit(
            &ring->slots[(hash + i) & (ring->capacity - 1)], memory_order_acquire);

        if (entry == NULL)
            return NULL;
        if (entry != &tombstone && entry->hash == hash && strcmp(entry->id, id) == 0)
            return entry;
    }
    return NULL;
}

bool trust_ring_has_room(const struct trust_ring *ring)
{
    return 2 * (ring->used + 1) <= ring->capacity;
}

/* Only the writer stores, so what it loads itself needs no order. */
static struct trust_entry *peek(const struct trust_ring *ring, size_t index)
{
    return atomic_load_explicit(&ring->slots[index], memory_order_relaxed);
}

void trust_ring_put(struct trust_ring *ring, struct trust_entry *entry)
{
    size_t at = entry->hash & (ring->capacity - 1);

    assert(trust_ring_has_room(ring));
    while (peek(ring, at) != NULL && peek(ring, at) != &tombstone)
        at = (at + 1) & (ring->capacity - 1);
    ring->used += peek(ring, at) == NULL;
    /* release: publishes the entry's members; pairs with the acquire in trust_ring_find(). */
    atomic_store_explicit(&ring->slots[at], entry, memory_order_release);
}

void trust_ring_remove(struct trust_ring *ring, const struct trust_entry *entry)
{
    size_t at = entry->hash & (ring->capacity - 1);

    while (peek(ring, at) != entry) {
        assert(peek(ring, at) != NULL);
        at = (at + 1) & (ring->capacity - 1);
    }
    /* relaxed: the tombstone has no members to publish. */
    atomic_store_explicit(&ring->slots[at], the_tombstone(), memory_order_relaxed);
}

struct trust_entry *trust_ring_at(const struct trust_ring *ring, size_t index)
{
    struct trust_entry *entry = peek(ring, index);

    return entry != &tombstone ? entry : NULL;
}
