/* SPDX-License-Identifier: Apache-2.0
 *
 * Posting: the hot path of host threads. One scan of the payload, one node from the
 * thread's own heap, one compare-and-swap for the credit, one exchange for the mailbox.
 */
#include <string.h>

#include "parley.h"
#include "peers/envelope.h"
#include "peers/peer.h"
#include "peers/service.h"
#include "runtime/clock.h"

/* What is longer than a message may be travels in chunks. */
static uint32_t payload_bytes_max(const struct parley *runtime)
{
    const parley_options *options = &runtime->options;

    return options->transfer_bytes_max > options->message_bytes_max
               ? options->transfer_bytes_max
               : options->message_bytes_max;
}

static parley_status check_payload(const struct parley *runtime, const parley_message *message)
{
    const struct json_limits limits = {.depth_max = runtime->options.json_depth_max,
                                       .bytes_max = payload_bytes_max(runtime)};
    struct json_error error;
    struct json_doc doc;
    parley_status status;

    json_init(&doc, &runtime->alloc);
    status = json_check_object(&doc, message->payload, message->payload_len, &limits, &error);
    json_fini(&doc);
    return status == PARLEY_EPROTO ? PARLEY_EINVAL : status;
}

static parley_status check(const struct parley *runtime, const parley_message *message,
                           size_t *ret_type_len)
{
    if (message == NULL || message->size < sizeof(message->size) || message->type == NULL ||
        message->payload == NULL || (unsigned)message->hint > PARLEY_HINT_HTTP)
        return PARLEY_EINVAL;
    *ret_type_len = strnlen(message->type, ENVELOPE_TYPE_MAX + 1);
    if (!message_type_valid(message->type, *ret_type_len))
        return PARLEY_EINVAL;
    if (message->payload_len > payload_bytes_max(runtime))
        return PARLEY_ETOOBIG;
    return check_payload(runtime, message);
}

static parley_status new_message(struct parley *runtime, const parley_message *source,
                                 size_t type_len, struct message **ret_message)
{
    size_t bytes = sizeof(struct message) + type_len + source->payload_len;
    struct node *node;
    parley_status status = node_alloc(runtime->nodes, bytes, &node);
    struct message *message;

    if (status == PARLEY_EAGAIN && bytes > runtime->options.memory_bytes_max)
        return PARLEY_ETOOBIG;
    if (status != PARLEY_OK)
        return status;
    message = (struct message *)node;
    message->progress = NULL;
    message->transfer = NULL;
    message->in_order = message->again = false;
    if (source->size >= sizeof(*source)) {
        message->progress = source->progress;
        message->in_order = source->in_order;
    }
    memset(&message->delivery, 0, sizeof(message->delivery));
    message->type_len = (uint16_t)type_len;
    message->payload_len = (uint32_t)source->payload_len;
    message->credit_bytes = (uint32_t)bytes;
    message->delivery.bytes =
        (uint32_t)(type_len + source->payload_len) + ENVELOPE_OVERHEAD_MAX;
    message->delivery.hint = (uint8_t)source->hint;
    memcpy(message->text, source->type, type_len);
    memcpy(message->text + type_len, source->payload, source->payload_len);
    *ret_message = message;
    return PARLEY_OK;
}

/* The node was never posted: back to its own heap. */
static void drop_message(struct message *message)
{
    struct node_return ret = {0};

    node_free(&ret, &message->node);
    node_return_flush(&ret);
}

/* A message that would never fit is not one to wait with. */
static parley_status refusal(const struct slot *slot, const struct message *message,
                             parley_status status)
{
    return status == PARLEY_EAGAIN &&
                   credit_units(message->credit_bytes) > slot->credit.units_max
               ? PARLEY_ETOOBIG
               : status;
}

/* An unhealthy peer may drop what waits: its worker is told, once until it has looked. What is
 * refused before the peer becomes unhealthy is noted for that moment. */
static void ask_for_room(struct parley *runtime, struct slot *slot, parley_peer handle,
                         uint32_t bytes)
{
    struct peer *peer;

    /* acq_rel: pairs with the exchange in health.c: either that one finds what is noted here,
     * or `drops`, set before it, is seen below. relaxed: so it is ordered by the exchange. */
    if (atomic_exchange_explicit(&slot->refused_bytes, bytes, memory_order_acq_rel) != 0 ||
        !atomic_load_explicit(&slot->drops, memory_order_relaxed))
        return;
    registry_lock(&runtime->registry);
    peer = registry_get(&runtime->registry, handle);
    if (peer != NULL)
        peer_post_control(peer, CONTROL_ROOM);
    registry_unlock(&runtime->registry);
}

/* One message that goes in chunks may be larger than the mailbox: it leaves a quarter of it to
 * others, and has no room beside another of its kind. */
static void bound_credit(const struct parley *runtime, const struct slot *slot,
                         struct message *message)
{
    /* relaxed: credit_reserve() looks at the generation that the bound belongs to. */
    uint32_t units =
        atomic_load_explicit(&slot->credit.units_max, memory_order_relaxed) / 4 * 3;

