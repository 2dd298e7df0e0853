/* SPDX-License-Identifier: Apache-2.0
 *
 * One transfer of the HTTP worker: a curl easy handle that is set up once and then carries
 * one call after another. It knows curl's options, callbacks and error codes, and nothing
 * of threads or queues: everything here runs on the HTTP worker's thread.
 */
#ifndef PARLEY_TRANSPORT_HTTP_EASY_H
#define PARLEY_TRANSPORT_HTTP_EASY_H

#include <curl/curl.h>

#include "transport/http_worker.h"

struct http_easy {
    CURL *handle;           /* NULL until first used */
    struct http_call *call; /* being carried, NULL: free */
    struct http_easy *next_free;
    const struct alloc *alloc;
    const struct http_worker_options *options;
    parley_status refused; /* why a callback of ours ended the transfer */
    unsigned starts;       /* times the request went out */
    bool get;              /* the handle is set to GET */
    uint32_t timeout_ms;   /* and to this limit of a call's own; 0: the worker's */
    size_t response_capacity;
    struct curl_slist headers[2 + HTTP_HEADERS_MAX]; /* linked anew per call, never copied */
    char error[CURL_ERROR_SIZE];
};

void http_easy_init(struct http_easy *easy, const struct alloc *alloc,
                    const struct http_worker_options *options);

/** Frees the handle, which must not be in a multi handle. */
void http_easy_fini(struct http_easy *easy);

/** Takes a call on: afterwards the handle is ready for the multi handle.
 *  @return PARLEY_OK or PARLEY_ENOMEM (the call was not taken) */
parley_status http_easy_begin(struct http_easy *easy, struct http_call *call);

/** Fills in the call's outcome and lets go of it. @return the call */
struct http_call *http_easy_finish(struct http_easy *easy, CURLcode code);

/** The same for a transfer cut short: PARLEY_ECLOSED. */
struct http_call *http_easy_abandon(struct http_easy *easy, const char *detail);

#endif
