/* What choose.py and policy.py do to some hundred candidates in numpy, in one pass: values, SquareCB's probabilities,
 * the draw, and the best behind it. The same numbers, to the bit: every sum, product and quotient is rounded by itself
 * (-ffp-contract=off), in the order written there. Stable ABI of Python 3.11; no headers of numpy.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PARTS 64 /* of an exact sum: more than the range of exponents can need between 0 and a few hundred */
#define MOST_BY_FLOOR 0.1

/* The sum rounded once (Shewchuk 1997, as math.fsum); no overflow among probabilities. -1: too many parts. */
static int exact_sum(const double *values, Py_ssize_t count, double *out) {
    double parts[PARTS];
    int n = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        double x = values[i];
        int kept = 0;
        for (int j = 0; j < n; j++) {
            double y = parts[j];
            if (fabs(x) < fabs(y)) {
                double t = x;
                x = y;
                y = t;
            }
            volatile double high = x + y;
            volatile double of_y = high - x;
            double low = y - of_y;
            if (low != 0.0) parts[kept++] = low;
            x = high;
        }
        n = kept;
        if (x != 0.0) {
            if (n == PARTS) return -1;
            parts[n++] = x;
        }
    }
    double high = 0.0, low = 0.0;
    if (n > 0) {
        high = parts[--n];
        while (n > 0) {
            double x = high, y = parts[--n];
            high = x + y;
            low = y - (high - x);
            if (low != 0.0) break;
        }
        /* A half that was rounded to even although more lies on its side. */
        if (n > 0 && ((low < 0.0 && parts[n - 1] < 0.0) || (low > 0.0 && parts[n - 1] > 0.0))) {
            double y = low * 2.0, x = high + y;
            if (y == x - high) high = x;
        }
    }
    *out = high;
    return 0;
}

/* policy.inverse_gap. 0: done; -1: left to numpy. */
static int inverse_gap(
    const double *values, Py_ssize_t count, double exploration, double floor_, int last_wins, int losers_alike,
    double *weights) {
    Py_ssize_t best = 0;
    double lowest = values[0];
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return -1;
        if (values[i] > values[best]) best = i;
        if (values[i] < lowest) lowest = values[i];
    }
    int tied = last_wins && values[count - 1] == values[best];
    if (tied) best = count - 1;
    double n = (double)count, top = values[best], span = top - (losers_alike ? values[count - 1] : lowest);
    double most = MOST_BY_FLOOR / n, least = most < floor_ ? most : floor_;
    double free_ = 1.0 - least * n;
    for (Py_ssize_t i = 0; i < count; i++) {
        double off = top - values[i], gap = span > 0.0 ? (off < span ? off : span) / span : losers_alike ? 1.0 : 0.0;
        if (tied && values[i] == top) gap = 1.0;
        weights[i] = least + free_ / (n * (1.0 + exploration * gap));
    }
    weights[best] = 0.0;
    double sum;
    if (exact_sum(weights, count, &sum) < 0) return -1;
    weights[best] = 1.0 - sum;
    return 0;
}

/* policy.sample */
static Py_ssize_t sample(const double *weights, Py_ssize_t count, double at) {
    double sum = weights[0];
    Py_ssize_t last = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i > 0) sum += weights[i];
        if (sum > at) return i;
        if (weights[i] > 0.0) last = i;
    }
    return last;
}

