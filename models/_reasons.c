/* Reasons of candidates: the strongest groups of effects and the numbers that their sentences tell (explaining.py), and
 * the sentences themselves from those that are remembered (seen_words.py).
 *
 * The same as these give in numpy and Python, to the bit: sums go in the order that they write down, each rounded by
 * itself (-ffp-contract=off). Stable ABI of Python 3.11; no headers of numpy.
 */
#include "_buffers.h"
#include <math.h>

/* ---- what a reason tells (explaining.py) ---- */

enum { ASKED, VALUES_OF, STATIC, SEEN_OF, CHANNELS_OF, RATES, LIKED, VIEWS, MAINS, IS_KNOWN, PARTS, HEAD, TABLES, OPTIONS,
       SPEAKS, SUMS, NUMBERS, EXPLAINED };
enum { GROUP, NUMBER, LIKED_AT, OWN_LIKED, ROUNDED, TABLE_ROWS }; /* explaining.TABLES */
enum { LEAST, DIVIDED };
#define OF_LOOKS (-2) /* in LIKED_AT: the number of looks */

typedef struct {
    const int64_t *asked, *mains, *tables;
    const double *values, *stat, *seen, *channels, *rates, *liked, *views, *parts, *head, *options;
    const char *known;
    Py_ssize_t n, m, c, k, own, offer, cross, wide, pair, inputs, groups, categories;
} Question;

/* Sums of absolute values: eight side by side, then the rest one by one (explaining.sizes). */
static double size_of(const double *parts, Py_ssize_t count) {
    double lane[8] = {0}, total;
    const Py_ssize_t whole = count / 8 * 8;
    for (Py_ssize_t at = 0; at < whole; at += 8)
        for (int i = 0; i < 8; i++) lane[i] += fabs(parts[at + i]);
    total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    for (Py_ssize_t at = whole; at < count; at++) total += fabs(parts[at]);
    return total;
}

static void line_of(const Question *all, const int64_t *at, double *line) {
    memcpy(line, all->values + at[0] * all->own, all->own * sizeof(double));
    memcpy(line + all->own, all->stat + at[1] * all->offer, all->offer * sizeof(double));
    memcpy(line + all->own + all->offer, all->seen + (at[0] * all->m + at[1]) * (1 + all->cross) + 1,
           all->cross * sizeof(double));
    memcpy(line + all->pair, all->channels + (at[0] * all->c + at[2]) * all->wide, all->wide * sizeof(double));
    line[all->inputs - 1] = all->rates[at[1]];
}

static void effects_of(const Question *all, Py_ssize_t row, const double *line, double *total, double *counted) {
    const double *parts = all->parts + row * all->pair, *head = all->head + row * (all->inputs + 1);
    const double size = all->options[DIVIDED] != 0 ? size_of(parts, all->pair) : 0;
    double share = fabs(head[0]) / (size > 0 ? size : 1.0);
    if (share > 1.0) share = 1.0;
    for (Py_ssize_t f = 0; f < all->inputs; f++) {
        total[f] = head[1 + f];
        if (f < all->pair) total[f] += all->options[DIVIDED] != 0 ? parts[f] * share : parts[f];
        counted[f] = isfinite(line[f]) && fabs(total[f]) > all->options[LEAST] ? total[f] : 0.0;
    }
}

/* The number that the sentence of input f tells; NaN: there is none. */
static double number_told(const Question *all, const int64_t *at, Py_ssize_t f, const double *line, double effect) {
    const int64_t liked = all->tables[LIKED_AT * all->inputs + f], own = all->tables[OWN_LIKED * all->inputs + f];
    const int64_t main = all->mains[at[1]];
    const int whole = main >= 0 && all->known[at[0]]; /* of the whole category, not of the offer's part of it */
    if (f < all->own) return all->known[at[0]] ? 0.0 : NAN;
    if (f >= all->pair) return effect > 0 ? 1.0 : 0.0;
    double value = line[f], number = line[all->tables[NUMBER * all->inputs + f]];
    if (whole && liked == OF_LOOKS) number = all->views[at[0] * all->categories + main];
    if (whole && liked >= 0) {
        const double *orders = all->liked + (at[0] * all->categories + main) * 3;
        number = orders[liked];
        if (own >= 0) value = orders[own];
    }
    if (!isfinite(value) || !isfinite(number)) return NAN;
    return all->tables[ROUNDED * all->inputs + f] ? rint(number) : number;
}

