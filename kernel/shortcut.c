/* What `Getter` and `Setter` have in common: a callable that stands in for a method of one object. */

#include "kernel.h"

int
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

/* Nothing but `dict` is ever cleared: a cycle through here holds a dict of its owner's, and is broken there. */
int
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

int
shortcut_clear(PyObject *self)
{
    Py_CLEAR(((Shortcut *)self)->dict);
    return 0;
}

void
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

PyMemberDef shortcut_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Shortcut, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Shortcut, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyGetSetDef shortcut_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
