/* The walk of data_values.py in C, and what a text must hold for a value to be in it: same answers, a fraction of the time.
 * tests/unit/discovery/test_values_in_c.py holds that both agree.
 *
 * What the keys of an object say is worked out in Python, by `plan`, once per combination, place and context. Here is only the loop over
 * what a body holds; a text that may hold a value, or whose name says that it is one, goes back to Python (`value`), unless it is the whole
 * value of a field with one telling name, which is the common case.
 *
 * Memory: an entry of a plan owns the plan last met below it, whose place is longer: a tree, so no cycles and no need of the garbage
 * collector. All live until `forget`; a walk holds the plans it stands in, so that `forget` in a callback takes nothing away from it.
 * Limited API (PEP 384): one build serves every Python from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* What a text holds; the same numbers are in data_values.py. */
enum {
    DIGITS = 1,    /* nine digits, at most two separators between two of them */
    PLUS = 2,      /* + and a digit */
    IBAN = 4,      /* two capitals, two digits */
    AT = 8,        /* @ */
    SECRET = 16,   /* fourteen characters of a token, ://, -----BEGIN, AccountKey */
    NATIONAL = 32, /* ten digits and capitals, and other forms of national ids */
    PASSPORT = 64, /* < or three capitals and six digits */
    HEALTH = 128,  /* two of A-Y, two digits */
    ADDRESS = 256, /* a part of an IPv4 or IPv6 address */
    WALLET = 512,  /* fourteen letters and digits */
    LABELLED = 1024, /* what a label and its value need: `:`, `=` or three digits close together, and `:`, `=` or a space */
    LETTERS = 2048,  /* nothing but ASCII letters, fewer than WORD */
    UNKNOWN = 4096,  /* bytes beyond ASCII: whether it is letters alone is for Python to say */
};

#define WORD 20 /* letters alone make a value from this length on only */

enum { LOWER = 1, UPPER = 2, DIGIT = 4, GAP = 8, TOKEN = 16, HEX = 32 };
static unsigned char kinds[256];

static void make_kinds(void)
{
    for (int c = 'a'; c <= 'z'; c++)
        kinds[c] = LOWER | TOKEN | (c <= 'f' ? HEX : 0);
    for (int c = 'A'; c <= 'Z'; c++)
        kinds[c] = UPPER | TOKEN | (c <= 'F' ? HEX : 0);
    for (int c = '0'; c <= '9'; c++)
        kinds[c] = DIGIT | TOKEN | HEX;
    for (const char *c = " .()/-"; *c; c++)
        kinds[(unsigned char)*c] |= GAP;
    for (const char *c = "_.-"; *c; c++)
        kinds[(unsigned char)*c] |= TOKEN;
}

#define IS(at, kind) (kinds[text[at]] & (kind))
#define UPPER_TO_Y(at) (text[at] >= 'A' && text[at] <= 'Y')

/* What ends at a digit. `run` digits end here. */
static int at_digit(const unsigned char *text, Py_ssize_t at, Py_ssize_t run)
{
    int found = 0;
    if (run == 2 && at >= 3 && IS(at - 2, UPPER) && IS(at - 3, UPPER))
        found |= IBAN | (UPPER_TO_Y(at - 2) && UPPER_TO_Y(at - 3) ? HEALTH : 0);
    if (run == 3 && at >= 9) {
        unsigned char sign = text[at - 3];
        if ((sign == '-' || sign == '+' || UPPER_TO_Y(at - 3)) && IS(at - 4, DIGIT) && IS(at - 5, DIGIT) && IS(at - 6, DIGIT) &&
            IS(at - 7, DIGIT) && IS(at - 8, DIGIT) && IS(at - 9, DIGIT))
            found |= NATIONAL;
    }
    if (run == 6 && at >= 8 && IS(at - 6, UPPER) && IS(at - 7, UPPER) && IS(at - 8, UPPER))
        found |= PASSPORT;
    if (run == 1 && at >= 4 && text[at - 1] == '.') {
        Py_ssize_t before = at - 2;
        while (before >= at - 4 && before >= 0 && IS(before, DIGIT))
            before--;
        if (before < at - 2 && before >= 1 && text[before] == '.' && IS(before - 1, DIGIT))
            found |= ADDRESS;
    }
    return found;
}

