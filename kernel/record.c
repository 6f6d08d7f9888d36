/* One record on its way into the log's mapped window: the bytes of `fold.encode_batch` and of `records`. */

#include "kernel.h"

static size_t
size_of(PyObject *value)
{
    return PyUnicode_CheckExact(value) ? (size_t)PyUnicode_GET_LENGTH(value)
         : PyBytes_CheckExact(value)   ? (size_t)PyBytes_GET_SIZE(value)
                                       : 8;
}

/* Find the place of a record of at most `most` bytes: DONE, or LEAVE where Python must make room or has something to
   do at that place. */
enum outcome
find_place(Setter *k, Record *record, uint64_t most)
{
    PyObject *writer = *k->writer, *window;
    uint64_t end, room, place, window_start, grown;
    if (writer == NULL || !Py_IS_TYPE(writer, k->writer_type) || !as_number(at_offset(writer, k->end), &end)
        || !as_number(at_offset(writer, k->room), &room) || !as_number(at_offset(writer, k->place), &place)
        || !as_number(at_offset(writer, k->seed), &record->seed) || !as_number(*k->grown, &grown)
        || !as_number(at_offset(writer, k->window_start), &window_start)) {
        return LEAVE;
    }
    if (end < window_start || room < end || room - end < most || (place | end) >> 20 != grown) {
        return LEAVE;
    }
    window = at_offset(writer, k->window);
    if (window == NULL || PyObject_GetBuffer(window, &record->window, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return LEAVE;
    }
    if ((uint64_t)record->window.len < end - window_start + most) {
        PyBuffer_Release(&record->window);
        return LEAVE;
    }
    record->writer = writer;
    record->start = end;
    record->at = (unsigned char *)record->window.buf + (end - window_start);
    return DONE;
}

/* How long the record of a write is at most. */
uint64_t
record_bytes_max(Setter *k, PyObject *key, PyObject *value)
{
    return FRAME_BYTES + (uint64_t)PyBytes_GET_SIZE(k->prefix) + 2 * UINT_BYTES_MAX + 5
        + (uint64_t)PyUnicode_GET_LENGTH(key) + 1 + 5 + size_of(value);
}

/* Put the event of `fold.encode_batch` behind the place of its frame. It is no record yet. */
void
put_event(Setter *k, Record *record, PyObject *key, PyObject *value, uint64_t stamp, uint64_t origin)
{
    unsigned char *begin = record->at + FRAME_BYTES, *out = begin;
    memcpy(out, PyBytes_AS_STRING(k->prefix), (size_t)PyBytes_GET_SIZE(k->prefix));
    out = put_uint(out + PyBytes_GET_SIZE(k->prefix), stamp);
    out = put_uint(out, origin);
    out = put_text(out, PyUnicode_1BYTE_DATA(key), (size_t)PyUnicode_GET_LENGTH(key));
    *out++ = 0;
    out = put_payload(out, value);
    record->body = (size_t)(out - begin);
}

uint64_t
end_of(Record *record)
{
    return record->start + FRAME_BYTES + record->body;
}

/* Make it one. The mark comes last: who dies or reads in between leaves or finds none. */
void
put_frame(Record *record)
{
    unsigned char frame[FRAME_BYTES], *event = record->at + FRAME_BYTES;
    put_big(frame, record->seed, 4);
    put_big(frame + 4, record->body, 4);
    put_big(frame + 8, crc32_of(event, record->body, (uint32_t)(record->seed ^ end_of(record))), 4);
    memcpy(record->at + 4, frame + 4, FRAME_BYTES - 4);
    atomic_thread_fence(memory_order_release);
    memcpy(record->at, frame, 4);
}

/* What stands behind the last record is zeros. */
void
wipe(Record *record)
{
    memset(record->at + FRAME_BYTES, 0, record->body);
}
