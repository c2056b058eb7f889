/* Scoring of boosted trees by bit masks (QuickScorer, Lucchese et al., SIGIR 2015) for many customers and offers: the
 * same numbers as models/quick_trees.py gives, to the bit (see _kernel.h).
 */
#include "_kernel.h"

#define BLOCK 32       /* bytes; rows of masks are padded to this */
#define AT_ONCE 8      /* rows whose leaves are added side by side: a sum waits for the one before it */
#define ROWS 64        /* rows whose features are looked up together */

typedef struct {
    PyObject_HEAD
    Py_ssize_t width, trees, size, stride; /* features; bytes of a mask, of a padded row of masks */
    Py_ssize_t used;                       /* features that some tree asks for */
    int64_t *asked;                        /* (used,) which */
    int64_t *first;                        /* (width + 1,) where a feature's thresholds and rows begin */
    double *thresholds;                    /* ascending, the last infinite; NaN stands behind */
    unsigned char *table;                  /* a row for each of `thresholds` */
    double *values;                        /* (trees, 8 * size) of leaves */
    int64_t *effect_first;                 /* (trees * 8 * size + 1,) where a leaf's effects begin */
    int64_t *effect_feature;
    double *effect;
    double bias;
} Forest;

static void forest_clear(Forest *self) {
    free(self->asked); free(self->first); free(self->thresholds); free(self->table);
    free(self->values); free(self->effect_first); free(self->effect_feature); free(self->effect);
}

static void forest_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    forest_clear((Forest *)self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static void *copied(const Py_buffer *view) {
    void *found = malloc(view->len ? view->len : 1);
    if (found) memcpy(found, view->buf, view->len);
    return found;
}

enum { FIRST, THRESHOLDS, TABLE, VALUES, EFFECT_FIRST, EFFECT_FEATURE, EFFECT, FOREST_PARTS };

static const char *forest_wrong(const Forest *self, const Py_buffer *v) {
    const Py_ssize_t leaves = self->trees * 8 * self->size, rows = items(&v[THRESHOLDS]), effects = items(&v[EFFECT]);
    const int64_t *first = v[FIRST].buf, *from = v[EFFECT_FIRST].buf, *feature = v[EFFECT_FEATURE].buf;
    if (self->trees < 1 || self->width < 0 || v[TABLE].len != rows * self->trees * self->size) return "the table";
    if (first[0] != 0 || first[self->width] != rows) return "where thresholds begin";
    for (Py_ssize_t i = 0; i < self->width; i++)
        if (first[i + 1] != first[i] && first[i + 1] < first[i] + 2) return "where thresholds begin";
    if (items(&v[VALUES]) != leaves || items(&v[EFFECT_FIRST]) != leaves + 1) return "the leaves";
    if (from[0] != 0 || from[leaves] != effects || items(&v[EFFECT_FEATURE]) != effects) return "the effects";
    for (Py_ssize_t i = 0; i < leaves; i++)
        if (from[i + 1] < from[i]) return "the effects";
    for (Py_ssize_t i = 0; i < effects; i++)
        if (feature[i] < 0 || feature[i] >= self->width) return "the effects";
    return NULL;
}

static int forest_take(Forest *self, const Py_buffer *v) {
    const Py_ssize_t rows = items(&v[THRESHOLDS]), line = self->trees * self->size;
    self->stride = (line + BLOCK - 1) / BLOCK * BLOCK;
    self->first = copied(&v[FIRST]);
    self->thresholds = copied(&v[THRESHOLDS]);
    self->values = copied(&v[VALUES]);
    self->effect_first = copied(&v[EFFECT_FIRST]);
    self->effect_feature = copied(&v[EFFECT_FEATURE]);
    self->effect = copied(&v[EFFECT]);
    self->asked = malloc((self->width + 1) * sizeof(int64_t));
    self->table = malloc(rows * self->stride + 1);
    if (!self->first || !self->thresholds || !self->values || !self->effect_first || !self->effect_feature ||
        !self->effect || !self->asked || !self->table)
        return -1;
    memset(self->table, 0xff, rows * self->stride);
    for (Py_ssize_t i = 0; i < rows; i++)
        memcpy(self->table + i * self->stride, (const char *)v[TABLE].buf + i * line, line);
    self->used = 0;
    for (Py_ssize_t i = 0; i < self->width; i++)
        if (self->first[i + 1] > self->first[i]) self->asked[self->used++] = i;
    return 0;
}

static PyObject *forest_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static const char *const names[] = {"first", "thresholds", "table", "values", "effect_first", "effect_feature",
                                        "effect"};
    PyObject *parts[FOREST_PARTS];
    Py_ssize_t trees, size;
    double bias;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "nndOOOOOOO:Forest", &trees, &size, &bias, &parts[FIRST], &parts[THRESHOLDS],
                          &parts[TABLE], &parts[VALUES], &parts[EFFECT_FIRST], &parts[EFFECT_FEATURE], &parts[EFFECT]))
        return NULL;
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return PyErr_Format(PyExc_ValueError, "masks have 1, 2, 4 or 8 bytes, not %zd", size);
    const Py_ssize_t sizes[] = {8, 8, size, 8, 8, 8, 8};
    Py_buffer views[FOREST_PARTS];
    if (open_all(parts, FOREST_PARTS, views, names, sizes, FOREST_PARTS, 0) < 0) return NULL;
    Forest *self = (Forest *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) {
        release(views, FOREST_PARTS);
        return NULL;
    }
    self->trees = trees; self->size = size; self->bias = bias;
    self->width = items(&views[FIRST]) - 1;
    const char *wrong = forest_wrong(self, views);
    if (wrong) PyErr_Format(PyExc_ValueError, "%s and the other parts of the trees do not fit", wrong);
    else if (forest_take(self, views) < 0) PyErr_NoMemory();
    release(views, FOREST_PARTS);
    if (!PyErr_Occurred()) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