/* What ends at another character. */
static int at_sign(const unsigned char *text, Py_ssize_t at, Py_ssize_t size)
{
    switch (text[at]) {
    case '@':
        return AT;
    case '<':
        return PASSPORT;
    case '/':
        if (at >= 2 && text[at - 1] == '/' && text[at - 2] == ':')
            return SECRET;
        /* fall through */
    case '-':
        if (at >= 7 && IS(at - 1, UPPER | DIGIT) && IS(at - 2, UPPER | DIGIT) && IS(at - 3, UPPER | DIGIT) && text[at - 4] == '.' &&
            IS(at - 5, UPPER | DIGIT) && IS(at - 6, UPPER | DIGIT) && IS(at - 7, UPPER | DIGIT))
            return NATIONAL;
        return 0;
    case ' ':
        if (at >= 5 && IS(at - 1, DIGIT) && IS(at - 2, DIGIT) && text[at - 3] == ' ' && IS(at - 4, UPPER) && IS(at - 5, UPPER))
            return NATIONAL;
        return 0;
    case 'B':
        return at >= 5 && size - at >= 5 && memcmp(text + at - 5, "-----BEGIN", 10) == 0 ? SECRET : 0;
    case 'K':
        return at >= 7 && size - at >= 3 && memcmp(text + at - 7, "AccountKey", 10) == 0 ? SECRET : 0;
    default:
        return 0;
    }
}

/* One pass, constant work a byte. */
static int features(const unsigned char *text, Py_ssize_t size)
{
    int found = 0, letters = size > 0 && size < WORD, space = 0, sign = 0, close = 0;
    Py_ssize_t digits = 0, gap = 0, run = 0, token = 0, word = 0, capitals = 0, plus = 0, near = 0, apart = 0;
    for (Py_ssize_t at = 0; at < size; at++) {
        unsigned char here = text[at], kind = kinds[here];
        if (kind & LOWER) { /* most of what is read */
            if (here <= 'f' && at && text[at - 1] == ':')
                found |= ADDRESS;
            digits = run = capitals = plus = 0;
            apart++;
            if (++token >= 14)
                found |= SECRET;
            if (++word >= 14)
                found |= WALLET;
            continue;
        }
        if (!(kind & UPPER))
            letters = 0;
        if (kind & DIGIT) {
            digits = digits && gap <= 2 ? digits + 1 : 1;
            gap = 0;
            if (digits >= 9)
                found |= DIGITS;
            if (plus && here != '0')
                found |= PLUS;
            near = near && apart <= 3 ? near + 1 : 1;
            apart = 0;
            if (near >= 3)
                close = 1;
            found |= at_digit(text, at, ++run);
        } else {
            run = 0;
            if (kind & GAP)
                gap++;
            else
                digits = 0;
            if ((here & 0xC0) != 0x80) /* characters, not bytes */
                apart++;
            found |= at_sign(text, at, size);
        }
        if (at && text[at - 1] == ':' && (kind & HEX || here == ':'))
            found |= ADDRESS;
        plus = here == '+' ? 3 : plus && (here == ' ' || here == '(') ? plus - 1 : 0;
        token = kind & TOKEN ? token + 1 : 0;
        word = kind & (UPPER | DIGIT) ? word + 1 : 0;
        capitals = kind & (UPPER | DIGIT) ? capitals + 1 : 0;
        if (token >= 14)
            found |= SECRET;
        if (word >= 14)
            found |= WALLET;
        if (capitals >= 10)
            found |= NATIONAL;
        space |= here == ' ';
        sign |= here == ':' || here == '=';
        if (here >= 0x80)
            found |= UNKNOWN;
    }
    if (sign || (space && close))
        found |= LABELLED;
    return found | (letters ? LETTERS : 0);
}

