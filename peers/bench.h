/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench's life, for peer_service.c: made and ended on its worker by the worker's hooks.
 */
#ifndef PARLEY_PEERS_BENCH_H
#define PARLEY_PEERS_BENCH_H

#include "peers/service.h"

/** Worker hooks; `user` is the runtime. */
parley_status bench_init(struct worker *worker, void *user);
void bench_fini(struct worker *worker, void *user);

#endif
