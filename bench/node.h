/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiving node as the sender's side sees it: started, killed, started again on the
 * same port, and asked for its figures over HTTP. Main thread only: the child dies with the
 * thread that started it.
 */
#ifndef PARLEY_BENCH_NODE_H
#define PARLEY_BENCH_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/journal.h"
#include "parley.h"

struct node_process {
    pid_t process; /* 0: none; it runs elsewhere */
    int input;     /* its standard input: closing it ends it, a byte is a request */
    int output;    /* its standard output */
    uint16_t port; /* of its first node */
    char url[512];
    uint64_t peers, threads, workers;
    uint64_t nodes;           /* in it, each with a name and a port of its own; 0: one */
    parley_security security; /* what these ask for */
    uint16_t *ports;          /* theirs; NULL: there is but one */
    bool no_websocket;
    struct journal *journal; /* NULL: it keeps none */
    double killed_cpu_s;     /* CPU seconds of processes that were killed */
};

/** What GET /stats says. */
struct node_figures {
    bool application; /* the next ones are there: the node is a `parley-bench receive` */
    uint64_t handled, handled_twice, order_violations, payload_hash_sum, strange, rss_kb;
    double cpu_s;
    uint64_t ws_connections_accepted;
};

/** Starts a node with the settings in `node`. @return false: told on stderr */
bool node_start(struct node_process *node);

/** SIGKILLs it and starts another one on its port. @return false: told on stderr */
bool node_kill_and_restart(struct node_process *node);

/** Has it reset all its connections, and waits until it has. @return how many there were;
 *  negative: it did not answer, told on stderr */
long node_cut_connections(struct node_process *node);

/** From now on its handlers take messages and owe the answers; or they owe no more, and all
 *  that is owed is given. @return messages that were answered; negative: as above */
long node_owe_answers(struct node_process *node, bool owe);

/** SIGKILLs it, and starts no other one. */
void node_kill(struct node_process *node);

/** Starts another one on the port of one that was killed. @return false: told on stderr */
bool node_restart(struct node_process *node);

/** Ends it and waits. Nothing happens when it runs elsewhere. */
void node_stop(struct node_process *node);

/** Where its node number `index` is reached. */
void node_url(const struct node_process *node, uint64_t index, char *url, size_t len);

/** Asks for its figures. @return false: told on stderr */
bool node_read(const struct node_process *node, struct node_figures *ret_figures);

/** For node_read(), and its test: picks the figures out of the reply. */
bool node_parse_figures(const char *text, size_t len, struct node_figures *ret_figures);

#endif