/* -1 with an error set; UNKNOWN alone never comes back. */
static int features_of(PyObject *text)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    if (bytes != NULL)
        return features((const unsigned char *)bytes, size);
    /* A lone surrogate: it is read as what stands for it in other bytes. */
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return -1;
    PyErr_Clear();
    PyObject *encoded = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (encoded == NULL)
        return -1;
    int found = features((const unsigned char *)PyBytes_AsString(encoded), PyBytes_Size(encoded));
    Py_DECREF(encoded);
    return found;
}

/* ---- plans ---- */

typedef struct Plan Plan;

/* What is known of a key. */
typedef struct {
    PyObject *key;   /* borrowed from Plan.keys */
    PyObject *entry; /* data_values.Entry */
    PyObject *place, *inside, *items_place;
    PyObject *hit, *valid, *mask, *shown, *sure; /* of a name that says one thing alone; valid is NULL for other names */
    int telling, is_value;
    Plan *below, *below_items; /* last met */
} Entry;

struct Plan {
    PyObject_HEAD
    PyObject *keys;
    Entry *entries;
    Py_ssize_t size;
    int kept;
};

typedef struct {
    PyObject_HEAD
    PyObject *plan, *value;
    PyObject *plans; /* (place, inside, keys) -> Plan */
    Plan *root;
    int gate, labels, numeric;
    Py_ssize_t max_depth, max_hits;
} Walker;

typedef struct {
    PyTypeObject *plan, *walker;
} Types;

static void free_self(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static void plan_dealloc(PyObject *object)
{
    Plan *self = (Plan *)object;
    for (Py_ssize_t at = 0; at < self->size; at++) {
        Entry *one = &self->entries[at];
        Py_XDECREF(one->entry);
        Py_XDECREF(one->place);
        Py_XDECREF(one->inside);
        Py_XDECREF(one->items_place);
        Py_XDECREF(one->hit);
        Py_XDECREF(one->valid);
        Py_XDECREF(one->mask);
        Py_XDECREF(one->shown);
        Py_XDECREF(one->sure);
        Py_XDECREF((PyObject *)one->below);
        Py_XDECREF((PyObject *)one->below_items);
    }
    PyMem_Free(self->entries);
    Py_XDECREF(self->keys);
    free_self(object);
}

static PyObject *new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

/* plan(place, inside, keys, parent) -> (kept, ((entry, place, inside, telling, is_value, only), ...)), where only is None or
 * (hit, valid, mask, shown, sure). New reference. */
static Plan *make_plan(Walker *self, Types *types, PyObject *place, PyObject *inside, PyObject *keys, PyObject *parent)
{
    PyObject *told = PyObject_CallFunctionObjArgs(self->plan, place, inside, keys, parent, NULL);
    if (told == NULL)
        return NULL;
    Plan *plan = NULL;
    PyObject *entries;
    int kept;
    if (!PyTuple_CheckExact(told)) {
        PyErr_SetString(PyExc_TypeError, "a plan must be a tuple");
        goto failed;
    }
    if (!PyArg_ParseTuple(told, "pO!", &kept, &PyTuple_Type, &entries) || (plan = (Plan *)new_object(types->plan)) == NULL)
        goto failed;
    Py_ssize_t size = PyTuple_Size(keys);
    if (PyTuple_Size(entries) != size) {
        PyErr_SetString(PyExc_ValueError, "one entry is needed for each key");
        goto failed;
    }
    plan->keys = Py_NewRef(keys);
    plan->kept = kept;
    if ((plan->entries = PyMem_Calloc(size ? (size_t)size : 1, sizeof(Entry))) == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    plan->size = size;
    for (Py_ssize_t at = 0; at < size; at++) {
        Entry *one = &plan->entries[at];
        PyObject *part = PyTuple_GetItem(entries, at), *entry, *where, *within, *only;
        if (!PyTuple_CheckExact(part) || !PyArg_ParseTuple(part, "OUUppO", &entry, &where, &within, &one->telling, &one->is_value, &only)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "an entry must be a tuple");
            goto failed;
        }
        one->key = PyTuple_GetItem(keys, at);
        one->entry = Py_NewRef(entry);
        one->place = Py_NewRef(where);
        one->inside = Py_NewRef(within);
        if (only != Py_None) {
            PyObject *hit, *valid, *mask, *shown, *sure;
            if (!PyTuple_CheckExact(only) || !PyArg_ParseTuple(only, "O!OOUO", &PyTuple_Type, &hit, &valid, &mask, &shown, &sure)) {
                if (!PyErr_Occurred())
                    PyErr_SetString(PyExc_TypeError, "what a name says must be a tuple");
                goto failed;
            }
            one->hit = Py_NewRef(hit);
            one->valid = Py_NewRef(valid);
            one->mask = Py_NewRef(mask);
            one->shown = Py_NewRef(shown);
            one->sure = Py_NewRef(sure);
        }
    }
    Py_DECREF(told);
    return plan;
failed:
    Py_DECREF(told);
    Py_XDECREF((PyObject *)plan);
    return NULL;
}

/* Decoders share the text of keys that come again and again, so that most are the same object. */
static int same_keys(Plan *plan, PyObject *node)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    Entry *one = plan->entries;
    if (PyDict_Size(node) != plan->size)
        return 0; /* so the loop below ends with the entries */
    while (PyDict_Next(node, &at, &key, &value))
        if ((one++)->key != key)
            return 0;
    return 1;
}

