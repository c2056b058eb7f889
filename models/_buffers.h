/* Arrays handed from Python to C, checked as they are opened. Stable ABI of Python 3.11; no headers of numpy. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int buffer_of(PyObject *from, Py_buffer *view, const char *name, Py_ssize_t item, int writable) {
    if (PyObject_GetBuffer(from, view, PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)) < 0) return -1;
    if (view->itemsize == item) return 0;
    PyErr_Format(PyExc_ValueError, "%s has items of %zd bytes; %zd are needed", name, view->itemsize, item);
    PyBuffer_Release(view);
    return -1;
}

static Py_ssize_t items(const Py_buffer *view) { return view->len / view->itemsize; }

static void release(Py_buffer *views, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&views[i]);
}

/* Opens the buffers of `count` arguments; the items of argument i have sizes[i] bytes, the last `out` are written. */
static int open_all(PyObject *const *args, Py_ssize_t given, Py_buffer *views, const char *const *names,
                    const Py_ssize_t *sizes, int count, int out) {
    if (given != count) {
        PyErr_Format(PyExc_TypeError, "%d arguments are needed, not %zd", count, given);
        return -1;
    }
    for (int i = 0; i < count; i++)
        if (buffer_of(args[i], &views[i], names[i], sizes[i], i >= count - out) < 0) {
            release(views, i);
            return -1;
        }
    return 0;
}

static PyObject *refused(Py_buffer *views, int count, const char *why) {
    release(views, count);
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}
