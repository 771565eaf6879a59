/* Entries as the compiler would make them, written by hand: the runtime is tested without it.
 * One library holds all of them; a test's manifest chooses one. */
#include "pullback.h"

#define ENTRY(name)                                                                     \
  __attribute__((visibility("default"))) int name(const void *const *in, void *const *out, \
                                                  void *workspace, const pullback_call *call)
#define UNUSED (void)in, (void)out, (void)workspace, (void)call

typedef long long i64;

ENTRY(add) { /* f64[3], f64[3] -> f64[3]; a rebuilt library subtracts */
  const double *x = in[0], *y = in[1];
  double *z = out[0];
  UNUSED;
  for (int i = 0; i < 3; i++) z[i] = x[i] PLUS y[i];
  return 0;
}

ENTRY(copy6) { /* 6 elements of 8 bytes -> the same, and where the input was */
  const i64 *x = in[0];
  i64 *z = out[0];
  UNUSED;
  for (int i = 0; i < 6; i++) z[i] = x[i];
  *(i64 *)out[1] = (i64)x;
  return 0;
}

ENTRY(scalars) { /* f32[], f64[], i32[], i64[], bool[] -> the same, reversed */
  UNUSED;
  *(float *)out[4] = *(const float *)in[0];
  *(double *)out[3] = *(const double *)in[1];
  *(int *)out[2] = *(const int *)in[2];
  *(i64 *)out[1] = *(const i64 *)in[3];
  *(char *)out[0] = *(const char *)in[4] != 0;
  return 0;
}

ENTRY(nothing) { /* anything -> an output nobody writes */
  UNUSED;
  return 0;
}

ENTRY(one) { /* nothing -> f64[] */
  UNUSED;
  *(double *)out[0] = 1;
  return 0;
}

ENTRY(status) { /* i64[] -> f64[], and the input as the status */
  UNUSED;
  return (int)*(const i64 *)in[0];
}

ENTRY(sum20) { /* 20 f64[] -> 20 f64[], each the sum so far */
  double sum = 0;
  UNUSED;
  for (int i = 0; i < 20; i++) *(double *)out[i] = sum += *(const double *)in[i];
  return 0;
}

ENTRY(scratch) { /* f64[] -> f64[]; 4096 bytes of workspace that nobody else may write */
  volatile double *w = workspace;
  double x = *(const double *)in[0];
  UNUSED;
  if (workspace == 0 || (size_t)workspace % 64 != 0) return -2;
  for (int round = 0; round < 40; round++) {
    for (int i = 0; i < 512; i++) w[i] = x + i;
    for (int i = 0; i < 512; i++)
      if (w[i] != x + i) return 1;
  }
  *(double *)out[0] = x;
  return 0;
}

ENTRY(scale) { /* f64[3] -> f64[3], times the parameter block */
  const double *x = in[0], *p = call ? call->params : 0;
  double *z = out[0];
  UNUSED;
  if (p == 0) return -3;
  for (int i = 0; i < 3; i++) z[i] = x[i] * p[i];
  return 0;
}

struct job {
  const double *x;
  double *z;
  void **threads;
  const pullback_call *call;
};

static void square(void *context, size_t i) {
  struct job *job = context;
  for (volatile int k = 0; k < 20000; k++) continue;
  job->z[i] = job->x[i] * job->x[i];
  job->threads[i] = __builtin_thread_pointer();
}

static void nested(void *context, size_t i) {
  struct job *job = context, inner = *job;
  inner.x += 8 * i;
  inner.z += 8 * i;
  inner.threads += 8 * i;
  job->call->parallel_for(job->call->pool, square, &inner, 8);
}

ENTRY(parallel) { /* f64[64] -> f64[64], i64[64]: squares, and which thread computed each */
  struct job job = {in[0], out[0], out[1], call};
  UNUSED;
  if (call == 0 || call->size < sizeof *call) return -4;
  call->parallel_for(call->pool, square, &job, 64);
  return 0;
}

ENTRY(parallel_nested) {
  struct job job = {in[0], out[0], out[1], call};
  UNUSED;
  call->parallel_for(call->pool, nested, &job, 8);
  return 0;
}

__asm__(".section .pullback,\"a\",@progbits\n"
        ".ascii \"PBMANIFEST1\"\n.byte 0\n.quad " MANIFEST_BYTES "\n.fill " MANIFEST_BYTES
        ", 1, 32\n.previous");
