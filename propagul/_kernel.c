/* `set` and `get` of one key, the two calls that programs make most, for the case that is nearly all of them.

   What lives here: the same steps as `propagul.crdt.hot.local_writer` and `StateMap.get`, over the same objects: the
   table's dict, lists and arrays, the replica's clock, the log's mapped window. Nothing is kept here that Python does
   not see at once. Whatever is not the simple case (see `write_row`) is left to the Python function that stands behind,
   with nothing done; so every rule of the store is written once, in Python.

   Rule of this file: from the first check to the last store no Python code runs and the GIL is not released. That is
   why no lock is taken: it is enough that nobody holds the store's lock. Everything that can fail comes before
   everything that cannot; what failed leaves no trace; a replaced value is let go of last.

   How the objects are reached: fields that Python replaces stand in `__slots__`, and a slot's place is asked of its
   descriptor once; dicts and lists are bound once, as `hot` binds them; arrays are leased through the buffer protocol,
   which keeps Python from moving them, and `Table` asks for the lease back before it grows. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef Py_GIL_DISABLED
#error "the kernel relies on the GIL: a free-threaded build of Python runs without it"
#endif

enum outcome { DONE, LEAVE, FAILED };

enum { FRAME_BYTES = 12, UINT_BYTES_MAX = 9, COLUMNS = 4 };

/* --- CRC-32 as zlib computes it, eight bytes a step (Kounavis and Berry, 2005) ------------------------------------ */

static uint32_t crc_table[8][256];

static void
make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = c & 1 ? (c >> 1) ^ 0xEDB88320u : c >> 1;
        }
        crc_table[0][i] = c;
    }
    for (int k = 1; k < 8; k++) {
        for (int i = 0; i < 256; i++) {
            uint32_t c = crc_table[k - 1][i];
            crc_table[k][i] = (c >> 8) ^ crc_table[0][c & 0xFF];
        }
    }
}

static uint32_t
crc32_of(const unsigned char *at, size_t size, uint32_t start)
{
    uint32_t c = ~start;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low = c ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        c = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF]
            ^ crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]]
            ^ crc_table[0][at[7]];
    }
    while (size--) {
        c = (c >> 8) ^ crc_table[0][(c ^ *at++) & 0xFF];
    }
    return ~c;
}

/* --- msgpack, in its shortest form -------------------------------------------------------------------------------- */

static unsigned char *
put_big(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        *out++ = (unsigned char)(value >> (8 * i));
    }
    return out;
}

static unsigned char *
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

static unsigned char *
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

static int
is_text(PyObject *object)
{
    return PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object);
}

/* A payload that `is_simple` let pass. */
static unsigned char *
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

/* --- reaching Python's objects ------------------------------------------------------------------------------------ */

/* Where an object keeps a field of its class's `__slots__`; good for as long as the object is held. */
static PyObject **
slot_of(PyObject *object, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)Py_TYPE(object), name);
    if (found == NULL) {
        return NULL;
    }
    PyObject **slot = NULL;
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        PyMemberDescrObject *member = (PyMemberDescrObject *)found;
        if (member->d_member->type == T_OBJECT_EX && PyObject_TypeCheck(object, PyDescr_TYPE(member))) {
            slot = (PyObject **)((char *)object + member->d_member->offset);
        }
    }
    Py_DECREF(found);
    if (slot == NULL) {
        PyErr_Format(PyExc_TypeError, "%.100s.%s is no slot", Py_TYPE(object)->tp_name, name);
    }
    else if (*slot == NULL) {
        PyErr_Format(PyExc_AttributeError, "%s is not set", name);
        slot = NULL;
    }
    return slot;
}

static int
take_slot(PyObject ***slot, PyObject *object, const char *name)
{
    *slot = slot_of(object, name);
    return *slot == NULL ? -1 : 0;
}

/* An attribute that is bound for good, of this exact type. */
static int
take(PyObject **held, PyObject *object, const char *name, PyTypeObject *type)
{
    *held = PyObject_GetAttrString(object, name);
    if (*held != NULL && type != NULL && !Py_IS_TYPE(*held, type)) {
        PyErr_Format(PyExc_TypeError, "%s is a %.100s", name, Py_TYPE(*held)->tp_name);
        return -1;
    }
    return *held == NULL ? -1 : 0;
}

