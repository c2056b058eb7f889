/* Serving rows (serving.py has the layout) as arrays, for many customers at once.
 *
 * The same numbers as serving.py gives, to the bit: whole numbers are summed as such, quotients are rounded one by one,
 * and sums of a week go in the order of `serving.week_totals`. A row that is cut short or says what cannot be is a
 * ValueError; nothing is read outside of it. Stable ABI of Python 3.11; no headers of numpy.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COUNTS 3          /* the header's last words: categories, hours, products */
#define WEEK 168
#define LANES 8           /* sums side by side: serving.week_totals */
#define HALF 80           /* a week is summed in two parts, the first of so many hours */
#define KINDS 3           /* of a channel's weeks: sends, clicks, opens */
#define OWN 2             /* weeks before the channels': orders, visits */
#define NEVER (-((int64_t)1 << 62))
#define DAY 86400000000.0 /* microseconds */

/* ---- a row ---- */

typedef struct {
    int64_t categories, hours, products;
    const char *last, *counts, *hour_counts, *keys, *orders, *cells, *names, *end;
} Row;

static int64_t word(const char *at, int64_t place) {
    int64_t value;
    memcpy(&value, at + 8 * place, 8);
    return value;
}

static uint32_t half_word(const char *at, int64_t place) {
    uint32_t value;
    memcpy(&value, at + 4 * place, 4);
    return value;
}

static uint16_t cell_at(const char *at, int64_t place) {
    uint16_t value;
    memcpy(&value, at + 2 * place, 2);
    return value;
}

static int wrong_row(const char *why) {
    PyErr_Format(PyExc_ValueError, "a customer's stored row %s; make it anew (rebuild)", why);
    return -1;
}

/* Opens a row: `header` bytes, counts as their last words, and the vector take `size`. */
static int open_row(PyObject *from, Py_ssize_t header, Py_ssize_t size, Row *row) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(from, &data, &length) < 0) return -1;
    if (header < 8 * COUNTS || size < header || length < size) return wrong_row("is cut short");
    const char *counts = data + header - 8 * COUNTS;
    const int64_t left = length - size;
    row->categories = word(counts, 0);
    row->hours = word(counts, 1);
    row->products = word(counts, 2);
    if (row->categories < 0 || row->hours < 0 || row->products < 0 || row->categories > left / 20 ||
        row->hours > left / 10 || row->products > left / 8 ||
        20 * row->categories + 10 * row->hours + 8 * row->products > left)
        return wrong_row("is cut short");
    row->last = data + size;
    row->counts = row->last + 8 * row->categories;
    row->hour_counts = row->counts + 12 * row->categories;
    row->keys = row->hour_counts + 8 * row->hours;
    row->orders = row->keys + 4 * row->products;
    row->cells = row->orders + 4 * row->products;
    row->names = row->cells + 2 * row->hours;
    row->end = data + length;
    return 0;
}

/* Whether there was an order within `recent` microseconds before as_of; how many days ago. */
static int lately(const Row *row, int64_t category, int64_t as_of, int64_t recent, double *days) {
    const int64_t last = word(row->last, category);
    const int64_t age = (int64_t)((uint64_t)as_of - (uint64_t)last);
    *days = (double)age / DAY;
    return last > NEVER && age <= recent;
}

/* ---- names of categories ---- */

typedef struct {
    const char *text;
    Py_ssize_t length;
    uint64_t hash;
} Name;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    uint64_t mask;
    Name *names;     /* (count,) */
    int64_t *slots;  /* (mask + 1,) places in `names`, -1: none */
    char *text;
} Names;

#define HASH_START 14695981039346656037ULL
#define HASHED(hash, byte) (((hash) ^ (unsigned char)(byte)) * 1099511628211ULL) /* FNV-1a */

