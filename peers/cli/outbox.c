/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/outbox.h"

#include <stdlib.h>

#define PROGRESS_BYTES_MIN 8192 /* shorter ones never travel in chunks */

enum cli_exit outbox_init(struct outbox *outbox, const struct cli_setup *setup, size_t tickets)
{
    *outbox = (struct outbox){.watch = WATCH_CLOSED, .lock = PTHREAD_MUTEX_INITIALIZER};
    outbox->done_end = &outbox->done;
    outbox->tickets = calloc(tickets, sizeof(*outbox->tickets));
    if (outbox->tickets == NULL)
        return cli_fail(setup, CLI_FAILED, "out of memory");
    for (size_t i = 0; i < tickets; i++) {
        outbox->tickets[i].outbox = outbox;
        outbox->tickets[i].next = outbox->unused;
        outbox->unused = &outbox->tickets[i];
    }
    if (!watch_open(&outbox->watch))
        return cli_fail(setup, CLI_FAILED, "no file descriptors left");
    return CLI_OK;
}

void outbox_fini(struct outbox *outbox)
{
    watch_close(&outbox->watch);
    free(outbox->tickets);
    outbox->tickets = NULL;
}

/* Runs on a worker. */
static void take_result(const parley_result *result, void *user)
{
    struct ticket *ticket = user;
    struct outbox *outbox = ticket->outbox;

    ticket->result = *result;
    snprintf(ticket->detail, sizeof(ticket->detail), "%s", result->detail);
    ticket->result.detail = ticket->detail;
    ticket->next = NULL;
    pthread_mutex_lock(&outbox->lock);
    *outbox->done_end = ticket;
    outbox->done_end = &ticket->next;
    outbox->room = true;
    pthread_mutex_unlock(&outbox->lock);
    watch_ring(&outbox->watch);
}

/* Runs on a worker. */
static void take_progress(parley_id id, uint64_t acknowledged, uint64_t bytes, void *user)
{
    const struct ticket *ticket = user;
    struct outbox *outbox = ticket->outbox;

    (void)id;
    pthread_mutex_lock(&outbox->lock);
    outbox->progress = (struct outbox_progress){ticket->number, acknowledged, bytes};
    pthread_mutex_unlock(&outbox->lock);
    watch_ring(&outbox->watch);
}

/* Runs on a worker. */
static void take_writable(parley_peer peer, void *user)
{
    struct outbox *outbox = user;

    (void)peer;
    pthread_mutex_lock(&outbox->lock);
    outbox->room = true;
    pthread_mutex_unlock(&outbox->lock);
    watch_ring(&outbox->watch);
}

parley_status outbox_attach(struct outbox *outbox, parley *runtime)
{
    return parley_on_writable(runtime, take_writable, outbox);
}

bool outbox_ready(const struct outbox *outbox)
{
    return !outbox->full && outbox->unused != NULL;
}

parley_status outbox_post(struct outbox *outbox, parley *runtime, parley_peer peer,
                          const parley_message *message, size_t number, size_t line)
{
    struct ticket *ticket = outbox->unused;
    parley_message told = *message;
    parley_status status;

    if (message->payload_len > PROGRESS_BYTES_MIN)
        told.progress = take_progress;
    outbox->unused = ticket->next;
    ticket->number = number;
    ticket->line = line;
    ticket->bytes = message->payload_len;
    ticket->sha256[0] = '\0';
    if (outbox->digest)
        cli_digest(message->payload, message->payload_len, ticket->sha256);
    status = parley_send(runtime, peer, &told, take_result, ticket, NULL);
    if (status == PARLEY_OK) {
        outbox->flying++;
        return PARLEY_OK;
    }
    ticket->next = outbox->unused;
    outbox->unused = ticket;
    /* what makes room from now on rings the bell */
    outbox->full = status == PARLEY_EAGAIN;
    return status;
}

bool outbox_progress(struct outbox *outbox, struct outbox_progress *ret_progress)
{
    pthread_mutex_lock(&outbox->lock);
    *ret_progress = outbox->progress;
    outbox->progress.number = 0;
    pthread_mutex_unlock(&outbox->lock);
    return ret_progress->number != 0;
}

unsigned outbox_wait(struct outbox *outbox, int input)
{
    unsigned seen = watch_wait(&outbox->watch, input, -1);

    /* It rings for progress, too, and a large message is not tried again for that. */
    pthread_mutex_lock(&outbox->lock);
    outbox->full = outbox->full && !outbox->room;
    outbox->room = false;
    pthread_mutex_unlock(&outbox->lock);
    return seen;
}

struct ticket *outbox_collect(struct outbox *outbox)
{
    struct ticket *ticket;

    pthread_mutex_lock(&outbox->lock);
    ticket = outbox->done;
    if (ticket != NULL) {
        outbox->done = ticket->next;
        if (outbox->done == NULL)
            outbox->done_end = &outbox->done;
    }
    pthread_mutex_unlock(&outbox->lock);
    return ticket;
}

void outbox_done(struct outbox *outbox, struct ticket *ticket)
{
    outbox->counts.all++;
    outbox->counts.of[ticket->result.outcome]++;
    outbox->flying--;
    ticket->next = outbox->unused;
    outbox->unused = ticket;
}
