/* Reading records back: `records.take_records`. */

#include "kernel.h"

/* A record as it is handed on: its place in the log and its payload. */
static PyObject *
found_record(uint64_t place, const unsigned char *payload, size_t size)
{
    PyObject *number = PyLong_FromUnsignedLongLong(place), *pair = NULL;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)payload, (Py_ssize_t)size);
    if (number != NULL && bytes != NULL) {
        pair = PyTuple_Pack(2, number, bytes);
    }
    Py_XDECREF(number);
    Py_XDECREF(bytes);
    return pair;
}

/* How long the payload of the sound record is that begins here; -1 if there is none, or not all of it. */
static int64_t
sound_bytes(const unsigned char *at, const unsigned char *end, uint64_t offset, uint32_t seed)
{
    if (end - at < FRAME_BYTES || (uint32_t)big(at, 4) != seed) {
        return -1;
    }
    uint64_t length = big(at + 4, 4);
    if ((uint64_t)(end - at) - FRAME_BYTES < length) {
        return -1;
    }
    uint32_t start = seed ^ (uint32_t)(offset + FRAME_BYTES + length);
    return crc32_of(at + FRAME_BYTES, (size_t)length, start) == big(at + 8, 4) ? (int64_t)length : -1;
}

PyObject *
take_records(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t place, offset, seed;
    (void)module;
    if (count != 6 || !PyBytes_CheckExact(args[0]) || !as_number(args[2], &place) || !as_number(args[3], &offset)
        || !as_number(args[4], &seed) || seed > UINT32_MAX || !PyList_CheckExact(args[5])) {
        return PyErr_Format(PyExc_TypeError, "take_records takes bytes, a place in them, three numbers and a list");
    }
    const unsigned char *first = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const unsigned char *end = first + PyBytes_GET_SIZE(args[0]);
    Py_ssize_t at = PyLong_AsSsize_t(args[1]);
    int64_t size;
    if (at < 0 || at > PyBytes_GET_SIZE(args[0])) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a place is inside the bytes");
    }
    while ((size = sound_bytes(first + at, end, offset + (uint64_t)at, (uint32_t)seed)) >= 0) {
        PyObject *found = found_record(place + (uint64_t)at, first + at + FRAME_BYTES, (size_t)size);
        int failed = found == NULL || PyList_Append(args[5], found) < 0;
        Py_XDECREF(found);
        if (failed) {
            return NULL;
        }
        at += FRAME_BYTES + size;
    }
    return PyLong_FromSsize_t(at);
}
