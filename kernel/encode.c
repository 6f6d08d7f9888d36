/* `codec.encode_blocks`, for rows whose numbers and texts are of the usual kinds; layout and sizes stand there. Any others
   are left.

   Everything is gathered first, in columns and without a copy, so that its bytes can be counted; then it is written. */

#include "kernel.h"

enum { WIDTH_MAX = 64, ORIGINS_MAX = 256, HEAD_BYTES = 6 };

typedef struct {
    uint64_t stamp, origin;
} Dot;

typedef struct {
    uint64_t siblings, further;
} Shape;

/* All that a block says. Keys and payloads are borrowed from its rows. */
typedef struct {
    PyObject *packed_type;
    PyObject **keys, **payloads;
    Shape *shapes;
    uint16_t *kinds;
    Dot *dots;                          /* of the siblings, then of what contexts say further */
    Py_ssize_t rows, siblings, size;
    size_t keys_bytes, payloads_bytes;  /* at most */
    uint64_t origins[ORIGINS_MAX];      /* in the order in which they first come */
    Py_ssize_t named;
} Draft;

/* Rows that are to become blocks, and how large those may become. */
typedef struct {
    PyObject *plains, *others, *packed_type;
    Py_ssize_t rows, bytes_max, rows_max;
} Given;

/* The rows of one of these blocks. */
typedef struct {
    Py_ssize_t begin, end;
    Py_ssize_t siblings, said;          /* how many of them have, and how many entries their contexts have */
    Py_ssize_t bytes;                   /* about */
} Span;

/* --- what there is ------------------------------------------------------------------------------------------------ */

/* How many bytes a text has in UTF-8; -1 if it has none. */
static Py_ssize_t
utf8_bytes(PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    Py_ssize_t bytes = size;
    if (PyUnicode_IS_ASCII(text)) {
        return size;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        const Py_UCS4 letter = PyUnicode_READ_CHAR(text, i);
        if (Py_UNICODE_IS_SURROGATE(letter)) {
            return -1;
        }
        bytes += (letter >= 0x80) + (letter >= 0x800) + (letter >= 0x10000);
    }
    return bytes;
}

/* How many bytes a payload may take; 0 if it is left. */
static size_t
payload_bytes(const Draft *d, PyObject *payload)
{
    if (PyUnicode_CheckExact(payload)) {
        const Py_ssize_t bytes = utf8_bytes(payload);
        return bytes < 0 ? 0 : HEAD_BYTES + (size_t)bytes;
    }
    if (PyBytes_CheckExact(payload) || Py_IS_TYPE(payload, (PyTypeObject *)d->packed_type)) {
        return HEAD_BYTES + (size_t)PyBytes_GET_SIZE(payload);
    }
    if (PyLong_CheckExact(payload)) {
        int overflow;
        PyLong_AsLongLongAndOverflow(payload, &overflow);
        return overflow ? 0 : UINT_BYTES_MAX;
    }
    return PyFloat_CheckExact(payload) || payload == Py_None || PyBool_Check(payload) ? UINT_BYTES_MAX : 0;
}

static int
is_stamp(PyObject *object, uint64_t *stamp)
{
    return as_number(object, stamp) && *stamp > 0 && *stamp <= INT64_MAX;
}

static int
add_key(Draft *d, PyObject *key)
{
    const Py_ssize_t bytes = utf8_bytes(key);
    if (bytes < 0) {
        return 0;
    }
    d->keys_bytes += (size_t)bytes;
    d->keys[d->rows++] = key;
    return 1;
}

static int
add_sibling(Draft *d, PyObject *payload, PyObject *kind, PyObject *stamp, PyObject *origin)
{
    uint64_t number;
    const size_t bytes = payload_bytes(d, payload);
    Dot *dot = &d->dots[d->siblings];
    if (bytes == 0 || !as_number(kind, &number) || number > UINT16_MAX || !is_stamp(stamp, &dot->stamp)
        || !as_number(origin, &dot->origin)) {
        return 0;
    }
    d->payloads_bytes += bytes;
    d->payloads[d->siblings] = payload;
    d->kinds[d->siblings++] = (uint16_t)number;
    return 1;
}

