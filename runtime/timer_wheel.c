/* SPDX-License-Identifier: Apache-2.0
 *
 * The wheel of timer_wheel.h: level l has 64 slots of 64^l ticks each. A timer stands in the
 * level of the highest 6-bit group in which its tick differs from now's, in the slot that
 * group names; so level 0 is exact, and a timer moves down at most once per level. The last
 * level is circular, and holds what lies beyond it in its farthest slot until that comes.
 *
 * An advance first moves everything due to the `due` list and time to its end, then fires:
 * a callback that starts a timer for the past gets it at the next advance, so an advance
 * always ends.
 */
#include "runtime/timer_wheel.h"

#include <assert.h>

#include "runtime/clock.h"

#define SLOT_BITS  6
#define SLOT_MASK  (TIMER_SLOTS - 1)
#define LEVEL_LAST (TIMER_LEVELS - 1)
#define SLOT_DUE   (TIMER_LEVELS * TIMER_SLOTS)

static_assert(1 << SLOT_BITS == TIMER_SLOTS, "one bit per slot in a word");

static void list_init(struct timer *head)
{
    head->next = head->prev = head;
}

static void list_append(struct timer *head, struct timer *timer)
{
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
}

static void list_remove(struct timer *timer)
{
    timer->next->prev = timer->prev;
    timer->prev->next = timer->next;
    timer->next = timer->prev = NULL;
}

static bool list_empty(const struct timer *head)
{
    return head->next == head;
}

/* Index of `tick`'s slot on a level, counted from the beginning of time. */
static uint64_t position(uint64_t tick, unsigned level)
{
    return tick >> (SLOT_BITS * level);
}

static uint64_t rotate_right(uint64_t bits, unsigned by)
{
    return by == 0 ? bits : bits >> by | bits << (TIMER_SLOTS - by);
}

static uint64_t rotate_left(uint64_t bits, unsigned by)
{
    return by == 0 ? bits : bits << by | bits >> (TIMER_SLOTS - by);
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns)
{
    *wheel = (struct timer_wheel){.now_tick = now_ns / TIMER_TICK_NS};
    list_init(&wheel->due);
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

void timer_init(struct timer *timer, timer_fn fire)
{
    *timer = (struct timer){.fire = fire};
}

bool timer_started(const struct timer *timer)
{
    return timer->next != NULL;
}

/* Which slot `tick`, not before now, belongs to: level * TIMER_SLOTS + slot. */
static uint16_t place(const struct timer_wheel *wheel, uint64_t tick)
{
    const uint64_t differs = tick ^ wheel->now_tick;
    unsigned level = 0;
    uint64_t at;

    if (differs != 0)
        level = (63 - (unsigned)__builtin_clzll(differs)) / SLOT_BITS;
    if (level > LEVEL_LAST)
        level = LEVEL_LAST;
    at = position(tick, level);
    if (at - position(wheel->now_tick, level) >= TIMER_SLOTS)
        at = position(wheel->now_tick, level) + TIMER_SLOTS - 1;
    return (uint16_t)(level * TIMER_SLOTS + (at & SLOT_MASK));
}

static void insert(struct timer_wheel *wheel, struct timer *timer)
{
    const uint64_t now = wheel->now_tick;
    const uint16_t slot = place(wheel, timer->expires_tick > now ? timer->expires_tick : now);
    const unsigned level = slot / TIMER_SLOTS;

    timer->slot = slot;
    list_append(&wheel->slots[level][slot & SLOT_MASK], timer);
    wheel->occupied[level] |= UINT64_C(1) << (slot & SLOT_MASK);
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ns)
{
    assert(timer->fire != NULL);
    timer_stop(wheel, timer);
    timer->expires_tick = expires_ns / TIMER_TICK_NS + (expires_ns % TIMER_TICK_NS != 0);
    insert(wheel, timer);
    wheel->count++;
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
    const unsigned level = timer->slot / TIMER_SLOTS;
    const unsigned slot = timer->slot & SLOT_MASK;

    if (!timer_started(timer))
        return;
    list_remove(timer);
    wheel->count--;
    if (timer->slot != SLOT_DUE && list_empty(&wheel->slots[level][slot]))
        wheel->occupied[level] &= ~(UINT64_C(1) << slot);
}

/* The slots of a level that time passes or enters on its way from now to `target`. On level
 * 0 also the one it stands in: what was started for now or the past. */
static uint64_t slots_passed(const struct timer_wheel *wheel, unsigned level, uint64_t target)
{
    const uint64_t from = position(wheel->now_tick, level) + (level > 0);
    const uint64_t count = position(target, level) + 1 - from;
    const uint64_t bits = count >= TIMER_SLOTS ? UINT64_MAX : (UINT64_C(1) << count) - 1;

    return rotate_left(bits, from & SLOT_MASK);
}

/* Empties the slots in `passed`, the one after `from` first, into `moved`. */
static void take_slots(struct timer_wheel *wheel, unsigned level, uint64_t passed,
                       struct timer *moved)
{
    const unsigned from = position(wheel->now_tick, level) & SLOT_MASK;
    uint64_t left = rotate_right(wheel->occupied[level] & passed, from);

    wheel->occupied[level] &= ~passed;
    for (; left != 0; left &= left - 1) {
        const unsigned slot = (from + (unsigned)__builtin_ctzll(left)) & SLOT_MASK;
        struct timer *head = &wheel->slots[level][slot];

        head->next->prev = moved->prev;
        moved->prev->next = head->next;
        head->prev->next = moved;
        moved->prev = head->prev;
        list_init(head);
    }
}

/* Moves time to `target`, what is due to the due list and the rest to where it belongs. */
static void collect(struct timer_wheel *wheel, uint64_t target)
{
    struct timer moved;

    list_init(&moved);
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        take_slots(wheel, level, slots_passed(wheel, level, target), &moved);
        if (position(wheel->now_tick, level + 1) == position(target, level + 1) &&
            level < LEVEL_LAST)
            break; /* nothing above was passed or entered */
    }
    wheel->now_tick = target;
    while (!list_empty(&moved)) {
        struct timer *timer = moved.next;

        list_remove(timer);
        if (timer->expires_tick <= target) {
            timer->slot = SLOT_DUE;
            list_append(&wheel->due, timer);
        } else {
            insert(wheel, timer);
        }
    }
}

