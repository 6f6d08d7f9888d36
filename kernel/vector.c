/* A version vector's look-ups; see `propagul.crdt.vector`. */

#include "kernel.h"

/* Reach the parts of a vector; undo with `vector_close`, also after a failure. */
int
vector_open(Vector *v, PyObject *object)
{
    memset(v, 0, sizeof *v);
    PyObject *floor = PyObject_GetAttrString(object, "_floor");
    if (floor == NULL) {
        return -1;
    }
    PyObject *origins = PyObject_GetAttrString(floor, "_origins"), *stamps = PyObject_GetAttrString(floor, "_stamps");
    if (origins != NULL && stamps != NULL && numbers(origins, &v->origins, "Q") == 0) {
        v->held = 1;
        if (numbers(stamps, &v->stamps, "Q") == 0) {
            v->held = 2;
        }
    }
    Py_XDECREF(stamps);
    Py_XDECREF(origins);
    Py_DECREF(floor);
    return v->held < 2 ? -1 : take(&v->hot, object, "_hot", &PyDict_Type);
}

void
vector_close(Vector *v)
{
    if (v->held > 1) {
        PyBuffer_Release(&v->stamps);
    }
    if (v->held > 0) {
        PyBuffer_Release(&v->origins);
    }
    v->held = 0;
    Py_CLEAR(v->hot);
}

/* `VersionVector.covers_entry`: 1, 0, or -1 with an exception. */
int
vector_covers(Vector *v, PyObject *origin, uint64_t stamp)
{
    PyObject *hot = PyDict_GetItemWithError(v->hot, origin);
    uint64_t known, wanted;
    if (hot != NULL) {
        return as_number(hot, &known) ? known >= stamp : wrong("a vector holds no stamps");
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!as_number(origin, &wanted)) {
        return wrong("an origin is no number");
    }
    const uint64_t *origins = v->origins.buf;
    Py_ssize_t low = 0, high = Py_MIN(v->origins.len, v->stamps.len) / 8;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (origins[middle] < wanted) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    int found = low < Py_MIN(v->origins.len, v->stamps.len) / 8 && origins[low] == wanted;
    return (found ? ((const uint64_t *)v->stamps.buf)[low] : 0) >= stamp;
}
