/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/guard.h"

#include <stdio.h>
#include <string.h>

#include "peers/peer.h"
#include "peers/signature.h"
#include "peers/wire.h"
#include "runtime/clock.h"

static const char missing[] = "Missing signature";
static const char invalid[] = "Invalid signature";

/* ---- Settings ---- */

/* A peer's own setting, else the node's; the registry is locked. */
static parley_signatures setting_of(const struct parley *runtime, const struct peer *peer)
{
    if (peer != NULL && peer->security_min != PARLEY_SECURITY_OFF)
        return PARLEY_SIGNATURES_REQUIRED;
    if (peer != NULL && peer->signatures != PARLEY_SIGNATURES_AUTO)
        return peer->signatures;
    return runtime->options.signatures;
}

void guard_look(struct parley *runtime, struct guard *guard, const char *sender)
{
    /* acquire: pairs with the release in registry.c, as in limit_applies(). The keys' version
     * is read before the key: what changes between the two is found next time. */
    uint32_t peers_version =
        atomic_load_explicit(&runtime->registry.version, memory_order_acquire);
    uint32_t keys_version = trust_version(runtime);
    parley_signatures signatures;

    if (guard->known && guard->peers_version == peers_version &&
        guard->keys_version == keys_version)
        return;
    registry_lock(&runtime->registry);
    signatures = setting_of(runtime, registry_find(&runtime->registry, sender));
    registry_unlock(&runtime->registry);
    guard->known = true;
    guard->peers_version = peers_version;
    guard->keys_version = keys_version;
    guard->by_default = signatures == PARLEY_SIGNATURES_AUTO;
    if (guard->by_default)
        signatures = trust_signatures(runtime);
    guard->off = signatures == PARLEY_SIGNATURES_OFF;
    guard->required = signatures == PARLEY_SIGNATURES_REQUIRED;
    guard->key = trust_find(runtime, sender);
}

static bool asks(const struct guard *guard, enum guard_caller caller)
{
    return guard->required && caller < (guard->by_default ? CALLER_NAMED : CALLER_PROVEN);
}

bool guard_requires(struct parley *runtime, struct guard *guard, const char *sender,
                    enum guard_caller caller)
{
    guard_look(runtime, guard, sender);
    return asks(guard, caller);
}

const struct identity *guard_signs(const struct peer *peer)
{
    const struct parley *runtime = peer->runtime;
    parley_signatures signatures = peer->signatures != PARLEY_SIGNATURES_AUTO
                                       ? peer->signatures
                                       : runtime->options.signatures;

    if (signatures == PARLEY_SIGNATURES_OFF && peer->security_min == PARLEY_SECURITY_OFF)
        return NULL;
    return trust_identity(runtime);
}

/* ---- Refusals ---- */

static parley_status refuse(struct envelope_error *ret_error, const char *text)
{
    snprintf(ret_error->text, sizeof(ret_error->text), "%s", text);
    return PARLEY_EREFUSED;
}

static parley_status refuse_sender(struct envelope_error *ret_error, const char *sender)
{
    snprintf(ret_error->text, sizeof(ret_error->text), "Unknown sender: %s", sender);
    return PARLEY_EREFUSED;
}

/* ---- Batches ---- */

struct look {
    struct bench *bench;
    const struct guard *guard;
    const struct json_doc *doc;
    const struct batch *batch;
    const char *sender;
    bool required;
};

/* Whether one message, or an empty batch, may be run. @return the reason it may not */
static const char *judge(const struct look *look, const struct json_item *item,
                         uint64_t number, struct proof *proof, bool *ret_no_memory)
{
    const char *recipient = look->bench->runtime->node_id;
    const struct json_item *time;
    double timestamp;

    if (!look->required && (look->guard->key == NULL || !signature_present(look->doc, item))) {
        proof->bound = false;
        return NULL;
    }
    switch (signature_check_in_batch(&look->bench->canonical, look->guard->key, look->doc,
                                     item, look->batch, number, look->sender, recipient)) {
    case SIGNATURE_BOUND:
        break;
    case SIGNATURE_NO_MEMORY:
        *ret_no_memory = true;
        return "try again later";
    case SIGNATURE_INVALID:
        return invalid;
    default: /* `signature` alone says nothing of its place */
        proof->bound = false;
        return look->required ? missing : NULL;
    }
    time = wire_member(look->doc, item, "timestamp");
    if (time == NULL || !wire_time(look->doc, time, &timestamp))
        return invalid;
    if (timestamp < proof->oldest)
        proof->oldest = timestamp;
    if (timestamp > proof->newest)
        proof->newest = timestamp;
    return NULL;
}

