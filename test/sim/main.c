/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs seeds in several processes and sums up what they met. A broken promise, a failed
 * assertion and a hang alike end the process that met it; then things that happened are left
 * out, one after another, as long as the rest still fails, and what is left is printed.
 *
 * sim [--seeds N] [--from SEED] [--jobs N] [--until-broken] | sim --seed SEED
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/sim/sim.h"

#define JOBS_MAX     64
#define HANG_SECONDS 30
#define SHRINKS_MAX  600
#define TWICE        20 /* seeds that are run twice, to see that they repeat themselves */

struct tally *tally;

static const char *const fault_texts[FAULTS] = {
#define FAULT_TEXT(name, text) [FAULT_##name] = (text),
    FAULT_MAP(FAULT_TEXT)
#undef FAULT_TEXT
};

static void *shared(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return memory;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- Many seeds ---- */

static void run_seed(uint64_t seed)
{
    struct script script;

    tally->seed = seed;
    alarm(HANG_SECONDS);
    script_draw(seed, &script);
    script_run(seed, &script);
    tally->seeds++;
}

/* A seed is a whole run: done again, it takes as many steps and has as many results. */
static void run_twice(uint64_t seed)
{
    uint64_t steps, runs = tally->runs, frames = tally->frames;

    run_seed(seed);
    steps = sim.steps;
    runs = tally->runs - runs;
    frames = tally->frames - frames;
    run_seed(seed);
    tally->seeds--;
    if (sim.steps != steps)
        promise_broken("the seed does not repeat itself: %llu steps, then %llu",
                       (unsigned long long)steps, (unsigned long long)sim.steps);
    tally->runs -= runs;
    tally->frames -= frames;
}

static void job(atomic_ullong *next, uint64_t end, uint64_t first)
{
    for (;;) {
        uint64_t seed = atomic_fetch_add(next, 1);

        if (seed >= end)
            _exit(0);
        if (seed < first + TWICE)
            run_twice(seed);
        else
            run_seed(seed);
    }
}

static const char *what_happened(int status)
{
    static char text[64];

    if (tally->broken)
        return tally->text;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return "it hangs";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        return "an assertion failed (see above)";
    snprintf(text, sizeof(text), "the process ended with status %#x", (unsigned)status);
    return text;
}

/* ---- Shrinking ---- */

static bool still_fails(uint64_t seed, const struct script *script)
{
    int status;
    pid_t child;

    tally->broken = false;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        alarm(HANG_SECONDS);
        script_run(seed, script);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static bool without(const struct script *script, unsigned from, unsigned count,
                    struct script *ret_script)
{
    if (from + count > script->len)
        return false;
    *ret_script = *script;
    memmove(&ret_script->ops[from], &ret_script->ops[from + count],
            (script->len - from - count) * sizeof(script->ops[0]));
    ret_script->len -= count;
    return true;
}

static void shrink_list(uint64_t seed, struct script *script, unsigned *tries)
{
    struct script shorter;

    for (unsigned count = script->len / 2; count > 0; count /= 2) {
        for (unsigned from = 0; *tries > 0 && from < script->len;) {
            (*tries)--;
            if (without(script, from, count, &shorter) && still_fails(seed, &shorter))
                *script = shorter;
            else
                from += count;
        }
    }
}

/* Fewer messages in a post, fewer requests that fail. */
static void shrink_numbers(uint64_t seed, struct script *script, unsigned *tries)
{
    for (unsigned i = 0; i < script->len; i++) {
        while (*tries > 0 && script->ops[i].x > 1) {
            struct script smaller = *script;

            (*tries)--;
            smaller.ops[i].x /= 2;
            if (!still_fails(seed, &smaller))
                break;
            *script = smaller;
        }
    }
}

static void shrink(uint64_t seed, struct script *script)
{
    unsigned tries = SHRINKS_MAX;
    unsigned len;

    do {
        len = script->len;
        shrink_list(seed, script, &tries);
        shrink_numbers(seed, script, &tries);
    } while (tries > 0 && script->len < len);
}

static void run_aloud(uint64_t seed, const struct script *script)
{
    int status;
    pid_t child;

    fflush(stdout);
    tally->broken = false;
    child = fork();
    if (child == 0) {
        sim.trace = true;
        alarm(HANG_SECONDS);
        script_run(seed, script);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("\nseed %llu: %s\n", (unsigned long long)seed,
           status == 0 ? "no promise broken" : what_happened(status));
}

static void explain(uint64_t seed)
{
    struct script script;
    unsigned len;

    script_draw(seed, &script);
    len = script.len;
    if (!still_fails(seed, &script)) {
        printf("It does not fail alone: run it after the seeds before it.\n");
        return;
    }
    shrink(seed, &script);
    printf("\nof %u things that happened these %u are enough:\n", len, script.len);
    script_print(&script);
    printf("\n");
    run_aloud(seed, &script);
    printf("replay all of it: make sim SEED=%llu\n", (unsigned long long)seed);
}

/* ---- The sum ---- */

static void add(struct tally *sum, const struct tally *part)
{
    sum->seeds += part->seeds;
    sum->steps += part->steps;
    sum->posted += part->posted;
    sum->runs += part->runs;
    sum->second_runs += part->second_runs;
    sum->frames += part->frames;
    sum->requests += part->requests;
    sum->transfers += part->transfers;
    sum->chunks += part->chunks;
    sum->chunks_again += part->chunks_again;
    sum->secured += part->secured;
    sum->sealed += part->sealed;
    sum->handshakes += part->handshakes;
    for (unsigned i = 0; i <= PARLEY_CANCELLED; i++)
        sum->outcomes[i] += part->outcomes[i];
    for (unsigned i = 0; i < FAULTS; i++)
        sum->faults[i] += part->faults[i];
    for (size_t i = 0; i < sizeof(sum->reached); i++)
        sum->reached[i] |= part->reached[i];
}

static bool print_faults(const struct tally *sum)
{
    bool enough = true;

    printf("\n%-42s %12s %14s\n", "what went wrong", "times", "per 100 seeds");
    for (unsigned i = 0; i < FAULTS; i++) {
        double rate = (double)sum->faults[i] * 100 / (double)sum->seeds;

        printf("%-42s %12llu %14.1f%s\n", fault_texts[i], (unsigned long long)sum->faults[i],
               rate, rate < 1 ? "  too few" : "");
        enough = enough && rate >= 1;
    }
    return enough || sum->seeds < 100;
}

static bool print_sum(struct tally *sum, double took)
{
    for (size_t i = 0; i < sizeof(sum->reached); i++)
        sum->states += (unsigned)__builtin_popcount(sum->reached[i]);
    printf("%llu seeds in %.1f s: %.0f seeds/s, %.0f steps a seed\n",
           (unsigned long long)sum->seeds, took, (double)sum->seeds / took,
           (double)sum->steps / (double)sum->seeds);
    printf("%llu messages, %llu handler runs (%llu of them second ones), %llu frames, "
           "%llu requests, %llu distinct states\n",
           (unsigned long long)sum->posted, (unsigned long long)sum->runs,
           (unsigned long long)sum->second_runs, (unsigned long long)sum->frames,
           (unsigned long long)sum->requests, (unsigned long long)sum->states);
    printf("%llu messages in chunks, %llu chunks (%llu of them anew, for a receiver that had "
           "lost them)\n",
           (unsigned long long)sum->transfers, (unsigned long long)sum->chunks,
           (unsigned long long)sum->chunks_again);
    printf("%llu seeds with identities, %llu handshakes done, %llu sealed frames and bodies\n",
           (unsigned long long)sum->secured, (unsigned long long)sum->handshakes,
           (unsigned long long)sum->sealed);
    for (unsigned i = PARLEY_DELIVERED; i <= PARLEY_CANCELLED; i++)
        printf("%s %llu%s", parley_outcome_name((parley_outcome)i),
               (unsigned long long)sum->outcomes[i], i < PARLEY_CANCELLED ? ", " : "\n");
    return print_faults(sum);
}

/* @return the lowest seed that failed among those whose jobs ended badly, or UINT64_MAX */
static uint64_t run_jobs(struct tally *tallies, unsigned jobs, uint64_t from, uint64_t count,
                         int *ret_status)
{
    atomic_ullong *next = shared(sizeof(*next));
    pid_t children[JOBS_MAX];
    uint64_t failed = UINT64_MAX;

    atomic_store(next, from);
    for (unsigned i = 0; i < jobs; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            tally = &tallies[i];
            job(next, from + count, from);
        }
    }
    for (unsigned i = 0; i < jobs; i++) {
        int status;

        waitpid(children[i], &status, 0);
        if (status == 0)
            continue;
        atomic_store(next, from + count); /* the others come to their end */
        if (tallies[i].seed < failed) {
            failed = tallies[i].seed;
            tally = &tallies[i];
            *ret_status = status;
        }
    }
    return failed;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*end == '\0' && end != text)
        return value;
    fprintf(stderr, "sim: %s is no number\n", text);
    exit(2);
}

static int run_many(uint64_t from, uint64_t count, unsigned jobs, bool until_broken)
{
    struct tally *tallies = shared((jobs + 1) * sizeof(*tallies));
    double began = seconds();
    int status = 0;
    uint64_t failed = run_jobs(tallies, jobs, from, count, &status);

    for (unsigned i = 0; i < jobs; i++)
        add(&tallies[jobs], &tallies[i]);
    if (until_broken) {
        if (failed == UINT64_MAX)
            printf("survived %llu seeds\n", (unsigned long long)count);
        else
            printf("%llu seeds: %s\n", (unsigned long long)tallies[jobs].seeds + 1,
                   what_happened(status));
        return failed != UINT64_MAX ? 0 : 1;
    }
    if (failed != UINT64_MAX) {
        printf("BROKEN  seed %llu: %s\n", (unsigned long long)failed, what_happened(status));
        explain(failed);
        return 1;
    }
    if (!print_sum(&tallies[jobs], seconds() - began))
        return 1;
    printf("\n0 violations\n");
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, count = 1000, seed = 0;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned jobs = online > 0 && online < JOBS_MAX ? (unsigned)online : 1;
    bool until_broken = false;

    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;

        if (strcmp(argv[i], "--until-broken") == 0)
            until_broken = true;
        else if (more && strcmp(argv[i], "--seeds") == 0)
            count = number(argv[++i]);
        else if (more && strcmp(argv[i], "--from") == 0)
            from = number(argv[++i]);
        else if (more && strcmp(argv[i], "--jobs") == 0)
            jobs = (unsigned)number(argv[++i]);
        else if (more && strcmp(argv[i], "--seed") == 0)
            seed = number(argv[++i]);
        else
            return 2;
    }
    if (seed == 0)
        return run_many(from, count, jobs > 0 && jobs < JOBS_MAX ? jobs : 1, until_broken);
    tally = shared(sizeof(*tally));
    {
        struct script script;

        script_draw(seed, &script);
        run_aloud(seed, &script);
    }
    return tally->broken ? 1 : 0;
}
