/* SPDX-License-Identifier: Apache-2.0
 *
 * Who we are and whom we trust: this node's identity, and the public keys of entities by
 * name, from peers' options and from a directory, each of which may change while we run.
 *
 * Workers read both without a lock. What is taken out of use is freed only after every
 * worker has been visited since (visit.c), so a pointer is good until the worker that got it
 * returns to its loop; longer for as long as trust_version() stays what it was. Everything
 * that changes something happens under a mutex, on host threads.
 */
#ifndef PARLEY_PEERS_TRUST_H
#define PARLEY_PEERS_TRUST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/identity.h"

struct parley;
struct trust_garbage;
struct trust_ring;
struct trust_self;
struct visit;

struct trust {
    /* read by workers */
    _Atomic(struct trust_ring *) ring; /* entities' keys; never NULL once open */
    _Atomic(struct trust_self *) self; /* our identity; NULL: none */
    _Atomic(uint32_t) version;
    _Atomic(uint32_t) keys; /* entities in the ring */

    pthread_mutex_t mutex;         /* of who changes something; taken after the registry's */
    struct trust_garbage *waiting; /* out of use; the next round of visits frees it */
    struct trust_garbage *leaving; /* … the one under way does */
    struct visit *sweep;           /* that round */
    uint32_t held;                 /* threads for which no round begins yet */
    bool sweeping, open;
};

/* ---- For workers ---- */

/** The key that is trusted to be this entity's; NULL: none. */
const struct identity_key *trust_find(struct parley *runtime, const char *entity_id);

/** This node's identity; NULL: it has none. */
const struct identity *trust_identity(const struct parley *runtime);

/** Changes whenever one of the two above may answer something else. Any thread. */
uint32_t trust_version(const struct parley *runtime);

/** What becomes of unsigned messages: the node's setting, PARLEY_SIGNATURES_AUTO resolved.
 *  Any thread. */
parley_signatures trust_signatures(const struct parley *runtime);

/** What GET /health tells: messages are signed; signatures are looked at. */
bool trust_signs(const struct parley *runtime);
bool trust_verifies(const struct parley *runtime);

/* ---- For hosts ---- */

/**
 * Reads identity and trusted keys as the runtime's options say, and takes paths and seed,
 * which are the host's, out of those.
 *
 * @param error receives "security.…: PATH: reason"
 * @return PARLEY_OK; PARLEY_EINVAL, PARLEY_ECONFIG (a setting or a file); PARLEY_ESYSTEM;
 *         PARLEY_ENOMEM
 */
parley_status trust_open(struct parley *runtime, char *error, size_t error_len);

/** Wipes and frees everything. No worker runs any more. */
void trust_close(struct parley *runtime);

/**
 * Trusts a peer's own key, with the registry locked.
 *
 * @param public_key hex; NULL: nothing to do
 * @return PARLEY_OK; PARLEY_EINVAL (not an acceptable key); PARLEY_ECONFIG (the directory has
 *         another one for it); PARLEY_ENOMEM
 */
parley_status trust_add_peer(struct parley *runtime, const char *entity_id,
                             const char *public_key);

/** Tells the log what became of that, with no lock held: a log may ask us something. */
void trust_log_peer(const struct parley *runtime, const char *entity_id,
                    const char *public_key, parley_status status);

/** The peer is gone, and so is what its own key was trusted for. With the registry locked. */
void trust_remove_peer(struct parley *runtime, const char *entity_id);

#endif
