/* What Envoy calls once: loading, filter and route configurations; and the hooks an HTTP filter must have but we do not need. */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

EW_EXPORT const char *envoy_dynamic_module_on_program_init(void) {
  return EW_ABI_VERSION;
}

static void refuse(const char *error) {
  const char *text = *error ? error : "out of memory";
  envoy_dynamic_module_callback_log(ABI_LOG_WARN, bytes_of(text, strlen(text)));
}

static bool define_metrics(struct ew_filter_config *config, abi_config envoy) {
  abi_bytes labels[] = {LITERAL("service"), LITERAL("reason")};
  return envoy_dynamic_module_callback_http_filter_config_define_counter(envoy, LITERAL("calls"), labels, 1, &config->calls) == ABI_METRIC_SUCCESS &&
         envoy_dynamic_module_callback_http_filter_config_define_counter(envoy, LITERAL("uninspected"), labels, 2, &config->uninspected) == ABI_METRIC_SUCCESS &&
         envoy_dynamic_module_callback_http_filter_config_define_counter(envoy, LITERAL("records_lost"), labels, 1, &config->records_lost) == ABI_METRIC_SUCCESS &&
         envoy_dynamic_module_callback_http_filter_config_define_gauge(envoy, LITERAL("in_flight"), NULL, 0, &config->in_flight) == ABI_METRIC_SUCCESS;
}

EW_EXPORT const void *envoy_dynamic_module_on_http_filter_config_new(abi_config envoy, abi_bytes name, abi_bytes text) {
  (void)name;
  char error[640] = "";
  struct ew_options options;
  struct ew_filter_config *config = calloc(1, sizeof *config);
  if (config && ew_options_parse(text.data, text.size, &options, error, sizeof error) && define_metrics(config, envoy)) {
    config->pool = ew_pool_acquire(text.data, text.size, &options, !envoy_dynamic_module_callback_is_validation_mode());
    if (config->pool) return config;
  }
  refuse(error);
  free(config);
  return NULL;
}

EW_EXPORT void envoy_dynamic_module_on_http_filter_config_destroy(struct ew_filter_config *config) {
  ew_pool_release(config->pool);
  free(config);
}

EW_EXPORT const void *envoy_dynamic_module_on_http_filter_per_route_config_new(abi_bytes name, abi_bytes text) {
  (void)name;
  char error[640] = "";
  struct ew_route *route = ew_route_parse(text.data, text.size, error, sizeof error);
  if (!route) refuse(error);
  return route;
}

EW_EXPORT void envoy_dynamic_module_on_http_filter_per_route_config_destroy(struct ew_route *route) {
  ew_route_release(route);
}

EW_EXPORT const void *envoy_dynamic_module_on_http_filter_new(struct ew_filter_config *config, abi_filter envoy) {
  (void)envoy;
  struct ew_filter *f = calloc(1, sizeof *f); /* NULL closes the stream: better than an uninspected one */
  if (f) {
    f->config = config;
    f->engine = -1;
    f->want_response = 2;
  }
  return f;
}

/* Envoy wants these to exist. They answer things that the shim never starts, so their arguments do not matter. */
#define UNUSED_HOOK(name) \
  EW_EXPORT void envoy_dynamic_module_on_##name(void); \
  EW_EXPORT void envoy_dynamic_module_on_##name(void) {}
UNUSED_HOOK(http_filter_http_callout_done)
UNUSED_HOOK(http_filter_http_stream_headers)
UNUSED_HOOK(http_filter_http_stream_data)
UNUSED_HOOK(http_filter_http_stream_trailers)
UNUSED_HOOK(http_filter_http_stream_complete)
UNUSED_HOOK(http_filter_http_stream_reset)
UNUSED_HOOK(http_filter_config_scheduled)
UNUSED_HOOK(http_filter_config_http_callout_done)
UNUSED_HOOK(http_filter_config_http_stream_headers)
UNUSED_HOOK(http_filter_config_http_stream_data)
UNUSED_HOOK(http_filter_config_http_stream_trailers)
UNUSED_HOOK(http_filter_config_http_stream_complete)
UNUSED_HOOK(http_filter_config_http_stream_reset)
UNUSED_HOOK(http_filter_downstream_above_write_buffer_high_watermark)
UNUSED_HOOK(http_filter_downstream_below_write_buffer_low_watermark)