static void explain_one(const Question *all, Py_ssize_t row, double *room, int64_t *member, int64_t *first, double *sum,
                        double *numbers) {
    const int64_t *at = all->asked + 3 * row, *group = all->tables + GROUP * all->inputs;
    double *line = room, *total = line + all->inputs, *counted = total + all->inputs, *strength = counted + all->inputs;
    line_of(all, at, line);
    effects_of(all, row, line, total, counted);
    for (Py_ssize_t g = 0; g < all->groups; g++) { member[g] = -1; strength[g] = 0; first[g] = -1; sum[g] = 0; numbers[g] = NAN; }
    for (Py_ssize_t f = 0; f < all->inputs; f++) {
        const int64_t g = group[f];
        strength[g] += counted[f];
        if (member[g] < 0 || fabs(counted[f]) > fabs(counted[member[g]])) member[g] = f;
    }
    Py_ssize_t found = 0;
    for (Py_ssize_t g = 0; g < all->groups; g++) {
        if (!(fabs(strength[g]) > all->options[LEAST])) continue;
        Py_ssize_t place = found++;
        for (; place > 0 && fabs(sum[place - 1]) < fabs(strength[g]); place--) {
            first[place] = first[place - 1];
            sum[place] = sum[place - 1];
        }
        first[place] = member[g];
        sum[place] = strength[g];
    }
    for (Py_ssize_t g = 0; g < found; g++) numbers[g] = number_told(all, at, first[g], line, total[first[g]]);
}

static const char *told_of(const Py_buffer *v, Question *all) {
    const Py_ssize_t n = items(&v[IS_KNOWN]), m = items(&v[RATES]), inputs = items(&v[TABLES]) / TABLE_ROWS;
    *all = (Question){v[ASKED].buf, v[MAINS].buf, v[TABLES].buf, v[VALUES_OF].buf, v[STATIC].buf, v[SEEN_OF].buf,
                  v[CHANNELS_OF].buf, v[RATES].buf, v[LIKED].buf, v[VIEWS].buf, v[PARTS].buf, v[HEAD].buf, v[OPTIONS].buf,
                  v[IS_KNOWN].buf, n, m, 0, items(&v[ASKED]) / 3, 0, 0, 0, 0, 0, inputs, 0, 0};
    if (items(&v[OPTIONS]) != 2 || items(&v[TABLES]) != inputs * TABLE_ROWS || items(&v[ASKED]) != 3 * all->k)
        return "the tables differ in length";
    if (!all->k) return NULL;
    if (!n || !m || !inputs) return "what is asked is not there";
    all->own = items(&v[VALUES_OF]) / n;
    all->offer = items(&v[STATIC]) / m;
    all->cross = items(&v[SEEN_OF]) / (n * m) - 1;
    all->pair = all->own + all->offer + all->cross;
    all->wide = inputs - all->pair;
    all->categories = items(&v[VIEWS]) / n;
    all->groups = items(&v[SPEAKS]) / all->k;
    if (all->cross < 0 || all->wide < 1) return "the inputs differ in number";
    all->c = items(&v[CHANNELS_OF]) / (n * all->wide);
    if (items(&v[VALUES_OF]) != n * all->own || items(&v[STATIC]) != m * all->offer ||
        items(&v[SEEN_OF]) != n * m * (1 + all->cross) || items(&v[CHANNELS_OF]) != n * all->c * all->wide ||
        items(&v[MAINS]) != m || items(&v[VIEWS]) != n * all->categories || items(&v[LIKED]) != n * all->categories * 3)
        return "what is known differs in length";
    if (items(&v[PARTS]) != all->k * all->pair || items(&v[HEAD]) != all->k * (inputs + 1) ||
        items(&v[SPEAKS]) != all->k * all->groups || items(&v[SUMS]) != all->k * all->groups ||
        items(&v[NUMBERS]) != all->k * all->groups)
        return "effects and results differ in length";
    for (Py_ssize_t f = 0; f < inputs; f++) {
        const int64_t *of = all->tables + f;
        if (of[GROUP * inputs] < 0 || of[GROUP * inputs] >= all->groups) return "an input is of no group";
        if (of[NUMBER * inputs] < 0 || of[NUMBER * inputs] >= inputs) return "a number is no input";
        if (of[LIKED_AT * inputs] > 2 || of[OWN_LIKED * inputs] > 2) return "a number is of no order";
    }
    for (Py_ssize_t j = 0; j < m; j++)
        if (all->mains[j] >= all->categories) return "a category is not there";
    for (Py_ssize_t r = 0; r < all->k; r++) {
        const int64_t *at = all->asked + 3 * r;
        if (at[0] < 0 || at[0] >= n || at[1] < 0 || at[1] >= m || at[2] < 0 || at[2] >= all->c)
            return "what is asked is not there";
    }
    return NULL;
}

