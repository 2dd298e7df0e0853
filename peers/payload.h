/* SPDX-License-Identifier: Apache-2.0
 *
 * Payloads encrypted for older peers, and by them: which key, and what becomes of a message
 * for which there is none. Never plaintext in its place, in neither direction.
 */
#ifndef PARLEY_PEERS_PAYLOAD_H
#define PARLEY_PEERS_PAYLOAD_H

#include "peers/peer.h"
#include "peers/session.h"

/** Whether what this peer's `encryption` asks for can be done. */
bool payload_possible(const struct peer *peer);

/**
 * Encrypts, where this peer's payloads are, before the message is signed.
 *
 * @param ret_buffer what fields->payload then points to, to be freed when it has been written;
 *                   NULL: it goes as it is
 * @return false: it cannot be done now, and must not be sent
 */
bool payload_encrypt_for(const struct peer *peer, struct envelope_fields *fields,
                         char **ret_buffer);

/** Bytes that a payload of `len` may become. */
size_t payload_bytes_for(const struct peer *peer, size_t len);

#define PAYLOAD_REFUSED "Decryption failed"

/** What has been decrypted. */
struct payload_opened {
    char *buffer; /* what envelope->payload points to, to be freed; NULL: it came plain */
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* in which its number has to rise; "": none */
};

/**
 * Decrypts a payload that came in a body or frame of its own, if it is encrypted.
 *
 * @return PARLEY_OK; PARLEY_EREFUSED: PAYLOAD_REFUSED; PARLEY_ENOMEM
 */
parley_status payload_decrypt_from(struct session *session, const struct json_doc *doc,
                                   struct envelope *envelope,
                                   struct payload_opened *ret_opened);

#endif
