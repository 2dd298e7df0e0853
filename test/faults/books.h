/* SPDX-License-Identifier: Apache-2.0
 *
 * What the receiver's handlers ran, in memory that outlives the receiver: a file mapped by
 * both processes. A message is (case, number); its payload says so, with a checksum, so
 * that one changed on the way is not taken for another.
 *
 * The receiver writes, the test reads. A case is handled by one worker at a time.
 */
#ifndef PARLEY_TEST_FAULTS_BOOKS_H
#define PARLEY_TEST_FAULTS_BOOKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BOOKS_MESSAGES_MAX (1u << 20)
#define BOOKS_CASES_MAX    (1u << 16)

/** One message. */
struct book_entry {
    _Atomic(uint32_t) runs;
    _Atomic(uint32_t) twice;    /* runs that a run of the same process had preceded */
    _Atomic(uint32_t) unmarked; /* further runs that were not marked redelivered */
    _Atomic(uint32_t) life;     /* of the last run: which receiver process, from 1 */
    _Atomic(uint64_t) first_ns, last_ns;
};

/** One case: a sender's stream of messages, numbered from 0. */
struct book_case {
    _Atomic(uint32_t) next; /* the number expected now */
    _Atomic(uint32_t) life;
    _Atomic(uint32_t) violations;
};

/** One run of a handler by its address on the wire, to find repeats among changed bytes. */
struct book_run {
    uint64_t sender_session, number;
};

struct books {
    uint32_t stride; /* messages a case may have; set before the first receiver starts */
    _Atomic(uint32_t) life;
    _Atomic(uint64_t) handled, strange;
    _Atomic(uint64_t) runs_len;
    struct book_case cases[BOOKS_CASES_MAX];
    struct book_entry entries[BOOKS_MESSAGES_MAX];
    struct book_run runs[BOOKS_MESSAGES_MAX];
};

enum book_kind { BOOK_ACCEPT = 'a', BOOK_REJECT = 'r', BOOK_LATER = 'l' };

struct book_key {
    uint32_t of_case, number;
    char kind;
};

static inline uint64_t books_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static inline uint64_t books_hash(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static inline uint32_t books_checksum(struct book_key key)
{
    uint64_t word = (uint64_t)key.of_case << 32 | key.number;

    word = (word ^ (unsigned char)key.kind) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(word >> 32);
}

#define BOOKS_PAYLOAD_MAX 96

static inline size_t books_payload(struct book_key key, char *payload)
{
    return (size_t)snprintf(payload, BOOKS_PAYLOAD_MAX,
                            "{\"c\":%u,\"n\":%u,\"k\":\"%c\",\"h\":%u}", key.of_case,
                            key.number, key.kind, books_checksum(key));
}

/** @return false: not a payload of ours, or a changed one */
static inline bool books_parse(const char *payload, size_t len, struct book_key *ret_key)
{
    char text[BOOKS_PAYLOAD_MAX], again[BOOKS_PAYLOAD_MAX];
    struct book_key key;

    if (len >= sizeof(text))
        return false;
    memcpy(text, payload, len);
    text[len] = '\0';
    if (sscanf(text, "{\"c\":%u,\"n\":%u,\"k\":\"%c\"", &key.of_case, &key.number,
               &key.kind) != 3)
        return false;
    if (books_payload(key, again) != len || memcmp(again, text, len) != 0)
        return false;
    *ret_key = key;
    return true;
}

static inline struct book_entry *books_entry(struct books *books, struct book_key key)
{
    uint64_t index = (uint64_t)key.of_case * books->stride + key.number;

    return key.of_case < BOOKS_CASES_MAX && key.number < books->stride &&
                   index < BOOKS_MESSAGES_MAX
               ? &books->entries[index]
               : NULL;
}

#endif
