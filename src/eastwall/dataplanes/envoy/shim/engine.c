#include "engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

enum { FIRST_WAIT_MS = 250, BACKLOG_LIMIT = 4 << 20 };

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ew_pool *registry;

uint64_t ew_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- waiting calls; the pool's lock is held in all of these ---- */

static void enlist(struct list *list, struct ew_wait *wait) {
  wait->previous = list->last;
  wait->next = NULL;
  if (list->last) list->last->next = wait;
  else list->first = wait;
  list->last = wait;
  wait->listed = true;
}

void ew_unlist(struct ew_pool *pool, struct ew_wait *wait) {
  if (!wait->listed) return;
  struct list *list = wait->slot ? &pool->deadlines : &pool->holds;
  if (wait->previous) wait->previous->next = wait->next;
  else list->first = wait->next;
  if (wait->next) wait->next->previous = wait->previous;
  else list->last = wait->previous;
  wait->listed = false;
  if (wait->slot) {
    struct slot *slot = &pool->slots[wait->slot];
    slot->wait = NULL;
    slot->generation++;
    slot->next_free = pool->free_slot;
    pool->free_slot = wait->slot;
    wait->slot = 0;
  }
}

void ew_wake(struct ew_pool *pool, struct ew_wait *wait, enum ew_outcome outcome) {
  ew_unlist(pool, wait);
  wait->outcome = outcome;
  envoy_dynamic_module_callback_http_filter_scheduler_commit(wait->scheduler, wait->ticket);
}

void ew_wake_all_of(struct ew_pool *pool, size_t engine, enum ew_outcome outcome) {
  for (struct ew_wait *wait = pool->deadlines.first, *next; wait; wait = next) {
    next = wait->next;
    if (wait->engine == engine) ew_wake(pool, wait, outcome);
  }
}

/* ---- called by Envoy's workers ---- */

/* `limit`: bytes that may wait for the engine before this frame is not sent. */
static enum ew_sent write_frame(struct ew_pool *pool, size_t index, const struct ew_buffer *frame, uint64_t limit) {
  struct engine *engine = &pool->engines[index];
  enum ew_sent result = EW_SENT;
  pthread_mutex_lock(&engine->lock);
  size_t waiting = engine->out.size - engine->out_at;
  if (engine->fd < 0 || frame->failed) {
    result = engine->fd < 0 ? EW_SENT_NOT_UP : EW_SENT_FULL;
  } else if (waiting + frame->size > limit) {
    result = EW_SENT_FULL;
  } else {
    size_t sent = 0;
    if (!waiting) {
      ssize_t done = send(engine->fd, frame->data, frame->size, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (done > 0) sent = (size_t)done;
      /* A broken socket is closed by the pool's thread, which is woken by its hang-up. */
      else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ENOBUFS) result = EW_SENT_NOT_UP;
    }
    if (result == EW_SENT && sent < frame->size) {
      ew_buffer_append(&engine->out, frame->data + sent, frame->size - sent);
      if (engine->out.failed) {
        /* Half a frame is on the wire and the rest has no memory: the connection is of no use any more. */
        shutdown(engine->fd, SHUT_RDWR);
        result = EW_SENT_NOT_UP;
      } else if (!waiting) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)index};
        epoll_ctl(pool->epoll, EPOLL_CTL_MOD, engine->fd, &event);
      }
    }
  }
  pthread_mutex_unlock(&engine->lock);
  return result;
}

int ew_pool_choose(struct ew_pool *pool, uint64_t hash, uint64_t *epoch) {
  size_t count = pool->options.engine_count;
  int chosen = -1;
  pthread_mutex_lock(&pool->lock);
  for (size_t i = 0; i < count && chosen < 0; i++) {
    size_t index = (hash + i) % count;
    if (pool->engines[index].state != UP) continue;
    chosen = (int)index;
    *epoch = pool->engines[index].epoch;
  }
  pthread_mutex_unlock(&pool->lock);
  return chosen;
}

