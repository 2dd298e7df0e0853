/* SPDX-License-Identifier: Apache-2.0
 *
 * The circuit breaker by itself, on a clock that the test turns.
 */
#include "peers/breaker.h"
#include "test/check.h"

#define SECOND UINT64_C(1000000000)

static const struct breaker_limits usual = {
    .failures = 5, .trials = 3, .successes = 3, .open_ns = 30 * SECOND};

static bool take(struct breaker *breaker, uint64_t now_ns)
{
    uint64_t at_ns;

    return breaker_take(breaker, &usual, now_ns, &at_ns);
}

static void fail(struct breaker *breaker, uint64_t now_ns)
{
    CHECK(take(breaker, now_ns));
    breaker_failed(breaker, &usual, now_ns);
    breaker_check(breaker, &usual);
}

static void succeed(struct breaker *breaker, uint64_t now_ns)
{
    CHECK(take(breaker, now_ns));
    breaker_succeeded(breaker, &usual);
    breaker_check(breaker, &usual);
}

static void five_failures_in_a_row_open_it(void)
{
    struct breaker breaker;
    uint64_t at_ns = 0;

    breaker_init(&breaker);
    for (unsigned i = 0; i < 4; i++)
        fail(&breaker, SECOND);
    succeed(&breaker, SECOND); /* not in a row */
    for (unsigned i = 0; i < 4; i++)
        fail(&breaker, 2 * SECOND);
    CHECK_U64(breaker.state, BREAKER_CLOSED);
    fail(&breaker, 3 * SECOND);
    CHECK_U64(breaker.state, BREAKER_OPEN);
    CHECK_U64(breaker.opens, 1);
    CHECK(!breaker_take(&breaker, &usual, 33 * SECOND - 1, &at_ns));
    CHECK_U64(at_ns, 33 * SECOND);
    CHECK(breaker_blocks(&breaker, &usual, 33 * SECOND - 1));
    CHECK(!breaker_blocks(&breaker, &usual, 33 * SECOND));
}

static void opened(struct breaker *breaker)
{
    breaker_init(breaker);
    for (unsigned i = 0; i < 5; i++)
        fail(breaker, 0);
}

static void three_trials_of_which_three_succeed(void)
{
    struct breaker breaker;
    uint64_t at_ns = 0;

    opened(&breaker);
    for (unsigned i = 0; i < 3; i++)
        CHECK(take(&breaker, 30 * SECOND));
    CHECK(!breaker_take(&breaker, &usual, 30 * SECOND, &at_ns)); /* no fourth at once */
    CHECK_U64(at_ns, UINT64_MAX);
    breaker_succeeded(&breaker, &usual);
    breaker_succeeded(&breaker, &usual);
    CHECK_U64(breaker.state, BREAKER_HALF_OPEN);
    breaker_succeeded(&breaker, &usual);
    CHECK_U64(breaker.state, BREAKER_CLOSED);
    for (unsigned i = 0; i < 4; i++) /* all as before */
        fail(&breaker, 31 * SECOND);
    CHECK_U64(breaker.state, BREAKER_CLOSED);
}

static void one_failed_trial_opens_it_again(void)
{
    struct breaker breaker;

    opened(&breaker);
    succeed(&breaker, 40 * SECOND);
    succeed(&breaker, 40 * SECOND);
    fail(&breaker, 41 * SECOND);
    CHECK_U64(breaker.state, BREAKER_OPEN);
    CHECK_U64(breaker.opens, 2);
    CHECK(!take(&breaker, 71 * SECOND - 1));
    for (unsigned i = 0; i < 3; i++) /* the two before count for nothing */
        succeed(&breaker, 71 * SECOND);
    CHECK_U64(breaker.state, BREAKER_CLOSED);
}

static void failures_that_end_late_do_not_prolong_it(void)
{
    struct breaker breaker;

    breaker_init(&breaker);
    for (unsigned i = 0; i < 8; i++)
        CHECK(take(&breaker, 0)); /* all under way at once */
    for (unsigned i = 0; i < 8; i++)
        breaker_failed(&breaker, &usual, i * SECOND);
    CHECK_U64(breaker.opens, 1);
    CHECK(take(&breaker, 34 * SECOND)); /* 30 s after the fifth */
}