/* The row of a feature's table for a value: how many thresholds are below it; for NaN the last. */
static inline const unsigned char *row_for(const Forest *self, int64_t feature, double value) {
    const double *start = self->thresholds + self->first[feature], *at = start;
    const int64_t count = self->first[feature + 1] - self->first[feature] - 1;
    for (int64_t left = count; left > 1;) {
        const int64_t half = left / 2;
        at += -(int64_t)(at[half - 1] < value) & half;
        left -= half;
    }
    int64_t place = (at - start) + (*at < value);
    if (value != value) place = count;
    return self->table + (self->first[feature] + place) * self->stride;
}

/* row_for of n values, `step` numbers apart, into every `gap`-th of found. Several searches go side by side, because each
 * step of one waits for the step before. */
static void rows_for(const Forest *self, int64_t feature, const double *values, Py_ssize_t n, Py_ssize_t step,
                     const unsigned char **found, Py_ssize_t gap) {
    const int64_t first = self->first[feature], count = self->first[feature + 1] - first - 1;
    const double *start = self->thresholds + first;
    Py_ssize_t r = 0;
    for (; r + AT_ONCE <= n; r += AT_ONCE) {
        int64_t at[AT_ONCE] = {0};
        double value[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) value[i] = values[(r + i) * step];
        for (int64_t left = count; left > 1; left -= left / 2) {
            const double *last = start + left / 2 - 1;
            for (int i = 0; i < AT_ONCE; i++) at[i] += -(int64_t)(last[at[i]] < value[i]) & (left / 2);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            const int64_t place = value[i] != value[i] ? count : at[i] + (start[at[i]] < value[i]);
            found[(r + i) * gap] = self->table + (first + place) * self->stride;
        }
    }
    for (; r < n; r++) found[r * gap] = row_for(self, feature, values[r * step]);
}

