/* What the files of the extension share. */
#ifndef PULLBACK_NATIVE_H
#define PULLBACK_NATIVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* posix_memalign, sched_getaffinity; must precede every header */
#endif
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdint.h>

typedef enum { F32, F64, I32, I64, BOOL, F16, BF16 } dtype_t;

/* One input or output of the entry. */
typedef struct {
  dtype_t dtype;
  int ndim;
  int64_t *shape; /* followed by the row-major strides, both counted in elements */
  int64_t *strides;
  size_t count;      /* elements */
  size_t itemsize;   /* bytes of one */
  PyObject *np_args; /* (shape, dtype) for numpy.empty; made at the first use, outputs only */
} spec_t;

typedef enum { OTHER, NUMPY, TORCH } family_t;

/* A buffer of one call, and what keeps it valid until the call is over. */
typedef struct {
  void *data;
  void *object; /* an output under construction, owned; NULL for inputs */
  Py_buffer buffer; /* buffer.obj is NULL where no buffer is held */
} view_t;

/* arrays.c */
family_t family_of(PyObject *object);
/* 1: `view->data` is the dense, aligned data of an array that fits `spec`; 0: not such an array (no
 * exception set). */
int view_input(family_t family, PyObject *object, const spec_t *spec, view_t *view);
/* Is it a torch tensor whose gradient is asked for? */
int requires_grad(PyObject *object);
/* 0, or -1 with an exception set. Torch outputs become objects in `take_output`. */
int make_output(family_t family, spec_t *spec, view_t *view);
PyObject *take_output(family_t family, const spec_t *spec, view_t *view);
void drop_view(family_t family, view_t *view);

/* pool.c */
int pool_init(void); /* 0, or an error number; once */
void pool_parallel_for(void *pool, void (*body)(void *context, size_t index), void *context,
                       size_t count);

#endif
