/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical bytes: what a signature covers. JSON as Python's json.dumps(…, sort_keys=True,
 * separators=(",", ":"), ensure_ascii=True) writes what json.loads() read, byte for byte:
 * keys by code point at every level, ASCII only, integers with all their digits, floats as
 * repr() prints them. So 1.50 and 1E5 become 1.5 and 100000.0, 1e400 becomes Infinity.
 *
 * Writing needs the whole of a text recorded and its keys in order; both lie in a workspace
 * that its owner keeps from one text to the next. What a large text needed is given back.
 *
 * PROTOCOL.md, "Canonical bytes". Threads: a workspace belongs to whoever holds it.
 */
#ifndef PARLEY_PEERS_CANONICAL_H
#define PARLEY_PEERS_CANONICAL_H

#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/json.h"

/** A canonical text is at most so many times as long as what it was read from. */
#define CANONICAL_GROWTH_MAX 6

struct canonical {
    const struct alloc *alloc;
    struct json_doc doc;
    uint32_t *order; /* members of the open objects, by key */
    uint32_t order_capacity;
    char *bytes; /* what was written last */
    size_t capacity;
};

void canonical_init(struct canonical *canonical, const struct alloc *alloc);
void canonical_fini(struct canonical *canonical);

/**
 * Writes one JSON text, of whatever type.
 *
 * @param ret_bytes valid until the next use of the workspace
 * @return PARLEY_OK; PARLEY_EPROTO (not JSON, or nested deeper than JSON_DEPTH_MAX);
 *         PARLEY_ETOOBIG; PARLEY_ENOMEM
 */
parley_status canonical_text(struct canonical *canonical, const char *text, size_t len,
                             const char **ret_bytes, size_t *ret_len);

/** What is signed of a message. Texts are decoded, NUL-terminated UTF-8. */
struct canonical_message {
    const char *msg_type, *nonce, *sender_id, *version;
    const char *payload; /* JSON; NULL: null, which no message has but a void */
    size_t payload_len;
    const char *timestamp; /* JSON: a number, or a string with its quotes */
    size_t timestamp_len;
    /* what a parley_signature covers besides; recipient_id NULL: the six fields only */
    const char *recipient_id, *session_id, *message_id;
    uint64_t number, base_seq;
};

/** Writes a message as canonical_text() would an object of these keys; returns as that. */
parley_status canonical_message(struct canonical *canonical,
                                const struct canonical_message *message,
                                const char **ret_bytes, size_t *ret_len);

/** Writes the text of a JSON number. */
void canonical_number(struct json_out *out, const char *text, size_t len);

/** Writes a finite double as Python's repr() does. */
void canonical_double(struct json_out *out, double value);

#endif