/* into = a & b & all rows; `a` and `b` may be NULL. */
static void meet_plain(unsigned char *into, const unsigned char *a, const unsigned char *b,
                       const unsigned char *const *rows, Py_ssize_t count, Py_ssize_t stride) {
    for (Py_ssize_t at = 0; at < stride; at += BLOCK) {
        uint64_t left[BLOCK / 8], more[BLOCK / 8];
        memset(left, 0xff, BLOCK);
        if (a) memcpy(left, a + at, BLOCK);
        if (b) {
            memcpy(more, b + at, BLOCK);
            for (int i = 0; i < BLOCK / 8; i++) left[i] &= more[i];
        }
        for (Py_ssize_t k = 0; k < count; k++) {
            memcpy(more, rows[k] + at, BLOCK);
            for (int i = 0; i < BLOCK / 8; i++) left[i] &= more[i];
        }
        memcpy(into + at, left, BLOCK);
    }
}

#if defined(__GNUC__) && defined(__x86_64__)
typedef uint64_t Block __attribute__((vector_size(BLOCK)));

__attribute__((target("avx2"))) static void meet_avx2(unsigned char *into, const unsigned char *a,
                                                      const unsigned char *b, const unsigned char *const *rows,
                                                      Py_ssize_t count, Py_ssize_t stride) {
    for (Py_ssize_t at = 0; at < stride; at += BLOCK) {
        Block left, more;
        memset(&left, 0xff, BLOCK);
        if (a) memcpy(&left, a + at, BLOCK);
        if (b) {
            memcpy(&more, b + at, BLOCK);
            left &= more;
        }
        for (Py_ssize_t k = 0; k < count; k++) {
            memcpy(&more, rows[k] + at, BLOCK);
            left &= more;
        }
        memcpy(into + at, &left, BLOCK);
    }
}

static int wide_registers(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}
#else
#define meet_avx2 meet_plain
static int wide_registers(void) { return 0; }
#endif

static void (*meet)(unsigned char *, const unsigned char *, const unsigned char *, const unsigned char *const *,
                    Py_ssize_t, Py_ssize_t) = meet_plain;

#if defined(__GNUC__)
#define LOWEST(mask) __builtin_ctzll(mask)
#else
static inline int lowest(uint64_t mask) {
    int bit = 0;
    while (!(mask & 1)) { mask >>= 1; bit++; }
    return bit;
}
#define LOWEST(mask) lowest(mask)
#endif

/* The leaf that a mask leaves; the highest bit is always looked at last, so that no mask leads out of the table. */
#define LEAF(type, masks, tree) LOWEST((uint64_t)(((const type *)(masks))[tree]) | (1ULL << (8 * sizeof(type) - 1)))

#define ADD_LEAVES(type)                                                                                              \
    static void add_##type(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *sums) {          \
        const Py_ssize_t stride = self->stride, leaves = 8 * sizeof(type);                                            \
        const double *values = self->values;                                                                          \
        double told[AT_ONCE] = {0};                                                                                   \
        if (count == AT_ONCE)                                                                                         \
            for (Py_ssize_t t = 0; t < self->trees; t++, values += leaves)                                            \
                for (int r = 0; r < AT_ONCE; r++) told[r] += values[LEAF(type, masks + r * stride, t)];               \
        else                                                                                                          \
            for (Py_ssize_t t = 0; t < self->trees; t++, values += leaves)                                            \
                for (int r = 0; r < count; r++) told[r] += values[LEAF(type, masks + r * stride, t)];                 \
        memcpy(sums, told, count * sizeof(double));                                                                   \
    }
ADD_LEAVES(uint8_t)
ADD_LEAVES(uint16_t)
ADD_LEAVES(uint32_t)
ADD_LEAVES(uint64_t)

/* Sums of the leaves that rows of masks leave, in the order of the trees. */
static void add_leaves(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *sums) {
    switch (self->size) {
        case 1: add_uint8_t(self, masks, count, sums); break;
        case 2: add_uint16_t(self, masks, count, sums); break;
        case 4: add_uint32_t(self, masks, count, sums); break;
        default: add_uint64_t(self, masks, count, sums);
    }
}

