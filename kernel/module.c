/* The module `propagul._kernel`. */

#include "kernel.h"

static PyMethodDef functions[] = {
    {"newest_of", (PyCFunction)(void (*)(void))newest_of, METH_FASTCALL,
     "newest_of(slots, when, arrivals)\n--\n\nThe entries that are their slots' newest, as bytes of two columns."},
    {"uncollected", uncollected, METH_O, "uncollected(items)\n--\n\nSee propagul.crdt.bulk."},
    {"uncollected_at", (PyCFunction)(void (*)(void))uncollected_at, METH_FASTCALL,
     "uncollected_at(values, slots)\n--\n\nSee propagul.crdt.bulk."},
    {"take_plains", (PyCFunction)(void (*)(void))take_plains, METH_FASTCALL,
     "take_plains(table, seen, plains)\n--\n\nSee propagul.crdt.bulk."},
    {"take_rows", (PyCFunction)(void (*)(void))take_rows, METH_FASTCALL,
     "take_rows(table, here, others, join)\n--\n\nSee propagul.crdt.bulk."},
    {"load_plains", (PyCFunction)(void (*)(void))load_plains, METH_FASTCALL,
     "load_plains(table, plains)\n--\n\nSee propagul.crdt.bulk."},
    {"offer_plains", (PyCFunction)(void (*)(void))offer_plains, METH_FASTCALL,
     "offer_plains(by_key, place, plains)\n--\n\nSee propagul.crdt.bulk."},
    {"lacking", (PyCFunction)(void (*)(void))lacking, METH_FASTCALL,
     "lacking(known, plains, others)\n--\n\nSee propagul.crdt.bulk."},
    {"read_slots", (PyCFunction)(void (*)(void))read_slots, METH_FASTCALL,
     "read_slots(table, slots)\n--\n\nSee propagul.crdt.bulk."},
    {"encode_blocks", (PyCFunction)(void (*)(void))encode_blocks, METH_FASTCALL,
     "encode_blocks(plains, others, packed, bytes_max, rows_max)\n--\n\nSee propagul.crdt.codec."},
    {"decode_block", (PyCFunction)(void (*)(void))decode_block, METH_FASTCALL,
     "decode_block(packed, row, sibling, dot, unchecked_ext, are_objects)\n--\n\nSee propagul.crdt.codec."},
    {"replay", (PyCFunction)(void (*)(void))replay, METH_FASTCALL,
     "replay(table, begin, events, at, known_ext)\n--\n\nSee propagul.log.fold."},
    {"take_records", (PyCFunction)(void (*)(void))take_records, METH_FASTCALL,
     "take_records(chunk, at, place, start, seed, found)\n--\n\nSee propagul.log.records."},
    {NULL, NULL, 0, NULL},
};

/* `payload.Packed`. A class made in Python has the collector count and visit each of its objects, as each refers to its
   class; these it does not know of. */
static PyType_Slot packed_slots[] = {
    {Py_tp_doc, "Canonical msgpack of a list, a dict or a datetime; see propagul.crdt.payload."}, {0, NULL}};

static PyType_Spec packed_spec = {"propagul.crdt.payload.Packed", 0, 0, Py_TPFLAGS_DEFAULT, packed_slots};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static int
fill_module(PyObject *module)
{
    make_crc_table();
    if (add_type(module, &getter_spec, NULL) < 0 || add_type(module, &setter_spec, NULL) < 0
        || add_type(module, &packed_spec, &PyBytes_Type) < 0) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "LAYOUT", 6);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "propagul._kernel",
    .m_doc = "What is asked of a store most, in C, for the simple case; see kernel/kernel.h.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__kernel(void)
{
    return PyModuleDef_Init(&module_def);
}
