/* SPDX-License-Identifier: Apache-2.0
 *
 * The usual case touches three numbers only: a message begins (watermark), its handler
 * answers before the next one begins (ack_seq), the sender learns of it (base). The ring is
 * there for handlers that answer later: it is taken when a second number begins while one is
 * unanswered. Rejections stand in a sorted array, which has room for all that are unanswered:
 * what a number's outcome needs is taken before the number begins.
 *
 * Numbers come from strangers: nothing is computed that could wrap around.
 */
#include "peers/receive.h"

#include <assert.h>
#include <string.h>

#define RECEIVE_OWED_FEW 8

enum { UNANSWERED, ANSWERED };

/* Stands for a reason that there was no memory for. */
static const char unsaid[] = "out of memory for the reason";

static uint8_t *slot(const struct receive *receive, uint64_t number)
{
    return &receive->ring[number & receive->ring_mask];
}

void receive_init(struct receive *receive, const struct alloc *alloc, uint32_t in_flight_max)
{
    assert(in_flight_max > 0 && in_flight_max <= UINT32_C(1) << 30);
    memset(receive, 0, sizeof(*receive));
    receive->alloc = alloc;
    receive->base = 1;
    receive->in_flight_max = in_flight_max;
    receive->rejected = receive->few;
    receive->rejected_capacity = RECEIVE_REJECTED_FEW;
}

static void free_detail(struct receive *receive, const char *detail)
{
    if (detail != unsaid)
        alloc_free(receive->alloc, (char *)detail);
}

void receive_fini(struct receive *receive)
{
    for (uint32_t i = 0; i < receive->rejected_len; i++)
        free_detail(receive, receive->rejected[i].detail);
    if (receive->rejected != receive->few)
        alloc_free(receive->alloc, receive->rejected);
    alloc_free(receive->alloc, receive->ring);
    alloc_free(receive->alloc, receive->owed);
    receive->rejected = NULL;
    receive->ring = NULL;
    receive->owed = NULL;
    receive->rejected_len = receive->rejected_capacity = 0;
    receive->owed_len = receive->owed_capacity = 0;
}

/* ---- Rejections ---- */

