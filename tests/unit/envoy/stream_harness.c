/* The shim's filter with streams, without Envoy and without engines: both are played here, at random, as Envoy's filter manager and
 * `decision/streams.py` behave. Built with sanitizers; prints counts, or says what went wrong and aborts.
 *
 *   stream_harness SEED CALLS
 *
 * Played of Envoy: hooks with received data, the buffer that stopped data goes to, "may continue once after each hook that stopped"
 * (1.39), the last piece that is moved into a buffer that exists, trailers, the end. Played of the engine: pieces let go in part, as they
 * are or written anew; refusals; no answer. What comes out must be what went in, up to a refusal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"

static unsigned seed;
static unsigned next(unsigned below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static void wrong(const char *what) {
  printf("wrong: %s\n", what);
  fflush(stdout);
  abort();
}

/* ---- one direction of the call, as Envoy has it ---- */

struct side {
  struct ew_buffer in, out, buffered, received;
  bool exists;   /* there is a buffer, if an empty one */
  bool receiving, latched, ended, finished, trailers;
  size_t sent;
  /* the engine's view */
  struct ew_buffer held;
  struct ew_wait *wait;
  size_t let_go;
};

static struct side sides[2];
static bool closed, refused, answered_locally, lossy;
static struct ew_filter *filter;
static struct ew_route route;
static unsigned long long pieces, wakes, refusals, failures, whole;

static void flush_side(struct side *s) {
  ew_buffer_append(&s->out, s->buffered.data, s->buffered.size);
  ew_buffer_clear(&s->buffered);
  s->exists = false;
}

static struct ew_buffer *body(int which) {
  struct side *s = &sides[which >= ABI_RECEIVED_RESPONSE_BODY];
  if (which == ABI_RECEIVED_REQUEST_BODY || which == ABI_RECEIVED_RESPONSE_BODY) return s->receiving ? &s->received : NULL;
  return s->exists ? &s->buffered : NULL;
}

size_t envoy_dynamic_module_callback_http_get_body_size(abi_filter f, int which) {
  (void)f;
  return body(which) ? body(which)->size : 0;
}

size_t envoy_dynamic_module_callback_http_get_body_chunks_size(abi_filter f, int which) {
  (void)f;
  return body(which) ? (body(which)->size + 6) / 7 : 0;
}

bool envoy_dynamic_module_callback_http_get_body_chunks(abi_filter f, int which, abi_bytes *result) {
  (void)f;
  struct ew_buffer *buffer = body(which);
  if (!buffer) return false;
  for (size_t at = 0, i = 0; at < buffer->size; at += 7, i++)
    result[i] = bytes_of((const char *)buffer->data + at, buffer->size - at < 7 ? buffer->size - at : 7);
  return true;
}

bool envoy_dynamic_module_callback_http_append_body(abi_filter f, int which, abi_bytes data) {
  (void)f;
  struct side *s = &sides[which >= ABI_RECEIVED_RESPONSE_BODY];
  if (which == ABI_BUFFERED_REQUEST_BODY || which == ABI_BUFFERED_RESPONSE_BODY) s->exists = true;
  if (!body(which)) return false;
  ew_buffer_append(body(which), data.data, data.size);
  return true;
}

bool envoy_dynamic_module_callback_http_drain_body(abi_filter f, int which, size_t count) {
  (void)f;
  struct ew_buffer *buffer = body(which);
  if (!buffer) return false;
  if (count > buffer->size) count = buffer->size;
  memmove(buffer->data, buffer->data + count, buffer->size - count);
  buffer->size -= count;
  return true;
}

static void resume(struct side *s) {
  if (s->latched || closed) return;
  s->latched = true;
  flush_side(s);
  s->finished |= s->ended;
}

void envoy_dynamic_module_callback_http_filter_continue_decoding(abi_filter f) {
  (void)f;
  resume(&sides[0]);
}

void envoy_dynamic_module_callback_http_filter_continue_encoding(abi_filter f) {
  (void)f;
  resume(&sides[1]);
}