/* A JSON string that begins at `at`, its hash, and where it ends; NULL where there is none. */
static const char *string_end(const char *at, const char *end, uint64_t *hash) {
    uint64_t told = HASH_START;
    if (at >= end || *at != '"') return NULL;
    for (const char *one = at + 1; one < end; one++) {
        if (*one == '"') {
            *hash = told;
            return one + 1;
        }
        told = HASHED(told, *one);
        if (*one == '\\' && ++one < end) told = HASHED(told, *one);
    }
    return NULL;
}

/* The next name of a list of `count` names, the `place`-th: it begins at *at, which moves behind it. */
static int next_name(const Row *row, int64_t place, const char **at, Name *name) {
    const char *start = *at;
    if (start >= row->end || *start != (place ? ',' : '[')) return wrong_row("has fewer categories than it says");
    name->text = start + 1;
    const char *after = string_end(name->text, row->end, &name->hash);
    if (!after) return wrong_row("has fewer categories than it says");
    name->length = after - name->text;
    *at = after;
    if (place + 1 < row->categories) return 0;
    return row->end - after == 1 && *after == ']' ? 0 : wrong_row("has more categories than it says");
}

static int64_t number_of(const Names *self, const Name *name) {
    for (uint64_t slot = name->hash & self->mask;; slot = (slot + 1) & self->mask) {
        const int64_t place = self->slots[slot];
        if (place < 0) return -1;
        const Name *held = &self->names[place];
        if (held->hash == name->hash && held->length == name->length &&
            memcmp(held->text, name->text, name->length) == 0)
            return place;
    }
}

static void names_dealloc(PyObject *of) {
    Names *self = (Names *)of;
    PyTypeObject *type = Py_TYPE(of);
    free(self->names); free(self->slots); free(self->text);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(of);
    Py_DECREF(type);
}

static int names_take(Names *self, PyObject *list) {
    const Py_ssize_t count = PyList_Size(list);
    Py_ssize_t total = 0, length;
    uint64_t slots = 8;
    char *text;
    if (count < 0) return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyBytes_AsStringAndSize(PyList_GetItem(list, i), &text, &length) < 0) return -1;
        total += length;
    }
    while (slots < 2 * (uint64_t)count) slots *= 2;
    self->names = malloc((count + 1) * sizeof(Name));
    self->slots = malloc(slots * sizeof(int64_t));
    self->text = malloc(total + 1);
    if (!self->names || !self->slots || !self->text) return PyErr_NoMemory(), -1;
    memset(self->slots, 0xff, slots * sizeof(int64_t));
    self->mask = slots - 1;
    char *at = self->text;
    for (Py_ssize_t i = 0; i < count; i++) {
        Name *name = &self->names[i];
        if (PyBytes_AsStringAndSize(PyList_GetItem(list, i), &text, &length) < 0) return -1;
        memcpy(at, text, length);
        name->text = at;
        name->length = length;
        if (string_end(at, at + length, &name->hash) != at + length)
            return PyErr_SetString(PyExc_ValueError, "a name is no JSON string"), -1;
        at += length;
        uint64_t slot = name->hash & self->mask;
        while (self->slots[slot] >= 0) slot = (slot + 1) & self->mask;
        self->slots[slot] = i;
        self->count = i + 1;
    }
    return 0;
}

