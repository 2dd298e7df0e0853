/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/seen.h"

#include <assert.h>
#include <string.h>

#define CAPACITY_MIN 16u

/* ---- SipHash-2-4, with the kind as the last byte of the text ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

uint64_t seen_hash(const uint64_t key[2], enum seen_kind kind, const void *text, size_t len)
{
    struct sip s = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const uint8_t *at = text;
    uint64_t total = len + 1, word = 0;
    unsigned bits = 0;

    for (size_t i = 0; i <= len; i++) {
        word |= (uint64_t)(i < len ? at[i] : (uint8_t)kind) << bits;
        bits += 8;
        if (bits == 64) {
            sip_word(&s, word);
            word = 0;
            bits = 0;
        }
    }
    sip_word(&s, word | total << 56);
    s.v2 ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* ---- Life ---- */

void seen_init(struct seen *seen, const struct alloc *alloc, uint32_t limit,
               const uint8_t key[SEEN_KEY_BYTES])
{
    assert(limit > 0 && limit <= UINT32_C(1) << 30);
    *seen = (struct seen){.alloc = alloc,
                          .limit = limit > SEEN_RESERVE_MAX ? limit : SEEN_RESERVE_MAX,
                          .lifetime_ns = SEEN_LIFETIME_NS};
    memcpy(seen->key, key, sizeof(seen->key));
}

void seen_fini(struct seen *seen)
{
    alloc_free(seen->alloc, seen->ring);
    seen->ring = NULL;
    seen->index = NULL;
    seen->capacity = seen->first = seen->len = 0;
}

/* ---- The index ---- */

static uint32_t slots_mask(const struct seen *seen)
{
    return 2 * seen->capacity - 1;
}

static uint32_t home(const struct seen *seen, uint64_t hash)
{
    return (uint32_t)hash & slots_mask(seen);
}

/* The slot that holds this hash, or the empty one where it would go. */
static uint32_t slot_of(const struct seen *seen, uint64_t hash)
{
    uint32_t slot = home(seen, hash);

    while (seen->index[slot] != 0 && seen->ring[seen->index[slot] - 1].hash != hash)
        slot = (slot + 1) & slots_mask(seen);
    return slot;
}

/* Empties a slot; those behind it that were pushed on by it move up. */
static void empty(struct seen *seen, uint32_t slot)
{
    uint32_t mask = slots_mask(seen), next = slot;

    for (;;) {
        next = (next + 1) & mask;
        if (seen->index[next] == 0)
            break;
        uint32_t from = home(seen, seen->ring[seen->index[next] - 1].hash);

        if (((next - from) & mask) < ((next - slot) & mask))
            continue; /* at home between the two */
        seen->index[slot] = seen->index[next];
        slot = next;
    }
    seen->index[slot] = 0;
}

/* ---- The ring ---- */

static struct seen_entry *entry_at(const struct seen *seen, uint32_t i)
{
    return &seen->ring[(seen->first + i) & (seen->capacity - 1)];
}

static bool expired(const struct seen *seen, const struct seen_entry *entry, uint64_t now_ns)
{
    return now_ns > entry->at_ns && now_ns - entry->at_ns > seen->lifetime_ns;
}

static void drop_oldest(struct seen *seen)
{
    uint32_t slot = slot_of(seen, entry_at(seen, 0)->hash);

    assert(seen->len > 0 && seen->index[slot] == seen->first + 1);
    empty(seen, slot);
    seen->first = (seen->first + 1) & (seen->capacity - 1);
    seen->len--;
}

static void append(struct seen *seen, const struct seen_entry *entry)
{
    uint32_t place = (seen->first + seen->len) & (seen->capacity - 1);
    uint32_t slot;

    assert(seen->len < seen->capacity);
    seen->ring[place] = *entry;
    slot = slot_of(seen, entry->hash);
    assert(seen->index[slot] == 0);
    seen->index[slot] = place + 1;
    seen->len++;
}

static parley_status grow(struct seen *seen, uint32_t needed)
{
    struct seen bigger = *seen;
    uint32_t capacity = seen->capacity > 0 ? seen->capacity : CAPACITY_MIN;

    while (capacity < needed)
        capacity *= 2;
    bigger.ring = alloc_zeroed(seen->alloc,
                               capacity * (sizeof(struct seen_entry) + 2 * sizeof(uint32_t)));
    if (bigger.ring == NULL)
        return PARLEY_ENOMEM;
    bigger.index = (uint32_t *)(bigger.ring + capacity);
    bigger.capacity = capacity;
    bigger.first = bigger.len = 0;
    for (uint32_t i = 0; i < seen->len; i++)
        append(&bigger, entry_at(seen, i));
    alloc_free(seen->alloc, seen->ring);
    *seen = bigger;
    return PARLEY_OK;
}

bool seen_find(const struct seen *seen, enum seen_kind kind, const char *text, size_t len,
               uint64_t now_ns, uint64_t *ret_number)
{
    const struct seen_entry *entry;
    uint32_t slot;

    if (seen->len == 0)
        return false;
    slot = slot_of(seen, seen_hash(seen->key, kind, text, len));
    if (seen->index[slot] == 0)
        return false;
    entry = &seen->ring[seen->index[slot] - 1];
    if (expired(seen, entry, now_ns))
        return false;
    *ret_number = entry->number;
    return true;
}

parley_status seen_reserve(struct seen *seen, uint32_t count, uint64_t now_ns)
{
    assert(count <= SEEN_RESERVE_MAX);
    while (seen->len > 0 &&
           (expired(seen, entry_at(seen, 0), now_ns) || seen->len + count > seen->limit))
        drop_oldest(seen);
    return seen->len + count <= seen->capacity ? PARLEY_OK : grow(seen, seen->len + count);
}

void seen_add(struct seen *seen, enum seen_kind kind, const char *text, size_t len,
              uint64_t now_ns, uint64_t number)
{
    struct seen_entry entry = {seen_hash(seen->key, kind, text, len), number, now_ns};

    append(seen, &entry);
}

bool seen_full(const struct seen *seen, uint64_t now_ns)
{
    return seen->len >= seen->limit && !expired(seen, entry_at(seen, 0), now_ns);
}

void seen_check(const struct seen *seen)
{
    uint32_t used = 0;

    assert(seen->len <= seen->limit && seen->len <= seen->capacity);
    if (seen->capacity == 0)
        return;
    for (uint32_t i = 0; i < 2 * seen->capacity; i++)
        used += seen->index[i] != 0 ? 1 : 0;
    assert(used == seen->len);
    for (uint32_t i = 0; i < seen->len; i++) {
        const struct seen_entry *entry = entry_at(seen, i);

        assert(seen->index[slot_of(seen, entry->hash)] == (uint32_t)(entry - seen->ring) + 1);
        assert(i == 0 || entry_at(seen, i - 1)->at_ns <= entry->at_ns);
    }
}
