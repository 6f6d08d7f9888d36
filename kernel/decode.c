/* `codec.decode_block`, for a block that is well-formed in every way. Its layout, and what is wrong with any other,
   stands there: whatever is not as it should be is left. Rows are made only of columns that add up. */

#include "decode.h"

enum { BLOCK_BYTES_MAX = 16 * 1024 * 1024 };

static PyObject *
origin_of(Draft *d, const Dot *dot)
{
    return PyList_GET_ITEM(d->origins, dot->origin);
}

/* Whether a dot ranks above another one. */
static int
is_above(Draft *d, const Dot *dot, const Dot *other)
{
    uint64_t origin = 0, other_origin = 0;
    if (dot->stamp != other->stamp) {
        return dot->stamp > other->stamp;
    }
    return as_number(origin_of(d, dot), &origin) && as_number(origin_of(d, other), &other_origin)
        && origin > other_origin;
}

static PyObject *
next_key(Draft *d)
{
    if (d->lengths.at != d->lengths.end) {
        d->length = (Py_ssize_t)next(&d->lengths);
    }
    d->key += d->length;
    return PyUnicode_Substring(d->text, d->key - d->length, d->key);
}

static PyObject *
next_plain(Draft *d)
{
    const Py_ssize_t at = d->sibling++;
    const Dot *dot = &d->dots[at];
    PyObject *plain = PyTuple_New(5);
    if (plain == NULL) {
        return NULL;
    }
    PyObject *key = next_key(d), *kind = PyLong_FromLong(dot->kind), *stamp = PyLong_FromUnsignedLongLong(dot->stamp);
    PyTuple_SET_ITEM(plain, 0, key);
    PyTuple_SET_ITEM(plain, 1, Py_NewRef(PyList_GET_ITEM(d->payloads, at)));
    PyTuple_SET_ITEM(plain, 2, kind);
    PyTuple_SET_ITEM(plain, 3, stamp);
    PyTuple_SET_ITEM(plain, 4, Py_NewRef(origin_of(d, dot)));
    if (key == NULL || kind == NULL || stamp == NULL) {
        Py_DECREF(plain);
        return NULL;
    }
    untrack(plain);
    return plain;
}

static PyObject *
next_sibling(Draft *d)
{
    const Py_ssize_t at = d->sibling++;
    PyObject *dot = tuple_of((PyTypeObject *)d->dot_type, 2);
    PyObject *sibling = dot == NULL ? NULL : tuple_of((PyTypeObject *)d->sibling_type, 3);
    if (sibling == NULL) {
        Py_XDECREF(dot);
        return NULL;
    }
    PyObject *stamp = PyLong_FromUnsignedLongLong(d->dots[at].stamp), *kind = PyLong_FromLong(d->dots[at].kind);
    PyTuple_SET_ITEM(dot, 0, stamp);
    PyTuple_SET_ITEM(dot, 1, Py_NewRef(origin_of(d, &d->dots[at])));
    PyTuple_SET_ITEM(sibling, 0, dot);
    PyTuple_SET_ITEM(sibling, 1, kind);
    PyTuple_SET_ITEM(sibling, 2, Py_NewRef(PyList_GET_ITEM(d->payloads, at)));
    if (stamp == NULL || kind == NULL) {
        Py_DECREF(sibling);
        return NULL;
    }
    untrack(dot);
    untrack(sibling);
    return sibling;
}

/* So many siblings, if they are in rank order. */
static enum outcome
next_siblings(Draft *d, Py_ssize_t width, PyObject **siblings)
{
    if ((*siblings = PyTuple_New(width)) == NULL) {
        return FAILED;
    }
    for (Py_ssize_t i = 0; i < width; i++) {
        const Dot *dot = &d->dots[d->sibling];
        if (i > 0 && !is_above(d, dot - 1, dot)) {
            return LEAVE;
        }
        PyObject *sibling = next_sibling(d);
        if (sibling == NULL) {
            return FAILED;
        }
        PyTuple_SET_ITEM(*siblings, i, sibling);
    }
    untrack(*siblings);
    return DONE;
}

