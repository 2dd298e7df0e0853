/* SPDX-License-Identifier: Apache-2.0
 *
 * The owner's side of an inbound session: the receiver's rule around the host's handlers.
 */
#include "peers/session.h"

#include <stdio.h>
#include <string.h>

#include "peers/connection.h"
#include "peers/finish.h"
#include "runtime/clock.h"

#define REJECTIONS_TOLD 32 /* in one acknowledgement; the next one tells the rest */
#define EVICTION_LOOKS  64 /* sessions that may be in use, before giving up */
#define CLOSE_GAP       4009
#define CLOSE_TRY_LATER 1013
#define CLOSE_PROTOCOL  1002

static void on_control(struct actor *actor, struct mailbox_node *node)
{
    struct session *session = (struct session *)actor;
    struct control *control = (struct control *)node;

    if (control->kind == CONTROL_FINISH) {
        session_finish(session, (struct finish *)control);
        return;
    }
    struct inbound_request *request = (struct inbound_request *)control;

    if (session_handle(session, request, NULL))
        actor_post_control(&request->origin->actor, &request->control.node);
}

static void retired(struct actor *actor)
{
    session_free((struct session *)actor);
}

static const struct actor_class session_class = {.control = on_control, .retired = retired};

/* ---- The owner's list, the one used last in front ---- */

static void join(struct session *session)
{
    struct bench *bench = session->bench;

    session->prev = NULL;
    session->next = bench->sessions;
    if (session->next != NULL)
        session->next->prev = session;
    else
        bench->sessions_last = session;
    bench->sessions = session;
}

static void leave(struct session *session)
{
    struct bench *bench = session->bench;

    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        bench->sessions = session->next;
    if (session->next != NULL)
        session->next->prev = session->prev;
    else
        bench->sessions_last = session->prev;
}

static void use(struct session *session)
{
    session->used_ns = worker_now_ns(session->bench->worker);
    if (session->bench->sessions != session) {
        leave(session);
        join(session);
    }
}

struct session *session_new(struct parley *runtime, struct worker *worker, const char *name,
                            size_t name_len)
{
    struct session *session = alloc_aligned(&runtime->alloc, CACHE_LINE, sizeof(*session));

    if (session == NULL)
        return NULL;
    session->runtime = runtime;
    session->bench = bench_of(worker);
    session->name = alloc_bytes(&runtime->alloc, name_len);
    if (session->name == NULL) {
        alloc_free_aligned(&runtime->alloc, session);
        return NULL;
    }
    session->name_len = name_len;
    memcpy(session->name, name, name_len);
    session->sender = session->name;
    session->session_id = session->name + strlen(session->name) + 1;
    session->used_ns = worker_now_ns(worker);
    receive_init(&session->receive, &runtime->alloc, runtime->options.in_flight_max);
    return session;
}

void session_start(struct session *session)
{
    actor_init(&session->actor, &session_class, session->bench->worker);
    join(session);
    session->started = true;
}

void session_free(struct session *session)
{
    const struct alloc *alloc;

    if (session == NULL)
        return;
    alloc = &session->runtime->alloc;
    if (session->started)
        leave(session);
    receive_fini(&session->receive);
    alloc_free(alloc, session->name);
    alloc_free_aligned(alloc, session);
}

/* ---- What is told ---- */

static size_t rejections(const struct session *session, size_t from,
                         struct wire_rejection *told)
{
    const struct receive *receive = &session->receive;
    size_t count = 0;

    while (count < REJECTIONS_TOLD && from + count < receive->rejected_len) {
        told[count].number = receive->rejected[from + count].number;
        told[count].detail = receive->rejected[from + count].detail;
        count++;
    }
    return count;
}

/* An acknowledgement must name every rejection it covers, unless one before it on the same
 * connection did: with more than fit, it covers less. */
static uint64_t covered(const struct session *session, size_t next)
{
    const struct receive *receive = &session->receive;

    if (next == receive->rejected_len || receive->rejected[next].number > receive->ack_seq)
        return receive->ack_seq;
    return receive->rejected[next].number - 1;
}

