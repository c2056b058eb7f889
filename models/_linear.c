/* A logistic regression's scores: the same numbers as linear.Linear gives, to the bit (see _kernel.h). */
#include "_kernel.h"

enum { ROWS_OF, SQUEEZED, CENTER, SCALE, WEIGHT_OF, MISSING, CODES_FROM, CODES, CODE_WEIGHTS, SCORES, LINEAR_PARTS };

static double code_effect(const double *codes, const double *weights, int64_t count, double value) {
    int64_t low = 0;
    for (int64_t high = count; low < high;) {
        const int64_t middle = low + (high - low) / 2;
        if (codes[middle] < value) low = middle + 1;
        else high = middle;
    }
    return low < count && codes[low] == value ? weights[low] : 0.0;
}

/* linear(rows, squeezed, center, scale, weight, missing, first, codes, weights, out): sums (n,) of the effects of rows
 * (n, features), one after another; codes of feature f: first[f] to first[f + 1]. */
PyObject *kernel_linear(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"rows", "squeezed", "center", "scale", "weight", "missing", "first", "codes",
                                        "weights", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
    Py_buffer v[LINEAR_PARTS];
    (void)module;
    if (open_all(args, given, v, names, sizes, LINEAR_PARTS, 1) < 0) return NULL;
    const Py_ssize_t n = items(&v[SCORES]), features = items(&v[CENTER]);
    const double *row = v[ROWS_OF].buf, *squeezed = v[SQUEEZED].buf, *center = v[CENTER].buf, *scale = v[SCALE].buf;
    const double *weight = v[WEIGHT_OF].buf, *missing = v[MISSING].buf, *codes = v[CODES].buf;
    const int64_t *first = v[CODES_FROM].buf;
    int fits = items(&v[ROWS_OF]) == n * features && items(&v[SQUEEZED]) == n * features &&
               items(&v[SCALE]) == features && items(&v[WEIGHT_OF]) == features && items(&v[MISSING]) == features &&
               items(&v[CODES_FROM]) == features + 1 && items(&v[CODES]) == items(&v[CODE_WEIGHTS]) && first[0] == 0 &&
               first[features] == items(&v[CODES]);
    for (Py_ssize_t f = 0; fits && f < features; f++) fits = first[f + 1] >= first[f];
    if (!fits) return refused(v, LINEAR_PARTS, "rows and the parts of the regression differ in length");
    for (Py_ssize_t r = 0; r < n; r++, row += features, squeezed += features) {
        double total = 0;
        for (Py_ssize_t f = 0; f < features; f++) {
            double effect = (squeezed[f] - center[f]) / scale[f] * weight[f];
            if (first[f + 1] > first[f])
                effect = code_effect(codes + first[f], (const double *)v[CODE_WEIGHTS].buf + first[f],
                                     first[f + 1] - first[f], row[f]);
            if (row[f] != row[f]) effect = missing[f];
            total = f ? total + effect : effect;
        }
        ((double *)v[SCORES].buf)[r] = total;
    }
    release(v, LINEAR_PARTS);
    Py_RETURN_NONE;
}