static Py_ssize_t leaf_of(const Forest *self, const unsigned char *masks, Py_ssize_t tree) {
    switch (self->size) {
        case 1: return tree * 8 + LEAF(uint8_t, masks, tree);
        case 2: return tree * 16 + LEAF(uint16_t, masks, tree);
        case 4: return tree * 32 + LEAF(uint32_t, masks, tree);
        default: return tree * 64 + LEAF(uint64_t, masks, tree);
    }
}

/* The masks of at most ROWS rows of values; features[k] < 0: not looked at. `found`: room for ROWS x count. */
static void masks_of(const Forest *self, const double *rows, Py_ssize_t n, Py_ssize_t wide, const int64_t *features,
                     const int64_t *places, Py_ssize_t count, const unsigned char **found, unsigned char *into) {
    for (Py_ssize_t k = 0; k < count; k++) {
        const int64_t place = places ? places[k] : k;
        rows_for(self, features[k], rows + place, n, wide, found + k, count);
    }
    for (Py_ssize_t r = 0; r < n; r++)
        meet(into + r * self->stride, NULL, NULL, found + r * count, count, self->stride);
}

/* Of `columns` those that some tree asks for, and their places; returns how many, -1 for one that is no feature. */
static Py_ssize_t kept(const Forest *self, const int64_t *columns, Py_ssize_t count, int64_t *features,
                       int64_t *places) {
    Py_ssize_t number = 0;
    for (Py_ssize_t k = 0; k < count; k++) {
        if (columns[k] >= self->width) return -1;
        if (columns[k] < 0 || self->first[columns[k] + 1] == self->first[columns[k]]) continue;
        features[number] = columns[k];
        places[number++] = k;
    }
    return number;
}

/* masks(columns, values, out): what values (n, columns) leave of each tree, (n, stride) bytes. */
static PyObject *forest_masks(PyObject *of, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"columns", "values", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 1};
    const Forest *self = (const Forest *)of;
    Py_buffer v[3];
    if (open_all(args, given, v, names, sizes, 3, 1) < 0) return NULL;
    const Py_ssize_t columns = items(&v[0]), n = v[2].len / self->stride;
    if (v[2].len != n * self->stride || items(&v[1]) != n * columns) return refused(v, 3, "rows of masks and of values differ");
    int64_t *features = malloc((2 * columns + 1) * sizeof(int64_t));
    const unsigned char **found = malloc((ROWS * columns + 1) * sizeof(*found));
    const Py_ssize_t count = features ? kept(self, v[0].buf, columns, features, features + columns) : 0;
    if (features && found && count >= 0)
        for (Py_ssize_t at = 0; at < n; at += ROWS)
            masks_of(self, (const double *)v[1].buf + at * columns, n - at < ROWS ? n - at : ROWS, columns, features,
                     features + columns, count, found, (unsigned char *)v[2].buf + at * self->stride);
    const int failed = !features || !found;
    free(features); free(found);
    release(v, 3);
    if (failed) return PyErr_NoMemory();
    if (count < 0) return PyErr_Format(PyExc_ValueError, "a column is no feature of the trees");
    Py_RETURN_NONE;
}

typedef void (*Told)(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *out);

static void told_scores(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *out) {
    for (Py_ssize_t r = 0; r < count; r += AT_ONCE)
        add_leaves(self, masks + r * self->stride, count - r < AT_ONCE ? count - r : AT_ONCE, out + r);
}

/* Path contributions of rows of masks, `wide` numbers a row of out. Tree by tree over all rows: the effects of one tree
 * stay in the processor's cache. */
static void add_effects(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *out, Py_ssize_t wide) {
    for (Py_ssize_t r = 0; r < count; r++) memset(out + r * wide, 0, wide * sizeof(double));
    for (Py_ssize_t t = 0; t < self->trees; t++)
        for (Py_ssize_t r = 0; r < count; r++) {
            const Py_ssize_t leaf = leaf_of(self, masks + r * self->stride, t);
            for (int64_t e = self->effect_first[leaf]; e < self->effect_first[leaf + 1]; e++)
                out[r * wide + self->effect_feature[e]] += self->effect[e];
        }
}

