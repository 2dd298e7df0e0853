/* SPDX-License-Identifier: Apache-2.0
 *
 * What must be proven before something that came in touches any state: asked by the worker
 * that received it, before its session is looked up. Signatures are checked here, against
 * the trusted keys and as the node's and the peer's settings want it; whether a message is a
 * repeat, and whether it is fresh, is for its session to say (session_proof.c), afterwards.
 *
 * A caller who has proven its name by a token of its identity stands for what it sends, as
 * does a sealed connection: nothing more is asked of these, but a signature that is there must
 * hold.
 *
 * Everything here runs on the bench's worker.
 */
#ifndef PARLEY_PEERS_GUARD_H
#define PARLEY_PEERS_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/identity.h"

struct bench;
struct parley;
struct peer;

/** What is asked of one sender, remembered until peers or keys change. Zeroed: unknown.
 *  Belongs to one worker. */
struct guard {
    uint32_t peers_version, keys_version;
    bool known;
    bool off;        /* signatures are not looked at */
    bool required;   /* nothing unsigned is taken */
    bool by_default; /* … because nobody has said otherwise */
    const struct identity_key *key;
};

/** Brings it up to date. */
void guard_look(struct parley *runtime, struct guard *guard, const char *sender);

/** What a token, or a sealed channel, tells of who sends. */
enum guard_caller {
    CALLER_UNKNOWN,
    CALLER_NAMED,  /* a token we asked for: enough where signatures are required by default */
    CALLER_PROVEN, /* by its own identity: enough everywhere */
};

static inline enum guard_caller guard_caller(bool named, bool proven)
{
    if (proven)
        return CALLER_PROVEN;
    return named ? CALLER_NAMED : CALLER_UNKNOWN;
}

/** Whether nothing of this sender's is taken from this caller without proof. */
bool guard_requires(struct parley *runtime, struct guard *guard, const char *sender,
                    enum guard_caller caller);

/* ---- Batches ---- */

#define GUARD_STALE "Stale timestamp"

#define PROOF_ALL UINT32_MAX

/** How much of a batch may be run, told from its bytes alone. */
struct proof {
    uint32_t messages;     /* so many, from the first on */
    bool bound;            /* each signed for its place: they have to be fresh */
    double oldest, newest; /* of their timestamps */
    const char *refusal;   /* why not the next one; NULL: there is no next one. Static text */
};

/** Nothing has to be proven. */
#define PROOF_NONE ((struct proof){.messages = PROOF_ALL})

/**
 * Looks at a batch.
 *
 * @param caller what the connection or request has proven of the sender
 * @return PARLEY_OK: *ret_proof says how far; PARLEY_EREFUSED: *ret_error says why nothing of
 *         it may be run; PARLEY_ENOMEM
 */
parley_status guard_batch(struct bench *bench, struct guard *guard, const struct json_doc *doc,
                          const struct batch *batch, const char *sender,
                          enum guard_caller caller, struct proof *ret_proof,
                          struct envelope_error *ret_error);

/** Whether what is signed with these times is neither old nor from the future. */
bool guard_fresh(const struct parley *runtime, double oldest, double newest);

/* ---- Complete envelopes, and older peers' frames ---- */

enum evidence {
    EVIDENCE_NONE,  /* nothing was to be proven, and nothing was */
    EVIDENCE_PLAIN, /* its six members are the sender's: not its number, nor for whom it is */
    EVIDENCE_BOUND, /* all of it is */
};

/**
 * Looks at one message in a body or frame of its own.
 *
 * @param ret_required whether what is not proven of it must not be believed: with
 *                     EVIDENCE_PLAIN its number, session and message id
 * @return PARLEY_OK; PARLEY_EREFUSED: *ret_error is the answer's detail; PARLEY_ENOMEM
 */
parley_status guard_message(struct bench *bench, struct guard *guard,
                            const struct json_doc *doc, const struct envelope *envelope,
                            enum guard_caller caller, enum evidence *ret_evidence,
                            bool *ret_required, struct envelope_error *ret_error);

/* ---- What we send ---- */

/** The identity to sign messages to a peer with; NULL: they are not signed. */
const struct identity *guard_signs(const struct peer *peer);

#endif
