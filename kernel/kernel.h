/* The kernel: what programs and peers ask most of a store, for the case that is nearly all of it.

   It works on the objects that are there anyway: a table's dict, lists and arrays, a replica's clock, the log's mapped
   window. Nothing is kept here that Python does not see at once. Whatever is not the simple case is left, with nothing
   done, to the Python function that stands behind; so every rule of the store is written once, in Python.

   Rule of this folder: from the first check to the last store no Python code runs and the GIL is not released. That is
   why no lock is taken: it is enough that nobody holds the store's lock. */

#ifndef PROPAGUL_KERNEL_H
#define PROPAGUL_KERNEL_H

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

enum { FRAME_BYTES = 12, UINT_BYTES_MAX = 9 };

/* --- Python's objects (reach.c) ----------------------------------------------------------------------------------- */

/* An int that was read or written before, held so that no other object can have its address. */
typedef struct {
    PyObject *object;
    uint64_t number;
} Known;

int take(PyObject **held, PyObject *object, const char *name, PyTypeObject *type);
int take_slot(PyObject ***slot, PyObject *object, const char *name);
int offset_in(Py_ssize_t *offset, PyTypeObject *type, const char *name);
int numbers(PyObject *sequence, Py_buffer *view, const char *format);
void know(Known *known, PyObject *object, uint64_t number);
void drop_last(PyObject *list);

static inline int
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

static inline int
as_known(Known *known, PyObject *object, uint64_t *number)
{
    if (object != NULL && object == known->object) {
        *number = known->number;
        return 1;
    }
    return as_number(object, number);
}

static inline int
is_zero(PyObject *object)
{
    uint64_t number;
    return as_number(object, &number) && number == 0;
}

static inline int
is_text(PyObject *object)
{
    return PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object);
}

/* Whether a value is a scalar as it is; containers are packed, and evicted ones are marked, by subclasses. */
static inline int
is_scalar(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) || value == Py_None
        || PyBool_Check(value) || PyBytes_CheckExact(value);
}

static inline void
exchange(PyObject **slot, PyObject *fresh)
{
    PyObject *former = *slot;
    *slot = Py_NewRef(fresh);
    Py_XDECREF(former);
}

static inline PyObject *
at_offset(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

/* --- bytes (crc32.c, msgpack.c) ----------------------------------------------------------------------------------- */

void make_crc_table(void);
uint32_t crc32_of(const unsigned char *at, size_t size, uint32_t start);

unsigned char *put_big(unsigned char *out, uint64_t value, int bytes);
unsigned char *put_uint(unsigned char *out, uint64_t value);
unsigned char *put_text(unsigned char *out, const void *text, size_t size);
unsigned char *put_payload(unsigned char *out, PyObject *value);

/* --- callables bound to one store (shortcut.c, get.c, set.c, setter.c, record.c) ---------------------------------- */

enum outcome { DONE, LEAVE, FAILED };

/* The columns of a table that are arrays. */
enum { STAMPS, ORIGINS, ARRIVALS, KINDS, COLUMNS };

#define SHORTCUT_HEAD                                                                                                  \
    PyObject_HEAD vectorcallfunc vectorcall;                                                                           \
    PyObject *dict;             /* what functools.update_wrapper leaves: name, docstring, __wrapped__ */               \
    PyObject *function;         /* the method in Python */                                                             \
    PyObject *owner;            /* whose method it is; with any other first argument, the method in Python decides */  \
    PyObject **open_transactions;                                                                                      \
    PyObject *rows, *slots, *values;

/* A callable that stands in for a method of one object. `Getter` is no more than this. */
typedef struct {
    SHORTCUT_HEAD
} Shortcut;

/* What `set` needs at hand. */
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

/* A record on its way into the log's window. */
typedef struct {
    PyObject *writer;       /* borrowed */
    Py_buffer window;
    unsigned char *at;
    uint64_t start, seed;
    size_t body;            /* bytes of its event, once that is there */
} Record;

int bind(Shortcut *k, PyObject *function, PyObject *owner, PyObject *rows, PyObject *table, vectorcallfunc call);
int traverse_head(Shortcut *k, visitproc visit, void *arg);
int shortcut_clear(PyObject *self);
void dealloc_head(Shortcut *k);

extern PyMemberDef shortcut_members[];
extern PyGetSetDef shortcut_getset[];

#define SHORTCUT_SLOTS(new, dealloc, traverse)                                                                         \
    {Py_tp_new, new}, {Py_tp_dealloc, dealloc}, {Py_tp_traverse, traverse}, {Py_tp_clear, shortcut_clear},             \
        {Py_tp_call, PyVectorcall_Call}, {Py_tp_members, shortcut_members}, {Py_tp_getset, shortcut_getset}

enum { SHORTCUT_FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
                      | Py_TPFLAGS_IMMUTABLETYPE };

extern PyType_Spec getter_spec, setter_spec;

int begin_lease(Setter *k);
PyObject *set(PyObject *self, PyObject *const *args, size_t flags, PyObject *names);

enum outcome find_place(Setter *k, Record *record, uint64_t most);
uint64_t record_bytes_max(Setter *k, PyObject *key, PyObject *value);
void put_event(Setter *k, Record *record, PyObject *key, PyObject *value, uint64_t stamp, uint64_t origin);
uint64_t end_of(Record *record);
void put_frame(Record *record);
void wipe(Record *record);

/* --- functions ---------------------------------------------------------------------------------------------------- */

PyObject *newest_of(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
