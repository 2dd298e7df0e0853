/* SPDX-License-Identifier: Apache-2.0
 *
 * Which way the next message goes, and what has to happen for it to go there. The
 * transport layer chooses; this file gives it the facts and keeps to one transport at a
 * time per session: before the route changes, what is outstanding on the old one is
 * acknowledged, or known to be lost.
 */
#include <stdio.h>

#include "peers/carrier.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/threeway.h"
#include "runtime/clock.h"

/* Messages that end at once, one after another, before other peers get their turn. */
#define FAILURES_A_TURN 256

/* What was answered has been exhausted by then; a void has no attempts to use up. */
static bool http_used_up(const struct peer *peer, const struct delivery_message *message)
{
    uint32_t attempts = peer->runtime->options.http_attempts;

    return peer->delivery.route == PARLEY_TRANSPORT_HTTP && !message->given_up &&
           peer->post.failures >= attempts && message->tries >= attempts;
}

/* While HTTP is left alone, what may go over the WebSocket does; the rest waits. */
static struct transport_choice choose_around(const struct peer *peer,
                                             struct transport_facts *facts)
{
    struct transport_choice choice = transport_choose(facts), other;

    if (choice.route != ROUTE_HTTP ||
        !breaker_blocks(&peer->post.breaker, &peer->runtime->breakers,
                        worker_now_ns(peer->bench->worker)))
        return choice;
    facts->http_unanswered = true;
    other = transport_choose(facts);
    return other.route != ROUTE_FAIL ? other : choice;
}

struct transport_choice peer_choose(const struct peer *peer,
                                    const struct delivery_message *message)
{
    bool too_large = older_too_large(peer, message), permitted = peer_permits(peer);
    struct transport_choice choice;
    struct transport_facts facts = {
        .preference = peer->preference,
        .hint = (parley_hint)message->hint,
        .websocket = link_websocket_state(peer),
        .websocket_enabled = peer->dialect != PARLEY_DIALECT_SERVICE,
        .http_enabled = peer->has_url,
        .websocket_permitted = !too_large && permitted,
        .http_permitted = permitted,
        .http_unanswered = http_used_up(peer, message),
    };

    choice = choose_around(peer, &facts);
    if (choice.route == ROUTE_FAIL && !payload_possible(peer))
        choice.reason = "encryption is asked for, and there is no key or session for it";
    else if (choice.route == ROUTE_FAIL && too_large)
        choice.reason = "larger than an older WebSocket server takes (1 MiB)";
    return choice;
}

static bool outstanding_on(const struct peer *peer, parley_transport transport)
{
    if (transport == PARLEY_TRANSPORT_HTTP)
        return peer->post.busy;
    return peer->delivery.route == transport && peer->delivery.outstanding > 0;
}

static void by_websocket(struct peer *peer)
{
    if (outstanding_on(peer, PARLEY_TRANSPORT_HTTP))
        return; /* post_done() pumps again */
    if (peer->delivery.route != PARLEY_TRANSPORT_WEBSOCKET)
        delivery_switch(&peer->delivery, PARLEY_TRANSPORT_WEBSOCKET);
    peer->delivery.recognises = !link_is_older(peer);
    if (peer->link.carrier != NULL)
        carrier_fill(peer);
    else
        ws_want_write(&peer->link.ws);
}

static void by_http(struct peer *peer)
{
    if (peer->post.busy || peer->post.next_ns != CLOCK_NEVER ||
        outstanding_on(peer, PARLEY_TRANSPORT_WEBSOCKET))
        return; /* the answer, the timer or the acknowledgement pumps again */
    if (peer->delivery.route != PARLEY_TRANSPORT_HTTP)
        delivery_switch(&peer->delivery, PARLEY_TRANSPORT_HTTP);
    post_start(peer);
}

/* With what the last attempt met, if there was one. */
static void fail(struct peer *peer, struct delivery_message *message,
                 const struct transport_choice *choice)
{
    const char *last = peer->post.call.detail;
    char detail[PARLEY_DETAIL_MAX];

    if (http_used_up(peer, message) && last[0] != '\0')
        snprintf(detail, sizeof(detail), "%s: %s", choice->reason, last);
    else
        snprintf(detail, sizeof(detail), "%s", choice->reason);
    delivery_give_up(&peer->delivery, message, PARLEY_EXHAUSTED, detail);
    peer_flush(peer); /* while `detail` is there */
}

/* Its key is forgotten at once, and with it what security_min allows; what it still has is
 * cancelled by the message that is on its way. */
static bool is_removed(struct peer *peer)
{
    struct registry *registry = &peer->runtime->registry;
    bool removed;

    registry_lock(registry);
    removed = peer->removed;
    registry_unlock(registry);
    return removed;
}

/* @return whether the next message is to be looked at, too */
static bool route_one(struct peer *peer, struct delivery_message *message)
{
    struct transport_choice choice = peer_choose(peer, message);

    if (choice.dial)
        link_dial(peer, false);
    if (choice.route != ROUTE_FAIL && !threeway_ready(peer))
        return false; /* threeway_pump() sees to it */
    switch (choice.route) {
    case ROUTE_WEBSOCKET:
        by_websocket(peer);
        return false;
    case ROUTE_HTTP:
        by_http(peer);
        return false;
    case ROUTE_WAIT:
        return false;
    case ROUTE_FAIL:
        if (is_removed(peer))
            return false;
        fail(peer, message, &choice);
        return true;
    }
    return false;
}

/* An older peer may yet answer what has expired on its WebSocket. */
static void expire(struct peer *peer, uint64_t now_ns)
{
    uint32_t unanswered;

    if (now_ns < peer->delivery.earliest_deadline_ns)
        return;
    unanswered = older_unanswered(peer);
    peer->delivery.overdue = threeway_why(peer);
    delivery_expire(&peer->delivery, now_ns);
    peer->link.owed += unanswered - older_unanswered(peer);
}

static void route_all(struct peer *peer)
{
    for (unsigned i = 0; i < FAILURES_A_TURN; i++) {
        struct delivery_message *message = delivery_peek(&peer->delivery);

        if (message == NULL || transfer_holds_back(peer, message) || !route_one(peer, message))
            return;
    }
    peer->again_ns = worker_now_ns(peer->bench->worker); /* the rest: next tick */
}

void peer_pump(struct peer *peer)
{
    peer->again_ns = CLOCK_NEVER;
    expire(peer, worker_now_ns(peer->bench->worker));
    threeway_pump(peer);
    route_all(peer);
    if (!peer_base_due(peer))
        return;
    if (peer->link.carrier != NULL)
        carrier_fill(peer);
    else
        ws_want_write(&peer->link.ws);
}
