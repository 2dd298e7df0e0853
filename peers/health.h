/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a peer is well, how we find out, and what becomes of its messages while it is not.
 *
 * Failures in a row make it unhealthy, one success makes it well again. An open WebSocket
 * shows by its heartbeat that the peer is there (peer_link.c). A peer without one is asked for
 * its /health now and then, through parley_ping()'s machinery, when no message is under way
 * that would tell as much: by default only while it is unhealthy, so that a node with very
 * many peers asks the few that matter. The circuit breaker of its requests applies.
 *
 * Everything here runs on the peer's worker; posting threads see two flags on the slot.
 */
#ifndef PARLEY_PEERS_HEALTH_H
#define PARLEY_PEERS_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "parley.h"

struct peer;

struct health {
    bool healthy;      /* as reported */
    uint32_t failures; /* in a row, of any kind */
    parley_unhealthy_policy policy;
    uint64_t heard_ns;    /* the last sign of life */
    uint64_t answered_ns; /* … over HTTP */
    uint64_t probe_ns;    /* the next look; CLOCK_NEVER: none is planned */
    bool probing;
    uint64_t probes; /* ever sent */
};

/** Spreads what many do at the same interval: ±10 %. Pure. @param random uniform 64 bits */
uint64_t health_jitter_ns(uint64_t interval_ns, uint64_t random);

void health_init(struct peer *peer, const parley_peer_options *options);

/** The heartbeat's interval, spread. */
uint64_t health_interval_ns(const struct peer *peer);

/** A dial failed: that says little about a peer that answers over HTTP. */
void health_dial_failed(struct peer *peer);

/** health->healthy has changed: threads that send see what that means. */
void health_tell_slot(struct peer *peer);

/** After everything else: plans probes, makes room. */
void health_settle(struct peer *peer);

/** health->probe_ns may have come. */
void health_timer(struct peer *peer, uint64_t now_ns);

#endif
