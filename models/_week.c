/* Customers' hours of the week: what they tell, and the best of those asked for.
 *
 * The same numbers as models/week.py and models/presence.py give, to the bit: every sum has numpy's order, products and
 * sums are rounded one by one (-ffp-contract=off), and logarithms and powers, whose last bits differ between libraries,
 * are left to numpy. Stable ABI of Python 3.11; no headers of numpy.
 */
#include "_buffers.h"
#include <math.h>

#define HOURS 168
#define TINY 1e-9
#define OPEN_WORTH 0.25 /* presence.OPEN_WORTH */

typedef double Week[HOURS];

/* ---- sums, in numpy's order ---- */

/* numpy's pairwise sum: of up to 128 numbers eight sums side by side, then those; of more, two halves. */
static double sum_of(const double *x, Py_ssize_t n) {
    if (n > 128) {
        const Py_ssize_t half = n / 2 - n / 2 % 8;
        return sum_of(x, half) + sum_of(x + half, n - half);
    }
    Py_ssize_t i = 0;
    double all = 0;
    if (n >= 8) {
        double r[8];
        for (int j = 0; j < 8; j++) r[j] = x[j];
        for (i = 8; i < n - n % 8; i += 8)
            for (int j = 0; j < 8; j++) r[j] += x[i + j];
        all = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; i < n; i++) all += x[i];
    return all;
}

static double total(const double *week) { return sum_of(week, HOURS); }

static double product(const double *week, const double *other) {
    Week each;
    for (int h = 0; h < HOURS; h++) each[h] = week[h] * other[h];
    return total(each);
}

static double larger(double a, double b) { return a >= b || isnan(a) ? a : b; }

/* ---- what speaks for each type of week (presence.type_weights, week.exposure) ---- */

enum { M_ACTIVITY, M_SENDS, M_RESPONSES, LAG, ANSWERING, LOG_PROFILES, M_NUMBERS, EXPOSED, POSSIBLE, TOLD, ANSWERED,
       MEET_PARTS };

/* Where responses to these sends could fall; `lag` (n,). */
static void expose(const double *sends, const double *lag, Py_ssize_t n, double *out) {
    Week sum = {0};
    for (Py_ssize_t k = 0; k < n; k++) {
        const double weight = lag[n - 1 - k];
        const Py_ssize_t turn = HOURS - n + 1 + k; /* hour 0 looks back at this one */
        if (weight == 0) continue;
        for (Py_ssize_t h = 0; h < HOURS - turn; h++) sum[h] += sends[turn + h] * weight;
        for (Py_ssize_t h = HOURS - turn; h < HOURS; h++) sum[h] += sends[turn + h - HOURS] * weight;
    }
    const double mass = total(sum), per = larger(mass, TINY);
    for (int h = 0; h < HOURS; h++) out[h] = mass <= 0 ? 1.0 / HOURS : 0.9 * sum[h] / per + 0.1 / HOURS;
}

/* meet(activity, sends, responses, lag, answering, log_profiles, numbers, exposed, possible, told, answered): writes
 * the last four: (n, 168) of exposure, (n, types) of products with it and with events, (n,) of responses. `numbers`:
 * answers, the prior's weight. */
