/* `codec.decode_block`, for a block that is well-formed in every way. Its layout, and what is wrong with any other,
   stands there: whatever is not as it should be is left.

   The columns are passed over once, each count compared with the bytes that are left; only then are rows made. */

#include "kernel.h"

enum { HAS_LENGTHS = 1, HAS_KINDS = 2, HAS_ORIGINS = 4, HAS_SHAPES = 8, HAS_MANY = HAS_LENGTHS | HAS_SHAPES };
enum { ROWS_MAX = 500, KEY_BYTES_MAX = 4 * 1024, UTF8_BYTES_MAX = 4, BLOCK_BYTES_MAX = 16 * 1024 * 1024 };

/* A list of numbers that was passed over. */
typedef struct {
    const unsigned char *at, *end;
    uint64_t size;                      /* how many there were */
} Column;

/* Small: a hostile block may hold very many. */
typedef struct {
    uint64_t stamp;
    uint32_t origin;                    /* its place among `origins` */
    uint16_t kind;
} Dot;

/* What a run of rows is like. */
typedef struct {
    Py_ssize_t count, width, further;
} Shape;

typedef struct {
    const unsigned char *at, *end;      /* what was not read yet */
    unsigned form;
    PyObject *row_type, *sibling_type, *dot_type, *unchecked_ext, *are_objects; /* borrowed */
    PyObject *text, *payloads, *packed, *origins;
    Column lengths, differences, kinds, shapes, runs;
    Dot *dots;                          /* of the siblings, then of what contexts say further */
    Py_ssize_t size, siblings;          /* how many dots, and how many of them are siblings' */
    Py_ssize_t rows, plain;
    Py_ssize_t key, length;             /* where the next key begins, and how long the one before was */
    Py_ssize_t sibling, seen;           /* the next ones to be dealt out */
} Draft;

/* --- the columns -------------------------------------------------------------------------------------------------- */

static int
pass_over(Draft *d, int present, Column *column)
{
    int64_t unused;
    if (!present) {
        return 1;
    }
    if ((d->at = get_array(d->at, d->end, &column->size)) == NULL) {
        return 0;
    }
    column->at = d->at;
    for (uint64_t i = 0; i < column->size && d->at != NULL; i++) {
        d->at = get_int(d->at, d->end, &unused);
    }
    column->end = d->at;
    return d->at != NULL;
}

static int64_t
next(Column *column)
{
    int64_t number = 0;
    column->at = get_int(column->at, column->end, &number);
    return number;
}

static enum outcome
read_text(Draft *d)
{
    const unsigned char *text;
    size_t size;
    if ((d->at = get_text(d->at, d->end, &text, &size)) == NULL) {
        return LEAVE;
    }
    d->text = PyUnicode_DecodeUTF8((const char *)text, (Py_ssize_t)size, NULL);
    return d->text == NULL ? leave_or_fail() : DONE;
}

static enum outcome
read_payloads(Draft *d)
{
    uint64_t count = 1;
    if ((d->form & HAS_MANY) != 0 && (d->at = get_array(d->at, d->end, &count)) == NULL) {
        return LEAVE;
    }
    if ((d->payloads = PyList_New(0)) == NULL || (d->packed = PyList_New(0)) == NULL) {
        return FAILED;
    }
    for (; count > 0; count--) {
        PyObject *payload;
        if ((d->at = get_payload(d->at, d->end, &payload, d->unchecked_ext)) == NULL) {
            return PyErr_Occurred() ? leave_or_fail() : LEAVE;
        }
        int is_packed = PyBytes_Check(payload) && !PyBytes_CheckExact(payload);
        int failed = PyList_Append(d->payloads, payload) < 0 || (is_packed && PyList_Append(d->packed, payload) < 0);
        Py_DECREF(payload);
        if (failed) {
            return FAILED;
        }
    }
    if (PyList_GET_SIZE(d->packed) != 0) {
        PyObject *sound = PyObject_CallOneArg(d->are_objects, d->packed);
        Py_XDECREF(sound);
        return sound == NULL ? FAILED : sound == Py_True ? DONE : LEAVE;
    }
    return DONE;
}

