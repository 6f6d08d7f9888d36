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
int pop(PyObject *dict, PyObject *key);
int wrong(const char *what);

/* An exact int from 0 to 2**64 - 1. Up to Python 3.11 its digits are read in place: asking for it costs as much as a
   look-up in a dict, and nothing is asked for more often. */
static inline int
as_number(PyObject *object, uint64_t *number)
{
    if (object == NULL || !PyLong_CheckExact(object)) {
        return 0;
    }
#if PY_VERSION_HEX < 0x030C0000 && PYLONG_BITS_IN_DIGIT == 30
    const digit *digits = ((PyLongObject *)object)->ob_digit;
    Py_ssize_t size = Py_SIZE(object);
    if (size < 0 || size > 3 || (size == 3 && digits[2] > 0xF)) {
        return 0;
    }
    *number = (size > 0 ? (uint64_t)digits[0] : 0) | (size > 1 ? (uint64_t)digits[1] << 30 : 0)
            | (size > 2 ? (uint64_t)digits[2] << 60 : 0);
#else
    *number = PyLong_AsUnsignedLongLong(object);
    if (*number == (uint64_t)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
#endif
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

static inline int
is_name(PyObject *object)
{
    return PyUnicode_CheckExact(object) && PyUnicode_GET_LENGTH(object) > 0;
}

/* A tuple of any type that is a tuple and nothing more. */
static inline int
is_tuple(PyObject *object, Py_ssize_t size)
{
    return PyTuple_Check(object) && Py_TYPE(object)->tp_basicsize == PyTuple_Type.tp_basicsize
        && PyTuple_GET_SIZE(object) == size;
}

/* Whether a value is a scalar as it is; containers are packed, and evicted ones are marked, by subclasses. */
static inline int
is_scalar(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) || value == Py_None
        || PyBool_Check(value) || PyBytes_CheckExact(value);
}

/* A tuple of a type that is a tuple and nothing more. */
static inline PyObject *
tuple_of(PyTypeObject *type, Py_ssize_t size)
{
    return type->tp_alloc(type, size);
}

/* The collector need not visit a tuple of what it does not visit either: that can be in no cycle. Python finds this out
   late for tuples and never for tuples with names, and rows are made of little else. */
static inline void
untrack(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        if (PyObject_GC_IsTracked(PyTuple_GET_ITEM(tuple, i))) {
            return;
        }
    }
    PyObject_GC_UnTrack(tuple);
}

static inline void
exchange(PyObject **slot, PyObject *fresh)
{
    PyObject *former = *slot;
    *slot = Py_NewRef(fresh);
    Py_XDECREF(former);
}

/* Have the processor bring an object near; what it says is not needed yet. */
static inline void
prefetch(const void *object)
{
#if defined(__GNUC__)
    __builtin_prefetch(object);
#else
    (void)object;
#endif
}

