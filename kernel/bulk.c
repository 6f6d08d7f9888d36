/* The loops of `propagul.crdt.bulk`. The caller holds the store's lock, and Python may be called. */

#include "kernel.h"

/* A plain row as it travels: a tuple of key, payload, kind, stamp, origin. */
int
read_plain(PyObject *plain, Written *written)
{
    uint64_t kind;
    if (!is_tuple(plain, 5) || !is_name(PyTuple_GET_ITEM(plain, 0))
        || !as_number(PyTuple_GET_ITEM(plain, 2), &kind) || kind > UINT16_MAX
        || !as_number(PyTuple_GET_ITEM(plain, 3), &written->stamp)
        || !as_number(PyTuple_GET_ITEM(plain, 4), &written->origin)) {
        return wrong("no plain row");
    }
    written->payload = PyTuple_GET_ITEM(plain, 1);
    written->kind = (uint16_t)kind;
    return 0;
}

/* Write through the table's own method, which leaves what is there with whoever captures. */
static int
write_captured(Table *t, PyObject *plain)
{
    table_release(t);
    PyObject *done = PyObject_CallMethod(t->object, "write", "OOOOO", PyTuple_GET_ITEM(plain, 0),
                                         PyTuple_GET_ITEM(plain, 2), PyTuple_GET_ITEM(plain, 1),
                                         PyTuple_GET_ITEM(plain, 3), PyTuple_GET_ITEM(plain, 4));
    Py_XDECREF(done);
    return done == NULL ? -1 : table_lease(t);
}

/* Write a plain row if that is all there is to it: LEAVE if it must be joined. */
static enum outcome
take_plain(Table *t, PyObject *plain, const Written *written)
{
    PyObject *key = PyTuple_GET_ITEM(plain, 0), *slot = PyDict_GetItemWithError(t->slots, key);
    if (slot == NULL) {
        if (PyErr_Occurred()) {
            return FAILED;
        }
    }
    else {
        int special = PyDict_GET_SIZE(t->special) == 0 ? 0 : PyDict_Contains(t->special, slot);
        Py_ssize_t at = special == 0 ? table_place(t, slot) : -1;
        if (special != 0 || at < 0) {
            return special > 0 ? LEAVE : FAILED;
        }
        uint64_t origin = table_column(t, ORIGINS)[at];
        if (origin != 0 && origin != written->origin) {
            return LEAVE;
        }
        if (table_column(t, STAMPS)[at] >= written->stamp) {
            return DONE;
        }
    }
    if (PyList_GET_SIZE(t->captures) != 0) {
        return write_captured(t, plain) < 0 ? FAILED : DONE;
    }
    return table_write(t, key, slot, written, NULL) < 0 ? FAILED : DONE;
}

static int
take_all_plains(Table *t, PyObject *seen, PyObject *plains, PyObject *left)
{
    uint64_t origin_before = 0, floor = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(plains); i++) {
        PyObject *plain = PyList_GET_ITEM(plains, i);
        Written written;
        if (read_plain(plain, &written) < 0) {
            return -1;
        }
        if (written.origin != origin_before) {
            PyObject *stamp = PyObject_CallOneArg(seen, PyTuple_GET_ITEM(plain, 4));
            int known = as_number(stamp, &floor);
            Py_XDECREF(stamp);
            if (!known) {
                return PyErr_Occurred() ? -1 : wrong("a vector holds no stamps");
            }
            origin_before = written.origin;
        }
        if (written.stamp <= floor) {
            continue;
        }
        enum outcome outcome = take_plain(t, plain, &written);
        if (outcome == FAILED || (outcome == LEAVE && PyList_Append(left, plain) < 0)) {
            return -1;
        }
    }
    return 0;
}

PyObject *
take_plains(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyList_CheckExact(args[2])) {
        return PyErr_Format(PyExc_TypeError, "take_plains takes a table, a function and a list");
    }
    Table table = {.leased = 0};
    PyObject *left = PyList_New(0);
    if (left != NULL && (table_open(&table, args[0]) < 0 || take_all_plains(&table, args[1], args[2], left) < 0)) {
        Py_CLEAR(left);
    }
    table_close(&table);
    return left;
}