static int
as_number(PyObject *object, uint64_t *number)
{
    if (object == NULL || !PyLong_CheckExact(object)) {
        return 0;
    }
    *number = PyLong_AsUnsignedLongLong(object);
    if (*number == (uint64_t)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

/* An int that was read or written before, held so that no other object can have its address. */
typedef struct {
    PyObject *object;
    uint64_t number;
} Known;

static int
as_known(Known *known, PyObject *object, uint64_t *number)
{
    if (object != NULL && object == known->object) {
        *number = known->number;
        return 1;
    }
    return as_number(object, number);
}

static void
know(Known *known, PyObject *object, uint64_t number)
{
    PyObject *former = known->object;
    known->object = Py_NewRef(object);
    known->number = number;
    Py_XDECREF(former);
}

static int
is_zero(PyObject *object)
{
    uint64_t number;
    return as_number(object, &number) && number == 0;
}

/* Whether a value is a scalar as it is; containers are packed, and evicted ones are marked, by subclasses. */
static int
is_scalar(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) || value == Py_None
        || PyBool_Check(value) || PyBytes_CheckExact(value);
}

static void
exchange(PyObject **slot, PyObject *fresh)
{
    PyObject *former = *slot;
    *slot = Py_NewRef(fresh);
    Py_XDECREF(former);
}

/* --- what both callables are -------------------------------------------------------------------------------------- */

#define SHORTCUT_HEAD                                                                                                  \
    PyObject_HEAD vectorcallfunc vectorcall;                                                                           \
    PyObject *dict;             /* what functools.update_wrapper leaves: name, docstring, __wrapped__ */               \
    PyObject *function;         /* the method in Python */                                                             \
    PyObject *owner;            /* whose method it is; with any other first argument, the method in Python decides */  \
    PyObject **open_transactions;                                                                                      \
    PyObject *rows, *slots, *values;

typedef struct {
    SHORTCUT_HEAD
} Shortcut;

typedef struct {
    SHORTCUT_HEAD
    PyObject *replica, *table, *keys, *special, *free, *captures, *journal_of_slots, *locked;
    PyObject **closed, **home, **waits;                                /* of the owner */
    PyObject **watched, **origin, **minted, **clock;                   /* of the replica */
    PyObject **begin, **newest;                                        /* of the order of arrival */
    PyTypeObject *clock_type;
    Known known_origin, known_stamp, known_begin;
    Py_ssize_t last;                                                   /* where a clock keeps `last` */
    Py_ssize_t key_bytes_max, value_bytes_max, chunk;
    uint64_t ahead_max;
    PyObject *column_of[COLUMNS];                                      /* stamps, origins, arrivals, kinds */
    Py_buffer lease[COLUMNS];
    int leased;
    PyObject *journal, *log, *pressure, *prefix;                       /* all NULL without a log */
    PyObject **sync_each, **grown, **is_pressing, **writer;
    PyTypeObject *writer_type;
    Py_ssize_t end, room, place, seed, window, window_start;           /* where a segment's writer keeps them */
} Setter;

static const char *const COLUMN_NAMES[COLUMNS] = {"_stamps", "_origins", "_arrivals", "_kinds"};
enum { STAMPS, ORIGINS, ARRIVALS, KINDS };

static PyObject *
at_offset(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

static PyObject *
get(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    Shortcut *k = (Shortcut *)self;
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    if ((count == 2 || count == 3) && names == NULL && args[0] == k->owner && PyUnicode_CheckExact(args[1])
        && is_zero(*k->open_transactions)) {
        PyObject *slot = PyDict_GetItemWithError(k->slots, args[1]);
        if (slot == NULL) {
            return PyErr_Occurred() ? NULL : Py_NewRef(count == 3 ? args[2] : Py_None);
        }
        uint64_t at;
        if (as_number(slot, &at) && at < (uint64_t)PyList_GET_SIZE(k->values)) {
            PyObject *found = PyList_GET_ITEM(k->values, (Py_ssize_t)at);
            if (is_scalar(found)) {
                return Py_NewRef(found);
            }
        }
    }
    return PyObject_Vectorcall(k->function, args, flags, names);
}

/* --- set ---------------------------------------------------------------------------------------------------------- */

static void
end_lease(Setter *k)
{
    while (k->leased > 0) {
        PyBuffer_Release(&k->lease[--k->leased]);
    }
}

static int
begin_lease(Setter *k)
{
    while (k->leased < COLUMNS) {
        Py_buffer *lease = &k->lease[k->leased];
        if (PyObject_GetBuffer(k->column_of[k->leased], lease, PyBUF_WRITABLE | PyBUF_FORMAT) < 0) {
            end_lease(k);
            return -1;
        }
        k->leased++;
        const char *format = k->leased - 1 == KINDS ? "H" : "Q";
        if (lease->format == NULL || strcmp(lease->format, format) != 0) {
            PyErr_Format(PyExc_TypeError, "%s is no array of %s", COLUMN_NAMES[k->leased - 1], format);
            end_lease(k);
            return -1;
        }
    }
    return 0;
}

static int
is_key(Setter *k, PyObject *key)
{
    if (!is_text(key)) {
        return 0;
    }
    Py_ssize_t size = PyUnicode_GET_LENGTH(key);
    return size > 0 && size <= k->key_bytes_max && PyUnicode_1BYTE_DATA(key)[0] != 0;
}

/* Whether `freeze` would take the value as it is, and `put_payload` knows it. */
static int
is_simple(Setter *k, PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        return PyUnicode_IS_COMPACT_ASCII(value) && PyUnicode_GET_LENGTH(value) <= k->value_bytes_max;
    }
    if (PyBytes_CheckExact(value)) {
        return PyBytes_GET_SIZE(value) <= k->value_bytes_max;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        PyLong_AsLongLongAndOverflow(value, &overflow);
        return !overflow;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        return number == number && !(number == 0.0 && signbit(number)); /* -0.0 is kept as 0.0 */
    }
    return value == Py_None || PyBool_Check(value);
}

static size_t
size_of(PyObject *value)
{
    return PyUnicode_CheckExact(value) ? (size_t)PyUnicode_GET_LENGTH(value)
         : PyBytes_CheckExact(value)   ? (size_t)PyBytes_GET_SIZE(value)
                                       : 8;
}

/* Whether nothing forbids the short way now: see `StateMap.set` and `local_writer`. */
static int
is_open(Setter *k)
{
    return *k->closed == Py_False && *k->waits == Py_False && *k->watched == Py_False
        && is_zero(*k->open_transactions) && PyList_GET_SIZE(k->captures) == 0
        && (k->journal == NULL || (*k->is_pressing == Py_False && *k->sync_each == Py_False));
}

/* Whether nobody is inside the store's lock: 1, 0, or -1 with an exception. */
static int
is_free(Setter *k)
{
    PyObject *held = PyObject_CallNoArgs(k->locked);
    if (held == NULL) {
        return -1;
    }
    Py_DECREF(held);
    return held == Py_False;
}

/* The next stamp of a clock; 0 where the long way must see to it. */
static uint64_t
next_stamp(Setter *k, PyObject *clock)
{
    struct timespec now;
    uint64_t last;
    if (!as_known(&k->known_stamp, at_offset(clock, k->last), &last) || last >= INT64_MAX
        || clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0) {
        return 0;
    }
    uint64_t wall = ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) >> 10;
    uint64_t stamp = last + 1;
    if (wall > stamp) {
        return wall;
    }
    return stamp - wall > k->ahead_max ? 0 : stamp;
}

