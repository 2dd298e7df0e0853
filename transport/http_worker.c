/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread's turn: take what was submitted, end what was cancelled, start what waits
 * while transfers are free, let curl move bytes, hand back what finished, and sleep in
 * curl_multi_poll().
 *
 * Submissions come through a mailbox. Its idle mark is there exactly while the thread may
 * sleep, so of all submissions to a sleeping worker one calls curl_multi_wakeup() (a
 * write), and none while it is awake. A cancellation is a flag in the call and one in the
 * worker, which makes the thread look for flagged calls among its own.
 */
#include "transport/http_worker.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "transport/http_easy.h"

#define IN_FLIGHT_LIMIT 1024
#define SLEEP_MAX_MS    60000 /* nothing needs it; only so that no wait is endless */

/* Idle connections kept for reuse. curl would keep four per transfer in the multi handle,
 * and peers that are spoken to now and then would reconnect each time. */
#define CONNECTIONS_MIN 256

struct http_worker {
    struct mailbox queue; /* of struct http_call */
    _Atomic(bool) cancels;
    _Atomic(bool) stopping;

    /* set by start */
    const struct alloc *alloc;
    const struct log *log;
    struct http_worker_options options;
    CURLM *multi;
    pthread_t thread;

    /* the thread's */
    struct http_easy *transfers; /* in_flight_max of them */
    struct http_easy *first_free;
    struct http_call *first_waiting;
    struct http_call *last_waiting; /* meaningless while none waits */
};

/* ---- completions ---- */

/* The last touch: the call is its owner's from here on. */
static void hand_back(struct http_call *call)
{
    actor_post_control(call->reply_to, &call->node);
}

/* Ends a call that no transfer has taken. */
static void end_unsent(struct http_call *call, parley_status status, const char *detail)
{
    call->status = status;
    call->unsent = true;
    snprintf(call->detail, sizeof(call->detail), "%s", detail);
    hand_back(call);
}

static void free_transfer(struct http_worker *worker, struct http_easy *easy)
{
    CURLMcode code = curl_multi_remove_handle(worker->multi, easy->handle);

    assert(code == CURLM_OK);
    (void)code;
    easy->next_free = worker->first_free;
    worker->first_free = easy;
}

/* relaxed: cancel_flagged() acquired what http_worker_cancel() released after setting it;
 * a flag seen without that, or late, only ends the call earlier or later. */
static bool is_cancelled(const struct http_call *call)
{
    return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

static void abandon(struct http_worker *worker, struct http_easy *easy, const char *detail)
{
    struct http_call *call;

    call = http_easy_abandon(easy, detail);
    free_transfer(worker, easy);
    hand_back(call);
}

/* ---- the thread's steps ---- */

static void append_waiting(struct http_worker *worker, struct http_call *call)
{
    call->next_waiting = NULL;
    if (worker->first_waiting == NULL)
        worker->first_waiting = call;
    else
        worker->last_waiting->next_waiting = call;
    worker->last_waiting = call;
}

/* @return false when a submission is half done: look again */
static bool take_submissions(struct http_worker *worker)
{
    struct mailbox_node *node;
    enum mailbox_pop popped;

    while ((popped = mailbox_pop(&worker->queue, &node)) == MAILBOX_NODE)
        append_waiting(worker, (struct http_call *)node);
    return popped == MAILBOX_EMPTY;
}

/* Ends the waiting calls that are cancelled, or all of them. The others stay in order. */
static void end_waiting(struct http_worker *worker, bool all, const char *detail)
{
    struct http_call *call = worker->first_waiting;

    worker->first_waiting = NULL;
    while (call != NULL) {
        struct http_call *next = call->next_waiting;

        if (all || is_cancelled(call))
            end_unsent(call, PARLEY_ECLOSED, detail);
        else
            append_waiting(worker, call);
        call = next;
    }
}

static void end_transfers(struct http_worker *worker, bool all, const char *detail)
{
    for (uint32_t i = 0; i < worker->options.in_flight_max; i++) {
        struct http_easy *easy = &worker->transfers[i];

        if (easy->call != NULL && (all || is_cancelled(easy->call)))
            abandon(worker, easy, detail);
    }
}

static void cancel_flagged(struct http_worker *worker)
{
    /* acquire: pairs with the release in http_worker_cancel(), so that the call's flag is
     * seen, and its submission, which came before. Relaxed in front: a flag missed here is
     * followed by a wake-up. */
    if (!atomic_load_explicit(&worker->cancels, memory_order_relaxed) ||
        !atomic_exchange_explicit(&worker->cancels, false, memory_order_acquire))
        return;
    end_waiting(worker, false, "cancelled");
    end_transfers(worker, false, "cancelled");
}

static void start_call(struct http_worker *worker, struct http_call *call)
{
    struct http_easy *easy = worker->first_free;

    if (is_cancelled(call)) {
        end_unsent(call, PARLEY_ECLOSED, "cancelled");
        return;
    }
    if (http_easy_begin(easy, call) != PARLEY_OK) {
        end_unsent(call, PARLEY_ENOMEM, parley_strerror(PARLEY_ENOMEM));
        return;
    }
    worker->first_free = easy->next_free;
    if (curl_multi_add_handle(worker->multi, easy->handle) != CURLM_OK) {
        call = http_easy_finish(easy, CURLE_OUT_OF_MEMORY);
        easy->next_free = worker->first_free;
        worker->first_free = easy;
        hand_back(call);
    }
}

static bool can_start(const struct http_worker *worker)
{
    return worker->first_waiting != NULL && worker->first_free != NULL;
}

static void start_waiting(struct http_worker *worker)
{
    while (can_start(worker)) {
        struct http_call *call = worker->first_waiting;

        worker->first_waiting = call->next_waiting;
        start_call(worker, call);
    }
}

static void collect_finished(struct http_worker *worker)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(worker->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        struct http_call *call;
        char *transfer = NULL;

        assert(message->msg == CURLMSG_DONE);
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        assert(transfer != NULL);
        call = http_easy_finish((struct http_easy *)(void *)transfer, code);
        free_transfer(worker, (struct http_easy *)(void *)transfer);
        hand_back(call);
    }
}