static int
add_plain(Draft *d, PyObject *plain)
{
    d->shapes[d->rows] = (Shape){1, 0};
    return add_key(d, PyTuple_GET_ITEM(plain, 0))
        && add_sibling(d, PyTuple_GET_ITEM(plain, 1), PyTuple_GET_ITEM(plain, 2), PyTuple_GET_ITEM(plain, 3),
                       PyTuple_GET_ITEM(plain, 4));
}

static int
by_origin(const void *one, const void *other)
{
    const uint64_t a = ((const Dot *)one)->origin, b = ((const Dot *)other)->origin;
    return (a > b) - (a < b);
}

/* What a context says that the row's siblings do not, by origin. Room for all siblings is in front of it. */
static int
add_further(Draft *d, PyObject *context, const Dot *siblings, Py_ssize_t width, Py_ssize_t seen)
{
    PyObject *origin, *stamp;
    Py_ssize_t place = 0, begin = d->size;
    while (PyDict_Next(context, &place, &origin, &stamp)) {
        Dot *dot = &d->dots[d->size];
        if (d->size == seen || !is_stamp(stamp, &dot->stamp) || !as_number(origin, &dot->origin)) {
            return 0;
        }
        int implied = 0;
        for (Py_ssize_t i = 0; i < width && !implied; i++) {
            implied = siblings[i].stamp == dot->stamp && siblings[i].origin == dot->origin;
        }
        d->size += !implied;
    }
    qsort(d->dots + begin, (size_t)(d->size - begin), sizeof(Dot), by_origin);
    d->shapes[d->rows].further = (uint64_t)(d->size - begin);
    return 1;
}

static int
add_other(Draft *d, PyObject *key, PyObject *row, Py_ssize_t seen)
{
    PyObject *siblings = PyTuple_GET_ITEM(row, 0);
    const Py_ssize_t width = PyTuple_GET_SIZE(siblings), first = d->siblings;
    for (Py_ssize_t i = 0; i < width; i++) {
        PyObject *sibling = PyTuple_GET_ITEM(siblings, i), *dot = PyTuple_GET_ITEM(sibling, 0);
        if (!is_tuple(dot, 2)
            || !add_sibling(d, PyTuple_GET_ITEM(sibling, 2), PyTuple_GET_ITEM(sibling, 1), PyTuple_GET_ITEM(dot, 0),
                            PyTuple_GET_ITEM(dot, 1))) {
            return 0;
        }
    }
    d->shapes[d->rows].siblings = (uint64_t)width;
    return add_further(d, PyTuple_GET_ITEM(row, 1), d->dots + first, width, seen) && add_key(d, key);
}

/* How long a text or byte string is; `other` for what has no length. */
static Py_ssize_t
length_of(PyObject *payload, Py_ssize_t other)
{
    return PyUnicode_Check(payload) ? PyUnicode_GET_LENGTH(payload)
         : PyBytes_Check(payload)   ? PyBytes_GET_SIZE(payload)
                                    : other;
}

static int
measure_plain(Span *span, PyObject *plain)
{
    if (!is_tuple(plain, 5) || !is_name(PyTuple_GET_ITEM(plain, 0))) {
        return 0;
    }
    span->bytes += 16 + PyUnicode_GET_LENGTH(PyTuple_GET_ITEM(plain, 0)) + length_of(PyTuple_GET_ITEM(plain, 1), 8);
    span->siblings++;
    return 1;
}

