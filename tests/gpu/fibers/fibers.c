/* Threads of a block as fibers: each runs until it waits for others, then the next one does.
 *
 * A barrier holds a thread until the whole block is there; what a warp does together (shuffles,
 * matrix instructions) until all lanes that take part are. Written after the PTX ISA manual only.
 * intrinsics.py makes the calls; machine.py calls fibers_run. For x86-64.
 */

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_THREADS = 1024, WARP = 32, STACK = 256 << 10, PAGE = 4096 };
enum { READY, DONE, AT_BARRIER, IN_WARP };
enum { SHUFFLE, BALLOT, LDMATRIX, MMA };
/* What fibers_run returns. */
enum { FINE, BARRIER_NOT_REACHED, LANES_ABSENT, NO_MEMORY, FAULT };
/* Bits of its last argument: last threads first; asynchronous copies at once, not at the wait. */
enum { BACKWARDS = 1, EARLY = 2 };

typedef struct {
  char *to;
  const char *from;
  uint32_t size, given, group;
} Copy;

typedef struct {
  void *stack_pointer;
  int state;
  uint32_t thread[3];
  Copy *copies;
  uint32_t count, room, groups;
  /* What it waits for in its warp. */
  int what, first, second;
  uint32_t lanes;
  void *result;
  const uint64_t *args;
} Fiber;

typedef struct {
  void (*enter)(void **);
  char *shared, *shared_end;
} Kernel;

static Fiber fibers[MOST_THREADS];
static Fiber *running;
static void *scheduler, **arguments;
static char *stacks;
static const Kernel *kernel;
static uint32_t block[3], grid[3], block_id[3];
static int flags;
static sigjmp_buf faulted;

void fibers_switch(void **save, void *load);
__asm__(
    ".text\n"
    ".hidden fibers_switch\n"
    ".globl fibers_switch\n"
    ".type fibers_switch, @function\n"
    "fibers_switch:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
    "  ret\n"
    ".size fibers_switch, .-fibers_switch\n"
    ".section .note.GNU-stack,\"\",@progbits\n"
    ".text\n");

static void leave(int state) {
  running->state = state;
  fibers_switch(&running->stack_pointer, scheduler);
}

static void enter(void) {
  kernel->enter(arguments);
  leave(DONE);
  abort();
}

static void start(Fiber *fiber, uint32_t number) {
  uint64_t *top = (uint64_t *)(stacks + (size_t)(number + 1) * STACK) - 2;
  *top = (uint64_t)enter;
  memset(top - 6, 0, 6 * sizeof *top);
  fiber->stack_pointer = top - 6;
  fiber->state = READY;
  fiber->thread[0] = number % block[0];
  fiber->thread[1] = number / block[0] % block[1];
  fiber->thread[2] = number / block[0] / block[1];
  fiber->count = fiber->groups = 0;
}

/* Intrinsics that a thread does alone. */

void fibers_register(void *result, const uint64_t *args, int which, int axis) {
  const uint32_t *const values[] = {running->thread, block, block_id, grid};
  (void)args;
  *(uint32_t *)result = values[which][axis];
}

void fibers_barrier(void *result, const uint64_t *args, int first, int second) {
  (void)result, (void)args, (void)first, (void)second;
  leave(AT_BARRIER);
}

static void copy(const Copy *c) {
  memset(c->to, 0, c->size);
  memcpy(c->to, c->from, c->given);
}

void fibers_copy(void *result, const uint64_t *args, int size, int sized) {
  uint32_t given = sized ? (uint32_t)args[2] : (uint32_t)size;
  Copy found = {(char *)args[0], (const char *)args[1], (uint32_t)size, given, running->groups};
  (void)result;
  if (given > (uint32_t)size) abort();
  if (flags & EARLY) {
    copy(&found);
    return;
  }
  if (running->count == running->room) {
    running->room = running->room ? 2 * running->room : 64;
    running->copies = realloc(running->copies, running->room * sizeof found);
    if (!running->copies) abort();
  }
  running->copies[running->count++] = found;
}

void fibers_commit(void *result, const uint64_t *args, int first, int second) {
  (void)result, (void)args, (void)first, (void)second;
  running->groups++;
}

void fibers_wait(void *result, const uint64_t *args, int all, int second) {
  uint32_t kept = 0, left = all ? 0 : (uint32_t)args[0];
  (void)result, (void)second;
  for (uint32_t i = 0; i < running->count; i++) {
    Copy *c = &running->copies[i];
    if (all || (c->group < running->groups && running->groups - c->group > left))
      copy(c);
    else
      running->copies[kept++] = *c;
  }
  running->count = kept;
}