/* acquire: pairs with the release in http_worker_stop(), after which nobody submits. */
static bool is_stopping(const struct http_worker *worker)
{
    return atomic_load_explicit(&worker->stopping, memory_order_acquire);
}

static void sleep_until_needed(struct http_worker *worker)
{
    CURLMcode code;

    if (can_start(worker) || !mailbox_idle(&worker->queue))
        return;
    code = curl_multi_poll(worker->multi, NULL, 0, SLEEP_MAX_MS, NULL);
    mailbox_wake(&worker->queue);
    if (code != CURLM_OK) {
        log_error(worker->log, "HTTP worker: cannot wait: %s", curl_multi_strerror(code));
        poll(NULL, 0, 10); /* out of memory: do not turn on the spot */
    }
}

static void *run(void *user)
{
    struct http_worker *worker = user;
    int running;

    while (!is_stopping(worker)) {
        take_submissions(worker);
        cancel_flagged(worker);
        start_waiting(worker);
        curl_multi_perform(worker->multi, &running);
        collect_finished(worker);
        sleep_until_needed(worker);
    }
    while (!take_submissions(worker))
        sched_yield(); /* its producer is between two instructions */
    end_transfers(worker, true, "the HTTP worker was stopped");
    end_waiting(worker, true, "the HTTP worker was stopped");
    return NULL;
}

/* ---- any thread ---- */

/* A failing wake-up (its pipe is full) means that one is pending anyway. */
static void wake(struct http_worker *worker)
{
    curl_multi_wakeup(worker->multi);
}

void http_worker_submit(struct http_worker *worker, struct http_call *call)
{
    assert(call->url != NULL && call->reply_to != NULL && call->response == NULL);
    call->alloc = worker->alloc;
    /* relaxed: the push publishes it. */
    atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
    if (mailbox_push(&worker->queue, &call->node, &call->node))
        wake(worker);
}

void http_worker_cancel(struct http_worker *worker, struct http_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    /* release: pairs with the acquire in cancel_flagged(). Whoever sets it first wakes. */
    if (!atomic_exchange_explicit(&worker->cancels, true, memory_order_release))
        wake(worker);
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
    call->parley_message_bytes = 0;
    call->detail[0] = '\0';
}

/* ---- start and stop ---- */

static bool make_multi(struct http_worker *worker)
{
    long connections = 4L * (long)worker->options.in_flight_max;

    worker->multi = curl_multi_init();
    return worker->multi != NULL &&
           curl_multi_setopt(worker->multi, CURLMOPT_MAXCONNECTS,
                             connections > CONNECTIONS_MIN ? connections : CONNECTIONS_MIN) ==
               CURLM_OK;
}

static bool make_transfers(struct http_worker *worker)
{
    uint32_t count = worker->options.in_flight_max;

    worker->transfers = alloc_zeroed(worker->alloc, count * sizeof(*worker->transfers));
    if (worker->transfers == NULL)
        return false;
    while (count-- > 0) {
        http_easy_init(&worker->transfers[count], worker->alloc, &worker->options);
        worker->transfers[count].next_free = worker->first_free;
        worker->first_free = &worker->transfers[count];
    }
    return true;
}

/* Signals are the host's: none is ever delivered to this thread, nor to the resolver's
 * threads, which inherit its mask. */
static parley_status start_thread(struct http_worker *worker)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return PARLEY_ESYSTEM;
    pthread_setname_np(worker->thread, "parley-http");
    return PARLEY_OK;
}

static void free_worker(struct http_worker *worker)
{
    if (worker->transfers != NULL) {
        for (uint32_t i = 0; i < worker->options.in_flight_max; i++)
            http_easy_fini(&worker->transfers[i]);
    }
    curl_multi_cleanup(worker->multi);
    alloc_free(worker->alloc, worker->transfers);
    alloc_free_aligned(worker->alloc, worker);
}

parley_status http_worker_start(const struct alloc *alloc, const struct log *log,
                                const struct http_worker_options *options,
                                struct http_worker **ret_worker)
{
    struct http_worker *worker = alloc_aligned(alloc, CACHE_LINE, sizeof(*worker));
    parley_status status = PARLEY_ENOMEM;

    assert(options->in_flight_max >= 1 && options->in_flight_max <= IN_FLIGHT_LIMIT);
    if (worker == NULL)
        return PARLEY_ENOMEM;
    worker->alloc = alloc;
    worker->log = log;
    worker->options = *options;
    mailbox_init(&worker->queue);
    if (make_multi(worker) && make_transfers(worker))
        status = start_thread(worker);
    if (status != PARLEY_OK) {
        free_worker(worker);
        return status;
    }
    *ret_worker = worker;
    return PARLEY_OK;
}

void http_worker_stop(struct http_worker *worker)
{
    if (worker == NULL)
        return;
    /* release: pairs with is_stopping(): every submission made so far is seen after it. */
    atomic_store_explicit(&worker->stopping, true, memory_order_release);
    wake(worker);
    pthread_join(worker->thread, NULL);
    free_worker(worker);
}