/* `first`, then at most `most` others worth more than the last one (sending nothing): by value, then by place. */
static PyObject *ranked(const double *values, Py_ssize_t nothing, Py_ssize_t first, Py_ssize_t most) {
    Py_ssize_t found = 0, *best = NULL;
    if (first != nothing && most > 0) {
        if (most > nothing) most = nothing;
        best = PyMem_Malloc((size_t)(most > 0 ? most : 1) * sizeof *best);
        if (best == NULL) return PyErr_NoMemory();
        for (Py_ssize_t i = 0; i < nothing; i++) {
            if (i == first || !(values[i] > values[nothing])) continue;
            if (found == most && !(values[i] > values[best[found - 1]])) continue;
            Py_ssize_t at = found < most ? found++ : found - 1;
            for (; at > 0 && values[i] > values[best[at - 1]]; at--) best[at] = best[at - 1];
            best[at] = i;
        }
    }
    PyObject *out = PyList_New(found + 1);
    for (Py_ssize_t i = 0; out != NULL && i <= found; i++) {
        PyObject *place = PyLong_FromSsize_t(i == 0 ? first : best[i - 1]);
        if (place == NULL) Py_CLEAR(out);
        else PyList_SetItem(out, i, place);
    }
    PyMem_Free(best);
    return out;
}

/* ---- choose(chances, terms, numbers, tired, out, settings) ---- */

enum { CHANCES, TERMS, NUMBERS, TIRED, OUT, SETTINGS, COUNT };
enum { CONVERSION, NOTHING, EXPLORATION, FLOOR, AT, MOST, LAST_WINS, LOSERS_ALIKE, SET };
static const char *const NAMES[] = {"chances", "terms", "numbers", "tired", "out", "settings"};

static PyObject *decide(Py_buffer *of) {
    const double *chances = of[CHANCES].buf, *terms = of[TERMS].buf, *tired = of[TIRED].buf, *set = of[SETTINGS].buf;
    const int64_t *numbers = of[NUMBERS].buf;
    Py_ssize_t n = of[CHANCES].len / 8, kinds = of[TIRED].len / 8;
    double *values = of[OUT].buf, *weights = values + n + 1;
    if (of[TERMS].len != 24 * n || of[NUMBERS].len != 8 * n || of[OUT].len != 16 * (n + 1) || of[SETTINGS].len != 8 * SET) {
        PyErr_SetString(PyExc_ValueError, "the candidates' columns do not fit each other");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (numbers[i] < 0 || numbers[i] >= kinds) {
            PyErr_SetString(PyExc_ValueError, "a candidate's channel is not among those that tire");
            return NULL;
        }
        double worth = set[CONVERSION] * terms[i];
        values[i] = (chances[i] * worth - terms[n + i] - tired[numbers[i]]) * terms[2 * n + i];
    }
    values[n] = set[NOTHING];
    int last_wins = set[LAST_WINS] != 0.0, losers_alike = set[LOSERS_ALIKE] != 0.0;
    if (inverse_gap(values, n + 1, set[EXPLORATION], set[FLOOR], last_wins, losers_alike, weights) < 0) Py_RETURN_NONE;
    return ranked(values, n, sample(weights, n + 1, set[AT]), (Py_ssize_t)set[MOST]);
}

static PyObject *choose(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    (void)self;
    if (given != COUNT) return PyErr_Format(PyExc_TypeError, "%d arguments are needed, not %zd", COUNT, given);
    Py_buffer of[COUNT];
    int open = 0;
    PyObject *told = NULL;
    for (; open < COUNT; open++) {
        if (PyObject_GetBuffer(args[open], &of[open], PyBUF_C_CONTIGUOUS | (open == OUT ? PyBUF_WRITABLE : 0)) < 0) break;
        if (of[open].itemsize == 8) continue;
        PyErr_Format(PyExc_ValueError, "%s has items of %zd bytes; 8 are needed", NAMES[open], of[open].itemsize);
        PyBuffer_Release(&of[open]);
        break;
    }
    if (open == COUNT) told = decide(of);
    while (open > 0) PyBuffer_Release(&of[--open]);
    return told;
}

static PyMethodDef METHODS[] = {
    {"choose", (PyCFunction)(void (*)(void))choose, METH_FASTCALL,
     "choose(chances, terms, numbers, tired, out, settings): places in order, the drawn one first; None: not here."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) { return PyModule_AddIntConstant(module, "LAYOUT", 3); }

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_weigh", "Candidates weighed and drawn: see choose.py.", 0, METHODS, SLOTS, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__weigh(void) { return PyModuleDef_Init(&MODULE); }
