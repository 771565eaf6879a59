/* What a GPU library does in a call: it walks the launch plan that pipelines/gpu/plan.py encodes.
 *
 * Compiled when pullback is built, and linked into every GPU library. The driver is opened at the
 * first call and never linked; of the C library only dlopen, dlsym, sched_yield and memory
 * functions are used. After the first call on a device (and in a context, where parameters are built
 * in) no lock is taken and nothing is allocated. */
#include "pullback.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum { MAGIC_HEAD = 8, MAX_KERNELS = 4096, MAX_IMAGES = 9, MAX_DEVICES = 64, MAX_ARGUMENTS = 500,
       MAX_VARIABLES = 64, MAX_UPLOADS = 256, STATIC_SHARED = 48 << 10 };
enum { DRIVER_ERROR = -1000, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101 };
/* What cuDeviceGetAttribute and cuKernelSetAttribute know as these. */
enum { MAJOR = 75, MINOR = 76, MAX_DYNAMIC_SHARED = 8 };
enum { IN, OUT, WORKSPACE, PARAMS, VARIABLE, STATUS };
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
  result (*CtxGetCurrent)(void **);
  result (*CtxGetId)(void *, unsigned long long *);
  result (*CtxGetDevice)(int *);
  result (*DeviceGetAttribute)(int *, int, int);
  result (*LibraryLoadData)(void **, const void *, void *, void *, unsigned, void *, void *,
                            unsigned);
  result (*LibraryUnload)(void *);
  result (*LibraryGetKernel)(void **, void *, const char *);
  result (*KernelSetAttribute)(int, int, void *, int);
  result (*LaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                         unsigned, void *, void **, void **);
  result (*MemsetD8Async)(uint64_t, unsigned char, size_t, void *);
  result (*MemcpyDtoHAsync)(void *, uint64_t, size_t, void *);
  result (*StreamSynchronize)(void *);
  result (*MemAlloc)(uint64_t *, size_t);
  result (*MemFree)(uint64_t);
  result (*MemcpyHtoD)(uint64_t, const void *, size_t);
} cu;

static const struct {
  const char *name;
  void **place;
} symbols[] = {
    {"cuInit", (void **)&cu.Init},
    {"cuCtxGetCurrent", (void **)&cu.CtxGetCurrent},
    {"cuCtxGetId", (void **)&cu.CtxGetId},
    {"cuCtxGetDevice", (void **)&cu.CtxGetDevice},
    {"cuDeviceGetAttribute", (void **)&cu.DeviceGetAttribute},
    {"cuLibraryLoadData", (void **)&cu.LibraryLoadData},
    {"cuLibraryUnload", (void **)&cu.LibraryUnload},
    {"cuLibraryGetKernel", (void **)&cu.LibraryGetKernel},
    {"cuKernelSetAttribute", (void **)&cu.KernelSetAttribute},
    {"cuLaunchKernel", (void **)&cu.LaunchKernel},
    {"cuMemsetD8Async", (void **)&cu.MemsetD8Async},
    {"cuMemcpyDtoHAsync_v2", (void **)&cu.MemcpyDtoHAsync},
    {"cuStreamSynchronize", (void **)&cu.StreamSynchronize},
    {"cuMemAlloc_v2", (void **)&cu.MemAlloc},
    {"cuMemFree_v2", (void **)&cu.MemFree},
    {"cuMemcpyHtoD_v2", (void **)&cu.MemcpyHtoD},
};

/* Written under the lock; what says that something is there is written last, and read first. */
static int lock, opened;
static void *kernels[MAX_IMAGES][MAX_KERNELS];
static int loaded[MAX_IMAGES];
static int image_of[MAX_DEVICES]; /* plus one; 0: not looked for yet */
static struct {
  unsigned long long context;
  uint64_t params;
} uploads[MAX_UPLOADS];
static int upload_count;

#define READ(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define WRITE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

static void enter(void) {
  while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

static void leave(void) { WRITE(lock, 0); }

static int driver(result found) { return found == 0 ? 0 : DRIVER_ERROR - found; }

static int open_driver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) return PULLBACK_NO_DRIVER;
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    *symbols[i].place = dlsym(library, symbols[i].name);
    if (*symbols[i].place == NULL) return PULLBACK_OLD_DRIVER;
  }
  int status = driver(cu.Init(0));
  if (status == 0) WRITE(opened, 1);
  return status;
}

/* Machine code for this very architecture, else PTX. */
static int choose_image(int device, int *image) {
  int major = 0, minor = 0, status;
  if ((status = driver(cu.DeviceGetAttribute(&major, MAJOR, device)))) return status;
  if ((status = driver(cu.DeviceGetAttribute(&minor, MINOR, device)))) return status;
  for (word i = 0; i < pullback_cuda_images[0]; i++) {
    word architecture = pullback_cuda_images[1 + 2 * i];
    if (architecture == 0) *image = (int)i;
  }
  for (word i = 0; i < pullback_cuda_images[0]; i++)
    if (pullback_cuda_images[1 + 2 * i] == 10 * major + minor) *image = (int)i;
  return 0;
}