static void told_effects(const Forest *self, const unsigned char *masks, Py_ssize_t count, double *out) {
    add_effects(self, masks, count, out, self->width + 1);
    for (Py_ssize_t r = 0; r < count; r++) out[r * (self->width + 1) + self->width] = self->bias;
}

/* Rows (n, width) in; `wide` numbers a row out. */
static PyObject *of_rows(const Forest *self, PyObject *const *args, Py_ssize_t given, Told tell, Py_ssize_t wide) {
    static const char *const names[] = {"rows", "out"};
    static const Py_ssize_t sizes[] = {8, 8};
    Py_buffer v[2];
    if (open_all(args, given, v, names, sizes, 2, 1) < 0) return NULL;
    const Py_ssize_t n = items(&v[1]) / wide;
    if (items(&v[1]) != n * wide || items(&v[0]) != n * self->width) return refused(v, 2, "rows and results differ");
    unsigned char *masks = malloc(ROWS * self->stride);
    const unsigned char **found = malloc((ROWS * self->used + 1) * sizeof(*found));
    if (masks && found) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < n; at += ROWS) {
            const Py_ssize_t count = n - at < ROWS ? n - at : ROWS;
            masks_of(self, (const double *)v[0].buf + at * self->width, count, self->width, self->asked, self->asked,
                     self->used, found, masks);
            tell(self, masks, count, (double *)v[1].buf + at * wide);
        }
        Py_END_ALLOW_THREADS
    }
    const int failed = !masks || !found;
    free(masks); free(found);
    release(v, 2);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* raw_score(rows, out): (n,). */
static PyObject *forest_raw_score(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    return of_rows((const Forest *)self, args, given, told_scores, 1);
}

/* contributions(rows, out): (n, width + 1), the bias last. */
static PyObject *forest_contributions(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    return of_rows((const Forest *)self, args, given, told_effects, ((const Forest *)self)->width + 1);
}

typedef struct {
    const unsigned char *customers, *offers, *channels;
    const double *cross;
    const int64_t *features, *places;
    Py_ssize_t n, m, c, wide, count;
} Market;

/* A mixing step of a hash. */
static inline uint64_t mixed(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    return hash ^ hash >> 29;
}

/* Into first (m,), for each row of masks the first that is the same. Returns -1 where memory is short. */
static int first_alike(const unsigned char *masks, Py_ssize_t m, Py_ssize_t stride, int64_t *first) {
    Py_ssize_t slots = 2;
    while (slots < 2 * m) slots *= 2;
    int64_t *held = malloc(slots * sizeof(int64_t));
    if (!held) return -1;
    memset(held, 0xff, slots * sizeof(int64_t));
    for (Py_ssize_t j = 0; j < m; j++) {
        const unsigned char *row = masks + j * stride;
        uint64_t hash = 0, word;
        for (Py_ssize_t at = 0; at < stride; at += sizeof(word)) {
            memcpy(&word, row + at, sizeof(word));
            hash = mixed(hash, word);
        }
        Py_ssize_t slot = (Py_ssize_t)(hash & (uint64_t)(slots - 1));
        while (held[slot] >= 0 && memcmp(masks + held[slot] * stride, row, stride)) slot = (slot + 1) & (slots - 1);
        if (held[slot] < 0) held[slot] = j;
        first[j] = held[slot];
    }
    free(held);
    return 0;
}

/* For each of some (at most ROWS) offers the first whose masks are the same for one customer: what the offers say and
 * what both say is the same. */
static void same_masks(const int64_t *first_alike, const unsigned char *const *found, Py_ssize_t count, Py_ssize_t some,
                       int16_t *same) {
    unsigned char held[2 * ROWS];
    memset(held, 0xff, sizeof(held));
    for (Py_ssize_t j = 0; j < some; j++) {
        const unsigned char *const *mine = found + j * count;
        uint64_t hash = mixed(0, (uint64_t)first_alike[j]);
        for (Py_ssize_t k = 0; k < count; k++) hash = mixed(hash, (uint64_t)(uintptr_t)mine[k]);
        int slot = (int)(hash % (2 * ROWS));
        while (held[slot] != 0xff && (first_alike[held[slot]] != first_alike[j] ||
                                      memcmp(found + held[slot] * count, mine, count * sizeof(*mine))))
            slot = (slot + 1) % (2 * ROWS);
        if (held[slot] == 0xff) held[slot] = (unsigned char)j;
        same[j] = held[slot];
    }
}

