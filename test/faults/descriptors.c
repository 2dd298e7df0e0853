/* SPDX-License-Identifier: Apache-2.0
 *
 * No descriptors are left: RLIMIT_NOFILE falls below what is open while messages flow, in
 * the sender or in the receiver. What is connected goes on; what needs a new connection
 * waits or ends honestly; once there are descriptors again, everything flows again.
 */
#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "test/faults/faults.h"

#define CASE_STRIDE    4096
#define PEERS          24 /* the first half is connected before descriptors run out */
#define RESULT_WAIT_MS 60000
#define EACH           50 /* messages per peer and phase */

struct shortage {
    struct row *row;
    struct rig rig;
    parley_peer peers[PEERS];
    uint32_t posted[PEERS];
    pid_t victim;
    struct rlimit before;
};

#define DESCRIPTORS_MAX 65536

/* The lowest number that is free: with it as the limit no descriptor can be had, while the
   ones above it work on. */
static rlim_t lowest_free(pid_t process)
{
    static bool taken[DESCRIPTORS_MAX];
    char path[64];
    rlim_t number = 0;

    memset(taken, 0, sizeof(taken));
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)process);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        number = strtoul(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && number < DESCRIPTORS_MAX)
            taken[number] = true;
    }
    if (directory != NULL && process == getpid())
        taken[dirfd(directory)] = false;
    if (directory != NULL)
        closedir(directory);
    for (number = 0; number < DESCRIPTORS_MAX - 1 && taken[number];)
        number++;
    return number;
}

static void run_out(struct shortage *shortage)
{
    struct rlimit limit;

    prlimit(shortage->victim, RLIMIT_NOFILE, NULL, &shortage->before);
    limit = shortage->before;
    limit.rlim_cur = lowest_free(shortage->victim);
    prlimit(shortage->victim, RLIMIT_NOFILE, &limit, NULL);
}

static void give_back(struct shortage *shortage)
{
    prlimit(shortage->victim, RLIMIT_NOFILE, &shortage->before, NULL);
}

static void post_to(struct shortage *shortage, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        for (unsigned n = 0; n < EACH; n++) {
            struct book_key key = {i, shortage->posted[i], BOOK_ACCEPT};

            if (rig_post(&shortage->rig, shortage->peers[i], key, PARLEY_HINT_NONE) ==
                PARLEY_OK)
                shortage->posted[i]++;
            else
                shortage->row->wrong++;
        }
}

static bool await_from(struct shortage *shortage, unsigned first, unsigned count)
{
    bool there = true;

    for (unsigned i = first; i < first + count; i++)
        there = rig_await(&shortage->rig, i, shortage->posted[i], RESULT_WAIT_MS) && there;
    if (!there) {
        shortage->row->wrong++;
        row_say(shortage->row, "results did not come");
    }
    return there;
}

static uint32_t delivered(struct shortage *shortage, unsigned peer, uint32_t from)
{
    uint32_t count = 0;

    for (uint32_t n = from; n < shortage->posted[peer]; n++) {
        struct book_key key = {peer, n, BOOK_ACCEPT};
        count += atomic_load(&rig_slot(&shortage->rig, key)->outcome) == PARLEY_DELIVERED;
    }
    return count;
}

static bool add_peers(struct shortage *shortage)
{
    char id[32], url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)shortage->rig.receiver.port);
    for (unsigned i = 0; i < PEERS; i++) {
        parley_peer_options options;

        parley_peer_options_init(&options);
        options.preference_set = true;
        options.preference = i % 2 == 0 ? PARLEY_WEBSOCKET_ONLY : PARLEY_WEBSOCKET_FIRST;
        snprintf(id, sizeof(id), "peer-%u", i);
        if (parley_peer_add(shortage->rig.sender, id, url, &options, &shortage->peers[i]) !=
            PARLEY_OK)
            return false;
    }
    return true;
}

static void expect_all(struct shortage *shortage, unsigned peer, uint32_t from,
                       const char *when)
{
    uint32_t count = delivered(shortage, peer, from);

    if (count == shortage->posted[peer] - from)
        return;
    shortage->row->lost++;
    row_say(shortage->row, "peer %u: %u of %u delivered %s", peer, count,
            shortage->posted[peer] - from, when);
}

/* `from`: what each had been posted before descriptors were back. */
static void flow_again(struct shortage *shortage)
{
    uint32_t from[PEERS];

    memcpy(from, shortage->posted, sizeof(from));
    post_to(shortage, 0, PEERS);
    await_from(shortage, 0, PEERS);
    for (unsigned i = 0; i < PEERS; i++)
        expect_all(shortage, i, from[i], "with descriptors again");
}

static void one_round(struct shortage *shortage)
{
    const unsigned half = PEERS / 2;
    bool ran_out = false;

    post_to(shortage, 0, half);
    await_from(shortage, 0, half);
    run_out(shortage);
    post_to(shortage, 0, PEERS);
    await_from(shortage, 0, half);
    for (unsigned i = 0; i < half; i++)
        expect_all(shortage, i, 0, "over connections that were there");
    /* the others may be waiting, or have their honest end: both are checked below */
    const struct timespec shortage_lasts = {.tv_nsec = 300000000};
    nanosleep(&shortage_lasts, NULL);
    for (unsigned i = half; i < PEERS; i++)
        ran_out = ran_out || delivered(shortage, i, 0) < shortage->posted[i];
    give_back(shortage);
    shortage->row->reached += ran_out;
    await_from(shortage, half, half);
    flow_again(shortage);
    shortage->row->cases++;
    for (unsigned i = 0; i < PEERS; i++)
        rig_check(&shortage->rig, shortage->row, i, NULL, shortage->posted[i], RIG_HONEST);
}

static void play(struct row *row, bool of_sender)
{
    struct shortage *shortage = calloc(1, sizeof(*shortage));
    parley_options options;

    if (shortage == NULL)
        abort();
    shortage->row = row;
    rig_options(&options);
    options.ttl_ms = 5000;
    if (rig_open(&shortage->rig, CASE_STRIDE, &options) && add_peers(shortage)) {
        shortage->victim = of_sender ? getpid() : shortage->rig.receiver.process;
        one_round(shortage);
        rig_close(&shortage->rig, row);
    } else {
        row->wrong++;
    }
    free(shortage);
}

static void in_sender(const struct faults_plan *plan, struct row *row)
{
    for (unsigned i = 0; i < (plan->quick ? 1u : 5u); i++)
        play(row, true);
}

static void in_receiver(const struct faults_plan *plan, struct row *row)
{
    for (unsigned i = 0; i < (plan->quick ? 1u : 5u); i++)
        play(row, false);
}

const struct faults_kind faults_descriptors[] = {
    {"no descriptors, sender", in_sender},
    {"no descriptors, receiver", in_receiver},
    {NULL, NULL},
};
