/* The pool's thread: connects to engines, reads verdicts, watches deadlines, ejects and re-admits. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pool.h"

enum { TICK_MS = 20 };

__attribute__((format(printf, 2, 3))) static void say(int level, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (size > 0) envoy_dynamic_module_callback_log(level, (abi_bytes){text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1});
}

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
  ew_wake_all_of(pool, index, EW_LOST);
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
  struct ew_release release;
  bool good = header->kind == EW_FAILED;
  if (header->kind == EW_VERDICT) good = ew_read_verdict(data, header->length, &verdict);
  if (header->kind == EW_RELEASE) good = ew_read_release(data, header->length, &release);
  if (!good) return false;
  uint32_t slot = (uint32_t)header->wire;
  pthread_mutex_lock(&pool->lock);
  struct ew_wait *wait = slot && slot <= pool->options.outstanding ? pool->slots[slot].wait : NULL;
  /* A verdict that comes after its deadline finds its slot empty or in use by a later call: nobody waits for it. */
  if (wait && pool->slots[slot].generation == header->wire >> 32 && wait->engine == index) {
    pool->engines[index].missed = 0;
    enum ew_outcome outcome = EW_ENGINE_FAILED;
    if (header->kind != EW_FAILED) {
      wait->reply = header->length <= sizeof wait->small ? wait->small : malloc(header->length);
      if (wait->reply) {
        memcpy(wait->reply, data, header->length);
        wait->reply_size = header->length;
        outcome = EW_ANSWERED;
      }
    }
    ew_wake(pool, wait, outcome);
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
  while (pool->holds.first && pool->holds.first->expires_ms <= now) ew_wake(pool, pool->holds.first, EW_HELD_LONG);
  while (pool->deadlines.first && pool->deadlines.first->expires_ms <= now) {
    struct ew_wait *wait = pool->deadlines.first;
    size_t index = wait->engine;
    struct engine *engine = &pool->engines[index];
    ew_wake(pool, wait, EW_TIMED_OUT);
    if (++engine->missed < pool->options.misses || engine->state != UP) continue;
    engine->state = PROBED;
    ejected[index] = true;
    /* Whoever else waits for it would only wait in vain. */
    ew_wake_all_of(pool, index, EW_TIMED_OUT);
  }
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i < pool->options.engine_count; i++)
    if (ejected[i]) say(ABI_LOG_WARN, "eastwall: engine %s missed %u deadlines and is ejected", pool->options.engine[i], (unsigned)pool->options.misses);
}

void *ew_pool_run(void *argument) {
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

