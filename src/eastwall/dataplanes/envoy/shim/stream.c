/* Messages that are streams: copies of what passes, and (enforce) pieces that are held until the engine lets go of them.
 *
 * A message in FLOW: what comes stays in Envoy's buffer, whose watermark stops the sender. It is handed to the engine as a PIECE, and
 * kept here too (`held`): the RELEASE says how many of the held bytes go on, and as what. The engine works on copies: when it is lost,
 * the bytes are still here, and go on or are dropped as the scope's fail mode says.
 *
 * Rules:
 *   - Hooks only hold. Whatever lets go or ends is done when we are woken, never inside a hook: Envoy would be re-entered.
 *   - Envoy lets a message be continued once after each hook that stopped it. So bytes go on only when all that has come was judged:
 *     else what came before them would have used up the one time that is theirs. What is judged meanwhile waits in `ready`. That is
 *     never for long: nothing is taken out of Envoy's buffer until then, so the sender is stopped before it can go on for ever. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "filter.h"

static const int buffered_body[] = {ABI_BUFFERED_REQUEST_BODY, ABI_BUFFERED_RESPONSE_BODY};
static const int received_body[] = {ABI_RECEIVED_REQUEST_BODY, ABI_RECEIVED_RESPONSE_BODY};

/* ---- copies ---- */

static void copy_bytes(struct ew_filter *f, abi_filter envoy, enum message message, const uint8_t *data, size_t size, bool end) {
  struct ew_copy *copy = &f->copies[message];
  if (!copy->gathering || f->engine < 0) return;
  size_t limit = f->route->max_body < EW_STREAM_COPY ? f->route->max_body : EW_STREAM_COPY;
  size_t take = size < limit - copy->bytes.size ? size : limit - copy->bytes.size;
  if (take && !ew_pool_take_room(f->config->pool, take, true)) {
    ew_note(f, envoy, EW_ENGINE_OVERLOADED);
    copy->gathering = false;
    return;
  }
  if (take) {
    copy->room += take;
    copy->state = EW_BODY_TRUNCATED;
    ew_buffer_append(&copy->bytes, data, take);
  }
  if (take < size || copy->bytes.failed) copy->state = EW_BODY_TRUNCATED;
  else if (end) copy->state = EW_BODY_COMPLETE;
  copy->gathering = take == size && !copy->bytes.failed && !end;
}

/* A stream that nobody waits for may cost the engine so much: `max_body` at once, and as much again each second (64 KB at least). */
static bool within_budget(struct ew_filter *f, struct ew_flow *flow, size_t size) {
  uint64_t each = f->route->max_body < EW_STREAM_COPY ? EW_STREAM_COPY : f->route->max_body;
  flow->told += size;
  return flow->told <= each + (ew_now_us() - f->began_us) * each / 1000000;
}

/* What passes goes to the engine, which is not waited for. After a piece that could not be told, later ones would make no sense. */
static void tell_piece(struct ew_filter *f, abi_filter envoy, enum message message, int which, bool end) {
  struct ew_flow *flow = &f->flows[message];
  struct ew_buffer *frame = &flow->frame;
  ew_open_piece(frame, message == REQUEST_MESSAGE ? 1 : 2);
  ew_text(frame, f->id, EW_ULID_SIZE);
  ew_close_text(frame);
  ew_gather_after(frame, envoy, which, 0);
  size_t size = ew_body_size(frame);
  copy_bytes(f, envoy, message, frame->data + frame->size - size, size, end);
  if (!flow->watched || (!size && !end)) return;
  enum ew_sent sent = EW_SENT_FULL;
  bool within = within_budget(f, flow, size);
  if (within) sent = ew_pool_tell(f->config->pool, (size_t)f->engine, f->epoch, frame, end ? EW_PIECE_END : 0);
  if (frame->capacity > 64u << 10) ew_buffer_free(frame);
  if (sent == EW_SENT) return;
  flow->watched = false;
  if (!within) ew_note(f, envoy, message == REQUEST_MESSAGE ? EW_REQUEST_BODY_TRUNCATED : EW_RESPONSE_BODY_TRUNCATED);
  else ew_note(f, envoy, sent == EW_SENT_FULL ? EW_ENGINE_OVERLOADED : EW_ENGINE_LOST);
}

