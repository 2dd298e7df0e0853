/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP from both ends: transport/http_worker.h as the client sees it, and the half of
 * transport/transport.h that serves. A request meets its fault when it is connected. What is
 * under way when a process dies, dies with it; a request may outlive its caller's patience
 * and arrive after newer ones went another way.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/attack.h"
#include "test/sim/secure.h"
#include "test/sim/sim.h"
#include "transport/http_worker.h"

struct http_worker {
    struct process *process;
    const struct alloc *alloc;
    struct http_worker_options options;
    unsigned calls;
};

struct exchange {
    struct http_exchange http; /* first */
    struct exchange *next, *prev;
    struct transport *transport;
    struct request *request;
    bool counts; /* its answer is the request's */
};

struct request {
    struct request *next;
    struct http_worker *client;
    struct http_call *call; /* NULL: completed, or the client is gone */
    struct host *from, *to;
    unsigned life; /* of the server it is connected to */
    struct chance chance;
    bool faulty;
    enum fault fault;
    unsigned fault_code, retry_after_s;
    bool resent;
    bool get;
    char *path, *body;
    size_t body_len;
    char session[64]; /* the Parley-Session header */
    struct exchange *exchange;
    /* the answer on its way */
    unsigned code;
    uint32_t answer_retry_s;
    bool by_parley;
    uint32_t batch_bytes, message_bytes;
    char *answer;
    size_t answer_len;
};

static struct exchange *exchanges;
static struct request *requests;
static uint64_t requests_made;

/* ---- The client ---- */

static void take_answer(const struct request *request, struct http_call *call)
{
    call->response = alloc_zeroed(call->alloc, request->answer_len + 1);
    if (call->response == NULL) {
        call->status = PARLEY_ENOMEM;
        return;
    }
    if (request->answer != NULL)
        memcpy(call->response, request->answer, request->answer_len);
    call->response_len = request->answer_len;
    if (request->by_parley) {
        call->parley_version = 1;
        call->parley_batch_bytes = request->batch_bytes;
        call->parley_message_bytes = request->message_bytes;
    }
}

static void complete(struct request *request, parley_status status, bool unsent,
                     const char *detail)
{
    struct http_call *call = request->call;

    if (call == NULL)
        return;
    sim_trace("%s: request to %s ends: %s %u %s %.*s", request->from->id, request->to->id,
              parley_status_name(status), request->code, detail, (int)request->answer_len,
              request->answer != NULL ? request->answer : "");
    request->call = NULL;
    request->client->calls--;
    sim_broke(request->from, request->to);
    call->status = status;
    call->unsent = unsent;
    call->resent = request->resent;
    snprintf(call->detail, sizeof(call->detail), "%s", detail);
    if (status == PARLEY_OK) {
        call->code = request->code;
        call->retry_after_s = request->answer_retry_s;
        take_answer(request, call);
    }
    if (call->status != PARLEY_OK || request->code >= 400)
        promise_http_failed(request->client->process, request->to->index);
    actor_post_control(call->reply_to, &call->node);
}

static uint64_t back_ns(struct request *request)
{
    return latency_ns(&request->chance, request->from);
}

static void on_reset(void *subject, uint64_t unsent)
{
    complete(subject, PARLEY_EUNREACHABLE, unsent != 0, unsent != 0 ? "refused" : "reset");
}

static void on_answer(void *subject, uint64_t value)
{
    (void)value;
    complete(subject, PARLEY_OK, false, "");
}

static void answer(struct request *request, unsigned code, uint32_t retry_after_s,
                   const char *text, size_t len)
{
    free(request->answer);
    request->answer = malloc(len + 1);
    if (len > 0)
        memcpy(request->answer, text, len);
    request->answer_len = len;
    request->code = code;
    request->answer_retry_s = retry_after_s;
    sim_at(sim.now_ns + back_ns(request), on_answer, request, 0);
}

static void answer_from_between(struct request *request, unsigned code, uint32_t retry_s)
{
    static const char text[] = "<html>not the peer</html>";

    request->by_parley = false;
    answer(request, code, retry_s, text, sizeof(text) - 1);
}

/* ---- The server ---- */

static void exchange_free(struct exchange *exchange)
{
    if (exchange->next != NULL)
        exchange->next->prev = exchange->prev;
    if (exchange->prev != NULL)
        exchange->prev->next = exchange->next;
    else
        exchanges = exchange->next;
    if (exchange->request->exchange == exchange)
        exchange->request->exchange = NULL;
    free((char *)exchange->http.path);
    free(exchange->http.body);
    free(exchange);
}

