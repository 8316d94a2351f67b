/* The HTTP filter: one state machine per call, driven by Envoy's hooks on the call's worker thread.
 *
 * enforce: request held (COLLECT, WAIT) -> verdict -> PASS; response held likewise when the verdict asked for it.
 * discover, monitor: nothing is held; copies gather in COLLECT and leave without waiting.
 * Streams (gRPC, events, lines) go piece by piece in enforce (FLOW, stream.c) and pass in the other modes, where the pieces are told.
 * The first bytes of them are copied meanwhile and leave with COMPLETED.
 *
 * Rules:
 *   - After continue_decoding, continue_encoding and send_response the filter may be gone: they are the last thing a path does.
 *   - Envoy keeps one "may continue" flag per filter for both directions and each hook overwrites it. A held response can
 *     therefore not be resumed after request data has passed. Where data of a request that is still coming meets a held
 *     response, the response is let go first (counted as `response-released`). */
#include "filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum step { GO, HOLD, ENDED };

static const char *const reason_texts[EW_REASONS] = EW_REASON_TEXTS;

static uint64_t now_us(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t ew_now_us(void) {
  return now_us(CLOCK_MONOTONIC);
}

void ew_note(struct ew_filter *f, abi_filter envoy, enum ew_reason reason) {
  if (f->noted & 1u << reason) return;
  f->noted |= 1u << reason;
  const char *text = reason_texts[reason];
  abi_bytes labels[] = {bytes_of(f->route->service, f->route->service_size), bytes_of(text, strlen(text))};
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, f->config->uninspected, labels, 2, 1);
}

/* Whether both messages of a call can be held piece by piece: before 1.39 a continued request forbids to continue the response. */
static bool both_ways(void) {
  return envoy_dynamic_module_callback_http_get_header_values != NULL;
}

static bool enforcing(const struct ew_filter *f) {
  return f->route->mode == EW_ENFORCE;
}

static void waiting(struct ew_filter *f, abi_filter envoy, bool now) {
  if (f->waiting == now) return;
  f->waiting = now;
  if (now) envoy_dynamic_module_callback_http_filter_increment_gauge(envoy, f->config->in_flight, NULL, 0, 1);
  else envoy_dynamic_module_callback_http_filter_decrement_gauge(envoy, f->config->in_flight, NULL, 0, 1);
}

void ew_stop_waiting(struct ew_filter *f, abi_filter envoy) {
  ew_pool_forget(f->config->pool, &f->wait);
  waiting(f, envoy, false);
}

/* The message in `frame` is on its way, or nobody wants it. */
static void release_copy(struct ew_filter *f) {
  ew_pool_give_room(f->config->pool, f->room);
  f->room = 0;
  if (f->frame.capacity > 64u << 10) ew_buffer_free(&f->frame);
}

static bool prepare_wait(struct ew_filter *f, abi_filter envoy) {
  if (!f->wait.scheduler) f->wait.scheduler = envoy_dynamic_module_callback_http_filter_scheduler_new(envoy);
  return f->wait.scheduler != NULL;
}

/* This message stays uninspected for want of an engine: the scope's fail mode decides. */
static enum step fail(struct ew_filter *f, abi_filter envoy, enum message message, enum ew_reason reason) {
  ew_note(f, envoy, reason);
  if (message == REQUEST_MESSAGE) f->engine = -1;
  if (message == REQUEST_MESSAGE) f->request = PASS;
  else f->response = PASS;
  if (!enforcing(f) || !f->route->fail_closed) return GO;
  ew_send_problem(f, envoy, 503, "not-inspected", "Service Unavailable", "The call could not be inspected.");
  return ENDED;
}

static enum step sent(struct ew_filter *f, abi_filter envoy, enum message message, bool asked, enum ew_sent result, enum ew_reason when_down) {
  if (result == EW_SENT_NOT_UP) return fail(f, envoy, message, when_down);
  if (result == EW_SENT_FULL) return fail(f, envoy, message, EW_ENGINE_OVERLOADED);
  if (!asked) return GO;
  waiting(f, envoy, true);
  return HOLD;
}