/* Masks that wait until leaves can be added side by side, and where their scores go. */
typedef struct {
    const Forest *forest;
    unsigned char *masks; /* (AT_ONCE, stride) */
    double *into[AT_ONCE];
    int count;
} Waiting;

static void add_waiting(Waiting *self) {
    double sums[AT_ONCE];
    add_leaves(self->forest, self->masks, self->count, sums);
    for (int r = 0; r < self->count; r++) *self->into[r] = sums[r];
    self->count = 0;
}

/* `room`: (AT_ONCE + 1) rows of masks. Offers whose masks are the same for a customer are scored once: mostly those
 * that are about the same, of which the customer did nothing. */
static void weigh(const Forest *self, const Market *all, const int64_t *alike, const unsigned char **found,
                  unsigned char *room, double *out) {
    const Py_ssize_t stride = self->stride;
    unsigned char *pair = room + AT_ONCE * stride;
    Waiting waiting = {self, room, {NULL}, 0};
    int16_t same[ROWS];
    for (Py_ssize_t i = 0; i < all->n; i++)
        for (Py_ssize_t first = 0; first < all->m; first += ROWS) {
            const Py_ssize_t some = all->m - first < ROWS ? all->m - first : ROWS;
            const double *rows = all->cross + (i * all->m + first) * all->wide;
            double *into = out + (i * all->m + first) * all->c;
            for (Py_ssize_t k = 0; k < all->count; k++)
                rows_for(self, all->features[k], rows + all->places[k], some, all->wide, found + k, all->count);
            same_masks(alike + first, found, all->count, some, same);
            for (Py_ssize_t j = 0; j < some; j++) {
                if (same[j] != j) continue;
                meet(pair, all->customers + i * stride, all->offers + (first + j) * stride, found + j * all->count,
                     all->count, stride);
                for (Py_ssize_t c = 0; c < all->c; c++) {
                    const unsigned char *channel = all->channels ? all->channels + (i * all->c + c) * stride : NULL;
                    meet(waiting.masks + waiting.count * stride, pair, channel, NULL, 0, stride);
                    waiting.into[waiting.count] = into + j * all->c + c;
                    if (++waiting.count == AT_ONCE) add_waiting(&waiting);
                }
            }
            add_waiting(&waiting);
            for (Py_ssize_t j = 0; j < some; j++)
                if (same[j] != j) memcpy(into + j * all->c, into + same[j] * all->c, all->c * sizeof(double));
        }
}

/* The market that five arguments from v[0] on tell: columns, cross, customers, offers, channels; NULL, or what is wrong. */
static const char *market_of(const Forest *self, const Py_buffer *v, Market *all) {
    *all = (Market){v[2].buf, v[3].buf, v[4].len ? v[4].buf : NULL, v[1].buf, NULL, NULL, 0, 0, 1, items(&v[0]), 0};
    all->n = v[2].len / self->stride;
    all->m = v[3].len / self->stride;
    if (all->channels) all->c = all->n ? v[4].len / self->stride / all->n : 0;
    if (v[2].len != all->n * self->stride || v[3].len != all->m * self->stride ||
        (all->channels && v[4].len != all->n * all->c * self->stride) || items(&v[1]) != all->n * all->m * all->wide)
        return "masks, values and results differ in their numbers of rows";
    return NULL;
}

/* weigh(columns, cross, customers, offers, channels, out): scores (n, m, c) of every customer, offer and channel.
 * cross (n, m, columns) are the values of `columns` (-1: not a feature); the others are masks: customers (n), offers
 * (m), channels (n, c); no channels: c is 1. */