/* A record on its way into the log's window. */
typedef struct {
    PyObject *writer;       /* borrowed */
    Py_buffer window;
    unsigned char *at;
    uint64_t start, seed;
    size_t body;            /* bytes of its event, once that is there */
} Record;

/* Find the place of a record of at most `most` bytes: DONE, or LEAVE where Python must make room or has something to
   do at that place. */
static enum outcome
find_place(Setter *k, Record *record, uint64_t most)
{
    PyObject *writer = *k->writer, *window;
    uint64_t end, room, place, window_start, grown;
    if (writer == NULL || !Py_IS_TYPE(writer, k->writer_type) || !as_number(at_offset(writer, k->end), &end)
        || !as_number(at_offset(writer, k->room), &room) || !as_number(at_offset(writer, k->place), &place)
        || !as_number(at_offset(writer, k->seed), &record->seed) || !as_number(*k->grown, &grown)
        || !as_number(at_offset(writer, k->window_start), &window_start)) {
        return LEAVE;
    }
    if (end < window_start || room < end || room - end < most || (place | end) >> 20 != grown) {
        return LEAVE;
    }
    window = at_offset(writer, k->window);
    if (window == NULL || PyObject_GetBuffer(window, &record->window, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return LEAVE;
    }
    if ((uint64_t)record->window.len < end - window_start + most) {
        PyBuffer_Release(&record->window);
        return LEAVE;
    }
    record->writer = writer;
    record->start = end;
    record->at = (unsigned char *)record->window.buf + (end - window_start);
    return DONE;
}

/* How long the record of a write is at most. */
static uint64_t
record_bytes_max(Setter *k, PyObject *key, PyObject *value)
{
    return FRAME_BYTES + (uint64_t)PyBytes_GET_SIZE(k->prefix) + 2 * UINT_BYTES_MAX + 5
        + (uint64_t)PyUnicode_GET_LENGTH(key) + 1 + 5 + size_of(value);
}

/* Put the event of `fold.encode_batch` behind the place of its frame. It is no record yet. */
static void
put_event(Setter *k, Record *record, PyObject *key, PyObject *value, uint64_t stamp, uint64_t origin)
{
    unsigned char *begin = record->at + FRAME_BYTES, *out = begin;
    memcpy(out, PyBytes_AS_STRING(k->prefix), (size_t)PyBytes_GET_SIZE(k->prefix));
    out = put_uint(out + PyBytes_GET_SIZE(k->prefix), stamp);
    out = put_uint(out, origin);
    out = put_text(out, PyUnicode_1BYTE_DATA(key), (size_t)PyUnicode_GET_LENGTH(key));
    *out++ = 0;
    out = put_payload(out, value);
    record->body = (size_t)(out - begin);
}

static uint64_t
end_of(Record *record)
{
    return record->start + FRAME_BYTES + record->body;
}

/* Make it one. The mark comes last: who dies or reads in between leaves or finds none. */
static void
put_frame(Record *record)
{
    unsigned char frame[FRAME_BYTES], *event = record->at + FRAME_BYTES;
    put_big(frame, record->seed, 4);
    put_big(frame + 4, record->body, 4);
    put_big(frame + 8, crc32_of(event, record->body, (uint32_t)(record->seed ^ end_of(record))), 4);
    memcpy(record->at + 4, frame + 4, FRAME_BYTES - 4);
    atomic_thread_fence(memory_order_release);
    memcpy(record->at, frame, 4);
}

/* What stands behind the last record is zeros. */
static void
wipe(Record *record)
{
    memset(record->at + FRAME_BYTES, 0, record->body);
}

static void
drop_last(PyObject *list)
{
    Py_ssize_t size = PyList_GET_SIZE(list);
    if (PyList_SetSlice(list, size - 1, size, NULL) < 0) {
        PyErr_Clear(); /* taking away from a list's end needs no memory */
    }
}

/* Give a key the next slot, with its payload in it; -1 and no trace if there is no memory. */
static int
add_key(Setter *k, PyObject *key, PyObject *value, PyObject *slot)
{
    if (PyList_Append(k->keys, key) < 0) {
        return -1;
    }
    if (PyList_Append(k->values, value) < 0) {
        drop_last(k->keys);
        return -1;
    }
    if (PyDict_SetItem(k->slots, key, slot) < 0) {
        drop_last(k->values);
        drop_last(k->keys);
        return -1;
    }
    return 0;
}

/* What one write needs, found and checked by `prepare` without a change to anything. */
typedef struct {
    PyObject *clock, *slot, *newest;    /* borrowed; `slot` is NULL for a new key */
    uint64_t stamp, origin, begin, arrival;
    Py_ssize_t at;
} Write;

static enum outcome
prepare(Setter *k, PyObject *key, Write *write)
{
    int nobody = is_free(k);
    if (nobody <= 0) {
        return nobody < 0 ? FAILED : LEAVE;
    }
    write->clock = *k->clock;
    write->newest = *k->newest;
    if (write->clock == NULL || !Py_IS_TYPE(write->clock, k->clock_type) || write->newest == NULL
        || !PyList_CheckExact(write->newest)
        || PyList_GET_SIZE(write->newest) + 1 >= k->chunk || !as_known(&k->known_origin, *k->origin, &write->origin)
        || !as_known(&k->known_begin, *k->begin, &write->begin)) {
        return LEAVE;
    }
    write->arrival = write->begin + (uint64_t)PyList_GET_SIZE(write->newest);
    if ((write->stamp = next_stamp(k, write->clock)) == 0) {
        return LEAVE;
    }
    if (k->leased < COLUMNS && begin_lease(k) < 0) {
        return FAILED;
    }
    Py_ssize_t columns = k->lease[ORIGINS].len / 8;
    write->slot = PyDict_GetItemWithError(k->slots, key);
    if (write->slot == NULL) {
        if (PyErr_Occurred()) {
            return FAILED;
        }
        write->at = PyList_GET_SIZE(k->keys);
        return PyList_GET_SIZE(k->free) == 0 && write->at == PyList_GET_SIZE(k->values) && write->at < columns ? DONE
                                                                                                               : LEAVE;
    }
    uint64_t at;
    if (!as_number(write->slot, &at) || at >= (uint64_t)columns || at >= (uint64_t)PyList_GET_SIZE(k->values)
        || ((uint64_t *)k->lease[ORIGINS].buf)[at] != write->origin) {
        return LEAVE;
    }
    write->at = (Py_ssize_t)at;
    if (PyDict_GET_SIZE(k->special) != 0) {
        int special = PyDict_Contains(k->special, write->slot);
        if (special != 0) {
            return special < 0 ? FAILED : LEAVE;
        }
    }
    return is_scalar(PyList_GET_ITEM(k->values, write->at)) ? DONE : LEAVE;
}

/* Enter a prepared write: first what needs memory, then the log, then the row, and the former value is let go of last.
   `record` is NULL without a log. */
static enum outcome
enter(Setter *k, Write *write, Record *record, PyObject *key, PyObject *value)
{
    enum outcome outcome = FAILED;
    PyObject *former = NULL, *end = record == NULL ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(end_of(record));
    PyObject *stamp = PyLong_FromUnsignedLongLong(write->stamp);
    PyObject *slot = write->slot != NULL ? Py_NewRef(write->slot) : PyLong_FromSsize_t(write->at);
    if (end == NULL || stamp == NULL || slot == NULL || PyList_Append(write->newest, slot) < 0) {
        goto finish;
    }
    if (write->slot == NULL && add_key(k, key, value, slot) < 0) {
        drop_last(write->newest);
        goto finish;
    }
    outcome = DONE;
    if (record != NULL) {
        put_frame(record);
        exchange((PyObject **)((char *)record->writer + k->end), end);
    }
    if (write->slot != NULL) {
        former = PyList_GET_ITEM(k->values, write->at);
        PyList_SET_ITEM(k->values, write->at, Py_NewRef(value));
    }
    ((uint64_t *)k->lease[ORIGINS].buf)[write->at] = write->origin;
    ((uint16_t *)k->lease[KINDS].buf)[write->at] = 0;
    ((uint64_t *)k->lease[STAMPS].buf)[write->at] = write->stamp;
    ((uint64_t *)k->lease[ARRIVALS].buf)[write->at] = write->arrival;
    exchange((PyObject **)((char *)write->clock + k->last), stamp);
    exchange(k->minted, stamp);
    know(&k->known_stamp, stamp, write->stamp);
    if (*k->begin != k->known_begin.object) {
        know(&k->known_begin, *k->begin, write->begin);
    }
    if (*k->origin != k->known_origin.object) {
        know(&k->known_origin, *k->origin, write->origin);
    }
finish:
    Py_XDECREF(end);
    Py_XDECREF(stamp);
    Py_XDECREF(slot);
    Py_XDECREF(former);
    return outcome;
}

static enum outcome
write_row(Setter *k, PyObject *key, PyObject *value)
{
    Write write;
    if (!is_open(k) || !is_key(k, key) || !is_simple(k, value)) {
        return LEAVE;
    }
    enum outcome outcome = prepare(k, key, &write);
    if (outcome != DONE || k->journal == NULL) {
        return outcome == DONE ? enter(k, &write, NULL, key, value) : outcome;
    }
    Record record;
    outcome = find_place(k, &record, record_bytes_max(k, key, value));
    if (outcome == DONE) {
        put_event(k, &record, key, value, write.stamp, write.origin);
        outcome = enter(k, &write, &record, key, value);
        if (outcome == FAILED) {
            wipe(&record);
        }
        PyBuffer_Release(&record.window);
    }
    return outcome;
}

static PyObject *
set(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    Setter *k = (Setter *)self;
    if (PyVectorcall_NARGS(flags) == 3 && names == NULL && args[0] == k->owner) {
        switch (write_row(k, args[1], args[2])) {
        case DONE:
            /* Somebody must hear of it if the store runs: in Python, when everything is done. */
            return *k->home == Py_None ? Py_NewRef(Py_None) : PyObject_CallMethod(k->owner, "_wrote_locally", NULL);
        case FAILED:
            return NULL;
        case LEAVE:
            break;
        }
    }
    return PyObject_Vectorcall(k->function, args, flags, names);
}

/* --- the order of arrival ----------------------------------------------------------------------------------------- */

/* The memory of an array of this format. */
static int
numbers(PyObject *sequence, Py_buffer *view, const char *format)
{
    if (PyObject_GetBuffer(sequence, view, PyBUF_FORMAT) < 0) {
        return -1;
    }
    if (view->format == NULL || strcmp(view->format, format) != 0) {
        PyErr_Format(PyExc_TypeError, "an array of %s is needed", format);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* `arrivals.newest_of` over an array of slots, a range or an array of their arrivals, and all arrivals. */
static PyObject *
newest_of(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer slots, when, arrivals;
    PyObject *kept = NULL, *kept_when = NULL, *pair = NULL;
    uint64_t first = 0;
    (void)module;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "newest_of takes three arguments");
        return NULL;
    }
    int is_range = PyRange_Check(args[1]);
    if (is_range) {
        PyObject *start = PyObject_GetAttrString(args[1], "start");
        int known = start != NULL && as_number(start, &first);
        Py_XDECREF(start);
        if (!known) {
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a range of arrivals begins with one");
        }
        when.len = 8 * PyObject_Length(args[1]);
    }
    else if (numbers(args[1], &when, "Q") < 0) {
        return NULL;
    }
    if (numbers(args[0], &slots, "I") < 0) {
        goto release_when;
    }
    if (numbers(args[2], &arrivals, "Q") < 0) {
        goto release_slots;
    }
    Py_ssize_t size = slots.len / 4, kept_size = 0, top = arrivals.len / 8;
    if (when.len / 8 != size) {
        PyErr_SetString(PyExc_ValueError, "as many slots as arrivals are needed");
        goto release;
    }
    kept = PyBytes_FromStringAndSize(NULL, 4 * size);
    kept_when = PyBytes_FromStringAndSize(NULL, 8 * size);
    if (kept == NULL || kept_when == NULL) {
        goto release;
    }
    const uint32_t *slot = slots.buf;
    const uint64_t *arrived = arrivals.buf;
    for (Py_ssize_t i = 0; i < size; i++) {
        uint64_t then = is_range ? first + (uint64_t)i : ((const uint64_t *)when.buf)[i];
        if (slot[i] < top && arrived[slot[i]] == then) {
            memcpy(PyBytes_AS_STRING(kept) + 4 * kept_size, &slot[i], 4);
            memcpy(PyBytes_AS_STRING(kept_when) + 8 * kept_size, &then, 8);
            kept_size++;
        }
    }
    if (_PyBytes_Resize(&kept, 4 * kept_size) == 0 && _PyBytes_Resize(&kept_when, 8 * kept_size) == 0) {
        pair = PyTuple_Pack(2, kept, kept_when);
    }
release:
    Py_XDECREF(kept);
    Py_XDECREF(kept_when);
    PyBuffer_Release(&arrivals);
release_slots:
    PyBuffer_Release(&slots);
release_when:
    if (!is_range) {
        PyBuffer_Release(&when);
    }
    return pair;
}

static PyMethodDef functions[] = {
    {"newest_of", (PyCFunction)(void (*)(void))newest_of, METH_FASTCALL,
     "newest_of(slots, when, arrivals)\n--\n\nThe entries that are their slots' newest, as bytes of two columns."},
    {NULL, NULL, 0, NULL},
};

/* --- making and ending them --------------------------------------------------------------------------------------- */

static int
bind(Shortcut *k, PyObject *function, PyObject *owner, PyObject *rows, PyObject *table, vectorcallfunc call)
{
    k->vectorcall = call;
    k->function = Py_NewRef(function);
    k->owner = Py_NewRef(owner);
    k->rows = Py_NewRef(rows);
    return take_slot(&k->open_transactions, rows, "open_transactions") < 0
                || take(&k->slots, table, "slots", &PyDict_Type) < 0
                || take(&k->values, table, "values", &PyList_Type) < 0
             ? -1
             : 0;
}

static int
bind_table(Setter *k)
{
    for (int i = 0; i < COLUMNS; i++) {
        if (take(&k->column_of[i], k->table, COLUMN_NAMES[i], NULL) < 0) {
            return -1;
        }
    }
    if (take(&k->keys, k->table, "_keys", &PyList_Type) < 0 || take(&k->special, k->table, "_special", &PyDict_Type) < 0
        || take(&k->free, k->table, "_free", &PyList_Type) < 0
        || take(&k->captures, k->table, "_captures", &PyList_Type) < 0
        || take(&k->journal_of_slots, k->table, "_journal", NULL) < 0
        || take_slot(&k->begin, k->journal_of_slots, "begin") < 0
        || take_slot(&k->newest, k->journal_of_slots, "newest") < 0) {
        return -1;
    }
    return begin_lease(k); /* a column of another type is found here */
}

static int
bind_replica(Setter *k)
{
    PyObject **last;
    if (take_slot(&k->watched, k->replica, "watched") < 0 || take_slot(&k->origin, k->replica, "origin") < 0
        || take_slot(&k->minted, k->replica, "minted") < 0 || take_slot(&k->clock, k->replica, "clock") < 0
        || take_slot(&last, *k->clock, "last") < 0) {
        return -1;
    }
    k->clock_type = (PyTypeObject *)Py_NewRef(Py_TYPE(*k->clock));
    k->last = (char *)last - (char *)*k->clock;
    return 0;
}

/* A segment's writer is replaced with each segment, and there is none before the first write: its class says where
   things stand. */
static int
offset_in(Py_ssize_t *offset, PyTypeObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL) {
        return -1;
    }
    PyMemberDescrObject *member = (PyMemberDescrObject *)found;
    int sound = Py_IS_TYPE(found, &PyMemberDescr_Type) && member->d_member->type == T_OBJECT_EX;
    *offset = sound ? member->d_member->offset : 0;
    Py_DECREF(found);
    if (!sound) {
        PyErr_Format(PyExc_TypeError, "%.100s.%s is no slot", type->tp_name, name);
    }
    return sound ? 0 : -1;
}

