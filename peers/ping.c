/* SPDX-License-Identifier: Apache-2.0
 *
 * parley_ping(): asks whether a peer is there, over HTTP by GET of its /health, over
 * WebSocket by a ping that the other side's library answers, whatever dialect is spoken.
 *
 * A ping is made on the host's thread and posted to the peer's control lane; from then on it
 * is the peer's, in its list, until it is answered, its own timer fires, or there is nobody
 * left to ask. finish() is the one way out. A peer stays until its list is empty.
 *
 * Over WebSocket a ping first waits for the connection (number 0), then for a pong: one
 * pong answers all pings before it. RFC 6455 lets a pong stand for the latest ping, but lws
 * answers the first and drops what comes until that pong is out: so a pong that leaves pings
 * unanswered is followed by another ping. Over HTTP its request is the HTTP worker's until it
 * comes back, so a timeout only asks for its early end.
 */
#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/peer.h"
#include "runtime/clock.h"

#define PINGS_MAX 65536u /* of a runtime, unanswered */

struct ping {
    struct control control; /* first */
    struct ping *next, *prev;
    struct peer *peer;
    parley_transport transport;
    uint32_t timeout_ms;
    uint64_t asked_ns;
    parley_pong_fn done;
    void *user;
    struct timer timer;
    uint64_t number; /* over WebSocket: of the ping sent, 0: waits for the connection */
    struct http_call call;
    bool late; /* its time is up, and its request on the way home */
    char url[];
};

static struct peer *peer_of(struct ws *ws)
{
    return (struct peer *)((char *)ws - offsetof(struct peer, link.ws));
}

/* ---- The list, and the one way out of it ---- */

static void append(struct peer *peer, struct ping *ping)
{
    ping->prev = peer->pings_last;
    if (ping->prev != NULL)
        ping->prev->next = ping;
    else
        peer->pings = ping;
    peer->pings_last = ping;
}

static void take_out(struct peer *peer, struct ping *ping)
{
    if (ping->prev != NULL)
        ping->prev->next = ping->next;
    else
        peer->pings = ping->next;
    if (ping->next != NULL)
        ping->next->prev = ping->prev;
    else
        peer->pings_last = ping->prev;
}

static void finish(struct ping *ping, parley_status status, const char *detail)
{
    struct peer *peer = ping->peer;
    uint64_t now = worker_now_exact_ns(peer->bench->worker);
    parley_pong pong = {
        .size = sizeof(pong),
        .peer = peer->handle,
        .transport = ping->transport,
        .status = status,
        .http_code = ping->call.code,
        .latency_ns = now > ping->asked_ns ? now - ping->asked_ns : 0,
        .detail = detail,
    };

    worker_timer_stop(peer->bench->worker, &ping->timer);
    take_out(peer, ping);
    /* relaxed: a count that bounds, it publishes nothing */
    atomic_fetch_sub_explicit(&peer->runtime->pings, 1, memory_order_relaxed);
    ping->done(&pong, ping->user);
    http_call_clear(peer->runtime->http, &ping->call);
    alloc_free(&peer->runtime->alloc, ping);
}

static bool over_websocket(const struct ping *ping)
{
    return ping->transport == PARLEY_TRANSPORT_WEBSOCKET;
}

/* ---- Its time is up ---- */

static void on_timer(struct timer *timer)
{
    struct ping *ping = (struct ping *)((char *)timer - offsetof(struct ping, timer));
    struct peer *peer = ping->peer;

    if (!over_websocket(ping)) {
        ping->late = true;
        http_worker_cancel(peer->runtime->http, &ping->call);
        return;
    }
    peer_failed(peer);
    finish(ping, PARLEY_ETIMEDOUT,
           ping->number != 0 ? "no answer in time" : "not connected in time");
    peer_settle(peer);
}

/* ---- Over HTTP ---- */

static void submit(struct peer *peer, struct ping *ping)
{
    ping->call.reply_to = &peer->actor;
    ping->call.get = true;
    ping->call.url = ping->url;
    ping->call.headers[0] = auth_header(peer);
    ping->call.timeout_ms = ping->timeout_ms;
    peer->bench->counts.http_requests++;
    http_worker_submit(peer->runtime->http, &ping->call);
}

