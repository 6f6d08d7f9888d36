/* A table's parts, and the two things done to them: a new key, a written row. See `propagul.crdt.table`. */

#include "kernel.h"

static const char *const COLUMN_NAMES[COLUMNS] = {"_stamps", "_origins", "_arrivals", "_kinds"};

/* Reach the parts of a table; undo with `table_close`, also after a failure. */
int
table_open(Table *t, PyObject *object)
{
    memset(t, 0, sizeof *t);
    t->object = Py_NewRef(object);
    for (int i = 0; i < COLUMNS; i++) {
        if (take(&t->column_of[i], object, COLUMN_NAMES[i], NULL) < 0) {
            return -1;
        }
    }
    if (take(&t->slots, object, "slots", &PyDict_Type) < 0 || take(&t->values, object, "values", &PyList_Type) < 0
        || take(&t->keys, object, "_keys", &PyList_Type) < 0 || take(&t->special, object, "_special", &PyDict_Type) < 0
        || take(&t->free, object, "_free", &PyList_Type) < 0
        || take(&t->captures, object, "_captures", &PyList_Type) < 0 || take(&t->order, object, "_journal", NULL) < 0
        || take_slot(&t->begin, t->order, "begin") < 0 || take_slot(&t->newest, t->order, "newest") < 0) {
        return -1;
    }
    PyObject *chunk = PyObject_GetAttrString(t->order, "chunk");
    t->chunk = chunk == NULL ? -1 : PyLong_AsSsize_t(chunk);
    Py_XDECREF(chunk);
    return t->chunk < 0 ? -1 : table_lease(t); /* a column of another type is found here */
}

void
table_close(Table *t)
{
    table_release(t);
    for (int i = 0; i < COLUMNS; i++) {
        Py_CLEAR(t->column_of[i]);
    }
    Py_CLEAR(t->slots);
    Py_CLEAR(t->values);
    Py_CLEAR(t->keys);
    Py_CLEAR(t->special);
    Py_CLEAR(t->free);
    Py_CLEAR(t->captures);
    Py_CLEAR(t->order);
    Py_CLEAR(t->object);
}

int
table_traverse(Table *t, visitproc visit, void *arg)
{
    for (int i = 0; i < COLUMNS; i++) {
        Py_VISIT(t->column_of[i]);
    }
    for (int i = 0; i < t->leased; i++) {
        Py_VISIT(t->lease[i].obj);
    }
    Py_VISIT(t->slots);
    Py_VISIT(t->values);
    Py_VISIT(t->keys);
    Py_VISIT(t->special);
    Py_VISIT(t->free);
    Py_VISIT(t->captures);
    Py_VISIT(t->order);
    Py_VISIT(t->object);
    return 0;
}

/* Have the columns' memory at hand; Python cannot move them until `table_release`. Idempotent. */
int
table_lease(Table *t)
{
    while (t->leased < COLUMNS) {
        Py_buffer *lease = &t->lease[t->leased];
        if (PyObject_GetBuffer(t->column_of[t->leased], lease, PyBUF_WRITABLE | PyBUF_FORMAT) < 0) {
            table_release(t);
            return -1;
        }
        t->leased++;
        const char *format = t->leased - 1 == KINDS ? "H" : "Q";
        if (lease->format == NULL || strcmp(lease->format, format) != 0) {
            PyErr_Format(PyExc_TypeError, "%s is no array of %s", COLUMN_NAMES[t->leased - 1], format);
            table_release(t);
            return -1;
        }
    }
    return 0;
}

void
table_release(Table *t)
{
    while (t->leased > 0) {
        PyBuffer_Release(&t->lease[--t->leased]);
    }
}

/* The place of a row in the columns, checked; -1 with an exception if it lies outside. */
Py_ssize_t
table_place(Table *t, PyObject *slot)
{
    uint64_t at;
    if (!as_number(slot, &at) || at >= (uint64_t)table_room(t) || at >= (uint64_t)PyList_GET_SIZE(t->values)) {
        PyErr_SetString(PyExc_ValueError, "a slot lies outside the columns");
        return -1;
    }
    return (Py_ssize_t)at;
}

/* Give a key the next slot, with its payload in it; -1 and no trace if there is no memory. */
int
table_add(Table *t, PyObject *key, PyObject *value, PyObject *slot)
{
    if (PyList_Append(t->keys, key) < 0) {
        return -1;
    }
    if (PyList_Append(t->values, value) < 0) {
        drop_last(t->keys);
        return -1;
    }
    if (PyDict_SetItem(t->slots, key, slot) < 0) {
        drop_last(t->values);
        drop_last(t->keys);
        return -1;
    }
    return 0;
}

/* The slot of a new key, a new reference. A free slot, an indexed key and a growth are Python's. */
static PyObject *
new_slot(Table *t, PyObject *key, PyObject *payload)
{
    Py_ssize_t at = PyList_GET_SIZE(t->keys);
    PyObject *slot;
    if (PyUnicode_READ_CHAR(key, 0) != 0 && PyList_GET_SIZE(t->free) == 0 && PyList_GET_SIZE(t->captures) == 0
        && at == PyList_GET_SIZE(t->values) && at < table_room(t)) {
        slot = PyLong_FromSsize_t(at);
        if (slot != NULL && table_add(t, key, payload, slot) < 0) {
            Py_CLEAR(slot);
        }
        return slot;
    }
    table_release(t);
    slot = PyObject_CallMethod(t->object, "_new_slot", "O", key);
    if (slot != NULL && (PyDict_SetItem(t->slots, key, slot) < 0 || table_lease(t) < 0)) {
        Py_CLEAR(slot);
    }
    return slot;
}

/* `Table.write`: `slot` is NULL for a new key, `row` for a plain row. Nobody captures. */
int
table_write(Table *t, PyObject *key, PyObject *slot, const Written *written, PyObject *row)
{
    PyObject *former = NULL;
    int failed = -1;
    slot = slot == NULL ? new_slot(t, key, written->payload) : Py_NewRef(slot);
    if (slot == NULL) {
        return -1;
    }
    Py_ssize_t at = table_place(t, slot);
    if (at < 0 || PyList_Append(*t->newest, slot) < 0) {
        goto finish;
    }
    if (row != NULL ? PyDict_SetItem(t->special, slot, row) < 0
                    : PyDict_GET_SIZE(t->special) != 0 && pop(t->special, slot) < 0) {
        drop_last(*t->newest);
        goto finish;
    }
    former = PyList_GET_ITEM(t->values, at);
    PyList_SET_ITEM(t->values, at, Py_NewRef(written->payload));
    table_column(t, STAMPS)[at] = written->stamp;
    table_column(t, ORIGINS)[at] = written->origin;
    ((uint16_t *)t->lease[KINDS].buf)[at] = written->kind;
    Py_ssize_t count = PyList_GET_SIZE(*t->newest);
    uint64_t begin;
    if (!as_number(*t->begin, &begin)) {
        PyErr_SetString(PyExc_TypeError, "the order of arrival begins nowhere");
        goto finish;
    }
    table_column(t, ARRIVALS)[at] = begin + (uint64_t)count - 1;
    failed = 0;
    if (count >= t->chunk) {
        PyObject *closed = PyObject_CallMethod(t->order, "close_chunk", NULL);
        failed = closed == NULL ? -1 : 0;
        Py_XDECREF(closed);
    }
finish:
    Py_DECREF(slot);
    Py_XDECREF(former);
    return failed;
}
