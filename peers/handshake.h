/* SPDX-License-Identifier: Apache-2.0
 *
 * The six-step handshake between two parleys (PROTOCOL.md, "Six steps") as a pure state
 * machine: messages and times in, messages and keys out.
 *
 *   initiator                                 responder
 *   INITIAL ─ 1 handshake_init ─────────────▶ INITIAL
 *   HANDSHAKE_INIT_SENT ◀─ 2 _init_ack ────── CHALLENGE_SENT
 *   HANDSHAKE_ACK_RECEIVED ─ 3 response ────▶
 *                       ◀─ 4 established ──── SESSION_ESTABLISHED
 *   SESSION_CONFIRMED ─ 5 confirm, sealed ──▶
 *   READY ◀─ 6 ready, sealed ──────────────── READY
 *
 * Each side proves its identity by signing T, which holds both fresh keys, both ids and what
 * each said it can do. Nothing of what a message says counts before its signature did.
 *
 * Threads: a struct handshake belongs to whoever holds it.
 */
#ifndef PARLEY_PEERS_HANDSHAKE_H
#define PARLEY_PEERS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/canonical.h"
#include "peers/crypto.h"
#include "peers/handshake_message.h"
#include "peers/identity.h"
#include "peers/seal.h"

#define HANDSHAKE_NS_MAX (UINT64_C(60) * 1000000000)

#define HANDSHAKE_STATE_MAP(X) \
    X(INITIAL)                 \
    X(HANDSHAKE_INIT_SENT)     \
    X(HANDSHAKE_ACK_RECEIVED)  \
    X(CHALLENGE_SENT)          \
    X(SESSION_ESTABLISHED)     \
    X(SESSION_CONFIRMED)       \
    X(READY)                   \
    X(ERROR)                   \
    X(EXPIRED)

#define HANDSHAKE_ERROR_MAP(X) \
    X(NONE)                    \
    X(INVALID_VERSION)         \
    X(INVALID_SIGNATURE)       \
    X(REPLAY_DETECTED)         \
    X(SESSION_EXPIRED)         \
    X(SEQUENCE_ERROR)          \
    X(DECRYPTION_FAILED)       \
    X(CHALLENGE_EXPIRED)       \
    X(CHALLENGE_INVALID)       \
    X(HANDSHAKE_IN_PROGRESS)   \
    X(SESSION_NOT_FOUND)       \
    X(ENCRYPTION_NOT_READY)    \
    X(INVALID_STATE)           \
    X(RATE_LIMIT_EXCEEDED)     \
    X(MESSAGE_TOO_LARGE)       \
    X(AUTHENTICATION_FAILED)

enum handshake_state {
#define HANDSHAKE_ENUM(name) HANDSHAKE_##name,
    HANDSHAKE_STATE_MAP(HANDSHAKE_ENUM)
#undef HANDSHAKE_ENUM
};

enum handshake_error {
#define HANDSHAKE_ENUM(name) HANDSHAKE_E_##name,
    HANDSHAKE_ERROR_MAP(HANDSHAKE_ENUM)
#undef HANDSHAKE_ENUM
};

const char *handshake_state_name(enum handshake_state state);
const char *handshake_error_name(enum handshake_error error);

/** What each side takes; said in steps 1 and 2 and covered by T. */
struct handshake_limits {
    uint64_t max_batch_bytes, max_in_flight, max_message_bytes;
};

/** The two, as we know them. All of it outlives the handshake. */
struct handshake_parties {
    const struct crypto *crypto;
    struct canonical *canonical; /* of the worker */
    const char *own_id;
    const struct identity *identity;
    const char *peer_id;
    const struct identity_key *peer_key; /* trusted for peer_id */
    struct handshake_limits limits;      /* ours */
};

/** Fresh random bytes, new ones for every call; which of them are used depends. */
struct handshake_random {
    uint8_t ephemeral[32], challenge[32], nonce[16], session[16];
};

struct handshake {
    enum handshake_state state;
    enum handshake_error error;
    bool initiator;
    uint64_t until_ns;
    uint64_t number, peer_number; /* of the next message of either side */
    uint8_t ephemeral[32], public_key[32];
    uint8_t transcript[32]; /* T */
    struct seal_keys keys;  /* complete from HANDSHAKE_ACK_RECEIVED or CHALLENGE_SENT on */
    struct handshake_limits peer;      /* what the other side takes; from the same on */
    char first[HANDSHAKE_PAYLOAD_MAX]; /* step 1's payload, for T */
    size_t first_len;
};

enum handshake_result {
    HANDSHAKE_SAY,        /* what was written is to be sent */
    HANDSHAKE_SAY_SEALED, /* … sealed with the new keys, as is everything from now on */
    HANDSHAKE_DONE,       /* READY, and nothing more to say */
    HANDSHAKE_IGNORED,    /* both had begun, and we go on: theirs is passed over */
    HANDSHAKE_FAILED,     /* `error` says why */
    HANDSHAKE_NO_MEMORY,  /* to be given up: it can begin anew */
};

void handshake_init(struct handshake *handshake);
/** Wipes it. */
void handshake_fini(struct handshake *handshake);

/** Begins as the initiator, writing step 1. */
enum handshake_result handshake_start(struct handshake *handshake,
                                      const struct handshake_parties *parties,
                                      const struct handshake_random *random, uint64_t now_ns,
                                      uint64_t wall_us, struct json_out *out);

/**
 * A message has come. In INITIAL it may be step 1, which makes us the responder.
 *
 * @param proven it came sealed with this handshake's own keys
 */
enum handshake_result handshake_receive(struct handshake *handshake,
                                        const struct handshake_parties *parties,
                                        const struct handshake_message *message, bool proven,
                                        const struct handshake_random *random, uint64_t now_ns,
                                        uint64_t wall_us, struct json_out *out);

/** Ends what has taken too long. @return whether it is, or was, EXPIRED */
bool handshake_expire(struct handshake *handshake, uint64_t now_ns);

#endif
