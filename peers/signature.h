/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of messages. `signature` is what older peers make and check: it covers six
 * members, and neither whom a message is for nor its place in a session. Between parleys
 * `parley_signature` covers these as well: such a message is bound to its place, and what is
 * said of it there can be believed. A complete envelope carries both; in a batch the second
 * alone says everything.
 *
 * Pure: bytes, keys and a workspace in, bytes out. Threads: those of the workspace.
 */
#ifndef PARLEY_PEERS_SIGNATURE_H
#define PARLEY_PEERS_SIGNATURE_H

#include "parley.h"
#include "peers/canonical.h"
#include "peers/envelope.h"
#include "peers/identity.h"

#define SIGNATURE_CHARS       88 /* base64 of 64 bytes */
#define SIGNATURE_NONCE_CHARS 24 /* base64 of 16 bytes */

/** A message id by default: the session's id, a colon, the number. */
#define SIGNATURE_ID_MAX (ENVELOPE_SESSION_MAX + 24)

/* ---- Ours ---- */

/** Texts that signed fields point to. */
struct signed_texts {
    char nonce[SIGNATURE_NONCE_CHARS + 1];
    char signature[SIGNATURE_CHARS + 1], bound[SIGNATURE_CHARS + 1];
    char message_id[SIGNATURE_ID_MAX + 1];
};

/**
 * Signs a complete envelope: sets fields->signature, and fields->bound where there are a
 * recipient, a session and a number to bind it to. fields->nonce is there.
 *
 * @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_EPROTO (its payload is no JSON)
 */
parley_status signature_envelope(struct canonical *canonical, const struct identity *identity,
                                 struct envelope_fields *fields, struct signed_texts *texts);

/** Signs a message of a batch: sets fields->bound; the same for a void (no payload), and for
 *  a batch without messages, which is signed as a void of no number: 0. Were it first_seq,
 *  whoever heard it could make a void of it, and the next message a repeat. */
parley_status signature_in_batch(struct canonical *canonical, const struct identity *identity,
                                 struct envelope_fields *fields, struct signed_texts *texts);

/* ---- Others' ---- */

enum signature_verdict {
    SIGNATURE_MISSING,
    SIGNATURE_INVALID, /* one that is there is not the sender's, or not readable */
    SIGNATURE_PLAIN,   /* the six members are the sender's */
    SIGNATURE_BOUND,   /* … and so are recipient, session, number, base_seq and message id */
    SIGNATURE_NO_MEMORY,
};

/**
 * Checks what signatures a complete envelope carries: all of them must hold.
 *
 * @param envelope  as envelope_read() read it from `root`, which was recorded with it
 * @param recipient who we are
 */
enum signature_verdict signature_check_envelope(
    struct canonical *canonical, const struct identity_key *key, const struct json_doc *doc,
    const struct json_item *root, const struct envelope *envelope, const char *recipient);

/**
 * Checks a message of a batch, or (`item` the batch itself) a batch without messages.
 *
 * @param sender who it is by what the message, its batch or its connection says
 * @param number its number; of a batch itself it does not count
 * @return never SIGNATURE_PLAIN: that is as good as missing here
 */
enum signature_verdict signature_check_in_batch(struct canonical *canonical,
                                                const struct identity_key *key,
                                                const struct json_doc *doc,
                                                const struct json_item *item,
                                                const struct batch *batch, uint64_t number,
                                                const char *sender, const char *recipient);

/** Whether a complete envelope, a message or a batch carries a signature at all. */
bool signature_present(const struct json_doc *doc, const struct json_item *item);

/**
 * Checks an older client's frame: `signature` is 128 hex digits and covers message_id, type
 * and timestamp, not the payload.
 *
 * @return SIGNATURE_MISSING, _INVALID or, at best, SIGNATURE_PLAIN, which is not enough where
 *         signatures are required
 */
enum signature_verdict signature_check_client(const struct identity_key *key,
                                              const struct json_doc *doc,
                                              const struct json_item *root);

#endif
