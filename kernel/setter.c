/* Making and ending a `Setter`: where each thing stands that a write reads or changes. */

#include "kernel.h"

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
                            "ahead_max", "log", NULL};
    PyObject *function, *owner, *rows, *replica, *locked, *log;
    Py_ssize_t key_bytes_max, value_bytes_max;
    unsigned long long ahead_max;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOOnnKO", names, &function, &owner, &rows, &replica, &locked,
                                     &key_bytes_max, &value_bytes_max, &ahead_max, &log)) {
        return NULL;
    }
    Setter *k = (Setter *)type->tp_alloc(type, 0);
    if (k == NULL) {
        return NULL;
    }
    k->key_bytes_max = key_bytes_max;
    k->value_bytes_max = Py_MIN(value_bytes_max, INT32_MAX);
    k->ahead_max = ahead_max;
    k->replica = Py_NewRef(replica);
    k->locked = Py_NewRef(locked);
    PyObject *table = PyObject_GetAttrString(replica, "table");
    int reached = table != NULL && table_open(&k->table, table) == 0;
    Py_XDECREF(table);
    if (!reached || bind((Shortcut *)k, function, owner, rows, k->table.object, set) < 0
        || take_slot(&k->closed, owner, "_closed") < 0 || take_slot(&k->tells, owner, "_tells") < 0
        || take_slot(&k->waits, owner, "_waits") < 0 || bind_replica(k) < 0) {
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
    Py_VISIT(k->locked);
    Py_VISIT(k->clock_type);
    Py_VISIT(k->journal);
    Py_VISIT(k->log);
    Py_VISIT(k->pressure);
    Py_VISIT(k->writer_type);
    int stopped = table_traverse(&k->table, visit, arg);
    return stopped ? stopped : traverse_head((Shortcut *)self, visit, arg);
}

static void
setter_dealloc(PyObject *self)
{
    Setter *k = (Setter *)self;
    PyObject_GC_UnTrack(self);
    table_close(&k->table);
    Py_XDECREF(k->replica);
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
    table_release(&((Setter *)self)->table);
    Py_RETURN_NONE;
}

static PyMethodDef setter_methods[] = {
    {"release", release, METH_NOARGS, "Let go of the columns, so that they can grow; the next write takes them again."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot setter_slots[] = {
    SHORTCUT_SLOTS(setter_new, setter_dealloc, setter_traverse), {Py_tp_methods, setter_methods}, {0, NULL}};

PyType_Spec setter_spec = {"propagul._kernel.Setter", sizeof(Setter), 0, SHORTCUT_FLAGS, setter_slots};
