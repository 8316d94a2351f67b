/* The texts of a JSON body, and whether a text may hold a further encoding: what the prefilter asks of every call.
 *
 * The C twin of `texts.gathered_of` and `texts.signs_of`, which say what the answers mean; tests/unit/detections/test_texts.py holds that
 * both agree. Limited API (PEP 384), so that one build serves every Python from 3.11 on. Nothing here calls back into Python code.
 * Any bytes are safe to give: every read is bounded by the end, and what is written is never longer than what was read.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned char Byte;

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)
#define HAS_ZERO(word) (((word) - ONES) & ~(word) & HIGHS)

/* Strings met lately: the names of a list of objects come again with each of them. */
enum { SLOTS = 512, SHORT = 64 };
typedef struct {
    uint32_t at, size;
} Seen;

static int hex(Byte c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int32_t four_hex(const Byte *at, const Byte *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static Byte *put_utf8(Byte *out, int32_t point)
{
    if (point < 0x80) {
        *out++ = (Byte)point;
    } else if (point < 0x800) {
        *out++ = (Byte)(0xC0 | point >> 6);
        *out++ = (Byte)(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        *out++ = (Byte)(0xE0 | point >> 12);
        *out++ = (Byte)(0x80 | (point >> 6 & 0x3F));
        *out++ = (Byte)(0x80 | (point & 0x3F));
    } else {
        *out++ = (Byte)(0xF0 | point >> 18);
        *out++ = (Byte)(0x80 | (point >> 12 & 0x3F));
        *out++ = (Byte)(0x80 | (point >> 6 & 0x3F));
        *out++ = (Byte)(0x80 | (point & 0x3F));
    }
    return out;
}

/* One escape, from behind the backslash; what is none stays as it is. */
static const Byte *put_escape(const Byte *at, const Byte *end, Byte **out)
{
    Byte plain = *at++;
    switch (plain) {
    case 'n': plain = '\n'; break;
    case 'r': plain = '\r'; break;
    case 't': plain = '\t'; break;
    case 'b': plain = '\b'; break;
    case 'f': plain = '\f'; break;
    case 'u': {
        int32_t point = four_hex(at, end), low;
        if (point < 0)
            break;
        at += 4;
        if (point >= 0xD800 && point < 0xE000) {
            if (point < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' && (low = four_hex(at + 2, end)) >= 0xDC00 && low < 0xE000) {
                point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
                at += 6;
            } else {
                point = '?'; /* half a pair: no text holds it */
            }
        }
        *out = put_utf8(*out, point);
        return at;
    }
    default: break;
    }
    *(*out)++ = plain;
    return at;
}

/* Where the first of eight bytes that are zero stands; `zeros` is what HAS_ZERO gave, not 0. */
static inline Py_ssize_t first_of(uint64_t zeros, const Byte *at, Byte one, Byte other)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    (void)at, (void)one, (void)other;
    return __builtin_ctzll(zeros) >> 3; /* only behind the first zero is there a bit for what is none */
#else
    Py_ssize_t index = 0;
    (void)zeros;
    while (at[index] != one && at[index] != other)
        index++;
    return index;
#endif
}

/* The next of one of two characters, or `end`. */
static inline const Byte *next_of(const Byte *at, const Byte *end, Byte one, Byte other)
{
    while (end - at >= 8) {
        uint64_t word, zeros;
        memcpy(&word, at, 8);
        zeros = HAS_ZERO(word ^ (ONES * one)) | HAS_ZERO(word ^ (ONES * other));
        if (zeros)
            return at + first_of(zeros, at, one, other);
        at += 8;
    }
    while (at < end && *at != one && *at != other)
        at++;
    return at;
}

/* The string from behind its opening quote, undone, into `*out`; gives where it ended. */
static const Byte *put_string(const Byte *at, const Byte *end, Byte **out)
{
    for (;;) {
        const Byte *run = at;
        at = next_of(at, end, '"', '\\');
        memcpy(*out, run, (size_t)(at - run));
        *out += at - run;
        if (at >= end || *at == '"')
            return at;
        if (++at >= end)
            return at;
        at = put_escape(at, end, out);
    }
}

/* The first and the last eight bytes of a short string: of one of up to sixteen bytes, all of it. `first` has at least `size` bytes. */
typedef struct {
    uint64_t head, tail;
} Ends;

static inline Ends ends_of(const Byte *first, size_t size)
{
    Ends ends = {0, 0};
    if (size >= 8) {
        memcpy(&ends.head, first, 8);
        memcpy(&ends.tail, first + size - 8, 8);
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, first, 4);
        memcpy(&tail, first + size - 4, 4);
        ends.head = (uint64_t)head << 32 | tail;
    } else {
        ends.head = first[0] | (uint64_t)first[size / 2] << 8 | (uint64_t)first[size - 1] << 16;
    }
    return ends;
}

/* Whether this short string, not an empty one, was met; else it is remembered as one that will stand at `at`. */
static int known(Seen *seen, const Byte *base, const Byte *first, size_t size, size_t at)
{
    Ends ends = ends_of(first, size);
    uint64_t hash = (ends.head ^ (ends.tail << 21 | ends.tail >> 43) ^ size) * UINT64_C(0x9E3779B97F4A7C15);
    Seen *slot = &seen[(hash >> 40) % SLOTS];
    if (slot->size == size) {
        if (size <= 16) {
            Ends others = ends_of(base + slot->at, size);
            if (others.head == ends.head && others.tail == ends.tail)
                return 1;
        } else if (memcmp(base + slot->at, first, size) == 0)
            return 1;
    }
    slot->at = (uint32_t)at;
    slot->size = (uint32_t)size;
    return 0;
}

enum { PERCENT = 1, ESCAPE = 2, REFERENCE = 4, COMPATIBLE = 8, BASE64 = 16, HEX = 32, UTF7 = 64, NESTED = 128 };

/* Classes of bytes for `signs`. */
enum { WORD = 1, SIGN = 2, A0 = 4, DIGITS = 8, SPECIAL = 16 };
static Byte class_of[256], digit_of[256];

/* Whether a text holds one of the characters without which most patterns cannot hit: see texts.SPECIAL. */
static int special(const Byte *at, const Byte *end)
{
    for (; at < end; at++)
        if (class_of[*at] & SPECIAL)
            return 1;
    return 0;
}

/* What stands between two texts: ends of lines for the patterns' anchors, and a character that is no space, so that no pattern matches over
 * the border. See texts.BETWEEN. */
enum { BETWEEN = 3 };
static Byte *put_between(Byte *out)
{
    out[0] = '\n';
    out[1] = 0x1E;
    out[2] = '\n';
    return out + BETWEEN;
}

static PyObject *gathered(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *head, *body;
    char *head_bytes, *body_bytes;
    Py_ssize_t head_size, size;
    if (!PyArg_ParseTuple(args, "SS:gathered", &head, &body))
        return NULL;
    if (PyBytes_AsStringAndSize(head, &head_bytes, &head_size) < 0 || PyBytes_AsStringAndSize(body, &body_bytes, &size) < 0)
        return NULL;
    Byte small[16384], *base = small;
    /* All texts grow from the beginning, the special ones a second time from the middle. */
    /* What stands between them takes no more than the quotes and the comma or colon that stood there, and in what is no JSON not the double. */
    size_t half = (size_t)head_size + 2 * (size_t)size + 8, room = 2 * half;
    if (room > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a body of more than 4 GB");
        return NULL;
    }
    if (room > sizeof small && !(base = malloc(room)))
        return PyErr_NoMemory();
    Seen seen[SLOTS];
    memset(seen, 0, sizeof seen);
    memcpy(base, head_bytes, (size_t)head_size);
    Byte *out = base + head_size, *const second = base + half, *marked = second;
    const Byte *at = (const Byte *)body_bytes, *end = at + size;
    while ((at = next_of(at, end, '"', '"')) < end) {
        const Byte *text = ++at;
        Byte *first = out > base ? out + BETWEEN : out, *last;
        at = next_of(at, end, '"', '\\');
        size_t length = (size_t)(at - text);
        if (at >= end || *at == '"') { /* no escapes: one that was met need not be written */
            at++;
            if (!length || (length <= SHORT && known(seen, base, text, length, (size_t)(first - base))))
                continue;
            memcpy(first, text, length);
            last = first + length;
        } else {
            last = first;
            at = put_string(text, end, &last) + 1;
            length = (size_t)(last - first);
            if (!length || (length <= SHORT && known(seen, base, first, length, (size_t)(first - base))))
                continue;
        }
        if (first > out)
            put_between(out);
        out = last;
        if (special(first, last)) {
            if (marked > second)
                marked = put_between(marked);
            memcpy(marked, first, length);
            marked += length;
        }
    }
    PyObject *found = Py_BuildValue("(y#y#)", (const char *)base, (Py_ssize_t)(out - base), (const char *)second, (Py_ssize_t)(marked - second));
    if (base != small)
        free(base);
    return found;
}

static void fill(const char *letters, Byte class)
{
    for (; *letters; letters++)
        class_of[(Byte)*letters] |= class;
}

static void fill_classes(void)
{
    const char *word = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-";
    fill(word, WORD);
    fill("%\\&{[", SIGN);
    fill("\"'`;|&()<>{}[]$=*\\^~#%\r\n", SPECIAL);
    for (int c = 0x80; c < 0x100; c++)
        class_of[c] |= SIGN;
    fill("IJKLMNOPQRSTUVWXYZabcdef", A0);
    for (int i = 0; i < 64; i++)
        digit_of[(Byte) "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i]] = (Byte)i;
    digit_of['-'] = 62;
    digit_of['_'] = 63;
    fill("0123456789abcdefABCDEF", DIGITS);
}

static int readable(uint32_t c)
{
    return (c >= 0x20 && c < 0x7F) || c == '\t' || c == '\r' || c == '\n';
}

/* Whether twelve characters are Base64 of nine bytes of readable ASCII, as hardly any word is. */
static int readable_base64(const Byte *at)
{
    if (!(class_of[at[0]] & A0 || at[0] == 'C' || at[0] == 'D')) /* neither a letter nor a line end: most words end here */
        return 0;
    for (int i = 0; i < 12; i += 4) {
        uint32_t bits = (uint32_t)digit_of[at[i]] << 18 | (uint32_t)digit_of[at[i + 1]] << 12 | (uint32_t)digit_of[at[i + 2]] << 6 | digit_of[at[i + 3]];
        if (!readable(bits >> 16) || !readable(bits >> 8 & 0xFF) || !readable(bits & 0xFF))
            return 0;
    }
    return 1;
}

/* What a packed value begins with once it is in Base64: gzip, zlib (its usual levels), zstd. */
static int packed(const Byte *at)
{
    return !memcmp(at, "H4sI", 4) || !memcmp(at, "eJ", 2) || !memcmp(at, "eNo", 3) || !memcmp(at, "eAE", 3) || !memcmp(at, "KLUv", 4);
}

/* Digits that say readable text; `plain`: without `0x` before them, so that numbers of decimal digits are none. */
static int readable_hex(const Byte *at, Py_ssize_t size, int plain)
{
    int letters = 0;
    if (size & 1)
        return 0;
    for (Py_ssize_t i = 0; i < size; i += 2) {
        int high = hex(at[i]);
        if (high < 2 || high > 7 || !(class_of[at[i + 1]] & DIGITS))
            return 0;
        letters |= at[i + 1] > '9';
    }
    return letters || !plain;
}

/* A word of at least twelve characters. */
static int signs_of_word(const Byte *word, const Byte *end)
{
    int found = 0;
    for (const Byte *at = word; at && end - at >= 12;) {
        if (readable_base64(at) || (end - at >= 20 && packed(at)))
            return BASE64;
        at = memchr(at, '/', (size_t)(end - at));
        if (at)
            at++;
    }
    if (end - word >= 16 && readable_hex(word, end - word, 1))
        found |= HEX;
    if (end - word >= 14 && word[0] == '0' && (word[1] | 0x20) == 'x' && readable_hex(word + 2, end - word - 2, 0))
        found |= HEX;
    return found;
}

/* An ASCII character in UTF-7's shifted form begins with six zero bits and one more. */
static int utf7(const Byte *at, const Byte *end)
{
    while (end - at >= 4 && (at = memchr(at, '+', (size_t)(end - at - 3)))) {
        if (at[1] == 'A' && at[2] >= 'A' && at[2] <= 'H')
            return UTF7;
        at++;
    }
    return 0;
}

/* Characters that compatibility forms (NFKC) turn into ASCII ones, and those that show nothing. `left` bytes may be read. */
static int compatible(const Byte *at, Py_ssize_t left)
{
    if (left < 2)
        return 0;
    switch (at[0]) {
    case 0xC2: return at[1] == 0xAD;
    case 0xC5: return at[1] == 0xBF;
    case 0xCD: return at[1] == 0xBE;
    default: break;
    }
    if (left < 3)
        return 0;
    switch (at[0]) {
    case 0xE1: return (at[1] == 0xBF && at[2] == 0xAF) || (at[1] == 0xA0 && at[2] == 0x8E);
    case 0xE2:
        if (at[1] == 0x80)
            return (at[2] >= 0x8B && at[2] <= 0x8F) || (at[2] >= 0xAA && at[2] <= 0xAE) || at[2] == 0xA4 || at[2] == 0xA5;
        if (at[1] == 0x81)
            return at[2] >= 0xA0;
        return (at[1] == 0x84 && at[2] == 0xAA) || (at[1] >= 0x91 && at[1] <= 0x93);
    case 0xEF: return at[1] == 0xBC || at[1] == 0xBD || (at[1] == 0xB9 && at[2] >= 0x90 && at[2] <= 0xAB) || (at[1] == 0xBB && at[2] == 0xBF);
    case 0xF0: return at[1] == 0x9D && at[2] >= 0x90 && at[2] <= 0x9F;
    default: return 0;
    }
}

static int letter(Byte c)
{
    c |= 0x20;
    return c >= 'a' && c <= 'z';
}

static int signs_of_byte(const Byte *start, const Byte *at, const Byte *end)
{
    Py_ssize_t left = end - at;
    switch (*at) {
    case '%':
        if (left >= 3 && hex(at[1]) >= 0 && hex(at[2]) >= 0)
            return PERCENT;
        return left >= 6 && (at[1] | 0x20) == 'u' && four_hex(at + 2, end) >= 0 ? PERCENT : 0;
    case '\\':
        if (left >= 3 && (at[1] | 0x20) == 'u')
            return hex(at[2]) >= 0 || at[2] == '{' ? ESCAPE : 0;
        if (left >= 4 && (at[1] | 0x20) == 'x')
            return hex(at[2]) >= 0 && hex(at[3]) >= 0 ? ESCAPE : 0;
        return left >= 4 && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' && at[3] <= '7' ? ESCAPE : 0;
    case '&':
        if (left >= 2 && at[1] == '#')
            return REFERENCE;
        for (int i = 1; i < left && i <= 9; i++) {
            if (at[i] == ';')
                return i > 2 ? REFERENCE : 0;
            if (!letter(at[i]))
                return 0;
        }
        return 0;
    case '{':
    case '[':
        if (at > start && at[-1] != '\n')
            return 0;
        for (at++; at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'); at++)
            ;
        return at < end && (*at == '"' || *at == '{' || *at == '[') ? NESTED : 0;
    default:
        return compatible(at, left) ? COMPATIBLE : 0;
    }
}

static PyObject *signs(PyObject *Py_UNUSED(module), PyObject *data)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(data, &bytes, &size) < 0)
        return NULL;
    const Byte *start = (const Byte *)bytes, *at = start, *end = at + size;
    int found = 0;
    while (at < end) {
        Byte class = class_of[*at];
        if (class & WORD) {
            const Byte *word = at;
            while (++at < end && class_of[*at] & WORD)
                ;
            if (at - word >= 4) {
                found |= utf7(word, at);
                if (at - word >= 12)
                    found |= signs_of_word(word, at);
            }
            continue;
        }
        if (class & SIGN)
            found |= signs_of_byte(start, at, end);
        at++;
    }
    return PyLong_FromLong(found);
}

static PyMethodDef functions[] = {
    {"gathered", gathered, METH_VARARGS, "gathered(head, body) -> (bytes, bytes): see texts.gathered_of"},
    {"signs", signs, METH_O, "signs(data) -> int: see texts.signs_of"},
    {NULL, NULL, 0, NULL},
};
static int prepare(PyObject *Py_UNUSED(module))
{
    fill_classes();
    return 0;
}
static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)prepare}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_texts", .m_size = 0, .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__texts(void)
{
    return PyModuleDef_Init(&module);
}
