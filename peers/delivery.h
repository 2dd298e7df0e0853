/* SPDX-License-Identifier: Apache-2.0
 *
 * The delivery core: what one session's sender owes to each accepted message. A pure state
 * machine: events in, actions out; no clock, no socket, no thread, no allocation.
 *
 * All messages of the session stand in one list in the order they were posted. The cursor
 * is the next one to put on the transport: what stands before it is outstanding there,
 * what stands behind it waits. A number is given when the cursor first passes a message,
 * and kept for life. Acknowledgements take messages from the front; losing the transport,
 * or changing it, moves the cursor back to the front. A message given up after it was
 * numbered leaves a void in the list, unless nothing older is left, in which case base_seq
 * simply moves past it.
 *
 *        front                cursor              back
 *          v                    v                  v
 *        [ 7 ][ 8 ][ void 9 ][ 10 ][ 11 ][ - ][ - ][ - ]     -: not numbered yet
 *          \-- outstanding --/ \- again -/  \-- new --/
 *
 * PROTOCOL.md, "Between parleys", 2 to 7.
 */
#ifndef PARLEY_PEERS_DELIVERY_H
#define PARLEY_PEERS_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/deadlines.h"

struct delivery_message {
    struct delivery_message *next, *prev; /* in the list */
    struct delivery_message *ended_next;  /* in the queue of actions */
    struct deadline expiry;               /* the core's own entry for deadline_ns */
    uint64_t number;                      /* 0: never put on a transport */
    uint64_t deadline_ns;                 /* CLOCK_NEVER: none */
    uint32_t bytes;    /* an upper bound of its encoded size, for batch limits */
    uint16_t attempts; /* times put on a transport, over all of them */
    uint16_t tries;    /* of these, on this transport since the last switch */
    uint16_t unread;   /* of these, known to have been turned away; the caller's */
    uint8_t hint;      /* parley_hint */
    uint8_t transport; /* parley_transport: the last one */
    /* results, valid when delivery_ended() gives it out with `report` */
    uint8_t outcome; /* parley_outcome; 0: none yet */
    bool in_list;
    bool given_up; /* has its result, stands in the list as a void */
    bool queued;   /* in the queue of actions */
    bool reported; /* delivery_ended() has given out its result */
    bool part;     /* of a message that is set aside: not counted */
    bool aside;    /* pending, but not in the list: its parts are */
    uint8_t doubt; /* the core's own: which lost attempts may have arrived */
    uint16_t http_code;
    bool maybe_duplicate; /* it may have been run twice: a receiver that recognises no repeats
                             was sent one */
    uint32_t sent_ms;     /* the caller's: when it was last put on a transport */
    const char *detail;   /* static text, or valid until the event's caller has drained
                             delivery_ended(); never NULL once ended */
};

struct delivery_limits {
    uint32_t in_flight_max; /* messages outstanding */
};

struct delivery_counts {
    uint64_t accepted, delivered_ws, delivered_http, sent, rejected, exhausted, expired,
        cancelled, resent;
    uint64_t pending; /* counted, not derived */
};

struct delivery {
    struct delivery_message *front, *back, *cursor; /* cursor NULL: nothing left to send */
    struct delivery_message *ended_first, *ended_last;
    uint64_t next_number; /* the next message's number */
    uint64_t base;        /* base_seq: the lowest unresolved number */
    uint64_t failed_end;  /* what the last lost attempt held ends before this number */
    const char *overdue;  /* what a message hears whose deadline passes; NULL: just that */
    uint64_t earliest_deadline_ns; /* not later than any pending message's; CLOCK_NEVER */
    struct deadlines deadlines;    /* of the pending messages */
    uint32_t outstanding;          /* messages before the cursor, voids included */
    uint32_t asides;               /* messages set aside */
    parley_transport route;        /* the transport of what is outstanding */
    bool recognises;               /* its receiver recognises repeats; the caller's */
    bool base_untold; /* base has passed numbers given up, and what is outstanding may wait
                         for its receiver to hear of that; the caller takes it back */
    struct delivery_limits limits;
    struct delivery_counts counts;
};

/** One rejection of an acknowledgement. */
struct delivery_rejection {
    uint64_t number;
    const char *detail; /* NUL-terminated */
};

/** One message the caller must now act on. */
struct delivery_end {
    struct delivery_message *message;
    bool report;  /* its result is to be reported: see message->outcome */
    bool release; /* it has left the list: free it (after the report) */
};

void delivery_init(struct delivery *delivery, const struct delivery_limits *limits);

/* ---- Events ---- */

/** A message from the mailbox; its deadline_ns, bytes and hint are set, the rest is filled. */
void delivery_post(struct delivery *delivery, struct delivery_message *message);

