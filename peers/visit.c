/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/service.h"

static void go_to_next(struct visit *visit)
{
    struct bench *bench = bench_get(visit->runtime, visit->next++);

    actor_post_control(&bench->actor, &visit->control.node);
}

void visit_start(struct visit *visit, struct parley *runtime, visit_fn step, visit_fn done)
{
    visit->control.kind = CONTROL_VISIT;
    visit->runtime = runtime;
    visit->next = 0;
    visit->step = step;
    visit->done = done;
    atomic_fetch_add_explicit(&runtime->visits, 1, memory_order_relaxed); /* a gauge */
    go_to_next(visit);
}

void visit_continue(struct visit *visit, struct bench *bench)
{
    struct parley *runtime = visit->runtime;

    visit->step(visit, bench);
    if (visit->next < worker_pool_size(runtime->workers)) {
        go_to_next(visit);
        return;
    }
    visit->done(visit, bench);
    /* release: what done() posted comes before; pairs with the acquire in parley_close(). */
    if (atomic_fetch_sub_explicit(&runtime->visits, 1, memory_order_release) == 1 &&
        atomic_load_explicit(&runtime->draining, memory_order_relaxed))
        service_settled(runtime);
}
