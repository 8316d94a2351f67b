#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 20, FIRST_WAIT_MS = 250, READ_SIZE = 1 << 17, BACKLOG_LIMIT = 4 << 20, STOP_EVENT = EW_ENGINES };

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
  struct ew_buffer backlog; /* COMPLETED frames while no engine is up */
  bool running;
  pthread_t thread;
  int epoll;
  int stop_event;
  bool stop;
  uint8_t chunk[READ_SIZE]; /* the pool's thread only */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ew_pool *registry;

uint64_t ew_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

__attribute__((format(printf, 2, 3))) static void say(int level, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (size > 0) envoy_dynamic_module_callback_log(level, (abi_bytes){text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1});
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

static void unlist(struct ew_pool *pool, struct ew_wait *wait) {
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

static void wake(struct ew_pool *pool, struct ew_wait *wait, enum ew_outcome outcome) {
  unlist(pool, wait);
  wait->outcome = outcome;
  envoy_dynamic_module_callback_http_filter_scheduler_commit(wait->scheduler, wait->ticket);
}

static void wake_all_of(struct ew_pool *pool, size_t engine, enum ew_outcome outcome) {
  for (struct ew_wait *wait = pool->deadlines.first, *next; wait; wait = next) {
    next = wait->next;
    if (wait->engine == engine) wake(pool, wait, outcome);
  }
}

/* ---- called by Envoy's workers ---- */

static enum ew_sent write_frame(struct ew_pool *pool, size_t index, const struct ew_buffer *frame) {
  struct engine *engine = &pool->engines[index];
  enum ew_sent result = EW_SENT;
  pthread_mutex_lock(&engine->lock);
  size_t waiting = engine->out.size - engine->out_at;
  if (engine->fd < 0 || frame->failed) {
    result = engine->fd < 0 ? EW_SENT_NOT_UP : EW_SENT_FULL;
  } else if (waiting + frame->size > pool->options.pending_bytes) {
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
  result = write_frame(pool, index, frame);
  if (result != EW_SENT) ew_pool_forget(pool, wait);
  return result;
}

enum ew_sent ew_pool_tell(struct ew_pool *pool, size_t index, uint64_t epoch, struct ew_buffer *frame, uint8_t body_state) {
  pthread_mutex_lock(&pool->lock);
  bool up = pool->engines[index].state == UP && pool->engines[index].epoch == epoch;
  pthread_mutex_unlock(&pool->lock);
  if (!up) return EW_SENT_NOT_UP;
  ew_finish(frame, 0, EW_FLAG_NO_REPLY, body_state);
  return write_frame(pool, index, frame);
}

bool ew_pool_complete(struct ew_pool *pool, int index, struct ew_buffer *frame) {
  ew_finish(frame, 0, 0, EW_BODY_NONE);
  uint64_t epoch;
  bool up = false;
  pthread_mutex_lock(&pool->lock);
  if (index >= 0) up = pool->engines[index].state == UP;
  pthread_mutex_unlock(&pool->lock);
  if (!up) index = ew_pool_choose(pool, 0, &epoch);
  if (index >= 0 && write_frame(pool, (size_t)index, frame) == EW_SENT) return true;
  pthread_mutex_lock(&pool->lock);
  bool kept = !frame->failed && pool->backlog.size + frame->size <= BACKLOG_LIMIT;
  if (kept) ew_buffer_append(&pool->backlog, frame->data, frame->size);
  pthread_mutex_unlock(&pool->lock);
  return kept;
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
  unlist(pool, wait);
  wait->ticket = 0;
  pthread_mutex_unlock(&pool->lock);
  ew_wait_drop_reply(wait);
}

/* ---- the pool's thread ---- */

static void flush(struct ew_pool *pool, size_t index) {
  struct engine *engine = &pool->engines[index];
  pthread_mutex_lock(&engine->lock);
  while (engine->fd >= 0 && engine->out_at < engine->out.size) {
    ssize_t done = send(engine->fd, engine->out.data + engine->out_at, engine->out.size - engine->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done <= 0) break;
    engine->out_at += (size_t)done;
  }
  size_t left = engine->out.size - engine->out_at;
  if (engine->out_at >= left) { /* cheap compaction: each byte is moved at most once */
    if (left) memmove(engine->out.data, engine->out.data + engine->out_at, left);
    engine->out.size = left;
    engine->out_at = 0;
  }
  if (engine->fd >= 0) {
    struct epoll_event event = {.events = left ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = (uint32_t)index};
    epoll_ctl(pool->epoll, EPOLL_CTL_MOD, engine->fd, &event);
  }
  pthread_mutex_unlock(&engine->lock);
}

static void queue(struct ew_pool *pool, size_t index, struct ew_buffer *frames) {
  struct engine *engine = &pool->engines[index];
  pthread_mutex_lock(&engine->lock);
  if (engine->fd >= 0) ew_buffer_append(&engine->out, frames->data, frames->size);
  pthread_mutex_unlock(&engine->lock);
  flush(pool, index);
}

static void disconnect(struct ew_pool *pool, size_t index, const char *why) {
  struct engine *engine = &pool->engines[index];
  pthread_mutex_lock(&engine->lock);
  if (engine->fd >= 0) close(engine->fd); /* leaves the epoll set with it */
  engine->fd = -1;
  ew_buffer_free(&engine->out);
  engine->out_at = 0;
  pthread_mutex_unlock(&engine->lock);
  pthread_mutex_lock(&pool->lock);
  bool was_up = engine->state == UP;
  engine->state = DOWN;
  engine->epoch++;
  wake_all_of(pool, index, EW_LOST);
  pthread_mutex_unlock(&pool->lock);
  ew_buffer_free(&engine->in);
  engine->pinged = false;
  engine->next_try_ms = 0;
  if (was_up) say(ABI_LOG_WARN, "eastwall: engine %s is lost (%s)", pool->options.engine[index], why);
}

static void admit(struct ew_pool *pool, size_t index) {
  struct engine *engine = &pool->engines[index];
  engine->pinged = false;
  struct ew_buffer backlog = {0};
  pthread_mutex_lock(&pool->lock);
  bool news = engine->state != UP;
  engine->state = UP;
  engine->missed = 0;
  backlog = pool->backlog;
  pool->backlog = (struct ew_buffer){0};
  pthread_mutex_unlock(&pool->lock);
  if (backlog.size) queue(pool, index, &backlog);
  ew_buffer_free(&backlog);
  if (news) say(ABI_LOG_INFO, "eastwall: engine %s is up", pool->options.engine[index]);
}

/* A whole frame from an engine. False: it makes no sense, drop the connection. */
static bool receive(struct ew_pool *pool, size_t index, const struct ew_header *header, const uint8_t *data) {
  if (header->kind == EW_PONG) {
    admit(pool, index);
    return true;
  }
  struct ew_verdict verdict;
  if (header->kind != EW_FAILED && !(header->kind == EW_VERDICT && ew_read_verdict(data, header->length, &verdict))) return false;
  uint32_t slot = (uint32_t)header->wire;
  pthread_mutex_lock(&pool->lock);
  struct ew_wait *wait = slot && slot <= pool->options.outstanding ? pool->slots[slot].wait : NULL;
  /* A verdict that comes after its deadline finds its slot empty or in use by a later call: nobody waits for it. */
  if (wait && pool->slots[slot].generation == header->wire >> 32 && wait->engine == index) {
    pool->engines[index].missed = 0;
    enum ew_outcome outcome = EW_ENGINE_FAILED;
    if (header->kind == EW_VERDICT) {
      wait->reply = header->length <= sizeof wait->small ? wait->small : malloc(header->length);
      if (wait->reply) {
        memcpy(wait->reply, data, header->length);
        wait->reply_size = header->length;
        outcome = EW_ANSWERED;
      }
    }
    wake(pool, wait, outcome);
  }
  pthread_mutex_unlock(&pool->lock);
  return true;
}

static void read_frames(struct ew_pool *pool, size_t index) {
  struct engine *engine = &pool->engines[index];
  if (engine->fd < 0) return;
  uint8_t *chunk = pool->chunk;
  ssize_t got = recv(engine->fd, chunk, READ_SIZE, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    disconnect(pool, index, got ? strerror(errno) : "it closed the connection");
    return;
  }
  const uint8_t *data = chunk;
  size_t size = (size_t)got, at = 0;
  if (engine->in.size) {
    ew_buffer_append(&engine->in, chunk, size);
    data = engine->in.data;
    size = engine->in.size;
  }
  struct ew_header header;
  int found = 0;
  while ((found = ew_read_header(data + at, size - at, &header)) == 1 && header.length <= size - at) {
    if (!receive(pool, index, &header, data + at)) {
      found = -1;
      break;
    }
    at += header.length;
  }
  if (found < 0 || engine->in.failed) {
    disconnect(pool, index, "it sent what is not a frame of this version");
    return;
  }
  size_t rest = size - at;
  if (data == chunk) {
    ew_buffer_append(&engine->in, chunk + at, rest);
  } else {
    memmove(engine->in.data, engine->in.data + at, rest);
    engine->in.size = rest;
  }
}

static void connect_engine(struct ew_pool *pool, size_t index) {
  struct engine *engine = &pool->engines[index];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, pool->options.engine[index], sizeof address.sun_path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  int size = 1 << 20;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
  if (connect(fd, (struct sockaddr *)&address, sizeof address) || epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event)) {
    close(fd);
    return;
  }
  pthread_mutex_lock(&engine->lock);
  engine->fd = fd;
  pthread_mutex_unlock(&engine->lock);
  pthread_mutex_lock(&pool->lock);
  engine->state = PROBED;
  engine->epoch++;
  pthread_mutex_unlock(&pool->lock);
}

static void probe(struct ew_pool *pool, size_t index, uint64_t now) {
  struct engine *engine = &pool->engines[index];
  if (now < engine->next_try_ms) return;
  engine->next_try_ms = now + pool->options.probe_ms;
  pthread_mutex_lock(&pool->lock);
  enum state state = engine->state;
  pthread_mutex_unlock(&pool->lock);
  if (state == DOWN) connect_engine(pool, index);
  /* One PING at a time: a hung engine must not wake to a heap of them. */
  if (state == UP || engine->fd < 0 || engine->pinged) return;
  struct ew_buffer ping = {0};
  ew_open_ping(&ping);
  ew_finish(&ping, 0, 0, EW_BODY_NONE);
  engine->pinged = true;
  queue(pool, index, &ping);
  ew_buffer_free(&ping);
}

static void expire(struct ew_pool *pool, uint64_t now) {
  bool ejected[EW_ENGINES] = {false};
  pthread_mutex_lock(&pool->lock);
  while (pool->holds.first && pool->holds.first->expires_ms <= now) wake(pool, pool->holds.first, EW_HELD_LONG);
  while (pool->deadlines.first && pool->deadlines.first->expires_ms <= now) {
    struct ew_wait *wait = pool->deadlines.first;
    size_t index = wait->engine;
    struct engine *engine = &pool->engines[index];
    wake(pool, wait, EW_TIMED_OUT);
    if (++engine->missed < pool->options.misses || engine->state != UP) continue;
    engine->state = PROBED;
    ejected[index] = true;
    /* Whoever else waits for it would only wait in vain. */
    wake_all_of(pool, index, EW_TIMED_OUT);
  }
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i < pool->options.engine_count; i++)
    if (ejected[i]) say(ABI_LOG_WARN, "eastwall: engine %s missed %u deadlines and is ejected", pool->options.engine[i], (unsigned)pool->options.misses);
}

static void *run(void *argument) {
  struct ew_pool *pool = argument;
  prctl(PR_SET_NAME, "eastwall-io");
  struct epoll_event events[EW_ENGINES + 1];
  while (!__atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE)) {
    int count = epoll_wait(pool->epoll, events, EW_ENGINES + 1, TICK_MS);
    for (int i = 0; i < count; i++) {
      size_t index = events[i].data.u32;
      if (index == STOP_EVENT) continue;
      if (events[i].events & EPOLLOUT) flush(pool, index);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_frames(pool, index);
    }
    uint64_t now = ew_now_ms();
    expire(pool, now);
    for (size_t i = 0; i < pool->options.engine_count; i++) probe(pool, i, now);
  }
  return NULL;
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
    pool->running = good = !pthread_create(&pool->thread, NULL, run, pool);
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
