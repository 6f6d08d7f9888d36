/* The part of msgpack that writes and blocks need: written in its shortest form, and read back. */

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

unsigned char *
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

/* A size behind a byte that says how long it is. */
static unsigned char *
put_size(unsigned char *out, unsigned char head, size_t size)
{
    int power = size <= 0xFF ? 0 : size <= 0xFFFF ? 1 : 2;
    *out++ = (unsigned char)(head + power);
    return put_big(out, size, 1 << power);
}

unsigned char *
put_array(unsigned char *out, size_t size)
{
    if (size < 16) {
        *out++ = (unsigned char)(0x90 | size);
        return out;
    }
    int power = size <= 0xFFFF ? 1 : 2;
    *out++ = (unsigned char)(0xDB + power);
    return put_big(out, size, 1 << power);
}

/* What stands before the bytes of a text. */
unsigned char *
put_text_head(unsigned char *out, size_t size)
{
    if (size < 32) {
        *out++ = (unsigned char)(0xA0 | size);
        return out;
    }
    return put_size(out, 0xD9, size);
}

unsigned char *
put_text(unsigned char *out, const void *text, size_t size)
{
    out = put_text_head(out, size);
    memcpy(out, text, size);
    return out + size;
}

static unsigned char *
put_bytes(unsigned char *out, const void *bytes, size_t size)
{
    out = put_size(out, 0xC4, size);
    memcpy(out, bytes, size);
    return out + size;
}

