/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a configuration while its k-th allocation fails. There is no allocator of a host
 * yet at that time, so this program is linked with malloc() and its like wrapped; calls from
 * shared libraries (libyaml's) are not. Only the thread that asks for it is watched.
 */
#include <stdlib.h>
#include <unistd.h>

#include "test/faults/faults.h"

#define CASES_MAX 5000

static _Thread_local struct {
    bool on;
    int64_t next; /* requests until one fails */
    bool failed;
    int64_t out;
} watch;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void __wrap_free(void *memory);

static bool fails(void)
{
    if (!watch.on || --watch.next != 0)
        return false;
    watch.failed = true;
    return true;
}

static void *counted(void *memory)
{
    watch.out += watch.on && memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (fails())
        return NULL;
    return memory == NULL ? counted(__real_realloc(NULL, bytes))
                          : __real_realloc(memory, bytes);
}

void __wrap_free(void *memory)
{
    watch.out -= watch.on && memory != NULL;
    __real_free(memory);
}

static const char text[] =
    "node: {id: n-1, listen_host: 127.0.0.1}\n"
    "runtime: {workers: 2}\n"
    "peers:\n"
    "  - {id: a, url: 'http://127.0.0.1:1'}\n"
    "  - {id: b, url: 'http://127.0.0.1:2', token: abc, preference: http_only}\n"
    "  - {id: c}\n";

static void complain(struct row *row, int64_t k, const char *what)
{
    row->wrong++;
    row_say(row, "allocation %lld: %s", (long long)k, what);
}

static bool fair(parley_status status)
{
    return status == PARLEY_OK || status == PARLEY_ENOMEM;
}

/* @return whether an allocation failed */
static bool play(struct row *row, const char *path, int64_t k)
{
    parley_config *config = NULL;
    char error[512];

    watch.next = k;
    watch.failed = false;
    watch.out = 0;
    watch.on = true;
    parley_status loaded = parley_config_load(path, error, sizeof(error), &config);
    parley_status set = loaded == PARLEY_OK ? parley_config_set(config, "node.id", "another",
                                                                error, sizeof(error))
                                            : PARLEY_OK;
    parley_config_free(config);
    watch.on = false;
    if (!fair(loaded) || !fair(set))
        complain(row, k, error);
    if (watch.failed && loaded == PARLEY_OK && set == PARLEY_OK)
        complain(row, k, "no status told of it");
    if (watch.out != 0)
        complain(row, k, "leaked");
    row->cases++;
    row->reached += watch.failed;
    return watch.failed;
}

static void load(const struct faults_plan *plan, struct row *row)
{
    char path[] = "/tmp/parley-faults-XXXXXX";
    int fd = mkstemp(path);

    (void)plan;
    if (fd < 0 || write(fd, text, sizeof(text) - 1) != (ssize_t)sizeof(text) - 1)
        abort();
    close(fd);
    for (int64_t k = 1; k < CASES_MAX && play(row, path, k); k++)
        continue;
    unlink(path);
}

const struct faults_kind faults_configuration[] = {
    {"each allocation, config load", load},
    {NULL, NULL},
};
