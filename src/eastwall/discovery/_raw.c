/* What the raw bytes of a body may hold, told without reading most of them.
 *
 * `triggers` is the C twin of the database that `data_prefilter` builds of `data_forms.TRIGGERS` and `LONG`; `links` that of the search for
 * `links.MARKS`. tests/unit/discovery/test_raw.py holds that both agree. Nothing here calls back into Python code.
 * Limited API (PEP 384), so that one build serves every Python from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { UNMARKED = 1, LONG = 2 }; /* the same numbers are in data_prefilter.py */

enum { DIGIT = 1, UPPER = 2, WORD = 4, SPAN = 8 };
static unsigned char kinds[256];

static void make_kinds(void)
{
    for (int c = 'a'; c <= 'z'; c++)
        kinds[c] = WORD;
    for (int c = 'A'; c <= 'Z'; c++)
        kinds[c] = UPPER | WORD | SPAN;
    for (int c = '0'; c <= '9'; c++)
        kinds[c] = DIGIT | WORD | SPAN;
    for (const char *c = "< .()/-\\"; *c; c++)
        kinds[(unsigned char)*c] |= SPAN;
}

#define SHORTEST 7   /* characters of the shortest text that a trigger matches: 1.1.1.1 */
#define LONG_WORD 26 /* characters of the shortest word that may be a wallet */

typedef const unsigned char *At;

static int all(At at, At end, Py_ssize_t count, int kind)
{
    if (end - at < count)
        return 0;
    while (count--)
        if (!(kinds[*at++] & kind))
            return 0;
    return 1;
}

static int is(At at, At end, unsigned char wanted)
{
    return at < end && *at == wanted;
}

static int up_to(At at, At end, unsigned char last)
{
    return at < end && *at >= 'A' && *at <= last;
}

/* 2[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}, from behind the letter. */
static int of_corsica(At at, At end)
{
    at += is(at, end, ' ');
    if (!all(at, end, 3, DIGIT))
        return 0;
    at += 3;
    at += is(at, end, ' ');
    if (!all(at, end, 3, DIGIT))
        return 0;
    at += 3;
    at += is(at, end, ' ');
    return all(at, end, 2, DIGIT);
}

/* \.[0-9A-Z]{3}\.[0-9A-Z]{3}\\?/[0-9A-Z]{4}-, from behind the first dot. */
static int of_company(At at, At end)
{
    if (!all(at, end, 3, DIGIT | UPPER) || !is(at + 3, end, '.') || !all(at + 4, end, 3, DIGIT | UPPER))
        return 0;
    at += 7;
    at += is(at, end, '\\');
    return is(at, end, '/') && all(at + 1, end, 4, DIGIT | UPPER) && is(at + 5, end, '-');
}

/* \.[0-9]{1,3}\.[0-9]{1,3}\.[0-9], from behind the first dot. */
static int of_address(At at, At end)
{
    for (int part = 0; part < 2; part++) {
        At first = at;
        while (at < end && at - first < 3 && kinds[*at] & DIGIT)
            at++;
        if (at == first || !is(at, end, '.'))
            return 0;
        at++;
    }
    return all(at, end, 1, DIGIT);
}

/* [A-Y][0-9A-Y][0-9]-[A-Y]{2}[0-9]{2} */
static int of_health(At at, At end)
{
    return up_to(at, end, 'Y') && (up_to(at + 1, end, 'Y') || all(at + 1, end, 1, DIGIT)) && all(at + 2, end, 1, DIGIT) &&
           is(at + 3, end, '-') && up_to(at + 4, end, 'Y') && up_to(at + 5, end, 'Y') && all(at + 6, end, 2, DIGIT);
}

/* What a space stands in: [A-Z]{2}[0-9]{2} [0-9A-Z]{4}[ ] and [A-Z]{2} [0-9]{2} [0-9]{2} [0-9]{2} [A-D] */
static int at_space(At first, At at, At end)
{
    if (at - first >= 4 && all(at - 4, end, 2, UPPER) && all(at - 2, end, 2, DIGIT) && all(at + 1, end, 4, DIGIT | UPPER) &&
        is(at + 5, end, ' '))
        return 1;
    return at - first >= 2 && all(at - 2, end, 2, UPPER) && all(at + 1, end, 2, DIGIT) && is(at + 3, end, ' ') &&
           all(at + 4, end, 2, DIGIT) && is(at + 6, end, ' ') && all(at + 7, end, 2, DIGIT) && is(at + 9, end, ' ') &&
           up_to(at + 10, end, 'D');
}

