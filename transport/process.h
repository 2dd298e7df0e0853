/* SPDX-License-Identifier: Apache-2.0
 *
 * What is global to the process in the libraries below us, in one place: curl's and
 * OpenSSL's initialisation, libwebsockets' log level and allocator, the creation of its
 * contexts one after another, and SIGPIPE's disposition, which is put back afterwards.
 */
#ifndef PARLEY_TRANSPORT_PROCESS_H
#define PARLEY_TRANSPORT_PROCESS_H

#include "parley.h"

struct lws_context;
struct lws_context_creation_info;
struct lws_vhost;

/** First use initialises, last use undoes what can be undone. Any thread. */
parley_status process_acquire(void);
void process_release(void);

/** lws_create_context() and lws_context_destroy(), one at a time in this process, leaving
 *  signal dispositions as they were. */
struct lws_context *process_context_create(const struct lws_context_creation_info *info);
void process_context_destroy(struct lws_context *context);

/** lws_create_vhost(), which shares the same globals. */
struct lws_vhost *process_vhost_create(struct lws_context *context,
                                       const struct lws_context_creation_info *info);

#endif
