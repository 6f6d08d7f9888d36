/* Single writes read back from a log: the loop of `fold.Fold.take_all`, over the events as they stand there. */

#include "kernel.h"

/* What one event says. The objects are new references. */
typedef struct {
    PyObject *key, *payload;
    uint64_t stamp, origin;
} Single;

static void
let_go(Single *single)
{
    Py_CLEAR(single->key);
    Py_CLEAR(single->payload);
}

/* Read what follows the namespace: stamp, origin, key, kind 0, payload, and nothing more. */
static enum outcome
read_single(Single *single, const unsigned char *at, const unsigned char *end, PyObject *known_ext)
{
    const unsigned char *text;
    size_t size;
    if ((at = get_uint(at, end, &single->stamp)) == NULL || (at = get_uint(at, end, &single->origin)) == NULL
        || (at = get_text(at, end, &text, &size)) == NULL || size == 0 || at == end || *at++ != 0
        || single->stamp == 0 || single->stamp > INT64_MAX || single->origin == 0) {
        return LEAVE;
    }
    at = get_payload(at, end, &single->payload, known_ext);
    if (at != end) {
        Py_CLEAR(single->payload);
        return at == NULL && PyErr_Occurred() ? leave_or_fail() : LEAVE;
    }
    single->key = PyUnicode_DecodeUTF8((const char *)text, (Py_ssize_t)size, NULL);
    if (single->key == NULL) {
        Py_CLEAR(single->payload);
        return leave_or_fail();
    }
    return DONE;
}

/* Enter a write that supersedes nothing but an older plain row of the same origin. */
static enum outcome
enter_single(Table *t, const Single *single)
{
    PyObject *slot = PyDict_GetItemWithError(t->slots, single->key);
    if (slot == NULL && PyErr_Occurred()) {
        return FAILED;
    }
    if (slot != NULL) {
        int special = PyDict_GET_SIZE(t->special) == 0 ? 0 : PyDict_Contains(t->special, slot);
        Py_ssize_t at = special == 0 ? table_place(t, slot) : -1;
        if (special != 0 || at < 0) {
            return special > 0 ? LEAVE : FAILED;
        }
        if (table_column(t, ORIGINS)[at] != single->origin) {
            return LEAVE;
        }
    }
    Written written = {single->payload, single->stamp, single->origin, 0};
    return table_write(t, single->key, slot, &written, NULL) < 0 ? FAILED : DONE;
}

typedef struct {
    PyObject *begin, *events, *known_ext;   /* borrowed */
    Py_ssize_t at;
    uint64_t stamp, origin;                 /* of the newest write entered; 0 before the first */
} Run;

static enum outcome
replay_one(Table *t, Run *run)
{
    PyObject *pair = PyList_GET_ITEM(run->events, run->at), *event;
    if (!is_tuple(pair, 2) || !PyBytes_CheckExact(event = PyTuple_GET_ITEM(pair, 1))) {
        wrong("no event with its place");
        return FAILED;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(event);
    Py_ssize_t size = PyBytes_GET_SIZE(event), prefix = PyBytes_GET_SIZE(run->begin);
    if (size < prefix || memcmp(bytes, PyBytes_AS_STRING(run->begin), (size_t)prefix) != 0) {
        return LEAVE;
    }
    Single single = {.key = NULL};
    enum outcome outcome = read_single(&single, bytes + prefix, bytes + size, run->known_ext);
    if (outcome == DONE) {
        int follows = run->stamp < single.stamp && (run->origin == 0 || run->origin == single.origin);
        outcome = follows ? enter_single(t, &single) : LEAVE;
    }
    if (outcome == DONE) {
        run->stamp = single.stamp;
        run->origin = single.origin;
    }
    let_go(&single);
    return outcome;
}

PyObject *
replay(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 5 || !PyBytes_CheckExact(args[1]) || !PyList_CheckExact(args[2])) {
        return PyErr_Format(PyExc_TypeError, "replay takes a table, bytes, a list, a place in it and a function");
    }
    Run run = {.begin = args[1], .events = args[2], .known_ext = args[4], .at = PyLong_AsSsize_t(args[3])};
    if (run.at < 0) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a place is not below 0");
    }
    Table table = {.leased = 0};
    enum outcome outcome = table_open(&table, args[0]) < 0 ? FAILED : DONE;
    while (outcome == DONE && run.at < PyList_GET_SIZE(run.events)) {
        outcome = PyList_GET_SIZE(table.captures) == 0 ? replay_one(&table, &run) : LEAVE;
        run.at += outcome == DONE;
    }
    table_close(&table);
    return outcome == FAILED ? NULL : Py_BuildValue("nKK", run.at, (unsigned long long)run.stamp,
                                                    (unsigned long long)run.origin);
}
