/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps each step short is one invariant: the numbered messages are the first of the
 * list, without gaps, voids included, and the front is never a void. So base_seq is the
 * front's number, the cursor's is base + outstanding, and nothing is ever searched for.
 *
 * A message that has its result is queued for delivery_ended(); one that then still stands
 * in the list, as a void, is queued a second time when it leaves.
 */
#include "peers/delivery.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "runtime/clock.h"

/* ---- The queue of actions ---- */

static void queue(struct delivery *delivery, struct delivery_message *message)
{
    if (message->queued)
        return;
    message->queued = true;
    message->ended_next = NULL;
    if (delivery->ended_last != NULL)
        delivery->ended_last->ended_next = message;
    else
        delivery->ended_first = message;
    delivery->ended_last = message;
}

bool delivery_ended(struct delivery *delivery, struct delivery_end *ret_end)
{
    struct delivery_message *message = delivery->ended_first;

    if (message == NULL)
        return false;
    delivery->ended_first = message->ended_next;
    if (delivery->ended_first == NULL)
        delivery->ended_last = NULL;
    *ret_end = (struct delivery_end){
        .message = message, .report = !message->reported, .release = !message->in_list};
    message->ended_next = NULL;
    message->queued = false;
    message->reported = true;
    return true;
}

/* ---- The list ---- */

static void append(struct delivery *delivery, struct delivery_message *message)
{
    message->prev = delivery->back;
    message->next = NULL;
    message->in_list = true;
    if (delivery->back != NULL)
        delivery->back->next = message;
    else
        delivery->front = message;
    delivery->back = message;
    if (delivery->cursor == NULL)
        delivery->cursor = message;
}

/* Behind what has a number, and behind the parts that are there already. */
static void insert_part(struct delivery *delivery, struct delivery_message *part)
{
    struct delivery_message *next = delivery->cursor;

    while (next != NULL && (next->number != 0 || next->part))
        next = next->next;
    if (next == NULL) {
        append(delivery, part);
        return;
    }
    part->next = next;
    part->prev = next->prev;
    part->in_list = true;
    if (next->prev != NULL)
        next->prev->next = part;
    else
        delivery->front = part;
    next->prev = part;
    if (delivery->cursor == next)
        delivery->cursor = part;
}

/* The front, or an unnumbered one. */
static void take_out(struct delivery *delivery, struct delivery_message *message)
{
    struct delivery_message *next = message->next;

    assert(message->in_list);
    assert(message == delivery->front || message->number == 0);
    if (message->number != 0)
        delivery->base = message->number + 1;
    if (message == delivery->cursor)
        delivery->cursor = next;
    else if (message->number != 0)
        delivery->outstanding--; /* a number before the cursor */
    if (message->number != 0 && message->outcome >= PARLEY_EXHAUSTED)
        delivery->base_untold = true;
    if (message->prev != NULL)
        message->prev->next = next;
    else
        delivery->front = next;
    if (next != NULL)
        next->prev = message->prev;
    else
        delivery->back = message->prev;
    message->in_list = false;
    message->next = message->prev = NULL;
}

/* A message that has its result leaves the list. */
static void leave(struct delivery *delivery, struct delivery_message *message)
{
    assert(message->outcome != 0);
    take_out(delivery, message);
    queue(delivery, message);
}

/* Voids with nothing older before them need no place: base_seq says it all. */
static void drop_voids(struct delivery *delivery)
{
    while (delivery->front != NULL && delivery->front->given_up)
        leave(delivery, delivery->front);
}

/* ---- Results ---- */

static uint64_t *counter(struct delivery_counts *counts, unsigned outcome, unsigned transport)
{
    switch (outcome) {
    case PARLEY_DELIVERED:
        return transport == PARLEY_TRANSPORT_WEBSOCKET ? &counts->delivered_ws
                                                       : &counts->delivered_http;
    case PARLEY_SENT:
        return &counts->sent;
    case PARLEY_REJECTED:
        return &counts->rejected;
    case PARLEY_EXHAUSTED:
        return &counts->exhausted;
    case PARLEY_EXPIRED:
        return &counts->expired;
    default:
        assert(outcome == PARLEY_CANCELLED);
        return &counts->cancelled;
    }
}

