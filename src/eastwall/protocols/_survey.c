/* One pass over the bytes of a JSON body and one over its tree: is there anything that needs a closer look?
 *
 * The C twin of `json.doubts_of`, which says what the bits mean and why they are right; tests/unit/protocols holds that both agree.
 * Limited API (PEP 384), so that one build serves every Python from 3.11 on. Nothing here calls back into Python code.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { DEEP = 1, REPEATS = 2, BIG = 4 };
#define SAFE_DIGITS 16

/* What stands in the bytes outside of strings. */
typedef struct {
    Py_ssize_t keys, depth;
    int long_number;
} Bytes;

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)
#define HAS_ZERO(word) (((word) - ONES) & ~(word) & HIGHS)

/* From behind an opening quote to the closing one, or to `end`. */
static const unsigned char *skip_string(const unsigned char *at, const unsigned char *end)
{
    for (;;) {
        while (end - at >= 8) {
            uint64_t word;
            memcpy(&word, at, 8);
            if (HAS_ZERO(word ^ (ONES * '"')) | HAS_ZERO(word ^ (ONES * '\\')))
                break;
            at += 8;
        }
        while (at < end && *at != '"' && *at != '\\')
            at++;
        if (at >= end || *at == '"')
            return at;
        at += end - at > 1 ? 2 : 1;
    }
}

static Bytes read_bytes(const unsigned char *at, const unsigned char *end)
{
    Bytes seen = {0, 0, 0};
    Py_ssize_t level = 0;
    for (; at < end; at++) {
        switch (*at) {
        case '"':
            at = skip_string(at + 1, end);
            break;
        case ':':
            seen.keys++;
            break;
        case '{':
        case '[':
            if (++level > seen.depth)
                seen.depth = level;
            break;
        case '}':
        case ']':
            level--;
            break;
        case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9': {
            const unsigned char *first = at;
            while (end - at > 1 && (unsigned char)(at[1] - '0') < 10)
                at++;
            if (at - first + 1 >= SAFE_DIGITS)
                seen.long_number = 1;
            break;
        }
        default:
            break;
        }
    }
    return seen;
}

/* Keys in all objects of the tree. `levels` bounds the recursion; the caller has made sure that it is enough. */
static Py_ssize_t kept_keys(PyObject *node, Py_ssize_t levels)
{
    Py_ssize_t keys = 0;
    if (levels <= 0)
        return 0;
    if (PyDict_CheckExact(node)) {
        PyObject *key, *value;
        Py_ssize_t at = 0;
        keys = PyDict_Size(node);
        while (PyDict_Next(node, &at, &key, &value))
            if (PyDict_CheckExact(value) || PyList_CheckExact(value))
                keys += kept_keys(value, levels - 1);
    } else if (PyList_CheckExact(node)) {
        Py_ssize_t size = PyList_Size(node);
        for (Py_ssize_t at = 0; at < size; at++) {
            PyObject *value = PyList_GetItem(node, at);
            if (PyDict_CheckExact(value) || PyList_CheckExact(value))
                keys += kept_keys(value, levels - 1);
        }
    }
    return keys;
}

static PyObject *doubts(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *body, *tree;
    Py_ssize_t max_depth, size;
    char *bytes;
    if (!PyArg_ParseTuple(args, "SOn:doubts", &body, &tree, &max_depth))
        return NULL;
    if (PyBytes_AsStringAndSize(body, &bytes, &size) < 0)
        return NULL;
    Bytes seen = read_bytes((const unsigned char *)bytes, (const unsigned char *)bytes + size);
    long found = seen.long_number ? BIG : 0;
    if (seen.depth > max_depth)
        found |= DEEP | REPEATS; /* too deep to be counted here: whoever asked takes the slow way */
    else if (seen.keys != kept_keys(tree, seen.depth))
        found |= REPEATS;
    return PyLong_FromLong(found);
}

static PyMethodDef functions[] = {
    {"doubts", doubts, METH_VARARGS, "doubts(body, tree, max_depth) -> int: see json.doubts_of"},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_survey", .m_size = 0, .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__survey(void)
{
    return PyModuleDef_Init(&module);
}
