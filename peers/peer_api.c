/* SPDX-License-Identifier: Apache-2.0
 *
 * What host threads do to peers, and the callbacks they set. Each takes the registry's
 * mutex for a moment; posting messages, which does not, is in send.c.
 */
#include <string.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/peer.h"
#include "peers/service.h"

parley_status parley_peer_add(parley *runtime, const char *id, const char *url,
                              const parley_peer_options *options, parley_peer *ret_peer)
{
    parley_peer_options own;
    parley_peer peer;
    parley_status status;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    if (id == NULL || !entity_id_valid(id) ||
        (options != NULL && options->size < sizeof(options->size)))
        return PARLEY_EINVAL;
    parley_peer_options_init(&own);
    if (options != NULL)
        memcpy(&own, options, options->size < sizeof(own) ? options->size : sizeof(own));
    if ((unsigned)own.preference > PARLEY_HTTP_ONLY ||
        (unsigned)own.dialect > PARLEY_DIALECT_SERVICE ||
        (unsigned)own.signatures > PARLEY_SIGNATURES_OFF ||
        (unsigned)own.security_min > PARLEY_SECURITY_SEALED ||
        (unsigned)own.encryption > PARLEY_ENCRYPTION_SESSION)
        return PARLEY_EINVAL;
    if (atomic_load_explicit(&runtime->draining, memory_order_relaxed)) /* a hint is enough */
        return PARLEY_ECLOSED;
    status = peer_new(runtime, id, url, &own, &peer);
    if (status == PARLEY_OK && ret_peer != NULL)
        *ret_peer = peer;
    return status;
}

parley_status parley_peer_find(parley *runtime, const char *id, parley_peer *ret_peer)
{
    struct peer *peer;

    if (id == NULL || !entity_id_valid(id))
        return PARLEY_EINVAL;
    registry_lock(&runtime->registry);
    peer = registry_find(&runtime->registry, id);
    if (peer != NULL)
        *ret_peer = peer->handle;
    registry_unlock(&runtime->registry);
    return peer != NULL ? PARLEY_OK : PARLEY_EUNKNOWN;
}

parley_status parley_peer_remove(parley *runtime, parley_peer handle)
{
    struct peer *peer;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    registry_lock(&runtime->registry);
    peer = registry_get(&runtime->registry, handle);
    if (peer != NULL)
        peer_remove(peer);
    registry_unlock(&runtime->registry);
    return peer != NULL ? PARLEY_OK : PARLEY_EUNKNOWN;
}

static bool may_open_websocket(const struct peer *peer)
{
    return peer->has_url && peer->preference != PARLEY_HTTP_ONLY &&
           peer->dialect != PARLEY_DIALECT_SERVICE;
}

static parley_status control(struct parley *runtime, parley_peer handle,
                             enum control_kind kind)
{
    parley_status status = PARLEY_EUNKNOWN;
    struct peer *peer;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    registry_lock(&runtime->registry);
    peer = registry_get(&runtime->registry, handle);
    if (peer != NULL && kind == CONTROL_CONNECT && !may_open_websocket(peer))
        status = PARLEY_EREFUSED;
    else if (peer != NULL)
        status = peer_post_control(peer, kind);
    registry_unlock(&runtime->registry);
    return status;
}

parley_status parley_connect(parley *runtime, parley_peer peer)
{
    return control(runtime, peer, CONTROL_CONNECT);
}

parley_status parley_disconnect(parley *runtime, parley_peer peer)
{
    return control(runtime, peer, CONTROL_DISCONNECT);
}

parley_status parley_on_peer_state(parley *runtime, parley_state_fn observer, void *user)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    return handlers_set_state(&runtime->handlers, observer, user);
}

parley_status parley_on_writable(parley *runtime, parley_writable_fn observer, void *user)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    return handlers_set_writable(&runtime->handlers, observer, user);
}

parley_status parley_on_stats(parley *runtime, parley_stats_fn writer, void *user)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    return handlers_set_stats(&runtime->handlers, writer, user);
}

parley_status parley_on_message(parley *runtime, const char *type, parley_message_fn handler,
                                void *user)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    if (type != NULL && !message_type_valid(type, strlen(type)))
        return PARLEY_EINVAL;
    return handlers_set_message(&runtime->handlers, type, handler, user);
}
