/* SPDX-License-Identifier: Apache-2.0
 *
 * Peer handle → actor without a lock, peer id → handle with one.
 *
 * Slots are type-stable: a slot, once made, stays until the registry is gone, and is used
 * for one peer after another. Its credit word carries the generation, so a handle to a
 * former peer fails on the very compare-and-swap that would have reserved room. A
 * successful reservation keeps the peer's memory alive until it is released (credit.h).
 * Everything else a host thread does to a peer happens under the mutex, which the worker
 * takes once, to detach the peer from its slot before freeing it.
 */
#ifndef PARLEY_PEERS_REGISTRY_H
#define PARLEY_PEERS_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"
#include "runtime/credit.h"

#define REGISTRY_CHUNK      256u
#define REGISTRY_CHUNKS_MAX 4096u /* 1,048,576 slots */

struct peer;

struct slot {
    struct credit credit;
    _Atomic(uint32_t) generation; /* its low 16 bits are the credit's */
    _Atomic(struct peer *) peer;
    /* set by the peer's worker (health.c): hints, relaxed */
    _Atomic(bool) rejects; /* parley_send() is to answer PARLEY_EUNREACHABLE */
    _Atomic(bool) drops;   /* what finds no room makes room */
    /* set by a thread that found no room, cleared by the worker that makes some: see send.c.
     * What was noted while the peer was well may be old: one call to on_writable too many. */
    _Atomic(uint32_t) refused_bytes;
    uint32_t index;
    uint32_t next_free; /* under the mutex */
};

struct registry {
    const struct alloc *alloc;
    pthread_mutex_t mutex;
    uint32_t peers_max;
    uint32_t slots;            /* ever made */
    uint32_t free;             /* index + 1 of the first free slot, 0: none */
    uint32_t peers;            /* attached: those being removed included */
    struct peer *ids;          /* uthash by id: those not removed */
    _Atomic(uint32_t) version; /* changes with `ids`; see limit.c */
    _Atomic(struct slot *) chunks[REGISTRY_CHUNKS_MAX];
};

parley_status registry_init(struct registry *registry, const struct alloc *alloc,
                            uint32_t peers_max);
void registry_fini(struct registry *registry);

/** The slot a handle names; NULL: no slot has its index, or it has another generation. Any
 *  thread, no lock. The answer may be outdated at once: reserve credit with
 *  credit_generation() to be sure. */
struct slot *registry_slot(struct registry *registry, parley_peer handle);

/** Tells whether the handle may ever have named a peer of this registry. */
bool registry_issued(struct registry *registry, parley_peer handle);

/** The part of a handle's generation that the credit word carries. */
uint32_t credit_generation(parley_peer handle);

/** The handle of whatever peer is in slot `index`; any thread, as registry_slot(). */
parley_peer registry_handle_at(struct registry *registry, uint32_t index);

/* ---- With the mutex held ---- */

void registry_lock(struct registry *registry);
void registry_unlock(struct registry *registry);

/** Attaches a peer to a free slot, whose credit the caller opens next.
 *  @return PARLEY_OK; PARLEY_EEXIST; PARLEY_ELIMIT; PARLEY_ENOMEM */
parley_status registry_attach(struct registry *registry, struct peer *peer);

struct peer *registry_find(struct registry *registry, const char *id);

/** The peer a handle names and that is not removed, or NULL. */
struct peer *registry_get(struct registry *registry, parley_peer handle);

/** Forgets the id: the peer is being removed. */
void registry_forget(struct registry *registry, struct peer *peer);

/** Frees the slot: the peer is gone. */
void registry_detach(struct registry *registry, struct peer *peer);

/** The peer in slot `index`, NULL: none. */
struct peer *registry_at(struct registry *registry, uint32_t index);

#endif