/* What the siblings' dots say and so many entries more, none of which says less. */
static enum outcome
next_context(Draft *d, PyObject *siblings, Py_ssize_t further, PyObject *context)
{
    for (Py_ssize_t i = PyTuple_GET_SIZE(siblings) - 1; i >= 0; i--) {
        PyObject *dot = PyTuple_GET_ITEM(PyTuple_GET_ITEM(siblings, i), 0);
        if (PyDict_SetItem(context, PyTuple_GET_ITEM(dot, 1), PyTuple_GET_ITEM(dot, 0)) < 0) {
            return FAILED;
        }
    }
    for (; further > 0; further--) {
        const Dot *dot = &d->dots[d->seen++];
        PyObject *known = PyDict_GetItemWithError(context, origin_of(d, dot));
        uint64_t stamp = 0;
        if (known == NULL ? PyErr_Occurred() != NULL : !as_number(known, &stamp)) {
            return FAILED;
        }
        if (stamp >= dot->stamp) {
            return LEAVE;
        }
        PyObject *said = PyLong_FromUnsignedLongLong(dot->stamp);
        int failed = said == NULL || PyDict_SetItem(context, origin_of(d, dot), said) < 0;
        Py_XDECREF(said);
        if (failed) {
            return FAILED;
        }
    }
    return PyDict_GET_SIZE(context) == 0 ? LEAVE : DONE;
}

/* The next row that is not in the first run of plain ones, with its key. */
static enum outcome
next_other(Draft *d, const Shape *shape, PyObject *others)
{
    PyObject *siblings = NULL, *context = PyDict_New(), *row = NULL, *key = NULL, *pair = NULL;
    enum outcome outcome = context == NULL ? FAILED : next_siblings(d, shape->width, &siblings);
    if (outcome == DONE && (outcome = next_context(d, siblings, shape->further, context)) == DONE) {
        outcome = FAILED;
        row = tuple_of((PyTypeObject *)d->row_type, 2);
        key = next_key(d);
        pair = row == NULL || key == NULL ? NULL : PyTuple_Pack(2, key, row);
        if (pair != NULL) {
            PyTuple_SET_ITEM(row, 0, Py_NewRef(siblings));
            PyTuple_SET_ITEM(row, 1, Py_NewRef(context));
            untrack(row);
            untrack(pair);
            outcome = PyList_Append(others, pair) < 0 ? FAILED : DONE;
        }
    }
    Py_XDECREF(pair);
    Py_XDECREF(key);
    Py_XDECREF(row);
    Py_XDECREF(siblings);
    Py_XDECREF(context);
    return outcome;
}

static enum outcome
make_rows(Draft *d, PyObject *plains, PyObject *others)
{
    enum outcome outcome = DONE;
    for (Py_ssize_t i = 0; i < d->plain; i++) {
        PyObject *plain = next_plain(d);
        if (plain == NULL) {
            return FAILED;
        }
        PyList_SET_ITEM(plains, i, plain);
    }
    d->seen = d->siblings;
    for (uint64_t i = 0; i < d->shapes.size; i += 3) {
        Shape shape = {0};
        next_shape(d, &shape);
        for (Py_ssize_t rows = i == 0 && d->plain > 0 ? 0 : shape.count; rows > 0 && outcome == DONE; rows--) {
            outcome = next_other(d, &shape, others);
        }
    }
    return outcome;
}

/* A type that is a tuple and nothing more. */
static int
is_tuple_type(PyObject *type)
{
    return PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)
        && ((PyTypeObject *)type)->tp_basicsize == PyTuple_Type.tp_basicsize;
}

/* Plain rows and the others; None if it is left to Python. */
PyObject *
decode_block(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 6 || !is_tuple_type(args[1]) || !is_tuple_type(args[2]) || !is_tuple_type(args[3])) {
        return PyErr_Format(PyExc_TypeError, "decode_block takes bytes, three types of tuples and two functions");
    }
    if (!PyBytes_CheckExact(args[0]) || PyBytes_GET_SIZE(args[0]) == 0
        || PyBytes_GET_SIZE(args[0]) > BLOCK_BYTES_MAX) {
        return Py_NewRef(Py_None);
    }
    const unsigned char *begin = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    Draft d = {.at = begin, .end = begin + PyBytes_GET_SIZE(args[0]), .row_type = args[1], .sibling_type = args[2],
               .dot_type = args[3], .unchecked_ext = args[4], .are_objects = args[5]};
    PyObject *plains = NULL, *others = NULL, *block = NULL;
    enum outcome outcome = read_columns(&d);
    if (outcome == DONE) {
        plains = PyList_New(d.plain);
        others = PyList_New(0);
        outcome = plains == NULL || others == NULL ? FAILED : make_rows(&d, plains, others);
    }
    if (outcome != FAILED) {
        block = outcome == DONE ? PyTuple_Pack(2, plains, others) : Py_NewRef(Py_None);
    }
    Py_XDECREF(plains);
    Py_XDECREF(others);
    Py_XDECREF(d.text);
    Py_XDECREF(d.payloads);
    Py_XDECREF(d.packed);
    PyMem_Free(d.dots);
    Py_XDECREF(d.origins);
    return block;
}