/**
 * A pending message without a number leaves the list: it goes in parts. It stays pending and
 * may expire; delivery_give_up(), whatever the outcome, is how it gets its result.
 */
void delivery_set_aside(struct delivery *delivery, struct delivery_message *message);

/** A part of such a message, in front of all other messages without a number; filled in as
 *  for delivery_post(). It ends and is reported like any message, but counts as none. */
void delivery_post_part(struct delivery *delivery, struct delivery_message *part);

/**
 * Everything up to `ack_seq` has an outcome: rejected if listed, delivered otherwise.
 * Numbers that were never given out are a violation. Numbers behind the cursor may be
 * among them: they went out before the transport was lost. Entries of `rejected` that are
 * resolved already, or lie beyond `ack_seq`, mean nothing yet and are passed over; in rising
 * order, as receivers keep them, they cost one comparison each.
 *
 * @return false: the acknowledgement covers numbers never sent (nothing was changed)
 */
bool delivery_ack(struct delivery *delivery, uint64_t ack_seq,
                  const struct delivery_rejection *rejected, size_t rejected_len);

/** One numbered message ended with an answer of its own (old peers, HTTP 4xx). It costs a walk
 *  from the front, so answers in order cost nothing. Not the oldest, it leaves a void.
 *  @return false: no pending message has this number */
bool delivery_answer(struct delivery *delivery, uint64_t number, parley_outcome outcome,
                     unsigned http_code, const char *detail);

/** What is outstanding may have arrived, and nobody will say so: to be called before
 *  delivery_lost(), unless it is known that nothing was run. Sent again, it may be a duplicate
 *  unless `recognises` was and still is true. @param twice it went out twice already */
void delivery_doubt(struct delivery *delivery, bool twice);

/** What is outstanding was answered with this HTTP code, which its result tells unless
 *  another answer follows. Before delivery_lost(). */
void delivery_answered(struct delivery *delivery, unsigned http_code);

/** What is outstanding is not known to have arrived: it goes out again, first. */
void delivery_lost(struct delivery *delivery);

/** What is outstanding was turned away unread: this attempt counts as no try. Before
 *  delivery_lost(). */
void delivery_untry(struct delivery *delivery);

/** As delivery_lost(), for another transport: tries count anew. Naming the same one again is
 *  just delivery_lost(). A session starts on PARLEY_TRANSPORT_NONE and needs one call. */
void delivery_switch(struct delivery *delivery, parley_transport route);

/** Ends as PARLEY_EXHAUSTED what was outstanding in the last attempt and has been tried
 *  `attempts_max` times on this transport since the last switch (message->tries); called after
 *  delivery_lost(), before anything is taken again. */
void delivery_exhaust(struct delivery *delivery, uint32_t attempts_max, unsigned http_code,
                      const char *detail);

/** Ends one message as `outcome` (PARLEY_EXHAUSTED, PARLEY_EXPIRED, PARLEY_CANCELLED; of one
 *  set aside, any). It is
 *  not sent any more; numbered, it may leave a void. One that has its result keeps it. */
void delivery_give_up(struct delivery *delivery, struct delivery_message *message,
                      parley_outcome outcome, const char *detail);

/** Ends every pending message. */
void delivery_give_up_all(struct delivery *delivery, parley_outcome outcome,
                          const char *detail);

/** Ends as PARLEY_EXPIRED what is due (deadline_ns ≤ now_ns), in no particular order; renews
 *  earliest_deadline_ns. Constant time when nothing is due by earliest_deadline_ns, a few
 *  moves per message over its whole life otherwise. */
void delivery_expire(struct delivery *delivery, uint64_t now_ns);

/* ---- Actions ---- */

/** The message the cursor is at (never a void that needs no sending), NULL: none, or
 *  `in_flight_max` are outstanding. */
struct delivery_message *delivery_peek(struct delivery *delivery);

/** Puts the cursor's message on `route`, which must be the session's: numbers it, counts an
 *  attempt, moves on. `message` must be what delivery_peek() gave. `given_up` says that it is
 *  to be sent as a void (a peer that knows no voids is sent nothing); `attempts` > 1 (over
 *  all transports) that it is redelivered. */
void delivery_take(struct delivery *delivery, struct delivery_message *message);

/** The next message to report or release, until there is none. Every message is reported
 *  once and released once, in one step or in this order. */
bool delivery_ended(struct delivery *delivery, struct delivery_end *ret_end);

/** How many of the outstanding messages have no result yet; more than `most` are not
 *  counted. */
uint32_t delivery_unanswered(const struct delivery *delivery, uint32_t most);

/** The lowest unresolved number: base_seq of what is sent next. */
uint64_t delivery_base(const struct delivery *delivery);

/** Asserts the list, the cursor, the numbers and that the counters add up. O(n). */
void delivery_check(const struct delivery *delivery);

#endif