/* The plan of an object; `last` is where the one met before is remembered, NULL: nowhere. New reference. */
static Plan *plan_of(Walker *self, Types *types, PyObject *node, PyObject *place, PyObject *inside, PyObject *parent, Plan **last)
{
    PyObject *key, *value, *where = NULL, *keys;
    Py_ssize_t at = 0, index = 0;
    Plan *plan = NULL;
    if ((keys = PyTuple_New(PyDict_Size(node))) == NULL)
        return NULL;
    while (PyDict_Next(node, &at, &key, &value))
        PyTuple_SetItem(keys, index++, Py_NewRef(key));
    if ((where = PyTuple_Pack(3, place, inside, keys)) == NULL)
        goto done;
    plan = (Plan *)PyDict_GetItemWithError(self->plans, where);
    if (plan != NULL)
        Py_INCREF((PyObject *)plan);
    else if (!PyErr_Occurred()) {
        plan = make_plan(self, types, place, inside, keys, parent);
        if (plan != NULL && plan->kept && PyDict_SetItem(self->plans, where, (PyObject *)plan) < 0) {
            Py_CLEAR(plan);
            goto done;
        }
    }
    if (plan != NULL && plan->kept && last != NULL) {
        Plan *old = *last;
        *last = (Plan *)Py_NewRef((PyObject *)plan);
        Py_XDECREF((PyObject *)old);
    }
done:
    Py_XDECREF(where);
    Py_DECREF(keys);
    return plan;
}

/* ---- the walk ---- */

typedef struct {
    Walker *self;
    Types *types;
    PyObject *found;
} Walk;

