/* SPDX-License-Identifier: Apache-2.0
 *
 * A TCP proxy that breaks things at an exact byte. Each route is a listening address of its
 * own in front of one target; what passes through it is counted over all its connections,
 * so that "byte N of this way" names one place in a whole session, reconnects included.
 *
 * One thread and one epoll run all routes. Every function here takes the proxy's lock,
 * which that thread holds while it moves bytes: any thread may call them.
 */
#ifndef PARLEY_TEST_FAULTS_PROXY_H
#define PARLEY_TEST_FAULTS_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proxy_way { PROXY_UP, PROXY_DOWN }; /* to the target, and back */

enum proxy_fault {
    PROXY_PASS,       /* nothing but counting */
    PROXY_CUT,        /* both ends see an orderly end after byte N */
    PROXY_RESET,      /* both ends see a reset */
    PROXY_HALF_CLOSE, /* this way ends, the other goes on */
    PROXY_STALL,      /* this way of this connection never moves again */
    PROXY_DELAY,      /* this way rests for `delay_ms` */
    PROXY_FLIP,       /* one bit of byte N changes */
    PROXY_TRICKLE,    /* from byte N on every write has one byte */
    PROXY_REFUSE,     /* the N-th connection (from 0) is reset before a byte has passed */
};

struct proxy_plan {
    enum proxy_fault fault;
    enum proxy_way way;
    uint64_t at;  /* bytes of this way that pass unharmed; PROXY_REFUSE: connections */
    unsigned bit; /* 0 to 7, for PROXY_FLIP */
    uint32_t delay_ms;
};

struct proxy_seen {
    uint64_t bytes[2]; /* by way: taken from the one end */
    uint64_t connections;
    bool fired; /* the plan's place was reached */
};

struct proxy;
struct proxy_route;

/** Starts the thread. @return NULL: told on stderr */
struct proxy *proxy_start(uint16_t target_port);

/** Ends the thread, and every connection with a reset. All routes are closed before. */
void proxy_stop(struct proxy *proxy);

/** Changes the target of connections still to come. */
void proxy_target(struct proxy *proxy, uint16_t target_port);

/** Opens a route on an address of its own. @return NULL: told on stderr */
struct proxy_route *proxy_open(struct proxy *proxy, const struct proxy_plan *plan);

/** Writes "http://127.x.y.z:port". */
void proxy_url(const struct proxy_route *route, char *url, size_t len);

/** Resets the next `connections` connections at once, besides what the plan does. */
void proxy_refuse_next(struct proxy_route *route, uint64_t connections);

/** Ends all connections of a route with a reset. @return how many there were */
size_t proxy_reset_all(struct proxy_route *route);

struct proxy_seen proxy_seen(const struct proxy_route *route);

/** Stops listening, resets the route's connections, frees it. */
void proxy_close(struct proxy_route *route);

#endif
