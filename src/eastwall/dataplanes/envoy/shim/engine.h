/* The engines: connections, outstanding calls, deadlines, circuit breaker.
 *
 * Envoy's workers write frames themselves (never blocking: what the socket does not take at once is queued, up to a limit). One
 * thread per pool reads verdicts, watches deadlines and connections, and wakes a call's worker through Envoy's scheduler.
 *
 * Rules that keep this safe:
 *   - `lock` of the pool guards everything about waiting calls. A wake-up is committed while it is held, and a filter takes its
 *     wait out (ew_pool_forget) under it before it dies, so no wake-up can reach a dead filter's scheduler.
 *   - Each wake-up carries a ticket. A wait that was answered, forgotten or asked anew has another ticket, so a late one is ignored.
 *   - Only the pool's thread opens and closes sockets, under the engine's own lock. The pool's lock is never taken inside it. */
#ifndef EW_ENGINE_H
#define EW_ENGINE_H

#include "abi.h"
#include "frames.h"
#include "settings.h"

struct ew_pool;

enum ew_outcome { EW_PENDING, EW_ANSWERED, EW_TIMED_OUT, EW_LOST, EW_ENGINE_FAILED, EW_HELD_LONG, EW_NOT_SENT };

/* Lives in a filter; zero it, set `scheduler`, then it is the pool's until it is taken or forgotten. */
struct ew_wait {
  abi_scheduler scheduler;
  uint64_t ticket;
  enum ew_outcome outcome;
  uint8_t *reply; /* a VERDICT or RELEASE frame; heap, or `small` */
  size_t reply_size;
  uint8_t small[64];
  /* the pool's */
  bool listed;
  uint32_t slot; /* 0: none */
  size_t engine;
  uint64_t expires_ms;
  struct ew_wait *previous, *next;
};

enum ew_sent { EW_SENT, EW_SENT_NOT_UP, EW_SENT_FULL };

/* A reference to the pool with these options; its thread runs when `start`. NULL without memory or thread. */
struct ew_pool *ew_pool_acquire(const char *text, size_t size, const struct ew_options *options, bool start);
void ew_pool_release(struct ew_pool *pool);
const struct ew_options *ew_pool_options(const struct ew_pool *pool);

/* The engine that serves this hash (the next one that is up when that one is not), or -1. `epoch` changes when it reconnects. */
int ew_pool_choose(struct ew_pool *pool, uint64_t hash, uint64_t *epoch);
/* Sends a finished-but-for-its-wire-id REQUEST, RESPONSE or PIECE and waits for the verdict. */
enum ew_sent ew_pool_ask(struct ew_pool *pool, size_t engine, uint64_t epoch, struct ew_buffer *frame, uint8_t body_state, struct ew_wait *wait);
/* Sends without waiting. */
enum ew_sent ew_pool_tell(struct ew_pool *pool, size_t engine, uint64_t epoch, struct ew_buffer *frame, uint8_t body_state);
/* Sends a COMPLETED frame to that engine, or any other, or keeps it (bounded) for the first one that comes back. False: lost.
 * Only the engine that knows the call can use the copies in it: to others they are not sent. */
bool ew_pool_complete(struct ew_pool *pool, int engine, struct ew_buffer *frame);
/* Wakes the filter with that outcome, from within one of its own hooks, where what is to be done cannot be done. */
void ew_pool_wake(struct ew_pool *pool, struct ew_wait *wait, enum ew_outcome outcome);
/* Wakes the filter with EW_HELD_LONG after hold_ms. */
void ew_pool_hold(struct ew_pool *pool, struct ew_wait *wait);
/* Called when woken: true when `ticket` is current; outcome and reply are then the filter's. */
bool ew_pool_take(struct ew_pool *pool, struct ew_wait *wait, uint64_t ticket);
/* Nothing of this wait will come any more. Safe at any time. */
void ew_pool_forget(struct ew_pool *pool, struct ew_wait *wait);
void ew_wait_drop_reply(struct ew_wait *wait);

/* Room for copies of passing bodies, over all calls. False: there is none left. What was taken is given back. Streams, which may
 * hold theirs for hours, get none beyond half of it. */
bool ew_pool_take_room(struct ew_pool *pool, size_t bytes, bool stream);
void ew_pool_give_room(struct ew_pool *pool, size_t bytes);

uint64_t ew_now_ms(void); /* monotonic */

#endif
