/* The extension `_native`: Kernel, an open library whose call is one C function.
 *
 * loader.Function derives from Kernel. What does not fit the fast path goes to its methods
 * `_call_slowly` and `_leaves_slowly`, and a positive or negative status to `_raise_status`. */
#include "native.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "pullback.h"

enum { FREE_WORKSPACES = 4, STACK_VIEWS = 16 };

typedef int entry_t(const void *const *in, void *const *out, void *workspace,
                    const pullback_call *call);

/* What a call returns: the only output, a tuple of outputs, or what `_call_slowly` makes. */
typedef enum { ONE = 0, TUPLE = 1, TREE = 2 } result_t;

typedef struct {
  PyObject_HEAD
  void *library;
  entry_t *entry; /* NULL until __init__ has succeeded */
  int inputs, outputs;
  spec_t *specs; /* inputs, then outputs */
  size_t workspace_bytes;
  void *workspaces[FREE_WORKSPACES]; /* free ones; guarded by the GIL */
  int free_workspaces;
  Py_buffer params;
  int flat_inputs; /* the positional arguments are the inputs */
  result_t result;
} kernel_t;

static PyObject *name_call_slowly, *name_leaves_slowly, *name_raise_status;

static void *take_workspace(kernel_t *self) {
  void *memory = NULL;
  if (self->free_workspaces > 0) return self->workspaces[--self->free_workspaces];
  if (posix_memalign(&memory, 64, self->workspace_bytes) != 0) PyErr_NoMemory();
  return memory;
}

static void return_workspace(kernel_t *self, void *memory) {
  if (memory != NULL && self->free_workspaces < FREE_WORKSPACES)
    self->workspaces[self->free_workspaces++] = memory;
  else
    free(memory);
}

static PyObject *raise_status(kernel_t *self, int status) {
  PyObject *code = PyLong_FromLong(status);
  if (code == NULL) return NULL;
  PyObject *raised = PyObject_CallMethodObjArgs((PyObject *)self, name_raise_status, code, NULL);
  Py_DECREF(code);
  if (raised == NULL) return NULL;
  Py_DECREF(raised);
  PyErr_Format(PyExc_SystemError, "status %d of a compiled function raised nothing", status);
  return NULL;
}

/* Calls the entry with buffers that are known to be right. */
static int enter(kernel_t *self, const view_t *views, const void **in, void **out, int *status) {
  void *workspace = NULL;
  pullback_call call;
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  call.parallel_for = pool_parallel_for;
  call.params = self->params.buf;
  for (int i = 0; i < self->inputs; i++) in[i] = views[i].data;
  for (int i = 0; i < self->outputs; i++) out[i] = views[self->inputs + i].data;
  if (self->workspace_bytes != 0) {
    workspace = take_workspace(self);
    if (workspace == NULL) return -1;
  }
  PyThreadState *thread = PyEval_SaveThread();
  *status = self->entry(in, out, workspace, &call);
  PyEval_RestoreThread(thread);
  return_workspace(self, workspace);
  return 0;
}

static PyObject *collect(kernel_t *self, family_t family, view_t *views, int as_list) {
  view_t *outputs = views + self->inputs;
  const spec_t *specs = self->specs + self->inputs;
  if (!as_list && self->result == ONE) return take_output(family, specs, outputs);
  PyObject *all = as_list ? PyList_New(self->outputs) : PyTuple_New(self->outputs);
  for (int i = 0; all != NULL && i < self->outputs; i++) {
    PyObject *output = take_output(family, &specs[i], &outputs[i]);
    if (output == NULL)
      Py_CLEAR(all);
    else if (as_list)
      PyList_SetItem(all, i, output);
    else
      PyTuple_SetItem(all, i, output);
  }
  return all;
}

/* The result of a call with these leaves. NULL without an exception: a leaf is not plain. */
static PyObject *call_with(kernel_t *self, PyObject *leaves, int as_list) {
  view_t stack[STACK_VIEWS], *views = stack;
  const void *stack_pointers[STACK_VIEWS], **pointers = stack_pointers;
  int total = self->inputs + self->outputs, made = 0, status = 0;
  PyObject *result = NULL;
  family_t family = NUMPY;
  if (self->inputs > 0) family = family_of(PyTuple_GetItem(leaves, 0));
  if (family == OTHER) return NULL;
  for (int i = 1; i < self->inputs; i++)
    if (family_of(PyTuple_GetItem(leaves, i)) != family) return NULL;
  if (total > STACK_VIEWS) {
    views = malloc((size_t)total * sizeof *views);
    pointers = malloc((size_t)total * sizeof *pointers);
    if (views == NULL || pointers == NULL) {
      PyErr_NoMemory();
      goto done;
    }
  }
  for (; made < self->inputs; made++)
    if (!view_input(family, PyTuple_GetItem(leaves, made), &self->specs[made], &views[made]))
      goto done;
  for (; made < total; made++)
    if (make_output(family, &self->specs[made], &views[made]) != 0) goto done;
  if (enter(self, views, pointers, (void **)(pointers + self->inputs), &status) != 0) goto done;
  result = status == 0 ? collect(self, family, views, as_list) : raise_status(self, status);
done:
  for (int i = 0; i < made; i++) drop_view(family, &views[i]);
  if (views != stack) free(views);
  if (pointers != stack_pointers) free(pointers);
  return result;
}

