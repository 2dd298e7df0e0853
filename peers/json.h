/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON, read in one pass and written without allocation.
 *
 * json_scan() is the only way a byte from outside gets in. It validates RFC 8259 strictly
 * and records where the members are, down to a depth the caller chooses, so that envelopes
 * and batches are taken apart without a second pass and without a tree. What it records, and
 * keys beyond some hundreds, lie in the json_doc, which grows as needed and is used again.
 *
 * Refused: invalid UTF-8, duplicate keys (compared decoded), raw control characters,
 * \u0000 in keys, lone surrogates, leading zeros, NaN and the like, trailing bytes, a byte
 * order mark, nesting or size or a number's length beyond the limits.
 *
 * Threads: a json_doc belongs to whoever holds it; there is no other state.
 */
#ifndef PARLEY_PEERS_JSON_H
#define PARLEY_PEERS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    uint32_t depth_max; /* containers open at once, 1..JSON_DEPTH_MAX */
    uint32_t bytes_max; /* at most JSON_BYTES_MAX counts */
};

#define JSON_DEPTH_MAX        132
#define JSON_BYTES_MAX        0x7fffffffu
#define JSON_NUMBER_BYTES_MAX 4300 /* Python's json refuses integers of more digits */

/** Workspace for scanning, kept by its owner from one text to the next. A text of n bytes
 *  takes less than 48 n bytes and 40 KB; the next scan gives back what is beyond 3 MB. */
struct json_doc {
    const struct alloc *alloc;
    const char *text; /* the last text scanned */
    size_t len;
    struct json_item *items; /* pre-order; items[0] is the root */
    uint32_t count, capacity;
    uint32_t deepest; /* most containers open at once, recorded or not */
    /* duplicate detection, see json_keys.h */
    struct json_key *keys;
    uint32_t keys_capacity;
    uint32_t *buckets;
    uint32_t buckets_len; /* power of two, or 0 */
    uint32_t hash_point;  /* secret of this document's hash, 0: not drawn yet */
    uint64_t hash_factor;
};

struct json_error {
    size_t offset;
    const char *reason; /* static text */
};

void json_init(struct json_doc *doc, const struct alloc *alloc);
void json_fini(struct json_doc *doc);

/**
 * Scans one text. `doc` grows if there is more to record than ever before in it, or as
 * json_check_object() says; what it recorded of the last text is gone.
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
 * nothing as long as no object in it has more than 64 keys and no more than 512 keys belong
 * to objects open at the same time (then `doc` grows).
 */
parley_status json_check_object(struct json_doc *doc, const char *text, size_t len,
                                const struct json_limits *limits,
                                struct json_error *ret_error);

/** First child of a recorded container, NULL when it has none (or they are not recorded). */
static inline const struct json_item *json_first(const struct json_doc *doc,
                                                 const struct json_item *item)
{
    const struct json_item *child = item + 1; /* pre-order: it follows its parent */

    return child < doc->items + doc->count && child->depth > item->depth ? child : NULL;
}

/** Next sibling, NULL after the last. */
static inline const struct json_item *json_next(const struct json_doc *doc,
                                                const struct json_item *item)
{
    return item->next != 0 ? doc->items + item->next : NULL;
}

/** Member by key (decoded comparison), NULL when absent. */
const struct json_item *json_member(const struct json_doc *doc, const struct json_item *object,
                                    const char *key);

/** json_key_is() for keys with escapes. */
bool json_key_is_decoded(const struct json_doc *doc, const struct json_item *item,
                         const char *key, size_t key_len);

/** Tells whether the item's key is `key`. */
static inline bool json_key_is(const struct json_doc *doc, const struct json_item *item,
                               const char *key, size_t key_len)
{
    if (item->key_escaped)
        return json_key_is_decoded(doc, item, key, key_len);
    return item->key_len == key_len && memcmp(doc->text + item->key, key, key_len) == 0;
}

/** Decodes a string item to a NUL-terminated buffer. @return its length, or -1: not a string,
 *  holds U+0000, or does not fit */
int json_string(const struct json_doc *doc, const struct json_item *item, char *buffer,
                size_t len);

/** Decodes as much of a string item as fits, whole characters, U+0000 as U+FFFD; "" when it is
 *  no string or NULL. For texts that people read. */
void json_string_cut(const struct json_doc *doc, const struct json_item *item, char *buffer,
                     size_t len);

/** Reads a non-negative integer (also "12" as a string when `strings`). @return false: it is
 *  not one, or beyond 2^63-1 */
bool json_u64(const struct json_doc *doc, const struct json_item *item, bool strings,
              uint64_t *ret_value);

/** Reads a number, correctly rounded, whatever the locale. @return false: it is none, or too
 *  large for a double */
bool json_double(const struct json_doc *doc, const struct json_item *item, double *ret_value);

/* ---- Writing ---- */

/** A bounded buffer being written; once something did not fit, `overflow` stays set. */
struct json_out {
    char *buffer;
    size_t len, capacity;
    bool overflow;
};

void json_put(struct json_out *out, const char *bytes, size_t len);
void json_put_text(struct json_out *out, const char *text); /* as it stands */
/** Quoted and escaped; valid UTF-8 is kept, each other byte becomes U+FFFD: what is written
 *  can always be scanned. */
void json_put_string(struct json_out *out, const char *text, size_t len);
void json_put_u64(struct json_out *out, uint64_t value);
/** Microseconds since the epoch as a float of seconds: until the year 2242 the shortest, as
 *  Python's repr prints it; later all six decimals, more than a double tells apart. */
void json_put_seconds(struct json_out *out, uint64_t us);

#endif
