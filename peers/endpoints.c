/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages posted to us go to their session, wherever it lives; everything else is
 * answered here, on the worker that accepted the request. An exchange belongs to the
 * transport: it may vanish (endpoints_gone) while its request is at a session, so the
 * request's pointer to it is only touched on the exchange's own worker.
 */
#include "peers/endpoints.h"

#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/endpoints_secure.h"
#include "peers/envelope.h"
#include "peers/peer.h"
#include "peers/secure.h"
#include "peers/stats.h"
#include "peers/threeway.h"
#include "peers/wire.h"
#include "runtime/clock.h"

/* In the scratch buffer, where no answer to /messages stands. */
static void seal(struct bench *bench, struct http_reply *reply)
{
    static const char failed[] = "{\"detail\":\"ENCRYPTION_NOT_READY\"}";

    if (reply->body_len + SEAL_OVERHEAD <= bench->scratch_bytes) {
        memcpy(bench->scratch + SEAL_HEADER_BYTES, reply->body, reply->body_len);
        if (endpoints_seal(&bench->sealing, bench->scratch, reply->body_len)) {
            reply->content_type = "application/octet-stream";
            reply->body = bench->scratch;
            reply->body_len += SEAL_OVERHEAD;
            return;
        }
    }
    reply->code = 503;
    reply->body = failed;
    reply->body_len = sizeof(failed) - 1;
}

static void respond_later(struct http_exchange *exchange, unsigned code, const char *body,
                          size_t len, uint32_t retry_after_s)
{
    struct http_reply reply = {
        .code = code, .body = body, .body_len = len, .retry_after_s = retry_after_s};
    struct bench *bench = bench_of(exchange->worker);

    if (bench->sealing.session != NULL)
        seal(bench, &reply);
    if ((code == 503 || code == 429) && retry_after_s == 0)
        reply.retry_after_s = 1;
    bench->counts.http_requests_accepted++;
    http_respond(exchange, &reply);
}

static void respond(struct http_exchange *exchange, unsigned code, const char *body,
                    size_t len)
{
    respond_later(exchange, code, body, len, 0);
}

static void respond_detail(struct http_exchange *exchange, unsigned code, const char *detail)
{
    char buffer[512];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (code == 400)
        bench_of(exchange->worker)->counts.protocol_errors++;
    detail_write(&out, detail);
    respond(exchange, code, buffer, out.len);
}

static void respond_out(struct http_exchange *exchange, const struct json_out *out)
{
    if (out->overflow)
        respond_detail(exchange, 500, "answer too large");
    else
        respond(exchange, 200, out->buffer, out->len);
}

/* ---- Posted messages ---- */

void endpoints_gone(struct http_exchange *exchange, void *user)
{
    (void)user;
    if (exchange->user != NULL)
        *(struct http_exchange **)exchange->user = NULL;
}

void endpoints_answered(struct inbound_request *request)
{
    struct http_exchange *exchange = request->exchange;

    if (exchange != NULL) {
        bench_of(exchange->worker)->sealing = request->sealing;
        exchange->user = NULL;
        if (request->text != NULL)
            respond_later(exchange, request->code, request->text, request->len,
                          request->retry_after_s);
        else
            respond_detail(exchange, 503, "out of memory");
        request->origin->sealing.session = NULL; /* the request's to release */
    }
    inbound_free(request);
}

static enum guard_caller caller_of(const struct bench *bench)
{
    return guard_caller(bench->caller.sub[0] != '\0', bench->caller.proven);
}

/* With a token only in the name it was given to. */
static bool may_send_as(const struct bench *bench, const char *sender)
{
    return bench->caller.sub[0] == '\0' || strcmp(bench->caller.sub, sender) == 0;
}

/* A batch's messages are counted one by one, where it is run. @return false: it has been told
 * to come again */
static bool within_limit(struct http_exchange *exchange, const char *sender,
                         const char *msg_type)
{
    static const char body[] = "{\"detail\":\"rate_limited\"}";
    struct bench *bench = bench_of(exchange->worker);
    uint64_t now_ns = worker_now_ns(bench->worker), at_ns;
    struct limit_trust trust = {0};

    if (!limit_applies(bench->runtime, &trust, sender) ||
        limit_take(&bench->runtime->limits, sender, limit_kind_of(msg_type), now_ns, &at_ns))
        return true;
    bench->counts.rate_limited++;
    respond_later(exchange, 429, body, sizeof(body) - 1, limit_wait_s(now_ns, at_ns));
    return false;
}

