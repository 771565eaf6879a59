/* Plain numpy arrays and CPU torch tensors as buffers of a call, and fresh ones for its results.
 *
 * Only exact types and dense, aligned, native data pass here; everything else is the business of
 * arrays.py. Neither numpy nor torch is linked: numpy is seen through the buffer protocol, torch
 * through the C table that it publishes for DLPack, once the program itself has imported it. */
#include "native.h"

#include <stdlib.h>
#include <string.h>

#include "dlpack.h"

static PyTypeObject *numpy_array, *torch_tensor, *torch_parameter;
static PyObject *numpy_empty, *torch_is_neg;
static const DLExchange *torch_table;

static const struct {
  const char *numpy;
  const char *formats; /* of the buffer protocol; the item size tells 'l' apart */
  DLType dlpack;
} dtypes[] = {
    [F32] = {"float32", "f", {DL_FLOAT, 32, 1}}, [F64] = {"float64", "d", {DL_FLOAT, 64, 1}},
    [I32] = {"int32", "il", {DL_INT, 32, 1}},    [I64] = {"int64", "lq", {DL_INT, 64, 1}},
    [BOOL] = {"bool", "?", {DL_BOOL, 8, 1}},     [F16] = {"float16", "e", {DL_FLOAT, 16, 1}},
    /* numpy has no name for it: two bytes without meaning, until `take_output`. */
    [BF16] = {"V2", "2", {DL_BFLOAT, 16, 1}},
};

/* A new reference to an attribute of a module that is already imported, or NULL, no exception. */
static PyObject *imported(const char *module, const char *name) {
  PyObject *found = PyDict_GetItemString(PyImport_GetModuleDict(), module);
  if (found != NULL) found = PyObject_GetAttrString(found, name);
  if (found == NULL) PyErr_Clear();
  return found;
}

static void discover_numpy(void) {
  PyObject *type = imported("numpy", "ndarray");
  PyObject *empty = imported("numpy", "empty");
  if (type != NULL && empty != NULL && PyType_Check(type)) {
    numpy_empty = empty;
    numpy_array = (PyTypeObject *)type;
    return;
  }
  Py_XDECREF(type);
  Py_XDECREF(empty);
}

static const DLExchange *exchange_table(PyObject *tensor) {
  PyObject *capsule = PyObject_GetAttrString(tensor, "__dlpack_c_exchange_api__");
  const DLExchange *table = NULL;
  if (capsule != NULL) table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
  if (table == NULL) PyErr_Clear();
  Py_XDECREF(capsule); /* the table lives as long as the process: DLPack promises it */
  while (table != NULL && table->version.major != 1) table = table->previous;
  return table != NULL && table->view_of_object != NULL ? table : NULL;
}

static void discover_torch(void) {
  PyObject *tensor = imported("torch", "Tensor");
  PyObject *parameter = tensor ? imported("torch.nn.parameter", "Parameter") : NULL;
  PyObject *is_neg = parameter ? PyObject_GetAttrString(tensor, "is_neg") : NULL;
  if (is_neg != NULL && PyType_Check(tensor) && PyType_Check(parameter)) {
    torch_table = exchange_table(tensor);
    if (torch_table != NULL) {
      torch_is_neg = is_neg;
      torch_parameter = (PyTypeObject *)parameter;
      torch_tensor = (PyTypeObject *)tensor;
      return;
    }
  }
  PyErr_Clear();
  Py_XDECREF(is_neg);
  Py_XDECREF(parameter);
  Py_XDECREF(tensor);
}

family_t family_of(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  if (numpy_array == NULL) discover_numpy();
  if (type == numpy_array) return NUMPY;
  if (torch_tensor == NULL) discover_torch();
  if (type == torch_tensor || type == torch_parameter) return TORCH;
  return OTHER;
}

static int usable(const void *data, const spec_t *spec) {
  if (spec->count == 0) return 1;
  return data != NULL && (uintptr_t)data % spec->itemsize == 0;
}

