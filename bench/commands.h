/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench's subcommands. Each gets its own name as argv[0] and returns the process's
 * exit code: 0 everything was as it should be, 1 it was not, 2 usage.
 */
#ifndef PARLEY_BENCH_COMMANDS_H
#define PARLEY_BENCH_COMMANDS_H

int command_fanout(int argc, char **argv);
int command_run(int argc, char **argv);
int command_mailbox(int argc, char **argv);
int command_stall(int argc, char **argv);

#define RECEIVE_JOURNAL_FD 3 /* what it has open there with --journal */

/* What it does for a byte on its standard input; each is answered by a line. */
#define RECEIVE_CUT    'c' /* reset all connections: "cut N" */
#define RECEIVE_OWE    'l' /* handlers answer later from now on: "answered 0" */
#define RECEIVE_ANSWER 'a' /* no more, and here are all answers: "answered N" */

/** Hidden: the receiving node, started by the others as a process of its own. */
int command_receive(int argc, char **argv);

#endif