void ew_stream_passes(struct ew_filter *f, abi_filter envoy, enum message message, int which, bool end) {
  if (f->engine < 0 || !(f->copies[message].gathering || f->flows[message].watched)) return;
  tell_piece(f, envoy, message, which, end);
}

void ew_stream_ends(struct ew_filter *f, enum message message) {
  struct ew_copy *copy = &f->copies[message];
  if (copy->gathering && f->engine >= 0) copy->state = EW_BODY_COMPLETE;
  copy->gathering = false;
}

/* ---- pieces ---- */

static void drop_held(struct ew_filter *f, struct ew_flow *flow) {
  ew_pool_give_room(f->config->pool, flow->room);
  flow->room = 0;
  ew_buffer_free(&flow->held);
  ew_buffer_free(&flow->ready);
}

void ew_stream_drop(struct ew_filter *f) {
  for (int message = REQUEST_MESSAGE; message <= RESPONSE_MESSAGE; message++) {
    struct ew_copy *copy = &f->copies[message];
    ew_pool_give_room(f->config->pool, copy->room);
    ew_buffer_free(&copy->bytes);
    *copy = (struct ew_copy){0};
    struct ew_flow *flow = &f->flows[message];
    ew_pool_forget(f->config->pool, &flow->wait);
    drop_held(f, flow);
    ew_buffer_free(&flow->frame);
    flow->asked = false;
  }
}

static enum phase *phase_of(struct ew_filter *f, enum message message) {
  return message == REQUEST_MESSAGE ? &f->request : &f->response;
}

static size_t size_in(abi_filter envoy, int which) {
  return envoy_dynamic_module_callback_http_get_body_size(envoy, which);
}

static void drain(abi_filter envoy, int which) {
  size_t size = size_in(envoy, which);
  if (size) envoy_dynamic_module_callback_http_drain_body(envoy, which, size);
}

/* Everything that has come since goes to the engine, and into `held`. What cannot be done here is done when we are woken. */
static void give(struct ew_filter *f, abi_filter envoy, enum message message) {
  struct ew_flow *flow = &f->flows[message];
  struct ew_pool *pool = f->config->pool;
  struct ew_buffer *frame = &flow->frame;
  ew_open_piece(frame, message == REQUEST_MESSAGE ? 1 : 2);
  ew_text(frame, f->id, EW_ULID_SIZE);
  ew_close_text(frame);
  ew_gather_after(frame, envoy, buffered_body[message], flow->given);
  ew_gather_after(frame, envoy, received_body[message], 0);
  size_t size = ew_body_size(frame);
  const uint8_t *data = frame->data + frame->size - size;
  flow->asked = true;
  flow->told_end = flow->ended;
  flow->given += size;
  bool room = ew_pool_take_room(pool, size, true);
  if (room) flow->room += size;
  ew_buffer_append(&flow->held, data, size);
  if (frame->failed || flow->held.failed) { /* nothing can be said of these bytes any more */
    flow->broken = true;
    ew_pool_wake(pool, &flow->wait, EW_NOT_SENT);
    return;
  }
  copy_bytes(f, envoy, message, data, size, false);
  if (message == REQUEST_MESSAGE) f->request_bytes += size;
  enum ew_sent sent = EW_SENT_FULL;
  if (room) sent = ew_pool_ask(pool, (size_t)f->engine, f->epoch, frame, flow->ended ? EW_PIECE_END : 0, &flow->wait);
  if (frame->capacity > 64u << 10) ew_buffer_free(frame);
  if (sent != EW_SENT) ew_pool_wake(pool, &flow->wait, sent == EW_SENT_NOT_UP ? EW_LOST : EW_NOT_SENT);
}

/* Nothing of the message is with the engine or with us. */
static bool idle(const struct ew_flow *flow) {
  return !flow->asked && !flow->held.size && !flow->ready.size;
}