static PyObject *week_meet(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"activity", "sends",   "responses", "lag",  "answering", "log_profiles",
                                        "numbers",  "exposed", "possible",  "told", "answered"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
    Py_buffer v[MEET_PARTS];
    (void)module;
    if (open_all(args, given, v, names, sizes, MEET_PARTS, 4) < 0) return NULL;
    const Py_ssize_t n = items(&v[ANSWERED]), types = items(&v[ANSWERING]) / HOURS, lags = items(&v[LAG]);
    if (items(&v[M_ACTIVITY]) != n * HOURS || items(&v[M_SENDS]) != n * HOURS || items(&v[M_RESPONSES]) != n * HOURS ||
        items(&v[EXPOSED]) != n * HOURS || items(&v[ANSWERING]) != types * HOURS ||
        items(&v[LOG_PROFILES]) != types * HOURS || items(&v[POSSIBLE]) != n * types ||
        items(&v[TOLD]) != n * types || items(&v[M_NUMBERS]) != 2 || lags < 1 || lags > HOURS)
        return refused(v, MEET_PARTS, "the arrays differ in length");
    const double answers = *(const double *)v[M_NUMBERS].buf;
    for (Py_ssize_t i = 0; i < n; i++) {
        const double *activity = (const double *)v[M_ACTIVITY].buf + i * HOURS;
        const double *responses = (const double *)v[M_RESPONSES].buf + i * HOURS;
        double *exposed = (double *)v[EXPOSED].buf + i * HOURS;
        Week events;
        expose((const double *)v[M_SENDS].buf + i * HOURS, v[LAG].buf, lags, exposed);
        for (int h = 0; h < HOURS; h++) events[h] = activity[h] + answers * responses[h];
        for (Py_ssize_t t = 0; t < types; t++) {
            const double possible = product(exposed, (const double *)v[ANSWERING].buf + t * HOURS);
            ((double *)v[POSSIBLE].buf)[i * types + t] = larger(possible, TINY);
            ((double *)v[TOLD].buf)[i * types + t] = product(events, (const double *)v[LOG_PROFILES].buf + t * HOURS);
        }
        ((double *)v[ANSWERED].buf)[i] = total(responses);
    }
    release(v, MEET_PARTS);
    Py_RETURN_NONE;
}

/* ---- weights of the types and their mixture (presence.weights_of, week.mixture) ---- */

/* weigh(told, answered, logs, log_shares, score): writes (n, types) of what speaks for each, the most being 0; `logs` are
 * those of meet's `possible`. */
static PyObject *week_weigh(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"told", "answered", "logs", "log_shares", "score"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8};
    Py_buffer v[5];
    (void)module;
    if (open_all(args, given, v, names, sizes, 5, 1) < 0) return NULL;
    const Py_ssize_t n = items(&v[1]), types = items(&v[3]);
    if (items(&v[0]) != n * types || items(&v[2]) != n * types || items(&v[4]) != n * types)
        return refused(v, 5, "the arrays differ in length");
    for (Py_ssize_t i = 0; i < n; i++) {
        const double *told = (const double *)v[0].buf + i * types, *logs = (const double *)v[2].buf + i * types;
        const double answered = ((const double *)v[1].buf)[i], *shares = v[3].buf;
        double *score = (double *)v[4].buf + i * types, most = -INFINITY;
        for (Py_ssize_t t = 0; t < types; t++) {
            score[t] = told[t] - answered * logs[t] + shares[t];
            most = larger(score[t], most);
        }
        for (Py_ssize_t t = 0; t < types; t++) score[t] -= most;
    }
    release(v, 5);
    Py_RETURN_NONE;
}

/* mix(weights, profiles, out): (n, 168) of profiles (types, 168) by their shares of the weights (n, types), at least
 * TINY. */
static PyObject *week_mix(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"weights", "profiles", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 8};
    Py_buffer v[3];
    (void)module;
    if (open_all(args, given, v, names, sizes, 3, 1) < 0) return NULL;
    const Py_ssize_t n = items(&v[2]) / HOURS, types = items(&v[1]) / HOURS;
    if (items(&v[2]) != n * HOURS || items(&v[1]) != types * HOURS || items(&v[0]) != n * types)
        return refused(v, 3, "the arrays differ in length");
    for (Py_ssize_t i = 0; i < n; i++) {
        const double *weights = (const double *)v[0].buf + i * types, all = sum_of(weights, types);
        double *out = (double *)v[2].buf + i * HOURS;
        for (int h = 0; h < HOURS; h++) out[h] = 0;
        for (Py_ssize_t t = 0; t < types; t++) {
            const double share = weights[t] / all, *profile = (const double *)v[1].buf + t * HOURS;
            for (int h = 0; h < HOURS; h++) out[h] += share * profile[h];
        }
        for (int h = 0; h < HOURS; h++) out[h] = larger(out[h], TINY);
    }
    release(v, 3);
    Py_RETURN_NONE;
}

/* ---- how much more of the person a message meets (presence.own_presence, week.after) ---- */