/* What a peer must seal is not taken otherwise. */
static bool permitted(const struct bench *bench, const char *sender)
{
    struct secure_minimum minimum = {0};

    return bench->sealing.session != NULL ||
           secure_minimum(bench->runtime, &minimum, sender) != PARLEY_SECURITY_SEALED;
}

/* What a request says of itself, and what of it is proven. */
struct posted {
    enum inbound_kind kind;
    const char *sender, *session_id;
    const char *msg_type; /* NULL: of a batch */
    enum evidence evidence;
    bool unplaced;
    struct proof proof;
};

static void hand_over(struct http_exchange *exchange, const struct posted *posted)
{
    struct bench *bench = bench_of(exchange->worker);
    struct parley *runtime = bench->runtime;
    struct inbound_request *request;
    struct session *session;

    if (posted->msg_type != NULL && !within_limit(exchange, posted->sender, posted->msg_type))
        return;
    if (session_acquire(bench, posted->sender, posted->session_id, &session) != PARLEY_OK) {
        respond_detail(exchange, 503, "too many sessions");
        return;
    }
    request = inbound_new(bench, posted->kind, session);
    if (request == NULL) {
        session_table_release(&runtime->sessions, session);
        respond_detail(exchange, 503, "out of memory");
        return;
    }
    request->evidence = posted->evidence;
    request->unplaced = posted->unplaced;
    request->proof = posted->proof;
    request->exchange = exchange;
    request->sealing = bench->sealing;
    bench->sealing.session = NULL;
    exchange->user = &request->exchange;
    session_ask(request, &bench->doc, exchange->body, exchange->body_len);
}

/* @return whether the sender may be who it says; if not, that has been answered */
static bool may_be(struct http_exchange *exchange, const char *sender)
{
    if (!entity_id_valid(sender))
        respond_detail(exchange, 400,
                       sender[0] != '\0' ? "Invalid field: sender_id"
                                         : "Missing required field: sender_id");
    else if (!may_send_as(bench_of(exchange->worker), sender))
        respond_detail(exchange, 403, "Forbidden");
    else if (!permitted(bench_of(exchange->worker), sender))
        respond_detail(exchange, 403, "ENCRYPTION_NOT_READY");
    else
        return true;
    return false;
}

static void refuse_unproven(struct http_exchange *exchange, parley_status status,
                            const struct envelope_error *error)
{
    if (status == PARLEY_ENOMEM)
        respond_detail(exchange, 503, "out of memory");
    else
        respond_detail(exchange, 400, error->text);
}

static bool scan_body(struct http_exchange *exchange, uint32_t levels)
{
    parley_status status = bench_scan(bench_of(exchange->worker), exchange->body,
                                      exchange->body_len, BATCH_RECORD_DEPTH, levels);

    if (status == PARLEY_ENOMEM)
        respond_detail(exchange, 503, "out of memory");
    else if (status != PARLEY_OK)
        respond_detail(exchange, 400, "Invalid JSON");
    return status == PARLEY_OK;
}

static void respond_secure(struct http_exchange *exchange, const struct secure_answer *answer)
{
    struct http_reply reply = {.code = answer->code,
                               .content_type =
                                   answer->sealed ? "application/octet-stream" : NULL,
                               .body = answer->body,
                               .body_len = answer->len};

    bench_of(exchange->worker)->counts.http_requests_accepted++;
    http_respond(exchange, &reply);
}

static void post_step(struct http_exchange *exchange)
{
    struct bench *bench = bench_of(exchange->worker);
    struct handshake_message message;
    struct secure_answer answer;

    if (handshake_message_read(&bench->doc, bench->doc.items, &message) != PARLEY_OK)
        respond_detail(exchange, 400, "Unknown message format");
    else if (!may_send_as(bench, message.sender_id))
        respond_detail(exchange, 403, "Forbidden");
    else if (within_limit(exchange, message.sender_id, handshake_step_name(message.step))) {
        endpoints_step(bench, &message, &answer);
        respond_secure(exchange, &answer);
    }
}

/* @return false: it is answered */
static bool unseal(struct http_exchange *exchange)
{
    struct bench *bench = bench_of(exchange->worker);
    struct secure_answer answer;

    if (!endpoints_unseal(bench, exchange->parley_session, exchange->body, &exchange->body_len,
                          &bench->sealing, &answer)) {
        respond_secure(exchange, &answer);
        return false;
    }
    if (!may_send_as(bench, bench->sealing.session->entity)) {
        respond_detail(exchange, 403, "Forbidden");
        return false;
    }
    memcpy(bench->caller.sub, bench->sealing.session->entity, sizeof(bench->caller.sub));
    bench->caller.proven = true;
    return true;
}