static int
measure_other(Span *span, PyObject *pair)
{
    PyObject *key, *row, *siblings, *context;
    if (!is_tuple(pair, 2) || !is_name(key = PyTuple_GET_ITEM(pair, 0)) || !is_tuple(row = PyTuple_GET_ITEM(pair, 1), 2)
        || !PyTuple_CheckExact(siblings = PyTuple_GET_ITEM(row, 0)) || PyTuple_GET_SIZE(siblings) > WIDTH_MAX
        || !PyDict_CheckExact(context = PyTuple_GET_ITEM(row, 1))) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(siblings); i++) {
        if (!is_tuple(PyTuple_GET_ITEM(siblings, i), 3)) {
            return 0;
        }
        span->bytes += 32 + length_of(PyTuple_GET_ITEM(PyTuple_GET_ITEM(siblings, i), 2), 0);
    }
    span->bytes += 16 + PyUnicode_GET_LENGTH(key) + 20 * PyDict_GET_SIZE(context);
    span->siblings += PyTuple_GET_SIZE(siblings);
    span->said += PyDict_GET_SIZE(context);
    return 1;
}

/* How far the next block goes, and what it has to hold; 0 if there is what is no row, or a broad one. */
static int
measure(Span *span, const Given *given)
{
    const Py_ssize_t plain = PyList_GET_SIZE(given->plains);
    span->siblings = span->said = span->bytes = 0;
    span->end = span->begin;
    while (span->end < given->rows && span->bytes < given->bytes_max && span->end - span->begin < given->rows_max) {
        const Py_ssize_t at = span->end++;
        if (!(at < plain ? measure_plain(span, PyList_GET_ITEM(given->plains, at))
                         : measure_other(span, PyList_GET_ITEM(given->others, at - plain)))) {
            return 0;
        }
    }
    return 1;
}

/* Give each origin its number, in the order in which they come; 0 if there are very many. */
static int
name_origins(Draft *d)
{
    Py_ssize_t number = 0;
    for (Py_ssize_t i = 0; i < d->size; i++) {
        const uint64_t origin = d->dots[i].origin;
        if (d->named == 0 || d->origins[number] != origin) {
            for (number = 0; number < d->named && d->origins[number] != origin; number++) {
            }
        }
        if (number == d->named) {
            if (number == ORIGINS_MAX) {
                return 0;
            }
            d->origins[d->named++] = origin;
        }
        d->dots[i].origin = (uint64_t)number;
    }
    return 1;
}

static enum outcome
gather(Draft *d, const Given *given, const Span *span)
{
    const Py_ssize_t plain = PyList_GET_SIZE(given->plains), rows = span->end - span->begin;
    const Py_ssize_t size = span->siblings + span->said;
    d->keys = PyMem_New(PyObject *, rows);
    d->shapes = PyMem_New(Shape, rows);
    d->payloads = PyMem_New(PyObject *, span->siblings);
    d->kinds = PyMem_New(uint16_t, span->siblings);
    d->dots = PyMem_New(Dot, size);
    if (d->keys == NULL || d->shapes == NULL || d->payloads == NULL || d->kinds == NULL || d->dots == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    d->size = span->siblings;
    for (Py_ssize_t at = span->begin; at < span->end; at++) {
        PyObject *item = at < plain ? PyList_GET_ITEM(given->plains, at) : PyList_GET_ITEM(given->others, at - plain);
        if (!(at < plain ? add_plain(d, item)
                         : add_other(d, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1), size))) {
            return LEAVE;
        }
    }
    return d->size > 0 && name_origins(d) ? DONE : LEAVE;
}

/* --- its bytes ---------------------------------------------------------------------------------------------------- */

static unsigned char *
put_utf8(unsigned char *out, PyObject *text)
{
    const Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_IS_ASCII(text)) {
        memcpy(out, PyUnicode_DATA(text), (size_t)size);
        return out + size;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        const Py_UCS4 letter = PyUnicode_READ_CHAR(text, i);
        const int more = (letter >= 0x80) + (letter >= 0x800) + (letter >= 0x10000);
        *out++ = (unsigned char)(more == 0 ? letter : (0xFF00u >> (more + 1) & 0xFF) | letter >> 6 * more);
        for (int left = more - 1; left >= 0; left--) {
            *out++ = (unsigned char)(0x80 | (letter >> 6 * left & 0x3F));
        }
    }
    return out;
}

