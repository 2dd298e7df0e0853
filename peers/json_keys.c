/* SPDX-License-Identifier: Apache-2.0
 *
 * The slow half of duplicate detection: comparing, growing, hashing. json_keys.h says how
 * it works.
 *
 * The table's hash is a polynomial over the key's decoded bytes modulo 2^31 - 1 at a secret
 * point: two different keys of n bytes collide with probability n / 2^28 at most, whatever
 * they are. It takes one byte at a time, so that "a" and "\u0061" need no copy.
 */
#include "peers/json_keys.h"

#include <assert.h>
#include <sys/random.h>

#include "peers/json_text.h"

#define HASH_PRIME UINT64_C(0x7fffffff)

void json_keys_trim(struct json_doc *doc)
{
    if (doc->keys_capacity <= JSON_KEYS_KEPT)
        return;
    alloc_free(doc->alloc, doc->keys);
    alloc_free(doc->alloc, doc->buckets);
    doc->keys = NULL;
    doc->buckets = NULL;
    doc->keys_capacity = doc->buckets_len = 0;
}

void json_keys_init(struct json_keys *keys, struct json_doc *doc, struct json_key *own)
{
    keys->doc = doc;
    keys->len = 0;
    if (doc->keys_capacity > JSON_KEYS_INLINE) {
        keys->stack = doc->keys;
        keys->capacity = doc->keys_capacity;
    } else {
        keys->stack = own;
        keys->capacity = JSON_KEYS_INLINE;
    }
}

static bool same_decoded(const char *text, const struct json_key *a, const struct json_key *b)
{
    const char *at[2] = {text + a->at, text + b->at};
    const char *end[2] = {at[0] + a->len, at[1] + b->len};
    char piece[2][4];
    unsigned used[2] = {0, 0}, len[2] = {0, 0};

    for (;;) {
        for (int i = 0; i < 2; i++) {
            if (used[i] == len[i] && at[i] < end[i]) {
                len[i] = json_text_next(&at[i], piece[i]);
                used[i] = 0;
            }
        }
        if (used[0] == len[0] || used[1] == len[1])
            return used[0] == len[0] && used[1] == len[1];
        if (piece[0][used[0]++] != piece[1][used[1]++])
            return false;
    }
}

static bool same(const char *text, const struct json_key *a, const struct json_key *b)
{
    if (a->escaped || b->escaped)
        return same_decoded(text, a, b);
    return a->len == b->len && memcmp(text + a->at, text + b->at, a->len) == 0;
}

static bool found(const struct json_keys *keys, const struct json_object *object,
                  const struct json_key *key)
{
    const char *text = keys->doc->text;

    for (uint32_t i = object->base; i < keys->len; i++) {
        const struct json_key *other = &keys->stack[i];
        bool alike = other->hash == key->hash || other->escaped || key->escaped;

        if (alike && same(text, other, key))
            return true;
    }
    return false;
}

/* ---- the table ---- */

static void draw_hash(struct json_doc *doc)
{
    uint64_t secret[2] = {(uintptr_t)doc, (uintptr_t)doc->text};

    /* Without randomness the addresses must do: only speed is at stake. */
    (void)!getrandom(secret, sizeof(secret), GRND_NONBLOCK);
    doc->hash_point = (uint32_t)(secret[0] >> 35) | 1; /* below 2^29: nothing overflows */
    doc->hash_factor = secret[1] | 1;
}

static uint32_t table_hash(const struct json_doc *doc, const struct json_key *key)
{
    const char *at = doc->text + key->at, *end = at + key->len;
    uint64_t sum = 1;

    while (at < end) {
        char piece[4] = {*at};
        unsigned len = 1;

        if (*at == '\\')
            len = json_text_next(&at, piece);
        else
            at++;
        for (unsigned i = 0; i < len; i++) {
            sum = sum * doc->hash_point + (unsigned char)piece[i] + 1;
            sum = (sum & HASH_PRIME) + (sum >> 31); /* stays below 2^33 */
        }
    }
    return (uint32_t)((sum % HASH_PRIME * doc->hash_factor) >> 32);
}

/* The head of a key's chain: a position on the stack plus one, 0 at the end. */
static uint32_t *chain(const struct json_doc *doc, const struct json_key *key)
{
    return &doc->buckets[key->hash & (doc->buckets_len - 1)];
}