/* Names(list): JSON strings as bytes, each once; its number is its place. */
static PyObject *names_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *list;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O:Names", &list)) return NULL;
    if (!PyList_Check(list)) return PyErr_SetString(PyExc_TypeError, "names are a list"), NULL;
    Names *self = (Names *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self && names_take(self, list) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyType_Slot names_slots[] = {{Py_tp_new, names_new}, {Py_tp_dealloc, names_dealloc}, {0, NULL}};
static PyType_Spec names_spec = {"features._rows.Names", sizeof(Names), 0, Py_TPFLAGS_DEFAULT, names_slots};

/* ---- weeks ---- */

/* Sum of a week, in the order of serving.week_totals. */
static double week_total(const double *week) {
    double total = 0;
    for (int from = 0; from < WEEK; from = from ? WEEK : HALF) {
        const int to = from ? WEEK : HALF;
        double lane[LANES] = {0};
        for (int hour = from; hour < to; hour += LANES)
            for (int i = 0; i < LANES; i++) lane[i] += week[hour + i];
        const double part = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
        total = from ? total + part : part;
    }
    return total;
}

/* Deliveries and human responses on each of `c` channels (their weeks' places, -1: none) into told (c, 2). */
static int responses_of(const Row *row, const int64_t *channels, Py_ssize_t c, int64_t cells, double weight,
                        uint64_t *grid, double *told) {
    memset(grid, 0, c * KINDS * WEEK * sizeof(uint64_t));
    for (int64_t i = 0; i < row->hours; i++) {
        const int64_t cell = cell_at(row->cells, i);
        if (cell >= cells) return wrong_row("has an hour beyond the week");
        if (cell < OWN * WEEK) continue;
        const int64_t channel = (cell - OWN * WEEK) / (KINDS * WEEK);
        for (Py_ssize_t k = 0; k < c; k++)
            if (channels[k] == channel)
                grid[k * KINDS * WEEK + (cell - OWN * WEEK) % (KINDS * WEEK)] += (uint64_t)word(row->hour_counts, i);
    }
    for (Py_ssize_t k = 0; k < c; k++) {
        const int64_t *sends = (const int64_t *)grid + k * KINDS * WEEK, *clicks = sends + WEEK, *opens = clicks + WEEK;
        double week[WEEK];
        for (int hour = 0; hour < WEEK; hour++) week[hour] = (double)sends[hour] / weight;
        told[2 * k] = week_total(week);
        for (int hour = 0; hour < WEEK; hour++)
            week[hour] = (double)clicks[hour] / weight + (double)opens[hour] / weight;
        told[2 * k + 1] = week_total(week);
    }
    return 0;
}

/* ---- buffers ---- */

static int opened(PyObject *from, Py_buffer *view, Py_ssize_t count, int writable) {
    if (PyObject_GetBuffer(from, view, PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)) < 0) return -1;
    if (view->itemsize == 8 && (count < 0 || view->len == 8 * count)) return 0;
    PyBuffer_Release(view);
    PyErr_Format(PyExc_ValueError, "an array of %zd numbers of 8 bytes is needed", count);
    return -1;
}

static PyObject *bytes_of(int64_t count) {
    return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(8 * count));
}

/* ---- decode ---- */

enum { AS_OF, WEIGHTS, CHANNELS, AFFINITY, VIEWS, RESPONSES, ARRAYS };

typedef struct {
    const Names *names;
    int64_t recent, cells;
    const int64_t *as_of, *weights, *channels;
    Py_ssize_t c;
    double *affinity, *views, *responses;
    uint64_t *grid;
} Decoding;

static int decode_one(const Decoding *all, Py_ssize_t i, const Row *row) {
    const char *at = row->names;
    const Py_ssize_t width = all->names->count;
    for (int64_t k = 0; k < row->categories; k++) {
        Name name;
        double days;
        if (next_name(row, k, &at, &name) < 0) return -1;
        const int64_t number = number_of(all->names, &name);
        if (number < 0) continue;
        const uint32_t views = half_word(row->counts, 3 * k + 2);
        if (views) all->views[i * width + number] = views;
        if (!lately(row, k, all->as_of[i], all->recent, &days)) continue;
        double *told = all->affinity + (i * width + number) * 3;
        told[0] = half_word(row->counts, 3 * k);
        told[1] = half_word(row->counts, 3 * k + 1);
        told[2] = days;
    }
    return responses_of(row, all->channels, all->c, all->cells, (double)all->weights[i], all->grid,
                        all->responses + 2 * all->c * i);
}

static void nothing_known(const Decoding *all, Py_ssize_t i) {
    const Py_ssize_t width = all->names->count;
    double *affinity = all->affinity + i * width * 3;
    for (Py_ssize_t k = 0; k < width; k++) {
        affinity[3 * k] = affinity[3 * k + 1] = 0;
        affinity[3 * k + 2] = NAN;
    }
    memset(all->views + i * width, 0, width * sizeof(double));
    memset(all->responses + 2 * all->c * i, 0, 2 * all->c * sizeof(double));
}

