/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/health.h"

#include "peers/peer.h"
#include "runtime/clock.h"

#define JITTER_PARTS 10

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

uint64_t health_jitter_ns(uint64_t interval_ns, uint64_t random)
{
    uint64_t jitter_ns = interval_ns / JITTER_PARTS;

    return interval_ns - jitter_ns + random % (2 * jitter_ns + 1);
}

uint64_t health_interval_ns(const struct peer *peer)
{
    return health_jitter_ns(peer->runtime->options.heartbeat_interval_ms * NS_PER_MS,
                            worker_random(peer->bench->worker));
}

void health_init(struct peer *peer, const parley_peer_options *options)
{
    peer->health = (struct health){
        .healthy = true,
        .policy = options->unhealthy_policy_set ? options->unhealthy_policy
                                                : peer->runtime->options.unhealthy_policy,
        .probe_ns = CLOCK_NEVER,
    };
}

/* ---- Signs ---- */

void peer_failed(struct peer *peer)
{
    if (peer->health.failures < UINT32_MAX)
        peer->health.failures++;
}

void peer_alive(struct peer *peer)
{
    peer->health.failures = 0;
    peer->health.heard_ns = now_ns(peer);
}

void health_dial_failed(struct peer *peer)
{
    uint64_t interval_ns = peer->runtime->options.heartbeat_interval_ms * NS_PER_MS;

    if (peer->health.answered_ns == 0 ||
        now_ns(peer) - peer->health.answered_ns > 2 * interval_ns)
        peer_failed(peer);
}

/* ---- Probes ---- */

static bool may_probe(const struct peer *peer)
{
    return peer->has_url && peer->preference != PARLEY_WEBSOCKET_ONLY && !peer->closing &&
           (peer->link.state == LINK_IDLE || peer->link.state == LINK_BACKOFF);
}

/* A message that is under way tells as much, and comes first. */
static bool wants_probe(const struct peer *peer)
{
    const struct health *health = &peer->health;
    const parley_options *options = &peer->runtime->options;

    if (health->probing || !may_probe(peer) || peer->delivery.counts.pending > 0)
        return false;
    if (!health->healthy)
        return options->health_http != PARLEY_PROBE_OFF ||
               health->policy == PARLEY_UNHEALTHY_REJECT;
    return options->health_http == PARLEY_PROBE_ALWAYS && peer->delivery.counts.accepted > 0;
}

static void probed(const parley_pong *pong, void *user)
{
    struct peer *peer = user;

    peer->health.probing = false;
    if (pong->status == PARLEY_ECLOSED || pong->status == PARLEY_ENOMEM)
        post_undone(peer);
}

static void probe(struct peer *peer, uint64_t now)
{
    struct health *health = &peer->health;
    uint64_t at_ns;

    if (!breaker_take(&peer->post.breaker, &peer->runtime->breakers, now, &at_ns)) {
        health->probe_ns = at_ns != UINT64_MAX ? at_ns : now + health_interval_ns(peer);
        return;
    }
    health->probe_ns = CLOCK_NEVER;
    health->probing = ping_probe(peer, peer->runtime->options.health_timeout_ms, probed, peer);
    if (health->probing)
        health->probes++;
    else
        post_undone(peer); /* out of memory: health_settle() plans the next one */
}

void health_timer(struct peer *peer, uint64_t now)
{
    struct health *health = &peer->health;
    uint64_t interval_ns = peer->runtime->options.heartbeat_interval_ms * NS_PER_MS;

    if (health->probe_ns > now)
        return;
    health->probe_ns = CLOCK_NEVER;
    if (!wants_probe(peer))
        return;
    if (health->healthy && now < health->heard_ns + interval_ns)
        health->probe_ns = health->heard_ns + interval_ns;
    else
        probe(peer, now);
}

/* ---- Its messages ---- */

/* Nobody looks for a peer whose WebSocket the host has closed: the next message does. */
static bool is_looked_for(const struct peer *peer)
{
    return !peer->has_url || peer->link.state != LINK_IDLE || may_probe(peer);
}