static void on_gone(void *subject, uint64_t value)
{
    struct request *request = subject;
    struct exchange *exchange = request->exchange;

    (void)value;
    if (exchange == NULL)
        return;
    if (worker_paused_until(exchange->http.worker) > sim.now_ns) {
        sim_at(worker_paused_until(exchange->http.worker), on_gone, request, 0);
        return;
    }
    worker_enter(exchange->http.worker);
    exchange->transport->events.gone(&exchange->http, exchange->transport->events.user);
    worker_leave();
    exchange_free(exchange);
}

static void serve(struct request *request, struct worker *worker, bool counts)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    exchange->transport = request->to->process->transport;
    exchange->request = request;
    exchange->counts = counts;
    exchange->next = exchanges;
    if (exchanges != NULL)
        exchanges->prev = exchange;
    exchanges = exchange;
    exchange->http = (struct http_exchange){
        .worker = worker,
        .method = request->get ? "GET" : "POST",
        .path = strdup(request->path),
        .query = "",
        .authorization = "",
        .parley_session = request->session,
        .remote = SIM_ADDRESS,
        .body = malloc(request->body_len + 1),
        .body_len = request->body_len,
    };
    memcpy(exchange->http.body, request->body, request->body_len);
    exchange->http.body[request->body_len] = '\0';
    if (counts)
        request->exchange = exchange;
    worker_enter(worker);
    exchange->transport->events.request(&exchange->http, exchange->transport->events.user);
    worker_leave();
}

static void set_request(struct request *request, const struct attack_request *as)
{
    char *path = strdup(as->path), *body = malloc(as->body_len + 1);

    memcpy(body, as->body, as->body_len);
    free(request->path);
    free(request->body);
    request->path = path;
    request->body = body;
    request->body_len = as->body_len;
    snprintf(request->session, sizeof(request->session), "%s", as->session);
}

/* Who stands between may change it, and may send others whose answers nobody waits for. */
static void meet_attacker(struct request *request, struct worker *worker)
{
    struct attack_request seen = {.from = request->from->index,
                                  .to = request->to->index,
                                  .path = request->path,
                                  .session = request->session,
                                  .body = request->body,
                                  .body_len = request->body_len};
    struct attack_request before;

    if (attack_request(&seen, &before)) {
        struct request *other = sim_new(sizeof(*other));

        other->next = requests;
        requests = other;
        other->from = request->from;
        other->to = request->to;
        set_request(other, &before);
        serve(other, worker, false);
    }
    if (seen.body != request->body)
        set_request(request, &seen);
}

/* value: whether its answer counts. */
static void on_arrival(void *subject, uint64_t counts)
{
    struct request *request = subject;
    struct worker *worker = listener_worker(request->to, &request->chance);

    if (worker == NULL || request->to->process->life != request->life) {
        if (counts != 0)
            sim_at(sim.now_ns + back_ns(request), on_reset, request, 0);
    } else if (worker_paused_until(worker) > sim.now_ns) {
        sim_at(worker_paused_until(worker), on_arrival, request, counts);
    } else {
        if (!request->get)
            meet_attacker(request, worker);
        serve(request, worker, counts != 0);
    }
}

void http_respond(struct http_exchange *exchange, const struct http_reply *reply)
{
    struct exchange *own = (struct exchange *)exchange;
    struct request *request = own->request;
    bool counts = own->counts && request->call != NULL;

    assert(worker_entered() == exchange->worker);
    if (counts && request->faulty && request->fault == FAULT_HTTP_ANSWER_LOST) {
        sim_at(sim.now_ns + back_ns(request), on_reset, request, 0);
    } else if (counts && request->faulty && request->fault == FAULT_HTTP_5XX_AFTER) {
        answer_from_between(request, request->fault_code, request->retry_after_s);
    } else if (counts && !(request->faulty && request->fault == FAULT_HTTP_UNANSWERED)) {
        struct attack_answer seen = {reply->code, reply->body, reply->body_len,
                                     own->transport->options.parley_header != NULL};

        if (!request->get)
            attack_answer(request->to->index, request->from->index, &seen);
        request->by_parley = seen.by_parley;
        request->batch_bytes = own->transport->options.batch_bytes_max;
        request->message_bytes = sim.setup.options[request->to->index].message_bytes_max;
        answer(request, seen.code, reply->retry_after_s, seen.body, seen.body_len);
    }
    exchange_free(own);
}

/* ---- On the way ---- */

static void forward(struct request *request, uint64_t after_ns)
{
    sim_at(sim.now_ns + after_ns + latency_ns(&request->chance, request->to), on_arrival,
           request, 1);
}

