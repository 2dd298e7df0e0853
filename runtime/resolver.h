/* SPDX-License-Identifier: Apache-2.0
 *
 * Host names to numeric addresses without blocking a worker: one helper thread around
 * getaddrinfo() and a bounded cache.
 *
 * The asking actor embeds a query; the answer is the query itself, posted to the actor's
 * control lane. A numeric address is answered at once by resolver_numeric(), without the
 * thread. Equal names being resolved are asked for once.
 *
 * Who may call what:  lookup: any thread; the query is the resolver's until it comes back.
 */
#ifndef PARLEY_RUNTIME_RESOLVER_H
#define PARLEY_RUNTIME_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/actor.h"
#include "runtime/alloc.h"

#define RESOLVER_ADDRESSES_MAX 8
#define RESOLVER_ADDRESS_BYTES 46 /* INET6_ADDRSTRLEN */
#define RESOLVER_HOST_BYTES    256

struct resolver;

struct resolver_query {
    struct mailbox_node node; /* first: the answer as a control message */
    struct actor *reply_to;
    char host[RESOLVER_HOST_BYTES];
    /* the answer */
    parley_status status; /* PARLEY_OK, PARLEY_EADDR (no such name), PARLEY_ETIMEDOUT (the
                             name service did not answer), PARLEY_ECLOSED (resolver stopped),
                             PARLEY_ENOMEM */
    uint32_t count;
    char addresses[RESOLVER_ADDRESSES_MAX][RESOLVER_ADDRESS_BYTES]; /* as getaddrinfo orders */
    const char *detail;          /* static text, "" when the status is OK */
    struct resolver_query *next; /* the resolver's */
};

/**
 * Starts the thread.
 *
 * @param ttl_ms          how long a good answer serves
 * @param ttl_negative_ms how long a failure serves
 * @param entries_max     names remembered; the one resolved first makes room
 * @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_ESYSTEM
 */
parley_status resolver_start(const struct alloc *alloc, uint32_t ttl_ms,
                             uint32_t ttl_negative_ms, uint32_t entries_max,
                             struct resolver **ret_resolver);

/** Answers what is still asked with PARLEY_ECLOSED, joins the thread. NULL is allowed.
 *  Blocks until a running getaddrinfo() returns. No lookup may be under way or follow. */
void resolver_stop(struct resolver *resolver);

/** Asks for `query->host`; the query returns by actor_post_control(query->reply_to). */
void resolver_lookup(struct resolver *resolver, struct resolver_query *query);

/** Tells whether `host` is a numeric IPv4 or IPv6 address (without brackets) and, if so,
 *  fills the answer. */
bool resolver_numeric(const char *host, struct resolver_query *query);

#endif