/* explain(...): of k (customer, offer, channel) the strongest groups of inputs: which input speaks for each, the sum of
 * its effects, and the number that its sentence tells, each (k, groups); see explaining.py. */
static PyObject *reasons_explain(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"asked", "values", "static", "seen", "of_channels", "rates", "affinity", "views",
                                        "mains", "known", "parts", "head", "tables", "options", "first", "sums", "numbers"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 1, 8, 8, 8, 8, 8, 8, 8};
    Py_buffer v[EXPLAINED];
    Question all;
    (void)module;
    if (open_all(args, given, v, names, sizes, EXPLAINED, 3) < 0) return NULL;
    const char *wrong = told_of(v, &all);
    if (wrong) return refused(v, EXPLAINED, wrong);
    double *room = malloc((3 * all.inputs + all.groups + 1) * sizeof(double));
    int64_t *member = malloc((all.groups + 1) * sizeof(int64_t));
    for (Py_ssize_t r = 0; room && member && r < all.k; r++)
        explain_one(&all, r, room, member, (int64_t *)v[SPEAKS].buf + r * all.groups,
                    (double *)v[SUMS].buf + r * all.groups, (double *)v[NUMBERS].buf + r * all.groups);
    const int failed = !room || !member;
    free(room); free(member);
    release(v, EXPLAINED);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* ---- reasons in words (seen_words.Teller) ---- */

enum { FEATURE, TEXT, EFFECT, KEYS };
static const char *const KEY[KEYS] = {"feature", "text", "effect"};

typedef struct {
    PyObject *pairs, *rates, *names, *write, *own, *keys[KEYS];
    Py_ssize_t customer, pair, most;
} Words;

/* The text of an input's number from what is remembered of an offer (a channel); asked for where it is not. New. */
static PyObject *text_of(const Words *words, PyObject *memories, int64_t of, int64_t place, double number) {
    PyObject *by_place = PyList_GetItem(memories, (Py_ssize_t)of);
    PyObject *texts = by_place ? PyList_GetItem(by_place, (Py_ssize_t)place) : NULL;
    PyObject *key = texts ? PyFloat_FromDouble(number) : NULL, *text = NULL;
    if (key && !PyDict_Check(texts)) PyErr_SetString(PyExc_TypeError, "texts are remembered in mappings");
    else if (key) {
        text = PyDict_GetItemWithError(texts, key);
        if (text) Py_INCREF(text);
        else if (!PyErr_Occurred())
            text = PyObject_CallFunction(words->write, "OLLO", texts, (long long)of, (long long)place, key);
    }
    Py_XDECREF(key);
    return text;
}

/* Whether a list of reasons has this text; -1 after an error. */
static int is_said(const Words *words, PyObject *said, PyObject *text) {
    for (Py_ssize_t i = 0; i < PyList_Size(said); i++) {
        PyObject *one = PyDict_GetItemWithError(PyList_GetItem(said, i), words->keys[TEXT]);
        const int same = one == NULL ? -1 : one == text ? 1 : PyObject_RichCompareBool(one, text, Py_EQ);
        if (same) return same;
    }
    return 0;
}

/* {feature, text, effect}; takes over the text. */
static PyObject *reason_of(const Words *words, PyObject *name, PyObject *text, double sum) {
    PyObject *reason = PyDict_New(), *effect = PyFloat_FromDouble(rint(sum * 10000.0) / 10000.0);
    if (!reason || !effect || PyDict_SetItem(reason, words->keys[FEATURE], name) < 0 ||
        PyDict_SetItem(reason, words->keys[TEXT], text) < 0 || PyDict_SetItem(reason, words->keys[EFFECT], effect) < 0)
        Py_CLEAR(reason);
    Py_XDECREF(effect);
    Py_DECREF(text);
    return reason;
}

