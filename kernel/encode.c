/* `codec.encode_block`, for rows whose numbers and texts are of the usual kinds; its layout stands there. Any other block
   is left.

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
    size_t bytes;                       /* of keys and payloads */
    size_t keys_bytes;
    uint64_t origins[ORIGINS_MAX];      /* in the order in which they first come */
    Py_ssize_t named;
} Draft;

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
    const Py_ssize_t bytes = is_name(key) ? utf8_bytes(key) : -1;
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
    d->bytes += bytes;
    d->payloads[d->siblings] = payload;
    d->kinds[d->siblings++] = (uint16_t)number;
    return 1;
}

static int
add_plain(Draft *d, PyObject *plain)
{
    if (!is_tuple(plain, 5)) {
        return 0;
    }
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
        PyObject *sibling = PyTuple_GET_ITEM(siblings, i), *dot;
        if (!is_tuple(sibling, 3) || !is_tuple(dot = PyTuple_GET_ITEM(sibling, 0), 2)
            || !add_sibling(d, PyTuple_GET_ITEM(sibling, 2), PyTuple_GET_ITEM(sibling, 1), PyTuple_GET_ITEM(dot, 0),
                            PyTuple_GET_ITEM(dot, 1))) {
            return 0;
        }
    }
    d->shapes[d->rows].siblings = (uint64_t)width;
    return add_further(d, PyTuple_GET_ITEM(row, 1), d->dots + first, width, seen) && add_key(d, key);
}

/* How many siblings the others have, and how much their contexts say; 0 if one of them is no row, or a broad one. */
static int
count_others(PyObject *others, Py_ssize_t *siblings, Py_ssize_t *said)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others); i++) {
        PyObject *pair = PyList_GET_ITEM(others, i), *row;
        if (!is_tuple(pair, 2) || !is_tuple(row = PyTuple_GET_ITEM(pair, 1), 2)
            || !PyTuple_CheckExact(PyTuple_GET_ITEM(row, 0)) || !PyDict_CheckExact(PyTuple_GET_ITEM(row, 1))
            || PyTuple_GET_SIZE(PyTuple_GET_ITEM(row, 0)) > WIDTH_MAX) {
            return 0;
        }
        *siblings += PyTuple_GET_SIZE(PyTuple_GET_ITEM(row, 0));
        *said += PyDict_GET_SIZE(PyTuple_GET_ITEM(row, 1));
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
gather(Draft *d, PyObject *plains, PyObject *others)
{
    const Py_ssize_t plain = PyList_GET_SIZE(plains), rows = plain + PyList_GET_SIZE(others);
    Py_ssize_t siblings = plain, said = 0;
    if (!count_others(others, &siblings, &said) || siblings + said == 0) {
        return LEAVE;
    }
    d->keys = PyMem_New(PyObject *, rows);
    d->shapes = PyMem_New(Shape, rows);
    d->payloads = PyMem_New(PyObject *, siblings);
    d->kinds = PyMem_New(uint16_t, siblings);
    d->dots = PyMem_New(Dot, siblings + said);
    if (d->keys == NULL || d->shapes == NULL || d->payloads == NULL || d->kinds == NULL || d->dots == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    d->size = siblings;
    for (Py_ssize_t i = 0; i < plain; i++) {
        if (!add_plain(d, PyList_GET_ITEM(plains, i))) {
            return LEAVE;
        }
    }
    for (Py_ssize_t i = 0; i < rows - plain; i++) {
        PyObject *pair = PyList_GET_ITEM(others, i);
        if (!add_other(d, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), siblings + said)) {
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
    return lists + d->keys_bytes + d->bytes + a_row * (size_t)d->rows + a_sibling * (size_t)d->siblings
         + a_dot * (size_t)d->size + (size_t)d->named * UINT_BYTES_MAX;
}

/* A block of plain rows and others; None if it is left to Python. */
PyObject *
encode_block(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1]) || !PyType_Check(args[2])
        || !PyType_IsSubtype((PyTypeObject *)args[2], &PyBytes_Type)) {
        return PyErr_Format(PyExc_TypeError, "encode_block takes two lists and a type of bytes");
    }
    Draft d = {.packed_type = args[2]};
    PyObject *block = NULL;
    unsigned char *out = NULL;
    enum outcome outcome = gather(&d, args[0], args[1]);
    if (outcome == DONE) {
        out = PyMem_Malloc(bytes_max(&d));
        block = out == NULL ? PyErr_NoMemory() : PyBytes_FromStringAndSize((char *)out, put_block(out, &d) - out);
    }
    else if (outcome == LEAVE) {
        block = Py_NewRef(Py_None);
    }
    PyMem_Free(out);
    PyMem_Free(d.keys);
    PyMem_Free(d.shapes);
    PyMem_Free(d.payloads);
    PyMem_Free(d.kinds);
    PyMem_Free(d.dots);
    return block;
}