void health_tell_slot(struct peer *peer)
{
    const struct health *health = &peer->health;
    bool rejects =
        !health->healthy && health->policy == PARLEY_UNHEALTHY_REJECT && is_looked_for(peer);
    bool drops = !health->healthy && health->policy == PARLEY_UNHEALTHY_DROP_OLDEST;

    /* relaxed: hints to send.c, whose decision may be late by a message or two. */
    atomic_store_explicit(&peer->slot->rejects, rejects, memory_order_relaxed);
    atomic_store_explicit(&peer->slot->drops, drops, memory_order_relaxed);
}

static bool has_room(const struct peer *peer, uint32_t bytes)
{
    struct credit_usage usage = credit_usage(&peer->slot->credit);
    uint64_t rounded = credit_units(bytes) * (uint64_t)CREDIT_UNIT;

    return usage.messages < peer->mailbox_messages_max &&
           usage.bytes + rounded <= peer->mailbox_bytes_max;
}

/* Seven eighths, and at least one less than all, so that a message finds room; and room for
 * the one that was refused. */
static bool is_crowded(const struct peer *peer, uint32_t refused_bytes)
{
    struct credit_usage usage = credit_usage(&peer->slot->credit);
    uint32_t spare = peer->mailbox_messages_max / 8;
    uint32_t most = peer->mailbox_messages_max - (spare > 0 ? spare : 1);

    return usage.messages > (most > 0 ? most : 1) ||
           usage.bytes > peer->mailbox_bytes_max - peer->mailbox_bytes_max / 8 ||
           (refused_bytes != 0 && !has_room(peer, refused_bytes));
}

static struct delivery_message *oldest_waiting(const struct peer *peer)
{
    struct delivery_message *message = peer->delivery.cursor;

    while (message != NULL && message->given_up)
        message = message->next;
    return message;
}

/* What is on its way is not dropped: its answer brings us here again. */
static void tell_refused(struct peer *peer, uint32_t refused_bytes)
{
    uint32_t none = 0;

    if (has_room(peer, refused_bytes))
        peer_writable(peer);
    else /* relaxed: for this worker's next look; who is refused meanwhile says so itself */
        atomic_compare_exchange_strong_explicit(&peer->slot->refused_bytes, &none,
                                                refused_bytes, memory_order_relaxed,
                                                memory_order_relaxed);
}

static void drop_oldest(struct peer *peer)
{
    /* acq_rel: pairs with the exchange in send.c. Who was refused before this is seen here,
     * who is refused afterwards sees `drops` and, finding 0 there, sends a control message
     * that brings us here again. */
    uint32_t refused_bytes =
        atomic_exchange_explicit(&peer->slot->refused_bytes, 0, memory_order_acq_rel);
    struct delivery_message *message = oldest_waiting(peer);

    while (message != NULL && is_crowded(peer, refused_bytes)) {
        delivery_give_up(&peer->delivery, message, PARLEY_EXHAUSTED,
                         "dropped: the peer is unhealthy");
        peer_flush(peer); /* gives its room back */
        message = oldest_waiting(peer);
    }
    if (refused_bytes != 0)
        tell_refused(peer, refused_bytes);
}

void health_settle(struct peer *peer)
{
    struct health *health = &peer->health;

    if (health->healthy && health->probe_ns == CLOCK_NEVER &&
        peer->runtime->options.health_http != PARLEY_PROBE_ALWAYS)
        return;
    if (health->policy == PARLEY_UNHEALTHY_REJECT)
        health_tell_slot(peer); /* it depends on the link, too */
    if (!health->healthy && health->policy == PARLEY_UNHEALTHY_DROP_OLDEST && !peer->closing)
        drop_oldest(peer);
    if (!wants_probe(peer))
        health->probe_ns = CLOCK_NEVER;
    else if (health->probe_ns == CLOCK_NEVER)
        health->probe_ns = now_ns(peer) + health_interval_ns(peer);
}
