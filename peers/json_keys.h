/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds duplicate keys while a text is scanned.
 *
 * The keys of all open objects stand on one stack; an object's are those above its base,
 * and go when it closes. Most objects are small: a 64-bit filter says "certainly new" for
 * nearly every key, and what it cannot say is found by comparing with the object's keys.
 * From JSON_KEYS_LINEAR_MAX on, an object's keys stand in a chained hash table as well. Its
 * hash is drawn at random per document, so that nobody outside can make keys collide. Keys
 * leave in the opposite order of their coming: each is its chain's head when it goes.
 */
#ifndef PARLEY_PEERS_JSON_KEYS_H
#define PARLEY_PEERS_JSON_KEYS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "peers/json.h"

#define JSON_KEYS_LINEAR_MAX 64
#define JSON_KEYS_INLINE     512   /* keys the scanner's own frame holds */
#define JSON_KEYS_KEPT       65536 /* more are given back with the next scan */

struct json_key {
    uint32_t at, len; /* in the text, without the quotes */
    uint32_t hash;    /* the quick one, or the table's once hashed */
    uint32_t below : 30, escaped : 1, hashed : 1;
};

/** The keys' stack during one scan. */
struct json_keys {
    struct json_doc *doc;
    struct json_key *stack; /* doc->keys, or the scanner's own array */
    uint32_t len, capacity;
};

/** One open object. */
struct json_object {
    uint32_t base;   /* its first key on the stack */
    bool slow;       /* has an escaped key, or is hashed: the filter is of no use */
    bool hashed;     /* its keys are in the table */
    uint64_t filter; /* bit h % 64 is set if a key with the quick hash h is there */
};

enum json_keys_result {
    JSON_KEYS_NEW,
    JSON_KEYS_DUPLICATE,
    JSON_KEYS_NO_MEMORY,
};

/** Gives back what objects of very many keys needed. */
void json_keys_trim(struct json_doc *doc);

void json_keys_init(struct json_keys *keys, struct json_doc *doc, struct json_key *own);

/** json_keys_add() where the filter does not decide. */
enum json_keys_result json_keys_add_slow(struct json_keys *keys, struct json_object *object,
                                         struct json_key key);

/** Takes the keys of a hashed object out of the table. */
void json_keys_unhash(struct json_keys *keys, const struct json_object *object);

/** Forgets everything after a scan that failed. */
void json_keys_abandon(struct json_keys *keys, bool hashed);

static inline uint64_t json_load8(const char *p)
{
    uint64_t value;

    memcpy(&value, p, 8);
    return value;
}

static inline uint32_t json_load4(const char *p)
{
    uint32_t value;

    memcpy(&value, p, 4);
    return value;
}

/** A hash of both ends and the length: few operations, no promise against malice. */
static inline uint32_t json_key_quick_hash(const char *key, uint32_t len)
{
    uint64_t mix = len;

    if (len >= 8)
        mix += json_load8(key) ^ (json_load8(key + len - 8) << 7);
    else if (len >= 4)
        mix += json_load4(key) ^ ((uint64_t)json_load4(key + len - 4) << 24);
    else if (len > 0)
        mix += (unsigned char)key[0] ^ ((uint64_t)(unsigned char)key[len / 2] << 16) ^
               ((uint64_t)(unsigned char)key[len - 1] << 32);
    return (uint32_t)((mix * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

static inline void json_object_open(const struct json_keys *keys, struct json_object *object)
{
    object->base = keys->len;
    object->slow = false;
    object->hashed = false;
    object->filter = 0;
}

static inline void json_object_close(struct json_keys *keys, const struct json_object *object)
{
    if (object->hashed)
        json_keys_unhash(keys, object);
    keys->len = object->base;
}

/** Adds a key to the innermost open object. */
static inline enum json_keys_result json_keys_add(struct json_keys *keys,
                                                  struct json_object *object, uint32_t at,
                                                  uint32_t len, bool escaped)
{
    uint32_t hash = json_key_quick_hash(keys->doc->text + at, len);
    uint64_t bit = UINT64_C(1) << (hash >> 26);
    struct json_key key = {.at = at, .len = len, .hash = hash, .escaped = escaped};

    if (escaped || object->slow || (object->filter & bit) != 0 || keys->len == keys->capacity)
        return json_keys_add_slow(keys, object, key);
    object->filter |= bit;
    keys->stack[keys->len++] = key;
    return JSON_KEYS_NEW;
}

#endif
