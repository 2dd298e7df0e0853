/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiving node, a process of its own that embeds the library. It is this program,
 * run again; it writes its books, ends when its standard input ends, and dies with the test.
 */
#ifndef PARLEY_TEST_FAULTS_RECEIVER_H
#define PARLEY_TEST_FAULTS_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "test/faults/books.h"

struct receiver {
    pid_t process;
    int input;
    int books_fd;
    uint16_t port;
    struct books *books;
    unsigned crashes; /* ends that nobody asked for */
};

/** Maps empty books of cases with up to `stride` messages, and starts it on any port.
 *  @return false: told on stderr */
bool receiver_start(struct receiver *receiver, uint32_t stride);

/** Starts it again, with the same books and port. */
bool receiver_restart(struct receiver *receiver);

/** SIGKILLs it and waits for its end. */
void receiver_kill(struct receiver *receiver);

/** Lets it end by itself, counting a crash if it does not do so properly. Keeps the books. */
void receiver_stop(struct receiver *receiver);

/** Unmaps the books. */
void receiver_free(struct receiver *receiver);

/** main() of the process. */
int receiver_main(int argc, char **argv);

#endif
