/* The shim's engine pool under stress, without Envoy: threads that ask, wait, give up and die at random, against engines at the
 * given sockets. Built with a sanitizer; prints counts. Stands in for Envoy's scheduler with the one property the pool relies on:
 * a commit to a deleted scheduler would be a use after free, and is caught as one.
 *
 *   pool_harness SECONDS THREADS SOCKET... */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"

struct scheduler {
  atomic_uint_fast64_t event;
  atomic_int commits;
};

abi_scheduler envoy_dynamic_module_callback_http_filter_scheduler_new(abi_filter filter) {
  (void)filter;
  return calloc(1, sizeof(struct scheduler));
}

void envoy_dynamic_module_callback_http_filter_scheduler_commit(abi_scheduler opaque, uint64_t event) {
  struct scheduler *scheduler = opaque;
  atomic_fetch_add(&scheduler->commits, 1);
  atomic_store(&scheduler->event, event);
}

void envoy_dynamic_module_callback_http_filter_scheduler_delete(abi_scheduler opaque) {
  free(opaque);
}

void envoy_dynamic_module_callback_log(int level, abi_bytes message) {
  (void)level, (void)message;
}

static struct ew_pool *pool;
static atomic_int stop;
static atomic_ullong outcomes[8], refused, forgotten, completed, kept, wrong;

static unsigned next(unsigned *seed) {
  return *seed = *seed * 1664525u + 1013904223u;
}

static void *work(void *argument) {
  unsigned seed = (unsigned)(uintptr_t)argument * 7919 + 1;
  static const char text[40000];
  struct ew_buffer frame = {0};
  while (!atomic_load(&stop)) {
    struct ew_wait *wait = calloc(1, sizeof *wait); /* from the heap, so that a late touch is seen */
    wait->scheduler = envoy_dynamic_module_callback_http_filter_scheduler_new(NULL);
    struct scheduler *scheduler = wait->scheduler;
    uint64_t epoch = 0;
    int engine = ew_pool_choose(pool, next(&seed), &epoch);
    char id[32];
    snprintf(id, sizeof id, "%u", next(&seed));
    ew_open_request(&frame, 1.0, 1, false);
    for (int i = 0; i < 10; i++) ew_text(&frame, id, strlen(id));
    ew_close_text(&frame);
    size_t body = next(&seed) % 16 == 0 ? 200000 : next(&seed) % 2000;
    char block[2000] = {0};
    for (size_t left = body; left;) {
      size_t take = left < sizeof block ? left : sizeof block;
      ew_buffer_append(&frame, block, take);
      left -= take;
    }
    if (next(&seed) % 8 == 0) {
      ew_pool_hold(pool, wait);
    } else if (engine < 0 || ew_pool_ask(pool, (size_t)engine, epoch, &frame, EW_BODY_COMPLETE, wait) != EW_SENT) {
      atomic_fetch_add(&refused, 1);
      nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
      goto done;
    }
    unsigned patience = next(&seed) % 4 ? 2000 : next(&seed) % 20;
    for (unsigned i = 0; i < patience && !atomic_load(&scheduler->event); i++) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    uint64_t event = atomic_load(&scheduler->event);
    if (event && ew_pool_take(pool, wait, event)) {
      atomic_fetch_add(&outcomes[wait->outcome], 1);
      struct ew_verdict verdict;
      if (wait->outcome == EW_ANSWERED && (!ew_read_verdict(wait->reply, wait->reply_size, &verdict) || verdict.status)) atomic_fetch_add(&wrong, 1);
      if (ew_pool_take(pool, wait, event)) atomic_fetch_add(&wrong, 1); /* twice */
      ew_wait_drop_reply(wait);
    } else {
      atomic_fetch_add(&forgotten, 1);
    }
  done:
    ew_pool_forget(pool, wait);
    envoy_dynamic_module_callback_http_filter_scheduler_delete(wait->scheduler);
    free(wait);
    ew_open_completed(&frame, 1.0, 1, 2, 3, 200);
    for (int i = 0; i < 6; i++) ew_text(&frame, id, strlen(id));
    ew_close_text(&frame);
    struct ew_buffer copy = {0}, none = {0};
    if (next(&seed) % 4 == 0) {
      ew_buffer_append(&copy, text, sizeof text);
      ew_add_copies(&frame, &copy, EW_BODY_TRUNCATED, &none, EW_BODY_NONE, 1);
      ew_buffer_free(&copy);
    }
    atomic_fetch_add(&completed, 1);
    atomic_fetch_add(&kept, ew_pool_complete(pool, engine, &frame));
  }
  ew_buffer_free(&frame);
  return NULL;
}

int main(int count, char **arguments) {
  char text[4096] = "deadline_ms=150\nhold_ms=40\nprobe_ms=20\nmisses=3\noutstanding=64\npending_bytes=1000000\n", error[640] = "";
  for (int i = 3; i < count; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "engine=%s\n", arguments[i]);
  struct ew_options options;
  if (!ew_options_parse(text, strlen(text), &options, error, sizeof error)) {
    puts(error);
    return 1;
  }
  pool = ew_pool_acquire(text, strlen(text), &options, true);
  struct ew_pool *same = ew_pool_acquire(text, strlen(text), &options, true);
  if (!pool || same != pool) return 2;
  ew_pool_release(same);
  enum { MOST = 16 };
  pthread_t threads[MOST];
  int threads_count = atoi(arguments[2]);
  for (int i = 0; i < threads_count && i < MOST; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1));
  double seconds = atof(arguments[1]);
  nanosleep(&(struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
  atomic_store(&stop, 1);
  for (int i = 0; i < threads_count && i < MOST; i++) pthread_join(threads[i], NULL);
  ew_pool_release(pool);
  printf("{\"answered\": %llu, \"timed_out\": %llu, \"lost\": %llu, \"failed\": %llu, \"held\": %llu, \"refused\": %llu, \"forgotten\": %llu, \"completed\": %llu, "
         "\"kept\": %llu, \"wrong\": %llu}\n",
         atomic_load(&outcomes[EW_ANSWERED]), atomic_load(&outcomes[EW_TIMED_OUT]), atomic_load(&outcomes[EW_LOST]), atomic_load(&outcomes[EW_ENGINE_FAILED]),
         atomic_load(&outcomes[EW_HELD_LONG]), atomic_load(&refused), atomic_load(&forgotten), atomic_load(&completed), atomic_load(&kept), atomic_load(&wrong));
  return 0;
}