/* The message is over. */
static void pass_on(struct ew_filter *f, enum message message) {
  *phase_of(f, message) = PASS;
  ew_stream_ends(f, message);
}

int ew_flow_body(struct ew_filter *f, abi_filter envoy, enum message message, bool end) {
  struct ew_flow *flow = &f->flows[message];
  flow->ended |= end;
  if (flow->asked) return ABI_BODY_STOP_AND_WATERMARK;
  if (size_in(envoy, received_body[message]) + size_in(envoy, buffered_body[message]) == 0) {
    if (end && idle(flow)) pass_on(f, message);
    if (!end || idle(flow)) return ABI_BODY_CONTINUE;
  }
  give(f, envoy, message);
  return ABI_BODY_STOP_AND_WATERMARK;
}

int ew_flow_trailers(struct ew_filter *f, abi_filter envoy, enum message message) {
  struct ew_flow *flow = &f->flows[message];
  flow->ended = flow->trailers = true;
  if (idle(flow) && !size_in(envoy, buffered_body[message])) {
    pass_on(f, message);
    return ABI_TRAILERS_CONTINUE;
  }
  if (!flow->asked) give(f, envoy, message);
  return ABI_TRAILERS_STOP;
}

/* What is in `ready` goes on. The last thing done: the filter may be gone. */
static void let_go(struct ew_filter *f, abi_filter envoy, enum message message) {
  struct ew_flow *flow = &f->flows[message];
  int which = buffered_body[message];
  drain(envoy, which);
  flow->given = 0;
  if (!flow->ready.size && !flow->ended) return;
  abi_bytes bytes = bytes_of((const char *)flow->ready.data, flow->ready.size);
  if (flow->ended) pass_on(f, message);
  if (bytes.size) envoy_dynamic_module_callback_http_append_body(envoy, which, bytes);
  if (message == RESPONSE_MESSAGE) f->response_bytes += bytes.size;
  ew_buffer_clear(&flow->ready);
  if (flow->ready.capacity > 64u << 10) ew_buffer_free(&flow->ready);
  if (message == REQUEST_MESSAGE) envoy_dynamic_module_callback_http_filter_continue_decoding(envoy);
  else envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
}

/* False: the filter is gone. */
static bool send_data(struct ew_filter *f, abi_filter envoy, abi_bytes bytes) {
  bool destroyed = false;
  f->destroyed = &destroyed;
  envoy_dynamic_module_callback_http_send_response_data(envoy, bytes, false);
  if (!destroyed) f->destroyed = NULL;
  return !destroyed;
}

/* The stream ends here, with `bytes` (already in the message's form) and for gRPC with trailers. The last thing done. */
static void end_stream(struct ew_filter *f, abi_filter envoy, abi_bytes bytes, const abi_header *trailers, size_t count) {
  struct ew_flow *answering = &f->flows[RESPONSE_MESSAGE];
  bool held_end = f->response == FLOW && answering->ended;
  f->answered = true;
  f->request = f->response = PASS;
  for (int message = REQUEST_MESSAGE; message <= RESPONSE_MESSAGE; message++) {
    ew_pool_forget(f->config->pool, &f->flows[message].wait);
    f->flows[message].asked = false;
    drain(envoy, buffered_body[message]);
  }
  f->response_bytes += bytes.size;
  if (held_end) {
    if (bytes.size) envoy_dynamic_module_callback_http_append_body(envoy, ABI_BUFFERED_RESPONSE_BODY, bytes);
    for (size_t i = 0; i < count && answering->trailers; i++)
      envoy_dynamic_module_callback_http_set_header(envoy, ABI_RESPONSE_TRAILERS, bytes_of(trailers[i].key, trailers[i].key_size),
                                                    bytes_of(trailers[i].value, trailers[i].value_size));
    envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
  } else if (f->response_ended) {
    envoy_dynamic_module_callback_http_filter_reset_stream(envoy, 0, LITERAL("eastwall_stream_ended"));
  } else if (!count) {
    envoy_dynamic_module_callback_http_send_response_data(envoy, bytes, true);
  } else {
    if (bytes.size && !send_data(f, envoy, bytes)) return;
    envoy_dynamic_module_callback_http_send_response_trailers(envoy, (abi_header *)trailers, count);
  }
}