static int look(Walk *walk, PyObject *item, PyObject *place, PyObject *entry, int held)
{
    PyObject *mask = PyLong_FromLong(held);
    if (mask == NULL)
        return -1;
    PyObject *done = PyObject_CallFunctionObjArgs(walk->self->value, item, place, entry, walk->found, mask, NULL);
    Py_DECREF(mask);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The value of a field whose name says one thing, in which nothing else can be. */
static int named(Walk *walk, Entry *one, PyObject *item)
{
    if (PyDict_GetItemWithError(walk->found, one->hit) != NULL)
        return 0;
    if (PyErr_Occurred())
        return -1;
    PyObject *valid = PyObject_CallFunctionObjArgs(one->valid, item, NULL);
    if (valid == NULL)
        return -1;
    int holds = PyObject_IsTrue(valid);
    Py_DECREF(valid);
    if (holds <= 0)
        return holds;
    if (PyDict_Size(walk->found) >= walk->self->max_hits)
        return 0;
    PyObject *masked = PyObject_CallFunctionObjArgs(one->mask, item, NULL);
    if (masked == NULL)
        return -1;
    if (PyUnicode_GetLength(one->shown)) {
        PyObject *whole = PyUnicode_FromFormat("%U %U", one->shown, masked);
        Py_DECREF(masked);
        if ((masked = whole) == NULL)
            return -1;
    }
    PyObject *pair = PyTuple_Pack(2, masked, one->sure);
    Py_DECREF(masked);
    if (pair == NULL)
        return -1;
    int failed = PyDict_SetItem(walk->found, one->hit, pair);
    Py_DECREF(pair);
    return failed;
}

static int is_letters(PyObject *item, int held)
{
    if (!(held & UNKNOWN))
        return (held & LETTERS) != 0;
    if (PyUnicode_GetLength(item) >= WORD)
        return 0;
    PyObject *told = PyObject_CallMethod(item, "isalpha", NULL);
    if (told == NULL)
        return -1;
    int letters = PyObject_IsTrue(told);
    Py_DECREF(told);
    return letters;
}

/* May a text hold a label and its value; the caller knows that no form's trigger hit. */
static int may_be_labelled(PyObject *item, int held)
{
    if (!(held & LABELLED) || PyUnicode_GetLength(item) <= 8)
        return 0;
    Py_UCS4 first = PyUnicode_ReadChar(item, 0);
    return !(first >= '0' && first <= '9'); /* other scripts' digits: Python says */
}

static int text_in_object(Walk *walk, Entry *one, PyObject *item)
{
    Walker *self = walk->self;
    int held = features_of(item), letters;
    if (held < 0 || (letters = is_letters(item, held)) < 0)
        return -1;
    if (!letters && held & self->gate)
        return look(walk, item, one->place, one->entry, held);
    if (one->valid != NULL)
        return named(walk, one, item);
    if (one->telling || (!letters && self->labels && may_be_labelled(item, held)))
        return look(walk, item, one->place, one->entry, held);
    return 0;
}

/* Whether a number may be a value. */
static int may_count(Walker *self, PyObject *item)
{
    if (!self->numeric || !PyLong_CheckExact(item))
        return 0;
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(item, &overflow);
    return overflow > 0 || number > 999999999999LL;
}

static int walk_object(Walk *walk, PyObject *node, Plan *plan, Py_ssize_t depth);

/* `one` is NULL where the list stands under no name. `last`: where the plan of its objects is remembered. */
static int walk_items(Walk *walk, PyObject *node, PyObject *place, PyObject *inside, Entry *one, PyObject *entry, PyObject *parent, int telling,
                      Plan **last, Py_ssize_t depth)
{
    Walker *self = walk->self;
    if (depth > self->max_depth)
        return 0;
    for (Py_ssize_t at = 0; at < PyList_Size(node); at++) {
        PyObject *item = Py_NewRef(PyList_GetItem(node, at));
        int failed = 0;
        if (PyDict_CheckExact(item)) {
            if (depth < self->max_depth) {
                Plan *plan = last != NULL && *last != NULL && same_keys(*last, item) ? (Plan *)Py_NewRef((PyObject *)*last)
                                                                                      : plan_of(self, walk->types, item, place, inside, parent, last);
                failed = plan == NULL ? -1 : walk_object(walk, item, plan, depth + 1);
                Py_XDECREF((PyObject *)plan);
            }
        } else if (PyList_CheckExact(item)) {
            PyObject *inner = PyUnicode_FromFormat("%U[]", place);
            failed = inner == NULL ? -1 : walk_items(walk, item, inner, inside, one, entry, parent, telling, NULL, depth + 1);
            Py_XDECREF(inner);
        } else if (PyUnicode_CheckExact(item)) {
            int held = features_of(item);
            if (held < 0)
                failed = -1;
            else if (telling || held & self->gate || (self->labels && may_be_labelled(item, held)))
                failed = look(walk, item, place, entry, held);
        } else if ((PyLong_CheckExact(item) || PyFloat_CheckExact(item)) && (telling || may_count(self, item)))
            failed = look(walk, item, place, entry, 0);
        Py_DECREF(item);
        if (failed)
            return failed;
    }
    return 0;
}

static int in_object(Walk *walk, Entry *one, PyObject *item, Py_ssize_t depth)
{
    Walker *self = walk->self;
    if (PyUnicode_CheckExact(item))
        return text_in_object(walk, one, item);
    if (PyDict_CheckExact(item)) {
        if (!PyDict_Size(item) || depth >= self->max_depth)
            return 0;
        Plan *plan = one->below != NULL && same_keys(one->below, item)
                         ? (Plan *)Py_NewRef((PyObject *)one->below)
                         : plan_of(self, walk->types, item, one->place, one->inside, one->key, &one->below);
        int failed = plan == NULL ? -1 : walk_object(walk, item, plan, depth + 1);
        Py_XDECREF((PyObject *)plan);
        return failed;
    }
    if (PyList_CheckExact(item)) {
        if (!PyList_Size(item))
            return 0;
        if (one->items_place == NULL && (one->items_place = PyUnicode_FromFormat("%U[]", one->place)) == NULL)
            return -1;
        return walk_items(walk, item, one->items_place, one->inside, one, one->entry, one->key, one->telling, &one->below_items, depth + 1);
    }
    if ((PyLong_CheckExact(item) && (one->telling || may_count(self, item))) || (PyFloat_CheckExact(item) && one->telling))
        return look(walk, item, one->place, one->entry, 0);
    return 0;
}

/* The caller holds `plan`, and through it its entries. */
static int walk_object(Walk *walk, PyObject *node, Plan *plan, Py_ssize_t depth)
{
    PyObject *key, *item;
    Py_ssize_t at = 0, index = 0;
    while (index < plan->size && PyDict_Next(node, &at, &key, &item)) {
        Entry *one = &plan->entries[index++];
        if (one->is_value) {
            Py_INCREF(item);
            int failed = look(walk, one->key, one->place, Py_None, -1);
            Py_DECREF(item);
            if (failed)
                return failed;
        }
        Py_INCREF(item); /* a callback may let go of it */
        int failed = in_object(walk, one, item, depth);
        Py_DECREF(item);
        if (failed)
            return failed;
    }
    return 0;
}

/* ---- the type ---- */

static PyObject *walker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"plan", "value", "gate", "labels", "numeric", "max_depth", "max_hits", NULL};
    PyObject *plan, *value;
    int gate, labels, numeric;
    Py_ssize_t max_depth, max_hits;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO$ippnn", names, &plan, &value, &gate, &labels, &numeric, &max_depth, &max_hits))
        return NULL;
    Walker *self = (Walker *)new_object(type);
    if (self == NULL)
        return NULL;
    self->plan = Py_NewRef(plan);
    self->value = Py_NewRef(value);
    self->gate = gate;
    self->labels = labels;
    self->numeric = numeric;
    self->max_depth = max_depth;
    self->max_hits = max_hits;
    if ((self->plans = PyDict_New()) == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int walker_traverse(PyObject *object, visitproc visit, void *arg)
{
    Walker *self = (Walker *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->plan);
    Py_VISIT(self->value);
    return 0;
}

static int walker_clear(PyObject *object)
{
    Walker *self = (Walker *)object;
    Py_CLEAR(self->plan);
    Py_CLEAR(self->value);
    Py_CLEAR(self->plans);
    Py_CLEAR(self->root);
    return 0;
}

static void walker_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    walker_clear(object);
    free_self(object);
}