static enum step submit_request(struct ew_filter *f, abi_filter envoy, uint8_t body_state) {
  struct ew_pool *pool = f->config->pool;
  f->request = enforcing(f) ? WAIT : PASS;
  f->body_state = body_state;
  enum ew_sent result = EW_SENT_NOT_UP;
  if (enforcing(f) && !prepare_wait(f, envoy)) return fail(f, envoy, REQUEST_MESSAGE, EW_ENGINE_OVERLOADED);
  /* Twice, because an engine may go down between being chosen and being written to. */
  for (int attempt = 0; attempt < 2 && result == EW_SENT_NOT_UP; attempt++) {
    f->engine = ew_pool_choose(pool, f->affinity, &f->epoch);
    if (f->engine < 0) break;
    result = enforcing(f) ? ew_pool_ask(pool, (size_t)f->engine, f->epoch, &f->frame, body_state, &f->wait)
                          : ew_pool_tell(pool, (size_t)f->engine, f->epoch, &f->frame, body_state);
  }
  release_copy(f);
  if (body_state == EW_BODY_TRUNCATED) ew_note(f, envoy, EW_REQUEST_BODY_TRUNCATED);
  if (body_state == EW_BODY_STREAMED && !f->request_flows && (enforcing(f) || !f->flows[REQUEST_MESSAGE].watched)) ew_note(f, envoy, EW_REQUEST_STREAMED);
  return sent(f, envoy, REQUEST_MESSAGE, enforcing(f), result, EW_ENGINE_UNAVAILABLE);
}

static enum step submit_response(struct ew_filter *f, abi_filter envoy, uint8_t body_state) {
  struct ew_pool *pool = f->config->pool;
  /* Of a stream nothing can be changed: do not delay it. */
  bool ask = enforcing(f) && body_state != EW_BODY_STREAMED && !f->grpc;
  f->response = ask ? WAIT : PASS;
  f->body_state = body_state;
  enum ew_sent result;
  if (ask && !prepare_wait(f, envoy)) return fail(f, envoy, RESPONSE_MESSAGE, EW_ENGINE_OVERLOADED);
  /* Only the engine that judged the request knows the call; one that reconnected since has forgotten it. */
  if (ask) result = ew_pool_ask(pool, (size_t)f->engine, f->epoch, &f->frame, body_state, &f->wait);
  else result = ew_pool_tell(pool, (size_t)f->engine, f->epoch, &f->frame, body_state);
  release_copy(f);
  if (body_state == EW_BODY_TRUNCATED) ew_note(f, envoy, EW_RESPONSE_BODY_TRUNCATED);
  if (body_state == EW_BODY_STREAMED && !f->response_flows && (enforcing(f) || !f->flows[RESPONSE_MESSAGE].watched)) ew_note(f, envoy, EW_RESPONSE_STREAMED);
  return sent(f, envoy, RESPONSE_MESSAGE, ask, result, EW_ENGINE_LOST);
}

