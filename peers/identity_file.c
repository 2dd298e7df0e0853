/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/identity_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peers/base64.h"

#define PATH_BYTES_MAX 4096

/* PrivateKeyInfo of RFC 8410, version 1, up to the seed; SubjectPublicKeyInfo up to the key.
 */
static const uint8_t private_prefix[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                         0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
static const uint8_t public_prefix[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                        0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

#define BEGIN(label) "-----BEGIN " label "-----"
#define END(label)   "-----END " label "-----"

/* ---- PEM ---- */

/* What stands between the two lines that PEM puts around it; `text` ends with a NUL. */
static const char *find_body(const char *text, const char *begin, const char *end,
                             size_t *ret_len)
{
    const char *body = strstr(text, begin);
    const char *after;

    if (body == NULL)
        return NULL;
    body += strlen(begin);
    after = strstr(body, end);
    if (after == NULL)
        return NULL;
    *ret_len = (size_t)(after - body);
    return body;
}

/* Base64 with line breaks anywhere. @return bytes; 0: it is not, or they are too many */
static size_t decode_body(const char *body, size_t len, uint8_t *bytes, size_t capacity)
{
    char text[128], decoded[sizeof(text) / 4 * 3];
    size_t used = 0, decoded_len = 0;

    for (size_t i = 0; i < len && used < sizeof(text); i++) {
        if (strchr(" \t\r\n", body[i]) == NULL)
            text[used++] = body[i];
    }
    if (used == sizeof(text) || !base64_decode(text, used, decoded, &decoded_len) ||
        decoded_len > capacity)
        decoded_len = 0;
    memcpy(bytes, decoded, decoded_len);
    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(decoded, sizeof(decoded));
    return decoded_len;
}

/* @return why it is not what is expected; NULL: it is */
static const char *read_private(const char *text, uint8_t ret_seed[IDENTITY_SEED_BYTES])
{
    uint8_t bytes[sizeof(private_prefix) + IDENTITY_SEED_BYTES];
    const char *reason = NULL, *body;
    size_t len = 0;

    if (strstr(text, BEGIN("ENCRYPTED PRIVATE KEY")) != NULL)
        return "is encrypted with a passphrase, which a node cannot ask for";
    body = find_body(text, BEGIN("PRIVATE KEY"), END("PRIVATE KEY"), &len);
    if (body == NULL)
        return "holds no private key (PKCS#8 in PEM)";
    len = decode_body(body, len, bytes, sizeof(bytes));
    if (len != sizeof(bytes) || memcmp(bytes, private_prefix, sizeof(private_prefix)) != 0)
        reason = "holds no Ed25519 key, or not as parley keygen writes it";
    else
        memcpy(ret_seed, bytes + sizeof(private_prefix), IDENTITY_SEED_BYTES);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return reason;
}

static const char *read_public(const char *text, size_t len,
                               uint8_t ret_key[IDENTITY_KEY_BYTES])
{
    uint8_t bytes[sizeof(public_prefix) + IDENTITY_KEY_BYTES];
    const char *body = find_body(text, BEGIN("PUBLIC KEY"), END("PUBLIC KEY"), &len);

    if (strstr(text, "PRIVATE KEY") != NULL)
        return "holds a private key, which must not leave its owner";
    if (body != NULL) {
        if (decode_body(body, len, bytes, sizeof(bytes)) != sizeof(bytes) ||
            memcmp(bytes, public_prefix, sizeof(public_prefix)) != 0)
            return "holds no Ed25519 key";
        memcpy(ret_key, bytes + sizeof(public_prefix), IDENTITY_KEY_BYTES);
    } else {
        while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
            len--;
        if (!identity_from_hex(text, len, ret_key))
            return "holds no public key (64 hex digits, or PEM)";
    }
    return NULL;
}

/* ---- Reading ---- */

/* @return why the file must not be believed; NULL: it may be */
static const char *judge_private(const struct stat *file)
{
    if (!S_ISREG(file->st_mode))
        return "is no regular file";
    if (file->st_uid != geteuid())
        return "belongs to another user";
    if ((file->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return "is open to group or others; expected mode 0600";
    return file->st_size > IDENTITY_FILE_BYTES_MAX ? "is too large for a key" : NULL;
}

static const char *judge_public(const struct stat *file)
{
    if (!S_ISREG(file->st_mode))
        return "is no regular file";
    if (file->st_uid != geteuid() && file->st_uid != 0)
        return "belongs to another user";
    if ((file->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "can be written by group or others; expected mode 0644";
    return file->st_size > IDENTITY_FILE_BYTES_MAX ? "is too large for a key" : NULL;
}

/* @return bytes, at most `capacity`; negative: errno says why */
static ssize_t read_all(int file, char *buffer, size_t capacity)
{
    size_t used = 0;
    ssize_t got;

    while (used < capacity) {
        got = read(file, buffer + used, capacity - used);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return -1;
        used += got > 0 ? (size_t)got : 0;
    }
    return (ssize_t)used;
}

static const char *open_error(void)
{
    return errno == ELOOP ? "is a symbolic link" : strerror(errno);
}

/* The file's text with a NUL behind it, in a buffer of IDENTITY_FILE_BYTES_MAX + 2. */
static parley_status slurp(int file, const char *(*judge)(const struct stat *file), char *text,
                           size_t *ret_len, const char **ret_reason)
{
    struct stat status;
    ssize_t len;

    if (fstat(file, &status) != 0) {
        *ret_reason = strerror(errno);
        return PARLEY_ESYSTEM;
    }
    *ret_reason = judge(&status);
    if (*ret_reason != NULL)
        return PARLEY_ECONFIG;
    len = read_all(file, text, IDENTITY_FILE_BYTES_MAX + 1);
    if (len < 0) {
        *ret_reason = strerror(errno);
        return PARLEY_ESYSTEM;
    }
    text[len] = '\0';
    *ret_len = (size_t)len;
    if (len > IDENTITY_FILE_BYTES_MAX)
        *ret_reason = "is too large for a key";
    return len > IDENTITY_FILE_BYTES_MAX ? PARLEY_ECONFIG : PARLEY_OK;
}

/* O_NONBLOCK: a pipe without a writer must not hold us up until it is refused. */
#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

parley_status identity_file_read(const char *path, char *error, size_t error_len,
                                 uint8_t ret_seed[IDENTITY_SEED_BYTES])
{
    char text[IDENTITY_FILE_BYTES_MAX + 2];
    const char *reason = NULL;
    parley_status status;
    size_t len = 0;
    int file = open(path, READ_FLAGS | O_NOFOLLOW);

    if (file < 0) {
        status = errno == ELOOP ? PARLEY_ECONFIG : PARLEY_ESYSTEM;
        snprintf(error, error_len, "%s: %s", path, open_error());
        return status;
    }
    status = slurp(file, judge_private, text, &len, &reason);
    close(file);
    if (status == PARLEY_OK) {
        reason = read_private(text, ret_seed);
        status = reason == NULL ? PARLEY_OK : PARLEY_ECONFIG;
    }
    if (status != PARLEY_OK)
        snprintf(error, error_len, "%s: %s", path, reason);
    OPENSSL_cleanse(text, sizeof(text));
    return status;
}

parley_status identity_file_read_public(int directory, const char *name, char *error,
                                        size_t error_len, uint8_t ret_key[IDENTITY_KEY_BYTES])
{
    char text[IDENTITY_FILE_BYTES_MAX + 2];
    const char *reason = NULL;
    parley_status status;
    size_t len = 0;
    int file = openat(directory, name, READ_FLAGS);

    if (file < 0) {
        snprintf(error, error_len, "%s", strerror(errno));
        return PARLEY_ESYSTEM;
    }
    status = slurp(file, judge_public, text, &len, &reason);
    close(file);
    if (status == PARLEY_OK) {
        reason = read_public(text, len, ret_key);
        if (reason == NULL && !identity_key_acceptable(ret_key))
            reason = "holds a key of small order, or not in its one encoding";
        status = reason == NULL ? PARLEY_OK : PARLEY_ECONFIG;
    }
    if (status != PARLEY_OK)
        snprintf(error, error_len, "%s", reason);
    OPENSSL_cleanse(text, sizeof(text)); /* it may have been the wrong file */
    return status;
}

/* ---- Writing ---- */

/* Three lines. @return bytes */
static size_t write_pem(const uint8_t seed[IDENTITY_SEED_BYTES], char *text, size_t len)
{
    char bytes[sizeof(private_prefix) + IDENTITY_SEED_BYTES],
        body[65]; /* base64_chars(48) and a NUL */
    int used;

    memcpy(bytes, private_prefix, sizeof(private_prefix));
    memcpy(bytes + sizeof(private_prefix), seed, IDENTITY_SEED_BYTES);
    base64_encode(bytes, sizeof(bytes), body);
    body[64] = '\0';
    used = snprintf(text, len, "%s\n%s\n%s\n", BEGIN("PRIVATE KEY"), body, END("PRIVATE KEY"));
    OPENSSL_cleanse(bytes, sizeof(bytes));
    OPENSSL_cleanse(body, sizeof(body));
    return (size_t)used;
}

static bool write_all(int file, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(file, text, len);

        if (wrote < 0 && errno != EINTR)
            return false;
        text += wrote > 0 ? wrote : 0;
        len -= wrote > 0 ? (size_t)wrote : 0;
    }
    return fsync(file) == 0;
}

/* What is written survives a crash only once its directory is written, too. */
static void sync_directory(const char *path)
{
    char directory[PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    int file;

    snprintf(directory, sizeof(directory), "%.*s",
             slash == NULL ? 1 : (int)(slash - path) + (slash == path),
             slash == NULL ? "." : path);
    file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0)
        return;
    (void)fsync(file);
    close(file);
}

/* Gives the finished file its name; link() is what fails where that is taken. */
static parley_status put_in_place(const char *temporary, const char *path, bool overwrite)
{
    if (overwrite)
        return rename(temporary, path) == 0 ? PARLEY_OK : PARLEY_ESYSTEM;
    if (link(temporary, path) == 0)
        return PARLEY_OK;
    return errno == EEXIST ? PARLEY_EEXIST : PARLEY_ESYSTEM;
}

static parley_status write_file(const char *path, const char *temporary, int file,
                                const uint8_t *seed, bool overwrite)
{
    char text[256];
    size_t len = write_pem(seed, text, sizeof(text));
    parley_status status = write_all(file, text, len) ? PARLEY_OK : PARLEY_ESYSTEM;

    OPENSSL_cleanse(text, sizeof(text));
    if (status == PARLEY_OK)
        status = put_in_place(temporary, path, overwrite);
    return status;
}

parley_status identity_file_write(const char *path, const uint8_t seed[IDENTITY_SEED_BYTES],
                                  bool overwrite, char *error, size_t error_len)
{
    char temporary[PATH_BYTES_MAX];
    parley_status status;
    int file, code;

    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >=
        sizeof(temporary)) {
        snprintf(error, error_len, "%.80s...: %s", path, strerror(ENAMETOOLONG));
        return PARLEY_ESYSTEM;
    }
    file = mkostemp(temporary, O_CLOEXEC); /* with mode 0600 */
    if (file < 0) {
        snprintf(error, error_len, "%s: %s", path, strerror(errno));
        return PARLEY_ESYSTEM;
    }
    status = write_file(path, temporary, file, seed, overwrite);
    code = errno;
    close(file);
    if (status != PARLEY_OK || !overwrite)
        unlink(temporary);
    if (status == PARLEY_OK)
        sync_directory(path);
    else
        snprintf(error, error_len, "%s: %s", path,
                 status == PARLEY_EEXIST ? "exists, and is kept" : strerror(code));
    return status;
}

/* ---- For hosts ---- */

static parley_status describe(const uint8_t seed[IDENTITY_SEED_BYTES], parley_key *ret_key)
{
    struct identity *identity = NULL;
    struct alloc alloc;
    parley_status status;

    alloc_init(&alloc, NULL);
    status = identity_new(&alloc, seed, &identity);
    if (status != PARLEY_OK)
        return status;
    identity_hex(identity_public(identity), ret_key->public_key);
    identity_fingerprint(identity_public(identity), ret_key->fingerprint);
    identity_free(identity);
    return PARLEY_OK;
}

static bool random_seed(uint8_t seed[IDENTITY_SEED_BYTES])
{
    size_t used = 0;

    while (used < IDENTITY_SEED_BYTES) {
        ssize_t got = getrandom(seed + used, IDENTITY_SEED_BYTES - used, 0);

        if (got < 0 && errno != EINTR)
            return false;
        used += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static_assert(sizeof(((parley_key *)NULL)->public_key) == IDENTITY_KEY_HEX + 1 &&
                  sizeof(((parley_key *)NULL)->fingerprint) == IDENTITY_FINGERPRINT_CHARS + 1,
              "as parley.h says");

parley_status parley_key_create(const char *path, bool overwrite, char *error,
                                size_t error_len, parley_key *ret_key)
{
    uint8_t seed[IDENTITY_SEED_BYTES];
    char unread[1];
    parley_status status;
    parley_key key;

    if (error == NULL || error_len == 0) {
        error = unread;
        error_len = sizeof(unread);
    }
    error[0] = '\0';
    if (!random_seed(seed))
        return PARLEY_ESYSTEM;
    status = describe(seed, &key);
    if (status == PARLEY_OK)
        status = identity_file_write(path, seed, overwrite, error, error_len);
    OPENSSL_cleanse(seed, sizeof(seed));
    if (status == PARLEY_OK && ret_key != NULL)
        *ret_key = key;
    return status;
}

parley_status parley_key_read(const char *path, char *error, size_t error_len,
                              parley_key *ret_key)
{
    uint8_t seed[IDENTITY_SEED_BYTES];
    char unread[1];
    parley_status status;

    if (error == NULL || error_len == 0) {
        error = unread;
        error_len = sizeof(unread);
    }
    error[0] = '\0';
    status = identity_file_read(path, error, error_len, seed);
    if (status == PARLEY_OK)
        status = describe(seed, ret_key);
    OPENSSL_cleanse(seed, sizeof(seed));
    return status;
}