enum { O_MIX, FOLLOWING, O_EXPOSED, O_ACTIVITY, O_RESPONSES, NUMBERS, O_LAG, MET, KNOWN, ROW, O_START, O_HOURS, BASE,
       OWN_PARTS };

/* Spread over neighbouring hours and days of the same kind (week.spread). */
static void spread(const double *counts, double *out) {
    static const double near[] = {0.05, 0.2, 0.5, 0.2, 0.05};
    double padded[HOURS + 4];
    Week sum = {0};
    memcpy(padded, counts + HOURS - 2, 2 * sizeof(double));
    memcpy(padded + 2, counts, sizeof(Week));
    memcpy(padded + 2 + HOURS, counts, 2 * sizeof(double));
    for (int k = 0; k < 5; k++)
        for (int h = 0; h < HOURS; h++) sum[h] += padded[h + k] * near[k];
    for (int first = 0, days = 5; first < 7; first += days, days = 2) {
        double mean[24];
        memcpy(mean, sum + 24 * first, sizeof mean);
        for (int day = 1; day < days; day++)
            for (int h = 0; h < 24; h++) mean[h] += sum[24 * (first + day) + h];
        for (int h = 0; h < 24; h++) mean[h] /= days;
        for (int day = first; day < first + days; day++)
            for (int h = 0; h < 24; h++) out[24 * day + h] = 0.5 * sum[24 * day + h] + 0.5 * mean[h];
    }
}

static void own_one(const Py_buffer *v, Py_ssize_t i, double *own) {
    const double *mix = (const double *)v[O_MIX].buf + i * HOURS, *following = (const double *)v[FOLLOWING].buf + i * HOURS;
    const double *exposed = (const double *)v[O_EXPOSED].buf + i * HOURS;
    const double *activity = (const double *)v[O_ACTIVITY].buf + i * HOURS;
    const double *responses = (const double *)v[O_RESPONSES].buf + i * HOURS;
    const double answers = ((const double *)v[NUMBERS].buf)[0], weight = ((const double *)v[NUMBERS].buf)[1];
    Week answered, followed, seen, due;
    for (int h = 0; h < HOURS; h++) followed[h] = exposed[h] * following[h];
    for (int h = 0; h < HOURS; h++) answered[h] = answers * responses[h];
    const double share = total(answered) / larger(total(followed), TINY), active = total(activity);
    for (int h = 0; h < HOURS; h++) answered[h] = activity[h] + answered[h];
    for (int h = 0; h < HOURS; h++) followed[h] = active * mix[h] + share * followed[h];
    spread(answered, seen);
    spread(followed, due);
    for (int h = 0; h < HOURS; h++) own[h] = mix[h] * (weight * mix[h] + seen[h]) / (weight * mix[h] + due[h]);
    const double sum = total(own);
    for (int h = 0; h < HOURS; h++) own[h] = own[h] / sum;
}

static void base_of(const double *own, const double *lag, Py_ssize_t lags, const double *met, const int64_t *hours,
                    Py_ssize_t n, double *base) {
    double twice[2 * HOURS];
    memcpy(twice, own, sizeof(Week));
    memcpy(twice + HOURS, own, sizeof(Week));
    for (Py_ssize_t j = 0; j < n; j += 8) { /* side by side: a sum waits for the one before it */
        const int some = n - j < 8 ? (int)(n - j) : 8;
        const double *from[8];
        double sum[8] = {0};
        for (int i = 0; i < 8; i++) from[i] = twice + hours[i < some ? j + i : j];
        for (Py_ssize_t k = 0; k < lags; k++)
            for (int i = 0; i < 8 && lag[k] != 0; i++) sum[i] += from[i][k] * lag[k];
        for (int i = 0; i < some; i++) base[j + i] = sum[i] / met[hours[j + i]];
    }
}

