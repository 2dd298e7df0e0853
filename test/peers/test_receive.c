/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiver's rule: scripts for each promise, then random events against a model that
 * keeps one state per number.
 *
 * Events: bN base_seq N · mN number N arrives · oN the same under the old rule · fN accepted ·
 * rN rejected. Results: what each said. State: base/ack_seq/watermark and the rejections.
 */
#include "peers/receive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/check.h"

/* ---- An allocator that fails when told, and counts what is not freed ---- */

struct heap {
    bool fails;
    uint64_t held, taken;
};

static void *heap_allocate(size_t bytes, void *user)
{
    struct heap *heap = user;

    if (heap->fails)
        return NULL;
    heap->held++;
    heap->taken++;
    return malloc(bytes);
}

static void *heap_resize(void *memory, size_t bytes, void *user)
{
    struct heap *heap = user;

    if (heap->fails)
        return NULL;
    heap->held += memory == NULL ? 1 : 0;
    heap->taken++;
    return realloc(memory, bytes);
}

static void heap_release(void *memory, void *user)
{
    struct heap *heap = user;

    heap->held -= memory != NULL ? 1 : 0;
    free(memory);
}

static void heap_init(struct heap *heap, struct alloc *alloc)
{
    const parley_allocator host = {heap_allocate, heap_resize, heap_release, heap};

    memset(heap, 0, sizeof(*heap));
    alloc_init(alloc, &host);
}

/* ---- Scripts ---- */

struct script {
    const char *events;
    const char *results;
    const char *state;
};

static const char *decision_name(enum receive_decision decision)
{
    static const char *const names[] = {"run", "repeat", "gap", "full", "no-memory"};

    return names[decision];
}

static void note(char *text, size_t len, const char *word)
{
    size_t used = strlen(text);

    snprintf(text + used, len - used, "%s%s", used > 0 ? " " : "", word);
}

static const char *status_word(parley_status status)
{
    return status == PARLEY_OK         ? "ok"
           : status == PARLEY_EUNKNOWN ? "unknown"
           : status == PARLEY_ENOMEM   ? "no-memory"
                                       : "?";
}

/* @return what it said, NULL: nothing to say */
static const char *event(struct receive *receive, const char *word)
{
    uint64_t number = strtoull(word + 1, NULL, 10);
    char detail[32];

    snprintf(detail, sizeof(detail), "no %" PRIu64, number);
    switch (word[0]) {
    case 'b':
        receive_base(receive, number);
        return NULL;
    case 'm':
        return decision_name(receive_begin(receive, number));
    case 'o':
        return decision_name(receive_begin_old(receive, number));
    case 'f':
        return status_word(receive_finish(receive, number, NULL));
    default:
        return status_word(receive_finish(receive, number, detail));
    }
}

static void draw(const struct receive *receive, char *text, size_t len)
{
    char word[64];

    text[0] = '\0';
    snprintf(word, sizeof(word), "%" PRIu64 "/%" PRIu64 "/%" PRIu64, receive->base,
             receive->ack_seq, receive->watermark);
    note(text, len, word);
    for (uint32_t i = 0; i < receive->rejected_len; i++) {
        snprintf(word, sizeof(word), "%s", receive->rejected[i].detail);
        note(text, len, word);
    }
}

static void run_script(const struct script *script, uint32_t in_flight_max)
{
    char copy[256], results[256] = "", seen[256], *save = NULL;
    struct receive receive;
    struct alloc alloc;
    struct heap heap;
    bool held;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, in_flight_max);
    snprintf(copy, sizeof(copy), "%s", script->events);
    for (char *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        const char *said = event(&receive, word);

        receive_check(&receive);
        if (said != NULL)
            note(results, sizeof(results), said);
    }
    draw(&receive, seen, sizeof(seen));
    held = CHECK_TEXT(results, script->results);
    held = CHECK_TEXT(seen, script->state) && held;
    receive_fini(&receive);
    held = CHECK_U64(heap.held, 0) && held;
    if (!held)
        fprintf(stderr, "    script: %s\n", script->events);
}

static void run_scripts(const struct script *scripts, size_t len, uint32_t in_flight_max)
{
    for (size_t i = 0; i < len; i++)
        run_script(&scripts[i], in_flight_max);
}

#define RUN_SCRIPTS(scripts, in_flight_max) \
    run_scripts((scripts), sizeof(scripts) / sizeof((scripts)[0]), (in_flight_max))

