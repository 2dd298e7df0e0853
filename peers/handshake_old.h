/* SPDX-License-Identifier: Apache-2.0
 *
 * The older service's three-way handshake (PROTOCOL.md, "Three messages, with the old
 * service"), in both roles: payloads in, payloads and a session out. Its fields are not its
 * own: ids that it loses or mixes up are put where it looks for them. Pure.
 *
 * What it proves is little: that the responder has the identity its public key says, and that
 * both have the key. Envelopes are signed, or not, as all others to this peer.
 */
#ifndef PARLEY_PEERS_HANDSHAKE_OLD_H
#define PARLEY_PEERS_HANDSHAKE_OLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/crypto.h"
#include "peers/envelope.h"
#include "peers/identity.h"
#include "peers/json.h"

#define HANDSHAKE_OLD_TYPE     "handshake"
#define HANDSHAKE_OLD_ACK      "handshake_ack"
#define HANDSHAKE_OLD_CONFIRM  "handshake_confirm"
#define HANDSHAKE_OLD_TEXT_MAX 1024
#define HANDSHAKE_OLD_HEX      64 /* of a challenge */

/** A session in which payloads are encrypted. */
struct old_session {
    char id[ENVELOPE_SESSION_MAX + 1]; /* e2e_session_id */
    uint8_t key[CRYPTO_KEY_BYTES];
};

/** An initiator waiting for its answer. Holds a private key: handshake_old_fini(). */
struct handshake_old {
    char session_id[37];
    char challenge[HANDSHAKE_OLD_HEX + 1];
    uint8_t ephemeral[CRYPTO_KEY_BYTES];
};

struct handshake_old_random {
    uint8_t ephemeral[32], challenge[32], session[16], e2e_session[16];
};

/** Who we are and whom the other side has to be. */
struct handshake_old_parties {
    const struct crypto *crypto;
    const struct identity *identity;
    const struct identity_key *peer_key;
};

void handshake_old_fini(struct handshake_old *handshake);

/** Writes the payload of `handshake`. @return false: no memory, or no room */
bool handshake_old_start(struct handshake_old *handshake,
                         const struct handshake_old_parties *parties,
                         const struct handshake_old_random *random, struct json_out *out);

/**
 * A `handshake` has come: writes the payload of its `handshake_ack`.
 *
 * @param payload        an object, recorded with its members
 * @param ret_session_id the handshake's, for the outer envelope
 * @return PARLEY_OK; PARLEY_EPROTO (malformed, or not what we speak); PARLEY_EREFUSED (a key
 *         that is not the trusted one, or of small order); PARLEY_ENOMEM
 */
parley_status handshake_old_answer(const struct handshake_old_parties *parties,
                                   const struct handshake_old_random *random,
                                   const struct json_doc *doc, const struct json_item *payload,
                                   struct old_session *ret_session,
                                   char ret_session_id[ENVELOPE_SESSION_MAX + 1],
                                   struct json_out *out);

/** Whether this `handshake_ack` answers it. */
bool handshake_old_is_answer(const struct handshake_old *handshake, const struct json_doc *doc,
                             const struct json_item *payload);

/** A `handshake_ack` has come: writes the payload of `handshake_confirm`; its outer session_id
 *  is the handshake's. @return as handshake_old_answer() */
parley_status handshake_old_finish(struct handshake_old *handshake,
                                   const struct handshake_old_parties *parties,
                                   const struct json_doc *doc, const struct json_item *payload,
                                   uint64_t wall_us, struct old_session *ret_session,
                                   struct json_out *out);

#endif
