/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/outbox.h"

#include <stdlib.h>

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
    pthread_mutex_unlock(&outbox->lock);
    watch_ring(&outbox->watch);
}

/* Runs on a worker. */
static void take_writable(parley_peer peer, void *user)
{
    const struct outbox *outbox = user;

    (void)peer;
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
    parley_status status;

    outbox->unused = ticket->next;
    ticket->number = number;
    ticket->line = line;
    status = parley_send(runtime, peer, message, take_result, ticket, NULL);
    if (status == PARLEY_OK) {
        outbox->flying++;
        return PARLEY_OK;
    }
    ticket->next = outbox->unused;
    outbox->unused = ticket;
    /* the bell rings for what happens from now on: what came before was collected */
    outbox->full = status == PARLEY_EAGAIN;
    return status;
}

unsigned outbox_wait(struct outbox *outbox, int input)
{
    unsigned seen = watch_wait(&outbox->watch, input, -1);

    if (seen & WATCH_BELL)
        outbox->full = false;
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