static void in_order(void)
{
    static const struct script scripts[] = {
        {"m1 f1 m2 f2", "run ok run ok", "1/2/2"},
        {"m1 m1 f1 m1", "run repeat ok repeat", "1/1/1"},
        {"m1 f1 f1 f2", "run ok unknown unknown", "1/1/1"},
        {"m2 m1 m3", "gap run gap", "1/0/1"},
        {"m0", "repeat", "1/0/0"},
        {"f1 f0", "unknown unknown", "1/0/0"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void answered_later(void)
{
    static const struct script scripts[] = {
        {"m1 m2 m3", "run run run", "1/0/3"},
        {"m1 m2 m3 f2", "run run run ok", "1/0/3"},
        {"m1 m2 m3 f2 f1", "run run run ok ok", "1/2/3"},
        {"m1 m2 m3 f3 f2 f1", "run run run ok ok ok", "1/3/3"},
        {"m1 m2 f2 f2 m2", "run run ok unknown repeat", "1/0/2"},
        {"m1 m2 m3 m4 f2 m4 f1 m4", "run run run full ok full ok run", "1/2/4"},
        {"m1 m2 m3 f1 m4 f2 m5 f3 m6 f6 f5 f4", "run run run ok run ok run ok run ok ok ok",
         "1/6/6"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void bases(void)
{
    static const struct script scripts[] = {
        {"b7 m7 f7 m6", "run ok repeat", "7/7/7"},
        {"b7 m8", "gap", "7/6/6"},
        {"b0 m1", "run", "1/0/1"},
        {"m1 f1 b5 m5 m3", "run ok run repeat", "5/4/5"},
        {"b5 b2 m2 m5", "repeat run", "5/4/5"},
        {"m1 f1 m2 f2 b2", "run ok run ok", "2/2/2"},
        /* closed while unanswered: they hold up nothing, and their answers come too late */
        {"m1 m2 m3 b3 f1 f2 f3", "run run run unknown unknown ok", "3/3/3"},
        {"m1 m2 m3 f3 b3 f1", "run run run ok unknown", "3/3/3"},
        {"m1 m2 m3 b2 f3 f2", "run run run ok ok", "2/3/3"},
        {"m1 b9 f1 m9 m10 f10", "run unknown run run ok", "9/8/10"},
        {"m1 m2 m3 b4 m4 m5 m6 m7", "run run run run run run full", "4/3/6"},
        {"b18446744073709551615 m18446744073709551615 f18446744073709551615 m0 m1",
         "run ok repeat repeat",
         "18446744073709551615/18446744073709551615/18446744073709551615"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void rejections(void)
{
    static const struct script scripts[] = {
        {"m1 r1", "run ok", "1/1/1 no 1"},
        {"m1 m2 m3 r3 r1 f2", "run run run ok ok ok", "1/3/3 no 1 no 3"},
        {"m1 r1 m2 f2 m3 r3 b2", "run ok run ok run ok", "2/3/3 no 3"},
        {"m1 r1 m2 r2 b3", "run ok run ok", "3/2/2"},
        {"m1 r1 f1 r1", "run ok unknown unknown", "1/1/1 no 1"},
        /* however long base_seq stays away, they are bounded, and never forgotten */
        {"m1 r1 m2 r2 m3 r3 m4 b1 m4 b2 m4", "run ok run ok run ok full full run",
         "2/3/4 no 2 no 3"},
        {"m1 m2 r1 m3 r2 m4 r3 m4", "run run ok run ok full ok full", "1/3/3 no 1 no 2 no 3"},
        {"m1 f1 m2 r2 m3 f3 m4 f4 m5 f5", "run ok run ok run ok run ok run ok", "1/5/5 no 2"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void old_rule(void)
{
    static const struct script scripts[] = {
        {"o1 f1 o2 f2 o2 o1", "run ok run ok repeat repeat", "1/2/2"},
        {"o500 f500 o501", "run ok run", "500/500/501"},
        {"o1 f1 o9 f9 o5", "run ok run ok repeat", "1/9/9"},
        {"o0", "repeat", "1/0/0"},
        /* a gap behind one that is unanswered */
        {"o1 o3 f3 f1", "run run ok ok", "1/3/3"},
        {"o1 o3 f2 f1 f3", "run run unknown ok ok", "1/3/3"},
        {"o1 o4 f1 o4", "run run ok repeat", "1/3/4"},
        {"o1 o18446744073709551615 f1", "run run ok",
         "1/18446744073709551614/18446744073709551615"},
        /* one that is never answered holds up nothing but its own outcome */
        {"o1 o2 f2 o3 f3 o4 f4 o5 f5 o6", "run run ok run ok run ok run ok run", "1/5/6"},
        {"o1 o2 f2 o3 f3 o4 f4 r1 f1", "run run ok run ok run ok ok unknown", "1/4/4 no 1"},
        {"o1 o2 o3 o4 f2 o4 o5", "run run run full ok run full", "1/4/4"},
        {"o1 o2 r2 o3 r3 o4 r4 o5", "run run ok run ok run ok run", "1/4/5 no 2 no 3 no 4"},
        {"o1 o2 f2 o3 f3 o4 b2 f1 m5", "run run ok run ok run unknown run", "2/3/5"},
        /* nobody says base_seq: more rejections are kept than may be unanswered */
        {"o1 r1 o2 r2 o3 r3 o4 r4", "run ok run ok run ok run ok",
         "1/4/4 no 1 no 2 no 3 no 4"},
        {"o1 r1 o2 r2 o3 o4", "run ok run ok run run", "1/2/4 no 1 no 2"},
        /* one watermark serves both */
        {"m1 f1 o2 f2 m3 f3 o3", "run ok run ok run ok repeat", "1/3/3"},
        {"o5 f5 b5 m6 f6", "run ok run ok", "5/6/6"},
    };

    RUN_SCRIPTS(scripts, 3);
}

static void stored_details(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;
    char detail[] = "bad";

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 8);
    receive_begin(&receive, 1);
    receive_begin(&receive, 2);
    CHECK_STATUS(receive_finish(&receive, 2, detail), OK);
    detail[0] = 'm'; /* it was copied */
    CHECK_TEXT(receive_rejection(&receive, 2), "bad");
    CHECK(receive_rejection(&receive, 1) == NULL);
    CHECK(receive_rejection(&receive, 3) == NULL);
    receive_base(&receive, 3);
    CHECK(receive_rejection(&receive, 2) == NULL);
    receive_fini(&receive);
    receive_fini(&receive);
    CHECK_U64(heap.held, 0);
}

static void answered(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 8);
    receive_begin_old(&receive, 5);
    CHECK(receive_answered(&receive, 4)); /* closed */
    CHECK(!receive_answered(&receive, 5));
    receive_begin_old(&receive, 7);
    CHECK(receive_answered(&receive, 6)); /* left out */
    CHECK(!receive_answered(&receive, 7));
    receive_finish(&receive, 7, "no");
    CHECK(receive_answered(&receive, 7)); /* although 5 is not */
    CHECK(!receive_answered(&receive, 5));
    CHECK(!receive_answered(&receive, 8));
    receive_finish(&receive, 5, NULL);
    CHECK(receive_answered(&receive, 5));
    receive_fini(&receive);
}

/* Whoever asks is not told that an owed number has its outcome, nor any after it. */
static void owed(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 2);
    CHECK(!receive_owes(&receive));
    for (uint64_t number = 1; number <= 40; number++) {
        CHECK(receive_begin_old(&receive, number) == RECEIVE_RUN);
        if (number != 7)
            receive_finish(&receive, number, NULL);
        receive_check(&receive);
    }
    CHECK_U64(receive_acked(&receive), 6);
    CHECK(!receive_answered(&receive, 7));
    CHECK(receive_answered(&receive, 8) && receive_owes(&receive));
    CHECK_STATUS(receive_finish(&receive, 7, "no"), OK);
    CHECK_TEXT(receive_rejection(&receive, 7), "no");
    CHECK_U64(receive_acked(&receive), 40);
    CHECK(!receive_owes(&receive));
    receive_fini(&receive);
    CHECK_U64(heap.held, 0);
}

/* The oldest rejections go; an owed number before them is not closed for that. */
static void rejections_without_base(void)
{
    const uint64_t last = 2 * RECEIVE_OLD_KEPT;
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 2);
    for (uint64_t number = 1; number <= last; number++) {
        CHECK(receive_begin_old(&receive, number) == RECEIVE_RUN);
        if (number != 3)
            receive_finish(&receive, number, "no");
        receive_check(&receive);
    }
    CHECK(receive_rejection(&receive, 1) == NULL);
    CHECK_TEXT(receive_rejection(&receive, last - RECEIVE_OLD_KEPT + 1), "no");
    CHECK(!receive_answered(&receive, 3));
    CHECK_STATUS(receive_finish(&receive, 3, "no"), OK);
    CHECK_TEXT(receive_rejection(&receive, 3), "no");
    CHECK(receive_begin_old(&receive, last + 1) == RECEIVE_RUN);
    receive_check(&receive);
    receive_fini(&receive);
    CHECK_U64(heap.held, 0);
}

static void arrived(void)
{
    const uint64_t gaps = RECEIVE_SKIPPED_MAX;
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 8);
    CHECK(!receive_arrived(&receive, 1));
    receive_begin_old(&receive, 5);
    receive_finish(&receive, 5, NULL);
    CHECK(!receive_arrived(&receive, 4)); /* before the first one heard of */
    CHECK(receive_arrived(&receive, 5));
    CHECK(!receive_arrived(&receive, 6));
    receive_begin_old(&receive, 9); /* every second one is skipped from here */
    for (uint64_t i = 1; i < gaps; i++) {
        receive_finish(&receive, 9 + 2 * (i - 1), "no");
        receive_begin_old(&receive, 9 + 2 * i);
    }
    CHECK(receive_arrived(&receive, 5) && receive_arrived(&receive, 9));
    CHECK(!receive_arrived(&receive, 6) && !receive_arrived(&receive, 8));
    CHECK(!receive_arrived(&receive, 10) && receive_arrived(&receive, 11));
    receive_check(&receive);
    receive_begin_old(&receive, 9 + 2 * gaps); /* one gap more than is remembered */
    CHECK(!receive_arrived(&receive, 5) && !receive_arrived(&receive, 8));
    CHECK(receive_arrived(&receive, 9) && !receive_arrived(&receive, 10));
    receive_check(&receive);
    receive_fini(&receive);
}

static void accepting_takes_no_memory(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    heap.fails = true;
    receive_init(&receive, &alloc, 1024);
    for (uint64_t i = 1; i <= 5000; i++) {
        CHECK(receive_begin(&receive, i) == RECEIVE_RUN);
        CHECK_STATUS(receive_finish(&receive, i, NULL), OK);
    }
    CHECK_U64(receive.ack_seq, 5000);
    receive_fini(&receive);
}

static void out_of_memory(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 16);
    heap.fails = true;
    CHECK(receive_begin(&receive, 1) == RECEIVE_RUN);
    CHECK(receive_begin(&receive, 2) == RECEIVE_NO_MEMORY);
    CHECK(receive_begin_old(&receive, 3) == RECEIVE_NO_MEMORY);
    CHECK_U64(receive.watermark, 1);
    heap.fails = false;
    CHECK(receive_begin(&receive, 2) == RECEIVE_RUN);
    heap.fails = true; /* an outcome never needs any, or it would hold up all that follow */
    CHECK_STATUS(receive_finish(&receive, 2, "no"), OK);
    CHECK_STATUS(receive_finish(&receive, 1, NULL), OK);
    CHECK_U64(receive.ack_seq, 2);
    CHECK_CONTAINS(receive_rejection(&receive, 2), "out of memory");
    receive_check(&receive);
    receive_fini(&receive);
    CHECK_U64(heap.held, 0);
}

/* Every number begun is rejected, later and backwards, while there is no memory. */
static void room_for_rejections(void)
{
    struct receive receive;
    struct alloc alloc;
    struct heap heap;
    uint64_t begun = 0;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, 16);
    while (receive_begin(&receive, begun + 1) == RECEIVE_RUN)
        begun++;
    CHECK_U64(begun, 16);
    heap.fails = true;
    for (uint64_t number = begun; number > 0; number--) {
        CHECK_STATUS(receive_finish(&receive, number, "no"), OK);
        receive_check(&receive);
    }
    CHECK_U64(receive.ack_seq, 16);
    CHECK_U64(receive.rejected_len, 16);
    heap.fails = false;
    receive_base(&receive, 17);
    CHECK_U64(receive.rejected_len, 0);
    receive_fini(&receive);
    CHECK_U64(heap.held, 0);
}

/* ---- Random events against a model ---- */

#define NUMBERS 96

enum fate { UNSEEN, OPEN, ACCEPTED, REJECTED, SKIPPED };

struct model {
    enum fate fates[NUMBERS];
    uint64_t base, watermark; /* closed is what lies below base */
    uint32_t in_flight_max;
};

static uint64_t model_ack_seq(const struct model *model)
{
    uint64_t number = model->base;

    while (number <= model->watermark && model->fates[number] != OPEN)
        number++;
    return number - 1;
}

static bool model_full(const struct model *model)
{
    uint64_t ack_seq = model_ack_seq(model), taken = model->watermark - ack_seq;

    for (uint64_t i = model->base; i <= ack_seq; i++)
        taken += model->fates[i] == REJECTED ? 1 : 0;
    return taken >= model->in_flight_max;
}

static void model_base(struct model *model, uint64_t base)
{
    if (base > model->base)
        model->base = base;
    for (; model->watermark < model->base - 1;)
        model->fates[++model->watermark] = SKIPPED;
}

static enum receive_decision model_begin(struct model *model, uint64_t number)
{
    if (number <= model->watermark)
        return RECEIVE_REPEAT;
    if (number > model->watermark + 1)
        return RECEIVE_GAP;
    if (model_full(model))
        return RECEIVE_FULL;
    model->fates[++model->watermark] = OPEN;
    return RECEIVE_RUN;
}

static bool model_finish(struct model *model, uint64_t number, bool accepted)
{
    if (number < model->base || number > model->watermark || model->fates[number] != OPEN)
        return false;
    model->fates[number] = accepted ? ACCEPTED : REJECTED;
    return true;
}

static bool same(const struct receive *receive, const struct model *model)
{
    if (receive->base != model->base || receive->watermark != model->watermark ||
        receive->ack_seq != model_ack_seq(model))
        return false;
    for (uint64_t i = 1; i < NUMBERS; i++) {
        bool kept = i >= model->base && model->fates[i] == REJECTED;

        if ((receive_rejection(receive, i) != NULL) != kept)
            return false;
    }
    return true;
}

static bool random_event(struct check_random *random, struct receive *receive,
                         struct model *model, struct heap *heap)
{
    uint64_t near = model->watermark + 3 - check_random_below(random, 8);
    uint64_t number = near < NUMBERS && near > 0 ? near : 1;
    bool accepted = check_random_below(random, 3) != 0;
    enum receive_decision decision;
    parley_status status;

    if (model->watermark + 4 >= NUMBERS)
        return true;
    heap->fails = check_random_below(random, 16) == 0;
    switch (check_random_below(random, 8)) {
    case 0:
        receive_base(receive, number);
        model_base(model, number);
        return true;
    case 1:
    case 2:
    case 3:
        number = model->watermark + 1 + (check_random_below(random, 8) == 0 ? 1 : 0);
        decision = receive_begin(receive, number);
        return decision == RECEIVE_NO_MEMORY ? heap->fails
                                             : decision == model_begin(model, number);
    case 4:
        decision = receive_begin(receive, number);
        return decision == RECEIVE_NO_MEMORY ? heap->fails
                                             : decision == model_begin(model, number);
    default:
        status = receive_finish(receive, number, accepted ? NULL : "no");
        if (status == PARLEY_ENOMEM)
            return heap->fails && !accepted;
        return (status == PARLEY_OK) == model_finish(model, number, accepted);
    }
}

static bool random_run(uint64_t seed)
{
    struct check_random random = {seed};
    struct model model = {.base = 1,
                          .in_flight_max = 1 + (uint32_t)check_random_below(&random, 8)};
    struct receive receive;
    struct alloc alloc;
    struct heap heap;
    bool held = true;

    heap_init(&heap, &alloc);
    receive_init(&receive, &alloc, model.in_flight_max);
    receive_base(&receive, 1);
    for (unsigned i = 0; held && i < 200; i++) {
        held = random_event(&random, &receive, &model, &heap);
        receive_check(&receive);
        held = held && same(&receive, &model);
    }
    receive_fini(&receive);
    return held && heap.held == 0;
}

static void random_events(void)
{
    const uint64_t runs = getenv("SEED") != NULL ? 1 : 3000;
    const uint64_t first = check_seed(1);

    for (uint64_t seed = first; seed < first + runs; seed++) {
        if (!random_run(seed)) {
            fprintf(stderr, "    replay: SEED=%" PRIu64 "\n", seed);
            CHECK(!"the rule and its model differ");
            return;
        }
    }
    CHECK(true);
}

static const struct check_test tests[] = {
    {"numbers run in order, once", in_order},
    {"a late answer holds up the acknowledgement, not the next message", answered_later},
    {"base_seq closes what lies below it", bases},
    {"rejections are kept until they are closed, within the window", rejections},
    {"without base_seq gaps are accepted and lower numbers repeated", old_rule},
    {"a stored detail is a copy", stored_details},
    {"without base_seq the latest rejections are kept", rejections_without_base},
    {"a number is answered by itself", answered},
    {"a number that is never answered does not hold up an older sender", owed},
    {"what was skipped is not taken for what has come", arrived},
    {"accepting in order takes no memory", accepting_takes_no_memory},
    {"out of memory begins nothing, yet an outcome never needs any", out_of_memory},
    {"all that began can be rejected without memory", room_for_rejections},
    {"random events agree with a model", random_events},
};

CHECK_MAIN("receive", tests)
