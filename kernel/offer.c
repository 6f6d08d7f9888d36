/* The rows of a long stream, by their keys and in columns: `bulk.offer_plains`. */

#include "kernel.h"

/* Columns that are being filled. */
typedef struct {
    PyObject *payloads, *kinds, *stamps, *origins;
} Columns;

static int
columns_open(Columns *c, Py_ssize_t size)
{
    c->payloads = PyList_New(size);
    c->kinds = PyBytes_FromStringAndSize(NULL, 2 * size);
    c->stamps = PyBytes_FromStringAndSize(NULL, 8 * size);
    c->origins = PyBytes_FromStringAndSize(NULL, 8 * size);
    return c->payloads == NULL || c->kinds == NULL || c->stamps == NULL || c->origins == NULL ? -1 : 0;
}

static void
columns_close(Columns *c)
{
    Py_XDECREF(c->payloads);
    Py_XDECREF(c->kinds);
    Py_XDECREF(c->stamps);
    Py_XDECREF(c->origins);
}

static void
columns_put(Columns *c, Py_ssize_t at, const Written *written)
{
    PyList_SET_ITEM(c->payloads, at, Py_NewRef(written->payload));
    memcpy(PyBytes_AS_STRING(c->kinds) + 2 * at, &written->kind, 2);
    memcpy(PyBytes_AS_STRING(c->stamps) + 8 * at, &written->stamp, 8);
    memcpy(PyBytes_AS_STRING(c->origins) + 8 * at, &written->origin, 8);
}

static int
fill(Columns *c, PyObject *by_key, uint64_t place, PyObject *plains)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(plains); i++) {
        PyObject *plain = PyList_GET_ITEM(plains, i);
        Written written;
        if (read_plain(plain, &written) < 0) {
            return -1;
        }
        PyObject *at = PyLong_FromUnsignedLongLong(place + (uint64_t)i);
        int failed = at == NULL || PyDict_SetItem(by_key, PyTuple_GET_ITEM(plain, 0), at) < 0;
        Py_XDECREF(at);
        if (failed) {
            return -1;
        }
        untrack_payload(written.payload);
        columns_put(c, i, &written);
    }
    return 0;
}

PyObject *
offer_plains(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    uint64_t place;
    if (count != 3 || !PyDict_CheckExact(args[0]) || !as_number(args[1], &place) || !PyList_CheckExact(args[2])) {
        return PyErr_Format(PyExc_TypeError, "offer_plains takes a dict, a number and a list");
    }
    Columns columns;
    PyObject *all = NULL;
    if (columns_open(&columns, PyList_GET_SIZE(args[2])) == 0 && fill(&columns, args[0], place, args[2]) == 0) {
        all = PyTuple_Pack(4, columns.payloads, columns.kinds, columns.stamps, columns.origins);
    }
    columns_close(&columns);
    return all;
}
