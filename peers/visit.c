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
    go_to_next(visit);
}

void visit_continue(struct visit *visit, struct bench *bench)
{
    visit->step(visit, bench);
    if (visit->next < worker_pool_size(visit->runtime->workers))
        go_to_next(visit);
    else
        visit->done(visit, bench);
}