/* An answer that says no is one: only 5xx counts against the peer. */
static void count_answer(struct peer *peer, const struct http_call *call)
{
    if (call->status == PARLEY_ECLOSED || call->status == PARLEY_ENOMEM)
        return;
    if (call->status == PARLEY_OK && call->code < 500) {
        peer_alive(peer);
        post_succeeded(peer);
        return;
    }
    peer_failed(peer);
    post_failed(peer);
    peer->bench->counts.http_failures++;
}

static void answered_over_http(struct peer *peer, struct ping *ping)
{
    struct http_call *call = &ping->call;
    char detail[HTTP_DETAIL_MAX];

    if (call->status == PARLEY_ECLOSED && ping->late) {
        call->status = PARLEY_ETIMEDOUT;
        snprintf(call->detail, sizeof(call->detail), "no answer in time");
    }
    count_answer(peer, call);
    snprintf(detail, sizeof(detail), "%s", call->detail);
    if (call->status == PARLEY_ECLOSED && peer->closing)
        snprintf(detail, sizeof(detail), "peer removed");
    if (call->status == PARLEY_OK && (call->code < 200 || call->code >= 300)) {
        call->status = PARLEY_EREFUSED;
        snprintf(detail, sizeof(detail), "HTTP %u", call->code);
    }
    finish(ping, call->status, detail);
}

/* Answers come in the order of the questions, more or less: the search is short. */
bool ping_take(struct peer *peer, struct mailbox_node *node)
{
    for (struct ping *ping = peer->pings; ping != NULL; ping = ping->next) {
        if (node == &ping->call.node) {
            answered_over_http(peer, ping);
            return true;
        }
    }
    return false;
}

/* ---- Over WebSocket ---- */

static bool websocket_open(const struct peer *peer)
{
    return peer->link.state == LINK_GREETING || peer->link.state == LINK_OPEN;
}

void ping_opened(struct peer *peer)
{
    for (struct ping *ping = peer->pings; ping != NULL; ping = ping->next) {
        if (over_websocket(ping) && ping->number == 0)
            ping->number = ws_ping(&peer->link.ws);
    }
}

void ping_answered(struct ws *ws, uint64_t number)
{
    struct peer *peer = peer_of(ws);

    peer_alive(peer);
    if (peer->pings == NULL && peer->health.healthy)
        return; /* a heartbeat's */
    for (struct ping *ping = peer->pings, *next; ping != NULL; ping = next) {
        next = ping->next;
        if (ping->number == 0)
            continue;
        if (ping->number <= number)
            finish(ping, PARLEY_OK, "");
        else
            ws_ping(ws); /* it may have been dropped */
    }
    peer_settle(peer);
}

void ping_lost(struct peer *peer, const char *reason)
{
    for (struct ping *ping = peer->pings, *next; ping != NULL; ping = next) {
        next = ping->next;
        if (ping->number != 0)
            finish(ping, PARLEY_ECLOSED, reason);
    }
}

/* dial_failed() has counted it against the peer. */
void ping_unreachable(struct peer *peer, const char *reason)
{
    unsigned code = peer->link.refused_with;

    for (struct ping *ping = peer->pings, *next; ping != NULL; ping = next) {
        next = ping->next;
        if (!over_websocket(ping))
            continue;
        ping->call.code = code;
        finish(ping, code != 0 ? PARLEY_EREFUSED : PARLEY_EUNREACHABLE, reason);
    }
}

void ping_pump(struct peer *peer)
{
    if (peer->link.state != LINK_IDLE && peer->link.state != LINK_BACKOFF)
        return;
    for (struct ping *ping = peer->pings; ping != NULL; ping = ping->next) {
        if (over_websocket(ping) && ping->number == 0) {
            link_dial(peer, true); /* may fail at once, and end them all */
            return;
        }
    }
}

/* ---- Beginning, and giving up ---- */

