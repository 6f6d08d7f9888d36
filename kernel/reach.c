/* Reaching Python's objects in place.

   Fields that Python replaces stand in `__slots__`, and a slot's place is asked of its descriptor once; dicts and lists
   are bound once, as `hot` binds them; arrays are leased through the buffer protocol, which keeps Python from moving
   them. */

#include "kernel.h"

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

int
take_slot(PyObject ***slot, PyObject *object, const char *name)
{
    *slot = slot_of(object, name);
    return *slot == NULL ? -1 : 0;
}

/* A segment's writer is replaced with each segment, and there is none before the first write: its class says where
   things stand. */
int
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

/* An attribute that is bound for good, of this exact type. */
int
take(PyObject **held, PyObject *object, const char *name, PyTypeObject *type)
{
    *held = PyObject_GetAttrString(object, name);
    if (*held != NULL && type != NULL && !Py_IS_TYPE(*held, type)) {
        PyErr_Format(PyExc_TypeError, "%s is a %.100s", name, Py_TYPE(*held)->tp_name);
        return -1;
    }
    return *held == NULL ? -1 : 0;
}

/* The memory of an array of this format. */
int
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

void
know(Known *known, PyObject *object, uint64_t number)
{
    PyObject *former = known->object;
    known->object = Py_NewRef(object);
    known->number = number;
    Py_XDECREF(former);
}

void
drop_last(PyObject *list)
{
    Py_ssize_t size = PyList_GET_SIZE(list);
    if (PyList_SetSlice(list, size - 1, size, NULL) < 0) {
        PyErr_Clear(); /* taking away from a list's end needs no memory */
    }
}

/* Take a key out of a dict, if it is there. */
int
pop(PyObject *dict, PyObject *key)
{
    int there = PyDict_Contains(dict, key);
    return there <= 0 ? there : PyDict_DelItem(dict, key);
}

/* What came is not what the caller promised. */
int
wrong(const char *what)
{
    PyErr_SetString(PyExc_TypeError, what);
    return -1;
}

/* What is no well-formed text or extension is found, and told of, on the long way. */
enum outcome
leave_or_fail(void)
{
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
        return FAILED;
    }
    PyErr_Clear();
    return LEAVE;
}