/* How many rejections are of lower numbers: where `number` stands, or would. */
static uint32_t rejections_below(const struct receive *receive, uint64_t number)
{
    uint32_t low = 0, high = receive->rejected_len;

    /* Nearly always it comes last. */
    if (high > 0 && receive->rejected[high - 1].number < number)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (receive->rejected[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Forgets the `count` oldest. */
static void forget(struct receive *receive, uint32_t count)
{
    if (count == 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        free_detail(receive, receive->rejected[i].detail);
    receive->rejected_len -= count;
    memmove(receive->rejected, receive->rejected + count,
            receive->rejected_len * sizeof(receive->rejected[0]));
}

/* Room for `count` more. */
static bool make_room(struct receive *receive, uint64_t count)
{
    struct receive_rejection *before =
        receive->rejected == receive->few ? NULL : receive->rejected;
    uint64_t capacity = receive->rejected_capacity;
    struct receive_rejection *grown;

    if (count <= capacity - receive->rejected_len)
        return true;
    while (count > capacity - receive->rejected_len)
        capacity *= 2;
    grown = alloc_resize(receive->alloc, before, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    if (before == NULL)
        memcpy(grown, receive->few, sizeof(receive->few));
    receive->rejected = grown;
    receive->rejected_capacity = (uint32_t)capacity;
    return true;
}

/* What is unanswered and what was rejected, together. */
static uint64_t kept_max(const struct receive *receive)
{
    return (uint64_t)receive->in_flight_max + RECEIVE_OLD_KEPT;
}

/* There is room: prepare() made it before the number began. */
static void remember(struct receive *receive, uint64_t number, const char *detail)
{
    uint32_t at = rejections_below(receive, number);
    const char *copy = alloc_string(receive->alloc, detail);

    assert(receive->rejected_len < kept_max(receive)); /* room() saw to it */
    assert(receive->rejected_len < receive->rejected_capacity);
    memmove(receive->rejected + at + 1, receive->rejected + at,
            (receive->rejected_len - at) * sizeof(receive->rejected[0]));
    receive->rejected[at] = (struct receive_rejection){number, copy != NULL ? copy : unsaid};
    receive->rejected_len++;
}

const char *receive_rejection(const struct receive *receive, uint64_t number)
{
    uint32_t at = rejections_below(receive, number);

    return at < receive->rejected_len && receive->rejected[at].number == number
               ? receive->rejected[at].detail
               : NULL;
}

/* ---- Numbers ---- */

/* Moves ack_seq over what is answered already. */
static void advance(struct receive *receive)
{
    while (receive->ack_seq < receive->watermark &&
           *slot(receive, receive->ack_seq + 1) == ANSWERED)
        receive->ack_seq++;
}

/* Among the owed numbers, how many are lower: where `number` stands, if it is one. */
static uint32_t owed_below(const struct receive *receive, uint64_t number)
{
    uint32_t low = 0, high = receive->owed_len;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (receive->owed[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_owed(const struct receive *receive, uint64_t number)
{
    uint32_t at = owed_below(receive, number);

    return at < receive->owed_len && receive->owed[at] == number;
}

static void drop_owed(struct receive *receive, uint32_t at, uint32_t count)
{
    if (count == 0)
        return;
    receive->owed_len -= count;
    memmove(receive->owed + at, receive->owed + at + count,
            (receive->owed_len - at) * sizeof(receive->owed[0]));
}

static void start(struct receive *receive, uint64_t number)
{
    receive->known = true;
    receive->base = number > 0 ? number : 1;
    receive->ack_seq = receive->watermark = receive->unsure = receive->base - 1;
}

void receive_base(struct receive *receive, uint64_t base_seq)
{
    if (!receive->known) {
        start(receive, base_seq);
        return;
    }
    if (base_seq <= receive->base)
        return;
    receive->base = base_seq;
    forget(receive, rejections_below(receive, base_seq));
    drop_owed(receive, 0, owed_below(receive, base_seq));
    if (receive->watermark < base_seq - 1)
        receive->watermark = base_seq - 1;
    if (receive->ack_seq < base_seq - 1) {
        receive->ack_seq = base_seq - 1;
        if (receive->ring != NULL)
            advance(receive);
    }
}

/* How many rejections wait for base_seq among the acknowledged numbers. */
static uint32_t settled_rejections(const struct receive *receive)
{
    return receive->rejected_len == 0 ? 0 : rejections_below(receive, receive->ack_seq + 1);
}

/* What is unanswered, and what is answered between; at most in_flight_max. */
static uint64_t unanswered(const struct receive *receive)
{
    return receive->watermark - receive->ack_seq + receive->owed_len;
}

/* Whether `count` more numbers may begin, were every one of them to be rejected. */
static bool room(const struct receive *receive, uint64_t count)
{
    uint64_t taken = unanswered(receive) + settled_rejections(receive);

    return taken < receive->in_flight_max && count <= receive->in_flight_max - taken;
}

/* A power of two, so that finding a slot needs no division. */
static bool take_ring(struct receive *receive)
{
    uint32_t size = 1;

    while (size < receive->in_flight_max)
        size *= 2;
    receive->ring = alloc_zeroed(receive->alloc, size);
    receive->ring_mask = size - 1;
    return receive->ring != NULL;
}

/* Takes whatever finishing one more number may need, were all that are open to be rejected:
   an outcome that got lost would hold up every number after it. */
static bool prepare(struct receive *receive)
{
    uint64_t open = receive->watermark - receive->ack_seq;

    if (receive->ring == NULL && open > 0 && !take_ring(receive))
        return false;
    return make_room(receive, unanswered(receive) + 1);
}

static enum receive_decision run(struct receive *receive, uint64_t number)
{
    receive->watermark = number;
    if (receive->ring != NULL)
        *slot(receive, number) = UNANSWERED;
    return RECEIVE_RUN;
}

enum receive_decision receive_begin(struct receive *receive, uint64_t number)
{
    if (!receive->known)
        start(receive, 1);
    if (number <= receive->watermark)
        return RECEIVE_REPEAT;
    if (number - receive->watermark > 1)
        return RECEIVE_GAP;
    if (!room(receive, 1))
        return RECEIVE_FULL;
    return prepare(receive) ? run(receive, number) : RECEIVE_NO_MEMORY;
}

/* Numbers up to `last` will never come: they do not hold up ack_seq. */
static void skip(struct receive *receive, uint64_t last)
{
    if (receive->ack_seq == receive->watermark) {
        receive->ack_seq = receive->watermark = last;
        return;
    }
    while (receive->watermark < last)
        *slot(receive, ++receive->watermark) = ANSWERED;
}

static void note_gap(struct receive *receive, uint64_t first, uint64_t last)
{
    if (first > last)
        return;
    if (receive->skipped_len == RECEIVE_SKIPPED_MAX) {
        receive->unsure = receive->skipped[0].last;
        receive->skipped_len--;
        memmove(receive->skipped, receive->skipped + 1,
                receive->skipped_len * sizeof(receive->skipped[0]));
    }
    receive->skipped[receive->skipped_len++] = (struct receive_range){first, last};
}

bool receive_arrived(const struct receive *receive, uint64_t number)
{
    if (number <= receive->unsure || number > receive->watermark)
        return false;
    for (uint32_t i = 0; i < receive->skipped_len; i++) {
        if (number >= receive->skipped[i].first && number <= receive->skipped[i].last)
            return false;
    }
    return true;
}

/* How many numbers begin with this one: it alone does, but behind an unanswered number the
 * ring holds them all. */
static uint64_t width(const struct receive *receive, uint64_t number)
{
    return receive->ack_seq == receive->watermark ? 1 : number - receive->watermark;
}

static bool fits(const struct receive *receive, uint64_t count)
{
    uint64_t taken = unanswered(receive);

    return taken < receive->in_flight_max && count <= receive->in_flight_max - taken;
}

/* The oldest unanswered number no longer holds up the ring. */
static bool set_apart(struct receive *receive)
{
    uint32_t capacity = receive->owed_capacity;
    uint64_t *grown;

    if (receive->owed_len == capacity) {
        capacity = capacity > 0 ? 2 * capacity : RECEIVE_OWED_FEW;
        grown = alloc_resize(receive->alloc, receive->owed, capacity * sizeof(*grown));
        if (grown == NULL)
            return false;
        receive->owed = grown;
        receive->owed_capacity = capacity;
    }
    receive->owed[receive->owed_len++] = ++receive->ack_seq;
    advance(receive);
    return true;
}

/* A number that is still owed is never closed for it. */
static void forget_oldest(struct receive *receive)
{
    uint64_t next = receive->rejected[0].number + 1;

    if (receive->owed_len > 0 && receive->owed[0] < next)
        forget(receive, 1);
    else
        receive_base(receive, next);
}

enum receive_decision receive_begin_old(struct receive *receive, uint64_t number)
{
    uint64_t next;

    if (!receive->known)
        start(receive, number);
    if (number <= receive->watermark)
        return RECEIVE_REPEAT;
    while (!fits(receive, width(receive, number)) && receive->ack_seq < receive->watermark) {
        if (!set_apart(receive))
            return RECEIVE_NO_MEMORY;
    }
    if (!fits(receive, width(receive, number)))
        return RECEIVE_FULL;
    while (unanswered(receive) + width(receive, number) + settled_rejections(receive) >
           kept_max(receive)) /* ends: it fits */
        forget_oldest(receive);
    if (!prepare(receive))
        return RECEIVE_NO_MEMORY;
    next = receive->watermark + 1;
    skip(receive, number - 1);
    note_gap(receive, next, number - 1);
    return run(receive, number);
}

/* @return whether it was */
static bool finish_owed(struct receive *receive, uint64_t number, const char *detail)
{
    if (!is_owed(receive, number))
        return false;
    drop_owed(receive, owed_below(receive, number), 1);
    if (detail != NULL)
        remember(receive, number, detail);
    return true;
}

parley_status receive_finish(struct receive *receive, uint64_t number, const char *detail)
{
    /* What else is closed or answered in order lies at or below ack_seq. */
    if (number <= receive->ack_seq && receive->owed_len > 0)
        return finish_owed(receive, number, detail) ? PARLEY_OK : PARLEY_EUNKNOWN;
    if (number <= receive->ack_seq || number > receive->watermark)
        return PARLEY_EUNKNOWN;
    if (receive->ring != NULL && *slot(receive, number) == ANSWERED)
        return PARLEY_EUNKNOWN;
    if (detail != NULL)
        remember(receive, number, detail);
    if (receive->ring == NULL) {
        assert(number == receive->watermark && number == receive->ack_seq + 1);
        receive->ack_seq = number;
        return PARLEY_OK;
    }
    *slot(receive, number) = ANSWERED;
    advance(receive);
    return PARLEY_OK;
}

uint64_t receive_acked(const struct receive *receive)
{
    return receive->owed_len > 0 ? receive->owed[0] - 1 : receive->ack_seq;
}

bool receive_owes(const struct receive *receive)
{
    return receive->watermark > receive->ack_seq || receive->owed_len > 0;
}

bool receive_answered(const struct receive *receive, uint64_t number)
{
    if (number <= receive->ack_seq)
        return !is_owed(receive, number);
    return number <= receive->watermark && receive->ring != NULL &&
           *slot(receive, number) == ANSWERED;
}

static void check_owed(const struct receive *receive)
{
    assert(receive->owed_len <= receive->owed_capacity);
    for (uint32_t i = 0; i < receive->owed_len; i++) {
        uint64_t number = receive->owed[i];

        assert(number >= receive->base && number <= receive->ack_seq);
        assert(i == 0 || receive->owed[i - 1] < number);
        assert(receive_rejection(receive, number) == NULL);
    }
}

void receive_check(const struct receive *receive)
{
    uint64_t open = receive->watermark - receive->ack_seq;

    check_owed(receive);
    assert(receive->base >= 1 && receive->base - 1 <= receive->ack_seq);
    assert(receive->ack_seq <= receive->watermark);
    assert(receive->known || receive->watermark == 0);
    assert(unanswered(receive) <= receive->in_flight_max);
    assert(unanswered(receive) + settled_rejections(receive) <= kept_max(receive));
    assert(receive->ring != NULL || open <= 1);
    assert(open == 0 || receive->ring == NULL ||
           *slot(receive, receive->ack_seq + 1) == UNANSWERED);
    assert(receive->rejected_len <= receive->rejected_capacity);
    assert(receive->skipped_len <= RECEIVE_SKIPPED_MAX);
    for (uint32_t i = 0; i < receive->skipped_len; i++) {
        const struct receive_range *gap = &receive->skipped[i];

        assert(gap->first <= gap->last && gap->last <= receive->watermark);
        assert(gap->first > (i == 0 ? receive->unsure : receive->skipped[i - 1].last));
    }
    for (uint32_t i = 0; i < receive->rejected_len; i++) {
        uint64_t number = receive->rejected[i].number;

        assert(number >= receive->base && number <= receive->watermark);
        assert(i == 0 || receive->rejected[i - 1].number < number);
        assert(number <= receive->ack_seq || *slot(receive, number) == ANSWERED);
        assert(receive->rejected[i].detail != NULL);
    }
}
