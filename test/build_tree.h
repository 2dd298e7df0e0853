/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of what was built rather than of what it does: where the sources and this build
 * are, and how to run a command there.
 *
 * The build directory is told by the running program ($BUILD/test/test_X), the source
 * directory is the nearest one above it that has include/parley.h. Compiler and sanitizers
 * are those of the running program, so that a library of the same build can be linked.
 */
#ifndef PARLEY_TEST_BUILD_TREE_H
#define PARLEY_TEST_BUILD_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#define BUILD_TREE_CLANG_HAS_(x) __has_feature(x)
#else
#define BUILD_TREE_CLANG_HAS_(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || BUILD_TREE_CLANG_HAS_(address_sanitizer)
#define BUILD_TREE_SANITIZE "-fsanitize=address,undefined"
#elif defined(__SANITIZE_THREAD__) || BUILD_TREE_CLANG_HAS_(thread_sanitizer)
#define BUILD_TREE_SANITIZE "-fsanitize=thread"
#else
#define BUILD_TREE_SANITIZE ""
#endif

/* gcc and clang do not link each other's sanitizers: never another compiler than ours. */
#ifdef __clang__
#define BUILD_TREE_CC "clang"
#else
#define BUILD_TREE_CC "gcc"
#endif

#define COMMAND_LEN_MAX 8192

struct build_tree {
    char source[PATH_MAX];
    char build[PATH_MAX];
};

/** Cuts the last component off. @return false: there was none */
static inline bool path_up(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path)
        return false;
    *slash = '\0';
    return true;
}

/** Finds both directories. @return false: this program stands elsewhere */
static inline bool build_tree_find(struct build_tree *ret_tree)
{
    struct build_tree tree;
    char header[PATH_MAX + sizeof("/include/parley.h")];
    ssize_t len = readlink("/proc/self/exe", tree.build, sizeof(tree.build) - 1);

    if (len < 0)
        return false;
    tree.build[len] = '\0';
    for (int level = 0; level < 2; level++) {
        if (!path_up(tree.build))
            return false;
    }
    memcpy(tree.source, tree.build, sizeof(tree.source));
    do {
        snprintf(header, sizeof(header), "%s/include/parley.h", tree.source);
        if (access(header, R_OK) == 0) {
            *ret_tree = tree;
            return true;
        }
    } while (path_up(tree.source));
    return false;
}

/** Reads the file `name` below `directory`. @return its text, to be freed, or NULL */
static inline char *file_read(const char *directory, const char *name, size_t bytes_max)
{
    char path[PATH_MAX + 256];
    char *text = malloc(bytes_max + 1);
    size_t len = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "re");
    if (file != NULL && text != NULL) {
        len = fread(text, 1, bytes_max, file);
        text[len] = '\0';
    }
    if (file != NULL)
        fclose(file);
    if (file != NULL && text != NULL && len < bytes_max)
        return text;
    free(text);
    return NULL;
}

/**
 * Runs a shell command and collects what it prints on both outputs, cut to fit.
 *
 * @return its exit code, or -1: it could not be run or died by a signal
 */
static inline int command_run(const char *command, char *output, size_t len)
{
    char merged[COMMAND_LEN_MAX + 32];
    char rest[4096];
    size_t used = 0, got;
    FILE *pipe;
    int status;

    /* in a subshell, or the redirection would miss all but a list's last command */
    if ((size_t)snprintf(merged, sizeof(merged), "( %s ) 2>&1", command) >= sizeof(merged))
        return -1;
    fflush(NULL);
    pipe = popen(merged, "re"); /* NOLINT(cert-env33-c): our own fixed commands */
    if (pipe == NULL)
        return -1;
    while (used + 1 < len && (got = fread(output + used, 1, len - 1 - used, pipe)) > 0)
        used += got;
    output[used] = '\0';
    while (fread(rest, 1, sizeof(rest), pipe) > 0)
        continue; /* or the command would block on a full pipe */
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