/* Envoy's buffer must be able to hold what is inspected, and some more while the verdict is on its way. */
static void make_room(struct ew_filter *f, abi_filter envoy) {
  uint64_t needed = f->route->max_body + (256u << 10);
  uint64_t limit = envoy_dynamic_module_callback_http_get_buffer_limit(envoy);
  if (limit && limit < needed) envoy_dynamic_module_callback_http_set_buffer_limit(envoy, needed);
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_request_headers(abi_filter envoy, struct ew_filter *f, bool end) {
  f->request_ended = end;
  const struct ew_route *route = envoy_dynamic_module_callback_get_most_specific_route_config(envoy);
  if (!route || f->local_reply) return ABI_HEADERS_CONTINUE;
  f->route = ew_route_hold((struct ew_route *)route);
  f->began_us = now_us(CLOCK_MONOTONIC);
  uint64_t unix_us = now_us(CLOCK_REALTIME);
  f->time = (double)unix_us / 1e6;
  ew_ulid(unix_us / 1000, f->id);
  abi_bytes label = bytes_of(route->service, route->service_size);
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, f->config->calls, &label, 1, 1);

  struct ew_shape shape;
  ew_describe(f, envoy, REQUEST_MESSAGE, &shape);
  f->grpc = shape.grpc;
  f->upgrade = shape.upgrade;
  if (end) return submit_request(f, envoy, EW_BODY_NONE) == GO ? ABI_HEADERS_CONTINUE : ABI_HEADERS_STOP;
  if (enforcing(f)) make_room(f, envoy);
  f->copies[REQUEST_MESSAGE].gathering = shape.grpc;
  f->form = shape.websocket ? EW_WEBSOCKET : shape.form;
  if ((shape.grpc && !shape.coded) || shape.websocket) {
    f->request_flows = enforcing(f) && both_ways();
    f->flows[REQUEST_MESSAGE].watched = !f->request_flows;
  }
  if (shape.grpc || f->upgrade) return submit_request(f, envoy, EW_BODY_STREAMED) == GO ? ABI_HEADERS_CONTINUE : ABI_HEADERS_STOP;
  if (enforcing(f) && route->block_over_limit && shape.has_length && shape.length > route->max_body) {
    ew_send_problem(f, envoy, 413, "body-too-large", "Content Too Large", "The body is larger than can be inspected.");
    return ABI_HEADERS_STOP;
  }
  f->request = COLLECT;
  return enforcing(f) ? ABI_HEADERS_STOP : ABI_HEADERS_CONTINUE;
}

/* Copies a passing piece of a body. False when the copy ends here: the limit is reached, or there is no room for more copies. */
static bool copy_piece(struct ew_filter *f, abi_filter envoy, int which, size_t size, uint64_t so_far) {
  size_t limit = f->route->max_body;
  if (so_far - size < limit) {
    if (!ew_pool_take_room(f->config->pool, size, false)) {
      ew_note(f, envoy, EW_ENGINE_OVERLOADED);
      return false;
    }
    f->room += size;
    ew_gather(&f->frame, envoy, which, limit);
  }
  return so_far <= limit;
}

static int body_status(enum step step) {
  return step == GO ? ABI_BODY_CONTINUE : step == HOLD ? ABI_BODY_STOP_AND_WATERMARK : ABI_BODY_STOP_NO_BUFFER;
}