static bool judge_all(const struct look *look, struct proof *proof)
{
    bool no_memory = false;

    if (look->batch->messages == NULL)
        proof->refusal =
            judge(look, look->doc->items, look->batch->first_seq, proof, &no_memory);
    for (const struct json_item *item = look->batch->messages; item != NULL;
         item = json_next(look->doc, item)) {
        proof->refusal =
            judge(look, item, look->batch->first_seq + proof->messages, proof, &no_memory);
        if (proof->refusal != NULL)
            break;
        proof->messages++;
    }
    return !no_memory || proof->messages > 0;
}

parley_status guard_batch(struct bench *bench, struct guard *guard, const struct json_doc *doc,
                          const struct batch *batch, const char *sender,
                          enum guard_caller caller, struct proof *ret_proof,
                          struct envelope_error *ret_error)
{
    struct look look = {
        .bench = bench, .guard = guard, .doc = doc, .batch = batch, .sender = sender};

    guard_look(bench->runtime, guard, sender);
    look.required = asks(guard, caller);
    *ret_proof = PROOF_NONE;
    if (guard->off || (guard->key == NULL && !look.required))
        return PARLEY_OK;
    if (guard->key == NULL)
        return batch->messages != NULL && signature_present(doc, batch->messages)
                   ? refuse_sender(ret_error, sender)
                   : refuse(ret_error, missing);
    *ret_proof = (struct proof){.bound = true, .oldest = 1e300, .newest = -1e300};
    if (!judge_all(&look, ret_proof))
        return PARLEY_ENOMEM;
    return ret_proof->refusal != NULL && ret_proof->messages == 0
               ? refuse(ret_error, ret_proof->refusal)
               : PARLEY_OK;
}

bool guard_fresh(const struct parley *runtime, double oldest, double newest)
{
    double now = (double)clock_wall_us() / 1e6, skew = runtime->options.clock_skew_s;

    return oldest >= now - skew && newest <= now + skew;
}

/* ---- Messages by themselves ---- */

/* Said for somebody else, it is nothing to us, whoever brings it. */
static bool is_for_us(const struct bench *bench, const struct envelope *envelope)
{
    return envelope->recipient_id[0] == '\0' ||
           strcmp(envelope->recipient_id, bench->runtime->node_id) == 0;
}

/* An older client's signature does not cover the payload: right or wrong, it is not enough
 * where one is required. */
static parley_status judge_client(const struct guard *guard, const struct json_doc *doc,
                                  bool required, struct envelope_error *ret_error)
{
    if (guard->key != NULL &&
        signature_check_client(guard->key, doc, doc->items) == SIGNATURE_INVALID)
        return refuse(ret_error, invalid);
    return required ? refuse(ret_error, missing) : PARLEY_OK;
}

static parley_status judge_envelope(struct bench *bench, const struct guard *guard,
                                    const struct json_doc *doc,
                                    const struct envelope *envelope,
                                    enum evidence *ret_evidence,
                                    struct envelope_error *ret_error)
{
    enum signature_verdict verdict = signature_check_envelope(
        &bench->canonical, guard->key, doc, doc->items, envelope, bench->runtime->node_id);

    if (verdict == SIGNATURE_BOUND &&
        (envelope->number == 0 || envelope->session_id[0] == '\0'))
        verdict = SIGNATURE_PLAIN; /* bound to no place: no number tells its repeats */
    switch (verdict) {
    case SIGNATURE_PLAIN:
        if (envelope->nonce[0] == '\0')
            return refuse(ret_error, invalid); /* nothing tells it from its repeats */
        *ret_evidence = EVIDENCE_PLAIN;
        break;
    case SIGNATURE_BOUND:
        *ret_evidence = EVIDENCE_BOUND;
        break;
    case SIGNATURE_NO_MEMORY:
        return PARLEY_ENOMEM;
    default:
        return refuse(ret_error, invalid);
    }
    return is_for_us(bench, envelope) ? PARLEY_OK
                                      : refuse(ret_error, "Invalid field: recipient_id");
}

parley_status guard_message(struct bench *bench, struct guard *guard,
                            const struct json_doc *doc, const struct envelope *envelope,
                            enum guard_caller caller, enum evidence *ret_evidence,
                            bool *ret_required, struct envelope_error *ret_error)
{
    guard_look(bench->runtime, guard, envelope->sender_id);
    *ret_evidence = EVIDENCE_NONE;
    *ret_required = asks(guard, caller);
    if (guard->off)
        return PARLEY_OK;
    if (!signature_present(doc, doc->items))
        return *ret_required ? refuse(ret_error, missing) : PARLEY_OK;
    if (wire_member(doc, doc->items, "version") == NULL)
        return judge_client(guard, doc, *ret_required, ret_error);
    if (guard->key == NULL)
        return *ret_required ? refuse_sender(ret_error, envelope->sender_id) : PARLEY_OK;
    return judge_envelope(bench, guard, doc, envelope, ret_evidence, ret_error);
}
