/* Writing msgpack, in its shortest form. */

#include "kernel.h"

unsigned char *
put_big(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        *out++ = (unsigned char)(value >> (8 * i));
    }
    return out;
}

unsigned char *
put_uint(unsigned char *out, uint64_t value)
{
    if (value < 0x80) {
        *out++ = (unsigned char)value;
        return out;
    }
    int power = value <= 0xFF ? 0 : value <= 0xFFFF ? 1 : value <= 0xFFFFFFFFu ? 2 : 3;
    *out++ = (unsigned char)(0xCC + power);
    return put_big(out, value, 1 << power);
}

static unsigned char *
put_int(unsigned char *out, int64_t value)
{
    if (value >= 0) {
        return put_uint(out, (uint64_t)value);
    }
    if (value >= -32) {
        *out++ = (unsigned char)(0x100 + value);
        return out;
    }
    int power = value >= INT8_MIN ? 0 : value >= INT16_MIN ? 1 : value >= INT32_MIN ? 2 : 3;
    *out++ = (unsigned char)(0xD0 + power);
    return put_big(out, (uint64_t)value, 1 << power);
}

unsigned char *
put_text(unsigned char *out, const void *text, size_t size)
{
    if (size < 32) {
        *out++ = (unsigned char)(0xA0 | size);
    }
    else {
        int power = size <= 0xFF ? 0 : size <= 0xFFFF ? 1 : 2;
        *out++ = (unsigned char)(0xD9 + power);
        out = put_big(out, size, 1 << power);
    }
    memcpy(out, text, size);
    return out + size;
}

static unsigned char *
put_bytes(unsigned char *out, const void *bytes, size_t size)
{
    int power = size <= 0xFF ? 0 : size <= 0xFFFF ? 1 : 2;
    *out++ = (unsigned char)(0xC4 + power);
    out = put_big(out, size, 1 << power);
    memcpy(out, bytes, size);
    return out + size;
}

static unsigned char *
put_float(unsigned char *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    *out++ = 0xCB;
    return put_big(out, bits, 8);
}

/* A payload that `is_simple` let pass. */
unsigned char *
put_payload(unsigned char *out, PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        return put_text(out, PyUnicode_1BYTE_DATA(value), (size_t)PyUnicode_GET_LENGTH(value));
    }
    if (PyBytes_CheckExact(value)) {
        return put_bytes(out, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        return put_int(out, PyLong_AsLongLongAndOverflow(value, &overflow));
    }
    if (PyFloat_CheckExact(value)) {
        return put_float(out, PyFloat_AS_DOUBLE(value));
    }
    *out++ = value == Py_None ? 0xC0 : value == Py_True ? 0xC3 : 0xC2;
    return out;
}