/* The engine wants the stream ended. */
static void refuse(struct ew_filter *f, abi_filter envoy, const struct ew_release *release, abi_bytes last) {
  ew_stop_waiting(f, envoy);
  if (!f->response_began) { /* the caller has no answer yet: he gets an ordinary one */
    ew_send_problem(f, envoy, 403, "request-refused", "Request refused", "The request was refused by a security policy.");
    return;
  }
  abi_header trailers[16];
  size_t count = 0;
  const char *cursor = release->text;
  for (unsigned i = 0; i < release->trailer_count && count < 16; i++, count++) {
    trailers[count].key = ew_next_field(&cursor, &trailers[count].key_size);
    trailers[count].value = ew_next_field(&cursor, &trailers[count].value_size);
  }
  end_stream(f, envoy, last, trailers, count);
}

/* The engine cannot be asked any more, and the scope fails closed. */
static void end_uninspected(struct ew_filter *f, abi_filter envoy) {
  ew_stop_waiting(f, envoy);
  if (!f->response_began) {
    ew_send_problem(f, envoy, 503, "not-inspected", "Service Unavailable", "The call could not be inspected.");
    return;
  }
  static const char *const before[] = {"", "event: error\ndata: ", "", "\x1e", "", "", ""};
  static const char *const after[] = {"", "\n\n", "\n", "\n", "", "", ""};
  char text[1024];
  int size = 0;
  switch (f->form) {
    case EW_EVENTS: case EW_LINES: case EW_SEQUENCE:
      size = snprintf(text, sizeof text, "%s{\"type\":\"%snot-inspected\",\"title\":\"Service Unavailable\",\"status\":503,\"event_id\":\"%.*s\"}%s", before[f->form],
                      ew_pool_options(f->config->pool)->problem_base, EW_ULID_SIZE, f->id, after[f->form]);
      break;
    case EW_GRPC_WEB: {
      static const char block[] = "\x80\0\0\0\x10grpc-status: 14\n";
      size = sizeof block - 1;
      memcpy(text, block, sizeof block - 1);
      break;
    }
    case EW_WEBSOCKET:
      size = 4;
      memcpy(text, "\x88\x02\x03\xf3", 4); /* close, 1011: RFC 6455, 7.4.1 */
      break;
    case EW_GRPC: case EW_NO_FORM: break;
  }
  if (size < 0 || (size_t)size >= sizeof text) size = 0;
  abi_header trailers[] = {{"grpc-status", 11, "14", 2}, {"grpc-message", 12, "not inspected", 13}};
  end_stream(f, envoy, bytes_of(text, (size_t)size), trailers, f->form == EW_GRPC ? 2 : 0);
}

static void fail(struct ew_filter *f, abi_filter envoy, enum message message, enum ew_reason reason) {
  struct ew_flow *flow = &f->flows[message];
  ew_note(f, envoy, reason);
  if (flow->broken) { /* there is no knowing what has come */
    f->answered = true;
    envoy_dynamic_module_callback_http_filter_reset_stream(envoy, 0, LITERAL("eastwall_out_of_memory"));
    return;
  }
  if (f->route->fail_closed) {
    end_uninspected(f, envoy);
    return;
  }
  /* Open: all that is held goes on, and what follows passes. */
  ew_buffer_append(&flow->ready, flow->held.data, flow->held.size);
  size_t before = flow->ready.size;
  ew_gather_after(&flow->ready, envoy, buffered_body[message], flow->given);
  if (flow->ready.failed) {
    flow->broken = true;
    fail(f, envoy, message, reason);
    return;
  }
  if (message == REQUEST_MESSAGE) f->request_bytes += flow->ready.size - before;
  ew_pool_give_room(f->config->pool, flow->room);
  flow->room = 0;
  ew_buffer_free(&flow->held);
  *phase_of(f, message) = PASS;
  let_go(f, envoy, message);
}

