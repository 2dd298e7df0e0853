/* SPDX-License-Identifier: Apache-2.0
 *
 * Between trust.c and trust_load.c. Every function here wants the mutex of struct trust held,
 * or that there are no workers yet.
 */
#ifndef PARLEY_PEERS_TRUST_CHANGE_H
#define PARLEY_PEERS_TRUST_CHANGE_H

#include "peers/service.h"
#include "peers/trust_ring.h"

struct trust_self {
    struct trust_garbage garbage;
    struct identity *identity;
};

parley_status trust_init(struct parley *runtime);

/** Wipes. NULL is allowed. */
void trust_self_free(const struct alloc *alloc, struct trust_self *self);

/** Puts it to use, the former one out of it. Entries are the caller's to retire. */
void trust_use_ring(struct parley *runtime, struct trust_ring *ring);
/** The same; NULL: no identity from now on. */
void trust_use_self(struct parley *runtime, struct trust_self *self);

/** Takes care that it is freed once no worker can have it any more, */
void trust_retire(struct parley *runtime, struct trust_garbage *garbage);
/** after this, which tells workers that something has changed. */
void trust_changed(struct parley *runtime);

bool trust_same(const struct trust_entry *entry, const uint8_t key[IDENTITY_KEY_BYTES]);

/** Lets what has been retired since `held` was raised be freed; takes the mutex itself. */
void trust_release(struct parley *runtime);

/** Tells the log; takes no mutex, and must not be called with one. */
void trust_log_key(const struct parley *runtime, const char *entity_id,
                   const uint8_t key[IDENTITY_KEY_BYTES], const char *what);

#endif
