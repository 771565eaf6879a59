/* Calls compiled functions as a program in C or C++ does; test_c_program.py reads what it prints.
 *
 *   curvature: x f64[8][6] -> Hessians f64[8][6][6]
 *   pick:      indices i64[3] -> rows f64[3][2] of a table, which is a parameter
 *   layers:    x f64[400][200] -> f64[400][200] and f64[200], with work for several threads
 */
#define _XOPEN_SOURCE 600
#include "curvature.h"
#include "layers.h"
#include "pick.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 8
#define SIZE 6
#define THREADS 8
#define CALLS 20

static double hessians[BATCH * SIZE * SIZE];

static void *aligned(size_t bytes)
{
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes ? bytes : 1) != 0)
    abort();
  return memory;
}

static void points(double *x)
{
  int i;
  for (i = 0; i < BATCH * SIZE; i++)
    x[i] = (double)(i % 13) / 13.0 - 0.5;
}

static int curvature_of_points(double *result, void *workspace)
{
  double x[BATCH * SIZE];
  const void *in[1];
  void *out[1];
  points(x);
  in[0] = x;
  out[0] = result;
  return curvature(in, out, workspace, NULL);
}

static void *repeat(void *argument)
{
  double *result = (double *)malloc(sizeof hessians);
  void *workspace = aligned(CURVATURE_WORKSPACE_BYTES);
  size_t *different = (size_t *)argument;
  int call;
  for (call = 0; call < CALLS; call++) {
    memset(result, 0xff, sizeof hessians);
    if (curvature_of_points(result, workspace) != 0)
      *different += 1;
    if (memcmp(result, hessians, sizeof hessians) != 0)
      *different += 1;
  }
  free(workspace);
  free(result);
  return NULL;
}

static size_t threads(void)
{
  pthread_t thread[THREADS];
  size_t different[THREADS], total = 0;
  pthread_attr_t attributes;
  int i;
  if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, 256 * 1024) != 0)
    abort();
  for (i = 0; i < THREADS; i++) {
    different[i] = 0;
    if (pthread_create(&thread[i], &attributes, repeat, &different[i]) != 0)
      abort();
  }
  for (i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
    total += different[i];
  }
  return total;
}

static void misuse(void *workspace)
{
  const void *in[1];
  void *out[1];
  double x[BATCH * SIZE];
  pullback_call call;
  points(x);
  in[0] = x;
  out[0] = hessians;
  memset(&call, 0, sizeof call);
  printf("null-in %d\n", curvature(NULL, out, workspace, NULL));
  printf("null-out %d\n", curvature(in, NULL, workspace, NULL));
  printf("null-workspace %d\n", curvature(in, out, NULL, NULL));
  printf("odd-workspace %d\n", curvature(in, out, (char *)workspace + 8, NULL));
  printf("small-call %d\n", curvature(in, out, workspace, &call));
  call.size = sizeof call;
  printf("zero-call %d\n", curvature(in, out, workspace, &call));
  in[0] = NULL;
  printf("null-buffer %d\n", curvature(in, out, workspace, NULL));
}

static void indices(void)
{
  static const double table[4][2] = {{0, 1}, {10, 11}, {20, 21}, {30, 31}};
  double rows[3][2];
  pullback_int64 index[3];
  const void *in[1];
  void *out[1];
  void *workspace = aligned(PICK_WORKSPACE_BYTES);
  pullback_call call;
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  in[0] = index;
  out[0] = rows;
  index[0] = 3;
  index[1] = -4;
  index[2] = 1;
  printf("no-parameters %d\n", pick(in, out, workspace, &call));
  call.params = table;
  printf("pick %d\n", pick(in, out, workspace, &call));
  printf("rows %g %g %g\n", rows[0][0], rows[1][1], rows[2][0]);
  index[1] = 4;
  printf("bad-index %d\n", pick(in, out, workspace, &call));
  free(workspace);
}

#define ROWS 400
#define COLUMNS 200
#define WORKERS 3

typedef struct job {
  void (*body)(void *context, size_t index);
  void *context;
  size_t first, count;
} job;

/* From the last part to the first, on this thread. `pool` counts the parts. */
static void backwards(void *pool, void (*body)(void *, size_t), void *context, size_t count)
{
  *(size_t *)pool += count;
  while (count > 0)
    body(context, --count);
}

static void *work(void *argument)
{
  job *mine = (job *)argument;
  size_t index;
  for (index = mine->first; index < mine->count; index += WORKERS)
    mine->body(mine->context, index);
  return NULL;
}

static void on_threads(void *pool, void (*body)(void *, size_t), void *context, size_t count)
{
  pthread_t thread[WORKERS];
  job jobs[WORKERS];
  size_t i;
  *(size_t *)pool += count;
  for (i = 0; i < WORKERS; i++) {
    jobs[i].body = body;
    jobs[i].context = context;
    jobs[i].first = i;
    jobs[i].count = count;
    if (pthread_create(&thread[i], NULL, work, &jobs[i]) != 0)
      abort();
  }
  for (i = 0; i < WORKERS; i++)
    pthread_join(thread[i], NULL);
}

static void sharing(void)
{
  static double x[ROWS * COLUMNS], serial[(ROWS + 1) * COLUMNS], shared[(ROWS + 1) * COLUMNS];
  void *workspace = aligned(LAYERS_WORKSPACE_BYTES);
  const void *in[1];
  void *out[2];
  size_t i, parts = 0;
  pullback_call call;
  for (i = 0; i < ROWS * COLUMNS; i++)
    x[i] = (double)(i % 101) / 101.0 - 0.5;
  in[0] = x;
  out[0] = serial;
  out[1] = serial + ROWS * COLUMNS;
  printf("serial %d\n", layers(in, out, workspace, NULL));
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  call.pool = &parts;
  out[0] = shared;
  out[1] = shared + ROWS * COLUMNS;
  for (i = 0; i < 2; i++) {
    memset(shared, 0xff, sizeof shared);
    call.parallel_for = i == 0 ? backwards : on_threads;
    printf("%s %d ", i == 0 ? "backwards" : "on-threads", layers(in, out, workspace, &call));
    printf("%s\n", memcmp(shared, serial, sizeof serial) == 0 ? "equal" : "different");
  }
  printf("parts %lu\n", (unsigned long)parts);
  free(workspace);
}

int main(void)
{
  void *workspace = aligned(CURVATURE_WORKSPACE_BYTES + 64);
  int i;
  printf("status %d\n", curvature_of_points(hessians, workspace));
  printf("hessians");
  for (i = 0; i < BATCH * SIZE * SIZE; i++)
    printf(" %.17g", hessians[i]);
  printf("\ndifferent %lu\n", (unsigned long)threads());
  misuse(workspace);
  indices();
  sharing();
  free(workspace);
  return 0;
}
