/* `row.join` outside a snapshot join, and `Row.is_plain`. The rules stand there; here they are told again in C. */

#include "kernel.h"

enum { SIBLINGS_MAX = 64 }; /* of either side and of both; more are Python's, which tells of them */

typedef struct {
    uint64_t stamp, origin;
    PyObject *origin_object, *sibling;  /* borrowed; `sibling` is NULL for a plain row of ours */
} Dot;

/* One side of a join. A plain row of ours has no objects: `context` is NULL and its dot says all. */
typedef struct {
    Dot dots[SIBLINGS_MAX];
    Py_ssize_t size;
    PyObject *context;                  /* borrowed */
} Side;

/* Read a row's siblings. They, their dots and the numbers in these lie all over memory: each round asks for what the next
   one reads, so that the processor waits for all of it at once. */
static int
read_siblings(Side *side, PyObject *siblings)
{
    for (Py_ssize_t i = 0; i < side->size; i++) {
        prefetch(side->dots[i].sibling = PyTuple_GET_ITEM(siblings, i));
    }
    for (Py_ssize_t i = 0; i < side->size; i++) {
        if (!is_tuple(side->dots[i].sibling, 3)) {
            return 0;
        }
        prefetch(PyTuple_GET_ITEM(side->dots[i].sibling, 0));
    }
    for (Py_ssize_t i = 0; i < side->size; i++) {
        PyObject *dot = PyTuple_GET_ITEM(side->dots[i].sibling, 0);
        if (!is_tuple(dot, 2)) {
            return 0;
        }
        prefetch(PyTuple_GET_ITEM(dot, 0));
        prefetch(side->dots[i].origin_object = PyTuple_GET_ITEM(dot, 1));
    }
    for (Py_ssize_t i = 0; i < side->size; i++) {
        Dot *dot = &side->dots[i];
        if (!as_number(PyTuple_GET_ITEM(PyTuple_GET_ITEM(dot->sibling, 0), 0), &dot->stamp)
            || !as_number(dot->origin_object, &dot->origin)) {
            return 0;
        }
    }
    return 1;
}

static int
read_side(Side *side, PyObject *row)
{
    if (!is_tuple(row, 2)) {
        return 0;
    }
    PyObject *siblings = PyTuple_GET_ITEM(row, 0);
    side->context = PyTuple_GET_ITEM(row, 1);
    if (!PyTuple_CheckExact(siblings) || PyTuple_GET_SIZE(siblings) > SIBLINGS_MAX
        || !PyDict_CheckExact(side->context)) {
        return 0;
    }
    side->size = PyTuple_GET_SIZE(siblings);
    return read_siblings(side, siblings);
}

static int
holds(const Side *side, const Dot *dot)
{
    for (Py_ssize_t i = 0; i < side->size; i++) {
        if (side->dots[i].stamp == dot->stamp && side->dots[i].origin == dot->origin) {
            return 1;
        }
    }
    return 0;
}

/* The stamp that a side's context has of an origin; -1 with an exception. */
static int
seen_by(const Side *side, PyObject *origin, uint64_t *stamp)
{
    *stamp = 0;
    if (side->context == NULL) {
        uint64_t number;
        if (!as_number(origin, &number)) {
            return wrong("an origin is no number");
        }
        *stamp = side->size == 1 && side->dots[0].origin == number ? side->dots[0].stamp : 0;
        return 0;
    }
    PyObject *found = PyDict_GetItemWithError(side->context, origin);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return as_number(found, stamp) ? 0 : wrong("a context holds no stamps");
}

/* The siblings that survive, those of ours first, and what of the contexts is new. */
typedef struct {
    Dot dots[2 * SIBLINGS_MAX];
    Py_ssize_t kept, size;
    int newer, covered;
} Joined;

static int
survivors(Joined *joined, const Side *ours, const Side *theirs, Vector *here)
{
    uint64_t stamp;
    joined->size = 0;
    for (Py_ssize_t i = 0; i < ours->size; i++) {
        const Dot *dot = &ours->dots[i];
        if (!holds(theirs, dot)) {
            if (seen_by(theirs, dot->origin_object, &stamp) < 0) {
                return -1;
            }
            if (stamp >= dot->stamp) {
                continue;
            }
        }
        joined->dots[joined->size++] = *dot;
    }
    joined->kept = joined->size;
    for (Py_ssize_t i = 0; i < theirs->size; i++) {
        const Dot *dot = &theirs->dots[i];
        if (seen_by(ours, dot->origin_object, &stamp) < 0) {
            return -1;
        }
        if (stamp < dot->stamp) {
            int covered = vector_covers(here, dot->origin_object, dot->stamp);
            if (covered < 0) {
                return -1;
            }
            if (!covered) {
                joined->dots[joined->size++] = *dot;
            }
        }
    }
    return 0;
}