static const char *own_wrong(const Py_buffer *v) {
    const Py_ssize_t n = items(&v[KNOWN]), windows = items(&v[ROW]), all = items(&v[O_HOURS]);
    const int64_t *row = v[ROW].buf, *start = v[O_START].buf, *hours = v[O_HOURS].buf;
    for (int i = 0; i <= O_RESPONSES; i++)
        if (items(&v[i]) != n * HOURS) return "the arrays differ in length";
    if (items(&v[NUMBERS]) != 2 || items(&v[O_LAG]) > HOURS || items(&v[MET]) != HOURS || items(&v[BASE]) != all ||
        items(&v[O_START]) != windows + 1 || start[0] != 0 || start[windows] != all)
        return "the arrays differ in length";
    for (Py_ssize_t w = 0; w < windows; w++)
        if (row[w] < 0 || row[w] >= n || start[w + 1] < start[w]) return "a window is of no row";
    for (Py_ssize_t j = 0; j < all; j++)
        if (hours[j] < 0 || hours[j] >= HOURS) return "an hour is none of the week";
    return NULL;
}

/* own(mix, following, exposed, activity, responses, numbers, lag, met, known, row, start, hours, base): writes how much
 * more a message meets, for each hour of the windows row[w], hours[start[w]:start[w + 1]]; 1 for rows not known. Rows
 * (n, 168); following = mix ^ answers; numbers: answers, the prior's weight. */
static PyObject *week_own(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"mix", "following", "exposed", "activity", "responses", "numbers", "lag",
                                        "met", "known",     "row",     "start",    "hours",     "base"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 1, 8, 8, 8, 8};
    Py_buffer v[OWN_PARTS];
    (void)module;
    if (open_all(args, given, v, names, sizes, OWN_PARTS, 1) < 0) return NULL;
    const char *wrong = own_wrong(v);
    if (wrong) return refused(v, OWN_PARTS, wrong);
    const int64_t *row = v[ROW].buf, *start = v[O_START].buf, *hours = v[O_HOURS].buf;
    double *base = v[BASE].buf;
    Week own;
    for (Py_ssize_t w = 0; w < items(&v[ROW]); w++) {
        const Py_ssize_t n = start[w + 1] - start[w];
        if (!((const char *)v[KNOWN].buf)[row[w]]) {
            for (Py_ssize_t j = 0; j < n; j++) base[start[w] + j] = 1;
            continue;
        }
        if (!w || row[w] != row[w - 1]) own_one(v, row[w], own);
        base_of(own, v[O_LAG].buf, items(&v[O_LAG]), v[MET].buf, hours + start[w], n, base + start[w]);
    }
    release(v, OWN_PARTS);
    Py_RETURN_NONE;
}

/* ---- the n-th best hour (channel_curves.levels, chances and a stable sort) ---- */

enum { RATIO, ROW_OF, P_START, P_HOURS, RATE, ENGAGEMENT, P_TOTALS, WINDOW, CURVE, NTH, PLACE, PICK_PARTS };

/* The place of the nth largest, 0 the largest; equal ones in their order. */
static Py_ssize_t nth_of(const double *chance, Py_ssize_t n, int64_t nth) {
    Py_ssize_t found = 0;
    for (Py_ssize_t j = 1; j < n; j++)
        if (chance[j] > chance[found]) found = j;
    for (; nth > 0; nth--) {
        const Py_ssize_t last = found;
        int some = 0;
        for (Py_ssize_t j = 0; j < n; j++) {
            const int later = chance[j] < chance[last] || (chance[j] == chance[last] && j > last);
            if (later && (!some || chance[j] > chance[found])) {
                found = j;
                some = 1;
            }
        }
    }
    return found;
}

/* channel_curves.levels; `counts`: sends, clicks, opens. */
static double level_of(double usual, double prior, const double *counts) {
    const double less = prior * usual, responses = counts[1] + OPEN_WORTH * counts[2], expected = less + usual * counts[0];
    return usual > 0 && expected > 0 ? (less + responses) / expected : 1.0;
}

