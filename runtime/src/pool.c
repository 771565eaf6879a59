/* parallel_for for compiled functions: one pool of threads for the process.
 *
 * A caller that finds the pool busy (another Python thread, or a nested call) runs its loop itself:
 * that can neither deadlock nor use more threads than there are cores. Threads are made at the first
 * use; after a fork the child starts with an empty pool. */
#include "native.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 256, STACK_BYTES = 512 * 1024, SPINS = 2000 };

static struct {
  pthread_mutex_t owner; /* held by the caller whose loop the pool runs */
  pthread_mutex_t lock;  /* guards what follows */
  pthread_cond_t work, idle;
  int started, threads; /* threads that exist beside the caller */
  int open;             /* the loop may still be joined */
  int inside;           /* threads that have joined it */
  void (*body)(void *context, size_t index);
  void *context;
  size_t count;
  atomic_uint generation;  /* counts loops; spun on outside the lock */
  atomic_int busy;         /* mirrors `inside`; spun on outside the lock */
  atomic_size_t next;      /* index to be taken next */
} pool;

static void reset(void) {
  memset(&pool, 0, sizeof pool);
  pthread_mutex_init(&pool.owner, NULL);
  pthread_mutex_init(&pool.lock, NULL);
  pthread_cond_init(&pool.work, NULL);
  pthread_cond_init(&pool.idle, NULL);
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

static void take_indices(void (*body)(void *, size_t), void *context, size_t count) {
  size_t index;
  while ((index = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < count)
    body(context, index);
}

static void *worker(void *unused) {
  unsigned seen = 0;
  (void)unused;
  for (;;) {
    for (int i = 0; i < SPINS && atomic_load(&pool.generation) == seen; i++) relax();
    pthread_mutex_lock(&pool.lock);
    while (!pool.open || atomic_load(&pool.generation) == seen)
      pthread_cond_wait(&pool.work, &pool.lock);
    seen = atomic_load(&pool.generation);
    atomic_store(&pool.busy, ++pool.inside);
    void (*body)(void *, size_t) = pool.body;
    void *context = pool.context;
    size_t count = pool.count;
    pthread_mutex_unlock(&pool.lock);
    take_indices(body, context, count);
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.busy, --pool.inside);
    if (pool.inside == 0 && !pool.open) pthread_cond_signal(&pool.idle);
    pthread_mutex_unlock(&pool.lock);
  }
  return NULL;
}

/* PULLBACK_NUM_THREADS, or the number of cores this process may run on. */
static int wanted_threads(void) {
  const char *text = getenv("PULLBACK_NUM_THREADS");
  if (text != NULL) {
    char *end;
    long number = strtol(text, &end, 10);
    if (end != text && *end == '\0' && number >= 1)
      return number < MAX_THREADS ? (int)number : MAX_THREADS;
  }
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  int count = CPU_COUNT(&cores);
  return count < MAX_THREADS ? count : MAX_THREADS;
}

static void start(void) {
  pthread_attr_t attributes;
  sigset_t all, before;
  pool.started = 1;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all); /* signals belong to the threads of the program */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int wanted = wanted_threads() - 1; pool.threads < wanted; pool.threads++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, worker, NULL) != 0) break; /* go on with fewer */
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
}

/* `self` is the pool pointer of the call: there is only one pool. */
void pool_parallel_for(void *self, void (*body)(void *context, size_t index), void *context,
                       size_t count) {
  (void)self;
  int owned = count > 1 && pthread_mutex_trylock(&pool.owner) == 0;
  if (owned && !pool.started) start();
  if (!owned || pool.threads == 0) {
    for (size_t index = 0; index < count; index++) body(context, index);
    if (owned) pthread_mutex_unlock(&pool.owner);
    return;
  }
  pthread_mutex_lock(&pool.lock);
  pool.body = body;
  pool.context = context;
  pool.count = count;
  atomic_store(&pool.next, 0);
  pool.open = 1;
  atomic_fetch_add(&pool.generation, 1);
  pthread_cond_broadcast(&pool.work);
  pthread_mutex_unlock(&pool.lock);

  take_indices(body, context, count);

  pthread_mutex_lock(&pool.lock);
  pool.open = 0;
  pthread_mutex_unlock(&pool.lock);
  for (int i = 0; i < SPINS && atomic_load(&pool.busy) != 0; i++) relax();
  pthread_mutex_lock(&pool.lock);
  while (pool.inside != 0) pthread_cond_wait(&pool.idle, &pool.lock);
  pthread_mutex_unlock(&pool.lock);
  pthread_mutex_unlock(&pool.owner);
}

int pool_init(void) {
  reset();
  return pthread_atfork(NULL, NULL, reset);
}