static int ready(kernel_t *self) {
  if (self->entry == NULL) PyErr_SetString(PyExc_RuntimeError, "the kernel has no library");
  return self->entry != NULL;
}

static int any_requires_grad(PyObject *leaves) {
  for (Py_ssize_t i = 0; i < PyTuple_Size(leaves); i++)
    if (requires_grad(PyTuple_GetItem(leaves, i))) return 1;
  return 0;
}

static PyObject *kernel_call(PyObject *object, PyObject *args, PyObject *kwargs) {
  kernel_t *self = (kernel_t *)object;
  if (!ready(self)) return NULL;
  if ((kwargs == NULL || PyDict_Size(kwargs) == 0) && self->flat_inputs && self->result != TREE &&
      PyTuple_Size(args) == self->inputs && !any_requires_grad(args)) {
    PyObject *result = call_with(self, args, 0);
    if (result != NULL || PyErr_Occurred()) return result;
  }
  return PyObject_CallMethodObjArgs(object, name_call_slowly, args, kwargs ? kwargs : Py_None,
                                    NULL);
}

/* A list of outputs. A tuple of its own keeps the leaves alive while the GIL is released. */
static PyObject *call_sequence(PyObject *object, PyObject *sequence, int slow_path) {
  kernel_t *self = (kernel_t *)object;
  if (!ready(self)) return NULL;
  PyObject *result = NULL, *leaves = PySequence_Tuple(sequence);
  if (leaves == NULL) return NULL;
  if (PyTuple_Size(leaves) == self->inputs) result = call_with(self, leaves, 1);
  if (result == NULL && !PyErr_Occurred()) {
    if (slow_path)
      result = PyObject_CallMethodObjArgs(object, name_leaves_slowly, leaves, NULL);
    else
      PyErr_SetString(PyExc_TypeError, "these leaves are not plain arrays of one kind");
  }
  Py_DECREF(leaves);
  return result;
}

static PyObject *kernel_call_leaves(PyObject *object, PyObject *sequence) {
  return call_sequence(object, sequence, 1);
}

static PyObject *kernel_call_plain(PyObject *object, PyObject *sequence) {
  return call_sequence(object, sequence, 0);
}