static int view_numpy(PyObject *object, const spec_t *spec, view_t *view) {
  Py_buffer *buffer = &view->buffer;
  if (PyObject_GetBuffer(object, buffer, PyBUF_FORMAT | PyBUF_STRIDES) != 0) {
    buffer->obj = NULL;
    PyErr_Clear();
    return 0;
  }
  const char *format = buffer->format; /* of byte-swapped or unaligned data it begins otherwise */
  int fits = buffer->ndim == spec->ndim && (size_t)buffer->itemsize == spec->itemsize &&
             format != NULL && format[0] != '\0' &&
             strchr(dtypes[spec->dtype].formats, format[0]) != NULL;
  for (int i = 0; fits && i < spec->ndim; i++) {
    int64_t stride = spec->strides[i] * (int64_t)spec->itemsize;
    fits = buffer->shape[i] == spec->shape[i] &&
           (buffer->strides[i] == stride || spec->shape[i] == 1 || spec->count == 0);
  }
  view->data = buffer->buf;
  if (fits && usable(view->data, spec)) return 1;
  PyBuffer_Release(buffer);
  return 0;
}

static int view_torch(PyObject *object, const spec_t *spec, view_t *view) {
  DLTensor tensor;
  DLType want = dtypes[spec->dtype].dlpack;
  if (torch_table->view_of_object(object, &tensor) != 0) { /* meta, sparse, functorch, ... */
    PyErr_Clear();
    return 0;
  }
  int fits = tensor.device.type == DL_CPU && tensor.ndim == spec->ndim &&
             tensor.dtype.code == want.code && tensor.dtype.bits == want.bits &&
             tensor.dtype.lanes == 1;
  for (int i = 0; fits && i < spec->ndim; i++)
    fits = tensor.shape[i] == spec->shape[i] &&
           (tensor.strides[i] == spec->strides[i] || spec->shape[i] == 1 || spec->count == 0);
  view->data = (char *)tensor.data + tensor.byte_offset;
  if (!fits || !usable(view->data, spec)) return 0;
  /* x.conj().imag is a view whose elements are negated when read; DLPack does not tell. */
  PyObject *negated = PyObject_CallFunctionObjArgs(torch_is_neg, object, NULL);
  if (negated == NULL) PyErr_Clear();
  Py_XDECREF(negated); /* True and False are never freed */
  return negated == Py_False;
}

int requires_grad(PyObject *object) {
  static PyObject *name;
  if (family_of(object) != TORCH) return 0;
  if (name == NULL) name = PyUnicode_InternFromString("requires_grad");
  PyObject *answer = name ? PyObject_GetAttr(object, name) : NULL;
  if (answer == NULL) PyErr_Clear();
  Py_XDECREF(answer); /* True and False are never freed */
  return answer == Py_True;
}

int view_input(family_t family, PyObject *object, const spec_t *spec, view_t *view) {
  view->object = NULL;
  view->buffer.obj = NULL;
  if (family == NUMPY) return view_numpy(object, spec, view);
  return family == TORCH && view_torch(object, spec, view);
}

static PyObject *numpy_empty_args(const spec_t *spec) {
  PyObject *shape = PyTuple_New(spec->ndim);
  for (int i = 0; shape != NULL && i < spec->ndim; i++) {
    PyObject *size = PyLong_FromLongLong(spec->shape[i]);
    if (size == NULL || PyTuple_SetItem(shape, i, size) != 0) Py_CLEAR(shape);
  }
  PyObject *numpy = PyImport_ImportModule("numpy");
  PyObject *dtype = NULL, *args = NULL;
  if (shape != NULL && numpy != NULL)
    dtype = PyObject_CallMethod(numpy, "dtype", "s", dtypes[spec->dtype].numpy);
  if (dtype != NULL) args = PyTuple_Pack(2, shape, dtype);
  Py_XDECREF(shape);
  Py_XDECREF(numpy);
  Py_XDECREF(dtype);
  return args;
}

