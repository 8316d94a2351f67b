/* Inside the engine pool: what engine.c (called by Envoy's workers) and engine_thread.c (the pool's thread) share. */
#ifndef EW_POOL_H
#define EW_POOL_H

#include <pthread.h>

#include "engine.h"

enum { READ_SIZE = 1 << 17, STOP_EVENT = EW_ENGINES };

enum state { DOWN, PROBED, UP };

struct engine {
  pthread_mutex_t lock; /* guards fd, out, out_at */
  int fd;
  struct ew_buffer out;
  size_t out_at;
  /* guarded by the pool's lock */
  enum state state;
  uint64_t epoch;
  uint64_t missed;
  /* the pool's thread only */
  struct ew_buffer in;
  bool pinged;
  uint64_t next_try_ms;
};

struct slot {
  struct ew_wait *wait;
  uint32_t generation;
  uint32_t next_free;
};

struct list {
  struct ew_wait *first, *last;
};

struct ew_pool {
  struct ew_pool *next;
  unsigned references;
  char *key;
  size_t key_size;
  struct ew_options options;
  struct engine engines[EW_ENGINES];
  pthread_mutex_t lock;
  struct slot *slots; /* [0] is unused: slot 0 means none */
  uint32_t free_slot;
  struct list deadlines, holds; /* each in order of expiry, because every wait of a list has the same length */
  uint64_t tickets;
  atomic_uint_fast64_t copied; /* bytes */
  struct ew_buffer backlog; /* COMPLETED frames while no engine is up */
  bool running;
  pthread_t thread;
  int epoll;
  int stop_event;
  bool stop;
  uint8_t chunk[READ_SIZE]; /* the pool's thread only */
};

/* The pool's lock is held by the callers of these. */
void ew_unlist(struct ew_pool *pool, struct ew_wait *wait);
void ew_wake(struct ew_pool *pool, struct ew_wait *wait, enum ew_outcome outcome);
void ew_wake_all_of(struct ew_pool *pool, size_t engine, enum ew_outcome outcome);

void *ew_pool_run(void *pool); /* the thread */

#endif
