/* SPDX-License-Identifier: Apache-2.0
 *
 * A circuit breaker: after so many failures in a row nothing is called for a while, then a
 * few trial calls decide. Pure: the caller brings the clock. A peer has two of them, for its
 * HTTP requests and for its WebSocket's dials, so that the one never blocks the other.
 *
 *   closed ── failures in a row ──▶ open ── open_ns later, or good news ──▶ half-open
 *      ▲                              ▲                                        │
 *      │                              └───────────── any failure ──────────────┤
 *      └───────────────────────────────────────────── successes ───────────────┘
 *
 * Whoever is turned away is told when to come again: waits of the caller's own run at the
 * same time, not afterwards.
 */
#ifndef PARLEY_PEERS_BREAKER_H
#define PARLEY_PEERS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/** Shared by all breakers of a runtime. */
struct breaker_limits {
    uint32_t failures;  /* in a row that open it; 0: it never opens */
    uint32_t trials;    /* calls under way at once while it is half-open, at least 1 */
    uint32_t successes; /* of trial calls that close it, at least 1 */
    uint64_t open_ns;
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
    enum breaker_state state;
    uint32_t failures;  /* closed: in a row */
    uint32_t trials;    /* half-open: calls under way */
    uint32_t successes; /* half-open: of trial calls */
    uint64_t until_ns;  /* open: no call before */
    uint64_t opens;     /* ever */
};

/** A zeroed breaker is closed. */
void breaker_init(struct breaker *breaker);

/** Whether no call may be made now. Changes nothing. */
bool breaker_blocks(const struct breaker *breaker, const struct breaker_limits *limits,
                    uint64_t now_ns);

/**
 * A call is about to be made; its end is one of the three below.
 *
 * @param ret_at_ns on false: when to ask again; UINT64_MAX: once a trial call has ended
 * @return false: not now; nothing has changed
 */
bool breaker_take(struct breaker *breaker, const struct breaker_limits *limits,
                  uint64_t now_ns, uint64_t *ret_at_ns);

/** It was answered. While open (the call had begun before, or was forced) that ends the
 *  waiting: trial calls may begin. */
void breaker_succeeded(struct breaker *breaker, const struct breaker_limits *limits);

/** It failed. While open that changes nothing: one wave of failures opens it once. */
void breaker_failed(struct breaker *breaker, const struct breaker_limits *limits,
                    uint64_t now_ns);

/** It ended without saying anything about the other side: cancelled, or out of memory. */
void breaker_undone(struct breaker *breaker);

/** What was called has proven itself otherwise: closed, whatever it was. */
void breaker_close(struct breaker *breaker);

/** Asserts what holds in every state. */
void breaker_check(const struct breaker *breaker, const struct breaker_limits *limits);

#endif