static PyObject *products_of(const Row *rows, Py_ssize_t n) {
    int64_t total = 0;
    for (Py_ssize_t i = 0; i < n; i++) total += rows[i].products;
    PyObject *start = bytes_of(n + 1), *keys = bytes_of(total), *orders = bytes_of(total);
    if (start && keys && orders) {
        int64_t *from = (int64_t *)PyBytes_AsString(start), *key = (int64_t *)PyBytes_AsString(keys);
        int64_t *order = (int64_t *)PyBytes_AsString(orders);
        *from = 0;
        for (Py_ssize_t i = 0; i < n; i++) {
            from[i + 1] = from[i] + rows[i].products;
            for (int64_t k = 0; k < rows[i].products; k++) {
                *key++ = half_word(rows[i].keys, k);
                *order++ = half_word(rows[i].orders, k);
            }
        }
        return Py_BuildValue("NNN", start, keys, orders);
    }
    Py_XDECREF(start); Py_XDECREF(keys); Py_XDECREF(orders);
    return NULL;
}

static PyObject *decode_all(PyObject *list, Py_ssize_t n, Py_ssize_t header, Py_ssize_t size, Decoding *all) {
    PyObject *found = NULL;
    Row *rows = calloc(n + 1, sizeof(Row));
    all->grid = malloc((all->c + 1) * KINDS * WEEK * sizeof(uint64_t));
    if (!rows || !all->grid) PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n && !PyErr_Occurred(); i++) {
        PyObject *one = PyList_GetItem(list, i);
        nothing_known(all, i);
        if (one && one != Py_None && open_row(one, header, size, &rows[i]) == 0) decode_one(all, i, &rows[i]);
    }
    if (!PyErr_Occurred()) found = products_of(rows, n);
    free(rows); free(all->grid);
    return found;
}

/* decode(rows, header, size, cells, recent, names, as_of, weights, channels, affinity, views, responses): of each row
 * (None: nothing known) orders by category into affinity (n, names, 3), looks into views (n, names), deliveries and
 * responses into responses (n, channels, 2); returns where each one's products begin (n + 1), products and orders. */
static PyObject *rows_decode(PyObject *module, PyObject *args) {
    static const int writable[] = {0, 0, 0, 1, 1, 1};
    Py_ssize_t header, size;
    long long cells, recent;
    PyObject *list, *names, *parts[ARRAYS], *found = NULL;
    if (!PyArg_ParseTuple(args, "OnnLLOOOOOOO:decode", &list, &header, &size, &cells, &recent, &names, &parts[0],
                          &parts[1], &parts[2], &parts[3], &parts[4], &parts[5]))
        return NULL;
    PyObject *type = PyObject_GetAttrString(module, "Names");
    const int named = type ? PyObject_IsInstance(names, type) : -1;
    Py_XDECREF(type);
    if (named < 0) return NULL;
    if (!named || !PyList_Check(list)) return PyErr_SetString(PyExc_TypeError, "a list of rows and Names are needed"), NULL;
    const Py_ssize_t n = PyList_Size(list), width = ((Names *)names)->count;
    Py_buffer v[ARRAYS];
    Py_ssize_t c = 0;
    int open = 0;
    for (; open < ARRAYS; open++) {
        const Py_ssize_t counts[ARRAYS] = {n, n, -1, n * width * 3, n * width, n * c * 2};
        if (opened(parts[open], &v[open], counts[open], writable[open]) < 0) break;
        if (open == CHANNELS) c = v[CHANNELS].len / 8;
    }
    if (open == ARRAYS) {
        Decoding all = {(Names *)names, recent, cells, v[AS_OF].buf, v[WEIGHTS].buf, v[CHANNELS].buf, c,
                        v[AFFINITY].buf, v[VIEWS].buf, v[RESPONSES].buf, NULL};
        found = decode_all(list, n, header, size, &all);
    }
    while (open-- > 0) PyBuffer_Release(&v[open]);
    return found;
}