/* Gives a pending message its one result. It still stands in the list, or aside. */
static void conclude(struct delivery *delivery, struct delivery_message *message,
                     parley_outcome outcome, const char *detail)
{
    assert((message->in_list || message->aside) && message->outcome == 0);
    message->outcome = (uint8_t)outcome;
    message->detail = detail != NULL ? detail : "";
    deadlines_remove(&delivery->deadlines, &message->expiry);
    delivery->earliest_deadline_ns = deadlines_earliest(&delivery->deadlines);
    if (!message->part) {
        delivery->counts.pending--;
        (*counter(&delivery->counts, outcome, message->transport))++;
    }
    queue(delivery, message);
}

/* A concluded message leaves the list, or stays as a void until what is older has left. */
static void retire(struct delivery *delivery, struct delivery_message *message)
{
    if (message->aside) {
        message->aside = false;
        delivery->asides--;
        return;
    }
    if (message->number == 0 || message == delivery->front)
        leave(delivery, message);
    else
        message->given_up = true;
    drop_voids(delivery);
}

/* ---- Events ---- */

void delivery_init(struct delivery *delivery, const struct delivery_limits *limits)
{
    assert(limits->in_flight_max > 0);
    memset(delivery, 0, sizeof(*delivery));
    deadlines_init(&delivery->deadlines);
    delivery->next_number = 1;
    delivery->base = 1;
    delivery->earliest_deadline_ns = CLOCK_NEVER;
    delivery->route = PARLEY_TRANSPORT_NONE;
    delivery->limits = *limits;
}

static void prepare(struct delivery *delivery, struct delivery_message *message)
{
    message->ended_next = NULL;
    message->number = 0;
    message->attempts = 0;
    message->tries = 0;
    message->transport = PARLEY_TRANSPORT_NONE;
    message->outcome = 0;
    message->given_up = false;
    message->queued = false;
    message->reported = false;
    message->doubt = 0;
    message->maybe_duplicate = false;
    message->http_code = 0;
    message->detail = NULL;
    message->part = message->aside = false;
    deadlines_add(&delivery->deadlines, &message->expiry, message->deadline_ns);
    delivery->earliest_deadline_ns = deadlines_earliest(&delivery->deadlines);
}

void delivery_post(struct delivery *delivery, struct delivery_message *message)
{
    prepare(delivery, message);
    append(delivery, message);
    delivery->counts.accepted++;
    delivery->counts.pending++;
}

void delivery_set_aside(struct delivery *delivery, struct delivery_message *message)
{
    assert(message->number == 0 && message->outcome == 0 && !message->part);
    take_out(delivery, message);
    message->aside = true;
    delivery->asides++;
}

void delivery_post_part(struct delivery *delivery, struct delivery_message *part)
{
    prepare(delivery, part);
    part->part = true;
    insert_part(delivery, part);
}

/* The rejections of one acknowledgement, asked for by rising numbers. */
struct rejections {
    const struct delivery_rejection *entries;
    size_t len;
    size_t at;
    bool rising;
};

static bool rises(const struct delivery_rejection *entries, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        if (entries[i].number <= entries[i - 1].number)
            return false;
    }
    return true;
}

static const struct delivery_rejection *find(struct rejections *rejections, uint64_t number)
{
    const struct delivery_rejection *entries = rejections->entries;
    size_t i = rejections->rising ? rejections->at : 0;

    if (rejections->rising) {
        while (i < rejections->len && entries[i].number < number)
            i++;
        rejections->at = i;
    } else {
        while (i < rejections->len && entries[i].number != number)
            i++;
    }
    return i < rejections->len && entries[i].number == number ? &entries[i] : NULL;
}

static void resolve(struct delivery *delivery, struct delivery_message *message,
                    struct rejections *rejections)
{
    const struct delivery_rejection *rejection = find(rejections, message->number);

    message->http_code = 0; /* this is its answer */
    if (rejection != NULL)
        conclude(delivery, message, PARLEY_REJECTED, rejection->detail);
    else
        conclude(delivery, message, PARLEY_DELIVERED, "");
}