static PyObject *forest_weigh(PyObject *of, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"columns", "cross", "customers", "offers", "channels", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 1, 1, 1, 8};
    const Forest *self = (const Forest *)of;
    Py_buffer v[6];
    Market all;
    if (open_all(args, given, v, names, sizes, 6, 1) < 0) return NULL;
    const char *wrong = market_of(self, v, &all);
    if (!wrong && items(&v[5]) != all.n * all.m * all.c) wrong = "masks, values and results differ in their numbers of rows";
    if (wrong) return refused(v, 6, wrong);
    int64_t *features = malloc((2 * all.wide + 1) * sizeof(int64_t));
    const unsigned char **found = malloc((ROWS * all.wide + 1) * sizeof(*found));
    unsigned char *masks = malloc((AT_ONCE + 1) * self->stride);
    int64_t *alike = malloc((all.m + 1) * sizeof(int64_t));
    int failed = !features || !found || !masks || !alike;
    if (!failed) {
        all.count = kept(self, v[0].buf, all.wide, features, features + all.wide);
        all.features = features;
        all.places = features + all.wide;
        if (all.count >= 0) {
            Py_BEGIN_ALLOW_THREADS
            failed = first_alike(all.offers, all.m, self->stride, alike) < 0;
            if (!failed) weigh(self, &all, alike, found, masks, v[5].buf);
            Py_END_ALLOW_THREADS
        }
    }
    free(features); free(found); free(masks); free(alike);
    release(v, 6);
    if (failed) return PyErr_NoMemory();
    if (all.count < 0) return PyErr_Format(PyExc_ValueError, "a column is no feature of the trees");
    Py_RETURN_NONE;
}

/* Path contributions of some (customer, offer, channel) of a market, each `width` numbers of out. Those of one customer
 * whose masks are the same are added up once. */
static void effects_in(const Forest *self, const Market *all, const int64_t *asked, Py_ssize_t k,
                       const unsigned char **found, unsigned char *masks, double *out) {
    for (Py_ssize_t from = 0; from < k; from += ROWS) {
        const Py_ssize_t some = k - from < ROWS ? k - from : ROWS;
        Py_ssize_t place[ROWS], distinct = 0;
        double *told = out + from * self->width;
        for (Py_ssize_t r = 0; r < some; r++) {
            const int64_t *at = asked + 3 * (from + r);
            const double *row = all->cross + (at[0] * all->m + at[1]) * all->wide;
            unsigned char *into = masks + distinct * self->stride;
            for (Py_ssize_t f = 0; f < all->count; f++)
                found[f] = row_for(self, all->features[f], row[all->places[f]]);
            meet(into, all->customers + at[0] * self->stride, all->offers + at[1] * self->stride, found, all->count,
                 self->stride);
            if (all->channels)
                meet(into, into, all->channels + (at[0] * all->c + at[2]) * self->stride, NULL, 0, self->stride);
            place[r] = distinct;
            for (Py_ssize_t b = r - 1; b >= 0 && asked[3 * (from + b)] == at[0] && place[r] == distinct; b--)
                if (!memcmp(masks + place[b] * self->stride, into, self->stride)) place[r] = place[b];
            distinct += place[r] == distinct;
        }
        add_effects(self, masks, distinct, told, self->width);
        for (Py_ssize_t r = some - 1; r >= 0; r--) /* the last first: no place is behind its row */
            if (place[r] != r) memcpy(told + r * self->width, told + place[r] * self->width, self->width * sizeof(double));
    }
}

/* effects(columns, cross, customers, offers, channels, asked, out): path contributions (k, width) of k (customer, offer,
 * channel), by their places in a market as `weigh` takes it. */
