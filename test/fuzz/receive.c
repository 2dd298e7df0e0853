/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiver's rule, driven by a script, beside a model that only remembers what became of
 * each number. What runs, runs once; what is acknowledged, has its outcome.
 */
#include "peers/receive.h"

#include "test/fuzz/fuzz.h"
#include "test/runtime/fail_alloc.h"

#define NUMBERS   1024
#define STEPS_MAX 600

enum fate { UNSEEN, BEGUN, ACCEPTED, REJECTED, FORGOTTEN, SKIPPED };

struct world {
    struct fail_alloc heap;
    bool was_short; /* of memory, ever: reasons may be missing */
    struct alloc alloc;
    struct receive receive;
    enum fate fates[NUMBERS];
    uint64_t base, watermark;
    bool known;
    uint32_t in_flight_max;
};

/* ---- the model ---- */

static uint64_t model_ack(const struct world *world)
{
    for (uint64_t i = world->base; i <= world->watermark; i++) {
        if (world->fates[i] == BEGUN)
            return i - 1;
    }
    return world->watermark;
}

/* What was set apart counts by itself, not with all that was answered after it. */
static bool model_full(const struct world *world)
{
    uint64_t ack = world->receive.ack_seq, taken = world->watermark - ack;

    for (uint64_t i = world->base; i <= ack; i++)
        taken += world->fates[i] == REJECTED || world->fates[i] == BEGUN;
    return taken >= world->in_flight_max;
}

/* By the old rule the oldest rejections make room, but for the newest ones. */
static void model_forget(struct world *world)
{
    uint64_t kept = 0;

    for (uint64_t i = world->watermark; i >= world->base; i--) {
        if (world->fates[i] != REJECTED)
            continue;
        if (receive_rejection(&world->receive, i) != NULL)
            kept++;
        else
            world->fates[i] = FORGOTTEN;
        FUZZ_CHECK(world->fates[i] == REJECTED || kept >= RECEIVE_OLD_KEPT);
    }
}

static void model_start(struct world *world, uint64_t number)
{
    if (world->known)
        return;
    world->known = true;
    world->base = number > 0 ? number : 1;
    world->watermark = world->base - 1;
}

static void model_base(struct world *world, uint64_t base)
{
    model_start(world, base);
    if (base > world->base)
        world->base = base;
    if (world->watermark + 1 < world->base)
        world->watermark = world->base - 1;
}

static void check_against(const struct world *world)
{
    const struct receive *receive = &world->receive;

    receive_check(receive);
    FUZZ_CHECK(receive->base == world->base && receive->watermark == world->watermark);
    FUZZ_CHECK(receive_acked(receive) == model_ack(world));
    FUZZ_CHECK(!receive_arrived(receive, world->watermark + 1));
    for (uint64_t i = 1; i <= world->watermark; i++) {
        bool kept = i >= world->base && world->fates[i] == REJECTED;
        const char *detail = receive_rejection(receive, i);

        FUZZ_CHECK((detail != NULL) == kept);
        FUZZ_CHECK(world->fates[i] != SKIPPED || !receive_arrived(receive, i));
        FUZZ_CHECK(receive_answered(receive, i) ==
                   (i < world->base || world->fates[i] != BEGUN));
        FUZZ_CHECK(!kept || strtoull(detail, NULL, 10) == i || world->was_short);
    }
}

/* ---- events ---- */

static void begin(struct world *world, uint64_t number)
{
    enum receive_decision decision = receive_begin(&world->receive, number);

    model_start(world, 1);
    if (number <= world->watermark) {
        FUZZ_CHECK(decision == RECEIVE_REPEAT);
    } else if (number > world->watermark + 1) {
        FUZZ_CHECK(decision == RECEIVE_GAP);
    } else if (model_full(world)) {
        FUZZ_CHECK(decision == RECEIVE_FULL);
    } else if (decision != RECEIVE_NO_MEMORY) {
        FUZZ_CHECK(decision == RECEIVE_RUN && world->fates[number] == UNSEEN);
        world->fates[number] = BEGUN;
        world->watermark = number;
    } else {
        FUZZ_CHECK(atomic_load(&world->heap.left) == 0);
    }
}

static void begin_old(struct world *world, uint64_t number)
{
    enum receive_decision decision = receive_begin_old(&world->receive, number);

    model_start(world, number);
    if (number <= world->watermark) {
        FUZZ_CHECK(decision == RECEIVE_REPEAT);
        return;
    }
    /* nobody closes numbers: room may have been made, and what is skipped may stay skipped */
    FUZZ_CHECK(world->receive.base >= world->base);
    model_base(world, world->receive.base);
    model_forget(world);
    while (world->watermark < world->receive.watermark)
        world->fates[++world->watermark] = SKIPPED;
    if (decision == RECEIVE_RUN) {
        FUZZ_CHECK(world->watermark == number);
        world->fates[number] = BEGUN;
    } else {
        FUZZ_CHECK(decision == RECEIVE_FULL || atomic_load(&world->heap.left) == 0);
        FUZZ_CHECK(world->watermark < number);
    }
}

static void finish(struct world *world, uint64_t number, bool reject)
{
    bool open =
        number >= world->base && number <= world->watermark && world->fates[number] == BEGUN;
    char detail[24];
    parley_status status;

    snprintf(detail, sizeof(detail), "%llu", (unsigned long long)number);
    status = receive_finish(&world->receive, number, reject ? detail : NULL);
    FUZZ_CHECK(status == (open ? PARLEY_OK : PARLEY_EUNKNOWN));
    if (open)
        world->fates[number] = reject ? REJECTED : ACCEPTED;
}

static void step(struct world *world, struct fuzz_script *script)
{
    uint8_t operation = fuzz_byte(script), distance = fuzz_byte(script);
    uint64_t ahead = world->watermark + distance % 8;
    uint64_t behind = world->watermark - world->watermark * distance / 256;

    switch (operation % 8) {
    case 0:
        begin(world, world->watermark + 1);
        break;
    case 1:
        begin(world, ahead);
        break;
    case 2:
        begin_old(world, ahead);
        break;
    case 3:
        receive_base(&world->receive, behind);
        model_base(world, behind);
        break;
    case 4:
        receive_base(&world->receive, ahead);
        model_base(world, ahead);
        break;
    case 5:
        atomic_store(&world->heap.left, distance < 4 ? distance : -1);
        world->was_short = world->was_short || distance < 4;
        break;
    default:
        finish(world, behind, operation % 8 == 7);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct world world;
    struct fuzz_script script = fuzz_script(data, len);

    memset(&world, 0, sizeof(world));
    world.alloc = fail_alloc_init(&world.heap, -1);
    world.base = 1;
    world.in_flight_max = 1 + fuzz_byte(&script) % 6;
    receive_init(&world.receive, &world.alloc, world.in_flight_max);
    for (int i = 0; i < STEPS_MAX && fuzz_more(&script) && world.watermark + 16 < NUMBERS;
         i++) {
        step(&world, &script);
        check_against(&world);
    }
    receive_fini(&world.receive);
    FUZZ_CHECK(atomic_load(&world.heap.out) == 0);
    return 0;
}