/* Whether a trigger matches in a span of characters that they know. */
static int triggered(At first, At end)
{
    int digits = 0, gap = 0, run = 0;
    for (At at = first; at < end; at++) {
        if (kinds[*at] & DIGIT) {
            digits = digits && gap <= 2 ? digits + 1 : 1;
            gap = 0;
            if (digits >= 9 || ++run >= 10) /* [0-9](?:[ .()/-]{0,2}[0-9]){8} and [0-9A-Z<]{10} */
                return 1;
            continue;
        }
        if (kinds[*at] & UPPER || *at == '<') {
            digits = 0;
            if (++run >= 10)
                return 1;
            if ((*at == 'A' || *at == 'B') && at > first && at[-1] == '2' && of_corsica(at + 1, end))
                return 1;
            continue;
        }
        run = 0;
        gap++;
        switch (*at) {
        case '\\':
            digits = 0;
            break;
        case ' ':
            if (at_space(first, at, end))
                return 1;
            break;
        case '.':
            if ((at > first && kinds[at[-1]] & DIGIT && of_address(at + 1, end)) || of_company(at + 1, end))
                return 1;
            break;
        case '-':
            if (at > first && kinds[at[-1]] & DIGIT && of_health(at + 1, end))
                return 1;
            break;
        default:
            break;
        }
    }
    return 0;
}

/* Of a span as long as is needed every SHORTEST-th byte is one of its characters, so that no other byte need be looked at. */
static int has_trigger(At data, Py_ssize_t size)
{
    At end = data + size, from = data;
    for (Py_ssize_t next = SHORTEST - 1; next < size;) {
        At at = data + next;
        if (!(kinds[*at] & SPAN)) {
            next += SHORTEST;
            continue;
        }
        At first = at, last = at + 1;
        while (first > from && kinds[first[-1]] & SPAN)
            first--;
        while (last < end && kinds[*last] & SPAN)
            last++;
        if (last - first >= SHORTEST && triggered(first, last))
            return 1;
        from = last;
        next = last - data + SHORTEST;
    }
    return 0;
}

/* Whether a whole word may be a wallet: data_forms.LONG. */
static int may_be_wallet(At word, At end)
{
    Py_ssize_t size = end - word;
    return (size >= LONG_WORD && size <= 35 && (*word == '1' || *word == '3')) || (size == 42 && word[0] == '0' && word[1] == 'x');
}

static int has_long_word(At data, Py_ssize_t size)
{
    At end = data + size, from = data;
    for (Py_ssize_t next = LONG_WORD - 1; next < size;) {
        At at = data + next;
        if (!(kinds[*at] & WORD)) {
            next += LONG_WORD;
            continue;
        }
        At first = at, last = at + 1;
        while (first > from && kinds[first[-1]] & WORD)
            first--;
        while (last < end && kinds[*last] & WORD)
            last++;
        if (may_be_wallet(first, last))
            return 1;
        from = last;
        next = last - data + LONG_WORD;
    }
    return 0;
}

/* Whether a mark of links ends at a quote. */
static int is_mark(At data, At quote)
{
    static const struct {
        Py_ssize_t size;
        const char *text;
    } marks[] = {{4, "href"}, {5, "\"self"}, {4, "\"url"}, {4, "\"uri"}, {5, "\"link"}, {9, "\"location"}};
    for (size_t at = 0; at < sizeof marks / sizeof *marks; at++)
        if (quote - data >= marks[at].size && memcmp(quote - marks[at].size, marks[at].text, marks[at].size) == 0)
            return 1;
    return 0;
}

static int ends_mark(unsigned char letter)
{
    return letter == 'f' || letter == 'l' || letter == 'i' || letter == 'k' || letter == 'n';
}

typedef unsigned char Block __attribute__((vector_size(16)));

static int has_link(At data, Py_ssize_t size)
{
    Py_ssize_t at = 1;
    for (; at + 16 <= size; at += 16) {
        Block here, before;
        uint64_t halves[2];
        memcpy(&here, data + at, 16);
        memcpy(&before, data + at - 1, 16);
        Block met = (Block)((here == '"') &
                            ((before == 'f') | (before == 'l') | (before == 'i') | (before == 'k') | (before == 'n')));
        memcpy(halves, &met, 16);
        if (!(halves[0] | halves[1]))
            continue;
        for (Py_ssize_t in = at; in < at + 16; in++)
            if (met[in - at] && is_mark(data, data + in))
                return 1;
    }
    for (; at < size; at++)
        if (data[at] == '"' && ends_mark(data[at - 1]) && is_mark(data, data + at))
            return 1;
    return 0;
}

static PyObject *triggers(PyObject *Py_UNUSED(module), PyObject *data)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(data, &bytes, &size) < 0)
        return NULL;
    int found = has_trigger((At)bytes, size) ? UNMARKED : 0;
    return PyLong_FromLong(has_long_word((At)bytes, size) ? found | LONG : found);
}

static PyObject *links(PyObject *Py_UNUSED(module), PyObject *data)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(data, &bytes, &size) < 0)
        return NULL;
    return PyBool_FromLong(has_link((At)bytes, size));
}

static PyMethodDef functions[] = {
    {"triggers", triggers, METH_O, "Which databases are to be asked, as bits."},
    {"links", links, METH_O, "Whether a member may hold a link."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *Py_UNUSED(module))
{
    make_kinds();
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_raw", .m_size = 0, .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__raw(void)
{
    return PyModuleDef_Init(&module);
}
