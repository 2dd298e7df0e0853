/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/watch.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* Blocks what the descriptor shall tell. @return the descriptor; -1: there is none */
static int signals_to(int descriptor, bool hangup)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (hangup)
        sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(descriptor, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool watch_open(struct watch *watch)
{
    watch->signals = signals_to(-1, false);
    watch->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->signals >= 0 && watch->bell >= 0)
        return true;
    watch_close(watch);
    return false;
}

bool watch_take_hangup(const struct watch *watch)
{
    return signals_to(watch->signals, true) >= 0;
}

void watch_close(struct watch *watch)
{
    if (watch->signals >= 0)
        close(watch->signals);
    if (watch->bell >= 0)
        close(watch->bell);
    watch->signals = watch->bell = -1;
}

void watch_ring(const struct watch *watch)
{
    /* fails only when the counter is full: then it rings anyway */
    eventfd_write(watch->bell, 1);
}

unsigned watch_wait(const struct watch *watch, int input, int timeout_ms)
{
    struct pollfd files[] = {
        {.fd = watch->signals, .events = POLLIN},
        {.fd = watch->bell, .events = POLLIN},
        {.fd = input, .events = POLLIN},
        {.fd = watch->output, .events = 0}, /* only its POLLERR */
    };
    struct signalfd_siginfo signal;
    eventfd_t rings;
    unsigned seen = 0;

    if (poll(files, sizeof(files) / sizeof(files[0]), timeout_ms) < 0)
        return 0; /* interrupted */
    if (files[0].revents != 0 &&
        read(watch->signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal))
        seen |= signal.ssi_signo == SIGHUP ? WATCH_HANGUP : WATCH_SIGNAL;
    if (files[1].revents != 0 && eventfd_read(watch->bell, &rings) == 0)
        seen |= WATCH_BELL;
    if (files[2].revents != 0)
        seen |= WATCH_INPUT;
    if (files[3].revents & POLLERR)
        seen |= WATCH_OUTPUT;
    return seen;
}

int64_t watch_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