static void post_envelope(struct http_exchange *exchange, const struct envelope *envelope)
{
    struct bench *bench = bench_of(exchange->worker);
    struct posted posted = {.kind = INBOUND_MESSAGE,
                            .sender = envelope->sender_id,
                            .msg_type = envelope->msg_type};
    struct envelope_error error;
    struct guard guard = {0};
    parley_status status;
    bool required;

    if (!may_be(exchange, envelope->sender_id))
        return;
    status = guard_message(bench, &guard, &bench->doc, envelope, caller_of(bench),
                           &posted.evidence, &required, &error);
    if (status != PARLEY_OK) {
        refuse_unproven(exchange, status, &error);
        return;
    }
    posted.unplaced = (required && posted.evidence != EVIDENCE_BOUND) ||
                      threeway_is_step(envelope->msg_type);
    /* what has no number must not take one of a session's */
    posted.session_id = envelope->number != 0 && !posted.unplaced ? envelope->session_id : "";
    hand_over(exchange, &posted);
}

static void post_message(struct http_exchange *exchange)
{
    const struct json_doc *doc = &bench_of(exchange->worker)->doc;
    struct envelope_error error;
    struct envelope envelope;

    if (!scan_body(exchange, ENVELOPE_LEVELS))
        return;
    if (frame_kind(doc, doc->items) == FRAME_HANDSHAKE)
        post_step(exchange);
    else if (envelope_read(doc, doc->items, &envelope, &error) != PARLEY_OK)
        respond_detail(exchange, 400, error.text);
    else if (envelope.payload_len >
             bench_of(exchange->worker)->runtime->options.message_bytes_max)
        respond_detail(exchange, 413, "Message too large");
    else
        post_envelope(exchange, &envelope);
}

/* The first sender named is the batch's. A caller with a token need not name one, and must
 * not name another anywhere. @return whether that holds */
static bool batch_sender(const struct bench *bench, const struct batch *batch,
                         char sender[ENVELOPE_ID_MAX + 1])
{
    const struct json_doc *doc = &bench->doc;
    const bool known = bench->caller.sub[0] != '\0';

    memcpy(sender, bench->caller.sub, sizeof(bench->caller.sub));
    for (const struct json_item *message = batch->messages;
         message != NULL && (known || sender[0] == '\0'); message = json_next(doc, message)) {
        const struct json_item *item =
            message->type == JSON_OBJECT ? json_member(doc, message, "sender_id") : NULL;

        if (item != NULL && item->type != JSON_NULL &&
            json_string(doc, item, sender, ENVELOPE_ID_MAX + 1) < 0)
            sender[0] = '\0';
        if (!may_send_as(bench, sender))
            return false;
    }
    return true;
}

static void post_batch(struct http_exchange *exchange)
{
    const struct json_doc *doc = &bench_of(exchange->worker)->doc;
    struct bench *bench = bench_of(exchange->worker);
    char sender[ENVELOPE_ID_MAX + 1] = "";
    struct envelope_error error;
    struct guard guard = {0};
    struct batch batch;
    struct posted posted = {
        .kind = INBOUND_BATCH, .sender = sender, .session_id = batch.session_id};
    parley_status status;

    if (!scan_body(exchange, BATCH_LEVELS))
        return;
    if (batch_read(doc, doc->items, &batch, &error) != PARLEY_OK) {
        respond_detail(exchange, 400, error.text);
        return;
    }
    if (!batch_sender(bench, &batch, sender)) {
        respond_detail(exchange, 403, "Forbidden");
        return;
    }
    if (!may_be(exchange, sender))
        return;
    status = guard_batch(bench, &guard, doc, &batch, sender, caller_of(bench), &posted.proof,
                         &error);
    if (status == PARLEY_OK)
        hand_over(exchange, &posted);
    else
        refuse_unproven(exchange, status, &error);
}

static void post_messages(struct http_exchange *exchange)
{
    struct bench *bench = bench_of(exchange->worker);

    if (exchange->parley_session[0] == '\0' || unseal(exchange))
        post_batch(exchange);
    endpoints_sealed(bench, &bench->sealing); /* unless it went with the request */
}

/* ---- What a node says of itself ---- */

static struct json_out scratch(const struct http_exchange *exchange)
{
    const struct bench *bench = bench_of(exchange->worker);

    return (struct json_out){.buffer = bench->scratch, .capacity = bench->scratch_bytes};
}