void ping_begin(struct peer *peer, struct control *control)
{
    struct ping *ping = (struct ping *)control;

    append(peer, ping);
    if (peer->closing) {
        finish(ping, PARLEY_ECLOSED, "peer removed");
        return;
    }
    worker_timer_start(peer->bench->worker, &ping->timer,
                       ping->asked_ns + ping->timeout_ms * NS_PER_MS);
    if (!over_websocket(ping))
        submit(peer, ping);
    else if (websocket_open(peer))
        ping->number = ws_ping(&peer->link.ws);
    else
        link_dial(peer, true); /* now, or as soon as the one that is closing has closed */
}

static struct ping *ping_new(struct peer *peer, parley_transport transport);

/* Like one that a host posted, but made where it is sent. */
bool ping_probe(struct peer *peer, uint32_t timeout_ms, parley_pong_fn done, void *user)
{
    struct ping *ping = ping_new(peer, PARLEY_TRANSPORT_HTTP);

    if (ping == NULL)
        return false;
    ping->timeout_ms = timeout_ms;
    ping->asked_ns = worker_now_ns(peer->bench->worker);
    ping->done = done;
    ping->user = user;
    atomic_fetch_add_explicit(&peer->runtime->pings, 1, memory_order_relaxed); /* as post() */
    ping_begin(peer, &ping->control);
    return true;
}

void ping_cancel(struct peer *peer, bool all, const char *reason)
{
    for (struct ping *ping = peer->pings, *next; ping != NULL; ping = next) {
        next = ping->next;
        if (over_websocket(ping))
            finish(ping, PARLEY_ECLOSED, reason);
        else if (all)
            http_worker_cancel(peer->runtime->http, &ping->call);
    }
}

/* ---- Host threads ---- */

static bool permitted(const struct peer *peer, parley_transport transport)
{
    if (!peer->has_url)
        return false;
    if (transport == PARLEY_TRANSPORT_HTTP)
        return peer->preference != PARLEY_WEBSOCKET_ONLY;
    return peer->preference != PARLEY_HTTP_ONLY && peer->dialect != PARLEY_DIALECT_SERVICE;
}

static struct ping *ping_new(struct peer *peer, parley_transport transport)
{
    char url[URL_PATH_MAX + URL_HOST_MAX + 64] = "";
    size_t len = url_http(&peer->url, "/health", url, sizeof(url));
    struct ping *ping = alloc_zeroed(&peer->runtime->alloc, sizeof(*ping) + len + 1);

    if (ping == NULL)
        return NULL;
    memcpy(ping->url, url, len + 1);
    timer_init(&ping->timer, on_timer);
    ping->control.kind = CONTROL_PING;
    ping->peer = peer;
    ping->transport = transport;
    return ping;
}

/* With the registry locked: a peer that is there gets everything posted to it. */
static parley_status post(struct peer *peer, parley_transport transport, uint32_t timeout_ms,
                          parley_pong_fn done, void *user)
{
    struct parley *runtime = peer->runtime;
    struct ping *ping;

    if (!permitted(peer, transport))
        return PARLEY_EREFUSED;
    /* relaxed: only counted; adding happens under the registry's mutex */
    if (atomic_load_explicit(&runtime->pings, memory_order_relaxed) >= PINGS_MAX)
        return PARLEY_ELIMIT;
    ping = ping_new(peer, transport);
    if (ping == NULL)
        return PARLEY_ENOMEM;
    ping->timeout_ms = timeout_ms;
    ping->asked_ns = clock_now_ns();
    ping->done = done;
    ping->user = user;
    atomic_fetch_add_explicit(&runtime->pings, 1, memory_order_relaxed);
    actor_post_control(&peer->actor, &ping->control.node);
    return PARLEY_OK;
}

parley_status parley_ping(parley *runtime, parley_peer handle, parley_transport transport,
                          uint32_t timeout_ms, parley_pong_fn done, void *user)
{
    parley_status status = PARLEY_EUNKNOWN;
    struct peer *peer;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    if ((transport != PARLEY_TRANSPORT_WEBSOCKET && transport != PARLEY_TRANSPORT_HTTP) ||
        timeout_ms == 0 || done == NULL)
        return PARLEY_EINVAL;
    registry_lock(&runtime->registry);
    peer = registry_get(&runtime->registry, handle);
    if (peer != NULL)
        status = post(peer, transport, timeout_ms, done, user);
    registry_unlock(&runtime->registry);
    return status;
}
