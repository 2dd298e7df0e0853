/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiver's rule for one inbound session (sender, session_id): which numbers run,
 * which are repeats, what is acknowledged. Pure, like delivery.h, whose counterpart it is.
 *
 *      closed | answered  | begun, some unanswered | not seen
 *     --------+-----------+------------------------+---------
 *            base      ack_seq                 watermark
 *
 * Outcomes of (ack_seq, watermark] stand in a ring; rejections are remembered until the
 * sender's base_seq passes them, however often they were told. What is begun and unanswered
 * plus what is rejected and not yet closed never exceeds `in_flight_max`: a sender that keeps
 * to this window never meets the limit. One that says no base_seq would be held up for good by
 * a number that is never answered: when the ring has to move on, its oldest unanswered numbers
 * are set apart (`owed`), below ack_seq, and keep their outcomes to come.
 *
 * PROTOCOL.md, "Between parleys", 4 and 5.
 */
#ifndef PARLEY_PEERS_RECEIVE_H
#define PARLEY_PEERS_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

enum receive_decision {
    RECEIVE_RUN,       /* begun: run the handler, then receive_finish() */
    RECEIVE_REPEAT,    /* has its outcome, or will: do not run it */
    RECEIVE_GAP,       /* numbers before it are missing: not begun, stop reading */
    RECEIVE_FULL,      /* in_flight_max are unanswered, or rejected above base_seq: not begun,
                          stop reading */
    RECEIVE_NO_MEMORY, /* not begun, stop reading */
};

struct receive_rejection {
    uint64_t number;
    const char *detail;
};

struct receive_range {
    uint64_t first, last;
};

#define RECEIVE_SKIPPED_MAX  8
#define RECEIVE_REJECTED_FEW 4
#define RECEIVE_OLD_KEPT     64 /* what an older sender of ours may send again */

struct receive {
    const struct alloc *alloc;
    uint64_t base;      /* numbers below are closed */
    uint64_t ack_seq;   /* every number up to here has an outcome, but for the owed ones */
    uint64_t watermark; /* highest number begun */
    uint32_t in_flight_max;
    bool known;    /* a batch or message has been seen */
    uint8_t *ring; /* who is answered, by number & ring_mask; NULL until two are unanswered */
    uint32_t ring_mask;
    uint64_t *owed; /* rising */
    uint32_t owed_len, owed_capacity;
    struct receive_rejection *rejected; /* by number, rising; `few` until they are more */
    uint32_t rejected_len, rejected_capacity;
    struct receive_rejection few[RECEIVE_REJECTED_FEW];
    /* the old rule's gaps: numbers that never came. The newest ones, rising; of what lies
     * below `unsure`, and of that number, nobody knows any more. */
    struct receive_range skipped[RECEIVE_SKIPPED_MAX];
    uint32_t skipped_len;
    uint64_t unsure;
};

/** It must stay where it is. */
void receive_init(struct receive *receive, const struct alloc *alloc, uint32_t in_flight_max);
void receive_fini(struct receive *receive);

/** The sender says base_seq: an unknown session starts there; lower numbers are closed, their
 *  rejections forgotten, and what was unanswered among them no longer holds up ack_seq. It
 *  never moves back. */
void receive_base(struct receive *receive, uint64_t base_seq);

/** Number `number` has arrived. An unknown session starts at 1. */
enum receive_decision receive_begin(struct receive *receive, uint64_t number);

/** The old rule, for envelopes without base_seq: an unknown session starts at `number`, gaps
 *  are accepted, lower numbers are repeats; RECEIVE_FULL means that in_flight_max numbers are
 *  unanswered. The session's one watermark serves both rules. Since nobody closes numbers
 * here, the oldest rejections make room for new ones, beyond the last RECEIVE_OLD_KEPT. */
enum receive_decision receive_begin_old(struct receive *receive, uint64_t number);

/**
 * A begun number has its outcome. That never fails for want of memory.
 *
 * @param detail NULL: accepted; else rejected, copied; replaced if there is no memory for it
 * @return PARLEY_OK; PARLEY_EUNKNOWN (not begun, closed, or answered before)
 */
parley_status receive_finish(struct receive *receive, uint64_t number, const char *detail);

/** The highest number that may be acknowledged: it and all before it have their outcomes. */
uint64_t receive_acked(const struct receive *receive);

/** Tells whether a handler owes an answer. */
bool receive_owes(const struct receive *receive);

/** Tells whether a number has its outcome, or was closed without one. */
bool receive_answered(const struct receive *receive, uint64_t number);

/** Tells whether a number up to the watermark is known to have come: it was neither skipped by
 *  the old rule nor lies below the first one this session heard of. */
bool receive_arrived(const struct receive *receive, uint64_t number);

/** The stored detail of a rejected number, NULL when it was not rejected. */
const char *receive_rejection(const struct receive *receive, uint64_t number);

/** Asserts base ≤ ack_seq + 1, ack_seq ≤ watermark, the ring and the rejections' order. */
void receive_check(const struct receive *receive);

#endif
