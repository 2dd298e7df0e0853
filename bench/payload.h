/* SPDX-License-Identifier: Apache-2.0
 *
 * The payload that every benchmark sends: {"p":PEER,"t":THREAD,"n":K,"pad":"xxx…"}, always
 * exactly as long as asked for. K counts from 1 per (peer, thread), so that a receiver
 * finds repeats and order violations by comparing with the last K; both ends add up a hash
 * of every payload's bytes, so that a changed, lost or doubled one shows.
 */
#ifndef PARLEY_BENCH_PAYLOAD_H
#define PARLEY_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAYLOAD_BYTES_MAX (512u * 1024)
#define PAYLOAD_FRAME     "{\"p\":,\"t\":,\"n\":,\"pad\":\"\"}"
#define PAYLOAD_HEAD_MAX  (sizeof(PAYLOAD_FRAME) + 10 + 10 + 20)

struct payload_key {
    uint32_t peer;
    uint32_t thread;
    uint64_t number;
};

static inline size_t payload_digits(uint64_t value)
{
    size_t digits = 1;
    for (; value >= 10; value /= 10)
        digits++;
    return digits;
}

/** The fewest bytes in which every key up to these fits. */
static inline size_t payload_bytes_min(struct payload_key largest)
{
    return sizeof(PAYLOAD_FRAME) - 1 + payload_digits(largest.peer) +
           payload_digits(largest.thread) + payload_digits(largest.number);
}

static inline char *payload_put_number(char *at, uint64_t value)
{
    size_t digits = payload_digits(value);
    for (size_t i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + digits;
}

static inline char *payload_put_text(char *at, const char *text, size_t len)
{
    return mempcpy(at, text, len);
}

/** Prepares a buffer of `len` bytes for payload_write(). */
static inline void payload_prepare(char *buffer, size_t len)
{
    memset(buffer, 'x', len);
    buffer[len - 2] = '"';
    buffer[len - 1] = '}';
}

/** Writes `key`'s payload into a prepared buffer; `len` is at least payload_bytes_min(). */
static inline void payload_write(char *buffer, size_t len, struct payload_key key)
{
    char *at = payload_put_text(buffer, "{\"p\":", 5);
    at = payload_put_number(at, key.peer);
    at = payload_put_text(at, ",\"t\":", 5);
    at = payload_put_number(at, key.thread);
    at = payload_put_text(at, ",\"n\":", 5);
    at = payload_put_number(at, key.number);
    at = payload_put_text(at, ",\"pad\":\"", 8);
    /* The payload before may have had a longer head: wipe what is left of it. */
    char *head_end = buffer + (len - 2 < PAYLOAD_HEAD_MAX ? len - 2 : PAYLOAD_HEAD_MAX);
    if (at < head_end)
        memset(at, 'x', (size_t)(head_end - at));
}

static inline bool payload_take(const char **at, const char *end, const char *name,
                                uint64_t *ret_value)
{
    if (end - *at < 6 || memcmp(*at, name, 5) != 0)
        return false;
    const char *digit = *at + 5;
    uint64_t value = 0;
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++)
        value = value * 10 + (uint64_t)(*digit - '0');
    bool any = digit > *at + 5;
    *at = digit;
    *ret_value = value;
    return any;
}

/** Reads the key back. @return false: not one of our payloads */
static inline bool payload_parse(const char *payload, size_t len, struct payload_key *ret_key)
{
    const char *at = payload, *end = payload + len;
    uint64_t peer, thread, number;
    if (!payload_take(&at, end, "{\"p\":", &peer) ||
        !payload_take(&at, end, ",\"t\":", &thread) ||
        !payload_take(&at, end, ",\"n\":", &number) || peer > UINT32_MAX ||
        thread > UINT32_MAX)
        return false;
    *ret_key = (struct payload_key){(uint32_t)peer, (uint32_t)thread, number};
    return true;
}

/** A fast 64-bit hash, good at telling accidents; no protection against intent. */
static inline uint64_t payload_hash(const char *bytes, size_t len)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = (uint64_t)len * odd, word;
    for (; len >= 8; bytes += 8, len -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, bytes, len);
    hash = (hash ^ word) * odd;
    return hash ^ (hash >> 29);
}

#endif