static int read_shape(spec_t *spec, PyObject *shape) {
  Py_ssize_t ndim = PyTuple_Size(shape);
  if (ndim < 0 || ndim > 64) goto bad;
  spec->shape = calloc((size_t)ndim * 2 + 1, sizeof *spec->shape);
  if (spec->shape == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  spec->ndim = (int)ndim;
  spec->strides = spec->shape + ndim;
  int64_t stride = 1, empty = 0;
  for (Py_ssize_t i = ndim - 1; i >= 0; i--) {
    int64_t size = PyLong_AsLongLong(PyTuple_GetItem(shape, i));
    if (size < 0) goto bad;
    spec->shape[i] = size;
    spec->strides[i] = stride;
    empty |= size == 0;
    if (__builtin_mul_overflow(stride, size ? size : 1, &stride)) goto bad;
  }
  if (stride > PY_SSIZE_T_MAX / 16) goto bad; /* so that sizes in bytes cannot overflow */
  spec->count = empty ? 0 : (size_t)stride;
  return 0;
bad:
  PyErr_Clear();
  PyErr_SetString(PyExc_ValueError, "a shape of the manifest is impossible");
  return -1;
}

static int read_specs(spec_t *specs, PyObject *list, int count) {
  static const struct {
    const char *name;
    size_t itemsize;
  } known[] = {
      [F32] = {"f32", 4}, [F64] = {"f64", 8}, [I32] = {"i32", 4}, [I64] = {"i64", 8},
      [BOOL] = {"bool", 1}, [F16] = {"f16", 2}, [BF16] = {"bf16", 2},
  };
  for (int i = 0; i < count; i++) {
    const char *dtype;
    PyObject *shape;
    size_t k = 0;
    if (!PyArg_ParseTuple(PyTuple_GetItem(list, i), "sO!", &dtype, &PyTuple_Type, &shape))
      return -1;
    while (k < sizeof known / sizeof *known && strcmp(known[k].name, dtype) != 0) k++;
    if (k == sizeof known / sizeof *known) {
      PyErr_Format(PyExc_ValueError, "unknown dtype %s", dtype);
      return -1;
    }
    specs[i].dtype = (dtype_t)k;
    specs[i].itemsize = known[k].itemsize;
    if (read_shape(&specs[i], shape) != 0) return -1;
  }
  return 0;
}

static int kernel_init(PyObject *object, PyObject *args, PyObject *kwargs) {
  kernel_t *self = (kernel_t *)object;
  static char *names[] = {"path",   "symbol",      "inputs", "outputs", "workspace_bytes",
                          "params", "flat_inputs", "result", NULL};
  const char *path, *symbol;
  PyObject *inputs, *outputs, *params;
  Py_ssize_t workspace;
  int flat, result;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ssO!O!nOpi", names, &path, &symbol,
                                   &PyTuple_Type, &inputs, &PyTuple_Type, &outputs, &workspace,
                                   &params, &flat, &result))
    return -1;
  Py_ssize_t count_in = PyTuple_Size(inputs), count_out = PyTuple_Size(outputs);
  if (self->specs != NULL || workspace < 0 || result < ONE || result > TREE ||
      (result == ONE && count_out != 1) || count_in + count_out > 1000000) {
    PyErr_SetString(PyExc_ValueError, "a kernel is made once, from what its manifest says");
    return -1;
  }
  self->specs = calloc((size_t)(count_in + count_out) + 1, sizeof *self->specs);
  if (self->specs == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  self->inputs = (int)count_in;
  self->outputs = (int)count_out;
  self->workspace_bytes = (size_t)workspace;
  self->flat_inputs = flat;
  self->result = (result_t)result;
  if (read_specs(self->specs, inputs, self->inputs) != 0 ||
      read_specs(self->specs + count_in, outputs, self->outputs) != 0)
    return -1;
  if (params != Py_None && PyObject_GetBuffer(params, &self->params, PyBUF_SIMPLE) != 0) return -1;
  self->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void *entry = self->library == NULL ? NULL : dlsym(self->library, symbol);
  if (entry == NULL) {
    const char *why = dlerror();
    PyErr_SetString(PyExc_OSError, why == NULL ? "no such symbol" : why);
    return -1;
  }
  memcpy(&self->entry, &entry, sizeof entry);
  return 0;
}

static void kernel_dealloc(PyObject *object) {
  kernel_t *self = (kernel_t *)object;
  PyTypeObject *type = Py_TYPE(object);
  for (int i = 0; self->specs != NULL && i < self->inputs + self->outputs; i++) {
    free(self->specs[i].shape);
    Py_XDECREF(self->specs[i].np_args);
  }
  free(self->specs);
  while (self->free_workspaces > 0) free(self->workspaces[--self->free_workspaces]);
  if (self->params.obj != NULL) PyBuffer_Release(&self->params);
  if (self->library != NULL) dlclose(self->library);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(object);
  Py_DECREF(type);
}

static PyMethodDef kernel_methods[] = {
    {"call_leaves", kernel_call_leaves, METH_O,
     "call_leaves(leaves, /)\n--\n\nThe outputs, as a list, for the inputs in manifest order."},
    {"call_plain", kernel_call_plain, METH_O,
     "call_plain(leaves, /)\n--\n\nThe same for plain arrays only: without a slow path."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot kernel_slots[] = {
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, kernel_init},
    {Py_tp_dealloc, kernel_dealloc},
    {Py_tp_call, kernel_call},
    {Py_tp_methods, kernel_methods},
    {0, NULL},
};

static PyType_Spec kernel_spec = {
    .name = "pullback.runtime._native.Kernel",
    .basicsize = sizeof(kernel_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = kernel_slots,
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void) {
  name_call_slowly = PyUnicode_InternFromString("_call_slowly");
  name_leaves_slowly = PyUnicode_InternFromString("_leaves_slowly");
  name_raise_status = PyUnicode_InternFromString("_raise_status");
  if (!name_call_slowly || !name_leaves_slowly || !name_raise_status) return NULL;
  if (pool_init() != 0) return PyErr_NoMemory();
  PyObject *module = PyModule_Create(&module_def);
  PyObject *kernel = PyType_FromSpec(&kernel_spec);
  if (module == NULL || kernel == NULL || PyModule_AddObjectRef(module, "Kernel", kernel) != 0 ||
      PyModule_AddIntConstant(module, "ABI", PULLBACK_ABI) != 0)
    Py_CLEAR(module);
  Py_XDECREF(kernel);
  return module;
}
