/* The walk of walk.py in C: same questions, same answers, a tenth of the time. tests/unit/discovery/test_walk.py holds that both agree.
 *
 * What a combination of keys means (places, references, kinds) is worked out in Python, by `describe`, once per combination and
 * context, and the key of an object by `name`, once per value. Here is only the loop over what a body holds.
 *
 * Memory: contexts own plans, plans own contexts further in: a tree, so no cycles and no need of the garbage collector. Both live until
 * the walker forgets everything (`forget_if_full`, only before a walk). A walk holds its root, so that a walk which another thread begins
 * during a callback takes nothing away from it.
 *
 * Longer than 500 lines, because an extension module is one translation unit and a fifth of it is what Python wants of any type.
 * Limited API (PEP 384): one build serves every Python from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define FEW 32 /* plans of one body that need no memory of their own */

typedef struct Context Context;
typedef struct Plan Plan;

/* What is known of a key in a plan. */
typedef struct {
    PyObject *key;    /* borrowed from Plan.keys */
    PyObject *name;   /* how the key is written in places */
    PyObject *holder; /* whose parts the children are */
    PyObject *place, *kind, *values;             /* of a reference: place in a request; NULL: none */
    PyObject *list_place, *list_kind, *list_values; /* of a list of references; NULL: none */
    Context *inside;  /* where the value stands; made when first needed */
} Entry;

/* What follows from the keys of an object in a context. */
struct Plan {
    PyObject_HEAD
    PyObject *keys, *places;
    Entry *entries;
    Py_ssize_t size;
    Py_ssize_t references; /* how many entries have a reference */
    int owned, kept;
    uint64_t serial;
    uint64_t walk; /* the last one that met it */
    /* Bodies that begin with this plan mostly go on with the same ones: serials of those, and the places of all. */
    uint64_t others[FEW];
    Py_ssize_t others_size;
    PyObject *all_places;
};

/* Where an object stands. */
struct Context {
    PyObject_HEAD
    PyObject *place, *holder;
    PyObject *plans;    /* keys -> Plan */
    PyObject *children; /* (name, holder, owned) -> Context */
    Context *items;     /* in a list at this place */
    Plan *last;         /* borrowed from `plans` */
    int owned, depth;
};

typedef struct {
    PyObject_HEAD
    PyObject *describe, *name;
    PyObject *roots;  /* holder -> Context */
    PyObject *values; /* kind -> {value -> (pair, key, shown)} */
    Py_ssize_t max_cached, max_values, max_depth, max_places;
    Py_ssize_t cached, named;
    uint64_t walks, plans;
} Walker;

typedef struct {
    PyTypeObject *context, *plan, *walker;
} Types;

/* One walk. */
typedef struct {
    Walker *walker;
    Types *types;
    uint64_t number;
    int request;
    PyObject *found; /* list of what was named; for a response a dict of pairs */
    Py_ssize_t room;
    Plan **plans; /* those met, in order; each once */
    Py_ssize_t size, space;
    Plan *few[FEW];
} Walk;

/* ---- objects ---- */

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
        Entry *entry = &self->entries[at];
        Py_XDECREF(entry->name);
        Py_XDECREF(entry->holder);
        Py_XDECREF(entry->place);
        Py_XDECREF(entry->kind);
        Py_XDECREF(entry->values);
        Py_XDECREF(entry->list_place);
        Py_XDECREF(entry->list_kind);
        Py_XDECREF(entry->list_values);
        Py_XDECREF((PyObject *)entry->inside);
    }
    PyMem_Free(self->entries);
    Py_XDECREF(self->keys);
    Py_XDECREF(self->places);
    Py_XDECREF(self->all_places);
    free_self(object);
}

static void context_dealloc(PyObject *object)
{
    Context *self = (Context *)object;
    Py_XDECREF(self->place);
    Py_XDECREF(self->holder);
    Py_XDECREF(self->plans);
    Py_XDECREF(self->children);
    Py_XDECREF((PyObject *)self->items);
    free_self(object);
}