/* Request data has come to a response that is held: see the rules at the top. False: the stream ended meanwhile. */
static bool release_response(struct ew_filter *f, abi_filter envoy) {
  bool destroyed = false;
  f->destroyed = &destroyed;
  ew_stop_waiting(f, envoy);
  ew_note(f, envoy, EW_RESPONSE_RELEASED);
  f->response = PASS;
  envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
  if (!destroyed) f->destroyed = NULL;
  return !destroyed;
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_request_body(abi_filter envoy, struct ew_filter *f, bool end) {
  if (!f->route) return ABI_BODY_CONTINUE;
  size_t received = envoy_dynamic_module_callback_http_get_body_size(envoy, ABI_RECEIVED_REQUEST_BODY);
  size_t limit = f->route->max_body;
  f->request_ended |= end;
  if (f->request == FLOW) return ew_flow_body(f, envoy, REQUEST_MESSAGE, end);
  if (f->request == PASS) {
    if (f->answered) return ABI_BODY_STOP_NO_BUFFER;
    f->request_bytes += received;
    ew_stream_passes(f, envoy, REQUEST_MESSAGE, ABI_RECEIVED_REQUEST_BODY, end);
    if ((f->response == WAIT || (f->response == COLLECT && enforcing(f))) && !release_response(f, envoy)) return ABI_BODY_STOP_NO_BUFFER;
    return ABI_BODY_CONTINUE;
  }
  if (!enforcing(f)) {
    f->request_bytes += received;
    if (!copy_piece(f, envoy, ABI_RECEIVED_REQUEST_BODY, received, f->request_bytes)) submit_request(f, envoy, EW_BODY_TRUNCATED);
    else if (end) submit_request(f, envoy, EW_BODY_COMPLETE);
    return ABI_BODY_CONTINUE;
  }
  /* Held: what Envoy has buffered, and this piece. With the last piece Envoy has moved it into the buffer already. */
  f->request_bytes = received + envoy_dynamic_module_callback_http_get_body_size(envoy, ABI_BUFFERED_REQUEST_BODY);
  if (f->request == WAIT || (!end && f->request_bytes <= limit)) return ABI_BODY_STOP_AND_WATERMARK;
  if (f->request_bytes > limit && f->route->block_over_limit) {
    ew_send_problem(f, envoy, 413, "body-too-large", "Content Too Large", "The body is larger than can be inspected.");
    return ABI_BODY_STOP_NO_BUFFER;
  }
  ew_gather(&f->frame, envoy, ABI_BUFFERED_REQUEST_BODY, limit);
  ew_gather(&f->frame, envoy, ABI_RECEIVED_REQUEST_BODY, limit);
  return body_status(submit_request(f, envoy, f->request_bytes > limit ? EW_BODY_TRUNCATED : EW_BODY_COMPLETE));
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_request_trailers(abi_filter envoy, struct ew_filter *f) {
  f->request_ended = true;
  if (!f->route) return ABI_TRAILERS_CONTINUE;
  if (f->request == FLOW) return ew_flow_trailers(f, envoy, REQUEST_MESSAGE);
  if (f->request == PASS) {
    ew_stream_ends(f, REQUEST_MESSAGE);
    if ((f->response == WAIT || (f->response == COLLECT && enforcing(f))) && !release_response(f, envoy)) return ABI_TRAILERS_STOP;
    return f->answered ? ABI_TRAILERS_STOP : ABI_TRAILERS_CONTINUE;
  }
  if (f->request == WAIT) return ABI_TRAILERS_STOP;
  if (enforcing(f)) ew_gather(&f->frame, envoy, ABI_BUFFERED_REQUEST_BODY, f->route->max_body);
  return submit_request(f, envoy, EW_BODY_COMPLETE) == GO ? ABI_TRAILERS_CONTINUE : ABI_TRAILERS_STOP;
}

static void begin_response_flow(struct ew_filter *f, abi_filter envoy, enum form form) {
  f->form = form;
  /* What goes on may be of another length. */
  if (ew_flow_begin(f, RESPONSE_MESSAGE)) envoy_dynamic_module_callback_http_set_header(envoy, ABI_RESPONSE_HEADERS, LITERAL("content-length"), (abi_bytes){NULL, 0});
}

static int response_headers(struct ew_filter *f, abi_filter envoy, bool end) {
  if (f->local_reply) {
    envoy_dynamic_module_callback_http_set_header(envoy, ABI_RESPONSE_HEADERS, LITERAL("x-eastwall-event-id"), bytes_of(f->id, EW_ULID_SIZE));
    return ABI_HEADERS_CONTINUE;
  }
  /* The service answers before all of the request has come: judge what there is of it first. */
  if (f->request == COLLECT && !enforcing(f)) submit_request(f, envoy, EW_BODY_TRUNCATED);
  if (f->engine < 0 || (f->request != PASS && f->request != FLOW) || f->want_response == 0) {
    f->response = PASS;
    return ABI_HEADERS_CONTINUE;
  }
  struct ew_shape shape;
  ew_describe(f, envoy, RESPONSE_MESSAGE, &shape);
  f->status = shape.status;
  f->grpc_status = f->grpc ? shape.grpc_status : 0;
  enum step step;
  if (end) {
    step = submit_response(f, envoy, EW_BODY_NONE);
  } else if (shape.streaming || (f->upgrade && (shape.status == 101 || shape.status == 200))) {
    if (f->upgrade) shape.form = f->form;
    f->copies[RESPONSE_MESSAGE].gathering = f->want_response > 1 && !f->upgrade;
    bool events = f->want_response > 1 && shape.form && !shape.coded;
    bool alone = !f->grpc && !f->upgrade; /* the request has been judged whole */
    f->response_flows = events && enforcing(f) && (alone || both_ways()) && prepare_wait(f, envoy);
    f->flows[RESPONSE_MESSAGE].watched = events && !f->response_flows;
    step = submit_response(f, envoy, EW_BODY_STREAMED);
    if (f->response_flows && step == GO && !(f->noted & 1u << EW_ENGINE_LOST)) begin_response_flow(f, envoy, shape.form);
  } else if (f->want_response == 1) {
    step = submit_response(f, envoy, EW_BODY_SKIPPED);
  } else {
    f->response = COLLECT;
    if (!enforcing(f)) return ABI_HEADERS_CONTINUE;
    make_room(f, envoy);
    if (prepare_wait(f, envoy)) ew_pool_hold(f->config->pool, &f->wait);
    return ABI_HEADERS_STOP;
  }
  return step == GO ? ABI_HEADERS_CONTINUE : ABI_HEADERS_STOP;
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_response_headers(abi_filter envoy, struct ew_filter *f, bool end) {
  if (!f->route || f->answered) return ABI_HEADERS_CONTINUE;
  f->response_ended = end;
  int status = response_headers(f, envoy, end);
  f->response_began = status == ABI_HEADERS_CONTINUE;
  return status;
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_response_body(abi_filter envoy, struct ew_filter *f, bool end) {
  if (!f->route || f->answered) return ABI_BODY_CONTINUE;
  f->response_ended |= end;
  if (f->response == FLOW) return ew_flow_body(f, envoy, RESPONSE_MESSAGE, end);
  size_t received = envoy_dynamic_module_callback_http_get_body_size(envoy, ABI_RECEIVED_RESPONSE_BODY);
  size_t limit = f->route->max_body;
  if (f->response == PASS || f->response == IDLE || f->local_reply) {
    f->response_bytes += received;
    ew_stream_passes(f, envoy, RESPONSE_MESSAGE, ABI_RECEIVED_RESPONSE_BODY, end);
    return ABI_BODY_CONTINUE;
  }
  if (!enforcing(f)) {
    f->response_bytes += received;
    if (!copy_piece(f, envoy, ABI_RECEIVED_RESPONSE_BODY, received, f->response_bytes)) submit_response(f, envoy, EW_BODY_TRUNCATED);
    else if (end) submit_response(f, envoy, EW_BODY_COMPLETE);
    return ABI_BODY_CONTINUE;
  }
  f->response_bytes = received + envoy_dynamic_module_callback_http_get_body_size(envoy, ABI_BUFFERED_RESPONSE_BODY);
  if (f->response == WAIT || (!end && f->response_bytes <= limit)) return ABI_BODY_STOP_AND_WATERMARK;
  ew_pool_forget(f->config->pool, &f->wait); /* the hold timer */
  ew_gather(&f->frame, envoy, ABI_BUFFERED_RESPONSE_BODY, limit);
  ew_gather(&f->frame, envoy, ABI_RECEIVED_RESPONSE_BODY, limit);
  return body_status(submit_response(f, envoy, f->response_bytes > limit ? EW_BODY_TRUNCATED : EW_BODY_COMPLETE));
}

EW_EXPORT int envoy_dynamic_module_on_http_filter_response_trailers(abi_filter envoy, struct ew_filter *f) {
  if (f->route && !f->answered && !f->local_reply) {
    f->response_ended = true;
    if (f->grpc) f->grpc_status = ew_trailing_status(envoy);
    if (f->response == FLOW) return ew_flow_trailers(f, envoy, RESPONSE_MESSAGE);
    ew_stream_ends(f, RESPONSE_MESSAGE);
  }
  if (!f->route || f->answered || f->local_reply || f->response == PASS || f->response == IDLE) return ABI_TRAILERS_CONTINUE;
  if (f->response == WAIT) return ABI_TRAILERS_STOP;
  if (enforcing(f)) {
    ew_pool_forget(f->config->pool, &f->wait);
    ew_gather(&f->frame, envoy, ABI_BUFFERED_RESPONSE_BODY, f->route->max_body);
  }
  return submit_response(f, envoy, EW_BODY_COMPLETE) == GO ? ABI_TRAILERS_CONTINUE : ABI_TRAILERS_STOP;
}

/* ---- what the pool's thread woke us for ---- */

static enum step obey(struct ew_filter *f, abi_filter envoy, enum message message, const struct ew_verdict *verdict) {
  if (message == REQUEST_MESSAGE) {
    f->want_response = verdict->want_response;
    f->request = PASS;
    if (!verdict->deny && f->request_flows && ew_flow_begin(f, REQUEST_MESSAGE)) {
      ew_change_headers(envoy, message, verdict);
      f->flows[REQUEST_MESSAGE].ended = f->request_ended;
      return ew_flow_began_held(f, envoy, REQUEST_MESSAGE) ? HOLD : GO;
    }
    /* What came while the verdict was awaited goes on from Envoy's buffer, past us. */
    if (!verdict->deny) ew_stream_passes(f, envoy, REQUEST_MESSAGE, ABI_BUFFERED_REQUEST_BODY, f->request_ended);
  } else {
    f->response = PASS;
  }
  if (verdict->deny) {
    ew_send_denial(f, envoy, verdict);
    return ENDED;
  }
  ew_change_headers(envoy, message, verdict);
  /* A part cannot be replaced by a whole: the rest would follow unchanged. */
  if (verdict->has_body && !(f->body_state == EW_BODY_COMPLETE && ew_replace_body(envoy, message, verdict))) {
    if (f->body_state != EW_BODY_NONE) return fail(f, envoy, message, EW_BODY_NOT_REPLACED);
  }
  return GO;
}

static enum step held_long(struct ew_filter *f, abi_filter envoy) {
  ew_gather(&f->frame, envoy, ABI_BUFFERED_RESPONSE_BODY, f->route->max_body);
  return submit_response(f, envoy, ew_body_size(&f->frame) ? EW_BODY_TRUNCATED : EW_BODY_STREAMED);
}

EW_EXPORT void envoy_dynamic_module_on_http_filter_scheduled(abi_filter envoy, struct ew_filter *f, uint64_t event) {
  if (!f->route || ew_flow_scheduled(f, envoy, event) || !ew_pool_take(f->config->pool, &f->wait, event)) return;
  waiting(f, envoy, false);
  enum message message = f->request == WAIT ? REQUEST_MESSAGE : RESPONSE_MESSAGE;
  /* The reply must outlive the filter, which a denial may end. */
  uint8_t small[sizeof f->wait.small];
  uint8_t *reply = f->wait.reply;
  if (reply == f->wait.small) reply = memcpy(small, reply, sizeof small);
  f->wait.reply = NULL;
  struct ew_verdict verdict;
  enum step step = GO;
  switch (f->wait.outcome) {
    case EW_ANSWERED:
      if (ew_read_verdict(reply, f->wait.reply_size, &verdict)) step = obey(f, envoy, message, &verdict);
      else step = fail(f, envoy, message, EW_ENGINE_ERROR);
      break;
    case EW_TIMED_OUT: step = fail(f, envoy, message, EW_ENGINE_TIMEOUT); break;
    case EW_LOST: step = fail(f, envoy, message, EW_ENGINE_LOST); break;
    case EW_ENGINE_FAILED: step = fail(f, envoy, message, EW_ENGINE_ERROR); break;
    case EW_HELD_LONG: step = held_long(f, envoy); break;
    case EW_PENDING: case EW_NOT_SENT: step = HOLD; break;
  }
  if (reply != small) free(reply);
  if (step != GO) return;
  if (message == REQUEST_MESSAGE) {
    envoy_dynamic_module_callback_http_filter_continue_decoding(envoy);
    return;
  }
  f->response_began = true;
  envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
}

/* ---- the end of a call ---- */

EW_EXPORT int envoy_dynamic_module_on_http_filter_local_reply(abi_filter envoy, struct ew_filter *f, uint32_t status, abi_bytes details, bool reset) {
  (void)details;
  (void)reset;
  if (!f->route || f->answered || f->local_reply) return 0;
  f->local_reply = true;
  f->status = (uint16_t)status;
  ew_stop_waiting(f, envoy);
  for (int message = REQUEST_MESSAGE; message <= RESPONSE_MESSAGE; message++) ew_pool_forget(f->config->pool, &f->flows[message].wait);
  if (f->request != COLLECT || enforcing(f)) f->request = PASS;
  f->response = PASS;
  envoy_dynamic_module_callback_http_set_dynamic_metadata_string(envoy, LITERAL("eastwall"), LITERAL("event_id"), bytes_of(f->id, EW_ULID_SIZE));
  return 0;
}

EW_EXPORT void envoy_dynamic_module_on_http_filter_stream_complete(abi_filter envoy, struct ew_filter *f) {
  if (!f->route) return;
  ew_stop_waiting(f, envoy);
  if (!enforcing(f) && f->request == COLLECT) submit_request(f, envoy, EW_BODY_TRUNCATED);
  if (!enforcing(f) && f->response == COLLECT) submit_response(f, envoy, EW_BODY_TRUNCATED);
  uint64_t status = 0;
  if (envoy_dynamic_module_callback_http_filter_get_attribute_int(envoy, ABI_ATTRIBUTE_RESPONSE_CODE, &status) && status <= 999) f->status = (uint16_t)status;
  struct ew_buffer *frame = &f->frame;
  ew_open_completed(frame, f->time, f->request_bytes, f->response_bytes, now_us(CLOCK_MONOTONIC) - f->began_us, f->status);
  ew_buffer_append(frame, f->head.data, f->head.size);
  frame->failed |= f->head.failed;
  for (int reason = 0; reason < EW_REASONS; reason++)
    if (f->noted & 1u << reason) ew_text(frame, reason_texts[reason], strlen(reason_texts[reason]));
  ew_close_text(frame);
  struct ew_copy *asked = &f->copies[REQUEST_MESSAGE], *answered = &f->copies[RESPONSE_MESSAGE];
  ew_add_copies(frame, &asked->bytes, asked->state, &answered->bytes, answered->state, f->grpc_status);
  ew_stream_drop(f);
  if (ew_pool_complete(f->config->pool, f->engine, frame)) return;
  abi_bytes label = bytes_of(f->route->service, f->route->service_size);
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, f->config->records_lost, &label, 1, 1);
}

EW_EXPORT void envoy_dynamic_module_on_http_filter_destroy(struct ew_filter *f) {
  if (f->destroyed) *f->destroyed = true;
  ew_pool_forget(f->config->pool, &f->wait);
  release_copy(f);
  ew_stream_drop(f);
  if (f->wait.scheduler) envoy_dynamic_module_callback_http_filter_scheduler_delete(f->wait.scheduler);
  ew_route_release(f->route);
  ew_buffer_free(&f->frame);
  ew_buffer_free(&f->head);
  free(f);
}