/* ---- weeks of many ---- */

enum { W_WEIGHTS, W_CHANNELS, ACTIVITY, SENDS, ANSWERS, TOTALS, WEEK_ARRAYS };

typedef struct {
    int64_t cells;
    double visit, open;
    const int64_t *weights, *channels;
    Py_ssize_t c;
    double *activity, *sends, *responses, *totals;
    uint64_t *grid; /* (cells,), zero between two rows */
    char *busy;     /* (weeks,) whether anything was added */
} Weeks;

static int add_up(const Weeks *all, const Row *row) {
    for (int64_t i = 0; i < row->hours; i++) {
        const int64_t cell = cell_at(row->cells, i);
        if (cell >= all->cells) return wrong_row("has an hour beyond the week");
        all->grid[cell] += (uint64_t)word(row->hour_counts, i);
        all->busy[cell / WEEK] = 1;
    }
    return 0;
}

/* A week of the grid, which is empty after it. */
static void take(const Weeks *all, int64_t week, double weight, double *out) {
    uint64_t *from = all->grid + week * WEEK;
    if (!all->busy[week]) {
        memset(out, 0, WEEK * sizeof(double));
        return;
    }
    for (int hour = 0; hour < WEEK; hour++) out[hour] = (double)(int64_t)from[hour] / weight;
    memset(from, 0, WEEK * sizeof(uint64_t));
    all->busy[week] = 0;
}

static void weeks_of(const Weeks *all, Py_ssize_t i) {
    const double weight = (double)all->weights[i];
    double *activity = all->activity + i * WEEK, *sends = all->sends + i * WEEK, *responses = all->responses + i * WEEK;
    double told[KINDS][WEEK];
    take(all, 0, weight, told[0]);
    take(all, 1, weight, told[1]);
    for (int hour = 0; hour < WEEK; hour++) activity[hour] = told[0][hour] + all->visit * told[1][hour];
    for (int64_t week = OWN, channel = 0; week + KINDS <= all->cells / WEEK; week += KINDS, channel++) {
        if (!all->busy[week] && !all->busy[week + 1] && !all->busy[week + 2]) continue;
        for (int kind = 0; kind < KINDS; kind++) take(all, week + kind, weight, told[kind]);
        for (int hour = 0; hour < WEEK; hour++) sends[hour] += told[0][hour];
        for (int hour = 0; hour < WEEK; hour++) responses[hour] += told[1][hour] + all->open * told[2][hour];
        for (Py_ssize_t k = 0; k < all->c; k++)
            for (int kind = 0; kind < KINDS && all->channels[k] == channel; kind++)
                all->totals[(i * all->c + k) * KINDS + kind] = week_total(told[kind]);
    }
}

static int weeks_all(PyObject *list, Py_ssize_t n, Py_ssize_t header, Py_ssize_t size, Weeks *all) {
    all->grid = calloc((size_t)all->cells + 1, sizeof(uint64_t));
    all->busy = calloc((size_t)(all->cells / WEEK) + 1, 1);
    if (!all->grid || !all->busy) PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n && !PyErr_Occurred(); i++) {
        Row row;
        PyObject *one = PyList_GetItem(list, i);
        if (one && one != Py_None && open_row(one, header, size, &row) == 0 && add_up(all, &row) == 0) weeks_of(all, i);
    }
    free(all->grid);
    free(all->busy);
    return PyErr_Occurred() ? -1 : 0;
}

/* weeks(rows, header, size, cells, visit, open, weights, channels, activity, sends, responses, totals): of each row
 * (None: nothing known) into what is zero before: orders, and visits by their worth, into activity (n, 168); on all
 * channels, deliveries into sends, clicks, and opens by their worth, into responses; sends, clicks and opens of each of
 * these channels (-1: none) into totals (n, channels, 3). */
