/* SPDX-License-Identifier: Apache-2.0
 *
 * With whom sessions are negotiated, and what is refused without one.
 */
#ifndef PARLEY_PEERS_SECURE_H
#define PARLEY_PEERS_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/handshake.h"
#include "peers/service.h"

/** Whether this node takes part in handshakes at all. Any worker. */
bool secure_offered(const struct parley *runtime);

/** … and trusts a key of this entity's. */
bool secure_wanted(struct parley *runtime, const char *entity_id);

/** … and this is it: what was agreed upon with another one is of no use any more. */
bool secure_trusted(struct parley *runtime, const char *entity_id,
                    const uint8_t key[IDENTITY_KEY_BYTES]);

/** How long keys are used by who begins: the session must not end meanwhile. */
uint64_t secure_rekey_ns(const struct parley *runtime);

/** Keys have been taken out of use: ends what was agreed upon with them. On every worker. */
void secure_review(struct bench *bench);

/** Who takes part in a handshake with it; good until the worker returns to its loop.
 *  @return false: none is possible */
bool secure_parties(struct bench *bench, const char *entity_id,
                    struct handshake_parties *ret_parties);

/** Bytes for keys: nothing of them stays in a pool. */
void secure_random(void *bytes, size_t len);

/** What is asked of an entity's messages, remembered until peers are added or removed. Zeroed:
 *  unknown. Belongs to one worker, and to one entity. */
struct secure_minimum {
    uint32_t version;
    bool known;
    parley_security minimum;
};

/** The security_min of the peer of that name; PARLEY_SECURITY_OFF if there is none. */
parley_security secure_minimum(struct parley *runtime, struct secure_minimum *known,
                               const char *entity_id);

#endif