static PyObject *forest_effects(PyObject *of, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"columns", "cross", "customers", "offers", "channels", "asked", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 1, 1, 1, 8, 8};
    const Forest *self = (const Forest *)of;
    Py_buffer v[7];
    Market all;
    if (open_all(args, given, v, names, sizes, 7, 1) < 0) return NULL;
    const char *wrong = market_of(self, v, &all);
    const Py_ssize_t k = items(&v[5]) / 3;
    const int64_t *asked = v[5].buf;
    if (!wrong && (items(&v[5]) != 3 * k || items(&v[6]) != k * self->width)) wrong = "what is asked and results differ";
    for (Py_ssize_t r = 0; r < k && !wrong; r++, asked += 3)
        if (asked[0] < 0 || asked[0] >= all.n || asked[1] < 0 || asked[1] >= all.m ||
            (all.channels && (asked[2] < 0 || asked[2] >= all.c)))
            wrong = "what is asked is not there";
    if (wrong) return refused(v, 7, wrong);
    int64_t *features = malloc((2 * all.wide + 1) * sizeof(int64_t));
    const unsigned char **found = malloc((all.wide + 1) * sizeof(*found));
    unsigned char *masks = malloc(ROWS * self->stride);
    if (features && found && masks) {
        all.count = kept(self, v[0].buf, all.wide, features, features + all.wide);
        all.features = features;
        all.places = features + all.wide;
        if (all.count >= 0) effects_in(self, &all, v[5].buf, k, found, masks, v[6].buf);
    }
    const int failed = !features || !found || !masks;
    free(features); free(found); free(masks);
    release(v, 7);
    if (failed) return PyErr_NoMemory();
    if (all.count < 0) return PyErr_Format(PyExc_ValueError, "a column is no feature of the trees");
    Py_RETURN_NONE;
}

static PyObject *forest_stride(PyObject *self, PyObject *none) {
    (void)none;
    return PyLong_FromSsize_t(((Forest *)self)->stride);
}

static PyMethodDef forest_methods[] = {
    {"masks", (PyCFunction)(void (*)(void))forest_masks, METH_FASTCALL, "masks(columns, values, out)"},
    {"raw_score", (PyCFunction)(void (*)(void))forest_raw_score, METH_FASTCALL, "raw_score(rows, out)"},
    {"contributions", (PyCFunction)(void (*)(void))forest_contributions, METH_FASTCALL, "contributions(rows, out)"},
    {"weigh", (PyCFunction)(void (*)(void))forest_weigh, METH_FASTCALL,
     "weigh(columns, cross, customers, offers, channels, out)"},
    {"effects", (PyCFunction)(void (*)(void))forest_effects, METH_FASTCALL,
     "effects(columns, cross, customers, offers, channels, asked, out)"},
    {"stride", forest_stride, METH_NOARGS, "Bytes of a row of masks."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot forest_slots[] = {
    {Py_tp_new, forest_new},
    {Py_tp_dealloc, forest_dealloc},
    {Py_tp_methods, forest_methods},
    {0, NULL},
};
static PyType_Spec forest_spec = {"models._kernel.Forest", sizeof(Forest), 0, Py_TPFLAGS_DEFAULT, forest_slots};

/* ---- the module ---- */

/* wide(use): with the processor's wide registers or, for tests, without; says whether there are any. */
static PyObject *kernel_wide(PyObject *module, PyObject *use) {
    (void)module;
    const int wanted = PyObject_IsTrue(use);
    if (wanted < 0) return NULL;
    meet = wanted && wide_registers() ? meet_avx2 : meet_plain;
    return PyBool_FromLong(wide_registers());
}

static PyMethodDef module_methods[] = {
    {"wide", kernel_wide, METH_O, "wide(use): whether the processor has wide registers."},
    {"cross", (PyCFunction)(void (*)(void))kernel_cross, METH_FASTCALL, "CROSS of customers and offers."},
    {"linear", (PyCFunction)(void (*)(void))kernel_linear, METH_FASTCALL, "Scores of a logistic regression."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    if (wide_registers()) meet = meet_avx2;
    PyObject *forest = PyType_FromSpec(&forest_spec);
    if (!forest || PyModule_AddObjectRef(module, "Forest", forest) < 0) {
        Py_XDECREF(forest);
        return -1;
    }
    Py_DECREF(forest);
    return PyModule_AddIntConstant(module, "LAYOUT", 8);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", NULL, 0, module_methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&module); }