static unsigned char *
put_any_payload(unsigned char *out, PyObject *payload)
{
    if (PyUnicode_CheckExact(payload)) {
        return put_utf8(put_text_head(out, (size_t)utf8_bytes(payload)), payload);
    }
    if (PyBytes_Check(payload) && !PyBytes_CheckExact(payload)) {
        return put_packed(out, PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload));
    }
    return put_payload(out, payload);
}

static unsigned char *
put_keys(unsigned char *out, const Draft *d)
{
    out = put_text_head(out, d->keys_bytes);
    for (Py_ssize_t i = 0; i < d->rows; i++) {
        out = put_utf8(out, d->keys[i]);
    }
    return out;
}

static unsigned char *
put_lengths(unsigned char *out, const Draft *d)
{
    const Py_ssize_t last = PyUnicode_GET_LENGTH(d->keys[d->rows - 1]);
    Py_ssize_t size = d->rows;
    while (size > 1 && PyUnicode_GET_LENGTH(d->keys[size - 2]) == last) {
        size--;
    }
    out = put_array(out, (size_t)size);
    for (Py_ssize_t i = 0; i < size; i++) {
        out = put_uint(out, (uint64_t)PyUnicode_GET_LENGTH(d->keys[i]));
    }
    return out;
}

static unsigned char *
put_payloads(unsigned char *out, const Draft *d)
{
    out = put_array(out, (size_t)d->siblings);
    for (Py_ssize_t i = 0; i < d->siblings; i++) {
        out = put_any_payload(out, d->payloads[i]);
    }
    out = put_array(out, (size_t)d->size - 1);
    for (Py_ssize_t i = 1; i < d->size; i++) {
        out = put_int(out, (int64_t)d->dots[i].stamp - (int64_t)d->dots[i - 1].stamp);
    }
    return out;
}

static int
is_same(const Draft *d, unsigned column, Py_ssize_t one, Py_ssize_t other)
{
    switch (column) {
    case HAS_KINDS:
        return d->kinds[one] == d->kinds[other];
    case HAS_SHAPES:
        return d->shapes[one].siblings == d->shapes[other].siblings
            && d->shapes[one].further == d->shapes[other].further;
    default:
        return d->dots[one].origin == d->dots[other].origin;
    }
}

/* A column as runs: how many, and what. */
static unsigned char *
put_runs(unsigned char *out, const Draft *d, unsigned column, Py_ssize_t size)
{
    size_t runs = 1;
    for (Py_ssize_t i = 1; i < size; i++) {
        runs += !is_same(d, column, i, i - 1);
    }
    out = put_array(out, runs * (column == HAS_SHAPES ? 3 : 2));
    for (Py_ssize_t begin = 0, end; begin < size; begin = end) {
        for (end = begin + 1; end < size && is_same(d, column, begin, end); end++) {
        }
        out = put_uint(out, (uint64_t)(end - begin));
        if (column == HAS_SHAPES) {
            out = put_uint(put_uint(out, d->shapes[begin].siblings), d->shapes[begin].further);
        }
        else {
            out = put_uint(out, column == HAS_KINDS ? d->kinds[begin] : d->dots[begin].origin);
        }
    }
    return out;
}

static unsigned
form_of(const Draft *d)
{
    unsigned form = (d->rows > 1 ? HAS_LENGTHS : 0) | (d->named > 1 ? HAS_ORIGINS : 0);
    for (Py_ssize_t i = 0; i < d->siblings; i++) {
        form |= d->kinds[i] != 0 ? HAS_KINDS : 0;
    }
    for (Py_ssize_t i = 0; i < d->rows; i++) {
        form |= d->shapes[i].siblings != 1 || d->shapes[i].further != 0 ? HAS_SHAPES : 0;
    }
    return form;
}

