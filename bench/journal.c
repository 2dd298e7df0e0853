/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal: see journal.h. A stream is what one thread posts to one peer; its messages
 * are numbered from 1 and stand next to each other.
 */
#include "bench/journal.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/usage.h"

struct journal_stream {
    _Alignas(64) _Atomic(uint64_t) last;
    _Atomic(uint32_t) life;
    _Atomic(uint64_t) out_of_order;
};

struct journal_file {
    uint64_t peers, threads, each, streams_at, entries_at;
    _Atomic(uint32_t) life; /* of the receiver that runs or is about to */
    uint32_t faults;
    uint64_t began_ns[JOURNAL_FAULTS], over_ns[JOURNAL_FAULTS];
};

/* relaxed, both: see struct journal_entry. */
#define GET(member)       atomic_load_explicit(&(member), memory_order_relaxed)
#define PUT(member, more) atomic_store_explicit(&(member), (more), memory_order_relaxed)

static struct journal_stream *stream_at(const struct journal *journal, uint64_t index)
{
    char *base = (char *)journal->file + journal->file->streams_at;

    return (struct journal_stream *)(void *)base + index;
}

static struct journal_entry *entry_at(const struct journal *journal, uint64_t index)
{
    char *base = (char *)journal->file + journal->file->entries_at;

    return (struct journal_entry *)(void *)base + index;
}

static uint64_t stream_of(const struct journal_file *file, struct payload_key key)
{
    assert(key.peer < file->peers && key.thread < file->threads);
    return key.peer * file->threads + key.thread;
}

static bool map(struct journal *journal)
{
    void *memory =
        mmap(NULL, journal->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, journal->fd, 0);

    journal->file = memory != MAP_FAILED ? memory : NULL;
    return memory != MAP_FAILED;
}

bool journal_create(struct journal *journal, uint64_t peers, uint64_t threads,
                    uint64_t messages)
{
    struct journal_file file = {
        .peers = peers, .threads = threads, .each = messages / peers / threads + 2};
    uint64_t streams = peers * threads;

    file.streams_at = (sizeof(file) + 63) / 64 * 64;
    file.entries_at = file.streams_at + streams * sizeof(struct journal_stream);
    journal->bytes = file.entries_at + streams * file.each * sizeof(struct journal_entry);
    journal->fd = memfd_create("journal", MFD_CLOEXEC);
    if (journal->fd < 0 || ftruncate(journal->fd, (off_t)journal->bytes) != 0 || !map(journal))
        return false;
    *journal->file = file;
    return true;
}

bool journal_open(struct journal *journal, int fd)
{
    struct stat about;

    journal->fd = fd;
    if (fstat(fd, &about) != 0)
        return false;
    journal->bytes = (uint64_t)about.st_size;
    return map(journal);
}

void journal_close(struct journal *journal)
{
    if (journal->file == NULL)
        return;
    munmap(journal->file, journal->bytes);
    close(journal->fd);
    journal->file = NULL;
}

void journal_new_life(struct journal *journal)
{
    PUT(journal->file->life, GET(journal->file->life) + 1);
}

void journal_fault(struct journal *journal, uint64_t began_ns, uint64_t over_ns)
{
    struct journal_file *file = journal->file;

    assert(file->faults < JOURNAL_FAULTS);
    file->began_ns[file->faults] = began_ns;
    file->over_ns[file->faults++] = over_ns;
}

static struct journal_entry *entry_of(const struct journal *journal, struct payload_key key)
{
    assert(key.number >= 1 && key.number <= journal->file->each);
    return entry_at(journal,
                    stream_of(journal->file, key) * journal->file->each + key.number - 1);
}

struct journal_entry *journal_posted(const struct journal *journal, struct payload_key key,
                                     uint64_t hash)
{
    struct journal_entry *entry = entry_of(journal, key);

    PUT(entry->hash, hash);
    return entry;
}

void journal_delivered(struct journal_entry *entry)
{
    PUT(entry->result_ns, usage_now_ns());
}

/* The first run in a new receiver may go back, to what was in flight; never ahead. */
static void note_order(const struct journal *journal, struct payload_key key, uint32_t life)
{
    struct journal_stream *stream = stream_at(journal, stream_of(journal->file, key));
    uint64_t last = GET(stream->last);
    bool first_here = GET(stream->life) != life;

    if (first_here ? key.number > last + 1 : key.number != last + 1)
        PUT(stream->out_of_order, GET(stream->out_of_order) + 1);
    PUT(stream->life, life);
    PUT(stream->last, key.number);
}

void journal_ran(const struct journal *journal, struct payload_key key, uint64_t hash,
                 bool redelivered)
{
    if (key.number < 1 || key.number > journal->file->each)
        return;
    struct journal_entry *entry = entry_of(journal, key);
    uint32_t life = GET(journal->file->life);
    uint64_t now_ns = usage_now_ns();
    uint16_t runs = GET(entry->runs);

    note_order(journal, key, life);
    if (runs == 0)
        PUT(entry->first_ns, now_ns);
    if (runs > 0 && GET(entry->life) == life)
        PUT(entry->same_life, (uint16_t)(GET(entry->same_life) + 1));
    if (runs > 0 && !redelivered)
        PUT(entry->unmarked, (uint16_t)(GET(entry->unmarked) + 1));
    if (hash != GET(entry->hash))
        PUT(entry->changed, (uint16_t)(GET(entry->changed) + 1));
    PUT(entry->life, life);
    PUT(entry->last_ns, now_ns);
    PUT(entry->runs, (uint16_t)(runs + 1));
}

/* ---- afterwards ---- */

/* Whether it had run and had no result when a fault fell, and never ran after its result. */
static bool was_in_flight(const struct journal_file *file, const struct journal_entry *entry)
{
    uint64_t first_ns = GET(entry->first_ns), result_ns = GET(entry->result_ns);

    for (uint32_t i = 0; i < file->faults; i++)
        if (first_ns <= file->over_ns[i] && result_ns >= file->began_ns[i])
            return GET(entry->last_ns) <= result_ns;
    return false;
}

static void count_entry(const struct journal_file *file, const struct journal_entry *entry,
                        struct journal_counts *counts)
{
    uint64_t runs = GET(entry->runs);

    counts->handled_at_least_once += runs > 0;
    counts->runs += runs;
    counts->changed += GET(entry->changed);
    if (runs < 2)
        return;
    counts->second_runs += runs - 1;
    counts->second_runs_marked += runs - 1 - GET(entry->unmarked);
    counts->second_runs_in_flight += was_in_flight(file, entry) ? runs - 1 : 0;
    counts->run_twice_by_one_receiver += GET(entry->same_life);
}

struct journal_counts journal_count(const struct journal *journal)
{
    const struct journal_file *file = journal->file;
    struct journal_counts counts = {.faults = file->faults};

    for (uint64_t i = 0; i < file->peers * file->threads; i++)
        counts.out_of_order += GET(stream_at(journal, i)->out_of_order);
    for (uint64_t i = 0; i < file->peers * file->threads * file->each; i++)
        count_entry(file, entry_at(journal, i), &counts);
    return counts;
}

void journal_print(FILE *out, const struct journal_counts *counts, bool json)
{
    const char *between = "{";

#define PRINT_(member)                                                       \
    if (json)                                                                \
        fprintf(out, "%s\"%s\":%" PRIu64, between, #member, counts->member); \
    else                                                                     \
        fprintf(out, "%-27s %10" PRIu64 "\n", #member, counts->member);      \
    between = ",";
    JOURNAL_COUNTS_MAP(PRINT_)
#undef PRINT_
    if (json)
        fputs("}", out);
}
