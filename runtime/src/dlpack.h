/* The part of DLPack 1.x that torch's C exchange table needs: layouts fixed by the standard,
 * https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h */
#ifndef PULLBACK_DLPACK_H
#define PULLBACK_DLPACK_H

#include <stdint.h>

enum { DL_CPU = 1 };
enum { DL_INT = 0, DL_FLOAT = 2, DL_BFLOAT = 4, DL_BOOL = 6 };

typedef struct {
  uint32_t major, minor;
} DLVersion;

typedef struct {
  int32_t type, id;
} DLDevice;

typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DLType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLType dtype;
  int64_t *shape, *strides; /* strides in elements */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManaged {
  DLVersion version;
  void *context;
  void (*deleter)(struct DLManaged *self);
  uint64_t flags;
  DLTensor tensor;
} DLManaged;

typedef struct DLExchange {
  DLVersion version;
  struct DLExchange *previous; /* a table of an older version, or NULL */
  int (*allocate)(DLTensor *prototype, DLManaged **out, void *context,
                  void (*set_error)(void *context, const char *kind, const char *message));
  int (*managed_from_object)(void *object, DLManaged **out);
  int (*object_from_managed)(DLManaged *tensor, void **out);
  int (*view_of_object)(void *object, DLTensor *out);
  int (*current_stream)(int32_t device_type, int32_t device_id, void **out);
} DLExchange;

#endif
