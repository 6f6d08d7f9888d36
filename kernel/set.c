/* `set` of one key.

   The same steps as `propagul.crdt.hot.local_writer`. Everything that can fail comes before everything that cannot;
   what failed leaves no trace; a replaced value is let go of last. */

#include "kernel.h"

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

/* Whether nothing forbids the short way now: see `StateMap.set` and `local_writer`. */
static int
is_open(Setter *k)
{
    return *k->closed == Py_False && *k->waits == Py_False && *k->watched == Py_False
        && is_zero(*k->open_transactions)
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
    write->newest = *k->table.newest;
    if (write->clock == NULL || !Py_IS_TYPE(write->clock, k->clock_type) || write->newest == NULL
        || !PyList_CheckExact(write->newest)
        || PyList_GET_SIZE(write->newest) + 1 >= k->table.chunk
        || !as_known(&k->known_origin, *k->origin, &write->origin)
        || !as_known(&k->known_begin, *k->table.begin, &write->begin)) {
        return LEAVE;
    }
    write->arrival = write->begin + (uint64_t)PyList_GET_SIZE(write->newest);
    if ((write->stamp = next_stamp(k, write->clock)) == 0) {
        return LEAVE;
    }
    if (table_lease(&k->table) < 0) {
        return FAILED;
    }
    Py_ssize_t columns = table_room(&k->table);
    write->slot = PyDict_GetItemWithError(k->slots, key);
    if (write->slot == NULL) {
        if (PyErr_Occurred()) {
            return FAILED;
        }
        write->at = PyList_GET_SIZE(k->table.keys);
        int fits = write->at == PyList_GET_SIZE(k->values) && write->at < columns;
        return fits && PyList_GET_SIZE(k->table.free) == 0 ? DONE : LEAVE;
    }
    if (PyList_GET_SIZE(k->table.captures) != 0) {
        return LEAVE; /* whoever captures must be left what was there; of a new key there was nothing */
    }
    uint64_t at;
    if (!as_number(write->slot, &at) || at >= (uint64_t)columns || at >= (uint64_t)PyList_GET_SIZE(k->values)
        || table_column(&k->table, ORIGINS)[at] != write->origin) {
        return LEAVE;
    }
    write->at = (Py_ssize_t)at;
    if (PyDict_GET_SIZE(k->table.special) != 0) {
        int special = PyDict_Contains(k->table.special, write->slot);
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
    if (write->slot == NULL && table_add(&k->table, key, value, slot) < 0) {
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
    table_column(&k->table, ORIGINS)[write->at] = write->origin;
    ((uint16_t *)k->table.lease[KINDS].buf)[write->at] = 0;
    table_column(&k->table, STAMPS)[write->at] = write->stamp;
    table_column(&k->table, ARRIVALS)[write->at] = write->arrival;
    exchange((PyObject **)((char *)write->clock + k->last), stamp);
    exchange(k->minted, stamp);
    know(&k->known_stamp, stamp, write->stamp);
    if (*k->table.begin != k->known_begin.object) {
        know(&k->known_begin, *k->table.begin, write->begin);
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

PyObject *
set(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    Setter *k = (Setter *)self;
    if (PyVectorcall_NARGS(flags) == 3 && names == NULL && args[0] == k->owner) {
        switch (write_row(k, args[1], args[2])) {
        case DONE:
            /* Somebody must hear of it if the store runs: in Python, when everything is done. */
            return *k->tells == Py_None ? Py_NewRef(Py_None) : PyObject_CallMethod(k->owner, "_wrote_locally", NULL);
        case FAILED:
            return NULL;
        case LEAVE:
            break;
        }
    }
    return PyObject_Vectorcall(k->function, args, flags, names);
}
