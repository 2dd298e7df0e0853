/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer's own WebSocket: resolved, dialled, greeted, kept alive, dialled again.
 *
 *   idle ─▶ resolving ─▶ dialling ─▶ greeting ─▶ open
 *             └────────────┴────────────┴─▶ backoff ─▶ resolving …
 *
 * What travels over it is in peer_frames.c.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/carrier.h"
#include "peers/connection.h"
#include "peers/envelope.h"
#include "peers/jwt.h"
#include "peers/peer.h"
#include "runtime/clock.h"

#define GREETING_TIMEOUT_NS (2 * NS_PER_S)

static struct peer *peer_of(struct ws *ws)
{
    return (struct peer *)((char *)ws - offsetof(struct peer, link.ws));
}

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

void link_init(struct peer *peer)
{
    const parley_options *options = &peer->runtime->options;

    peer->link.next_ns = peer->link.grace_until_ns = peer->link.turn_ns = CLOCK_NEVER;
    backoff_init(&peer->link.backoff, options->reconnect_min_ms * NS_PER_MS,
                 options->reconnect_max_ms * NS_PER_MS);
}

void link_fini(struct peer *peer)
{
    alloc_free(&peer->runtime->alloc, peer->link.query);
    channel_free(peer->link.channel);
}

bool link_quiet(const struct peer *peer)
{
    return !peer->link.query_busy &&
           (peer->link.state == LINK_IDLE || peer->link.state == LINK_BACKOFF);
}

enum websocket_state link_websocket_state(const struct peer *peer)
{
    switch (peer->link.state) {
    case LINK_IDLE:
        return WEBSOCKET_DOWN;
    case LINK_CLOSING: /* the other side takes its time: nothing waits for that */
        return WEBSOCKET_SLOW;
    case LINK_RESOLVING:
    case LINK_DIALLING:
    case LINK_GREETING:
        return peer->link.grace_until_ns != CLOCK_NEVER ? WEBSOCKET_CONNECTING
                                                        : WEBSOCKET_SLOW;
    case LINK_BACKOFF:
        return WEBSOCKET_FAILED;
    case LINK_OPEN:
        break;
    }
    return WEBSOCKET_OPEN;
}

uint64_t link_next_ns(const struct peer *peer)
{
    const struct link *link = &peer->link;
    uint64_t next =
        link->next_ns < link->grace_until_ns ? link->next_ns : link->grace_until_ns;
    uint64_t older = link_is_older(peer) ? older_next_ns(peer) : CLOCK_NEVER;

    if (link_secure_next_ns(peer) < next)
        next = link_secure_next_ns(peer);
    return next < older ? next : older;
}

bool link_is_older(const struct peer *peer)
{
    return peer->link.state == LINK_OPEN && peer->link.dialect != CONNECTION_PARLEY;
}

/* ---- Dialling ---- */

static void set_idle(struct peer *peer, const char *reason)
{
    peer->link.state = LINK_IDLE;
    peer->link.next_ns = peer->link.grace_until_ns = CLOCK_NEVER;
    peer_report_state(peer, reason);
}

/* Once a dial. */
static void tell_breaker(struct peer *peer, bool succeeded)
{
    struct link *link = &peer->link;

    if (!link->on_trial)
        return;
    link->on_trial = false;
    if (succeeded)
        breaker_succeeded(&link->breaker, &peer->runtime->breakers);
    else
        breaker_failed(&link->breaker, &peer->runtime->breakers, now_ns(peer));
}

static void back_off(struct peer *peer, const char *reason)
{
    struct link *link = &peer->link;

    link->grace_until_ns = CLOCK_NEVER;
    if (peer->closing) {
        set_idle(peer, reason);
        return;
    }
    link->state = LINK_BACKOFF;
    link->next_ns =
        now_ns(peer) + backoff_next_ns(&link->backoff, worker_random(peer->bench->worker));
    if (link->breaker.state == BREAKER_OPEN && link->next_ns < link->breaker.until_ns)
        link->next_ns = link->breaker.until_ns;
    peer_report_state(peer, reason);
}

static void dial_failed(struct peer *peer, const char *reason)
{
    peer->bench->counts.ws_connect_failures++;
    log_info(&peer->runtime->log, "peer %s: WebSocket: %s", peer->id, reason);
    health_dial_failed(peer);
    tell_breaker(peer, false);
    back_off(peer, reason);
    ping_unreachable(peer, reason);
}