static const char *pick_wrong(const Py_buffer *v) {
    const Py_ssize_t asked = items(&v[PLACE]), windows = items(&v[ROW_OF]), curves = items(&v[ENGAGEMENT]);
    const Py_ssize_t all = items(&v[P_HOURS]), rows = curves ? items(&v[P_TOTALS]) / (3 * curves) : 0;
    const int64_t *start = v[P_START].buf, *hours = v[P_HOURS].buf, *window = v[WINDOW].buf, *curve = v[CURVE].buf;
    const int64_t *row = v[ROW_OF].buf, *nth = v[NTH].buf;
    if (items(&v[RATIO]) != all || items(&v[P_START]) != windows + 1 || items(&v[RATE]) != curves * HOURS ||
        items(&v[P_TOTALS]) != rows * curves * 3 || items(&v[WINDOW]) != asked || items(&v[CURVE]) != asked ||
        items(&v[NTH]) != asked)
        return "the arrays differ in length";
    for (Py_ssize_t j = 0; j < all; j++)
        if (hours[j] < 0 || hours[j] >= HOURS) return "an hour is none of the week";
    for (Py_ssize_t i = 0; i < asked; i++) {
        if (window[i] < 0 || window[i] >= windows || curve[i] < 0 || curve[i] >= curves) return "a window is none";
        const int64_t from = start[window[i]], n = start[window[i] + 1] - from;
        if (from < 0 || n < 0 || from > all || n > all - from) return "a window is none";
        if (row[window[i]] < 0 || row[window[i]] >= rows) return "a window is of no row";
        if (nth[i] < 0 || nth[i] >= n) return "a window has not that many hours";
    }
    return NULL;
}

/* pick(prior, ratio, row, start, hours, rate, engagement, totals, window, curve, nth, place): writes the place in its
 * window of each asked: the nth by rate[curve] (curves, 168) x level x ratio, between 1e-6 and .999. */
static PyObject *week_pick(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"ratio",  "row",    "start", "hours", "rate", "engagement",
                                        "totals", "window", "curve", "nth",   "place"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
    Py_buffer v[PICK_PARTS];
    (void)module;
    const double prior = given ? PyFloat_AsDouble(args[0]) : 0;
    if (PyErr_Occurred() || open_all(args + 1, given - 1, v, names, sizes, PICK_PARTS, 1) < 0) return NULL;
    const char *wrong = pick_wrong(v);
    if (wrong) return refused(v, PICK_PARTS, wrong);
    const int64_t *start = v[P_START].buf, *hours = v[P_HOURS].buf, *window = v[WINDOW].buf, *curve = v[CURVE].buf;
    const Py_ssize_t curves = items(&v[ENGAGEMENT]);
    double *chance = malloc((items(&v[P_HOURS]) + 1) * sizeof(double));
    for (Py_ssize_t i = 0; i < items(&v[PLACE]) && chance; i++) {
        const int64_t from = start[window[i]], n = start[window[i] + 1] - from, row = ((int64_t *)v[ROW_OF].buf)[window[i]];
        const double *rate = (const double *)v[RATE].buf + curve[i] * HOURS, *ratio = (const double *)v[RATIO].buf + from;
        const double level = level_of(((const double *)v[ENGAGEMENT].buf)[curve[i]], prior,
                                      (const double *)v[P_TOTALS].buf + 3 * (row * curves + curve[i]));
        for (int64_t j = 0; j < n; j++) {
            const double told = rate[hours[from + j]] * level * ratio[j];
            chance[j] = told < 1e-6 ? 1e-6 : told > 0.999 ? 0.999 : told;
        }
        ((int64_t *)v[PLACE].buf)[i] = nth_of(chance, n, ((const int64_t *)v[NTH].buf)[i]);
    }
    release(v, PICK_PARTS);
    if (!chance) return PyErr_NoMemory();
    free(chance);
    Py_RETURN_NONE;
}

/* ---- the module ---- */

#define FAST(f) ((PyCFunction)(void (*)(void))(f)), METH_FASTCALL
static PyMethodDef module_methods[] = {
    {"meet", FAST(week_meet), "What speaks for each type of week."},
    {"weigh", FAST(week_weigh), "What speaks for each type, the most being 0."},
    {"mix", FAST(week_mix), "Mixtures of the types."},
    {"own", FAST(week_own), "How much more of the person a message meets."},
    {"pick", FAST(week_pick), "The n-th best hours."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) { return PyModule_AddIntConstant(module, "LAYOUT", 2); }

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_week", NULL, 0, module_methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__week(void) { return PyModuleDef_Init(&module); }