static PyObject *rows_weeks(PyObject *module, PyObject *args) {
    Py_ssize_t header, size;
    long long cells;
    double visit, open_worth;
    PyObject *list, *parts[WEEK_ARRAYS];
    (void)module;
    if (!PyArg_ParseTuple(args, "OnnLddOOOOOO:weeks", &list, &header, &size, &cells, &visit, &open_worth, &parts[0],
                          &parts[1], &parts[2], &parts[3], &parts[4], &parts[5]))
        return NULL;
    if (!PyList_Check(list)) return PyErr_SetString(PyExc_TypeError, "a list of rows is needed"), NULL;
    if (cells < OWN * WEEK || cells > 65536) return PyErr_SetString(PyExc_ValueError, "so many hours are none"), NULL;
    const Py_ssize_t n = PyList_Size(list);
    Py_buffer v[WEEK_ARRAYS];
    Py_ssize_t c = 0;
    int open = 0, done = -1;
    for (; open < WEEK_ARRAYS; open++) {
        const Py_ssize_t counts[WEEK_ARRAYS] = {n, -1, n * WEEK, n * WEEK, n * WEEK, n * c * KINDS};
        if (opened(parts[open], &v[open], counts[open], open >= ACTIVITY) < 0) break;
        if (open == W_CHANNELS) c = v[W_CHANNELS].len / 8;
    }
    if (open == WEEK_ARRAYS) {
        Weeks all = {cells, visit, open_worth, v[W_WEIGHTS].buf, v[W_CHANNELS].buf, c, v[ACTIVITY].buf, v[SENDS].buf,
                     v[ANSWERS].buf, v[TOTALS].buf, NULL, NULL};
        done = weeks_all(list, n, header, size, &all);
    }
    while (open-- > 0) PyBuffer_Release(&v[open]);
    if (done < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- one row ---- */

/* liked(row, header, size, as_of, recent, names): {category: (orders in 90, in 365 days, days since the last)} of those
 * ordered lately, and {category: views} of those viewed; `names` are the row's categories. */
static PyObject *rows_liked(PyObject *module, PyObject *args) {
    PyObject *from, *names;
    Py_ssize_t header, size;
    long long as_of, recent;
    Row row;
    (void)module;
    if (!PyArg_ParseTuple(args, "OnnLLO:liked", &from, &header, &size, &as_of, &recent, &names)) return NULL;
    if (open_row(from, header, size, &row) < 0) return NULL;
    if (!PyList_Check(names) || PyList_Size(names) != row.categories) {
        wrong_row("has other categories than it says");
        return NULL;
    }
    PyObject *affinity = PyDict_New(), *views = PyDict_New();
    for (int64_t k = 0; affinity && views && k < row.categories && !PyErr_Occurred(); k++) {
        PyObject *name = PyList_GetItem(names, (Py_ssize_t)k), *told = NULL;
        double days;
        if (lately(&row, k, as_of, recent, &days)) {
            told = Py_BuildValue("ddd", (double)half_word(row.counts, 3 * k), (double)half_word(row.counts, 3 * k + 1),
                                 days);
            if (told) PyDict_SetItem(affinity, name, told);
            Py_XDECREF(told);
        }
        const uint32_t seen = half_word(row.counts, 3 * k + 2);
        if (!seen || PyErr_Occurred()) continue;
        told = PyLong_FromUnsignedLong(seen);
        if (told) PyDict_SetItem(views, name, told);
        Py_XDECREF(told);
    }
    if (!PyErr_Occurred()) return Py_BuildValue("NN", affinity, views);
    Py_XDECREF(affinity); Py_XDECREF(views);
    return NULL;
}

/* A row's counts by hour as they were added up: `channels` (a list) of those that anything happened on; `weeks`, bytes
 * of 64-bit sums: orders, visits, then sends, clicks and opens of each of these channels. */
typedef struct {
    PyObject *channels, *weeks;
    int64_t many;
    double weight;
} Hours;

static int open_hours(PyObject *args, Hours *found) {
    PyObject *from;
    Py_ssize_t header, size;
    long long cells;
    Row row;
    int64_t place[1 + 65536 / (KINDS * WEEK)]; /* of a channel's weeks among those told, -1: none */
    if (!PyArg_ParseTuple(args, "OnndL", &from, &header, &size, &found->weight, &cells)) return -1;
    if (open_row(from, header, size, &row) < 0) return -1;
    memset(place, 0xff, sizeof(place));
    for (int64_t i = 0; i < row.hours; i++) {
        const int64_t cell = cell_at(row.cells, i);
        if (cell >= cells) return wrong_row("has an hour beyond the week");
        if (cell >= OWN * WEEK) place[(cell - OWN * WEEK) / (KINDS * WEEK)] = 0;
    }
    found->channels = PyList_New(0);
    int64_t told = 0;
    for (int64_t c = 0; found->channels && c < (int64_t)(sizeof(place) / sizeof(*place)); c++) {
        if (place[c] < 0) continue;
        PyObject *number = PyLong_FromLongLong(c);
        if (!number || PyList_Append(found->channels, number) < 0) Py_CLEAR(found->channels);
        Py_XDECREF(number);
        place[c] = told++;
    }
    found->many = (OWN + KINDS * told) * WEEK;
    found->weeks = found->channels ? bytes_of(found->many) : NULL;
    if (!found->weeks) {
        Py_XDECREF(found->channels);
        return -1;
    }
    char *grid = PyBytes_AsString(found->weeks);
    memset(grid, 0, (size_t)found->many * 8);
    for (int64_t i = 0; i < row.hours; i++) {
        int64_t cell = cell_at(row.cells, i);
        if (cell >= OWN * WEEK) {
            const int64_t behind = cell - OWN * WEEK;
            cell = OWN * WEEK + place[behind / (KINDS * WEEK)] * KINDS * WEEK + behind % (KINDS * WEEK);
        }
        const uint64_t count = (uint64_t)word(grid, cell) + (uint64_t)word(row.hour_counts, i);
        memcpy(grid + 8 * cell, &count, 8);
    }
    return 0;
}

/* hours(row, header, size, weight, cells): the places of the channels that anything happened on, and weeks as float64:
 * orders, visits, then sends, clicks and opens of each of these channels. */
static PyObject *rows_hours(PyObject *module, PyObject *args) {
    Hours told;
    (void)module;
    if (open_hours(args, &told) < 0) return NULL;
    char *grid = PyBytes_AsString(told.weeks);
    for (int64_t i = 0; i < told.many; i++) {
        const double value = (double)word(grid, i) / told.weight;
        memcpy(grid + 8 * i, &value, 8);
    }
    return Py_BuildValue("NN", told.channels, told.weeks);
}

/* Whether the LANES sums from here on are all zero: most hours of a week are. */
static int idle(const char *grid, int64_t from) {
    int64_t any = 0;
    for (int64_t k = from; k < from + LANES; k++) any |= word(grid, k);
    return any == 0;
}

/* busy_hours(row, header, size, weight, cells): the places of the channels that anything happened on, and what is not
 * zero of the weeks that `hours` gives: numbers (float64) and their places (32 bits). */
static PyObject *rows_busy_hours(PyObject *module, PyObject *args) {
    Hours told;
    (void)module;
    if (open_hours(args, &told) < 0) return NULL;
    const char *grid = PyBytes_AsString(told.weeks);
    int64_t busy = 0;
    for (int64_t i = 0; i < told.many; i += LANES) {
        if (idle(grid, i)) continue;
        for (int64_t k = i; k < i + LANES; k++) busy += word(grid, k) != 0;
    }
    PyObject *counts = bytes_of(busy), *places = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(4 * busy)), *found = NULL;
    if (counts && places) {
        char *count = PyBytes_AsString(counts), *place = PyBytes_AsString(places);
        for (int64_t i = 0; i < told.many; i += LANES) {
            if (idle(grid, i)) continue;
            for (int64_t k = i; k < i + LANES; k++) {
                if (word(grid, k) == 0) continue;
                const double value = (double)word(grid, k) / told.weight;
                const uint32_t at = (uint32_t)k;
                memcpy(count, &value, 8);
                memcpy(place, &at, 4);
                count += 8;
                place += 4;
            }
        }
        found = Py_BuildValue("OOO", told.channels, counts, places);
    }
    Py_XDECREF(counts);
    Py_XDECREF(places);
    Py_DECREF(told.channels);
    Py_DECREF(told.weeks);
    return found;
}

/* ---- the module ---- */

/* ---- whether rows are whole ---- */

static int hex_digit(char one) {
    return (one >= '0' && one <= '9') || (one >= 'a' && one <= 'f') || (one >= 'A' && one <= 'F');
}

/* Whether a string's text, quotes and all, has only such escapes as JSON knows, and nothing unprintable. */
static int clean_text(const Name *name) {
    const char *end = name->text + name->length - 1;
    for (const char *at = name->text + 1; at < end; at++) {
        if ((unsigned char)*at < 0x20) return 0;
        if (*at != '\\') continue;
        if (++at >= end || !strchr("\"\\/bfnrtu", *at)) return 0;
        if (*at != 'u') continue;
        for (int i = 0; i < 4; i++)
            if (++at >= end || !hex_digit(*at)) return 0;
    }
    PyObject *text = PyUnicode_DecodeUTF8(name->text, name->length, NULL);
    Py_XDECREF(text);
    return text != NULL;
}

/* Whether all that a row says of itself can be read. */
static int is_whole(PyObject *from, Py_ssize_t header, Py_ssize_t size, int64_t cells) {
    Row row;
    if (!PyBytes_Check(from) || open_row(from, header, size, &row) < 0) return 0;
    for (int64_t i = 0; i < row.hours; i++)
        if (cell_at(row.cells, i) >= cells) return 0;
    if (!row.categories) return row.end - row.names == 2 && memcmp(row.names, "[]", 2) == 0;
    const char *at = row.names;
    for (int64_t k = 0; k < row.categories; k++) {
        Name name;
        if (next_name(&row, k, &at, &name) < 0 || !clean_text(&name)) return 0;
    }
    return 1;
}

/* whole(rows, header, size, cells): a byte of each row, 1 where all that it says of itself can be read. */
static PyObject *rows_whole(PyObject *module, PyObject *args) {
    PyObject *list;
    Py_ssize_t header, size;
    long long cells;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!nnL:whole", &PyList_Type, &list, &header, &size, &cells)) return NULL;
    PyObject *told = PyBytes_FromStringAndSize(NULL, PyList_Size(list));
    for (Py_ssize_t i = 0; told && i < PyList_Size(list); i++) {
        PyBytes_AsString(told)[i] = (char)is_whole(PyList_GetItem(list, i), header, size, cells);
        PyErr_Clear();
    }
    return told;
}

static PyMethodDef methods[] = {
    {"whole", rows_whole, METH_VARARGS, "Which rows are whole."},
    {"decode", rows_decode, METH_VARARGS, "Many rows as arrays."},
    {"liked", rows_liked, METH_VARARGS, "Orders and looks by category of a row."},
    {"weeks", rows_weeks, METH_VARARGS, "Weeks of many rows as arrays."},
    {"hours", rows_hours, METH_VARARGS, "Counts by hour of the week of a row."},
    {"busy_hours", rows_busy_hours, METH_VARARGS, "What is not zero of them."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    PyObject *names = PyType_FromSpec(&names_spec);
    if (!names || PyModule_AddObjectRef(module, "Names", names) < 0) {
        Py_XDECREF(names);
        return -1;
    }
    Py_DECREF(names);
    return PyModule_AddIntConstant(module, "LAYOUT", 3);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_rows", NULL, 0, methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rows(void) { return PyModuleDef_Init(&module); }