static void dial_address(struct peer *peer, const char *address)
{
    char path[URL_PATH_MAX + ENVELOPE_ID_MAX + JWT_BYTES_MAX + 128];
    char made[AUTH_HEADER_MAX + 1];
    const char *header = NULL;
    struct ws_target target = {
        .address = address,
        .port = peer->ws_url.port,
        .host = peer->ws_url.host,
        .path = path,
        .tls = peer->ws_url.tls,
        .timeout_ms = peer->runtime->options.connect_timeout_ms,
    };
    parley_status status = PARLEY_EUNREACHABLE;

    snprintf(path, sizeof(path), "%s?session_id=%s&entity_id=%s", peer->ws_url.path,
             peer->session_id, peer->runtime->node_id);
    peer->link.state = LINK_DIALLING;
    peer->link.refused_with = 0;
    if (auth_dial_header(peer, made, &header) == PARLEY_OK &&
        auth_append_token(peer, header, path, sizeof(path))) {
        target.authorization = auth_value(header);
        status =
            ws_connect(peer->runtime->transport, peer->bench->worker, &peer->link.ws, &target);
    }
    OPENSSL_cleanse(path, sizeof(path)); /* the token */
    OPENSSL_cleanse(made, sizeof(made));
    if (status != PARLEY_OK)
        dial_failed(peer, "cannot open a connection");
}

static void resolve(struct peer *peer)
{
    struct link *link = &peer->link;

    if (link->query == NULL)
        link->query = alloc_zeroed(&peer->runtime->alloc, sizeof(*link->query));
    if (link->query == NULL) {
        dial_failed(peer, "out of memory");
        return;
    }
    link->state = LINK_RESOLVING;
    if (resolver_numeric(peer->ws_url.host, link->query)) {
        link->address = 0;
        dial_address(peer, link->query->addresses[0]);
        return;
    }
    memcpy(link->query->host, peer->ws_url.host, sizeof(peer->ws_url.host));
    link->query->reply_to = &peer->actor;
    link->query_busy = true;
    resolver_lookup(peer->runtime->resolver, link->query);
}

void link_resolved(struct peer *peer)
{
    struct link *link = &peer->link;

    link->query_busy = false;
    if (link->state == LINK_CLOSING || peer->closing) {
        bool redial = link->redial;

        set_idle(peer, "closed");
        if (redial)
            link_dial(peer, true);
        return;
    }
    if (link->query->status != PARLEY_OK || link->query->count == 0) {
        dial_failed(peer, link->query->detail != NULL ? link->query->detail : "no address");
        return;
    }
    link->address = 0;
    dial_address(peer, link->query->addresses[0]);
}

static bool too_early(const struct peer *peer, bool now)
{
    const struct link *link = &peer->link;

    if (link->state != LINK_BACKOFF || now || link->next_ns <= now_ns(peer))
        return false;
    /* Reconnecting was given up but for a probe now and then: a message asks again. */
    return link->backoff.failures < peer->runtime->options.reconnect_attempts ||
           now_ns(peer) < link->dialled_ns + link->backoff.min_ns;
}

/* Messages dial when the breaker lets them; the host, and a timer that knows, at once. */
static bool held_off(struct peer *peer, bool now)
{
    struct link *link = &peer->link;
    uint64_t at_ns;

    link->on_trial = true;
    if (breaker_take(&link->breaker, &peer->runtime->breakers, now_ns(peer), &at_ns) || now)
        return false;
    link->on_trial = false;
    if (link->state == LINK_IDLE) {
        link->state = LINK_BACKOFF;
        link->next_ns = at_ns;
        peer_report_state(peer, "left alone after too many failures");
    }
    return true;
}

void link_dial(struct peer *peer, bool now)
{
    struct link *link = &peer->link;
    bool first = link->state == LINK_IDLE;

    if (peer->closing || !peer->has_url)
        return;
    if (link->state == LINK_CLOSING)
        link->redial = true;
    if ((link->state != LINK_IDLE && link->state != LINK_BACKOFF) || too_early(peer, now) ||
        held_off(peer, now))
        return;
    link->next_ns = CLOCK_NEVER;
    link->dialled_ns = now_ns(peer);
    link->grace_until_ns =
        first ? now_ns(peer) + peer->runtime->options.connect_grace_ms * NS_PER_MS
              : CLOCK_NEVER;
    resolve(peer);
    peer_report_state(peer, "");
}

/* ---- Open, kept alive, closed ---- */

void link_opened(struct ws *ws)
{
    struct peer *peer = peer_of(ws);

    peer->link.state = LINK_GREETING;
    peer->link.next_ns = now_ns(peer) + GREETING_TIMEOUT_NS;
    ping_opened(peer);
    peer_arm(peer);
}

static void lost(struct peer *peer)
{
    if (peer->delivery.route != PARLEY_TRANSPORT_WEBSOCKET)
        return;
    delivery_doubt(&peer->delivery, false);
    delivery_lost(&peer->delivery);
}

