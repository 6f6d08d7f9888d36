/* A block that is being read: its columns (columns.c), then its rows (decode.c). */

#ifndef PROPAGUL_DECODE_H
#define PROPAGUL_DECODE_H

#include "kernel.h"

enum { ROWS_MAX = 500 };

/* A list of numbers that was passed over. */
typedef struct {
    const unsigned char *at, *end;
    uint64_t size;                      /* how many there were */
} Column;

/* Small: a hostile block may hold very many. */
typedef struct {
    uint64_t stamp;
    uint32_t origin;                    /* its place among `origins` */
    uint16_t kind;
} Dot;

/* What a run of rows is like. */
typedef struct {
    Py_ssize_t count, width, further;
} Shape;

typedef struct {
    const unsigned char *at, *end;      /* what was not read yet */
    unsigned form;
    PyObject *row_type, *sibling_type, *dot_type, *unchecked_ext, *are_objects; /* borrowed */
    PyObject *text, *payloads, *packed, *origins;
    Column lengths, differences, kinds, shapes, runs;
    Dot *dots;                          /* of the siblings, then of what contexts say further */
    Py_ssize_t size, siblings;          /* how many dots, and how many of them are siblings' */
    Py_ssize_t rows, plain;
    Py_ssize_t key, length;             /* where the next key begins, and how long the one before was */
    Py_ssize_t sibling, seen;           /* the next ones to be dealt out */
} Draft;

static inline int64_t
next(Column *column)
{
    int64_t number = 0;
    column->at = get_int(column->at, column->end, &number);
    return number;
}

/* No number is so high that what is made of them overflows. */
static inline int
next_shape(Draft *d, Shape *shape)
{
    int64_t count = next(&d->shapes), width = next(&d->shapes), further = next(&d->shapes);
    if (count < 0 || count > ROWS_MAX || width < 0 || width > INT32_MAX || further < 0 || further > INT32_MAX) {
        return 0;
    }
    *shape = (Shape){(Py_ssize_t)count, (Py_ssize_t)width, (Py_ssize_t)further};
    return 1;
}

enum outcome read_columns(Draft *d);

#endif