static unsigned char *
put_origins(unsigned char *out, const Draft *d)
{
    if (d->named > 1) {
        out = put_array(out, (size_t)d->named);
    }
    for (Py_ssize_t i = 0; i < d->named; i++) {
        out = put_uint(out, d->origins[i]);
    }
    return out;
}

static unsigned char *
put_block(unsigned char *out, const Draft *d)
{
    const unsigned form = form_of(d);
    *out++ = (unsigned char)form;
    out = put_keys(out, d);
    if ((form & HAS_LENGTHS) != 0) {
        out = put_lengths(out, d);
    }
    out = (form & HAS_MANY) != 0 ? put_payloads(out, d) : put_any_payload(out, d->payloads[0]);
    if ((form & HAS_KINDS) != 0) {
        out = put_runs(out, d, HAS_KINDS, d->siblings);
    }
    if ((form & HAS_SHAPES) != 0) {
        out = put_runs(out, d, HAS_SHAPES, d->rows);
    }
    if ((form & HAS_ORIGINS) != 0) {
        out = put_runs(out, d, HAS_ORIGINS, d->size);
    }
    return put_origins(put_uint(out, d->dots[0].stamp), d);
}

/* More than a block can take: each number in it is counted at its longest. */
static size_t
bytes_max(const Draft *d)
{
    const size_t lists = 8 * HEAD_BYTES, a_row = 4 * UINT_BYTES_MAX, a_sibling = 2 * UINT_BYTES_MAX;
    const size_t a_dot = 3 * UINT_BYTES_MAX;
    return lists + d->keys_bytes + d->payloads_bytes + a_row * (size_t)d->rows + a_sibling * (size_t)d->siblings
         + a_dot * (size_t)d->size + (size_t)d->named * UINT_BYTES_MAX;
}

/* The next block; NULL without an exception if it is left. */
static PyObject *
encode_span(const Given *given, const Span *span)
{
    Draft d = {.packed_type = given->packed_type};
    PyObject *block = NULL;
    unsigned char *out = NULL;
    if (gather(&d, given, span) == DONE) {
        out = PyMem_Malloc(bytes_max(&d));
        block = out == NULL ? PyErr_NoMemory() : PyBytes_FromStringAndSize((char *)out, put_block(out, &d) - out);
    }
    PyMem_Free(out);
    PyMem_Free(d.keys);
    PyMem_Free(d.shapes);
    PyMem_Free(d.payloads);
    PyMem_Free(d.kinds);
    PyMem_Free(d.dots);
    return block;
}

/* A list of blocks; None if one of them is left to Python. */
PyObject *
encode_blocks(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 5 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1]) || !PyType_Check(args[2])
        || !PyType_IsSubtype((PyTypeObject *)args[2], &PyBytes_Type)) {
        return PyErr_Format(PyExc_TypeError, "encode_blocks takes two lists, a type of bytes and two limits");
    }
    const Given given = {args[0], args[1], args[2], PyList_GET_SIZE(args[0]) + PyList_GET_SIZE(args[1]),
                         PyLong_AsSsize_t(args[3]), PyLong_AsSsize_t(args[4])};
    PyObject *blocks = PyErr_Occurred() ? NULL : PyList_New(0);
    if (blocks != NULL && (given.bytes_max < 1 || given.rows_max < 1)) {
        PyErr_SetString(PyExc_ValueError, "a block has room for a row");
        Py_CLEAR(blocks);
    }
    for (Span span = {0}; blocks != NULL && span.begin < given.rows; span.begin = span.end) {
        PyObject *block = measure(&span, &given) ? encode_span(&given, &span) : NULL;
        int failed = block == NULL || PyList_Append(blocks, block) < 0;
        Py_XDECREF(block);
        if (failed) {
            Py_DECREF(blocks);
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
        }
    }
    return blocks;
}