static inline PyObject *
at_offset(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

/* --- bytes (crc32.c, msgpack.c) ----------------------------------------------------------------------------------- */

/* What the first byte of a block says: which columns are there; see `propagul.crdt.codec`. */
enum { HAS_LENGTHS = 1, HAS_KINDS = 2, HAS_ORIGINS = 4, HAS_SHAPES = 8, HAS_MANY = HAS_LENGTHS | HAS_SHAPES };

void make_crc_table(void);
uint32_t crc32_of(const unsigned char *at, size_t size, uint32_t start);

/* A number, its highest byte first. */
static inline uint64_t
big(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

unsigned char *put_big(unsigned char *out, uint64_t value, int bytes);
unsigned char *put_uint(unsigned char *out, uint64_t value);
unsigned char *put_int(unsigned char *out, int64_t value);
unsigned char *put_array(unsigned char *out, size_t size);
unsigned char *put_text_head(unsigned char *out, size_t size);
unsigned char *put_packed(unsigned char *out, const void *bytes, size_t size);
unsigned char *put_text(unsigned char *out, const void *text, size_t size);
unsigned char *put_payload(unsigned char *out, PyObject *value);

const unsigned char *get_uint(const unsigned char *at, const unsigned char *end, uint64_t *value);
const unsigned char *get_int(const unsigned char *at, const unsigned char *end, int64_t *value);
const unsigned char *get_array(const unsigned char *at, const unsigned char *end, uint64_t *size);
const unsigned char *get_text(const unsigned char *at, const unsigned char *end, const unsigned char **text,
                              size_t *size);
const unsigned char *get_payload(const unsigned char *at, const unsigned char *end, PyObject **payload,
                                 PyObject *known_ext);

/* --- a table and a vector (table.c, vector.c, join.c) ------------------------------------------------------------- */

/* DONE; LEAVE: nothing was done, Python must do it; FAILED: an exception is set. */
enum outcome { DONE, LEAVE, FAILED };

enum outcome leave_or_fail(void);

/* The columns of a table that are arrays. */
enum { STAMPS, ORIGINS, ARRIVALS, KINDS, COLUMNS };

typedef struct {
    PyObject *object, *slots, *values, *keys, *special, *free, *captures, *order;
    PyObject **begin, **newest;         /* of the order of arrival */
    Py_ssize_t chunk;
    PyObject *column_of[COLUMNS];
    Py_buffer lease[COLUMNS];
    int leased;
} Table;

/* What a row's columns say. */
typedef struct {
    PyObject *payload;                  /* borrowed */
    uint64_t stamp, origin;
    uint16_t kind;
} Written;

int table_open(Table *t, PyObject *object);
void table_close(Table *t);
int table_traverse(Table *t, visitproc visit, void *arg);
int table_lease(Table *t);
void table_release(Table *t);
Py_ssize_t table_place(Table *t, PyObject *slot);
int table_add(Table *t, PyObject *key, PyObject *value, PyObject *slot);
int table_write(Table *t, PyObject *key, PyObject *slot, const Written *written, PyObject *row);

static inline uint64_t *
table_column(Table *t, int column)
{
    return t->lease[column].buf;
}

/* How many rows the columns have room for. */
static inline Py_ssize_t
table_room(Table *t)
{
    return t->lease[ORIGINS].len / 8;
}

static inline Written
table_read(Table *t, Py_ssize_t at)
{
    return (Written){PyList_GET_ITEM(t->values, at), table_column(t, STAMPS)[at], table_column(t, ORIGINS)[at],
                     ((uint16_t *)t->lease[KINDS].buf)[at]};
}

typedef struct {
    PyObject *hot;
    Py_buffer origins, stamps;          /* of the floor */
    int held;
} Vector;

int vector_open(Vector *v, PyObject *object);
void vector_close(Vector *v);
int vector_covers(Vector *v, PyObject *origin, uint64_t stamp);

enum outcome take_row(Table *t, Vector *here, PyObject *key, PyObject *row);

int read_plain(PyObject *plain, Written *written);
void untrack_payload(PyObject *payload);

/* --- callables bound to one store (shortcut.c, get.c, set.c, setter.c, record.c) ---------------------------------- */

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
    Table table;
    PyObject *replica, *locked;
    PyObject **closed, **tells, **waits;                               /* of the owner */
    PyObject **watched, **origin, **minted, **clock;                   /* of the replica */
    PyTypeObject *clock_type;
    Known known_origin, known_stamp, known_begin;
    Py_ssize_t last;                                                   /* where a clock keeps `last` */
    Py_ssize_t key_bytes_max, value_bytes_max;
    uint64_t ahead_max;
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

PyObject *set(PyObject *self, PyObject *const *args, size_t flags, PyObject *names);

enum outcome find_place(Setter *k, Record *record, uint64_t most);
uint64_t record_bytes_max(Setter *k, PyObject *key, PyObject *value);
void put_event(Setter *k, Record *record, PyObject *key, PyObject *value, uint64_t stamp, uint64_t origin);
uint64_t end_of(Record *record);
void put_frame(Record *record);
void wipe(Record *record);

/* --- functions ---------------------------------------------------------------------------------------------------- */

PyObject *uncollected(PyObject *module, PyObject *items);
PyObject *uncollected_at(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *newest_of(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *take_plains(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *take_rows(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *load_plains(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *offer_plains(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *lacking(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *read_slots(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *encode_blocks(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *take_records(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *decode_block(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *replay(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
