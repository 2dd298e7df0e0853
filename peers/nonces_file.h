/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps the memory against replay across restarts: two files in security.state_dir,
 * nonces-NODE.0 and .1. Records are appended to one of them; when that one is older than the
 * window, everything in the other has expired: it is emptied and written from then on. So
 * nothing is ever rewritten.
 *
 * A record is one write() and no fsync(): it survives the end of the process, however sudden.
 * What the kernel had not written when the machine lost its power is gone, and with it the
 * promise for what was taken in those seconds. A record that is cut off or damaged ends the
 * reading of its file, which is cut there.
 *
 * Threads: nonces_file_add() any; a worker calls it, and append to the page cache is all.
 */
#ifndef PARLEY_PEERS_NONCES_FILE_H
#define PARLEY_PEERS_NONCES_FILE_H

#include "peers/nonces.h"

struct log;

/**
 * Reads what is there into `nonces`, and writes to it from now on.
 *
 * @param error receives "PATH: reason"
 * @return PARLEY_OK; PARLEY_ESYSTEM (the directory or a file cannot be used, or another
 *         process has it); PARLEY_ENOMEM
 */
parley_status nonces_file_open(struct nonces *nonces, const char *state_dir,
                               const char *node_id, uint64_t now_ns, uint64_t wall_us,
                               char *error, size_t error_len);

/** NULL is allowed, in both. */
void nonces_file_close(struct nonces_file *file);
void nonces_file_add(struct nonces_file *file, enum nonces_kind kind, const char *sender,
                     const char *text, uint64_t newest_us, uint64_t wall_us);

#endif