void envoy_dynamic_module_callback_http_send_response_data(abi_filter f, abi_bytes data, bool end) {
  (void)f;
  if (sides[1].ended) wrong("data is sent after the end of the response");
  flush_side(&sides[1]);
  ew_buffer_append(&sides[1].out, data.data, data.size);
  closed |= end;
}

void envoy_dynamic_module_callback_http_send_response_trailers(abi_filter f, abi_header *trailers, size_t count) {
  (void)f, (void)trailers, (void)count;
  if (sides[1].ended) wrong("trailers are sent after the end of the response");
  flush_side(&sides[1]);
  closed = true;
}

void envoy_dynamic_module_callback_http_send_response_headers(abi_filter f, abi_header *headers, size_t count, bool end) {
  (void)f, (void)headers, (void)count, (void)end;
  answered_locally = closed = true;
}

void envoy_dynamic_module_callback_http_send_response(abi_filter f, uint32_t status, abi_header *headers, size_t count, abi_bytes text, abi_bytes details) {
  (void)f, (void)status, (void)headers, (void)count, (void)text, (void)details;
  answered_locally = closed = true;
}

void envoy_dynamic_module_callback_http_filter_reset_stream(abi_filter f, int reason, abi_bytes details) {
  (void)f, (void)reason, (void)details;
  closed = true;
}

/* ---- the rest of Envoy ---- */

bool envoy_dynamic_module_callback_http_get_header_values(void) {
  return false;
}

static const abi_header request_headers[] = {
    {":method", 7, "POST", 4}, {":path", 5, "/a.B/C", 6}, {":authority", 10, "h", 1}, {"content-type", 12, "application/grpc", 16}};
static const abi_header response_headers[] = {{":status", 7, "200", 3}, {"content-type", 12, "application/grpc", 16}};
size_t envoy_dynamic_module_callback_http_get_headers_size(abi_filter f, int which) {
  (void)f;
  return which == ABI_REQUEST_HEADERS ? 4 : which == ABI_RESPONSE_HEADERS ? 2 : 0;
}
bool envoy_dynamic_module_callback_http_get_headers(abi_filter f, int which, abi_header *result) {
  (void)f;
  if (which == ABI_REQUEST_HEADERS) memcpy(result, request_headers, sizeof request_headers);
  else memcpy(result, response_headers, sizeof response_headers);
  return true;
}
bool envoy_dynamic_module_callback_http_filter_get_attribute_string(abi_filter f, int id, abi_bytes *result) {
  (void)f;
  *result = id == ABI_ATTRIBUTE_REQUEST_PROTOCOL ? LITERAL("HTTP/2") : LITERAL("");
  return true;
}
bool envoy_dynamic_module_callback_http_filter_get_attribute_int(abi_filter f, int id, uint64_t *result) {
  (void)f, (void)id;
  *result = 200;
  return true;
}
const void *envoy_dynamic_module_callback_get_most_specific_route_config(abi_filter f) {
  (void)f;
  return &route;
}
abi_scheduler envoy_dynamic_module_callback_http_filter_scheduler_new(abi_filter f) {
  (void)f;
  return malloc(1);
}
void envoy_dynamic_module_callback_http_filter_scheduler_delete(abi_scheduler s) {
  free(s);
}
bool envoy_dynamic_module_callback_http_set_header(abi_filter f, int which, abi_bytes key, abi_bytes value) {
  (void)f, (void)which, (void)key, (void)value;
  return true;
}
int envoy_dynamic_module_callback_http_filter_increment_counter(abi_filter f, size_t id, abi_bytes *v, size_t n, uint64_t by) {
  (void)f, (void)id, (void)v, (void)n, (void)by;
  return 0;
}
int envoy_dynamic_module_callback_http_filter_increment_gauge(abi_filter f, size_t id, abi_bytes *v, size_t n, uint64_t by) {
  return envoy_dynamic_module_callback_http_filter_increment_counter(f, id, v, n, by);
}
int envoy_dynamic_module_callback_http_filter_decrement_gauge(abi_filter f, size_t id, abi_bytes *v, size_t n, uint64_t by) {
  return envoy_dynamic_module_callback_http_filter_increment_counter(f, id, v, n, by);
}
void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(abi_filter f, abi_bytes a, abi_bytes b, abi_bytes c) {
  (void)f, (void)a, (void)b, (void)c;
}
uint64_t envoy_dynamic_module_callback_http_get_buffer_limit(abi_filter f) {
  (void)f;
  return 0;
}
void envoy_dynamic_module_callback_http_set_buffer_limit(abi_filter f, uint64_t limit) {
  (void)f, (void)limit;
}