static int
bind_log(Setter *k)
{
    PyTypeObject *type = k->writer_type;
    return take_slot(&k->sync_each, k->journal, "sync_each") < 0 || take_slot(&k->grown, k->journal, "_grown") < 0
                || take_slot(&k->is_pressing, k->pressure, "is_pressing") < 0
                || take_slot(&k->writer, k->log, "_writer") < 0 || offset_in(&k->end, type, "end") < 0
                || offset_in(&k->room, type, "room") < 0 || offset_in(&k->place, type, "place") < 0
                || offset_in(&k->seed, type, "_seed") < 0 || offset_in(&k->window, type, "_window") < 0
                || offset_in(&k->window_start, type, "_window_start") < 0
             ? -1
             : 0;
}

static PyObject *
getter_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"function", "owner", "rows", "table", NULL};
    PyObject *function, *owner, *rows, *table;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOO", names, &function, &owner, &rows, &table)) {
        return NULL;
    }
    Shortcut *k = (Shortcut *)type->tp_alloc(type, 0);
    if (k != NULL && bind(k, function, owner, rows, table, get) < 0) {
        Py_CLEAR(k);
    }
    return (PyObject *)k;
}

static PyObject *
setter_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"function", "owner", "rows", "replica", "locked", "key_bytes_max", "value_bytes_max",
                            "ahead_max", "chunk", "log", NULL};
    PyObject *function, *owner, *rows, *replica, *locked, *log;
    Py_ssize_t key_bytes_max, value_bytes_max, chunk;
    unsigned long long ahead_max;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOnnKnO", names, &function, &owner, &rows, &replica, &locked,
                                     &key_bytes_max, &value_bytes_max, &ahead_max, &chunk, &log)) {
        return NULL;
    }
    Setter *k = (Setter *)type->tp_alloc(type, 0);
    if (k == NULL) {
        return NULL;
    }
    k->key_bytes_max = key_bytes_max;
    k->value_bytes_max = Py_MIN(value_bytes_max, INT32_MAX);
    k->ahead_max = ahead_max;
    k->chunk = chunk;
    k->replica = Py_NewRef(replica);
    k->locked = Py_NewRef(locked);
    if (take(&k->table, replica, "table", NULL) < 0 || bind((Shortcut *)k, function, owner, rows, k->table, set) < 0
        || take_slot(&k->closed, owner, "_closed") < 0 || take_slot(&k->home, owner, "_home") < 0
        || take_slot(&k->waits, owner, "_waits") < 0 || bind_table(k) < 0 || bind_replica(k) < 0) {
        goto fail;
    }
    if (log != Py_None) {
        if (!PyArg_ParseTuple(log, "OOOO!S", &k->journal, &k->log, &k->pressure, &PyType_Type, &k->writer_type,
                              &k->prefix)) {
            k->journal = k->log = k->pressure = k->prefix = NULL;
            k->writer_type = NULL;
            goto fail;
        }
        Py_INCREF(k->journal);
        Py_INCREF(k->log);
        Py_INCREF(k->pressure);
        Py_INCREF(k->writer_type);
        Py_INCREF(k->prefix);
        if (bind_log(k) < 0) {
            goto fail;
        }
    }
    return (PyObject *)k;