static PyObject *tell_one(const Words *words, const int64_t *at, const int64_t *first, const double *sums,
                          const double *numbers, Py_ssize_t groups) {
    PyObject *said = PyList_New(0);
    for (Py_ssize_t g = 0; said && g < groups && first[g] >= 0 && PyList_Size(said) < words->most; g++) {
        const int64_t place = first[g];
        PyObject *text, *reason, *name = PyTuple_GetItem(words->names, (Py_ssize_t)place);
        if (!name) goto failed;
        if (numbers[g] != numbers[g]) continue;
        if (place < words->customer)
            text = PyObject_CallFunction(words->own, "LL", (long long)at[0], (long long)place);
        else if (place < words->pair) text = text_of(words, words->pairs, at[1], place, numbers[g]);
        else text = text_of(words, words->rates, at[2], place, numbers[g]);
        if (!text) goto failed;
        const int same = text == Py_None ? 1 : is_said(words, said, text);
        if (same) {
            Py_DECREF(text);
            if (same < 0) goto failed;
            continue;
        }
        reason = reason_of(words, name, text, sums[g]);
        if (!reason || PyList_Append(said, reason) < 0) {
            Py_XDECREF(reason);
            goto failed;
        }
        Py_DECREF(reason);
    }
    return said;
failed:
    Py_XDECREF(said);
    return NULL;
}

/* tell(asked, first, sums, numbers, pairs, rates, names, customer, pair, most, write, own): of each asked (customer,
 * offer, channel) at most `most` {feature, text, effect}. `first`, `sums`, `numbers` as explain(...) writes them; `pairs`
 * and `rates`: by offer and by channel, by input, texts by number; write(texts, offer or channel, input, number) and
 * own(customer, input) give those that are not there. Inputs below `customer` are customers' own, below `pair` pairs'. */
static PyObject *reasons_tell(PyObject *module, PyObject *args) {
    PyObject *parts[4], *told = NULL;
    Words words;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO!O!O!nnnOO:tell", &parts[0], &parts[1], &parts[2], &parts[3], &PyList_Type,
                          &words.pairs, &PyList_Type, &words.rates, &PyTuple_Type, &words.names, &words.customer,
                          &words.pair, &words.most, &words.write, &words.own))
        return NULL;
    static const char *const names[] = {"asked", "first", "sums", "numbers"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8};
    Py_buffer v[4];
    if (open_all(parts, 4, v, names, sizes, 4, 0) < 0) return NULL;
    const Py_ssize_t k = items(&v[0]) / 3, groups = k ? items(&v[1]) / k : 0;
    if (items(&v[0]) != 3 * k || items(&v[1]) != k * groups || items(&v[2]) != k * groups || items(&v[3]) != k * groups)
        return refused(v, 4, "what is asked and what was found differ in length");
    told = PyList_New(k);
    for (int i = 0; i < KEYS; i++) {
        words.keys[i] = PyUnicode_InternFromString(KEY[i]);
        if (!words.keys[i]) Py_CLEAR(told);
    }
    for (Py_ssize_t r = 0; told && r < k; r++) {
        PyObject *one = tell_one(&words, (const int64_t *)v[0].buf + 3 * r, (const int64_t *)v[1].buf + r * groups,
                                 (const double *)v[2].buf + r * groups, (const double *)v[3].buf + r * groups, groups);
        if (!one || PyList_SetItem(told, r, one) < 0) Py_CLEAR(told);
    }
    for (int i = 0; i < KEYS; i++) Py_XDECREF(words.keys[i]);
    release(v, 4);
    return told;
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"explain", (PyCFunction)(void (*)(void))reasons_explain, METH_FASTCALL, "The strongest groups of effects."},
    {"tell", reasons_tell, METH_VARARGS, "Reasons in words."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) { return PyModule_AddIntConstant(module, "LAYOUT", 2); }

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_reasons", NULL, 0, methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__reasons(void) { return PyModuleDef_Init(&module); }
