/* SPDX-License-Identifier: Apache-2.0
 *
 * The security session of a peer's own WebSocket. We dial, so we begin: after the other side's
 * plain greeting, which is then of no further use, for anybody may have written it. What
 * counts is the greeting that comes sealed, when both have proven who they are. Nothing of
 * ours but the handshake's first steps travels before.
 */
#include <string.h>

#include "peers/connection.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/secure.h"
#include "peers/trust.h"
#include "runtime/clock.h"

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

bool peer_may_seal(const struct peer *peer)
{
    return peer->encryption == PARLEY_ENCRYPTION_NONE &&
           peer->dialect != PARLEY_DIALECT_MANAGER &&
           peer->dialect != PARLEY_DIALECT_SERVICE && secure_wanted(peer->runtime, peer->id);
}

bool peer_sealed(const struct peer *peer, enum route route)
{
    if (route == ROUTE_HTTP)
        return peer->post.kind == POST_SEALED;
    if (peer->link.carrier != NULL)
        return peer->link.carrier_sealed;
    return channel_sealed(peer->link.channel);
}

bool peer_permits(const struct peer *peer)
{
    if (!payload_possible(peer))
        return false;
    switch (peer->security_min) {
    case PARLEY_SECURITY_OFF:
        return true;
    case PARLEY_SECURITY_SIGNED:
        return trust_identity(peer->runtime) != NULL;
    case PARLEY_SECURITY_SEALED:
        break;
    }
    return peer_may_seal(peer);
}

/* ---- The handshake ---- */

static void follow(struct peer *peer, enum channel_event event)
{
    struct link *link = &peer->link;

    switch (event) {
    case CHANNEL_QUIET:
        break;
    case CHANNEL_SAYS:
    case CHANNEL_KEYED: /* the sealed greeting follows, or all goes on */
        ws_want_write(&link->ws);
        break;
    case CHANNEL_FAILED:
        log_warn(&peer->runtime->log, "peer %s: handshake: %s", peer->id,
                 channel_why(link->channel));
        link_give_up(peer, 1008, "the handshake failed");
        break;
    }
}

static void begin(struct peer *peer)
{
    struct link *link = &peer->link;

    link->channel = channel_new(peer->bench, peer->id, true);
    if (link->channel == NULL) {
        link_give_up(peer, CLOSE_TRY_LATER, "out of memory");
        return;
    }
    link->next_ns = now_ns(peer) + HANDSHAKE_NS_MAX;
    follow(peer, channel_begin(link->channel));
}

/* Whoever has proven one name does not speak under another one. */
static bool foreign(struct peer *peer, const struct greeting *greeting)
{
    if (strcmp(greeting->entity_id, peer->id) == 0)
        return false;
    link_give_up(peer, 1008, "entity_id is not the one that was proven");
    return true;
}

/* Where it need not be, what came to nothing is not tried again at once: the other side may
 * not trust us. */
static bool wanted(const struct peer *peer)
{
    return peer_may_seal(peer) && (peer->security_min == PARLEY_SECURITY_SEALED ||
                                   now_ns(peer) >= peer->link.unsecured_until_ns);
}

bool link_secure(struct peer *peer, const struct greeting *greeting)
{
    if (channel_sealed(peer->link.channel))
        return foreign(peer, greeting);
    if (greeting->handshakes && strcmp(greeting->entity_id, peer->id) == 0 && wanted(peer)) {
        begin(peer);
        return true;
    }
    if (peer->security_min != PARLEY_SECURITY_SEALED)
        return false;
    link_give_up(peer, 1008, "the peer offers no handshake, and security_min is sealed");
    return true;
}

void link_unsecure(struct peer *peer)
{
    struct link *link = &peer->link;

    if (link->channel != NULL && !channel_sealed(link->channel)) {
        log_warn(&peer->runtime->log, "peer %s: the handshake came to nothing", peer->id);
        link->unsecured_until_ns = now_ns(peer) + PEER_UNSECURED_NS;
    }
    channel_free(link->channel);
    link->channel = NULL;
}

void link_step(struct peer *peer, const struct json_doc *doc)
{
    if (peer->link.channel == NULL)
        link_give_up(peer, 1002, "a handshake that we did not begin");
    else
        follow(peer, channel_hear(peer->link.channel, doc));
}

/* ---- Frames ---- */

static void refuse(struct peer *peer, uint16_t code, const char *reason)
{
    peer->bench->counts.protocol_errors++;
    link_give_up(peer, code, reason);
}

bool link_unseal(struct peer *peer, char **data, size_t *len, bool binary)
{
    struct channel *channel = peer->link.channel;

    if (channel == NULL && binary) {
        refuse(peer, 1003, "binary frame");
        return false;
    }
    if (!binary && channel != NULL &&
        (channel_sealed(channel) || channel->in.context != NULL)) {
        refuse(peer, 1008, "a frame that is not sealed");
        return false;
    }
    if (!binary)
        return true;
    if (channel_open(channel, *data, *len, data, len) == PARLEY_OK)
        return true;
    refuse(peer, 1008, "DECRYPTION_FAILED");
    return false;
}

/* ---- Time ---- */

void link_written(struct peer *peer)
{
    const struct channel *channel = peer->link.channel;

    if (channel == NULL ||
        (channel->state != CHANNEL_BROKEN && !channel_rekey_due(channel, now_ns(peer))))
        return;
    peer->again_ns = now_ns(peer); /* link_secure_timer(), once this is written */
    peer_arm(peer);
}

uint64_t link_secure_next_ns(const struct peer *peer)
{
    return peer->link.state == LINK_OPEN ? channel_next_ns(peer->link.channel) : CLOCK_NEVER;
}

void link_review(struct peer *peer)
{
    struct link *link = &peer->link;

    if ((link->state == LINK_OPEN || link->state == LINK_GREETING) && link->channel != NULL &&
        !channel_trusted(link->channel))
        link_give_up(peer, 1008, "the peer's key is not trusted any more");
}

void link_secure_timer(struct peer *peer, uint64_t now)
{
    struct channel *channel = peer->link.channel;

    if (channel == NULL || peer->link.state != LINK_OPEN)
        return;
    if (channel->state == CHANNEL_BROKEN)
        link_give_up(peer, 1011, "cannot seal");
    else if (channel_expired(channel, now))
        link_give_up(peer, 1008, "SESSION_EXPIRED");
    else if (channel_rekey_due(channel, now))
        follow(peer, channel_begin(channel));
}