bool delivery_ack(struct delivery *delivery, uint64_t ack_seq,
                  const struct delivery_rejection *rejected, size_t rejected_len)
{
    struct rejections rejections = {rejected, rejected_len, 0, rises(rejected, rejected_len)};

    if (ack_seq >= delivery->next_number)
        return false;
    while (delivery->base <= ack_seq) {
        struct delivery_message *message = delivery->front;

        if (!message->given_up)
            resolve(delivery, message, &rejections);
        leave(delivery, message);
    }
    drop_voids(delivery);
    return true;
}

bool delivery_answer(struct delivery *delivery, uint64_t number, parley_outcome outcome,
                     unsigned http_code, const char *detail)
{
    struct delivery_message *message = delivery->front;

    if (number < delivery->base || number >= delivery->next_number)
        return false;
    for (uint64_t i = delivery->base; i < number; i++)
        message = message->next;
    assert(message->number == number);
    if (message->given_up)
        return false;
    message->http_code = (uint16_t)http_code;
    conclude(delivery, message, outcome, detail);
    retire(delivery, message);
    return true;
}

/* Who may have run a lost attempt. */
#define DOUBT_KNOWING   1 /* one who will recognise the repeat */
#define DOUBT_FORGETFUL 2

void delivery_doubt(struct delivery *delivery, bool twice)
{
    struct delivery_message *message = delivery->front;

    for (uint32_t i = 0; i < delivery->outstanding; i++, message = message->next) {
        message->doubt |= delivery->recognises ? DOUBT_KNOWING : DOUBT_FORGETFUL;
        if (twice && !delivery->recognises)
            message->maybe_duplicate = true;
    }
}

void delivery_answered(struct delivery *delivery, unsigned http_code)
{
    struct delivery_message *message = delivery->front;

    for (uint32_t i = 0; i < delivery->outstanding; i++, message = message->next) {
        if (message->outcome == 0)
            message->http_code = (uint16_t)http_code;
    }
}

void delivery_lost(struct delivery *delivery)
{
    if (delivery->outstanding > 0)
        delivery->failed_end = delivery->base + delivery->outstanding;
    delivery->outstanding = 0;
    delivery->cursor = delivery->front;
    delivery->base_untold = false; /* what is sent again says it */
}

void delivery_untry(struct delivery *delivery)
{
    for (struct delivery_message *message = delivery->front; message != delivery->cursor;
         message = message->next) {
        if (!message->given_up && message->tries > 0)
            message->tries--;
    }
}

void delivery_switch(struct delivery *delivery, parley_transport route)
{
    struct delivery_message *message = delivery->front;

    delivery_lost(delivery);
    if (route == delivery->route)
        return;
    delivery->route = route;
    for (; message != NULL && message->number != 0; message = message->next)
        message->tries = 0;
}

void delivery_exhaust(struct delivery *delivery, uint32_t attempts_max, unsigned http_code,
                      const char *detail)
{
    uint32_t limit = attempts_max < UINT16_MAX ? attempts_max : UINT16_MAX;
    struct delivery_message *message = delivery->front;

    assert(delivery->outstanding == 0);
    for (; message != NULL && message->number != 0 && message->number < delivery->failed_end;
         message = message->next) {
        if (message->given_up || message->tries < limit)
            continue;
        message->http_code = (uint16_t)http_code;
        message->given_up = true;
        conclude(delivery, message, PARLEY_EXHAUSTED, detail);
    }
    drop_voids(delivery);
}

void delivery_give_up(struct delivery *delivery, struct delivery_message *message,
                      parley_outcome outcome, const char *detail)
{
    if (message->outcome != 0)
        return;
    conclude(delivery, message, outcome, detail);
    retire(delivery, message);
}

void delivery_give_up_all(struct delivery *delivery, parley_outcome outcome,
                          const char *detail)
{
    while (delivery->front != NULL)
        delivery_give_up(delivery, delivery->front, outcome, detail);
}

void delivery_expire(struct delivery *delivery, uint64_t now_ns)
{
    struct deadline *due, *next;

    if (now_ns < delivery->earliest_deadline_ns)
        return;
    for (due = deadlines_take_due(&delivery->deadlines, now_ns); due != NULL; due = next) {
        char *entry = (char *)due;

        next = due->next;
        due->next = NULL;
        delivery_give_up(
            delivery,
            (struct delivery_message *)(entry - offsetof(struct delivery_message, expiry)),
            PARLEY_EXPIRED, delivery->overdue != NULL ? delivery->overdue : "deadline passed");
    }
    delivery->earliest_deadline_ns = deadlines_earliest(&delivery->deadlines);
}