static int
compare_contexts(Joined *joined, const Side *ours, const Side *theirs, Vector *here)
{
    PyObject *origin, *said;
    Py_ssize_t place = 0;
    uint64_t stamp, known;
    joined->newer = 0;
    joined->covered = 1;
    while (PyDict_Next(theirs->context, &place, &origin, &said)) {
        if (!as_number(said, &stamp)) {
            return wrong("a context holds no stamps");
        }
        if (seen_by(ours, origin, &known) < 0) {
            return -1;
        }
        joined->newer |= known < stamp;
        if (joined->covered && (joined->covered = vector_covers(here, origin, stamp)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Highest dot first. Those of ours are in that order already. */
static void
rank(Joined *joined)
{
    for (Py_ssize_t i = joined->kept; i < joined->size; i++) {
        Dot dot = joined->dots[i];
        Py_ssize_t at = i;
        for (; at > 0; at--) {
            const Dot *before = &joined->dots[at - 1];
            if (before->stamp > dot.stamp || (before->stamp == dot.stamp && before->origin > dot.origin)) {
                break;
            }
            joined->dots[at] = *before;
        }
        joined->dots[at] = dot;
    }
}

/* The sibling that a plain row of ours is, of the types that `like` has. */
static PyObject *
sibling_of(const Written *plain, PyObject *like)
{
    PyObject *sibling = tuple_of(Py_TYPE(like), 3);
    if (sibling == NULL) {
        return NULL;
    }
    PyObject *dot = tuple_of(Py_TYPE(PyTuple_GET_ITEM(like, 0)), 2);
    if (dot != NULL) {
        PyTuple_SET_ITEM(dot, 0, PyLong_FromUnsignedLongLong(plain->stamp));
        PyTuple_SET_ITEM(dot, 1, PyLong_FromUnsignedLongLong(plain->origin));
    }
    PyTuple_SET_ITEM(sibling, 0, dot);
    PyTuple_SET_ITEM(sibling, 1, PyLong_FromLong(plain->kind));
    PyTuple_SET_ITEM(sibling, 2, Py_NewRef(plain->payload));
    if (dot == NULL || PyTuple_GET_ITEM(dot, 0) == NULL || PyTuple_GET_ITEM(dot, 1) == NULL
        || PyTuple_GET_ITEM(sibling, 1) == NULL) {
        Py_DECREF(sibling);
        return NULL;
    }
    untrack(dot);
    untrack(sibling);
    return sibling;
}

static PyObject *
siblings_of(const Joined *joined, const Written *plain, PyObject *like)
{
    PyObject *siblings = PyTuple_New(joined->size);
    for (Py_ssize_t i = 0; siblings != NULL && i < joined->size; i++) {
        PyObject *sibling = joined->dots[i].sibling;
        sibling = sibling == NULL ? sibling_of(plain, like) : Py_NewRef(sibling);
        if (sibling == NULL) {
            Py_CLEAR(siblings);
            break;
        }
        PyTuple_SET_ITEM(siblings, i, sibling);
    }
    if (siblings != NULL) {
        untrack(siblings);
    }
    return siblings;
}

/* Ours, and what is higher in theirs. */
static PyObject *
context_of(const Side *ours, const Side *theirs)
{
    PyObject *context = ours->context != NULL ? PyDict_Copy(ours->context) : PyDict_New();
    if (context != NULL && ours->context == NULL && ours->size == 1) {
        PyObject *stamp = PyLong_FromUnsignedLongLong(ours->dots[0].stamp);
        if (stamp == NULL || PyDict_SetItem(context, ours->dots[0].origin_object, stamp) < 0) {
            Py_CLEAR(context);
        }
        Py_XDECREF(stamp);
    }
    PyObject *origin, *said;
    Py_ssize_t place = 0;
    uint64_t stamp, known;
    while (context != NULL && PyDict_Next(theirs->context, &place, &origin, &said)) {
        if (!as_number(said, &stamp) || seen_by(ours, origin, &known) < 0
            || (known < stamp && PyDict_SetItem(context, origin, said) < 0)) {
            Py_CLEAR(context);
        }
    }
    return context;
}

/* Whether the one sibling's dot is all that the context says. */
static int
is_plain(const Joined *joined, PyObject *context)
{
    uint64_t stamp;
    return joined->size == 1 && PyDict_GET_SIZE(context) == 1
        && as_number(PyDict_GetItemWithError(context, joined->dots[0].origin_object), &stamp)
        && stamp == joined->dots[0].stamp;
}

/* Our side. Of a plain row `plain` says what its columns do, and `origin` becomes a new reference. */
static enum outcome
read_ours(Side *ours, Table *t, PyObject *slot, Written *plain, PyObject **origin)
{
    PyObject *special = PyDict_GetItemWithError(t->special, slot);
    Py_ssize_t at = table_place(t, slot);
    if (at < 0 || (special == NULL && PyErr_Occurred())) {
        return FAILED;
    }
    if (special != NULL) {
        return read_side(ours, special) ? DONE : LEAVE;
    }
    *plain = table_read(t, at);
    if ((*origin = PyLong_FromUnsignedLongLong(plain->origin)) == NULL) {
        return FAILED;
    }
    ours->dots[0] = (Dot){plain->stamp, plain->origin, *origin, NULL};
    ours->size = 1;
    return DONE;
}

/* `Table.put` of a row with siblings, of the type that `like` has. */
static enum outcome
put(Table *t, PyObject *key, PyObject *slot, const Joined *joined, PyObject *siblings, PyObject *context,
    PyObject *like)
{
    PyObject *winner = PyTuple_GET_ITEM(siblings, 0), *row = NULL;
    uint64_t kind;
    if (!as_number(PyTuple_GET_ITEM(winner, 1), &kind) || kind > UINT16_MAX) {
        wrong("a kind is out of range");
        return FAILED;
    }
    if (!is_plain(joined, context)) {
        if ((row = tuple_of(Py_TYPE(like), 2)) == NULL) {
            return FAILED;
        }
        PyTuple_SET_ITEM(row, 0, Py_NewRef(siblings));
        PyTuple_SET_ITEM(row, 1, Py_NewRef(context));
        untrack(row);
    }
    Written written = {PyTuple_GET_ITEM(winner, 2), joined->dots[0].stamp, joined->dots[0].origin, (uint16_t)kind};
    int failed = table_write(t, key, slot, &written, row) < 0;
    Py_XDECREF(row);
    return failed ? FAILED : DONE;
}

/* Join both sides into the table. */
static enum outcome
join(Table *t, Vector *here, PyObject *key, PyObject *slot, const Side *ours, const Side *theirs, const Written *plain,
     PyObject *row)
{
    Joined joined;
    if (survivors(&joined, ours, theirs, here) < 0 || compare_contexts(&joined, ours, theirs, here) < 0) {
        return FAILED;
    }
    if (joined.kept == ours->size && (joined.covered || (joined.size == joined.kept && !joined.newer))) {
        return DONE; /* nothing is new */
    }
    if (joined.size == 0 || theirs->size == 0 || joined.size > SIBLINGS_MAX) {
        return LEAVE; /* a removal, or a crowd */
    }
    rank(&joined);
    PyObject *siblings = siblings_of(&joined, plain, theirs->dots[0].sibling), *context = context_of(ours, theirs);
    int made = siblings != NULL && context != NULL;
    enum outcome outcome = made ? put(t, key, slot, &joined, siblings, context, row) : FAILED;
    Py_XDECREF(siblings);
    Py_XDECREF(context);
    return outcome;
}

/* Join a row into the table: `Merge.join`. */
enum outcome
take_row(Table *t, Vector *here, PyObject *key, PyObject *row)
{
    Side ours, theirs;
    Written plain = {.payload = NULL};
    PyObject *slot = PyDict_GetItemWithError(t->slots, key), *origin = NULL;
    if (slot == NULL && PyErr_Occurred()) {
        return FAILED;
    }
    if (!read_side(&theirs, row)) {
        return LEAVE;
    }
    ours.size = 0;
    ours.context = NULL;
    enum outcome outcome = slot == NULL ? DONE : read_ours(&ours, t, slot, &plain, &origin);
    if (outcome == DONE) {
        outcome = join(t, here, key, slot, &ours, &theirs, &plain, row);
    }
    Py_XDECREF(origin);
    return outcome;
}