size_t session_write_ack(const struct session *session, size_t from, struct json_out *out)
{
    struct wire_rejection told[REJECTIONS_TOLD];
    size_t count = rejections(session, from, told);
    size_t start = out->len;

    for (;;) {
        ack_write(out, session->session_id, covered(session, from + count), told, count);
        if (!out->overflow || count == 0)
            break;
        out->len = start;
        out->overflow = false;
        count /= 2;
    }
    return from + count < session->receive.rejected_len && count > 0 ? from + count : 0;
}

void session_write_greeting(struct parley *runtime, const struct session *session,
                            struct json_out *out)
{
    const parley_options *options = &runtime->options;
    struct wire_rejection told[REJECTIONS_TOLD];
    struct greeting greeting = {
        .parley = options->parley_protocol,
        .max_message_bytes = options->message_bytes_max,
        .max_batch_bytes = options->batch_bytes_max,
        .max_in_flight = options->in_flight_max,
    };
    size_t count = 0;

    snprintf(greeting.entity_id, sizeof(greeting.entity_id), "%s", runtime->node_id);
    if (session != NULL) {
        count = rejections(session, 0, told);
        snprintf(greeting.peer_session_id, sizeof(greeting.peer_session_id), "%s",
                 session->session_id);
        greeting.last_seq_known = session->receive.known;
        greeting.last_seq = covered(session, count);
    }
    greeting_write_connected(out, &greeting, told, count, clock_wall_us());
}

/* ---- Messages ---- */

static void refuse(struct session *session, uint64_t number, const char *detail)
{
    receive_finish(&session->receive, number, detail);
    session->bench->counts.handled++;
    session->bench->counts.handler_rejected++;
}

static void run_handler(struct session *session, const struct envelope *envelope,
                        uint64_t number, parley_transport transport)
{
    const struct handler *handler =
        handlers_find(handlers_get(&session->runtime->handlers), envelope->msg_type);
    struct bench_counts *counts = &session->bench->counts;
    char detail[PARLEY_DETAIL_MAX] = "";
    parley_incoming incoming = {
        .size = sizeof(incoming),
        .sender = session->sender,
        .type = envelope->msg_type,
        .payload = envelope->payload,
        .payload_len = envelope->payload_len,
        .session_id = session->session_id,
        .number = number,
        .timestamp = envelope->timestamp,
        .transport = transport,
        .redelivered = envelope->redelivered,
        .token = {session->id, number},
    };

    if (handler == NULL) {
        counts->unhandled++;
        receive_finish(&session->receive, number, NULL);
        return;
    }
    switch (handler->run(&incoming, detail, handler->user)) {
    case PARLEY_ACCEPT:
        counts->handled++;
        receive_finish(&session->receive, number, NULL);
        break;
    case PARLEY_REJECT:
        detail[PARLEY_DETAIL_MAX - 1] = '\0';
        refuse(session, number, detail[0] != '\0' ? detail : "rejected by the handler");
        break;
    case PARLEY_LATER:
        break;
    }
}