/* ---- Actions ---- */

struct delivery_message *delivery_peek(struct delivery *delivery)
{
    return delivery->outstanding < delivery->limits.in_flight_max ? delivery->cursor : NULL;
}

static void count_attempt(struct delivery *delivery, struct delivery_message *message)
{
    if (message->attempts > 0) {
        delivery->counts.resent++;
        if ((message->doubt & DOUBT_FORGETFUL) != 0 ||
            (message->doubt != 0 && !delivery->recognises))
            message->maybe_duplicate = true;
    }
    if (message->attempts < UINT16_MAX)
        message->attempts++;
    if (message->tries < UINT16_MAX)
        message->tries++;
    message->transport = (uint8_t)delivery->route;
}

void delivery_take(struct delivery *delivery, struct delivery_message *message)
{
    assert(message != NULL && message == delivery_peek(delivery));
    assert(delivery->route != PARLEY_TRANSPORT_NONE);
    if (message->number == 0)
        message->number = delivery->next_number++;
    if (!message->given_up)
        count_attempt(delivery, message);
    delivery->outstanding++;
    delivery->cursor = message->next;
}

uint32_t delivery_unanswered(const struct delivery *delivery, uint32_t most)
{
    const struct delivery_message *message = delivery->front;
    uint32_t count = 0;

    for (uint32_t i = 0; i < delivery->outstanding && count < most; i++) {
        count += message->given_up ? 0 : 1;
        message = message->next;
    }
    return count;
}

uint64_t delivery_base(const struct delivery *delivery)
{
    return delivery->base;
}

/* ---- Checks ---- */

static void check_message(const struct delivery *delivery,
                          const struct delivery_message *message, uint64_t index)
{
    bool numbered = index < delivery->next_number - delivery->base;

    assert(message->in_list);
    assert(message->number == (numbered ? delivery->base + index : 0));
    assert((message == delivery->cursor) == (index == delivery->outstanding));
    assert(message->given_up == (message->outcome != 0));
    assert(!message->given_up || (numbered && index > 0));
    assert(message->given_up || !message->queued);
    assert(message->reported == (message->given_up && !message->queued));
    assert(message->tries <= message->attempts);
    assert(!message->maybe_duplicate || message->doubt != 0);
    assert((message->attempts > 0) == numbered);
    assert((message->expiry.link != NULL) ==
           (!message->given_up && message->deadline_ns != CLOCK_NEVER));
    if (!message->given_up)
        assert(message->deadline_ns >= delivery->earliest_deadline_ns);
}

static void check_queue(const struct delivery *delivery)
{
    const struct delivery_message *message = delivery->ended_first, *last = NULL;

    for (; message != NULL; message = message->ended_next) {
        assert(message->queued && message->outcome != 0 && message->detail != NULL);
        assert(!message->reported || !message->in_list);
        last = message;
    }
    assert(delivery->ended_last == last);
}

static void check_counts(const struct delivery_counts *counts)
{
    assert(counts->accepted == counts->delivered_ws + counts->delivered_http + counts->sent +
                                   counts->rejected + counts->exhausted + counts->expired +
                                   counts->cancelled + counts->pending);
}

void delivery_check(const struct delivery *delivery)
{
    const struct delivery_message *message = delivery->front, *prev = NULL;
    uint64_t index = 0, pending = 0, timed = 0;

    for (; message != NULL; message = message->next) {
        assert(message->prev == prev);
        check_message(delivery, message, index++);
        pending += message->given_up || message->part ? 0 : 1;
        timed += message->expiry.link != NULL ? 1 : 0;
        prev = message;
    }
    assert(delivery->back == prev);
    assert(delivery->next_number - delivery->base <= index); /* the numbered ones */
    assert(delivery->outstanding <= delivery->next_number - delivery->base);
    assert(delivery->cursor != NULL || delivery->outstanding == index);
    assert(delivery->counts.pending == pending + delivery->asides);
    assert(deadlines_check(&delivery->deadlines) - timed <= delivery->asides);
    check_queue(delivery);
    check_counts(&delivery->counts);
}