/* Write plain rows as they are. */
static int
load_all_plains(Table *t, PyObject *plains)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(plains); i++) {
        PyObject *plain = PyList_GET_ITEM(plains, i);
        Written written;
        if (read_plain(plain, &written) < 0) {
            return -1;
        }
        PyObject *key = PyTuple_GET_ITEM(plain, 0), *slot = PyDict_GetItemWithError(t->slots, key);
        if (slot == NULL && PyErr_Occurred()) {
            return -1;
        }
        int captured = PyList_GET_SIZE(t->captures) != 0;
        if ((captured ? write_captured(t, plain) : table_write(t, key, slot, &written, NULL)) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
load_plains(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyList_CheckExact(args[1])) {
        return PyErr_Format(PyExc_TypeError, "load_plains takes a table and a list");
    }
    Table table = {.leased = 0};
    int failed = table_open(&table, args[0]) < 0 || load_all_plains(&table, args[1]) < 0;
    table_close(&table);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Plain rows and others that a vector does not cover: `cut.Lacks`. */
static int
keep_lacking(Vector *known, PyObject *const *given, PyObject *const *kept)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(given[0]); i++) {
        PyObject *plain = PyList_GET_ITEM(given[0], i);
        Written written;
        int covered = read_plain(plain, &written);
        if (covered == 0) {
            covered = vector_covers(known, PyTuple_GET_ITEM(plain, 4), written.stamp);
        }
        if (covered < 0 || (!covered && PyList_Append(kept[0], plain) < 0)) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(given[1]); i++) {
        PyObject *pair = PyList_GET_ITEM(given[1], i), *row, *context, *origin, *said;
        if (!is_tuple(pair, 2) || !is_tuple(row = PyTuple_GET_ITEM(pair, 1), 2)
            || !PyDict_CheckExact(context = PyTuple_GET_ITEM(row, 1))) {
            return wrong("no row with its key");
        }
        int covered = 1;
        Py_ssize_t place = 0;
        uint64_t stamp;
        while (covered > 0 && PyDict_Next(context, &place, &origin, &said)) {
            covered = as_number(said, &stamp) ? vector_covers(known, origin, stamp) : wrong("a context holds no stamps");
        }
        if (covered < 0 || (!covered && PyList_Append(kept[1], pair) < 0)) {
            return -1;
        }
    }
    return 0;
}

PyObject *
lacking(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyList_CheckExact(args[1]) || !PyList_CheckExact(args[2])) {
        return PyErr_Format(PyExc_TypeError, "lacking takes a vector and two lists");
    }
    Vector known = {.held = 0};
    PyObject *const kept[2] = {PyList_New(0), PyList_New(0)};
    PyObject *both = NULL;
    if (kept[0] != NULL && kept[1] != NULL && vector_open(&known, args[0]) == 0
        && keep_lacking(&known, args + 1, kept) == 0) {
        both = PyTuple_Pack(2, kept[0], kept[1]);
    }
    vector_close(&known);
    Py_XDECREF(kept[0]);
    Py_XDECREF(kept[1]);
    return both;
}

/* Have Python join one row. */
static int
leave_row(Table *t, PyObject *key, PyObject *row, PyObject *join)
{
    table_release(t);
    PyObject *done = PyObject_CallFunctionObjArgs(join, key, row, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : table_lease(t);
}

static int
take_all_rows(Table *t, Vector *here, PyObject *const *args)
{
    PyObject *others = args[2];
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others); i++) {
        PyObject *pair = PyList_GET_ITEM(others, i);
        if (!is_tuple(pair, 2) || !is_name(PyTuple_GET_ITEM(pair, 0))) {
            return wrong("no row with its key");
        }
        PyObject *key = PyTuple_GET_ITEM(pair, 0), *row = PyTuple_GET_ITEM(pair, 1);
        enum outcome outcome = PyList_GET_SIZE(t->captures) == 0 ? take_row(t, here, key, row) : LEAVE;
        if (outcome == FAILED || (outcome == LEAVE && leave_row(t, key, row, args[3]) < 0)) {
            return -1;
        }
    }
    return 0;
}

PyObject *
take_rows(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 4 || !PyList_CheckExact(args[2])) {
        return PyErr_Format(PyExc_TypeError, "take_rows takes a table, a vector, a list and a function");
    }
    Table table = {.leased = 0};
    Vector here = {.held = 0};
    int failed = table_open(&table, args[0]) < 0 || vector_open(&here, args[1]) < 0
              || take_all_rows(&table, &here, args) < 0;
    vector_close(&here);
    table_close(&table);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* A row of one sibling as it travels. The origin is the one before, if that is the same: a new int is 32 bytes. */