fail:
    Py_DECREF(k);
    return NULL;
}

/* Nothing but `dict` is ever cleared: a cycle through here holds a dict of its owner's, and is broken there. */
static int
traverse_head(Shortcut *k, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(k));
    Py_VISIT(k->dict);
    Py_VISIT(k->function);
    Py_VISIT(k->owner);
    Py_VISIT(k->rows);
    Py_VISIT(k->slots);
    Py_VISIT(k->values);
    return 0;
}

static int
getter_traverse(PyObject *self, visitproc visit, void *arg)
{
    return traverse_head((Shortcut *)self, visit, arg);
}

static int
setter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Setter *k = (Setter *)self;
    Py_VISIT(k->replica);
    Py_VISIT(k->table);
    Py_VISIT(k->keys);
    Py_VISIT(k->special);
    Py_VISIT(k->free);
    Py_VISIT(k->captures);
    Py_VISIT(k->journal_of_slots);
    Py_VISIT(k->locked);
    Py_VISIT(k->clock_type);
    for (int i = 0; i < COLUMNS; i++) {
        Py_VISIT(k->column_of[i]);
    }
    for (int i = 0; i < k->leased; i++) {
        Py_VISIT(k->lease[i].obj);
    }
    Py_VISIT(k->journal);
    Py_VISIT(k->log);
    Py_VISIT(k->pressure);
    Py_VISIT(k->writer_type);
    return traverse_head((Shortcut *)self, visit, arg);
}

