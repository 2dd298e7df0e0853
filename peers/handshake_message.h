/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of the six-step handshake (PROTOCOL.md, "Six steps"): complete envelopes of
 * version "1.1", each signed by its sender. Read, verified and written here; what follows from
 * them is handshake.h's. Pure.
 */
#ifndef PARLEY_PEERS_HANDSHAKE_MESSAGE_H
#define PARLEY_PEERS_HANDSHAKE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/canonical.h"
#include "peers/envelope.h"
#include "peers/identity.h"
#include "peers/json.h"

#define HANDSHAKE_VERSION       "1.1"
#define HANDSHAKE_TYPE          "handshake" /* the frame's `type` */
#define HANDSHAKE_RECORD_DEPTH  3
#define HANDSHAKE_PAYLOAD_MAX   2048 /* canonical bytes of a step's payload */
#define HANDSHAKE_MESSAGE_MAX   4096 /* and what a whole message takes */
#define HANDSHAKE_SIGNATURE_B64 88

enum handshake_step {
    STEP_INIT = 1,
    STEP_INIT_ACK,
    STEP_CHALLENGE_RESPONSE,
    STEP_ESTABLISHED,
    STEP_CONFIRM,
    STEP_READY,
};

/** The msg_type of a step. */
const char *handshake_step_name(enum handshake_step step);

/** One message as it came. Views into the document. */
struct handshake_message {
    enum handshake_step step;
    char sender_id[ENVELOPE_ID_MAX + 1];
    char recipient_id[ENVELOPE_ID_MAX + 1];
    char session_id[ENVELOPE_SESSION_MAX + 1];
    char version[16];
    char nonce[ENVELOPE_NONCE_MAX + 1];
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    uint64_t number;
    const struct json_item *payload; /* an object */
    const struct json_doc *doc;
    const char *timestamp; /* as it stands, quotes included */
    size_t timestamp_len;
};

/** Reads one of the six. @return PARLEY_OK; PARLEY_EPROTO (it is none, or lacks something) */
parley_status handshake_message_read(const struct json_doc *doc, const struct json_item *root,
                                     struct handshake_message *ret_message);

/** Whether the key's owner signed it. @return PARLEY_OK; PARLEY_EREFUSED; PARLEY_ENOMEM */
parley_status handshake_message_verify(struct canonical *canonical,
                                       const struct handshake_message *message,
                                       const struct identity_key *key);

/** What is to be said. */
struct handshake_fields {
    enum handshake_step step;
    const char *sender_id, *recipient_id, *session_id;
    const char *payload; /* JSON, written canonically */
    size_t payload_len;
    uint64_t number;
    uint64_t timestamp_us;
    const uint8_t *nonce; /* 16 bytes */
};

/** Signs and writes it. @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_ETOOBIG (`out` is full) */
parley_status handshake_message_write(struct json_out *out, struct canonical *canonical,
                                      const struct identity *identity,
                                      const struct handshake_fields *fields);

#endif
