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

static int
fill_module(PyObject *module)
{
    PyType_Spec *const specs[] = {&getter_spec, &setter_spec};
    make_crc_table();
    for (int i = 0; i < 2; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);
        if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
            Py_XDECREF(type);
            return -1;
        }
        Py_DECREF(type);
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
