#include "ulid.h"

#include <stdbool.h>
#include <sys/random.h>
#include <time.h>

/* xoshiro256++ (Blackman, Vigna 2019), one state per thread. Ids must not collide; they need not be secret. */
static _Thread_local uint64_t state[4];
static _Thread_local bool seeded;

static uint64_t rotate(uint64_t x, int k) {
  return x << k | x >> (64 - k);
}

static uint64_t random64(void) {
  if (!seeded) {
    if (getrandom(state, sizeof state, 0) != sizeof state) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME, &now);
      state[0] = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 32;
      state[1] = (uint64_t)(uintptr_t)&state;
      state[2] = 0x9e3779b97f4a7c15;
    }
    seeded = true;
  }
  uint64_t result = rotate(state[0] + state[3], 23) + state[0];
  uint64_t t = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= t;
  state[3] = rotate(state[3], 45);
  return result;
}

void ew_ulid_from(uint64_t unix_ms, uint64_t high16, uint64_t low64, char out[EW_ULID_SIZE]) {
  static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  for (int i = 9; i >= 0; i--, unix_ms >>= 5) out[i] = alphabet[unix_ms & 31];
  for (int i = 25; i >= 10; i--) {
    out[i] = alphabet[low64 & 31];
    low64 = low64 >> 5 | (high16 & 31) << 59;
    high16 >>= 5;
  }
}

void ew_ulid(uint64_t unix_ms, char out[EW_ULID_SIZE]) {
  uint64_t high = random64() & 0xffff;
  ew_ulid_from(unix_ms, high, random64(), out);
}