static void put_id(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    json_put_string(out, text, strlen(text));
}

static uint32_t peers_now(struct parley *runtime)
{
    uint32_t peers;

    registry_lock(&runtime->registry);
    peers = runtime->registry.peers;
    registry_unlock(&runtime->registry);
    return peers;
}

/* How many members GET /stats tells. */
#define ONE(member, unit, description) +1
#define STATS_ENTRIES                  (0 PARLEY_STATS_MAP(ONE))

static void put_bool(struct json_out *out, const char *key, bool value)
{
    json_put_text(out, key);
    json_put_text(out, value ? "true" : "false");
}

static void put_crypto(struct json_out *out, const struct parley *runtime)
{
    put_bool(out, ",\"crypto_available\":", true);
    put_bool(out, ",\"signing_enabled\":", trust_signs(runtime));
    put_bool(out, ",\"verification_enabled\":", trust_verifies(runtime));
}

static void put_public_key(struct json_out *out, const struct parley *runtime)
{
    const struct identity *identity = trust_identity(runtime);
    char hex[IDENTITY_KEY_HEX + 1];

    json_put_text(out, ",\"public_key\":");
    if (identity == NULL) {
        json_put_text(out, "null");
        return;
    }
    identity_hex(identity_public(identity), hex);
    json_put_string(out, hex, IDENTITY_KEY_HEX);
}

static void get_health(struct http_exchange *exchange)
{
    struct parley *runtime = bench_of(exchange->worker)->runtime;
    struct json_out out = scratch(exchange);
    uint32_t peers = peers_now(runtime);
    uint32_t unhealthy = atomic_load_explicit(&runtime->unhealthy, memory_order_relaxed);

    if (unhealthy > peers)
        unhealthy = peers; /* one that is being removed still counts */
    put_id(&out, "{\"entity_id\":", runtime->node_id);
    json_put_text(&out, ",\"port\":");
    json_put_u64(&out, transport_port(runtime->transport));
    json_put_text(&out, ",\"peers\":");
    json_put_u64(&out, peers);
    json_put_text(&out, ",\"healthy_peers\":");
    json_put_u64(&out, peers - unhealthy);
    json_put_text(&out, ",\"total_stats_entries\":");
    json_put_u64(&out, STATS_ENTRIES);
    put_crypto(&out, runtime);
    put_public_key(&out, runtime);
    json_put_text(&out, ",\"status\":\"healthy\",\"timestamp\":");
    wire_put_iso(&out, clock_wall_us());
    json_put_text(&out, "}");
    respond_out(exchange, &out);
}

static void get_root(struct http_exchange *exchange)
{
    struct parley *runtime = bench_of(exchange->worker)->runtime;
    struct json_out out = scratch(exchange);

    put_id(&out, "{\"entity_id\":", runtime->node_id);
    json_put_text(&out, ",\"service\":\"peer-communication\",\"version\":\"1.0\","
                        "\"peers_count\":");
    json_put_u64(&out, peers_now(runtime));
    put_crypto(&out, runtime);
    json_put_text(&out, "}");
    respond_out(exchange, &out);
}

static void get_public_key(struct http_exchange *exchange)
{
    const struct parley *runtime = bench_of(exchange->worker)->runtime;
    struct json_out out = scratch(exchange);

    put_id(&out, "{\"entity_id\":", runtime->node_id);
    put_public_key(&out, runtime);
    json_put_text(&out, "}");
    respond_out(exchange, &out);
}

/* Who we talk to is not for strangers. A token has been shown by now, where one is asked for.
 */
static bool refused_beyond_loopback(struct http_exchange *exchange)
{
    const struct parley *runtime = bench_of(exchange->worker)->runtime;

    if (runtime->loopback || auth_required(runtime))
        return false;
    respond_detail(exchange, 403, "Forbidden");
    return true;
}