static void meet_fault(struct request *request)
{
    fault_count(request->fault);
    switch (request->fault) {
    case FAULT_HTTP_REQUEST_LOST:
        sim_at(sim.now_ns + back_ns(request), on_reset, request, 0);
        break;
    case FAULT_HTTP_5XX:
        answer_from_between(request, request->fault_code, request->retry_after_s);
        break;
    case FAULT_HTTP_4XX:
        if (request->session[0] == '\0') /* else nobody between can */
            promise_refused(request->body, request->body_len);
        answer_from_between(request, request->fault_code, 0);
        break;
    case FAULT_HTTP_429:
        answer_from_between(request, 429, request->retry_after_s);
        break;
    case FAULT_HTTP_LATE:
        sim_at(sim.now_ns + request->client->options.timeout_ms * NS_PER_MS +
                   chance_between(&request->chance, 0, 2000) * NS_PER_MS,
               on_arrival, request, 0);
        break;
    case FAULT_HTTP_RESENT:
        request->resent = true;
        if (chance_in(&request->chance, 500)) {
            if (request->session[0] == '\0') /* else it is a replay */
                promise_doubled(request->body, request->body_len);
            sim_at(sim.now_ns + latency_ns(&request->chance, request->to), on_arrival, request,
                   0);
        }
        forward(request, 2 * latency_ns(&request->chance, request->to));
        break;
    case FAULT_HTTP_UNANSWERED:
        if (chance_in(&request->chance, 500))
            forward(request, 0);
        break;
    default: /* after the handler */
        forward(request, 0);
        break;
    }
}

static void on_connect(void *subject, uint64_t value)
{
    struct request *request = subject;
    struct host *to = request->to;
    struct worker *worker = listener_worker(to, &request->chance);

    (void)value;
    if (request->call == NULL)
        return;
    if (worker == NULL || to->refuses_until > sim.now_ns) {
        fault_count(FAULT_REFUSED);
        sim_at(sim.now_ns + back_ns(request), on_reset, request, 1);
        return;
    }
    if (to->hangs_until > sim.now_ns) {
        fault_count(FAULT_DIAL_LOST);
        return; /* the time limit ends it */
    }
    request->life = to->process->life;
    if (request->faulty)
        meet_fault(request);
    else
        forward(request, 0);
}

static void on_timeout(void *subject, uint64_t value)
{
    struct request *request = subject;

    (void)value;
    if (request->call == NULL)
        return;
    complete(request, PARLEY_ETIMEDOUT, request->life == 0, "timed out");
    sim_at(sim.now_ns + back_ns(request), on_gone, request, 0);
}

static void on_cancel(void *subject, uint64_t value)
{
    struct request *request = subject;

    (void)value;
    if (request->call == NULL)
        return;
    complete(request, PARLEY_ECLOSED, false, "cancelled");
    sim_at(sim.now_ns + back_ns(request), on_gone, request, 0);
}

/* ---- transport/http_worker.h ---- */

parley_status http_worker_start(const struct alloc *alloc, const struct log *log,
                                const struct http_worker_options *options,
                                struct http_worker **ret_worker)
{
    struct http_worker *worker = alloc_zeroed(alloc, sizeof(*worker));

    (void)log;
    worker->process = process_of(alloc);
    worker->alloc = alloc;
    worker->options = *options;
    worker->process->http = worker;
    *ret_worker = worker;
    return PARLEY_OK;
}

void http_worker_stop(struct http_worker *worker)
{
    if (worker == NULL)
        return;
    if (worker->calls > 0)
        promise_broken("the HTTP worker stops with calls under way");
    for (struct request *request = requests; request != NULL; request = request->next) {
        if (request->client == worker)
            request->client = NULL;
    }
    alloc_free(worker->alloc, worker);
}

static unsigned port_of(const char *url)
{
    const char *colon = strrchr(url, ':');

    return (unsigned)strtoul(colon + 1, NULL, 10);
}

/* Each of several requests meets another one. */
static void draw_any_fault(struct request *request)
{
    static const enum fault faults[] = {
        FAULT_HTTP_REQUEST_LOST, FAULT_HTTP_ANSWER_LOST, FAULT_HTTP_UNANSWERED,
        FAULT_HTTP_LATE,         FAULT_HTTP_RESENT,      FAULT_HTTP_5XX,
        FAULT_HTTP_5XX_AFTER,    FAULT_HTTP_429,
    };
    static const unsigned codes[] = {500, 502, 503, 504};
    uint32_t kind = chance_below(&request->chance, 8);

    request->fault = faults[kind];
    request->fault_code = codes[chance_below(&request->chance, 4)];
    if (request->fault == FAULT_HTTP_5XX_AFTER && request->fault_code == 500)
        request->fault_code = 502;
    request->retry_after_s = chance_below(&request->chance, 2);
}

static void draw_fault(struct request *request)
{
    struct host *to = request->to;

    if (sim.healed || request->get || to->http_faults == 0)
        return;
    to->http_faults--;
    request->faulty = true;
    request->fault = to->http_fault;
    request->fault_code = to->http_code;
    request->retry_after_s = to->http_retry_after_s;
    if (request->fault == FAULTS)
        draw_any_fault(request);
}