/* The driver's library of an image is for all contexts, those to come too. */
static int load_image(int image) {
  void *library = NULL;
  const char *code = pullback_cuda_code + pullback_cuda_images[2 + 2 * image];
  int status = driver(cu.LibraryLoadData(&library, code, NULL, NULL, 0, NULL, NULL, 0));
  if (status != 0) return status;
  const char *name = pullback_cuda_names;
  for (word k = 0; status == 0 && k < pullback_cuda_plan[2]; k++) {
    status = driver(cu.LibraryGetKernel(&kernels[image][k], library, name));
    while (*name++) {
    }
  }
  if (status == 0) loaded[image] = 1;
  else cu.LibraryUnload(library);
  return status;
}

static int find_image(int device) {
  int image = 0, status = choose_image(device, &image);
  if (status == 0 && !loaded[image]) status = load_image(image);
  if (status == 0) WRITE(image_of[device], image + 1);
  return status;
}

static uint64_t uploaded(unsigned long long context) {
  for (int i = READ(upload_count) - 1; i >= 0; i--)
    if (uploads[i].context == context) return uploads[i].params;
  return 0;
}

/* A context's copy of the parameters that are built in, made at its first call. */
static int upload(unsigned long long context) {
  uint64_t memory = 0;
  size_t bytes = (size_t)pullback_cuda_needs[3];
  if (uploaded(context)) return 0;
  if (upload_count == MAX_UPLOADS) return DRIVER_ERROR - OUT_OF_MEMORY;
  int status = driver(cu.MemAlloc(&memory, bytes));
  if (status != 0) return status;
  status = driver(cu.MemcpyHtoD(memory, pullback_params, bytes));
  /* The copy returns once the bytes are staged; other streams must find them in place. */
  if (status == 0) status = driver(cu.StreamSynchronize(NULL));
  if (status != 0) {
    cu.MemFree(memory);
    return status;
  }
  uploads[upload_count].context = context;
  uploads[upload_count].params = memory;
  WRITE(upload_count, upload_count + 1);
  return 0;
}

static int slowly(int (*work)(unsigned long long), unsigned long long key) {
  enter();
  int status = work(key);
  leave();
  return status;
}

static int open_once(unsigned long long key) {
  (void)key;
  return opened ? 0 : open_driver();
}

static int find_image_once(unsigned long long device) {
  return image_of[device] ? 0 : find_image((int)device);
}

/* The kernels for the current device, and the parameters in the current context. */
static int prepare(int *device, int *image, uint64_t *params, int needs_upload) {
  int status = 0;
  *device = 0;
  if (!READ(opened) && (status = slowly(open_once, 0))) return status;
  if ((status = driver(cu.CtxGetDevice(device)))) return status;
  if (*device < 0 || *device >= MAX_DEVICES) return DRIVER_ERROR - INVALID_DEVICE;
  if (!READ(image_of[*device])) {
    status = slowly(find_image_once, (unsigned long long)*device);
    if (status != 0) return status;
  }
  *image = READ(image_of[*device]) - 1;
  if (needs_upload) {
    void *context = NULL;
    unsigned long long id = 0;
    if ((status = driver(cu.CtxGetCurrent(&context)))) return status;
    if ((status = driver(cu.CtxGetId(context, &id)))) return status;
    if (!uploaded(id) && (status = slowly(upload, id))) return status;
    *params = uploaded(id);
  }
  return 0;
}

typedef struct {
  const uint64_t *in, *out;
  uint64_t workspace, params;
  void *stream;
  int device, image;
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

__attribute__((noinline)) static int launch(call_t *c, const word *w) {
  uint64_t values[MAX_ARGUMENTS];
  void *places[MAX_ARGUMENTS];
  void *kernel = kernels[c->image][w[0]];
  if (w[7] > STATIC_SHARED) {
    int status = driver(cu.KernelSetAttribute(MAX_DYNAMIC_SHARED, (int)w[7], kernel, c->device));
    if (status != 0) return status;
  }
  for (word i = 0; i < w[8]; i++) {
    values[i] = value(c, w + 9 + 3 * i);
    places[i] = &values[i];
  }
  return driver(cu.LaunchKernel(kernel, (unsigned)w[1], (unsigned)w[2], (unsigned)w[3],
                                (unsigned)w[4], (unsigned)w[5], (unsigned)w[6], (unsigned)w[7],
                                c->stream, places, NULL));
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
        if (operands[3] > 0)
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
    if (pointers[i] % 16 != 0) return PULLBACK_MISALIGNED;
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
  if (needs[2] && c.params % 16 != 0) return PULLBACK_MISALIGNED;
  status = prepare(&c.device, &c.image, &c.params, needs[2] && c.params == 0);
  if (status == 0 && plan[5]) status = driver(cu.MemsetD8Async(c.workspace, 0, 4, c.stream));
  return status ? status : run(&c, plan + MAGIC_HEAD, plan[1] - MAGIC_HEAD);
}