/* A RELEASE is carried out. */
static void obey(struct ew_filter *f, abi_filter envoy, enum message message, const struct ew_release *release) {
  struct ew_flow *flow = &f->flows[message];
  if (release->part) ew_note(f, envoy, message == REQUEST_MESSAGE ? EW_REQUEST_EVENT_TOO_LARGE : EW_RESPONSE_EVENT_TOO_LARGE);
  if (release->end) {
    if (flow->told_end) ew_stream_ends(f, message);
    /* What was let go before goes before what ends it. */
    struct ew_buffer last = {0};
    if (message == RESPONSE_MESSAGE) ew_buffer_append(&last, flow->ready.data, flow->ready.size);
    ew_buffer_append(&last, release->body, release->body_size);
    refuse(f, envoy, release, last.failed ? LITERAL("") : bytes_of((const char *)last.data, last.size));
    ew_buffer_free(&last);
    return;
  }
  if (release->has_body) ew_buffer_append(&flow->ready, release->body, release->body_size);
  else ew_buffer_append(&flow->ready, flow->held.data, release->consumed);
  if (release->consumed) {
    memmove(flow->held.data, flow->held.data + release->consumed, flow->held.size - release->consumed);
    flow->held.size -= release->consumed;
    if (flow->held.capacity > 64u << 10 && !flow->held.size) ew_buffer_free(&flow->held);
  }
  ew_pool_give_room(f->config->pool, flow->room - flow->held.size);
  flow->room = flow->held.size;
  if (flow->ready.failed) {
    flow->broken = true;
    fail(f, envoy, message, EW_ENGINE_OVERLOADED);
    return;
  }
  bool more = size_in(envoy, buffered_body[message]) > flow->given;
  if (more || (flow->ended && !flow->told_end && flow->held.size)) give(f, envoy, message);
  else let_go(f, envoy, message);
}

static void woken(struct ew_filter *f, abi_filter envoy, enum message message) {
  struct ew_flow *flow = &f->flows[message];
  /* The reply must outlive the filter, which its consequences may end. */
  uint8_t small[sizeof flow->wait.small];
  uint8_t *reply = flow->wait.reply;
  if (reply == flow->wait.small) reply = memcpy(small, reply, sizeof small);
  flow->wait.reply = NULL;
  struct ew_release release;
  flow->asked = false;
  switch (flow->wait.outcome) {
    case EW_ANSWERED:
      if (!ew_read_release(reply, flow->wait.reply_size, &release) || release.consumed > flow->held.size ||
          (flow->told_end && !release.end && release.consumed < flow->held.size))
        fail(f, envoy, message, EW_ENGINE_ERROR);
      else obey(f, envoy, message, &release);
      break;
    case EW_TIMED_OUT: fail(f, envoy, message, EW_ENGINE_TIMEOUT); break;
    case EW_LOST: fail(f, envoy, message, EW_ENGINE_LOST); break;
    case EW_NOT_SENT: fail(f, envoy, message, EW_ENGINE_OVERLOADED); break;
    case EW_ENGINE_FAILED: case EW_HELD_LONG: case EW_PENDING: fail(f, envoy, message, EW_ENGINE_ERROR); break;
  }
  if (reply != small) free(reply);
}

bool ew_flow_scheduled(struct ew_filter *f, abi_filter envoy, uint64_t event) {
  for (int message = REQUEST_MESSAGE; message <= RESPONSE_MESSAGE; message++) {
    if (!ew_pool_take(f->config->pool, &f->flows[message].wait, event)) continue;
    if (*phase_of(f, message) == FLOW) woken(f, envoy, message);
    return true;
  }
  return false;
}

bool ew_flow_begin(struct ew_filter *f, enum message message) {
  f->flows[message].wait.scheduler = f->wait.scheduler;
  if (!f->wait.scheduler) return false;
  *phase_of(f, message) = FLOW;
  return true;
}

bool ew_flow_began_held(struct ew_filter *f, abi_filter envoy, enum message message) {
  if (!f->flows[message].ended && !size_in(envoy, buffered_body[message])) return false;
  give(f, envoy, message);
  return true;
}
