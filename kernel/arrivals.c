/* The order of arrival: `arrivals.newest_of`. */

#include "kernel.h"

/* `arrivals.newest_of` over an array of slots, a range or an array of their arrivals, and all arrivals. */
PyObject *
newest_of(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer slots, when, arrivals;
    PyObject *kept = NULL, *kept_when = NULL, *pair = NULL;
    uint64_t first = 0;
    (void)module;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "newest_of takes three arguments");
        return NULL;
    }
    int is_range = PyRange_Check(args[1]);
    if (is_range) {
        PyObject *start = PyObject_GetAttrString(args[1], "start");
        int known = start != NULL && as_number(start, &first);
        Py_XDECREF(start);
        if (!known) {
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a range of arrivals begins with one");
        }
        when.len = 8 * PyObject_Length(args[1]);
    }
    else if (numbers(args[1], &when, "Q") < 0) {
        return NULL;
    }
    if (numbers(args[0], &slots, "I") < 0) {
        goto release_when;
    }
    if (numbers(args[2], &arrivals, "Q") < 0) {
        goto release_slots;
    }
    Py_ssize_t size = slots.len / 4, kept_size = 0, top = arrivals.len / 8;
    if (when.len / 8 != size) {
        PyErr_SetString(PyExc_ValueError, "as many slots as arrivals are needed");
        goto release;
    }
    kept = PyBytes_FromStringAndSize(NULL, 4 * size);
    kept_when = PyBytes_FromStringAndSize(NULL, 8 * size);
    if (kept == NULL || kept_when == NULL) {
        goto release;
    }
    const uint32_t *slot = slots.buf;
    const uint64_t *arrived = arrivals.buf;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint64_t then = is_range ? first + (uint64_t)i : ((const uint64_t *)when.buf)[i];
        if (slot[i] < top && arrived[slot[i]] == then) {
            memcpy(PyBytes_AS_STRING(kept) + 4 * kept_size, &slot[i], 4);
            memcpy(PyBytes_AS_STRING(kept_when) + 8 * kept_size, &then, 8);
            kept_size++;
        }
    }
    if (_PyBytes_Resize(&kept, 4 * kept_size) == 0 && _PyBytes_Resize(&kept_when, 8 * kept_size) == 0) {
        pair = PyTuple_Pack(2, kept, kept_when);
    }
release:
    Py_XDECREF(kept);
    Py_XDECREF(kept_when);
    PyBuffer_Release(&arrivals);
release_slots:
    PyBuffer_Release(&slots);
release_when:
    if (!is_range) {
        PyBuffer_Release(&when);
    }
    return pair;
}