static PyObject *
plain_at(Table *t, Py_ssize_t at, Known *origin)
{
    const Written written = table_read(t, at);
    PyObject *stamp = PyLong_FromUnsignedLongLong(written.stamp), *kind = PyLong_FromLong(written.kind), *plain = NULL;
    if (origin->object == NULL || origin->number != written.origin) {
        PyObject *fresh = PyLong_FromUnsignedLongLong(written.origin);
        Py_XSETREF(origin->object, fresh);
        origin->number = written.origin;
    }
    if (stamp != NULL && kind != NULL && origin->object != NULL) {
        plain = PyTuple_Pack(5, PyList_GET_ITEM(t->keys, at), written.payload, kind, stamp, origin->object);
    }
    Py_XDECREF(kind);
    Py_XDECREF(stamp);
    if (plain != NULL) {
        untrack(plain);
    }
    return plain;
}

static int
append(PyObject *list, PyObject *item)
{
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return failed ? -1 : 0;
}

static int
read_all_slots(Table *t, PyObject *slots, PyObject *plains, PyObject *others, Known *origin)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(slots); i++) {
        PyObject *slot = PySequence_Fast_GET_ITEM(slots, i);
        PyObject *special = PyDict_GET_SIZE(t->special) == 0 ? NULL : PyDict_GetItemWithError(t->special, slot);
        Py_ssize_t at = table_place(t, slot);
        if (at < 0 || at >= PyList_GET_SIZE(t->keys) || (special == NULL && PyErr_Occurred())) {
            return PyErr_Occurred() ? -1 : wrong("a slot has no key");
        }
        PyObject *key = PyList_GET_ITEM(t->keys, at);
        if (special != NULL ? append(others, PyTuple_Pack(2, key, special)) < 0
                            : is_name(key) && append(plains, plain_at(t, at, origin)) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
read_slots(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        return PyErr_Format(PyExc_TypeError, "read_slots takes a table and a sequence");
    }
    Table table = {.leased = 0};
    Known origin = {.object = NULL};
    PyObject *slots = PySequence_Fast(args[1], "read_slots takes a sequence of slots"), *both = NULL;
    PyObject *plains = PyList_New(0), *others = PyList_New(0);
    if (slots != NULL && plains != NULL && others != NULL && table_open(&table, args[0]) == 0
        && read_all_slots(&table, slots, plains, others, &origin) == 0) {
        both = PyTuple_Pack(2, plains, others);
    }
    table_close(&table);
    Py_XDECREF(origin.object);
    Py_XDECREF(others);
    Py_XDECREF(plains);
    Py_XDECREF(slots);
    return both;
}

/* Packed and evicted payloads are of classes made in Python: the collector looks at each, though all that they refer to
   is their class. */
void
untrack_payload(PyObject *payload)
{
    if ((PyBytes_Check(payload) || PyLong_Check(payload)) && Py_TYPE(payload)->tp_dictoffset == 0
        && PyObject_GC_IsTracked(payload)) {
        PyObject_GC_UnTrack(payload);
    }
}

PyObject *
uncollected(PyObject *module, PyObject *items)
{
    (void)module;
    if (!PyList_CheckExact(items)) {
        return PyErr_Format(PyExc_TypeError, "uncollected takes a list");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        if (PyTuple_CheckExact(item)) {
            for (Py_ssize_t field = 0; field < PyTuple_GET_SIZE(item); field++) {
                untrack_payload(PyTuple_GET_ITEM(item, field));
            }
            if (PyObject_GC_IsTracked(item)) {
                untrack(item);
            }
        }
    }
    if (PyObject_GC_IsTracked(items)) {
        PyObject_GC_UnTrack(items);
    }
    return Py_NewRef(Py_None);
}

PyObject *
uncollected_at(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1])) {
        return PyErr_Format(PyExc_TypeError, "uncollected_at takes two lists");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[1]); i++) {
        uint64_t slot;
        if (!as_number(PyList_GET_ITEM(args[1], i), &slot) || slot >= (uint64_t)PyList_GET_SIZE(args[0])) {
            return PyErr_Format(PyExc_IndexError, "there is no such slot");
        }
        untrack_payload(PyList_GET_ITEM(args[0], (Py_ssize_t)slot));
    }
    return Py_NewRef(Py_None);
}