/* A list that is longer than the scratch buffer holds is cut, and says how many there are. */
static void get_peers(struct http_exchange *exchange)
{
    struct parley *runtime = bench_of(exchange->worker)->runtime;
    struct json_out out = scratch(exchange);
    char url[URL_PATH_MAX + URL_HOST_MAX + 64];
    uint64_t count = 0;

    if (refused_beyond_loopback(exchange))
        return;
    out.capacity -= 64; /* for the end */
    put_id(&out, "{\"entity_id\":", runtime->node_id);
    json_put_text(&out, ",\"peers\":[");
    registry_lock(&runtime->registry);
    for (struct peer *peer = runtime->registry.ids; peer != NULL; peer = peer->by_id.next) {
        size_t before = out.len;

        url[0] = '\0';
        if (peer->has_url)
            url_http(&peer->url, "", url, sizeof(url));
        put_id(&out, count > 0 ? ",{\"entity_id\":" : "{\"entity_id\":", peer->id);
        put_id(&out, ",\"address\":", url);
        put_bool(&out, ",\"has_public_key\":", trust_find(runtime, peer->id) != NULL);
        json_put_text(&out, "}");
        if (out.overflow)
            out.len = before;
        count++;
    }
    registry_unlock(&runtime->registry);
    out.overflow = false;
    out.capacity += 64;
    json_put_text(&out, "],\"count\":");
    json_put_u64(&out, count);
    json_put_text(&out, "}");
    respond_out(exchange, &out);
}

static void get_stats(struct http_exchange *exchange)
{
    if (refused_beyond_loopback(exchange))
        return;
    if (!stats_for_exchange(bench_of(exchange->worker), exchange))
        respond_detail(exchange, 503, "out of memory");
}

void endpoints_stats(struct http_exchange *exchange, struct bench *bench,
                     const parley_stats *stats)
{
    const struct handler_table *table = handlers_get(&bench->runtime->handlers);
    struct json_out out = scratch(exchange);

    put_id(&out, "{\"entity_id\":", bench->runtime->node_id);
    json_put_text(&out, ",\"stats\":{");
    stats_write(&out, stats);
    json_put_text(&out, "}");
    if (table->on_stats != NULL) {
        json_put_text(&out, ",\"application\":{");
        if (!out.overflow)
            out.len += table->on_stats(out.buffer + out.len, out.capacity - out.len - 2,
                                       table->on_stats_user);
        json_put_text(&out, "}");
    }
    json_put_text(&out, "}");
    respond_out(exchange, &out);
}

/* ---- Routing ---- */

struct endpoint {
    const char *path, *method;
    void (*run)(struct http_exchange *exchange);
    bool guarded; /* by a token, where tokens are asked for */
};

static const struct endpoint endpoints[] = {
    {"/message", "POST", post_message, true},
    {"/messages", "POST", post_messages, true},
    {"/health", "GET", get_health, false},
    {"/peers", "GET", get_peers, true},
    {"/stats", "GET", get_stats, true},
    {"/public-key", "GET", get_public_key, false},
    {"/", "GET", get_root, false},
};

static void refuse_method(struct http_exchange *exchange, const char *allow)
{
    static const char body[] = "{\"detail\":\"Method Not Allowed\"}";
    struct http_reply reply = {
        .code = 405, .body = body, .body_len = sizeof(body) - 1, .allow = allow};

    bench_of(exchange->worker)->counts.http_requests_accepted++;
    http_respond(exchange, &reply);
}

static void refuse_stranger(struct http_exchange *exchange)
{
    static const char body[] = "{\"detail\":\"Unauthorized\"}";
    struct http_reply reply = {
        .code = 401, .body = body, .body_len = sizeof(body) - 1, .authenticate = "Bearer"};

    bench_of(exchange->worker)->counts.http_requests_accepted++;
    http_respond(exchange, &reply);
}

static void run_endpoint(struct http_exchange *exchange, const struct endpoint *endpoint)
{
    struct bench *bench = bench_of(exchange->worker);
    parley_status status = PARLEY_OK;

    bench->caller = (struct auth_caller){.sub = ""};
    if (endpoint->guarded)
        status = auth_check(bench, exchange->authorization, exchange->query, &bench->caller);
    if (status == PARLEY_OK)
        endpoint->run(exchange);
    else if (status == PARLEY_ENOMEM)
        respond_detail(exchange, 503, "out of memory");
    else
        refuse_stranger(exchange);
}

void endpoints_request(struct http_exchange *exchange, void *user)
{
    struct parley *runtime = bench_of(exchange->worker)->runtime;

    (void)user;
    exchange->user = NULL;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        if (strcmp(exchange->path, endpoints[i].path) != 0)
            continue;
        if (strcmp(exchange->method, endpoints[i].method) == 0)
            run_endpoint(exchange, &endpoints[i]);
        else
            refuse_method(exchange, endpoints[i].method);
        return;
    }
    if (strcmp(exchange->path, WS_PATH) != 0 || !runtime->options.accept_websocket)
        respond_detail(exchange, 404, "Not Found");
    else if (strcmp(exchange->method, "GET") == 0)
        respond_detail(exchange, 426, "Upgrade Required");
    else
        refuse_method(exchange, "GET");
}