static PyObject *walker_walk(PyObject *object, PyTypeObject *defining, PyObject *const *args, size_t nargs, PyObject *keywords)
{
    Walker *self = (Walker *)object;
    if (nargs != 4 || keywords != NULL || !PyUnicode_CheckExact(args[1]) || !PyUnicode_CheckExact(args[2]) || !PyDict_CheckExact(args[3])) {
        PyErr_SetString(PyExc_TypeError, "walk(node, place, inside, found)");
        return NULL;
    }
    Types *types = PyType_GetModuleState(defining);
    Walk walk = {self, types, args[3]};
    int failed = 0;
    Py_INCREF(args[0]);
    if (PyDict_CheckExact(args[0])) {
        int usual = !PyUnicode_GetLength(args[1]) && !PyUnicode_GetLength(args[2]);
        PyObject *none = PyUnicode_FromString("");
        Plan *plan = NULL;
        if (none != NULL)
            plan = usual && self->root != NULL && same_keys(self->root, args[0])
                       ? (Plan *)Py_NewRef((PyObject *)self->root)
                       : plan_of(self, types, args[0], args[1], args[2], none, usual ? &self->root : NULL);
        failed = plan == NULL ? -1 : walk_object(&walk, args[0], plan, 0);
        Py_XDECREF((PyObject *)plan);
        Py_XDECREF(none);
    } else if (PyList_CheckExact(args[0])) {
        PyObject *place = PyUnicode_FromFormat("%U[]", args[1]), *none = PyUnicode_FromString("");
        failed = place == NULL || none == NULL ? -1 : walk_items(&walk, args[0], place, args[2], NULL, Py_None, none, 0, NULL, 0);
        Py_XDECREF(place);
        Py_XDECREF(none);
    }
    Py_DECREF(args[0]);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *walker_forget(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Walker *self = (Walker *)object;
    Plan *root = self->root;
    self->root = NULL;
    Py_XDECREF((PyObject *)root);
    PyDict_Clear(self->plans);
    Py_RETURN_NONE;
}

static PyMethodDef walker_methods[] = {
    {"walk", (PyCFunction)(void (*)(void))walker_walk, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, "Add the hits below a dict or list."},
    {"forget", walker_forget, METH_NOARGS, "Forget all plans."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot walker_slots[] = {
    {Py_tp_new, walker_new}, {Py_tp_dealloc, walker_dealloc}, {Py_tp_traverse, walker_traverse},
    {Py_tp_clear, walker_clear}, {Py_tp_methods, walker_methods}, {0, NULL},
};
static PyType_Spec walker_spec = {
    "eastwall.discovery._values.Walker", sizeof(Walker), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, walker_slots,
};
static PyType_Slot plan_slots[] = {{Py_tp_dealloc, plan_dealloc}, {0, NULL}};
static PyType_Spec plan_spec = {
    "eastwall.discovery._values.Plan", sizeof(Plan), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, plan_slots,
};

static PyObject *module_features(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "expected a text");
        return NULL;
    }
    int found = features_of(text);
    return found < 0 ? NULL : PyLong_FromLong(found);
}

static PyMethodDef functions[] = {
    {"features", module_features, METH_O, "What a text holds, as bits."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    Types *types = PyModule_GetState(module);
    make_kinds();
    types->plan = (PyTypeObject *)PyType_FromModuleAndSpec(module, &plan_spec, NULL);
    types->walker = (PyTypeObject *)PyType_FromModuleAndSpec(module, &walker_spec, NULL);
    if (types->plan == NULL || types->walker == NULL)
        return -1;
    return PyModule_AddType(module, types->walker);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Types *types = PyModule_GetState(module);
    Py_VISIT(types->plan);
    Py_VISIT(types->walker);
    return 0;
}

static int module_clear(PyObject *module)
{
    Types *types = PyModule_GetState(module);
    Py_CLEAR(types->plan);
    Py_CLEAR(types->walker);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_values", .m_size = sizeof(Types), .m_methods = functions, .m_slots = slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__values(void)
{
    return PyModuleDef_Init(&module);
}
