/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines for humans, handed to the host's sink. The library itself prints nothing.
 */
#ifndef PARLEY_RUNTIME_LOG_H
#define PARLEY_RUNTIME_LOG_H

#include "parley.h"

struct log {
    parley_log_fn sink; /* NULL: silent */
    void *user;
    parley_log_level level;
};

/** Formats one line (512 bytes at most, the rest cut) and hands it to the sink. Any thread. */
__attribute__((format(printf, 3, 4))) void log_write(const struct log *log,
                                                     parley_log_level level,
                                                     const char *format, ...);

#define log_error(log, ...) log_write((log), PARLEY_LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  log_write((log), PARLEY_LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_write((log), PARLEY_LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write((log), PARLEY_LOG_DEBUG, __VA_ARGS__)

#endif