static void table_put(const struct json_keys *keys, uint32_t position)
{
    struct json_key *key = &keys->stack[position];
    uint32_t *head = chain(keys->doc, key);

    key->below = *head & 0x3fffffff;
    key->hashed = 1;
    *head = position + 1;
}

static bool table_has(const struct json_keys *keys, const struct json_object *object,
                      const struct json_key *key)
{
    uint32_t position = *chain(keys->doc, key);

    /* Keys of objects further out stand deeper in every chain. */
    while (position > object->base) {
        const struct json_key *other = &keys->stack[position - 1];

        if (other->hash == key->hash && same(keys->doc->text, other, key))
            return true;
        position = other->below;
    }
    return false;
}

/* Makes the table as large as the stack; false: out of memory, nothing has changed. */
static bool grow_table(struct json_keys *keys)
{
    struct json_doc *doc = keys->doc;
    uint32_t len = 1024;
    uint32_t *buckets;

    while (len < keys->capacity)
        len *= 2;
    if (len <= doc->buckets_len)
        return true;
    buckets = alloc_zeroed(doc->alloc, len * sizeof(*buckets));
    if (buckets == NULL)
        return false;
    alloc_free(doc->alloc, doc->buckets);
    doc->buckets = buckets;
    doc->buckets_len = len;
    for (uint32_t i = 0; i < keys->len; i++) {
        if (keys->stack[i].hashed)
            table_put(keys, i);
    }
    return true;
}

static bool grow_stack(struct json_keys *keys)
{
    struct json_doc *doc = keys->doc;
    uint32_t capacity = keys->capacity * 2;
    struct json_key *stack = alloc_resize(doc->alloc, doc->keys, capacity * sizeof(*stack));

    if (stack == NULL)
        return false;
    if (keys->stack != doc->keys)
        memcpy(stack, keys->stack, keys->len * sizeof(*stack));
    doc->keys = stack;
    doc->keys_capacity = capacity;
    keys->stack = stack;
    keys->capacity = capacity;
    return true;
}

/* Puts the innermost object's keys into the table. */
static bool hash_object(struct json_keys *keys, struct json_object *object)
{
    struct json_doc *doc = keys->doc;

    if (!grow_table(keys))
        return false;
    if (doc->hash_point == 0)
        draw_hash(doc);
    for (uint32_t i = object->base; i < keys->len; i++) {
        keys->stack[i].hash = table_hash(doc, &keys->stack[i]);
        table_put(keys, i);
    }
    object->hashed = true;
    object->slow = true;
    return true;
}

enum json_keys_result json_keys_add_slow(struct json_keys *keys, struct json_object *object,
                                         struct json_key key)
{
    bool grown = keys->len == keys->capacity;

    if (grown && !grow_stack(keys))
        return JSON_KEYS_NO_MEMORY;
    if (object->hashed) {
        if (grown && !grow_table(keys))
            return JSON_KEYS_NO_MEMORY;
    } else if (keys->len - object->base >= JSON_KEYS_LINEAR_MAX &&
               !hash_object(keys, object)) {
        return JSON_KEYS_NO_MEMORY;
    }

    if (object->hashed)
        key.hash = table_hash(keys->doc, &key);
    if (object->hashed ? table_has(keys, object, &key) : found(keys, object, &key))
        return JSON_KEYS_DUPLICATE;
    keys->stack[keys->len++] = key;
    if (object->hashed)
        table_put(keys, keys->len - 1);
    else
        object->filter |= UINT64_C(1) << (key.hash >> 26);
    object->slow |= key.escaped;
    return JSON_KEYS_NEW;
}

void json_keys_unhash(struct json_keys *keys, const struct json_object *object)
{
    assert(keys->doc->buckets_len > 0);
    for (uint32_t i = keys->len; i > object->base; i--) {
        const struct json_key *key = &keys->stack[i - 1];
        uint32_t *head = chain(keys->doc, key);

        assert(*head == i);
        *head = key->below;
    }
}

void json_keys_abandon(struct json_keys *keys, bool hashed)
{
    struct json_doc *doc = keys->doc;

    if (hashed)
        memset(doc->buckets, 0, doc->buckets_len * sizeof(*doc->buckets));
    keys->len = 0;
}