enum ew_sent ew_pool_ask(struct ew_pool *pool, size_t index, uint64_t epoch, struct ew_buffer *frame, uint8_t body_state, struct ew_wait *wait) {
  struct engine *engine = &pool->engines[index];
  enum ew_sent result = EW_SENT;
  uint64_t wire = 0;
  pthread_mutex_lock(&pool->lock);
  if (engine->state != UP || engine->epoch != epoch) {
    result = EW_SENT_NOT_UP;
  } else if (!pool->free_slot) {
    result = EW_SENT_FULL;
  } else {
    struct slot *slot = &pool->slots[pool->free_slot];
    wait->slot = pool->free_slot;
    pool->free_slot = slot->next_free;
    slot->wait = wait;
    wire = (uint64_t)slot->generation << 32 | wait->slot;
    wait->ticket = ++pool->tickets;
    wait->outcome = EW_PENDING;
    wait->engine = index;
    wait->expires_ms = ew_now_ms() + pool->options.deadline_ms;
    enlist(&pool->deadlines, wait);
  }
  pthread_mutex_unlock(&pool->lock);
  if (result != EW_SENT) return result;
  ew_finish(frame, wire, 0, body_state);
  result = write_frame(pool, index, frame, pool->options.pending_bytes);
  if (result != EW_SENT) ew_pool_forget(pool, wait);
  return result;
}

enum ew_sent ew_pool_tell(struct ew_pool *pool, size_t index, uint64_t epoch, struct ew_buffer *frame, uint8_t body_state) {
  pthread_mutex_lock(&pool->lock);
  bool up = pool->engines[index].state == UP && pool->engines[index].epoch == epoch;
  pthread_mutex_unlock(&pool->lock);
  if (!up) return EW_SENT_NOT_UP;
  ew_finish(frame, 0, EW_FLAG_NO_REPLY, body_state);
  /* What merely watches a stream must not crowd out what is waited for. */
  bool watching = frame->size > EW_HEADER_SIZE && frame->data[5] == EW_PIECE;
  return write_frame(pool, index, frame, watching ? pool->options.pending_bytes / 4 : pool->options.pending_bytes);
}

bool ew_pool_complete(struct ew_pool *pool, int index, struct ew_buffer *frame) {
  ew_finish(frame, 0, 0, EW_BODY_NONE);
  uint64_t epoch;
  bool up = false;
  pthread_mutex_lock(&pool->lock);
  if (index >= 0) up = pool->engines[index].state == UP;
  pthread_mutex_unlock(&pool->lock);
  if (!up) {
    ew_strip_copies(frame);
    index = ew_pool_choose(pool, 0, &epoch);
  }
  if (index >= 0 && write_frame(pool, (size_t)index, frame, pool->options.pending_bytes) == EW_SENT) return true;
  ew_strip_copies(frame);
  pthread_mutex_lock(&pool->lock);
  bool kept = !frame->failed && pool->backlog.size + frame->size <= BACKLOG_LIMIT;
  if (kept) ew_buffer_append(&pool->backlog, frame->data, frame->size);
  pthread_mutex_unlock(&pool->lock);
  return kept;
}

void ew_pool_wake(struct ew_pool *pool, struct ew_wait *wait, enum ew_outcome outcome) {
  pthread_mutex_lock(&pool->lock);
  ew_unlist(pool, wait);
  wait->ticket = ++pool->tickets;
  ew_wake(pool, wait, outcome);
  pthread_mutex_unlock(&pool->lock);
}

void ew_pool_hold(struct ew_pool *pool, struct ew_wait *wait) {
  pthread_mutex_lock(&pool->lock);
  wait->ticket = ++pool->tickets;
  wait->outcome = EW_PENDING;
  wait->slot = 0;
  wait->expires_ms = ew_now_ms() + pool->options.hold_ms;
  enlist(&pool->holds, wait);
  pthread_mutex_unlock(&pool->lock);
}

bool ew_pool_take(struct ew_pool *pool, struct ew_wait *wait, uint64_t ticket) {
  pthread_mutex_lock(&pool->lock);
  bool current = wait->ticket == ticket && wait->outcome != EW_PENDING;
  if (current) wait->ticket = 0;
  pthread_mutex_unlock(&pool->lock);
  return current;
}

void ew_wait_drop_reply(struct ew_wait *wait) {
  if (wait->reply != wait->small) free(wait->reply);
  wait->reply = NULL;
}

void ew_pool_forget(struct ew_pool *pool, struct ew_wait *wait) {
  pthread_mutex_lock(&pool->lock);
  ew_unlist(pool, wait);
  wait->ticket = 0;
  pthread_mutex_unlock(&pool->lock);
  ew_wait_drop_reply(wait);
}