    if (message->payload_len > runtime->options.message_bytes_max &&
        credit_units(message->credit_bytes) > units)
        message->credit_bytes =
            units < UINT32_MAX / CREDIT_UNIT ? units * CREDIT_UNIT : message->credit_bytes;
}

static parley_status post(struct parley *runtime, struct slot *slot, parley_peer handle,
                          struct message *message, uint32_t ttl_ms, parley_id *ret_id)
{
    parley_status status =
        credit_reserve(&slot->credit, credit_generation(handle), message->credit_bytes);
    struct peer *peer;

    if (status != PARLEY_OK) {
        status = refusal(slot, message, status);
        if (status == PARLEY_EAGAIN)
            ask_for_room(runtime, slot, handle, message->credit_bytes);
        drop_message(message);
        return status;
    }
    /* relaxed: ordered by the acquire on the credit word, whose reservation keeps the peer. */
    peer = atomic_load_explicit(&slot->peer, memory_order_relaxed);
    message->id = node_pool_number(runtime->nodes);
    message->posted_ns = clock_now_ns();
    message->delivery.deadline_ns =
        message->posted_ns + (ttl_ms != 0 ? ttl_ms : peer->ttl_ms) * NS_PER_MS;
    if (ret_id != NULL)
        *ret_id = (parley_id){handle.value, message->id};
    actor_post(&peer->actor, &message->node.link, &message->node.link);
    return PARLEY_OK;
}

static parley_status copy_and_post(struct parley *runtime, struct slot *slot, parley_peer peer,
                                   const parley_message *source, size_t type_len,
                                   parley_result_fn done, void *user, parley_id *ret_id)
{
    struct message *message;
    parley_status status;

    /* relaxed: a hint; what is accepted by a hair's breadth waits like any other. */
    if (atomic_load_explicit(&slot->rejects, memory_order_relaxed))
        return PARLEY_EUNREACHABLE;
    status = new_message(runtime, source, type_len, &message);
    if (status == PARLEY_EAGAIN) { /* the runtime's bound, not the peer's: see bench.c */
        credit_wait(&slot->credit);
        atomic_fetch_add_explicit(&runtime->starved, 1, memory_order_release);
    }
    if (status != PARLEY_OK)
        return status;
    message->done = done;
    message->user = user;
    bound_credit(runtime, slot, message);
    return post(runtime, slot, peer, message, source->ttl_ms, ret_id);
}

parley_status parley_send(parley *runtime, parley_peer peer, const parley_message *message,
                          parley_result_fn done, void *user, parley_id *ret_id)
{
    struct slot *slot;
    size_t type_len;
    parley_status status;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    status = check(runtime, message, &type_len);
    if (status != PARLEY_OK)
        return status;
    /* relaxed: a send that races with the drain may still be accepted, and gets its result. */
    if (atomic_load_explicit(&runtime->draining, memory_order_relaxed))
        return PARLEY_ECLOSED;
    slot = registry_slot(&runtime->registry, peer);
    if (slot == NULL)
        return registry_issued(&runtime->registry, peer) ? PARLEY_ECLOSED : PARLEY_EUNKNOWN;
    return copy_and_post(runtime, slot, peer, message, type_len, done, user, ret_id);
}

static bool excepted(parley_peer peer, const parley_peer *except, size_t except_len)
{
    for (size_t i = 0; i < except_len; i++) {
        if (except[i].value == peer.value)
            return true;
    }
    return false;
}

parley_status parley_broadcast(parley *runtime, const parley_message *message,
                               const parley_peer *except, size_t except_len,
                               parley_result_fn done, void *user, size_t *ret_accepted)
{
    parley_status first = PARLEY_OK, status;
    size_t type_len, accepted = 0;
    uint32_t slots;

    if (service_forked(runtime))
        return PARLEY_EFORK;
    status = check(runtime, message, &type_len);
    if (status != PARLEY_OK)
        return status;
    if (atomic_load_explicit(&runtime->draining, memory_order_relaxed)) /* as parley_send() */
        return PARLEY_ECLOSED;
    registry_lock(&runtime->registry);
    slots = runtime->registry.slots;
    registry_unlock(&runtime->registry);
    for (uint32_t i = 0; i < slots; i++) {
        parley_peer peer = registry_handle_at(&runtime->registry, i);
        struct slot *slot = registry_slot(&runtime->registry, peer);

        if (slot == NULL || credit_generation(peer) == 0 ||
            credit_usage(&slot->credit).closed || excepted(peer, except, except_len))
            continue;
        status = copy_and_post(runtime, slot, peer, message, type_len, done, user, NULL);
        if (status == PARLEY_OK)
            accepted++;
        else if (status != PARLEY_ECLOSED && first == PARLEY_OK)
            first = status;
    }
    if (ret_accepted != NULL)
        *ret_accepted = accepted;
    return first;
}

void parley_message_init(parley_message *message, const char *type, const char *payload,
                         size_t payload_len)
{
    *message = (parley_message){
        .size = sizeof(*message),
        .type = type,
        .payload = payload,
        .payload_len = payload_len,
    };
}