/* ---- the engines ---- */

static struct ew_wait *asked[3]; /* the headers of the request, pieces of the request, of the response */
static bool at_end[3];
static struct ew_options options;
static size_t room;

int ew_pool_choose(struct ew_pool *p, uint64_t hash, uint64_t *epoch) {
  (void)p, (void)hash;
  *epoch = 1;
  return 0;
}
enum ew_sent ew_pool_ask(struct ew_pool *p, size_t engine, uint64_t epoch, struct ew_buffer *frame, uint8_t bits, struct ew_wait *wait) {
  (void)p, (void)engine, (void)epoch;
  if (lossy && !next(40)) return next(2) ? EW_SENT_FULL : EW_SENT_NOT_UP;
  int slot = 0;
  if (frame->data[5] == EW_PIECE) {
    slot = frame->data[16];
    size_t size = ew_body_size(frame);
    ew_buffer_append(&sides[slot - 1].held, frame->data + frame->size - size, size);
    at_end[slot] = bits & EW_PIECE_END;
    pieces++;
  }
  if (asked[slot]) wrong("two questions about one message");
  asked[slot] = wait;
  static uint64_t tickets;
  wait->ticket = ++tickets;
  wait->outcome = EW_PENDING;
  return EW_SENT;
}
enum ew_sent ew_pool_tell(struct ew_pool *p, size_t engine, uint64_t epoch, struct ew_buffer *frame, uint8_t state) {
  (void)p, (void)engine, (void)epoch, (void)frame, (void)state;
  return EW_SENT;
}
bool ew_pool_complete(struct ew_pool *p, int engine, struct ew_buffer *frame) {
  (void)p, (void)engine, (void)frame;
  return true;
}
void ew_pool_hold(struct ew_pool *p, struct ew_wait *wait) {
  (void)p, (void)wait;
}
static struct ew_wait *woken[4];
void ew_pool_wake(struct ew_pool *p, struct ew_wait *wait, enum ew_outcome outcome) {
  (void)p;
  static uint64_t tickets = 1ull << 40;
  wait->ticket = ++tickets;
  wait->outcome = outcome;
  for (int i = 0; i < 4; i++)
    if (!woken[i]) {
      woken[i] = wait;
      return;
    }
  wrong("too many wake-ups");
}
bool ew_pool_take(struct ew_pool *p, struct ew_wait *wait, uint64_t ticket) {
  (void)p;
  bool current = wait->ticket == ticket && wait->outcome != EW_PENDING;
  if (current) wait->ticket = 0;
  return current;
}
void ew_wait_drop_reply(struct ew_wait *wait) {
  if (wait->reply != wait->small) free(wait->reply);
  wait->reply = NULL;
}
void ew_pool_forget(struct ew_pool *p, struct ew_wait *wait) {
  (void)p;
  for (int i = 0; i < 3; i++)
    if (asked[i] == wait) asked[i] = NULL;
  for (int i = 0; i < 4; i++)
    if (woken[i] == wait) woken[i] = NULL;
  wait->ticket = 0;
  ew_wait_drop_reply(wait);
}
bool ew_pool_take_room(struct ew_pool *p, size_t bytes, bool stream) {
  (void)p, (void)stream;
  if (lossy && bytes && !next(60)) return false;
  room += bytes;
  return true;
}
void ew_pool_give_room(struct ew_pool *p, size_t bytes) {
  (void)p;
  if (bytes > room) wrong("more room is given back than was taken");
  room -= bytes;
}
const struct ew_options *ew_pool_options(const struct ew_pool *p) {
  (void)p;
  return &options;
}