/* One message of a batch. @return RECEIVE_RUN or _REPEAT: go on; else stop reading */
static enum receive_decision take(struct session *session, const struct json_doc *doc,
                                  const struct json_item *item, uint64_t number,
                                  parley_transport transport)
{
    enum receive_decision decision = receive_begin(&session->receive, number);
    struct envelope_error error;
    struct envelope envelope;

    if (decision == RECEIVE_REPEAT)
        session->bench->counts.repeats++;
    if (decision != RECEIVE_RUN)
        return decision;
    envelope.sender_id[0] = envelope.recipient_id[0] = envelope.message_id[0] = '\0';
    if (batch_message_read(doc, item, &envelope, &error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        refuse(session, number, error.text);
    } else if (envelope.is_void) {
        receive_finish(&session->receive, number, NULL);
    } else if (envelope.payload_len > session->runtime->options.message_bytes_max) {
        refuse(session, number, "message exceeds message_bytes_max");
    } else {
        run_handler(session, &envelope, number, transport);
    }
    return RECEIVE_RUN;
}

/* @return the decision that stopped it, or RECEIVE_RUN */
static enum receive_decision run_batch(struct session *session, const struct json_doc *doc,
                                       const struct batch *batch, parley_transport transport,
                                       uint64_t *ret_last)
{
    enum receive_decision decision = RECEIVE_RUN;
    uint64_t number = batch->first_seq;

    receive_base(&session->receive, batch->base_seq);
    for (const struct json_item *item = batch->messages; item != NULL;
         item = json_next(doc, item)) {
        decision = take(session, doc, item, number, transport);
        if (decision != RECEIVE_RUN && decision != RECEIVE_REPEAT)
            break;
        number++;
        decision = RECEIVE_RUN;
    }
    *ret_last = number - 1;
    return decision;
}

/* ---- Answers ---- */

static void set_answer(struct inbound_request *request, unsigned code,
                       const struct json_out *out)
{
    const struct alloc *alloc = &request->session->runtime->alloc;

    alloc_free(alloc, request->text);
    request->text = alloc_bytes(alloc, out->len + 1);
    request->len = request->text != NULL ? out->len : 0;
    request->code = code;
    if (request->text != NULL)
        memcpy(request->text, out->buffer, out->len);
}

static struct json_out scratch(const struct session *session)
{
    return (struct json_out){.buffer = session->bench->scratch,
                             .capacity = session->bench->scratch_bytes};
}

static void answer_detail(struct inbound_request *request, unsigned code, const char *detail)
{
    struct json_out out = scratch(request->session);

    detail_write(&out, detail);
    set_answer(request, code, &out);
}

static void answer_ack(struct inbound_request *request, unsigned code)
{
    struct json_out out = scratch(request->session);

    session_write_ack(request->session, 0, &out);
    set_answer(request, code, &out);
}

static void answer_message(struct inbound_request *request)
{
    const char *rejected = receive_rejection(&request->session->receive, request->until);
    struct json_out out = scratch(request->session);

    if (rejected != NULL) {
        answer_detail(request, 400, rejected);
        return;
    }
    received_write(&out, request->session->runtime->node_id);
    set_answer(request, 200, &out);
}

/* @return false: handlers have not answered yet; the request waits */
static bool answer_when_done(struct inbound_request *request)
{
    if (request->session->receive.ack_seq < request->until)
        return false;
    if (request->kind == INBOUND_MESSAGE)
        answer_message(request);
    else
        answer_ack(request, 200);
    return true;
}

static bool answer_or_wait(struct inbound_request *request)
{
    struct session *session = request->session;

    if (answer_when_done(request))
        return true;
    request->since_ns = worker_now_ns(session->bench->worker);
    request->next = session->waiting;
    session->waiting = request;
    return false;
}

/* ---- Requests ---- */

static bool scan(struct session *session, struct inbound_request *request)
{
    const struct json_limits limits = {.depth_max = service_depth_max(session->runtime),
                                       .bytes_max = (uint32_t)request->len + 1};
    struct json_error error;

    return json_scan(&session->bench->doc, request->text, request->len, &limits,
                     BATCH_RECORD_DEPTH, &error) == PARLEY_OK;
}

unsigned session_run_frame(struct session *session, const struct json_doc *doc,
                           struct envelope_error *ret_error)
{
    struct batch batch;
    uint64_t last;

    use(session);
    if (batch_read(doc, doc->items, &batch, ret_error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        return CLOSE_PROTOCOL;
    }
    switch (run_batch(session, doc, &batch, PARLEY_TRANSPORT_WEBSOCKET, &last)) {
    case RECEIVE_GAP:
        snprintf(ret_error->text, sizeof(ret_error->text), "SEQUENCE_GAP");
        return CLOSE_GAP;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        snprintf(ret_error->text, sizeof(ret_error->text), "try again later");
        return CLOSE_TRY_LATER;
    default:
        return 0;
    }
}

static void handle_frame(struct session *session, struct inbound_request *request,
                         const struct json_doc *doc)
{
    struct envelope_error error;
    unsigned code = session_run_frame(session, doc, &error);
    struct json_out out = scratch(session);

    if (code == 0) {
        session->ack_owed = !connection_acknowledge(request->connection, session);
        alloc_free(&session->runtime->alloc, request->text);
        request->text = NULL;
        return;
    }
    error_write(&out, error.text);
    set_answer(request, code, &out);
}

static bool handle_batch(struct session *session, struct inbound_request *request,
                         const struct json_doc *doc)
{
    struct envelope_error error;
    struct batch batch;

    if (batch_read(doc, doc->items, &batch, &error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        answer_detail(request, 400, error.text);
        return true;
    }
    switch (run_batch(session, doc, &batch, PARLEY_TRANSPORT_HTTP, &request->until)) {
    case RECEIVE_GAP:
        answer_ack(request, 409);
        return true;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        answer_ack(request, 200);
        return true;
    default:
        return answer_or_wait(request);
    }
}

static enum receive_decision begin_message(struct session *session,
                                           const struct envelope *envelope, uint64_t *number)
{
    struct receive *receive = &session->receive;

    *number = envelope->number;
    if (session->session_id[0] == '\0' || envelope->number == 0) {
        *number = receive->watermark + 1; /* no numbers of its own: ours, so it can be named */
        return receive_begin_old(receive, *number);
    }
    if (envelope->base_seq == 0)
        return receive_begin_old(receive, envelope->number);
    receive_base(receive, envelope->base_seq);
    return receive_begin(receive, envelope->number);
}

static bool handle_message(struct session *session, struct inbound_request *request,
                           const struct json_doc *doc)
{
    struct envelope_error error;
    struct envelope envelope;
    uint64_t number;

    if (envelope_read(doc, doc->items, &envelope, &error) != PARLEY_OK) {
        answer_detail(request, 400, error.text);
        return true;
    }
    switch (begin_message(session, &envelope, &number)) {
    case RECEIVE_RUN:
        run_handler(session, &envelope, number, PARLEY_TRANSPORT_HTTP);
        break;
    case RECEIVE_REPEAT:
        session->bench->counts.repeats++;
        if (envelope.base_seq == 0) {
            answer_detail(request, 400, "SEQUENCE_ERROR");
            return true;
        }
        break;
    case RECEIVE_GAP:
        answer_detail(request, 409, "SEQUENCE_GAP");
        return true;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        answer_detail(request, 503, "try again later");
        return true;
    }
    request->until = number;
    return answer_or_wait(request);
}

/* Its origin has scanned it, so this is a lack of memory. */
static void refuse_text(struct inbound_request *request)
{
    struct json_out out = scratch(request->session);

    if (request->kind != INBOUND_FRAME) {
        answer_detail(request, 503, "try again later");
        return;
    }
    error_write(&out, "try again later");
    set_answer(request, CLOSE_TRY_LATER, &out);
}

static void attach(struct session *session, struct inbound_request *request)
{
    struct json_out out = scratch(session);

    if (session->connection != NULL)
        connection_replaced(session->connection, session);
    session->connection = request->connection;
    session_write_greeting(session->runtime, session, &out);
    set_answer(request, 0, &out);
}

bool session_handle(struct session *session, struct inbound_request *request,
                    const struct json_doc *doc)
{
    use(session);
    request->control.kind = CONTROL_ANSWER;
    if (request->kind == INBOUND_ATTACH) {
        attach(session, request);
        return true;
    }
    if (request->kind == INBOUND_DETACH) {
        if (session->connection == request->connection)
            session->connection = NULL;
        return true;
    }
    if (doc == NULL && !scan(session, request)) {
        refuse_text(request);
        return true;
    }
    if (doc == NULL)
        doc = &session->bench->doc;
    if (request->kind == INBOUND_MESSAGE)
        return handle_message(session, request, doc);
    if (request->kind == INBOUND_BATCH)
        return handle_batch(session, request, doc);
    handle_frame(session, request, doc);
    return true;
}

static void send_back(struct inbound_request *request, struct bench *here)
{
    if (request->origin == here)
        inbound_answer(request);
    else
        actor_post_control(&request->origin->actor, &request->control.node);
}

void session_ask(struct inbound_request *request, const struct json_doc *doc, const char *text,
                 size_t len)
{
    struct session *session = request->session;
    const struct alloc *alloc = &session->runtime->alloc;

    if (session->bench == request->origin) {
        if (session_handle(session, request, doc))
            inbound_answer(request);
        return;
    }
    if (text != NULL) {
        request->text = alloc_bytes(alloc, len);
        if (request->text == NULL) {
            request->control.kind = CONTROL_ANSWER;
            request->code = request->kind == INBOUND_FRAME ? CLOSE_TRY_LATER : 503;
            inbound_answer(request);
            return;
        }
        memcpy(request->text, text, len);
        request->len = len;
    }
    actor_post_control(&session->actor, &request->control.node);
}

void session_progress(struct session *session)
{
    struct inbound_request **at = &session->waiting;

    while (*at != NULL) {
        struct inbound_request *request = *at;

        if (!answer_when_done(request)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        send_back(request, session->bench);
    }
    if (session->connection != NULL)
        session->ack_owed = !connection_acknowledge(session->connection, session);
}

/* ---- Sweeping ---- */

static void answer_late(struct session *session, uint64_t now_ns, bool closing)
{
    uint64_t patience = session->runtime->options.http_timeout_ms * NS_PER_MS / 2;
    struct inbound_request **at = &session->waiting;

    while (*at != NULL) {
        struct inbound_request *request = *at;

        if (!closing && now_ns - request->since_ns < patience) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        if (request->kind == INBOUND_MESSAGE)
            answer_detail(request, 503, "the handler has not answered yet");
        else
            answer_ack(request, 200);
        send_back(request, session->bench);
    }
}

bool session_sweep(struct session *session, uint64_t now_ns, bool closing)
{
    uint64_t idle_ns = session->runtime->options.session_idle_s * NS_PER_S;

    answer_late(session, now_ns, closing);
    if (session->ack_owed)
        session_progress(session);
    if (session->connection != NULL || (!closing && now_ns - session->used_ns < idle_ns))
        return false;
    if (session->forgotten || !session_table_forget(&session->runtime->sessions, session))
        return false;
    session->forgotten = true;
    actor_retire(&session->actor);
    return true;
}

static bool is_peer(struct parley *runtime, const char *id)
{
    bool known;

    registry_lock(&runtime->registry);
    known = registry_find(&runtime->registry, id) != NULL;
    registry_unlock(&runtime->registry);
    return known;
}

/* Makes room for a stranger: forgets the stranger's session that was used longest ago. */
static bool evict(struct bench *bench)
{
    struct session *session = bench->sessions_last;

    for (unsigned i = 0; i < EVICTION_LOOKS && session != NULL; i++, session = session->prev) {
        if (session->connection != NULL || session->waiting != NULL || session->forgotten ||
            is_peer(bench->runtime, session->sender) ||
            !session_table_forget(&bench->runtime->sessions, session))
            continue;
        session->forgotten = true;
        actor_retire(&session->actor);
        return true;
    }
    return false;
}

parley_status session_acquire(struct bench *bench, const char *sender, const char *session_id,
                              struct session **ret_session)
{
    struct session_table *table = &bench->runtime->sessions;
    parley_status status =
        session_table_acquire(table, sender, session_id, bench->worker, false, ret_session);

    if (status != PARLEY_ELIMIT)
        return status;
    if (!evict(bench) && !is_peer(bench->runtime, sender))
        return PARLEY_ELIMIT;
    return session_table_acquire(table, sender, session_id, bench->worker, true, ret_session);
}

/* ---- Requests' memory ---- */

struct inbound_request *inbound_new(struct bench *origin, enum inbound_kind kind,
                                    struct session *session)
{
    struct inbound_request *request = alloc_zeroed(&origin->runtime->alloc, sizeof(*request));

    if (request == NULL)
        return NULL;
    request->control.kind = CONTROL_INBOUND;
    request->kind = kind;
    request->origin = origin;
    request->session = session;
    origin->requests++;
    return request;
}

void inbound_free(struct inbound_request *request)
{
    struct parley *runtime = request->origin->runtime;

    session_table_release(&runtime->sessions, request->session);
    request->origin->requests--;
    alloc_free(&runtime->alloc, request->text);
    alloc_free(&runtime->alloc, request);
}