/* A packed list, dict or datetime: extension 1. */
unsigned char *
put_packed(unsigned char *out, const void *bytes, size_t size)
{
    if (size == 1 || size == 2 || size == 4 || size == 8 || size == 16) {
        *out++ = (unsigned char)(size == 1 ? 0xD4 : size == 2 ? 0xD5 : size == 4 ? 0xD6 : size == 8 ? 0xD7 : 0xD8);
    }
    else {
        out = put_size(out, 0xC7, size);
    }
    *out++ = 1;
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

/* A scalar of the kind that `is_simple` lets pass. */
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

/* --- reading: each returns where it ended, or NULL where the bytes are of another kind or cut off ---------------- */

/* A number behind a byte that says how long it is: `power` of two bytes. */
static const unsigned char *
get_big(const unsigned char *at, const unsigned char *end, int power, uint64_t *value)
{
    int bytes = 1 << power;
    if (end - at < bytes) {
        return NULL;
    }
    *value = big(at, bytes);
    return at + bytes;
}

/* A number written without a sign. */
const unsigned char *
get_uint(const unsigned char *at, const unsigned char *end, uint64_t *value)
{
    if (at == end) {
        return NULL;
    }
    unsigned char head = *at++;
    if (head < 0x80) {
        *value = head;
        return at;
    }
    return head >= 0xCC && head <= 0xCF ? get_big(at, end, head - 0xCC, value) : NULL;
}

static int64_t
signed_of(uint64_t value, int power)
{
    int unused = 64 - (8 << power);
    return (int64_t)(value << unused) >> unused;
}

/* A number of either sign, below 2**63. */
const unsigned char *
get_int(const unsigned char *at, const unsigned char *end, int64_t *value)
{
    uint64_t number;
    if (at == end) {
        return NULL;
    }
    unsigned char head = *at;
    if (head >= 0xE0) {
        *value = (int64_t)head - 0x100;
        return at + 1;
    }
    if (head >= 0xD0 && head <= 0xD3) {
        at = get_big(at + 1, end, head - 0xD0, &number);
        if (at != NULL) {
            *value = signed_of(number, head - 0xD0);
        }
        return at;
    }
    at = get_uint(at, end, &number);
    if (at == NULL || number > INT64_MAX) {
        return NULL;
    }
    *value = (int64_t)number;
    return at;
}

/* The header of a list of no more items than there are bytes behind it. */
const unsigned char *
get_array(const unsigned char *at, const unsigned char *end, uint64_t *size)
{
    if (at == end) {
        return NULL;
    }
    unsigned char head = *at++;
    *size = head & 0x0F;
    if ((head & 0xF0) != 0x90) {
        at = head == 0xDC || head == 0xDD ? get_big(at, end, head - 0xDB, size) : NULL;
    }
    return at != NULL && *size <= (uint64_t)(end - at) ? at : NULL;
}

/* `size` bytes, of which `*content` is the first. */
static const unsigned char *
get_content(const unsigned char *at, const unsigned char *end, const unsigned char **content, size_t size)
{
    if (at == NULL || (size_t)(end - at) < size) {
        return NULL;
    }
    *content = at;
    return at + size;
}

/* The bytes of a text; whether they are UTF-8 is not looked at. */
const unsigned char *
get_text(const unsigned char *at, const unsigned char *end, const unsigned char **text, size_t *size)
{
    if (at == end) {
        return NULL;
    }
    unsigned char head = *at++;
    uint64_t length = head & 0x1F;
    if ((head & 0xE0) != 0xA0) {
        at = head >= 0xD9 && head <= 0xDB ? get_big(at, end, head - 0xD9, &length) : NULL;
    }
    *size = (size_t)length;
    return get_content(at, end, text, *size);
}

/* A packed list, dict or datetime: what `wire.known_ext` makes of extension 1. */
static const unsigned char *
get_packed(const unsigned char *at, const unsigned char *end, PyObject **payload, PyObject *known_ext)
{
    const unsigned char *content;
    unsigned char head = *at++;
    uint64_t size = head >= 0xD4 ? (uint64_t)1 << (head - 0xD4) : 0;
    if (head < 0xD4 && (at = get_big(at, end, head - 0xC7, &size)) == NULL) {
        return NULL;
    }
    if (at == end || *at++ != 1 || (at = get_content(at, end, &content, (size_t)size)) == NULL) {
        return NULL;
    }
    *payload = PyObject_CallFunction(known_ext, "iy#", 1, content, (Py_ssize_t)size);
    return *payload == NULL ? NULL : at;
}

static double
double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A payload, as a new reference; NULL without an exception where it is of a kind that is not read here. */
const unsigned char *
get_payload(const unsigned char *at, const unsigned char *end, PyObject **payload, PyObject *known_ext)
{
    const unsigned char *content;
    uint64_t value;
    size_t size;
    *payload = NULL;
    if (at == end) {
        return NULL;
    }
    unsigned char head = *at;
    if ((head & 0xE0) == 0xA0 || (head >= 0xD9 && head <= 0xDB)) {
        if ((at = get_text(at, end, &content, &size)) != NULL) {
            *payload = PyUnicode_DecodeUTF8((const char *)content, (Py_ssize_t)size, NULL);
        }
    }
    else if (head < 0x80 || (head >= 0xCC && head <= 0xCF)) {
        if ((at = get_uint(at, end, &value)) != NULL) {
            *payload = PyLong_FromUnsignedLongLong(value);
        }
    }
    else if (head >= 0xD0 && head <= 0xD3) {
        if ((at = get_big(at + 1, end, head - 0xD0, &value)) != NULL) {
            *payload = PyLong_FromLongLong(signed_of(value, head - 0xD0));
        }
    }
    else if (head >= 0xE0) {
        *payload = PyLong_FromLong((long)head - 0x100);
        at++;
    }
    else if (head >= 0xC4 && head <= 0xC6) {
        at = get_big(at + 1, end, head - 0xC4, &value);
        if (at != NULL && (at = get_content(at, end, &content, (size_t)value)) != NULL) {
            *payload = PyBytes_FromStringAndSize((const char *)content, (Py_ssize_t)value);
        }
    }
    else if (head == 0xCB) {
        if ((at = get_big(at + 1, end, 3, &value)) != NULL) {
            *payload = PyFloat_FromDouble(double_of(value));
        }
    }
    else if (head == 0xC0 || head == 0xC2 || head == 0xC3) {
        *payload = Py_NewRef(head == 0xC0 ? Py_None : head == 0xC3 ? Py_True : Py_False);
        at++;
    }
    else if ((head >= 0xC7 && head <= 0xC9) || (head >= 0xD4 && head <= 0xD8)) {
        at = get_packed(at, end, payload, known_ext);
    }
    else {
        return NULL;
    }
    return *payload == NULL ? NULL : at;
}
