/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peers/cli/watch.h"

#define CELLS      24
#define RATE_MS    200 /* time that a rate is worth telling after */
#define HOUR_S     3600
#define LEFT_MAX   (100 * HOUR_S)
#define MIB        1048576.0
#define LEFT_CHARS 64

void progress_init(struct progress_bar *bar)
{
    *bar = (struct progress_bar){.terminal = isatty(STDERR_FILENO) != 0};
}

static void write_left(double seconds, char *text, size_t len)
{
    unsigned left = seconds < LEFT_MAX ? (unsigned)(seconds + 0.5) : LEFT_MAX;

    if (left >= HOUR_S)
        snprintf(text, len, "%u:%02u:%02u left", left / HOUR_S, left / 60 % 60, left % 60);
    else
        snprintf(text, len, "%u:%02u left", left / 60, left % 60);
}

/* The rate since the start, and what it lets expect; "" as long as nothing can be said. */
static void write_rate(const struct progress_bar *bar, uint64_t acknowledged, uint64_t bytes,
                       char *text, size_t len)
{
    int64_t took_ms = watch_now_ms() - bar->start_ms;
    char left[LEFT_CHARS];
    double rate;

    text[0] = '\0';
    if (took_ms < RATE_MS || acknowledged <= bar->from)
        return;
    rate = (double)(acknowledged - bar->from) * 1000 / (double)took_ms;
    write_left((double)(bytes - acknowledged) / rate, left, sizeof(left));
    snprintf(text, len, "  %.1f MiB/s  %s", rate / MIB, left);
}

void progress_show(struct progress_bar *bar, uint64_t message, uint64_t acknowledged,
                   uint64_t bytes)
{
    char cells[CELLS + 1], rate[2 * LEFT_CHARS];
    unsigned full, percent;

    if (!bar->terminal || bytes == 0 || acknowledged > bytes)
        return;
    if (message != bar->message || acknowledged < bar->from) { /* another, or it went back */
        bar->message = message;
        bar->from = acknowledged;
        bar->start_ms = watch_now_ms();
    }
    full = (unsigned)(acknowledged * CELLS / bytes);
    percent = (unsigned)(acknowledged * 100 / bytes);
    memset(cells, '.', CELLS);
    memset(cells, '#', full);
    cells[CELLS] = '\0';
    write_rate(bar, acknowledged, bytes, rate, sizeof(rate));
    fprintf(stderr, "\r\033[K[%s] %3u%%  %.1f of %.1f MiB%s", cells, percent,
            (double)acknowledged / MIB, (double)bytes / MIB, rate);
    fflush(stderr);
    bar->shown = true;
}

void progress_clear(struct progress_bar *bar)
{
    if (!bar->shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar->shown = false;
}
