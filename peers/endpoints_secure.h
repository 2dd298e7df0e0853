/* SPDX-License-Identifier: Apache-2.0
 *
 * Handshakes and sealed bodies over HTTP, as the responder: steps 1 and 3 are posted to
 * /message and answered with 2 and 4; 5 is the first sealed body of /messages, 6 its answer.
 * An answer is sealed with the counter of its request, so it answers no other one.
 */
#ifndef PARLEY_PEERS_ENDPOINTS_SECURE_H
#define PARLEY_PEERS_ENDPOINTS_SECURE_H

#include "peers/handshake_message.h"
#include "peers/service.h"

/** An answer, made by the functions below. */
struct secure_answer {
    unsigned code;
    bool sealed;
    const char *body;
    size_t len;
    char text[HANDSHAKE_MESSAGE_MAX + SEAL_OVERHEAD];
};

/** A step has been posted to /message. */
void endpoints_step(struct bench *bench, const struct handshake_message *message,
                    struct secure_answer *ret_answer);

/**
 * A sealed body has been posted to /messages: opens it in place, its text at its start.
 *
 * @return true: *ret_reply holds a reference, and its session's entity is who says it; false:
 *         it is answered with *ret_answer
 */
bool endpoints_unseal(struct bench *bench, const char *session_id, char *body, size_t *len,
                      struct secure_reply *ret_reply, struct secure_answer *ret_answer);

/** Seals an answer: SEAL_HEADER_BYTES, the text, and room for the tag. @return false: it
 * cannot be, and nothing of it may be said */
bool endpoints_seal(const struct secure_reply *reply, char *frame, size_t text_len);

/** Gives the reference back. */
void endpoints_sealed(struct bench *bench, struct secure_reply *reply);

#endif