void fibers_tf32(void *result, const uint64_t *args, int first, int second) {
  uint32_t x = (uint32_t)args[0], magnitude = x & 0x7FFFFFFF;
  (void)first, (void)second;
  if (magnitude > 0x7F800000)
    x = 0x7FFFFFFF;
  else if (magnitude < 0x7F800000)
    x = (x + 0x1000) & 0xFFFFE000;
  *(uint32_t *)result = x;
}

/* Intrinsics of a warp: all lanes that take part have the same call. */

static void together(int what, uint32_t lanes, void *result, const uint64_t *args, int first,
                     int second) {
  running->what = what, running->first = first, running->second = second;
  running->lanes = lanes, running->result = result, running->args = args;
  leave(IN_WARP);
}

void fibers_shuffle(void *result, const uint64_t *args, int mode, int second) {
  together(SHUFFLE, (uint32_t)args[0], result, args, mode, second);
}

void fibers_ballot(void *result, const uint64_t *args, int first, int second) {
  together(BALLOT, (uint32_t)args[0], result, args, first, second);
}

void fibers_ldmatrix(void *result, const uint64_t *args, int count, int transposed) {
  together(LDMATRIX, 0xFFFFFFFF, result, args, count, transposed);
}

void fibers_mma(void *result, const uint64_t *args, int kind, int second) {
  together(MMA, 0xFFFFFFFF, result, args, kind, second);
}

static int shuffle(Fiber *warp, uint32_t lanes) {
  uint32_t values[WARP];
  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1) {
      const uint64_t *args = warp[lane].args;
      int b = args[2] & 31, c = args[3] & 31, segment = args[3] >> 8 & 31;
      int least = lane & segment, most = least | (c & ~segment), source = lane, inside = 0;
      switch (warp[lane].first) {
        case 0: source = least | (b & ~segment), inside = source <= most; break;
        case 1: source = lane - b, inside = source >= most; break;
        case 2: source = lane + b, inside = source <= most; break;
        case 3: source = lane ^ b, inside = source <= most; break;
      }
      if (!inside) source = lane;
      if (!(lanes >> source & 1)) return LANES_ABSENT;
      values[lane] = (uint32_t)warp[source].args[1];
    }
  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1) *(uint32_t *)warp[lane].result = values[lane];
  return FINE;
}

static void ballot(Fiber *warp, uint32_t lanes) {
  uint32_t votes = 0;
  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1) votes |= (uint32_t)(warp[lane].args[1] & 1) << lane;
  for (int lane = 0; lane < WARP; lane++)
    if (lanes >> lane & 1) *(uint32_t *)warp[lane].result = votes;
}

static void ldmatrix(Fiber *warp) {
  for (int lane = 0; lane < WARP; lane++)
    for (int r = 0; r < warp->first; r++) {
      uint16_t *halves = (uint16_t *)warp[lane].result + 2 * r;
      for (int half = 0; half < 2; half++) {
        int row = lane / 4, column = 2 * (lane % 4) + half;
        if (warp->second) {
          int swapped = row;
          row = column, column = swapped;
        }
        halves[half] = ((const uint16_t *)warp[8 * r + row].args[0])[column];
      }
    }
}

static float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static double half(uint32_t bits) {
  uint32_t sign = bits >> 15 & 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value;
  if (exponent == 31)
    return from_bits(sign << 31 | 0x7F800000 | fraction << 13);
  if (exponent == 0)
    value = fraction * 0x1p-24;
  else
    value = from_bits((exponent + 112) << 23 | fraction << 13);
  return sign ? -value : value;
}

/* Element i of an operand of a lane; `kind`: 0 f16, 1 bf16, 2 tf32. */
static double element(const uint64_t *registers, int i, int kind) {
  if (kind == 2) return from_bits((uint32_t)registers[i] & 0xFFFFE000);
  uint32_t bits = (uint32_t)registers[i / 2] >> 16 * (i % 2) & 0xFFFF;
  return kind ? (double)from_bits(bits << 16) : half(bits);
}

static void mma(Fiber *warp) {
  int kind = warp->first, depth = kind == 2 ? 8 : 16;
  int of_b = kind == 2 ? 2 : 4; /* elements of B a lane; of A twice as many; 4 of C */
  double a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < WARP; lane++) {
    const uint64_t *args = warp[lane].args, *args_b = args + 4, *args_c = args + 6;
    int group = lane >> 2, in_group = lane & 3;
    for (int i = 0; i < 2 * of_b; i++) {
      int row, column;
      if (kind == 2) {
        row = i == 0 || i == 2 ? group : group + 8;
        column = i < 2 ? in_group : in_group + 4;
      } else {
        row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      }
      a[row][column] = element(args, i, kind);
    }
    for (int i = 0; i < of_b; i++) {
      int row = kind == 2 ? in_group + 4 * i : in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
      b[row][group] = element(args_b, i, kind);
    }
    for (int i = 0; i < 4; i++)
      c[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = from_bits((uint32_t)args_c[i]);
  }
  for (int lane = 0; lane < WARP; lane++)
    for (int i = 0; i < 4; i++) {
      int row = i < 2 ? lane >> 2 : (lane >> 2) + 8, column = (lane & 3) * 2 + (i & 1);
      double sum = 0;
      for (int k = 0; k < depth; k++) sum += a[row][k] * b[k][column];
      ((float *)warp[lane].result)[i] = (float)(sum + c[row][column]);
    }
}

