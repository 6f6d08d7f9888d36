/* Making and ending a `Setter`: where each thing stands that a write reads or changes. */

#include "kernel.h"

static const char *const COLUMN_NAMES[COLUMNS] = {"_stamps", "_origins", "_arrivals", "_kinds"};

static void
end_lease(Setter *k)
{
    while (k->leased > 0) {
        PyBuffer_Release(&k->lease[--k->leased]);
    }
}

int
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

static PyType_Slot setter_slots[] = {
    SHORTCUT_SLOTS(setter_new, setter_dealloc, setter_traverse), {Py_tp_methods, setter_methods}, {0, NULL}};

PyType_Spec setter_spec = {"propagul._kernel.Setter", sizeof(Setter), 0, SHORTCUT_FLAGS, setter_slots};