static int
shortcut_clear(PyObject *self)
{
    Py_CLEAR(((Shortcut *)self)->dict);
    return 0;
}

static void
dealloc_head(Shortcut *k)
{
    PyTypeObject *type = Py_TYPE(k);
    Py_XDECREF(k->dict);
    Py_XDECREF(k->function);
    Py_XDECREF(k->owner);
    Py_XDECREF(k->rows);
    Py_XDECREF(k->slots);
    Py_XDECREF(k->values);
    type->tp_free((PyObject *)k);
    Py_DECREF(type);
}

static void
getter_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    dealloc_head((Shortcut *)self);
}

static void
setter_dealloc(PyObject *self)
{
    Setter *k = (Setter *)self;
    PyObject_GC_UnTrack(self);
    end_lease(k);
    for (int i = 0; i < COLUMNS; i++) {
        Py_XDECREF(k->column_of[i]);
    }
    Py_XDECREF(k->replica);
    Py_XDECREF(k->table);
    Py_XDECREF(k->keys);
    Py_XDECREF(k->special);
    Py_XDECREF(k->free);
    Py_XDECREF(k->captures);
    Py_XDECREF(k->journal_of_slots);
    Py_XDECREF(k->locked);
    Py_XDECREF(k->clock_type);
    Py_XDECREF(k->journal);
    Py_XDECREF(k->log);
    Py_XDECREF(k->pressure);
    Py_XDECREF(k->writer_type);
    Py_XDECREF(k->prefix);
    Py_XDECREF(k->known_origin.object);
    Py_XDECREF(k->known_stamp.object);
    Py_XDECREF(k->known_begin.object);
    dealloc_head((Shortcut *)k);
}