static enum outcome
read_dots(Draft *d)
{
    uint64_t stamp;
    if ((d->at = get_uint(d->at, d->end, &stamp)) == NULL || stamp == 0 || stamp > INT64_MAX) {
        return LEAVE;
    }
    d->siblings = PyList_GET_SIZE(d->payloads);
    d->size = (Py_ssize_t)d->differences.size + 1;
    if (d->siblings > d->size) {
        return LEAVE;
    }
    if ((d->dots = PyMem_New(Dot, d->size)) == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    for (Py_ssize_t i = 0; i < d->size; i++) {
        if (i > 0) {
            int64_t difference = next(&d->differences);
            if (difference > INT64_MAX - (int64_t)stamp) {
                return LEAVE;
            }
            int64_t sum = (int64_t)stamp + difference; /* a stamp is positive: it cannot fall too far */
            if (sum <= 0) {
                return LEAVE;
            }
            stamp = (uint64_t)sum;
        }
        d->dots[i] = (Dot){.stamp = stamp};
    }
    return DONE;
}

static int
deal_kinds(Draft *d)
{
    Py_ssize_t at = 0;
    for (uint64_t i = 0; i < d->kinds.size; i += 2) {
        int64_t count = next(&d->kinds), kind = next(&d->kinds);
        if (count < 0 || count > d->siblings - at || kind < 0 || kind > UINT16_MAX) {
            return 0;
        }
        for (; count > 0; count--) {
            d->dots[at++].kind = (uint16_t)kind;
        }
    }
    return at == d->siblings;
}

static int
deal_origins(Draft *d)
{
    Py_ssize_t at = 0;
    for (uint64_t i = 0; i < d->runs.size; i += 2) {
        int64_t count = next(&d->runs), number = next(&d->runs);
        if (count < 0 || count > d->size - at || number < 0 || number >= PyList_GET_SIZE(d->origins)) {
            return 0;
        }
        for (; count > 0; count--) {
            d->dots[at++].origin = (uint32_t)number;
        }
    }
    return at == d->size;
}

static enum outcome
read_origins(Draft *d)
{
    uint64_t count = 1, origin;
    if ((d->form & HAS_ORIGINS) != 0
        && ((d->at = get_array(d->at, d->end, &count)) == NULL || count < 2 || count > (uint64_t)d->size)) {
        return LEAVE;
    }
    if ((d->origins = PyList_New(0)) == NULL) {
        return FAILED;
    }
    for (; count > 0; count--) {
        if ((d->at = get_uint(d->at, d->end, &origin)) == NULL || origin == 0) {
            return LEAVE;
        }
        PyObject *object = PyLong_FromUnsignedLongLong(origin);
        int failed = object == NULL || PyList_Append(d->origins, object) < 0;
        Py_XDECREF(object);
        if (failed) {
            return FAILED;
        }
    }
    return DONE;
}

/* No number is so high that what is made of them overflows. */
static int
next_shape(Draft *d, Shape *shape)
{
    int64_t count = next(&d->shapes), width = next(&d->shapes), further = next(&d->shapes);
    if (count < 0 || count > ROWS_MAX || width < 0 || width > INT32_MAX || further < 0 || further > INT32_MAX) {
        return 0;
    }
    *shape = (Shape){(Py_ssize_t)count, (Py_ssize_t)width, (Py_ssize_t)further};
    return 1;
}

/* How many rows there are and how many of them are plain, if the shapes add up. */
static int
count_rows(Draft *d)
{
    if ((d->form & HAS_SHAPES) == 0) {
        d->rows = d->plain = d->siblings;
        return d->size == d->siblings && d->rows <= ROWS_MAX;
    }
    const Column begin = d->shapes;
    Py_ssize_t siblings = 0, further = 0;
    Shape shape;
    if (d->shapes.size % 3 != 0) {
        return 0;
    }
    for (uint64_t i = 0; i < begin.size; i += 3) {
        if (!next_shape(d, &shape)) {
            return 0;
        }
        if (i == 0 && shape.width == 1 && shape.further == 0) {
            d->plain = shape.count;
        }
        d->rows += shape.count;
        siblings += shape.count * shape.width;
        further += shape.count * shape.further;
        if (d->rows > ROWS_MAX || siblings > d->siblings || further > d->size - d->siblings) {
            return 0;
        }
    }
    d->shapes = begin;
    return siblings == d->siblings && further == d->size - d->siblings;
}

/* Whether the text is as many keys as there are rows, none of them empty or too long. */
static int
are_keys(Draft *d)
{
    const Column begin = d->lengths;
    const Py_ssize_t size = PyUnicode_GET_LENGTH(d->text), listed = (Py_ssize_t)begin.size;
    Py_ssize_t total = 0, longest = size;
    if ((d->form & HAS_LENGTHS) == 0) {
        d->length = total = size;
        if (d->rows != 1 || size == 0) {
            return 0;
        }
    }
    else {
        if (d->rows < 2 || listed < 1 || listed > d->rows) {
            return 0;
        }
        longest = 0;
        for (Py_ssize_t i = 0; i < listed; i++) {
            int64_t length = next(&d->lengths);
            if (length < 1 || length > KEY_BYTES_MAX) {
                return 0;
            }
            longest = Py_MAX(longest, (Py_ssize_t)length);
            total += i == listed - 1 ? (Py_ssize_t)length * (d->rows - i) : (Py_ssize_t)length;
        }
        d->lengths = begin;
    }
    /* Of a text that is no ASCII, keys that might be too long are counted in Python. */
    return total == size && longest <= KEY_BYTES_MAX
        && (PyUnicode_IS_ASCII(d->text) || longest * UTF8_BYTES_MAX <= KEY_BYTES_MAX);
}

static enum outcome
read_columns(Draft *d)
{
    enum outcome outcome;
    d->form = *d->at++;
    if (d->form > (HAS_MANY | HAS_KINDS | HAS_ORIGINS)) {
        return LEAVE;
    }
    if ((outcome = read_text(d)) != DONE) {
        return outcome;
    }
    if (!pass_over(d, d->form & HAS_LENGTHS, &d->lengths)) {
        return LEAVE;
    }
    if ((outcome = read_payloads(d)) != DONE) {
        return outcome;
    }
    if (!pass_over(d, d->form & HAS_MANY, &d->differences) || !pass_over(d, d->form & HAS_KINDS, &d->kinds)
        || !pass_over(d, d->form & HAS_SHAPES, &d->shapes) || !pass_over(d, d->form & HAS_ORIGINS, &d->runs)) {
        return LEAVE;
    }
    if ((outcome = read_dots(d)) != DONE || (outcome = read_origins(d)) != DONE) {
        return outcome;
    }
    int adds_up = d->at == d->end && d->kinds.size % 2 == 0 && d->runs.size % 2 == 0
               && ((d->form & HAS_KINDS) == 0 || deal_kinds(d)) && ((d->form & HAS_ORIGINS) == 0 || deal_origins(d))
               && count_rows(d) && are_keys(d);
    return adds_up ? DONE : LEAVE;
}

/* --- the rows ----------------------------------------------------------------------------------------------------- */

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