void link_close(struct peer *peer, uint16_t code, const char *reason)
{
    struct link *link = &peer->link;

    link->redial = false;
    if (link->on_trial)
        breaker_undone(&link->breaker);
    link->on_trial = false;
    if (link->carrier != NULL) {
        lost(peer);
        carrier_release(peer, true);
        set_idle(peer, reason);
        return;
    }
    switch (link->state) {
    case LINK_IDLE:
    case LINK_CLOSING:
        return;
    case LINK_BACKOFF:
        set_idle(peer, reason);
        return;
    case LINK_RESOLVING: /* link_resolved() ends it */
        break;
    case LINK_DIALLING:
    case LINK_GREETING:
    case LINK_OPEN:
        lost(peer);
        ws_close(&link->ws, code, reason);
        break;
    }
    link->state = LINK_CLOSING;
    link->next_ns = link->grace_until_ns = CLOCK_NEVER;
    peer_report_state(peer, reason);
}

/* Closes a connection that failed us, to be dialled again. */
void link_give_up(struct peer *peer, uint16_t code, const char *reason)
{
    log_info(&peer->runtime->log, "peer %s: WebSocket closed: %s", peer->id, reason);
    peer_failed(peer);
    tell_breaker(peer, false);
    link_close(peer, code, reason);
    peer->link.redial = true;
}

static bool try_next_address(struct peer *peer)
{
    struct link *link = &peer->link;

    if (link->query == NULL || peer->closing || link->address + 1 >= link->query->count)
        return false;
    link->address++;
    dial_address(peer, link->query->addresses[link->address]);
    return true;
}

/* A connection that had lived is dialled again at once; one that had not, after backoff. */
static void after_loss(struct peer *peer, const char *reason)
{
    struct link *link = &peer->link;
    bool lived =
        link->opened_ns != 0 && now_ns(peer) - link->opened_ns >= link->backoff.min_ns;

    link->opened_ns = 0;
    if (!lived || peer->closing || link->displaced) {
        back_off(peer, reason);
        return;
    }
    breaker_close(&link->breaker); /* a connection that works is more than any trial */
    set_idle(peer, reason);
    link_dial(peer, true);
}

static void after_close(struct peer *peer, bool redial, const char *reason)
{
    switch (peer->link.state) {
    case LINK_DIALLING:
        if (!try_next_address(peer))
            dial_failed(peer, reason);
        break;
    case LINK_GREETING:
        dial_failed(peer, reason);
        break;
    case LINK_CLOSING:
        if (redial)
            after_loss(peer, reason);
        else
            set_idle(peer, reason);
        break;
    case LINK_OPEN:
        after_loss(peer, reason);
        break;
    case LINK_IDLE:
    case LINK_RESOLVING:
    case LINK_BACKOFF:
        break; /* nothing was connected */
    }
}

/* Sent alone, it was the front message that the peer could not read. */
static void blame_front(struct peer *peer, unsigned code, const char *reason)
{
    struct link *link = &peer->link;
    const struct delivery_message *front = peer->delivery.front;
    char detail[PARLEY_DETAIL_MAX];

    if ((code != 1002 && code != 1003 && code != 1007 && code != 1009) ||
        link->state != LINK_OPEN || peer->delivery.route != PARLEY_TRANSPORT_WEBSOCKET ||
        peer->delivery.outstanding == 0)
        return;
    if (!link->suspect) {
        link->suspect = true;
        return;
    }
    snprintf(detail, sizeof(detail), "the peer closed the connection over it: %u %s", code,
             reason);
    delivery_answer(&peer->delivery, front->number, PARLEY_REJECTED, 0, detail);
    peer_flush(peer); /* while `detail` is there */
}

/* A newer connection under our name has taken the place of this one. */
static bool was_displaced(const struct peer *peer, const struct ws_closed *why)
{
    return why->code == 1008 && link_is_older(peer);
}

void link_closed(struct ws *ws, const struct ws_closed *why)
{
    struct peer *peer = peer_of(ws);
    char refusal[32];
    const char *reason =
        why->detail != NULL && why->detail[0] != '\0' ? why->detail : "closed";
    bool redial = peer->link.redial;

    if (peer->link.inbound != NULL)
        connection_left(peer->link.inbound, 0);
    peer->link.inbound = NULL;
    link_unsecure(peer);
    peer->link.redial = false;
    peer->link.next_ns = CLOCK_NEVER;
    if (why->http_status >= 300) {
        peer->link.refused_with = why->http_status;
        snprintf(refusal, sizeof(refusal), "refused with %u", why->http_status);
        reason = refusal;
    }
    peer->link.displaced = was_displaced(peer, why);
    if (peer->link.displaced)
        reason = "closed with 1008: a newer connection is there";
    ping_lost(peer, reason);
    blame_front(peer, why->code, reason);
    lost(peer);
    after_close(peer, redial, reason);
    peer_settle(peer);
}

