/* What a GPU library does in a call: it walks the launch plan that pipelines/gpu/plan.py encodes.
 *
 * Compiled when pullback is built, and linked into every GPU library. The driver is opened at the
 * first call and never linked; of the C library only dlopen, dlsym and memory functions are used. */
#include "pullback.h"

#include <dlfcn.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum { MAGIC_HEAD = 8, MAX_KERNELS = 4096, MAX_IMAGES = 9, MAX_DEVICES = 64, MAX_ARGUMENTS = 500,
       MAX_VARIABLES = 64, MAX_GLOBALS = 64 };
enum { NO_DRIVER = -5, OLD_DRIVER = -6, MISALIGNED = -7, DRIVER_ERROR = -1000 };
enum { IN, OUT, WORKSPACE, PARAMS, VARIABLE, STATUS, CONSTANT };
enum { LAUNCH = 1, FOR = 2, IF = 3, WHILE = 4, ZERO = 5 };

typedef int64_t word;
typedef int result;

/* Data of this library: see pipelines/gpu/library.py. */
extern const word pullback_cuda_plan[];
extern const char pullback_cuda_names[];
/* Images: how many, then for each its architecture (80; 0: PTX) and its place in the block. */
extern const word pullback_cuda_images[];
extern const char pullback_cuda_code[];
/* Pointers needed: inputs, outputs, then whether parameters are needed, and bytes built in. */
extern const word pullback_cuda_needs[];
extern const char pullback_params[];

static struct {
  result (*Init)(unsigned);
  result (*CtxGetDevice)(int *);
  result (*DeviceGetAttribute)(int *, int, int);
  result (*LibraryLoadData)(void **, const void *, void *, void *, unsigned, void *, void *,
                            unsigned);
  result (*LibraryGetKernel)(void **, void *, const char *);
  result (*LaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                         unsigned, void *, void **, void **);
  result (*MemsetD8Async)(uint64_t, unsigned char, size_t, void *);
  result (*MemcpyDtoHAsync)(void *, uint64_t, size_t, void *);
  result (*StreamSynchronize)(void *);
  result (*MemAlloc)(uint64_t *, size_t);
  result (*MemcpyHtoD)(uint64_t, const void *, size_t);
} cu;

static const struct {
  const char *name;
  void **place;
} symbols[] = {
    {"cuInit", (void **)&cu.Init},
    {"cuCtxGetDevice", (void **)&cu.CtxGetDevice},
    {"cuDeviceGetAttribute", (void **)&cu.DeviceGetAttribute},
    {"cuLibraryLoadData", (void **)&cu.LibraryLoadData},
    {"cuLibraryGetKernel", (void **)&cu.LibraryGetKernel},
    {"cuLaunchKernel", (void **)&cu.LaunchKernel},
    {"cuMemsetD8Async", (void **)&cu.MemsetD8Async},
    {"cuMemcpyDtoHAsync_v2", (void **)&cu.MemcpyDtoHAsync},
    {"cuStreamSynchronize", (void **)&cu.StreamSynchronize},
    {"cuMemAlloc_v2", (void **)&cu.MemAlloc},
    {"cuMemcpyHtoD_v2", (void **)&cu.MemcpyHtoD},
};

static int lock, opened;
static void *kernels[MAX_IMAGES][MAX_KERNELS];
static int loaded[MAX_IMAGES];
static int image_of[MAX_DEVICES]; /* plus one; 0: not looked for yet */
static uint64_t params_of[MAX_DEVICES];

static void enter(void) {
  while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
    while (__atomic_load_n(&lock, __ATOMIC_RELAXED)) {
    }
}

static void leave(void) { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }

static int driver(result found) { return found == 0 ? 0 : DRIVER_ERROR - found; }

static int open_driver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) return NO_DRIVER;
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    *symbols[i].place = dlsym(library, symbols[i].name);
    if (*symbols[i].place == NULL) return OLD_DRIVER;
  }
  int status = driver(cu.Init(0));
  if (status == 0) opened = 1;
  return status;
}

/* Machine code for this very architecture, else PTX. */
static int choose_image(int device, int *image) {
  int major = 0, minor = 0, status;
  if ((status = driver(cu.DeviceGetAttribute(&major, 75, device)))) return status;
  if ((status = driver(cu.DeviceGetAttribute(&minor, 76, device)))) return status;
  for (word i = 0; i < pullback_cuda_images[0]; i++) {
    word architecture = pullback_cuda_images[1 + 2 * i];
    if (architecture == 0) *image = (int)i;
  }
  for (word i = 0; i < pullback_cuda_images[0]; i++)
    if (pullback_cuda_images[1 + 2 * i] == 10 * major + minor) *image = (int)i;
  return 0;
}

static int load_image(int image) {
  void *library = NULL;
  const char *code = pullback_cuda_code + pullback_cuda_images[2 + 2 * image];
  int status = driver(cu.LibraryLoadData(&library, code, NULL, NULL, 0, NULL, NULL, 0));
  const char *name = pullback_cuda_names;
  for (word k = 0; status == 0 && k < pullback_cuda_plan[2]; k++) {
    status = driver(cu.LibraryGetKernel(&kernels[image][k], library, name));
    while (*name++) {
    }
  }
  if (status == 0) loaded[image] = 1;
  return status;
}

/* The device's copy of the parameters that are built in, made at its first call. */
static int upload(int device, uint64_t *params) {
  if (params_of[device] == 0) {
    uint64_t memory = 0;
    size_t bytes = (size_t)pullback_cuda_needs[3];
    int status = driver(cu.MemAlloc(&memory, bytes));
    if (status == 0) status = driver(cu.MemcpyHtoD(memory, pullback_params, bytes));
    if (status != 0) return status;
    params_of[device] = memory;
  }
  *params = params_of[device];
  return 0;
}

