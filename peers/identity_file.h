/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys on disk. A private key is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes
 * it, too; a public one is 64 hex digits or SubjectPublicKeyInfo in PEM.
 *
 * What is read decides who we are and whom we believe, so a file is judged before a byte of
 * it is: by the descriptor that is then read, so that nobody exchanges it in between. Our own
 * PEM reader keeps the seed in buffers that are wiped.
 */
#ifndef PARLEY_PEERS_IDENTITY_FILE_H
#define PARLEY_PEERS_IDENTITY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/identity.h"

#define IDENTITY_FILE_BYTES_MAX 4096

/**
 * Reads a private key: a regular file of this process's user, no symbolic link, with no
 * permission for group and others, of at most IDENTITY_FILE_BYTES_MAX.
 *
 * @param error    receives "PATH: reason" with PARLEY_ECONFIG and PARLEY_ESYSTEM
 * @param ret_seed the caller's to wipe
 * @return PARLEY_OK; PARLEY_ECONFIG (not such a file, or not such a key in it);
 *         PARLEY_ESYSTEM (it cannot be read)
 */
parley_status identity_file_read(const char *path, char *error, size_t error_len,
                                 uint8_t ret_seed[IDENTITY_SEED_BYTES]);

/**
 * Writes a private key, readable by its owner only. The file is there whole or not at all;
 * one that exists is kept unless `overwrite`.
 *
 * @return PARLEY_OK; PARLEY_EEXIST; PARLEY_ESYSTEM; each failure told in `error`
 */
parley_status identity_file_write(const char *path, const uint8_t seed[IDENTITY_SEED_BYTES],
                                  bool overwrite, char *error, size_t error_len);

/**
 * Reads `name` in an open directory as a public key: a regular file that only its owner, who
 * is this process's user or root, can write. A link is followed: whoever may place one there
 * may place a file.
 *
 * @param error receives the reason, without a name
 * @return PARLEY_OK; PARLEY_ECONFIG; PARLEY_ESYSTEM
 */
parley_status identity_file_read_public(int directory, const char *name, char *error,
                                        size_t error_len, uint8_t ret_key[IDENTITY_KEY_BYTES]);

#endif