bool ew_pool_take_room(struct ew_pool *pool, size_t bytes, bool stream) {
  uint64_t limit = stream ? pool->options.copy_bytes / 2 : pool->options.copy_bytes;
  if (atomic_fetch_add_explicit(&pool->copied, bytes, memory_order_relaxed) + bytes <= limit) return true;
  ew_pool_give_room(pool, bytes);
  return false;
}

void ew_pool_give_room(struct ew_pool *pool, size_t bytes) {
  atomic_fetch_sub_explicit(&pool->copied, bytes, memory_order_relaxed);
}

/* ---- life of a pool ---- */

static void destroy(struct ew_pool *pool) {
  if (pool->running) {
    __atomic_store_n(&pool->stop, true, __ATOMIC_RELEASE);
    uint64_t one = 1;
    if (write(pool->stop_event, &one, sizeof one) < 0) { /* the thread then sees `stop` at its next tick */
    }
    pthread_join(pool->thread, NULL);
  }
  for (size_t i = 0; i < EW_ENGINES; i++) {
    struct engine *engine = &pool->engines[i];
    if (engine->fd >= 0) close(engine->fd);
    ew_buffer_free(&engine->out);
    ew_buffer_free(&engine->in);
    pthread_mutex_destroy(&engine->lock);
  }
  if (pool->epoll >= 0) close(pool->epoll);
  if (pool->stop_event >= 0) close(pool->stop_event);
  ew_buffer_free(&pool->backlog);
  pthread_mutex_destroy(&pool->lock);
  free(pool->slots);
  free(pool->key);
  free(pool);
}

static struct ew_pool *create(const char *text, size_t size, const struct ew_options *options, bool start) {
  struct ew_pool *pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  pool->references = 1;
  pool->options = *options;
  pool->epoll = epoll_create1(EPOLL_CLOEXEC);
  pool->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&pool->lock, NULL);
  for (size_t i = 0; i < EW_ENGINES; i++) {
    pthread_mutex_init(&pool->engines[i].lock, NULL);
    pool->engines[i].fd = -1;
  }
  pool->key = malloc(size + 1);
  pool->slots = calloc(options->outstanding + 1, sizeof *pool->slots);
  bool good = pool->key && pool->slots && pool->epoll >= 0 && pool->stop_event >= 0;
  if (good) {
    memcpy(pool->key, text, size);
    pool->key_size = size;
    for (uint32_t i = (uint32_t)options->outstanding; i; i--) {
      pool->slots[i].next_free = pool->free_slot;
      pool->free_slot = i;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = STOP_EVENT};
    good = !epoll_ctl(pool->epoll, EPOLL_CTL_ADD, pool->stop_event, &event);
  }
  if (good && start) {
    sigset_t all, before; /* signals are Envoy's main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pool->running = good = !pthread_create(&pool->thread, NULL, ew_pool_run, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  if (good) return pool;
  destroy(pool);
  return NULL;
}

/* Gives engines that are there the time to say so, so that the first calls of a new listener find them. Envoy's main thread waits
 * here, its workers do not; engines that are not there cost it FIRST_WAIT_MS once. */
static void wait_for_engines(struct ew_pool *pool) {
  for (int waited = 0; waited < FIRST_WAIT_MS; waited++) {
    size_t up = 0;
    pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->options.engine_count; i++) up += pool->engines[i].state == UP;
    pthread_mutex_unlock(&pool->lock);
    if (up == pool->options.engine_count) return;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

struct ew_pool *ew_pool_acquire(const char *text, size_t size, const struct ew_options *options, bool start) {
  pthread_mutex_lock(&registry_lock);
  struct ew_pool *pool = registry;
  while (pool && (pool->key_size != size || memcmp(pool->key, text, size))) pool = pool->next;
  if (pool) {
    pool->references++;
  } else if ((pool = create(text, size, options, start))) {
    pool->next = registry;
    registry = pool;
    if (start) wait_for_engines(pool);
  }
  pthread_mutex_unlock(&registry_lock);
  return pool;
}

void ew_pool_release(struct ew_pool *pool) {
  pthread_mutex_lock(&registry_lock);
  bool last = --pool->references == 0;
  if (last) {
    struct ew_pool **at = &registry;
    while (*at != pool) at = &(*at)->next;
    *at = pool->next;
  }
  pthread_mutex_unlock(&registry_lock);
  if (last) destroy(pool);
}

const struct ew_options *ew_pool_options(const struct ew_pool *pool) {
  return &pool->options;
}
