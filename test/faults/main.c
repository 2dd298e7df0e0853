/* SPDX-License-Identifier: Apache-2.0
 *
 * make faults: runs each kind of fault in a process of its own, so that a crash of the
 * sender is one more figure, and prints the table. FAULTS=quick takes a sample; words on the
 * command line choose kinds by a part of their names.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/faults/faults.h"
#include "test/faults/receiver.h"

#define KIND_SECONDS_MAX 400

static bool chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return argc < 2;
}

static void run_child(const struct faults_kind *kind, const struct faults_plan *plan,
                      int output)
{
    struct row row = {0};

    snprintf(row.kind, sizeof(row.kind), "%s", kind->name);
    signal(SIGPIPE, SIG_IGN);
    alarm(KIND_SECONDS_MAX);
    kind->run(plan, &row);
    _exit(write(output, &row, sizeof(row)) == (ssize_t)sizeof(row) ? 0 : 1);
}

/* Runs one kind; what is missing from its row because it crashed is counted as a crash. */
static struct row run_kind(const struct faults_kind *kind, const struct faults_plan *plan)
{
    struct row row = {0};
    int out[2], status = 0;
    uint64_t start_ns = books_now_ns();

    fflush(NULL);
    pid_t child = pipe(out) == 0 ? fork() : -1;
    if (child < 0) {
        perror("faults");
        exit(2);
    }
    if (child == 0)
        run_child(kind, plan, out[1]);
    close(out[1]);
    bool told = read(out[0], &row, sizeof(row)) == (ssize_t)sizeof(row);
    close(out[0]);
    waitpid(child, &status, 0);
    if (!told || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        row.crashes++;
        fprintf(stderr, "faults: %s: ended with status 0x%x\n", kind->name, (unsigned)status);
    }
    snprintf(row.kind, sizeof(row.kind), "%s", kind->name);
    row.seconds = (double)(books_now_ns() - start_ns) / 1e9;
    return row;
}

static void print_row(const struct row *row)
{
    printf("%-28s %7" PRIu64 " %8" PRIu64 " %9" PRIu64 " %6" PRIu64 " %10" PRIu64 " %6" PRIu64
           " %8" PRIu64 " %7.1f s\n",
           row->kind, row->cases, row->reached, row->messages, row->lost, row->twice,
           row->wrong, row->crashes, row->seconds);
    fflush(stdout);
}

static void add(struct row *total, const struct row *row)
{
    total->cases += row->cases;
    total->reached += row->reached;
    total->messages += row->messages;
    total->lost += row->lost;
    total->twice += row->twice;
    total->wrong += row->wrong;
    total->crashes += row->crashes;
    total->seconds += row->seconds;
}

int main(int argc, char **argv)
{
    static const struct faults_kind *const groups[] = {faults_offsets, faults_signals,
                                                       faults_descriptors, faults_allocations,
                                                       faults_configuration};
    const char *mode = getenv("FAULTS"), *seed = getenv("SEED");
    struct faults_plan plan = {.quick = mode != NULL && strcmp(mode, "quick") == 0,
                               .seed = seed != NULL ? strtoull(seed, NULL, 10) : 1};
    struct row total = {.kind = "in all"};

    if (argc > 1 && strcmp(argv[1], "receive") == 0)
        return receiver_main(argc, argv);
    printf("%-28s %7s %8s %9s %6s %10s %6s %8s\n", "kind", "cases", "reached", "messages",
           "lost", "run twice", "wrong", "crashes");
    for (size_t group = 0; group < sizeof(groups) / sizeof(groups[0]); group++)
        for (const struct faults_kind *kind = groups[group]; kind->name != NULL; kind++)
            if (chosen(kind->name, argc, argv)) {
                struct row row = run_kind(kind, &plan);
                print_row(&row);
                add(&total, &row);
            }
    print_row(&total);
    return total.cases > 0 && total.lost + total.twice + total.wrong + total.crashes == 0 ? 0
                                                                                          : 1;
}
