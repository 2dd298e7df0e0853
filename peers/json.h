/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON, read in one pass and written without allocation.
 *
 * json_scan() is the only way a byte from outside gets in. It validates RFC 8259 strictly
 * and records where the members are, down to a depth the caller chooses, so that envelopes
 * and batches are taken apart without a second pass and without a tree.
 *
 * Refused: invalid UTF-8, duplicate keys (compared decoded), raw control characters,
 * \u0000 in keys, lone surrogates, leading zeros, NaN and the like, trailing bytes, a byte
 * order mark, nesting, keys or size beyond the limits.
 */
#ifndef PARLEY_PEERS_JSON_H
#define PARLEY_PEERS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/** One recorded value. Offsets are into the text. */
struct json_item {
    uint32_t key, key_len;           /* without the quotes; 0, 0 in arrays and for the root */
    uint32_t value, value_len;       /* strings without the quotes, the rest as it stands */
    uint32_t next;                   /* index of the sibling after it, 0: it is the last one */
    uint8_t type;                    /* enum json_type */
    uint8_t depth;                   /* root 0 */
    bool key_escaped, value_escaped; /* contains a backslash (strings) */
};

struct json_limits {
    uint32_t depth_max; /* nesting, 1..JSON_DEPTH_MAX */
    uint32_t bytes_max;
};

#define JSON_DEPTH_MAX 128

/** Workspace for scanning, kept by its owner from one text to the next. */
struct json_doc {
    const struct alloc *alloc;
    const char *text; /* the last text scanned */
    size_t len;
    struct json_item *items; /* pre-order; items[0] is the root */
    uint32_t count, capacity;
    void *keys; /* duplicate detection's table */
    uint32_t keys_capacity;
};

struct json_error {
    size_t offset;
    const char *reason; /* static text */
};

void json_init(struct json_doc *doc, const struct alloc *alloc);
void json_fini(struct json_doc *doc);

/**
 * Scans one text.
 *
 * @param record_depth values at this depth and above are recorded (0: the root only)
 * @return PARLEY_OK; PARLEY_EPROTO (*ret_error says what and where); PARLEY_ETOOBIG;
 *         PARLEY_ENOMEM
 */
parley_status json_scan(struct json_doc *doc, const char *text, size_t len,
                        const struct json_limits *limits, uint32_t record_depth,
                        struct json_error *ret_error);

/**
 * Checks that a text is one JSON object, as strictly, recording nothing and allocating
 * nothing as long as no object in it has more than 64 keys (then `doc` grows).
 */
parley_status json_check_object(struct json_doc *doc, const char *text, size_t len,
                                const struct json_limits *limits,
                                struct json_error *ret_error);

/** First child of a recorded container, NULL when it has none (or they are not recorded). */
const struct json_item *json_first(const struct json_doc *doc, const struct json_item *item);

/** Next sibling, NULL after the last. */
const struct json_item *json_next(const struct json_doc *doc, const struct json_item *item);

/** Member by key (decoded comparison), NULL when absent. */
const struct json_item *json_member(const struct json_doc *doc, const struct json_item *object,
                                    const char *key);

/** Tells whether the item's key is `key`. */
bool json_key_is(const struct json_doc *doc, const struct json_item *item, const char *key,
                 size_t key_len);

/** Decodes a string item to a NUL-terminated buffer. @return its length, or -1: not a string,
 *  holds U+0000, or does not fit */
int json_string(const struct json_doc *doc, const struct json_item *item, char *buffer,
                size_t len);

/** Reads a non-negative integer (also "12" as a string when `strings`). @return false: it is
 *  not one, or beyond 2^63-1 */
bool json_u64(const struct json_doc *doc, const struct json_item *item, bool strings,
              uint64_t *ret_value);

bool json_double(const struct json_doc *doc, const struct json_item *item, double *ret_value);

/* ---- Writing ---- */

/** A bounded buffer being written; once something did not fit, `overflow` stays set. */
struct json_out {
    char *buffer;
    size_t len, capacity;
    bool overflow;
};

void json_put(struct json_out *out, const char *bytes, size_t len);
void json_put_text(struct json_out *out, const char *text);               /* as it stands */
void json_put_string(struct json_out *out, const char *text, size_t len); /* quoted, escaped;
                                        valid UTF-8 is kept, except by the ASCII variant */
void json_put_u64(struct json_out *out, uint64_t value);
/** Microseconds since the epoch as a float of seconds, shortest as Python's repr prints it. */
void json_put_seconds(struct json_out *out, uint64_t us);

#endif