static void good_news_while_open_begins_the_trials(void)
{
    struct breaker breaker;

    opened(&breaker);
    CHECK(!take(&breaker, SECOND));
    breaker_succeeded(&breaker, &usual); /* a ping that the host ordered */
    CHECK_U64(breaker.state, BREAKER_HALF_OPEN);
    succeed(&breaker, SECOND);
    succeed(&breaker, SECOND);
    CHECK_U64(breaker.state, BREAKER_CLOSED);
}

static void calls_that_tell_nothing_give_their_trial_back(void)
{
    struct breaker breaker;

    opened(&breaker);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(take(&breaker, 30 * SECOND));
        breaker_undone(&breaker);
        breaker_check(&breaker, &usual);
    }
    CHECK_U64(breaker.state, BREAKER_HALF_OPEN);
    for (unsigned i = 0; i < 3; i++)
        CHECK(take(&breaker, 30 * SECOND));
}

static void zero_failures_mean_never(void)
{
    struct breaker_limits limits = usual;
    struct breaker breaker;
    uint64_t at_ns;

    limits.failures = 0;
    breaker_init(&breaker);
    for (unsigned i = 0; i < 1000; i++) {
        CHECK(breaker_take(&breaker, &limits, i, &at_ns));
        breaker_failed(&breaker, &limits, i);
        breaker_check(&breaker, &limits);
    }
}

/* Whatever happens, in whatever order: what holds in each state holds, nothing is let through
 * while it is open, and nobody is told to wait for ever while nothing is under way. */
static void any_order_of_events(void)
{
    struct check_random random = {check_seed(11)};

    for (unsigned run = 0; run < 200; run++) {
        struct breaker_limits limits = {
            .failures = 1 + (uint32_t)check_random_below(&random, 6),
            .trials = 1 + (uint32_t)check_random_below(&random, 4),
            .successes = 1 + (uint32_t)check_random_below(&random, 4),
            .open_ns = 1 + check_random_below(&random, SECOND),
        };
        struct breaker breaker;
        uint64_t now_ns = 0, at_ns = 0;
        unsigned under_way = 0;

        breaker_init(&breaker);
        for (unsigned i = 0; i < 300; i++) {
            bool was_open = breaker.state == BREAKER_OPEN && now_ns < breaker.until_ns;

            now_ns += check_random_below(&random, SECOND / 4);
            was_open = was_open && now_ns < breaker.until_ns;
            switch (under_way > 0 ? check_random_below(&random, 4) : 0) {
            case 0:
                if (breaker_take(&breaker, &limits, now_ns, &at_ns)) {
                    CHECK(!was_open);
                    under_way++;
                } else {
                    CHECK(at_ns > now_ns && (at_ns != UINT64_MAX || under_way > 0));
                }
                break;
            case 1:
                breaker_succeeded(&breaker, &limits);
                under_way--;
                break;
            case 2:
                breaker_failed(&breaker, &limits, now_ns);
                under_way--;
                break;
            default:
                breaker_undone(&breaker);
                under_way--;
                break;
            }
            breaker_check(&breaker, &limits);
        }
    }
}

static const struct check_test tests[] = {
    {"five failures in a row open it for 30 s", five_failures_in_a_row_open_it},
    {"of three trials three have to succeed", three_trials_of_which_three_succeed},
    {"one failed trial opens it again", one_failed_trial_opens_it_again},
    {"failures that end late do not prolong it", failures_that_end_late_do_not_prolong_it},
    {"good news while open begins the trials", good_news_while_open_begins_the_trials},
    {"calls that tell nothing give their trial back",
     calls_that_tell_nothing_give_their_trial_back},
    {"with 0 failures it never opens", zero_failures_mean_never},
    {"any order of events", any_order_of_events},
};

CHECK_MAIN("breaker", tests)