static int prepare(int *image, uint64_t *params, int needs_upload) {
  int device = 0, status = 0;
  if (!opened) status = open_driver();
  if (status == 0) status = driver(cu.CtxGetDevice(&device));
  if (status == 0 && (device < 0 || device >= MAX_DEVICES)) status = DRIVER_ERROR - 101;
  if (status == 0 && image_of[device] == 0) {
    int chosen = 0;
    status = choose_image(device, &chosen);
    if (status == 0 && !loaded[chosen]) status = load_image(chosen);
    if (status == 0) image_of[device] = chosen + 1;
  }
  if (status == 0) {
    *image = image_of[device] - 1;
    if (needs_upload) status = upload(device, params);
  }
  return status;
}

typedef struct {
  const uint64_t *in, *out;
  uint64_t workspace, params;
  void *stream;
  int image;
  word variables[MAX_VARIABLES];
} call_t;

static uint64_t value(const call_t *c, const word *argument) {
  uint64_t offset = (uint64_t)argument[2];
  switch (argument[0]) {
    case IN: return c->in[argument[1]] + offset;
    case OUT: return c->out[argument[1]] + offset;
    case PARAMS: return c->params + offset;
    case VARIABLE: return (uint64_t)c->variables[argument[1]];
    default: return c->workspace + offset;
  }
}

static int launch(call_t *c, const word *w) {
  uint64_t values[MAX_ARGUMENTS];
  void *places[MAX_ARGUMENTS];
  for (word i = 0; i < w[8]; i++) {
    values[i] = value(c, w + 9 + 3 * i);
    places[i] = &values[i];
  }
  return driver(cu.LaunchKernel(kernels[c->image][w[0]], (unsigned)w[1], (unsigned)w[2],
                                (unsigned)w[3], (unsigned)w[4], (unsigned)w[5], (unsigned)w[6],
                                (unsigned)w[7], c->stream, places, NULL));
}

/* A byte of the device, once all that was enqueued is done. */
static int read_byte(call_t *c, const word *argument, unsigned char *byte) {
  int status = driver(cu.MemcpyDtoHAsync(byte, value(c, argument), 1, c->stream));
  return status ? status : driver(cu.StreamSynchronize(c->stream));
}

static int run(call_t *c, const word *w, word words) {
  const word *end = w + words;
  int status = 0;
  unsigned char byte = 0;
  for (; status == 0 && w < end; w += w[1]) {
    const word *operands = w + 2;
    switch (w[0]) {
      case LAUNCH: status = launch(c, operands); break;
      case FOR:
        for (word i = 0; status == 0 && i < operands[1]; i++) {
          c->variables[operands[0]] = i;
          status = run(c, operands + 3, operands[2]);
        }
        break;
      case IF:
        status = read_byte(c, operands, &byte);
        if (status == 0 && byte) status = run(c, operands + 5, operands[3]);
        if (status == 0 && !byte) status = run(c, operands + 5 + operands[3], operands[4]);
        break;
      case WHILE: {
        const word *test = operands + 6, *body = test + operands[0];
        for (word count = 0; status == 0; count++) {
          status = run(c, test, operands[0]);
          if (status == 0) status = read_byte(c, operands + 1, &byte);
          if (status != 0 || !byte || count == operands[5]) break;
          status = run(c, body, operands[4]);
        }
        break;
      }
      case ZERO:
        status = driver(
            cu.MemsetD8Async(value(c, operands), 0, (size_t)operands[3], c->stream));
        break;
      default: return PULLBACK_BAD_CALL;
    }
  }
  return status;
}

static int check(const uint64_t *pointers, const word *needed, word count) {
  for (word i = 0; i < count; i++) {
    if (!needed[i]) continue;
    if (pointers == NULL || pointers[i] == 0) return PULLBACK_NULL_POINTER;
    if (pointers[i] % 16 != 0) return MISALIGNED;
  }
  return 0;
}

/* The linker gives it the function's name, which must be visible. */
#pragma GCC visibility pop
int pullback_cuda_entry(const void *const *in, void *const *out, void *workspace,
                        const pullback_call *call) {
  const word *plan = pullback_cuda_plan, *needs = pullback_cuda_needs;
  call_t c;
  int status;
  c.in = (const uint64_t *)(const void *)in;
  c.out = (const uint64_t *)(const void *)out;
  c.workspace = (uint64_t)(uintptr_t)workspace;
  c.params = 0;
  c.stream = NULL;
  if ((status = check(c.in, needs + 4, needs[0]))) return status;
  if ((status = check(c.out, needs + 4 + needs[0], needs[1]))) return status;
  if (plan[3] != 0 && (workspace == NULL || c.workspace % 64 != 0)) return PULLBACK_BAD_WORKSPACE;
  if (call != NULL) {
    if (call->size < sizeof *call) return PULLBACK_BAD_CALL;
    c.params = (uint64_t)(uintptr_t)call->params;
    c.stream = call->stream;
  }
  if (needs[2] && c.params == 0 && needs[3] == 0) return PULLBACK_NO_PARAMS;
  enter();
  status = prepare(&c.image, &c.params, needs[2] && c.params == 0);
  leave();
  if (status == 0 && plan[5]) status = driver(cu.MemsetD8Async(c.workspace, 0, 4, c.stream));
  return status ? status : run(&c, plan + MAGIC_HEAD, plan[1] - MAGIC_HEAD);
}