static PyObject *
release(PyObject *self, PyObject *unused)
{
    (void)unused;
    end_lease((Setter *)self);
    Py_RETURN_NONE;
}

static PyMethodDef setter_methods[] = {
    {"release", release, METH_NOARGS, "Let go of the columns, so that they can grow; the next write takes them again."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef shortcut_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Shortcut, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Shortcut, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef shortcut_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define SHORTCUT_SLOTS(new, dealloc, traverse)                                                                         \
    {Py_tp_new, new}, {Py_tp_dealloc, dealloc}, {Py_tp_traverse, traverse}, {Py_tp_clear, shortcut_clear},             \
        {Py_tp_call, PyVectorcall_Call}, {Py_tp_members, shortcut_members}, {Py_tp_getset, shortcut_getset}

static PyType_Slot getter_slots[] = {SHORTCUT_SLOTS(getter_new, getter_dealloc, getter_traverse), {0, NULL}};
static PyType_Slot setter_slots[] = {
    SHORTCUT_SLOTS(setter_new, setter_dealloc, setter_traverse), {Py_tp_methods, setter_methods}, {0, NULL}};

enum { SHORTCUT_FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
                      | Py_TPFLAGS_IMMUTABLETYPE };

static PyType_Spec getter_spec = {"propagul._kernel.Getter", sizeof(Shortcut), 0, SHORTCUT_FLAGS, getter_slots};
static PyType_Spec setter_spec = {"propagul._kernel.Setter", sizeof(Setter), 0, SHORTCUT_FLAGS, setter_slots};

static int
fill_module(PyObject *module)
{
    PyType_Spec *const specs[] = {&getter_spec, &setter_spec};
    make_crc_table();
    for (int i = 0; i < 2; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
    }
    return PyModule_AddIntConstant(module, "LAYOUT", 1);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "propagul._kernel",
    .m_doc = "`set` and `get` of one key in C, for the simple case; see the head of _kernel.c.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__kernel(void)
{
    return PyModuleDef_Init(&module_def);
}
