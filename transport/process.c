/* SPDX-License-Identifier: Apache-2.0
 *
 * The process-wide state of libwebsockets, libcurl and OpenSSL, and the only mutable
 * globals of this library: one mutex, one count of users, and what must be put back.
 *
 * lws_create_context() sets SIGPIPE to "ignore" and races with itself on OpenSSL's index
 * globals, so contexts are made and destroyed one at a time with the disposition saved.
 * lws prints NOTICE lines for every descriptor on its libev loop and counts its heap in an
 * unlocked global: its log is masked and its allocator replaced before its first use.
 */
#include "transport/process.h"

#include <assert.h>
#include <curl/curl.h>
#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t mutex;
    unsigned users;     /* under the mutex, as the next one */
    int lws_log_levels; /* what the host had set */
} process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void *lws_memory(void *memory, size_t bytes, const char *reason)
{
    (void)reason;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, bytes);
}

static int visible_log_levels(void)
{
    int levels = 0;

    for (int bit = 0; bit < LLL_COUNT; bit++) {
        if (lwsl_visible(1 << bit))
            levels |= 1 << bit;
    }
    return levels;
}

static parley_status initialise(void)
{
    if (OPENSSL_init_ssl(0, NULL) != 1 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return PARLEY_ESYSTEM;
    process.lws_log_levels = visible_log_levels();
    lws_set_log_level(0, NULL);
    lws_set_allocator(lws_memory);
    return PARLEY_OK;
}

parley_status process_acquire(void)
{
    parley_status status = PARLEY_OK;

    pthread_mutex_lock(&process.mutex);
    if (process.users == 0)
        status = initialise();
    if (status == PARLEY_OK)
        process.users++;
    pthread_mutex_unlock(&process.mutex);
    return status;
}

/* lws keeps our allocator: it is free() and realloc(), which any memory of its takes. */
void process_release(void)
{
    pthread_mutex_lock(&process.mutex);
    assert(process.users > 0);
    if (--process.users == 0) {
        lws_set_log_level(process.lws_log_levels, NULL);
        curl_global_cleanup();
    }
    pthread_mutex_unlock(&process.mutex);
}

struct lws_context *process_context_create(const struct lws_context_creation_info *info)
{
    struct lws_context *context;
    struct sigaction before;

    pthread_mutex_lock(&process.mutex);
    assert(process.users > 0);
    sigaction(SIGPIPE, NULL, &before);
    context = lws_create_context(info);
    sigaction(SIGPIPE, &before, NULL);
    pthread_mutex_unlock(&process.mutex);
    return context;
}

struct lws_vhost *process_vhost_create(struct lws_context *context,
                                       const struct lws_context_creation_info *info)
{
    struct lws_vhost *vhost;

    pthread_mutex_lock(&process.mutex);
    vhost = lws_create_vhost(context, info);
    pthread_mutex_unlock(&process.mutex);
    return vhost;
}

void process_context_destroy(struct lws_context *context)
{
    if (context == NULL)
        return;
    pthread_mutex_lock(&process.mutex);
    lws_context_destroy(context);
    pthread_mutex_unlock(&process.mutex);
}
