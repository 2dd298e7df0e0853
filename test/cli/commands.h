/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of the `parley` command: runs it as a shell does, and keeps it running as a
 * process of its own whose outputs are read line by line.
 */
#ifndef PARLEY_TEST_CLI_COMMANDS_H
#define PARLEY_TEST_CLI_COMMANDS_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parley.h"
#include "test/build_tree.h"
#include "test/check.h"

#define OUTPUT_MAX 32768
#define WAIT_MS    20000

extern char **environ;

static struct build_tree tree;

/* BUILD/test/cli/test_cli lies one level deeper than build_tree_find() expects. */
static inline void find_tree(void)
{
    const char *slash;

    if (tree.build[0] != '\0')
        return;
    if (!build_tree_find(&tree)) {
        fprintf(stderr, "this program stands outside its build directory\n");
        exit(1);
    }
    slash = strrchr(tree.build, '/');
    if (slash != NULL && strcmp(slash, "/test") == 0)
        path_up(tree.build);
}

/* Runs `parley ARGUMENTS` by the shell, from the source directory. @return its exit code */
__attribute__((format(printf, 2, 3))) static inline int parley_run(char *output,
                                                                   const char *format, ...)
{
    char arguments[4096], command[COMMAND_LEN_MAX];
    va_list list;

    find_tree();
    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    snprintf(command, sizeof(command), "cd '%.1500s' && timeout 60 '%.1500s/parley' %s",
             tree.source, tree.build, arguments);
    return command_run(command, output, OUTPUT_MAX);
}

#define EXPECT_EXIT(code, expected, output)                \
    do {                                                   \
        if (!CHECK_U64((code), (expected)))                \
            fprintf(stderr, "    output: %s\n", (output)); \
    } while (0)

/* A command that runs on while the test goes on. */
struct command {
    pid_t pid;
    int input;  /* -1: it reads nothing */
    int output; /* its standard output */
    int errors; /* its standard error; -1: the test's own */
};

enum command_pipes {
    PIPE_OUTPUT = 0,
    PIPE_INPUT = 1,  /* its standard input, too; else /dev/null */
    PIPE_ERRORS = 2, /* its standard error, too */
};

/* Reads one line; waits for it, not for time. */
static inline bool read_line(int file, char *line, size_t len)
{
    size_t used = 0;

    while (used + 1 < len) {
        struct pollfd wait = {.fd = file, .events = POLLIN};

        if (poll(&wait, 1, WAIT_MS) != 1 || read(file, line + used, 1) != 1)
            break;
        if (line[used] == '\n') {
            line[used] = '\0';
            return true;
        }
        used++;
    }
    line[used] = '\0';
    return false;
}

/* Starts `parley` with these arguments, NULL at the end. Its output goes to `terminal`, or
 * to a pipe when that is -1. */
static inline bool command_start(struct command *command, const char *const *arguments,
                                 unsigned pipes, int terminal)
{
    char program[PATH_MAX + 16];
    char *argv[24] = {program};
    posix_spawn_file_actions_t actions;
    int input[2] = {-1, -1}, output[2] = {-1, -1}, errors[2] = {-1, -1};
    bool spawned;

    find_tree();
    snprintf(program, sizeof(program), "%s/parley", tree.build);
    for (size_t i = 0; i < 22 && arguments[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    if ((terminal < 0 && pipe2(output, O_CLOEXEC) != 0) ||
        ((pipes & PIPE_INPUT) && pipe2(input, O_CLOEXEC) != 0) ||
        ((pipes & PIPE_ERRORS) && pipe2(errors, O_CLOEXEC) != 0))
        return CHECK(false);
    posix_spawn_file_actions_init(&actions);
    if (pipes & PIPE_INPUT)
        posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, terminal < 0 ? output[1] : terminal,
                                     STDOUT_FILENO);
    if (pipes & PIPE_ERRORS)
        posix_spawn_file_actions_adddup2(&actions, errors[1], STDERR_FILENO);
    spawned = posix_spawn(&command->pid, program, &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(output[1]);
    close(input[0]);
    close(errors[1]);
    command->input = input[1];
    command->output = output[0];
    command->errors = errors[0];
    return CHECK(spawned);
}

/* Waits for the end. @return the exit code; -1: a signal ended it, also ours when it hangs */
static inline int command_wait(struct command *command)
{
    char rest[512];
    int file = command->output >= 0 ? command->output : command->errors;
    struct pollfd wait = {.fd = file, .events = POLLIN};
    int status = 0;

    if (command->input >= 0)
        close(command->input);
    while (poll(&wait, 1, WAIT_MS) == 1 && read(file, rest, sizeof(rest)) > 0)
        continue;
    if (wait.revents == 0)
        kill(command->pid, SIGKILL); /* it did not end: fail rather than hang */
    waitpid(command->pid, &status, 0);
    close(command->output);
    close(command->errors);
    command->input = command->output = command->errors = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Sends the signal and waits for the end. */
static inline int command_stop(struct command *command, int signal)
{
    kill(command->pid, signal);
    return command_wait(command);
}

/* A node of its own process: `parley serve` or `parley listen`. */
struct node {
    struct command command;
    char line[512]; /* the first it printed */
    char url[128];
};

/* Takes the address out of the first line. */
static inline bool node_find_url(struct node *node)
{
    const char *url = strstr(node->line, "http://");

    snprintf(node->url, sizeof(node->url), "%.*s", url != NULL ? (int)strcspn(url, "\"") : 0,
             url != NULL ? url : "");
    return CHECK(url != NULL);
}

/* Starts it with these further arguments; NULL ends them. */
static inline bool node_start_as(struct node *node, const char *name,
                                 const char *const *arguments)
{
    bool listens = strcmp(name, "listen") == 0; /* its standard output is for messages */
    const char *argv[24] = {name};

    *node = (struct node){.command = {-1, -1, -1, -1}};
    for (size_t i = 0; i < 22 && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    if (!command_start(&node->command, argv, listens ? PIPE_ERRORS : PIPE_OUTPUT, -1) ||
        !CHECK(read_line(listens ? node->command.errors : node->command.output, node->line,
                         sizeof(node->line))))
        return false;
    return node_find_url(node);
}

static inline bool node_start(struct node *node, const char *const *arguments)
{
    return node_start_as(node, "serve", arguments);
}

static inline int node_stop(struct node *node, int signal)
{
    return command_stop(&node->command, signal);
}

static const char *const any_port[] = {"--listen", "127.0.0.1:0", NULL};

/* A port of loopback on which nobody listens now. */
static inline unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(bind(file, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(getsockname(file, (struct sockaddr *)&address, &len) == 0);
    close(file);
    return ntohs(address.sin_port);
}

/* A file that goes when the test ends. */
static inline void write_file(char *path, const char *text)
{
    int file = mkstemp(path);

    CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
}

#endif
