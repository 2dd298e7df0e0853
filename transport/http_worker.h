/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP worker: one thread around curl_multi_poll() that carries every actor's HTTP.
 *
 * An actor embeds an http_call, fills in the request and submits it; the call belongs to
 * the HTTP worker until it comes back as a control message of the actor, whatever
 * happened. Calls beyond `in_flight_max` wait here in order. Easy handles and connections
 * are reused. HTTP/1.1 only, no redirects, no proxy from the environment, http and https
 * only, peer and host verified, the response capped.
 *
 * A POST may reach the peer twice within one call: when a reused connection ends without a
 * byte of answer, curl sends the request once more on another one. It cannot know whether
 * the peer closed an idle connection just then, which is common, or died over the request,
 * which is rare. The call says so in `resent`; a third time never happens.
 *
 * Who may call what:  submit, cancel: any thread.  start, stop: the runtime's owner.
 *                     clear: whoever owns the call, also after stop.
 */
#ifndef PARLEY_TRANSPORT_HTTP_WORKER_H
#define PARLEY_TRANSPORT_HTTP_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/actor.h"
#include "runtime/alloc.h"
#include "runtime/log.h"

#define HTTP_DETAIL_MAX  160
#define HTTP_HEADERS_MAX 4

struct http_worker;

struct http_worker_options {
    uint32_t in_flight_max; /* transfers, 1..1024 */
    uint32_t connect_timeout_ms;
    uint32_t timeout_ms; /* whole transfer */
    uint32_t response_bytes_max;
};

struct http_call {
    struct mailbox_node node; /* first: the completion as a control message */
    struct actor *reply_to;
    _Atomic(bool) cancelled;

    /* request; the memory is the caller's and stays until the completion */
    bool get; /* else POST with Content-Type: application/json */
    const char *url;
    const char *body;
    size_t body_len;
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; ends at the first NULL; a
                                              Content-Type here replaces ours */
    uint32_t timeout_ms; /* whole transfer, connecting included; 0: the worker's two limits */

    /* outcome */
    parley_status status; /* PARLEY_OK: an answer came, see `code`; PARLEY_EUNREACHABLE (name,
                             refused, reset, TLS); PARLEY_ETIMEDOUT; PARLEY_ECLOSED (cancelled
                             or stopped); PARLEY_EPROTO (not HTTP, answer too large);
                             PARLEY_ENOMEM */
    bool unsent;    /* with a failure: no byte of the request can have reached the peer */
    bool resent;    /* the request went out twice, see above */
    unsigned code;  /* HTTP status; with a failure: of an answer that did not end, or 0 */
    char *response; /* with PARLEY_OK never NULL, NUL-terminated, http_call_clear() frees
                       it; else NULL */
    size_t response_len;
    uint32_t retry_after_s;        /* 0: none said; seconds form or HTTP date */
    uint32_t parley_version;       /* `Parley: 1; …`: 1; 0: not a parley */
    uint32_t parley_batch_bytes;   /* its max_batch_bytes, 0: none said */
    uint32_t parley_message_bytes; /* its max_message_bytes, likewise */
    char detail[HTTP_DETAIL_MAX];  /* why it failed, in words */

    /* the HTTP worker's */
    struct http_call *next_waiting;
    const struct alloc *alloc; /* the response's */
};

/**
 * Starts the thread.
 *
 * @param alloc lives until the last call was cleared; `log` until stop
 * @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_ESYSTEM (no thread, or no descriptors)
 */
parley_status http_worker_start(const struct alloc *alloc, const struct log *log,
                                const struct http_worker_options *options,
                                struct http_worker **ret_worker);

/** Completes every call with PARLEY_ECLOSED and joins the thread. NULL is allowed. Actors
 *  named in calls must still be attached; no submit or cancel may be under way or follow.
 *  Blocks. */
void http_worker_stop(struct http_worker *worker);

/** Hands a call over, cleared or never used before. It always completes later, never inside
 *  this call. */
void http_worker_submit(struct http_worker *worker, struct http_call *call);

/** Asks for an early end of a submitted call; it completes once, as always. The completion
 *  must not have been handed to its owner yet. */
void http_worker_cancel(struct http_worker *worker, struct http_call *call);

/** Frees the response and zeroes the outcome; the request stays. Does not look into the
 *  worker, which may have been stopped. */
void http_call_clear(struct http_worker *worker, struct http_call *call);

#endif
