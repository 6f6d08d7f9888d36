/* The columns of a block, for `decode_block`: passed over once, each count compared with the bytes that are left. What is
   not as it should be is left. */

#include "decode.h"

enum { KEY_BYTES_MAX = 4 * 1024, UTF8_BYTES_MAX = 4 };

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

/* All of them, compared with each other. */
enum outcome
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
