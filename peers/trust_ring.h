/* SPDX-License-Identifier: Apache-2.0
 *
 * Trusted keys by entity: a table with open addressing that many threads read while one, under
 * a mutex of its caller's, changes it. Neither entries nor a table are freed here: a reader
 * may still look at them.
 */
#ifndef PARLEY_PEERS_TRUST_RING_H
#define PARLEY_PEERS_TRUST_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peers/identity.h"
#include "runtime/alloc.h"

/** First member of whatever readers may still look at when it is taken out of use. */
struct trust_garbage {
    struct trust_garbage *next;
    enum trust_kind { TRUST_ENTRY, TRUST_RING, TRUST_SELF } kind;
};

struct trust_entry {
    struct trust_garbage garbage;
    struct identity_key *key;
    uint32_t hash;
    /* the writer's: where the key is from, and during a reload, where it will be */
    bool of_peer, of_directory;
    bool next_of_peer, next_of_directory;
    struct trust_entry *next;      /* of those that were read, then gained; */
    struct trust_entry *next_lost; /* of those lost by a reload */
    char id[];
};

struct trust_ring {
    struct trust_garbage garbage;
    size_t capacity; /* a power of two */
    size_t used;     /* the writer's: slots that are or were in use */
    _Atomic(struct trust_entry *) slots[];
};

/** @return PARLEY_OK; PARLEY_EINVAL (not an acceptable key); PARLEY_ENOMEM */
parley_status trust_entry_new(const struct alloc *alloc, const char *id,
                              const uint8_t key[IDENTITY_KEY_BYTES],
                              struct trust_entry **ret_entry);
/** NULL is allowed. */
void trust_entry_free(const struct alloc *alloc, struct trust_entry *entry);

/** A table for so many entries, or NULL. Free it with alloc_free(). */
struct trust_ring *trust_ring_new(const struct alloc *alloc, size_t entries);

/** Any thread. */
struct trust_entry *trust_ring_find(const struct trust_ring *ring, const char *id);

/* ---- For the writer ---- */

/** Whether one more entry fits. */
bool trust_ring_has_room(const struct trust_ring *ring);
/** Adds an entry, whose id is not there yet. */
void trust_ring_put(struct trust_ring *ring, struct trust_entry *entry);
/** Takes out an entry that is there. */
void trust_ring_remove(struct trust_ring *ring, const struct trust_entry *entry);
/** The entry in slot `index` < capacity; NULL: none. */
struct trust_entry *trust_ring_at(const struct trust_ring *ring, size_t index);

#endif
