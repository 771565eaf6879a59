/* A libcuda.so.1 without a GPU: every function packs its arguments into words and asks one callback,
 * which tests/gpu/driver.py is. */
#include <stddef.h>
#include <stdint.h>

typedef int (*callback_t)(const char *name, const uint64_t *words, int count);
static callback_t callback;

void fake_set_callback(callback_t given) { callback = given; }

static int ask(const char *name, const uint64_t *words, int count) {
  return callback == NULL ? 3 /* not initialised */ : callback(name, words, count);
}

#define W(x) ((uint64_t)(uintptr_t)(x))
#define ASK(name, ...)                                              \
  do {                                                              \
    const uint64_t words[] = {__VA_ARGS__};                         \
    return ask(name, words, (int)(sizeof words / sizeof *words));   \
  } while (0)

int cuInit(unsigned flags) { ASK("cuInit", flags); }
int cuGetErrorName(int error, const char **text) { ASK("cuGetErrorName", (uint64_t)error, W(text)); }
int cuDeviceGetCount(int *count) { ASK("cuDeviceGetCount", W(count)); }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  ASK("cuDeviceGetAttribute", W(value), (uint64_t)attribute, (uint64_t)device);
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  ASK("cuDevicePrimaryCtxRetain", W(context), (uint64_t)device);
}
int cuCtxGetCurrent(void **context) { ASK("cuCtxGetCurrent", W(context)); }
int cuCtxGetId(void *context, unsigned long long *id) { ASK("cuCtxGetId", W(context), W(id)); }
int cuCtxGetDevice(int *device) { ASK("cuCtxGetDevice", W(device)); }
int cuCtxPushCurrent_v2(void *context) { ASK("cuCtxPushCurrent_v2", W(context)); }
int cuCtxPopCurrent_v2(void **context) { ASK("cuCtxPopCurrent_v2", W(context)); }
int cuCtxSynchronize(void) { ASK("cuCtxSynchronize", 0); }
int cuPointerGetAttribute(void *data, int attribute, uint64_t address) {
  ASK("cuPointerGetAttribute", W(data), (uint64_t)attribute, address);
}
int cuMemAlloc_v2(uint64_t *address, size_t size) { ASK("cuMemAlloc_v2", W(address), size); }
int cuMemFree_v2(uint64_t address) { ASK("cuMemFree_v2", address); }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) {
  ASK("cuMemHostAlloc", W(address), size, flags);
}
int cuMemFreeHost(void *address) { ASK("cuMemFreeHost", W(address)); }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
  ASK("cuMemcpyHtoD_v2", to, W(from), size);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  ASK("cuMemcpyHtoDAsync_v2", to, W(from), size, W(stream));
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  ASK("cuMemcpyDtoHAsync_v2", W(to), from, size, W(stream));
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void *stream) {
  ASK("cuMemcpyDtoDAsync_v2", to, from, size, W(stream));
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t size, void *stream) {
  ASK("cuMemsetD8Async", to, value, size, W(stream));
}
int cuStreamSynchronize(void *stream) { ASK("cuStreamSynchronize", W(stream)); }
int cuStreamIsCapturing(void *stream, int *status) {
  ASK("cuStreamIsCapturing", W(stream), W(status));
}
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
  ASK("cuStreamWaitEvent", W(stream), W(event), flags);
}
int cuEventCreate(void **event, unsigned flags) { ASK("cuEventCreate", W(event), flags); }
int cuEventRecord(void *event, void *stream) { ASK("cuEventRecord", W(event), W(stream)); }
int cuEventDestroy_v2(void *event) { ASK("cuEventDestroy_v2", W(event)); }
int cuLibraryLoadData(void **library, const void *code, void *o, void *v, unsigned n, void *p,
                      void *q, unsigned m) {
  (void)o, (void)v, (void)n, (void)p, (void)q, (void)m;
  ASK("cuLibraryLoadData", W(library), W(code));
}
int cuLibraryUnload(void *library) { ASK("cuLibraryUnload", W(library)); }
int cuLibraryGetKernel(void **kernel, void *library, const char *name) {
  ASK("cuLibraryGetKernel", W(kernel), W(library), W(name));
}
int cuKernelSetAttribute(int attribute, int value, void *kernel, int device) {
  ASK("cuKernelSetAttribute", (uint64_t)attribute, (uint64_t)value, W(kernel), (uint64_t)device);
}
int cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra) {
  (void)extra;
  ASK("cuLaunchKernel", W(kernel), gx, gy, gz, bx, by, bz, shared, W(stream), W(parameters));
}