/* All that a warp has come together for; *moved: whether there was anything. */
static int meet(Fiber *warp, uint32_t count, int *moved) {
  for (uint32_t lane = 0; lane < count; lane++) {
    Fiber *first = &warp[lane];
    if (first->state != IN_WARP) continue;
    uint32_t lanes = first->lanes;
    int there = lanes >> lane & 1;
    for (uint32_t other = 0; other < WARP; other++) {
      if (!(lanes >> other & 1)) continue;
      if (other >= count || warp[other].state == DONE) return LANES_ABSENT;
      const Fiber *f = &warp[other];
      there &= f->state == IN_WARP && f->what == first->what && f->first == first->first &&
               f->second == first->second && f->lanes == lanes;
    }
    if (!there) continue;
    int problem = FINE;
    switch (first->what) {
      case SHUFFLE: problem = shuffle(warp, lanes); break;
      case BALLOT: ballot(warp, lanes); break;
      case LDMATRIX: ldmatrix(warp); break;
      case MMA: mma(warp); break;
    }
    if (problem) return problem;
    for (uint32_t other = 0; other < WARP; other++)
      if (lanes >> other & 1) warp[other].state = READY;
    *moved = 1;
  }
  return FINE;
}

static int run_block(uint32_t threads) {
  if (kernel->shared)
    memset(kernel->shared, 0xFF, (size_t)(kernel->shared_end - kernel->shared));
  for (uint32_t i = 0; i < threads; i++) start(&fibers[i], i);
  for (;;) {
    uint32_t done = 0, waiting = 0;
    int moved = 0;
    for (uint32_t n = 0; n < threads; n++) {
      running = &fibers[flags & BACKWARDS ? threads - 1 - n : n];
      if (running->state == READY) {
        fibers_switch(&scheduler, running->stack_pointer);
        moved = 1;
      }
      done += running->state == DONE;
      waiting += running->state == AT_BARRIER;
    }
    if (done == threads) return FINE;
    if (waiting == threads) {
      for (uint32_t i = 0; i < threads; i++) fibers[i].state = READY;
      continue;
    }
    for (uint32_t i = 0; i < threads; i += WARP) {
      uint32_t count = threads - i < WARP ? threads - i : WARP;
      int problem = meet(&fibers[i], count, &moved);
      if (problem) return problem;
    }
    if (!moved) return BARRIER_NOT_REACHED;
  }
}

static int run_grid(uint32_t threads) {
  for (block_id[2] = 0; block_id[2] < grid[2]; block_id[2]++)
    for (block_id[1] = 0; block_id[1] < grid[1]; block_id[1]++)
      for (block_id[0] = 0; block_id[0] < grid[0]; block_id[0]++) {
        int problem = run_block(threads);
        if (problem) return problem;
      }
  return FINE;
}

/* A wrong address ends the launch, not the process. */
static char handler_stack[64 << 10];

static void fault(int signal) {
  (void)signal;
  siglongjmp(faulted, 1);
}

/* A kernel over the whole grid; `values` are its arguments, 8 bytes each. */
int fibers_run(const Kernel *of, const uint32_t *grid_size, const uint32_t *block_size,
               void **values, int with) {
  uint32_t threads = block_size[0] * block_size[1] * block_size[2];
  if (!stacks) {
    size_t size = (size_t)MOST_THREADS * STACK;
    void *room = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return NO_MEMORY;
    stacks = room;
    /* Who needs more than a stack has ends the process, and does not write in another. */
    for (int i = 0; i < MOST_THREADS; i++) mprotect(stacks + (size_t)i * STACK, PAGE, PROT_NONE);
  }
  kernel = of, arguments = values, flags = with;
  memcpy(grid, grid_size, sizeof grid);
  memcpy(block, block_size, sizeof block);
  struct sigaction action = {.sa_handler = fault, .sa_flags = SA_ONSTACK}, usual[2];
  stack_t own = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack}, before;
  sigaltstack(&own, &before);
  sigaction(SIGSEGV, &action, &usual[0]);
  sigaction(SIGBUS, &action, &usual[1]);
  int problem = sigsetjmp(faulted, 1) ? FAULT : run_grid(threads);
  sigaction(SIGSEGV, &usual[0], 0);
  sigaction(SIGBUS, &usual[1], 0);
  sigaltstack(&before, 0);
  return problem;
}
