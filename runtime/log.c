/* SPDX-License-Identifier: Apache-2.0
 *
 * One line per call. What goes into a line may come from a peer, so control characters
 * become spaces: nobody outside can forge a second line.
 */
#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 512

/* Takes the part of a UTF-8 sequence off that a cut left at the end. */
static void trim_partial(char *line)
{
    size_t end = strlen(line);
    size_t lead = end;
    size_t want;

    while (lead > 0 && end - lead < 3 && ((unsigned char)line[lead - 1] & 0xc0) == 0x80)
        lead--;
    if (lead == 0)
        return;
    lead--; /* now at the byte that begins the last sequence */
    if ((unsigned char)line[lead] < 0xc0)
        return;
    want = (unsigned char)line[lead] >= 0xf0 ? 4 : (unsigned char)line[lead] >= 0xe0 ? 3 : 2;
    if (end - lead < want)
        line[lead] = '\0';
}

void log_write(const struct log *log, parley_log_level level, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    int length;

    if (log->sink == NULL || level > log->level)
        return;
    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if ((size_t)length >= sizeof(line))
        trim_partial(line);
    for (char *at = line; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    }
    log->sink(level, line, log->user);
}