static int make_numpy(spec_t *spec, view_t *view) {
  if (spec->np_args == NULL) {
    spec->np_args = numpy_empty_args(spec); /* imports numpy */
    if (spec->np_args == NULL) return -1;
    if (numpy_empty == NULL) discover_numpy();
  }
  if (numpy_empty == NULL) {
    PyErr_SetString(PyExc_ImportError, "numpy is not completely imported");
    return -1;
  }
  view->object = PyObject_Call(numpy_empty, spec->np_args, NULL);
  if (view->object == NULL) return -1;
  if (PyObject_GetBuffer(view->object, &view->buffer, PyBUF_WRITABLE) != 0) {
    view->buffer.obj = NULL;
    Py_CLEAR(view->object);
    return -1;
  }
  view->data = view->buffer.buf;
  return 0;
}

static void free_managed(DLManaged *self) { free(self); }

/* One block holds the tensor's description and, from the next multiple of 64 on, its data. Memory of
 * our own is faster than torch's allocator and needs no torch dispatch. */
static int make_torch(const spec_t *spec, view_t *view) {
  size_t dims = (size_t)spec->ndim * sizeof(int64_t);
  size_t head = (sizeof(DLManaged) + 2 * dims + 63) / 64 * 64;
  size_t bytes = spec->count * spec->itemsize; /* checked against overflow when the kernel is made */
  void *block = NULL;
  if (posix_memalign(&block, 64, head + bytes) != 0) {
    PyErr_NoMemory();
    return -1;
  }
  DLManaged *managed = block;
  memset(managed, 0, sizeof *managed);
  managed->version.major = 1;
  managed->deleter = free_managed;
  DLTensor *tensor = &managed->tensor;
  tensor->data = (char *)block + head;
  tensor->device.type = DL_CPU;
  tensor->ndim = spec->ndim;
  tensor->dtype = dtypes[spec->dtype].dlpack;
  tensor->shape = (int64_t *)(managed + 1);
  tensor->strides = tensor->shape + spec->ndim;
  if (dims != 0) {
    memcpy(tensor->shape, spec->shape, dims);
    memcpy(tensor->strides, spec->strides, dims);
  }
  view->object = block; /* not yet a Python object: see take_output and drop_view */
  view->data = tensor->data;
  return 0;
}

int make_output(family_t family, spec_t *spec, view_t *view) {
  view->object = NULL;
  view->buffer.obj = NULL;
  return family == TORCH ? make_torch(spec, view) : make_numpy(spec, view);
}

/* The same memory under the dtype that ml_dtypes adds to numpy. */
static PyObject *as_bfloat16(PyObject *array) {
  PyObject *module = PyImport_ImportModule("ml_dtypes");
  PyObject *dtype = module ? PyObject_GetAttrString(module, "bfloat16") : NULL;
  PyObject *result = dtype ? PyObject_CallMethod(array, "view", "O", dtype) : NULL;
  if (dtype == NULL)
    PyErr_SetString(PyExc_ImportError, "numpy has no bfloat16: install ml_dtypes, or give the "
                                       "arguments as tensors of torch");
  Py_XDECREF(module);
  Py_XDECREF(dtype);
  Py_DECREF(array);
  return result;
}

PyObject *take_output(family_t family, const spec_t *spec, view_t *view) {
  void *object = view->object;
  view->object = NULL;
  if (family == NUMPY && spec->dtype == BF16) return as_bfloat16(object);
  if (family == TORCH) {
    DLManaged *block = object;
    /* The table takes ownership of the block, also when it fails. */
    if (torch_table->object_from_managed(block, &object) != 0) return NULL;
  }
  return object;
}

void drop_view(family_t family, view_t *view) {
  if (view->buffer.obj != NULL) PyBuffer_Release(&view->buffer);
  if (view->object == NULL) return;
  if (family == TORCH)
    free(view->object);
  else
    Py_DECREF((PyObject *)view->object);
  view->object = NULL;
}