size_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ns)
{
    const uint64_t tick = now_ns / TIMER_TICK_NS;
    size_t fired = 0;

    assert(list_empty(&wheel->due)); /* not from inside a timer's function */
    collect(wheel, tick > wheel->now_tick ? tick : wheel->now_tick);
    while (!list_empty(&wheel->due)) { /* callbacks only ever take from it */
        struct timer *timer = wheel->due.next;

        timer_stop(wheel, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}

uint64_t timer_wheel_next_ns(const struct timer_wheel *wheel)
{
    const uint64_t now = wheel->now_tick;

    if (!list_empty(&wheel->due))
        return (now + 1) * TIMER_TICK_NS;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        const uint64_t at = position(now, level);
        const uint64_t bits = rotate_right(wheel->occupied[level], at & SLOT_MASK);
        uint64_t tick;

        if (bits == 0)
            continue;
        tick = (at + (unsigned)__builtin_ctzll(bits)) << (SLOT_BITS * level);
        return (tick > now ? tick : now + 1) * TIMER_TICK_NS;
    }
    return CLOCK_NEVER;
}

static size_t check_list(const struct timer *head)
{
    size_t length = 0;

    for (const struct timer *timer = head->next; timer != head; timer = timer->next) {
        assert(timer->next->prev == timer && timer->prev->next == timer);
        length++;
    }
    return length;
}

/* Due timers wait in now's slot; all others stand strictly after now. */
static void check_place(const struct timer_wheel *wheel, const struct timer *timer,
                        unsigned level, unsigned slot)
{
    const uint64_t now = wheel->now_tick;
    const uint64_t tick = timer->expires_tick > now ? timer->expires_tick : now;

    assert(timer->slot == level * TIMER_SLOTS + slot);
    if (level < LEVEL_LAST) {
        assert((position(tick, level) & SLOT_MASK) == slot);
        assert(position(tick, level + 1) == position(now, level + 1));
    }
    assert(level == 0 || slot != (position(now, level) & SLOT_MASK));
}

void timer_wheel_check(const struct timer_wheel *wheel)
{
    size_t count = check_list(&wheel->due);

    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++) {
            const struct timer *head = &wheel->slots[level][slot];

            assert((wheel->occupied[level] >> slot & 1) == !list_empty(head));
            for (const struct timer *at = head->next; at != head; at = at->next)
                check_place(wheel, at, level, slot);
            count += check_list(head);
        }
    }
    assert(count == wheel->count);
}
