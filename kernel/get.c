/* `get` of one key: an exact str, no open transaction, a scalar. Anything else is the method's in Python. */

#include "kernel.h"

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

static int
getter_traverse(PyObject *self, visitproc visit, void *arg)
{
    return traverse_head((Shortcut *)self, visit, arg);
}

static void
getter_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    dealloc_head((Shortcut *)self);
}

static PyType_Slot getter_slots[] = {SHORTCUT_SLOTS(getter_new, getter_dealloc, getter_traverse), {0, NULL}};

PyType_Spec getter_spec = {"propagul._kernel.Getter", sizeof(Shortcut), 0, SHORTCUT_FLAGS, getter_slots};