static void look_into_body(struct request *request, const struct http_call *call)
{
    static const char session[] = "Parley-Session: ";
    const char *text = request->body;
    size_t len = request->body_len;

    for (unsigned i = 0; i < HTTP_HEADERS_MAX && call->headers[i] != NULL; i++) {
        if (strncmp(call->headers[i], session, sizeof(session) - 1) == 0)
            snprintf(request->session, sizeof(request->session), "%s",
                     call->headers[i] + sizeof(session) - 1);
    }
    secure_sent(request->from->index, request->to->index, request->session[0] != '\0', &text,
                &len);
    sim_trace("%s -> %s: POST %s %s%.*s", request->from->id, request->to->id, request->path,
              request->session[0] != '\0' ? "sealed " : "", (int)len, text);
    promise_sent(request->client->process, text, len, WAY_HTTP);
}

void http_worker_submit(struct http_worker *worker, struct http_call *call)
{
    struct request *request = sim_new(sizeof(*request));
    uint32_t timeout_ms =
        call->timeout_ms != 0 ? call->timeout_ms : worker->options.timeout_ms;

    assert(call->url != NULL && call->reply_to != NULL && call->response == NULL);
    call->alloc = worker->alloc;
    atomic_store(&call->cancelled, false);
    worker->calls++;
    tally->requests++;
    request->next = requests;
    requests = request;
    request->client = worker;
    request->call = call;
    request->from = worker->process->node;
    request->to = node_at_port(port_of(call->url));
    request->chance = chance_for("request", requests_made++);
    request->get = call->get;
    request->path = strdup(strchr(strstr(call->url, "://") + 3, '/'));
    request->body = malloc(call->body_len + 1);
    request->body_len = call->body_len;
    if (call->body_len > 0)
        memcpy(request->body, call->body, call->body_len);
    draw_fault(request);
    look_into_body(request, call);
    sim_at(sim.now_ns + latency_ns(&request->chance, request->to), on_connect, request, 0);
    sim_at(sim.now_ns + timeout_ms * NS_PER_MS, on_timeout, request, 0);
}

void http_worker_cancel(struct http_worker *worker, struct http_call *call)
{
    atomic_store(&call->cancelled, true);
    for (struct request *request = requests; request != NULL; request = request->next) {
        if (request->client == worker && request->call == call)
            sim_at(sim.now_ns + 50 * NS_PER_US, on_cancel, request, 0);
    }
}

void http_call_clear(struct http_worker *worker, struct http_call *call)
{
    (void)worker;
    if (call->response != NULL)
        alloc_free(call->alloc, call->response);
    call->status = PARLEY_OK;
    call->unsent = call->resent = false;
    call->code = 0;
    call->response = NULL;
    call->response_len = 0;
    call->retry_after_s = call->parley_version = call->parley_batch_bytes = 0;
    call->detail[0] = '\0';
}

/* ---- For the world ---- */

void exchanges_reset(void)
{
    for (struct exchange *exchange = exchanges, *next; exchange != NULL; exchange = next) {
        next = exchange->next;
        exchange_free(exchange);
    }
    for (; requests != NULL; requests = requests->next) {
        free(requests->path);
        free(requests->body);
        free(requests->answer);
    }
    requests_made = 0;
}

void exchanges_process_gone(struct process *process)
{
    for (struct exchange *exchange = exchanges, *next; exchange != NULL; exchange = next) {
        struct request *request = exchange->request;

        next = exchange->next;
        if (exchange->transport->process != process)
            continue;
        if (exchange->counts && request->call != NULL)
            sim_at(sim.now_ns + back_ns(request), on_reset, request, 0);
        exchange_free(exchange);
    }
    for (struct request *request = requests; request != NULL; request = request->next) {
        if (request->client != process->http)
            continue;
        request->call = NULL;
        request->client = NULL;
        sim_at(sim.now_ns + back_ns(request), on_gone, request, 0);
    }
}

void exchanges_worker_shutdown(struct transport *transport, struct worker *worker)
{
    for (struct exchange *exchange = exchanges, *next; exchange != NULL; exchange = next) {
        struct request *request = exchange->request;

        next = exchange->next;
        if (exchange->transport != transport || exchange->http.worker != worker)
            continue;
        if (exchange->counts && request->call != NULL)
            sim_at(sim.now_ns + back_ns(request), on_reset, request, 0);
        transport->events.gone(&exchange->http, transport->events.user);
        exchange_free(exchange);
    }
}

size_t exchanges_of_worker(const struct worker *worker)
{
    size_t count = 0;

    for (struct exchange *exchange = exchanges; exchange != NULL; exchange = exchange->next)
        count += exchange->http.worker == worker;
    return count;
}