int envoy_dynamic_module_on_http_filter_request_headers(abi_filter, struct ew_filter *, bool);
int envoy_dynamic_module_on_http_filter_request_body(abi_filter, struct ew_filter *, bool);
int envoy_dynamic_module_on_http_filter_request_trailers(abi_filter, struct ew_filter *);
int envoy_dynamic_module_on_http_filter_response_headers(abi_filter, struct ew_filter *, bool);
int envoy_dynamic_module_on_http_filter_response_body(abi_filter, struct ew_filter *, bool);
int envoy_dynamic_module_on_http_filter_response_trailers(abi_filter, struct ew_filter *);
void envoy_dynamic_module_on_http_filter_scheduled(abi_filter, struct ew_filter *, uint64_t);
void envoy_dynamic_module_on_http_filter_stream_complete(abi_filter, struct ew_filter *);
void envoy_dynamic_module_on_http_filter_destroy(struct ew_filter *);

static void put(uint8_t *at, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

/* The engine answers one question; the answer is delivered at once or (by the caller's choice of moment) was late already. */
static void answer(int slot) {
  struct ew_wait *wait = asked[slot];
  asked[slot] = NULL;
  struct ew_buffer frame = {0};
  uint8_t head[EW_RELEASE_SIZE] = {0};
  size_t size = slot ? EW_RELEASE_SIZE : EW_VERDICT_SIZE;
  head[4] = EW_VERSION;
  head[5] = slot ? EW_RELEASE : EW_VERDICT;
  if (!slot) head[18] = 2;
  ew_buffer_append(&frame, head, size);
  wait->outcome = EW_ANSWERED;
  if (lossy && !next(30)) {
    wait->outcome = next(2) ? EW_TIMED_OUT : EW_LOST;
    failures++;
  } else if (slot) {
    struct ew_buffer *held = &sides[slot - 1].held;
    bool end = !next(60);
    size_t consumed = at_end[slot] ? held->size : next((unsigned)held->size + 1);
    if (end) {
      put(frame.data + 6, EW_FLAG_DENY | EW_FLAG_BODY, 2);
      ew_buffer_append(&frame, "!", 1);
      refused = true;
      refusals++;
    } else {
      put(frame.data + 16, consumed, 4);
      if (next(2)) {
        put(frame.data + 6, EW_FLAG_BODY, 2);
        ew_buffer_append(&frame, held->data, consumed);
      }
      if (consumed) memmove(held->data, held->data + consumed, held->size - consumed);
      held->size -= consumed;
    }
  }
  put(frame.data, frame.size, 4);
  wait->reply = frame.size <= sizeof wait->small ? wait->small : malloc(frame.size);
  memcpy(wait->reply, frame.data, frame.size);
  wait->reply_size = frame.size;
  ew_buffer_free(&frame);
  wakes++;
  envoy_dynamic_module_on_http_filter_scheduled(NULL, filter, wait->ticket);
}

static void hook(int which, bool end, bool trailers) {
  struct side *s = &sides[which];
  s->receiving = !trailers;
  s->ended |= end;
  if (end && !trailers && s->exists) {
    ew_buffer_append(&s->buffered, s->received.data, s->received.size);
    ew_buffer_clear(&s->received);
  }
  int status;
  if (trailers) status = which ? envoy_dynamic_module_on_http_filter_response_trailers(NULL, filter) : envoy_dynamic_module_on_http_filter_request_trailers(NULL, filter);
  else status = which ? envoy_dynamic_module_on_http_filter_response_body(NULL, filter, end) : envoy_dynamic_module_on_http_filter_request_body(NULL, filter, end);
  s->receiving = false;
  bool goes_on = status == 0;
  s->latched = goes_on;
  if (!trailers && status != ABI_BODY_STOP_NO_BUFFER) {
    s->exists = true;
    ew_buffer_append(&s->buffered, s->received.data, s->received.size);
  }
  ew_buffer_clear(&s->received);
  if (goes_on && !closed) {
    flush_side(s);
    s->finished |= s->ended;
  }
}

static void send_some(int which) {
  struct side *s = &sides[which];
  size_t left = s->in.size - s->sent, take = left ? next((unsigned)left + 1) : 0;
  if (!take && left) return;
  ew_buffer_append(&s->received, s->in.data + s->sent, take);
  s->sent += take;
  if (s->sent < s->in.size) {
    hook(which, false, false);
  } else if (s->trailers) {
    if (take) hook(which, false, false);
    if (!closed) hook(which, true, true);
  } else {
    hook(which, true, false);
  }
}

static void check(int which) {
  struct side *s = &sides[which];
  size_t size = s->out.size;
  if (refused || closed || filter->answered) {
    /* A beginning of what was sent, and (in the response) what ends it. */
    if (which && size && s->out.data[size - 1] == '!') size--;
    if (size > s->in.size || (size && memcmp(s->out.data, s->in.data, size))) wrong("what came out before a refusal never went in");
    return;
  }
  if (!s->finished) wrong(which ? "the response hangs" : "the request hangs");
  if (size != s->in.size || (size && memcmp(s->out.data, s->in.data, size))) wrong("what came out is not what went in");
  whole++;
}

static void one_call(struct ew_filter_config *config) {
  memset(sides, 0, sizeof sides);
  memset(asked, 0, sizeof asked);
  memset(woken, 0, sizeof woken);
  closed = refused = answered_locally = false;
  lossy = next(3) == 0;
  route = (struct ew_route){.mode = EW_ENFORCE, .fail_closed = next(4) == 0, .max_body = 1 + next(2) * 100000, .service_size = 1, .service = "s"};
  route.references = 1;
  filter = calloc(1, sizeof *filter);
  filter->config = config;
  filter->engine = -1;
  filter->want_response = 2;
  for (int which = 0; which < 2; which++) {
    size_t size = next(3) ? next(200) : next(20000);
    for (size_t i = 0; i < size; i++) {
      uint8_t byte = (uint8_t)('a' + next(26));
      ew_buffer_append(&sides[which].in, &byte, 1);
    }
    sides[which].trailers = next(2);
  }
  sides[0].trailers = false;
  sides[0].latched = envoy_dynamic_module_on_http_filter_request_headers(NULL, filter, false) == 0;
  bool answering = false;
  for (int step = 0; step < 4000 && !closed && !filter->answered && !(sides[0].finished && sides[1].finished); step++) {
    unsigned what = next(6);
    if (what == 0 && !sides[0].ended && sides[0].buffered.size < 8000) send_some(0);
    if (what == 1 && !answering && filter->request != WAIT) {
      answering = true;
      sides[1].latched = envoy_dynamic_module_on_http_filter_response_headers(NULL, filter, false) == 0;
    }
    if (what == 2 && answering && !sides[1].ended && sides[1].buffered.size < 8000) send_some(1);
    if (what > 2 && asked[what - 3]) answer((int)what - 3);
    for (int i = 0; i < 4 && !closed; i++) {
      struct ew_wait *wait = woken[i];
      woken[i] = NULL;
      if (wait) envoy_dynamic_module_on_http_filter_scheduled(NULL, filter, wait->ticket);
    }
  }
  check(0);
  check(1);
  envoy_dynamic_module_on_http_filter_stream_complete(NULL, filter);
  envoy_dynamic_module_on_http_filter_destroy(filter);
  if (room) wrong("room was not given back");
  for (int which = 0; which < 2; which++) {
    ew_buffer_free(&sides[which].in);
    ew_buffer_free(&sides[which].out);
    ew_buffer_free(&sides[which].buffered);
    ew_buffer_free(&sides[which].received);
    ew_buffer_free(&sides[which].held);
  }
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  struct ew_filter_config config = {0};
  seed = (unsigned)atoi(arguments[1]);
  for (int call = atoi(arguments[2]); call; call--) one_call(&config);
  printf("{\"pieces\":%llu,\"wakes\":%llu,\"refusals\":%llu,\"failures\":%llu,\"whole\":%llu}\n", pieces, wakes, refusals, failures, whole);
  return 0;
}