static PyObject *new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

static Context *new_context(Types *types, PyObject *place, PyObject *holder, int owned, int depth)
{
    Context *self = (Context *)new_object(types->context);
    if (self == NULL)
        return NULL;
    self->place = Py_NewRef(place);
    self->holder = Py_NewRef(holder);
    self->owned = owned;
    self->depth = depth;
    self->plans = PyDict_New();
    self->children = PyDict_New();
    if (self->plans == NULL || self->children == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

/* ---- plans ---- */

/* {value -> (pair, key, shown)} of a kind. New reference. */
static PyObject *values_of(Walker *walker, PyObject *kind)
{
    PyObject *values = PyDict_GetItemWithError(walker->values, kind);
    if (values != NULL)
        return Py_NewRef(values);
    if (PyErr_Occurred() || (values = PyDict_New()) == NULL)
        return NULL;
    if (walker->cached < walker->max_cached) {
        if (PyDict_SetItem(walker->values, kind, values) < 0) {
            Py_DECREF(values);
            return NULL;
        }
        walker->cached++;
    }
    return values;
}

static int is_tuple(PyObject *object)
{
    if (PyTuple_CheckExact(object))
        return 1;
    PyErr_SetString(PyExc_TypeError, "expected a tuple");
    return 0;
}

/* (place, kind) or None, as `describe` gives it. */
static int read_reference(Walker *walker, PyObject *pair, PyObject **place, PyObject **kind, PyObject **values)
{
    if (pair == Py_None)
        return 0;
    if (!PyTuple_CheckExact(pair) || PyTuple_Size(pair) != 2 || !PyUnicode_CheckExact(PyTuple_GetItem(pair, 0)) ||
        !PyUnicode_CheckExact(PyTuple_GetItem(pair, 1))) {
        PyErr_SetString(PyExc_TypeError, "a reference must be (place, kind) or None");
        return -1;
    }
    *place = Py_NewRef(PyTuple_GetItem(pair, 0));
    *kind = Py_NewRef(PyTuple_GetItem(pair, 1));
    *values = values_of(walker, *kind);
    return *values == NULL ? -1 : 0;
}

/* describe(place, holder, owned, keys) -> (places, owned, weight, ((name, holder, reference, list reference), ...)).
 * With a weight of 0 the plan is not kept. New reference. */
static Plan *make_plan(Walk *walk, Context *context, PyObject *keys)
{
    Walker *walker = walk->walker;
    PyObject *told = PyObject_CallFunctionObjArgs(
        walker->describe, context->place, context->holder, context->owned ? Py_True : Py_False, keys, NULL);
    if (told == NULL)
        return NULL;
    PyObject *places, *entries;
    int owned;
    Py_ssize_t weight;
    Plan *self = NULL;
    if (!is_tuple(told) || !PyArg_ParseTuple(told, "O!pnO!", &PyTuple_Type, &places, &owned, &weight, &PyTuple_Type, &entries))
        goto failed;
    if ((self = (Plan *)new_object(walk->types->plan)) == NULL)
        goto failed;
    Py_ssize_t size = PyTuple_Size(keys);
    if (PyTuple_Size(entries) != size) {
        PyErr_SetString(PyExc_ValueError, "one entry is needed for each key");
        goto failed;
    }
    self->keys = Py_NewRef(keys);
    self->places = Py_NewRef(places);
    self->owned = owned;
    self->serial = ++walker->plans;
    self->entries = PyMem_Calloc(size ? (size_t)size : 1, sizeof(Entry));
    if (self->entries == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    self->size = size;
    for (Py_ssize_t at = 0; at < size; at++) {
        Entry *entry = &self->entries[at];
        PyObject *name, *holder, *single, *listed;
        if (!is_tuple(PyTuple_GetItem(entries, at)) ||
            !PyArg_ParseTuple(PyTuple_GetItem(entries, at), "UUOO", &name, &holder, &single, &listed))
            goto failed;
        entry->key = PyTuple_GetItem(keys, at);
        entry->name = Py_NewRef(name);
        entry->holder = Py_NewRef(holder);
        if (read_reference(walker, single, &entry->place, &entry->kind, &entry->values) < 0 ||
            read_reference(walker, listed, &entry->list_place, &entry->list_kind, &entry->list_values) < 0)
            goto failed;
        self->references += entry->place != NULL;
    }
    if (weight > 0 && walker->cached < walker->max_cached) {
        if (PyDict_SetItem(context->plans, keys, (PyObject *)self) < 0)
            goto failed;
        walker->cached += weight;
        self->kept = 1;
    }
    Py_DECREF(told);
    return self;
failed:
    Py_DECREF(told);
    Py_XDECREF((PyObject *)self);
    return NULL;
}

static int is_container(PyObject *value)
{
    return PyDict_CheckExact(value) || PyList_CheckExact(value);
}

/* Decoders share the text of keys that come again and again, so that most are the same object. `holds`: whether a value is a container. */
static int same_keys(Plan *plan, PyObject *node, int *holds)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    Entry *entry = plan->entries;
    if (PyDict_Size(node) != plan->size)
        return 0; /* so the loop below ends with the entries */
    while (PyDict_Next(node, &at, &key, &value)) {
        if ((entry++)->key != key)
            return 0;
        *holds |= is_container(value);
    }
    return 1;
}

/* The plan of an object, and whether one of its values is a container. New reference. */
static Plan *plan_of(Walk *walk, Context *context, PyObject *node, int *holds)
{
    PyObject *key, *value;
    Py_ssize_t at = 0, index = 0;
    Plan *plan = context->last;
    *holds = 0;
    if (plan != NULL && same_keys(plan, node, holds))
        return (Plan *)Py_NewRef((PyObject *)plan);
    PyObject *keys = PyTuple_New(PyDict_Size(node));
    if (keys == NULL)
        return NULL;
    while (PyDict_Next(node, &at, &key, &value)) {
        PyTuple_SetItem(keys, index++, Py_NewRef(key));
        *holds |= is_container(value);
    }
    plan = (Plan *)PyDict_GetItemWithError(context->plans, keys);
    if (plan != NULL)
        Py_INCREF((PyObject *)plan);
    else if (!PyErr_Occurred())
        plan = make_plan(walk, context, keys);
    Py_DECREF(keys);
    if (plan != NULL && plan->kept)
        context->last = plan;
    return plan;
}

/* The context of what stands under a name. New reference. */
static Context *child_of(Walk *walk, Context *context, PyObject *name, PyObject *holder, int owned)
{
    Context *child = NULL;
    PyObject *place = NULL, *key = PyTuple_Pack(3, name, holder, owned ? Py_True : Py_False);
    if (key == NULL)
        return NULL;
    child = (Context *)PyDict_GetItemWithError(context->children, key);
    if (child != NULL) {
        Py_INCREF((PyObject *)child);
        goto done;
    }
    if (PyErr_Occurred())
        goto done;
    place = PyUnicode_GetLength(context->place) ? PyUnicode_FromFormat("%U.%U", context->place, name) : Py_NewRef(name);
    if (place == NULL)
        goto done;
    child = new_context(walk->types, place, holder, owned, context->depth + 1);
    if (child != NULL && walk->walker->cached < walk->walker->max_cached) {
        if (PyDict_SetItem(context->children, key, (PyObject *)child) < 0)
            Py_CLEAR(child);
        else
            walk->walker->cached += 1 + PyUnicode_GetLength(place) / 256;
    }
done:
    Py_XDECREF(place);
    Py_DECREF(key);
    return child;
}

/* The context of the items of a list that stands in `context`. New reference. */
static Context *items_of(Walk *walk, Context *context)
{
    if (context->items == NULL) {
        PyObject *place = PyUnicode_FromFormat("%U[]", context->place);
        if (place == NULL)
            return NULL;
        Context *items = new_context(walk->types, place, context->holder, context->owned, context->depth + 1);
        Py_DECREF(place);
        if (items == NULL)
            return NULL;
        if (context->items == NULL)
            context->items = items;
        else
            Py_DECREF(items);
    }
    return (Context *)Py_NewRef((PyObject *)context->items);
}

static Context *inside_of(Walk *walk, Context *context, Plan *plan, Entry *entry)
{
    if (entry->inside == NULL) {
        Context *inside = child_of(walk, context, entry->name, entry->holder, plan->owned);
        if (inside == NULL)
            return NULL;
        if (entry->inside == NULL)
            entry->inside = inside;
        else
            Py_DECREF(inside);
    }
    return (Context *)Py_NewRef((PyObject *)entry->inside);
}

/* ---- references ---- */

/* Whether a value may be remembered under its kind, that is, whether it is small. */
static int is_small(PyObject *value)
{
    if (PyUnicode_CheckExact(value))
        return PyUnicode_GetLength(value) <= 64;
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 && number >= 0;
}

/* Add the object that `value` names, if it is one. */
static int add(Walk *walk, PyObject *place, PyObject *kind, PyObject *values, PyObject *value)
{
    Walker *walker = walk->walker;
    if (!PyLong_CheckExact(value) && !PyUnicode_CheckExact(value))
        return 0;
    int small = is_small(value);
    if (!small && PyUnicode_CheckExact(value) && PyUnicode_GetLength(value) > 192)
        return 0; /* longer than any identifier, however it is written: `name` would say the same */
    PyObject *told = small ? PyDict_GetItemWithError(values, value) : NULL;
    if (told != NULL)
        Py_INCREF(told);
    else {
        if (PyErr_Occurred() || (told = PyObject_CallFunctionObjArgs(walker->name, kind, value, NULL)) == NULL)
            return -1;
        if (small) {
            if (PyDict_SetItem(values, value, told) < 0) {
                Py_DECREF(told);
                return -1;
            }
            walker->named++;
        }
    }
    int failed = 0;
    if (told != Py_None) {
        if (!PyTuple_CheckExact(told) || PyTuple_Size(told) != 3) {
            PyErr_SetString(PyExc_TypeError, "an object must be named (pair, key, shown) or None");
            failed = -1;
        } else if (walk->request) {
            PyObject *named = PyTuple_Pack(4, place, kind, PyTuple_GetItem(told, 1), PyTuple_GetItem(told, 2));
            failed = named == NULL ? -1 : PyList_Append(walk->found, named);
            Py_XDECREF(named);
        } else
            failed = PyDict_SetItem(walk->found, PyTuple_GetItem(told, 0), Py_None);
        walk->room--;
    }
    Py_DECREF(told);
    return failed;
}

/* ---- the walk ---- */

static int walk_object(Walk *walk, PyObject *node, Context *context);

static int walk_items(Walk *walk, PyObject *node, Context *context)
{
    Py_ssize_t size = PyList_Size(node);
    for (Py_ssize_t at = 0; at < size; at++) {
        PyObject *item = PyList_GetItem(node, at);
        int failed = 0;
        if (PyDict_CheckExact(item))
            failed = walk_object(walk, item, context);
        else if (PyList_CheckExact(item) && context->depth < walk->walker->max_depth) {
            Context *inner = items_of(walk, context);
            failed = inner == NULL ? -1 : walk_items(walk, item, inner);
            Py_XDECREF((PyObject *)inner);
        }
        if (failed)
            return -1;
        if (!walk->request && walk->room <= 0)
            return 0;
    }
    return 0;
}

static int holds_containers(PyObject *list)
{
    Py_ssize_t size = PyList_Size(list);
    for (Py_ssize_t at = 0; at < size; at++) {
        PyObject *item = PyList_GetItem(list, at);
        if (is_container(item))
            return 1;
    }
    return 0;
}

static int walk_list(Walk *walk, PyObject *node, Context *context, Plan *plan, Entry *entry)
{
    Py_ssize_t size = PyList_Size(node);
    if (size == 0)
        return 0;
    if (entry->list_place != NULL) {
        PyObject *first = PyList_GetItem(node, 0);
        if (PyUnicode_CheckExact(first) || PyLong_CheckExact(first)) {
            /* As many items are looked at as references fit, whether they are any or not. */
            Py_ssize_t most = size < walk->room ? size : walk->room;
            for (Py_ssize_t at = 0; at < most; at++)
                if (add(walk, entry->list_place, entry->list_kind, entry->list_values, PyList_GetItem(node, at)) < 0)
                    return -1;
        }
    }
    if (context->depth >= walk->walker->max_depth || !holds_containers(node))
        return 0;
    Context *inside = inside_of(walk, context, plan, entry);
    Context *items = inside == NULL ? NULL : items_of(walk, inside);
    int failed = items == NULL ? -1 : walk_items(walk, node, items);
    Py_XDECREF((PyObject *)items);
    Py_XDECREF((PyObject *)inside);
    return failed;
}

static int meet(Walk *walk, Plan *plan)
{
    if (plan->walk == walk->number)
        return 0;
    plan->walk = walk->number;
    if (walk->size == walk->space) {
        size_t space = (size_t)walk->space * 4;
        Plan **more = PyMem_Malloc(space * sizeof(Plan *));
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(more, walk->plans, (size_t)walk->size * sizeof(Plan *));
        if (walk->plans != walk->few)
            PyMem_Free(walk->plans);
        walk->plans = more;
        walk->space = (Py_ssize_t)space;
    }
    walk->plans[walk->size++] = (Plan *)Py_NewRef((PyObject *)plan);
    return 0;
}

/* Deep recursion cannot happen: no call goes deeper than `max_depth` contexts. */
static int walk_object(Walk *walk, PyObject *node, Context *context)
{
    int holds;
    Plan *plan = plan_of(walk, context, node, &holds);
    if (plan == NULL)
        return -1;
    int failed = walk->request ? meet(walk, plan) : 0;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    const Entry *end = plan->entries + plan->size;
    if (plan->references && walk->room > 0)
        for (Entry *entry = plan->entries; !failed && entry < end && PyDict_Next(node, &at, &key, &value); entry++)
            if (entry->place != NULL && walk->room > 0)
                failed = add(walk, entry->place, entry->kind, entry->values, value);
    at = 0;
    for (Entry *entry = plan->entries; holds && !failed && entry < end && PyDict_Next(node, &at, &key, &value); entry++) {
        if (PyList_CheckExact(value))
            failed = walk_list(walk, value, context, plan, entry);
        else if (PyDict_CheckExact(value) && context->depth < walk->walker->max_depth) {
            Context *inside = inside_of(walk, context, plan, entry);
            failed = inside == NULL ? -1 : walk_object(walk, value, inside);
            Py_XDECREF((PyObject *)inside);
        }
        if (!walk->request && walk->room <= 0)
            break;
    }
    Py_DECREF(plan);
    return failed;
}

static int same_plans(Walk *walk, Plan *first)
{
    if (first->others_size != walk->size)
        return 0;
    for (Py_ssize_t at = 0; at < walk->size; at++)
        if (first->others[at] != walk->plans[at]->serial)
            return 0;
    return 1;
}

/* One learned place, step by step: `[]` for each item of a list, else a key. */
static int walk_steps(Walk *walk, PyObject *node, PyObject *steps, Py_ssize_t at, PyObject *kind, PyObject *values)
{
    for (Py_ssize_t size = PyTuple_Size(steps); at < size; at++) {
        PyObject *step = PyTuple_GetItem(steps, at);
        if (PyUnicode_Check(step) && PyUnicode_CompareWithASCIIString(step, "[]") == 0) {
            for (Py_ssize_t n = 0; PyList_CheckExact(node) && n < PyList_Size(node) && walk->room > 0; n++)
                if (walk_steps(walk, PyList_GetItem(node, n), steps, at + 1, kind, values) < 0)
                    return -1;
            return 0;
        }
        if (!PyDict_CheckExact(node))
            return 0;
        node = PyDict_GetItemWithError(node, step); /* borrowed: nothing changes a decoded body */
        if (node == NULL)
            return PyErr_Occurred() ? -1 : 0;
    }
    return walk->room > 0 ? add(walk, NULL, kind, values, node) : 0;
}

/* The places of all plans that were met, each once. New reference. */
static PyObject *all_places(Walk *walk)
{
    if (walk->size == 0)
        return PyTuple_New(0);
    Plan *first = walk->plans[0];
    if (walk->size == 1)
        return Py_NewRef(first->places);
    if (same_plans(walk, first))
        return Py_NewRef(first->all_places);
    PyObject *distinct = PyDict_New(), *list = NULL, *result = NULL;
    if (distinct == NULL)
        return NULL;
    for (Py_ssize_t at = 0; at < walk->size; at++) {
        PyObject *places = walk->plans[at]->places;
        for (Py_ssize_t n = 0, size = PyTuple_Size(places); n < size; n++)
            if (PyDict_SetItem(distinct, PyTuple_GetItem(places, n), Py_None) < 0)
                goto done;
        if (PyDict_Size(distinct) >= walk->walker->max_places)
            break;
    }
    if ((list = PyDict_Keys(distinct)) == NULL)
        goto done;
    if (PyList_Size(list) > walk->walker->max_places &&
        PyList_SetSlice(list, walk->walker->max_places, PyList_Size(list), NULL) < 0)
        goto done;
    result = PyList_AsTuple(list);
    if (result != NULL && walk->size <= FEW) {
        for (Py_ssize_t at = 0; at < walk->size; at++)
            first->others[at] = walk->plans[at]->serial;
        first->others_size = walk->size;
        PyObject *old = first->all_places;
        first->all_places = Py_NewRef(result);
        Py_XDECREF(old);
    }
done:
    Py_DECREF(distinct);
    Py_XDECREF(list);
    return result;
}

static void forget_if_full(Walker *self)
{
    if (self->cached >= self->max_cached) {
        PyDict_Clear(self->roots);
        PyDict_Clear(self->values);
        self->cached = self->named = 0;
    } else if (self->named >= self->max_values) {
        PyObject *kind, *values;
        Py_ssize_t at = 0;
        while (PyDict_Next(self->values, &at, &kind, &values))
            PyDict_Clear(values);
        self->named = 0;
    }
}

/* The context of a whole body. New reference. */
static Context *root_of(Walk *walk, PyObject *holder)
{
    Walker *walker = walk->walker;
    Context *root = (Context *)PyDict_GetItemWithError(walker->roots, holder);
    if (root != NULL)
        return (Context *)Py_NewRef((PyObject *)root);
    if (PyErr_Occurred())
        return NULL;
    PyObject *nothing = PyUnicode_FromString("");
    if (nothing == NULL)
        return NULL;
    root = new_context(walk->types, nothing, holder, 0, 0);
    Py_DECREF(nothing);
    if (root != NULL && PyDict_SetItem(walker->roots, holder, (PyObject *)root) < 0)
        Py_CLEAR(root);
    walker->cached += 1 + PyUnicode_GetLength(holder) / 256;
    return root;
}

static int walk_body(Walk *walk, PyObject *body, PyObject *holder)
{
    forget_if_full(walk->walker);
    walk->number = ++walk->walker->walks;
    Context *root = root_of(walk, holder);
    if (root == NULL)
        return -1;
    int failed;
    if (PyDict_CheckExact(body))
        failed = walk_object(walk, body, root);
    else {
        Context *items = items_of(walk, root);
        failed = items == NULL ? -1 : walk_items(walk, body, items);
        Py_XDECREF((PyObject *)items);
    }
    /* The root goes last: plans that were met are compared by address while it lives. */
    PyObject *places = NULL;
    if (!failed && walk->request && (places = all_places(walk)) != NULL) {
        PyObject *list = walk->found;
        walk->found = PyTuple_Pack(2, places, list);
        Py_DECREF(list);
    }
    failed = failed || (walk->request && places == NULL) || walk->found == NULL;
    Py_XDECREF(places);
    for (Py_ssize_t at = 0; at < walk->size; at++)
        Py_DECREF(walk->plans[at]);
    if (walk->plans != walk->few)
        PyMem_Free(walk->plans);
    Py_DECREF(root);
    return failed ? -1 : 0;
}

static PyObject *run(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count, int request)
{
    if (count != 3 || !PyUnicode_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "expected (body, holder, limit)");
        return NULL;
    }
    Walk walk = {.walker = (Walker *)self, .types = PyType_GetModuleState(defining), .request = request, .space = FEW};
    walk.plans = walk.few;
    walk.room = PyLong_AsSsize_t(args[2]);
    if (walk.types == NULL || (walk.room == -1 && PyErr_Occurred()))
        return NULL;
    walk.found = request ? PyList_New(0) : PyDict_New();
    if (walk.found == NULL)
        return NULL;
    int failed = 0;
    if (PyDict_CheckExact(args[0]) || PyList_CheckExact(args[0]))
        failed = walk_body(&walk, args[0], args[1]);
    else if (request) {
        PyObject *list = walk.found;
        walk.found = Py_BuildValue("(()N)", list);
    }
    PyObject *result = walk.found;
    if (!failed && result != NULL && !request) {
        PyObject *pairs = PyDict_Keys(result);
        Py_DECREF(result);
        result = pairs == NULL ? NULL : PyList_AsTuple(pairs);
        Py_XDECREF(pairs);
    }
    if (failed)
        Py_CLEAR(result);
    return result;
}

static PyObject *walker_used(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count, PyObject *Py_UNUSED(names))
{
    return run(self, defining, args, count, 1);
}

static PyObject *walker_given(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count, PyObject *Py_UNUSED(names))
{
    return run(self, defining, args, count, 0);
}

static PyObject *walker_planned(PyObject *self, PyObject *args)
{
    PyObject *body, *plan;
    Walk walk = {.walker = (Walker *)self};
    if (!PyArg_ParseTuple(args, "OO!n:planned", &body, &PyTuple_Type, &plan, &walk.room))
        return NULL;
    forget_if_full(walk.walker);
    if ((walk.found = PyDict_New()) == NULL)
        return NULL;
    int failed = 0;
    for (Py_ssize_t at = 0; !failed && at < PyTuple_Size(plan); at++) {
        PyObject *steps, *kind;
        if (!is_tuple(PyTuple_GetItem(plan, at)) ||
            !PyArg_ParseTuple(PyTuple_GetItem(plan, at), "O!U", &PyTuple_Type, &steps, &kind)) {
            failed = -1;
            break;
        }
        if (PyTuple_Size(steps) > 1000) {
            PyErr_SetString(PyExc_ValueError, "a place has at most 1000 steps: each list takes some of the C stack");
            failed = -1;
            break;
        }
        PyObject *values = values_of(walk.walker, kind);
        failed = values == NULL ? -1 : walk_steps(&walk, body, steps, 0, kind, values);
        Py_XDECREF(values);
    }
    PyObject *pairs = failed ? NULL : PyDict_Keys(walk.found);
    PyObject *result = pairs == NULL ? NULL : PyList_AsTuple(pairs);
    Py_XDECREF(pairs);
    Py_DECREF(walk.found);
    return result;
}

/* ---- the walker ---- */

static PyObject *walker_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    static char *words[] = {"describe", "name", "max_cached", "max_values", "max_depth", "max_places", NULL};
    PyObject *describe, *name;
    Py_ssize_t max_cached, max_values, max_depth, max_places;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OO$nnnn:Walker", words, &describe, &name, &max_cached, &max_values, &max_depth, &max_places))
        return NULL;
    if (max_depth < 0 || max_depth > 200) {
        PyErr_SetString(PyExc_ValueError, "max_depth must be 0 to 200: each level takes some of the C stack");
        return NULL;
    }
    Walker *self = (Walker *)new_object(type);
    if (self == NULL)
        return NULL;
    self->describe = Py_NewRef(describe);
    self->name = Py_NewRef(name);
    self->max_cached = max_cached;
    self->max_values = max_values;
    self->max_depth = max_depth;
    self->max_places = max_places;
    self->roots = PyDict_New();
    self->values = PyDict_New();
    if (self->roots == NULL || self->values == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Only the walker can be part of a cycle (its callables may be methods of whatever holds it). */
static int walker_traverse(PyObject *object, visitproc visit, void *arg)
{
    Walker *self = (Walker *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->describe);
    Py_VISIT(self->name);
    return 0;
}

static int walker_clear(PyObject *object)
{
    Walker *self = (Walker *)object;
    Py_CLEAR(self->describe);
    Py_CLEAR(self->name);
    return 0;
}

static void walker_dealloc(PyObject *object)
{
    Walker *self = (Walker *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->describe);
    Py_XDECREF(self->name);
    Py_XDECREF(self->roots);
    Py_XDECREF(self->values);
    free_self(object);
}

static PyObject *walker_sizes(PyObject *object, PyObject *Py_UNUSED(nothing))
{
    return Py_BuildValue("(nn)", ((Walker *)object)->cached, ((Walker *)object)->named);
}

static PyMethodDef walker_methods[] = {
    {"used", (PyCFunction)(void (*)(void))walker_used, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "used(body, holder, limit) -> (places, [(place, kind, key, shown), ...])"},
    {"given", (PyCFunction)(void (*)(void))walker_given, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "given(body, holder, limit) -> ((kind, key), ...)"},
    {"planned", walker_planned, METH_VARARGS, "planned(body, ((steps, kind), ...), limit) -> ((kind, key), ...)"},
    {"sizes", walker_sizes, METH_NOARGS, "sizes() -> (plans, contexts and kinds that are kept, values that are kept)"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot walker_slots[] = {
    {Py_tp_new, walker_new},           {Py_tp_dealloc, walker_dealloc},   {Py_tp_methods, walker_methods},
    {Py_tp_traverse, walker_traverse}, {Py_tp_clear, walker_clear},       {0, NULL},
};
static PyType_Spec walker_spec = {
    .name = "eastwall.discovery._walk.Walker", .basicsize = sizeof(Walker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, .slots = walker_slots,
};
static PyType_Slot plan_slots[] = {{Py_tp_dealloc, plan_dealloc}, {0, NULL}};
static PyType_Spec plan_spec = {
    .name = "eastwall.discovery._walk.Plan", .basicsize = sizeof(Plan),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, .slots = plan_slots,
};
static PyType_Slot context_slots[] = {{Py_tp_dealloc, context_dealloc}, {0, NULL}};
static PyType_Spec context_spec = {
    .name = "eastwall.discovery._walk.Context", .basicsize = sizeof(Context),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, .slots = context_slots,
};

static int module_exec(PyObject *module)
{
    Types *types = PyModule_GetState(module);
    types->walker = (PyTypeObject *)PyType_FromModuleAndSpec(module, &walker_spec, NULL);
    types->plan = (PyTypeObject *)PyType_FromModuleAndSpec(module, &plan_spec, NULL);
    types->context = (PyTypeObject *)PyType_FromModuleAndSpec(module, &context_spec, NULL);
    if (types->walker == NULL || types->plan == NULL || types->context == NULL)
        return -1;
    return PyModule_AddType(module, types->walker);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Types *types = PyModule_GetState(module);
    Py_VISIT(types->walker);
    Py_VISIT(types->plan);
    Py_VISIT(types->context);
    return 0;
}

static int module_clear(PyObject *module)
{
    Types *types = PyModule_GetState(module);
    Py_CLEAR(types->walker);
    Py_CLEAR(types->plan);
    Py_CLEAR(types->context);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_walk", .m_size = sizeof(Types), .m_slots = slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__walk(void)
{
    return PyModuleDef_Init(&module);
}