static void heartbeat(struct peer *peer, uint64_t now)
{
    struct link *link = &peer->link;
    const parley_options *options = &peer->runtime->options;
    uint64_t received = link->ws.received_ns;

    if (link->pinged_ns != 0 && received < link->pinged_ns) {
        link_give_up(peer, 0, "heartbeat unanswered");
        return;
    }
    link->pinged_ns = 0;
    if (now < received + link->interval_ns) {
        link->next_ns = received + link->interval_ns;
        return;
    }
    link->interval_ns = health_interval_ns(peer); /* until the next one */
    link->pinged_ns = now;
    link->next_ns = now + options->heartbeat_grace_ms * NS_PER_MS;
    if (link_is_older(peer))
        older_ping(peer);
    else
        ws_ping(&link->ws);
}

void link_start_heartbeat(struct peer *peer)
{
    struct link *link = &peer->link;

    link->pinged_ns = 0;
    link->interval_ns = health_interval_ns(peer);
    link->next_ns = link->opened_ns + link->interval_ns;
}

/* Silent after the upgrade: an older server, unless the peer must be a parley. Who was one
 * the last time is rather not reached, and may be an older one the next time. */
static void ungreeted(struct peer *peer)
{
    bool known = peer->post.parley;

    if (peer->link.channel != NULL) {
        link_give_up(peer, 1002, "the handshake has not ended in time");
        return;
    }
    if (peer->dialect != PARLEY_DIALECT_PARLEY)
        peer->post.parley = false;
    if (known)
        link_give_up(peer, 1002, "no greeting within 2 s");
    else
        older_open(peer, "");
}

void link_timer(struct peer *peer, uint64_t now)
{
    struct link *link = &peer->link;

    if (link->grace_until_ns <= now)
        link->grace_until_ns = CLOCK_NEVER;
    if (link_is_older(peer))
        older_timer(peer, now);
    link_secure_timer(peer, now);
    if (link->next_ns > now)
        return;
    if (link->state == LINK_BACKOFF)
        link_dial(peer, true);
    else if (link->state == LINK_GREETING)
        ungreeted(peer);
    else if (link->state == LINK_OPEN)
        heartbeat(peer, now);
    else
        link->next_ns = CLOCK_NEVER;
    if (link->state == LINK_IDLE && !peer->has_url && !peer->closing)
        carrier_seek(peer); /* for lack of memory it could not look before */
}

static uint64_t lower_of(uint64_t said, uint64_t own)
{
    return said != 0 && said < own ? said : own;
}

void link_open_with(struct peer *peer, enum connection_dialect dialect, uint64_t batch_bytes,
                    uint64_t in_flight_max)
{
    struct link *link = &peer->link;
    const parley_options *options = &peer->runtime->options;

    link->dialect = dialect;
    link->owed = 0;
    link->batch_bytes = lower_of(batch_bytes, options->batch_bytes_max);
    link->in_flight_max = (uint32_t)lower_of(in_flight_max, options->in_flight_max);
    peer->delivery.limits.in_flight_max = link->suspect ? 1 : link->in_flight_max;
    if (dialect == CONNECTION_PARLEY)
        peer->post.parley = true;
    link->state = LINK_OPEN;
    link->opened_ns = now_ns(peer);
    link->grace_until_ns = CLOCK_NEVER;
    peer->bench->counts.ws_connects++;
    if (link->was_open)
        peer->bench->counts.ws_reconnects++;
    link->was_open = true;
    tell_breaker(peer, true);
    if (!link->displaced)
        backoff_reset(&link->backoff);
    peer_alive(peer);
    peer_report_state(peer, "");
}

void link_clear_suspicion(struct peer *peer)
{
    if (!peer->link.suspect)
        return;
    peer->link.suspect = false;
    peer->delivery.limits.in_flight_max = peer->link.in_flight_max;
}

void link_carried(struct peer *peer, enum connection_dialect dialect, uint64_t batch_bytes,
                  uint64_t in_flight_max)
{
    lost(peer); /* what another carrier held */
    peer->link.next_ns = CLOCK_NEVER;
    link_open_with(peer, dialect, batch_bytes,
                   dialect == CONNECTION_PARLEY ? in_flight_max : OLDER_IN_FLIGHT_MAX);
}

void link_carrier_lost(struct peer *peer, unsigned code)
{
    blame_front(peer, code, "");
    lost(peer);
    set_idle(peer, "the connection it opened was closed");
    carrier_seek(peer); /* another one may have been open for longer */
}
