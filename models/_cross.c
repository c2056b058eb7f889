/* What customers and offers are to each other (offer_features.CROSS): the same numbers as models/offer_features.py gives,
 * to the bit (see _kernel.h).
 */
#include "_kernel.h"
#include <math.h>

#define CATEGORIES 6   /* of an offer: offer_features.CATEGORIES_AN_OFFER */
#define LOOKS 2        /* offer_features.LOOKS, then */
#define CROSS 12       /* the rest of offer_features.CROSS */
#define AN_ORDER 5.0   /* offer_features.AN_ORDER */
#define PAIRWISE 128   /* numpy adds more than so many in halves */

enum { AFFINITY, BOUGHT, SIZE, ORDERS, KNOWN, INDEX, WEIGHT, MAIN, NEAR, START, KEY, COUNT, PRODUCT, OF_OFFER, NAMED,
       LOOKED, PART, TRAINED, CROSSED, PAIR_PARTS };

typedef struct {
    const double *affinity, *bought, *size, *orders, *weight, *near, *views, *part;
    const int64_t *index, *start, *key, *count, *product, *of_offer;
    const char *known, *main, *named;
    Py_ssize_t n, m, wide, texts, products, parts, trained;
} Pairs;

/* The sum as numpy's `sum` adds numbers that lie side by side. */
static double pairwise(const double *numbers, Py_ssize_t count) {
    double lane[8], total = 0;
    if (count > PAIRWISE) {
        const Py_ssize_t half = count / 2 / 8 * 8;
        return pairwise(numbers, half) + pairwise(numbers + half, count - half);
    }
    Py_ssize_t at = 0;
    if (count >= 8) {
        memcpy(lane, numbers, sizeof(lane));
        for (at = 8; at + 8 <= count; at += 8)
            for (int i = 0; i < 8; i++) lane[i] += numbers[at + i];
        total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
    for (; at < count; at++) total += numbers[at];
    return total;
}

/* What customer i bought and looked at of each category, into signs (wide,); an even share of it. */
static double signs_of(const Pairs *all, Py_ssize_t i, double *signs) {
    const double *liked = all->affinity + i * all->wide * 3, *views = all->views + i * all->wide;
    for (Py_ssize_t c = 0; c < all->wide; c++) signs[c] = views[c] + AN_ORDER * liked[3 * c + 1];
    return (pairwise(signs, all->trained) + (double)all->trained) / (double)(all->trained > 1 ? all->trained : 1);
}

/* LOOKS of customer i and offer j, whose second is still to be made a logarithm. */
static void looks_at(const Pairs *all, Py_ssize_t i, Py_ssize_t j, const double *signs, double even, double *out) {
    const double *views = all->views + i * all->wide, *part = all->part + j * all->parts;
    double looks = 0, sign = 0;
    for (Py_ssize_t k = 0; k < all->parts; k++) {
        const int64_t category = all->index[j * CATEGORIES + k];
        const int told = category < all->wide; /* an offer of a category that came later: no looks */
        const double seen = (told ? views[category] : 0.0) * part[k], done = (told ? signs[category] : 0.0) * part[k];
        looks = k ? looks + seen : seen;
        sign = k ? sign + done : done;
    }
    out[0] = looks;
    out[1] = (sign + 1) / even;
}

/* Orders of an offer's products by customer i, summed over the products: into own (m,). */
static void own_orders(const Pairs *all, Py_ssize_t i, double *own) {
    memset(own, 0, all->m * sizeof(double));
    for (int64_t at = all->start[i]; at < all->start[i + 1]; at++) {
        Py_ssize_t low = 0;
        for (Py_ssize_t high = all->products; low < high;) {
            const Py_ssize_t middle = low + (high - low) / 2;
            if (all->product[middle] < all->key[at]) low = middle + 1;
            else high = middle;
        }
        for (; low < all->products && all->product[low] == all->key[at]; low++)
            own[all->of_offer[low]] += (double)all->count[at];
    }
}

/* Cosines of what customer i bought and the offers' texts, category by category: into alike (m,). */
static void likeness(const Pairs *all, Py_ssize_t i, double *alike) {
    memset(alike, 0, all->m * sizeof(double));
    for (Py_ssize_t c = 0; c < all->texts; c++) {
        const double bought = all->bought[i * all->texts + c];
        if (bought == 0) continue;
        for (Py_ssize_t j = 0; j < all->m; j++) alike[j] += bought * all->near[j * all->texts + c];
    }
    for (Py_ssize_t j = 0; j < all->m; j++) alike[j] /= all->size[i];
}

static void cross_one(const Pairs *all, Py_ssize_t i, Py_ssize_t j, double own, double alike, double *out) {
    const double *liked = all->affinity + i * all->wide * 3, all_orders = all->orders[i];
    double lately = 0, yearly = 0, last = INFINITY;
    for (Py_ssize_t k = j * CATEGORIES; k < (j + 1) * CATEGORIES; k++) {
        const int64_t category = all->index[k];
        const int told = category < all->wide; /* an offer of a category that came later: no orders */
        const double of90 = (told ? liked[category * 3] : 0.0) * all->weight[k];
        const double of365 = (told ? liked[category * 3 + 1] : 0.0) * all->weight[k];
        lately = k % CATEGORIES ? lately + of90 : of90;
        yearly = k % CATEGORIES ? yearly + of365 : of365;
        if (told && all->main[k] && liked[category * 3 + 2] < last) last = liked[category * 3 + 2];
    }
    if (!isfinite(last)) last = NAN;
    out += LOOKS;
    out[0] = lately;
    out[1] = yearly;
    out[2] = last;
    out[3] = all_orders > 0 ? yearly / all_orders : 0.0;
    out[4] = yearly > 0 ? last * yearly / 365 : NAN;
    out[5] = 0;
    out[6] = alike;
    out[7] = own;
    out[8] = all_orders > 0 ? own / all_orders : 0 * own;
    out[9] = 0;
}

/* cross(...): writes CROSS into the last numbers of each row of out (n, m, ...); what takes a logarithm (the second of
 * LOOKS, 5 and 9 of the rest) is left for numpy. `trained`: one number, how many categories training knew. */
PyObject *kernel_cross(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const char *const names[] = {"affinity", "bought", "size", "orders", "known", "index", "weight", "main",
                                        "near", "start", "key", "count", "product", "of_offer", "named", "views",
                                        "part", "trained", "out"};
    static const Py_ssize_t sizes[] = {8, 8, 8, 8, 1, 8, 8, 1, 8, 8, 8, 8, 8, 8, 1, 8, 8, 8, 8};
    Py_buffer v[PAIR_PARTS];
    (void)module;
    if (open_all(args, given, v, names, sizes, PAIR_PARTS, 1) < 0) return NULL;
    Pairs all = {v[AFFINITY].buf, v[BOUGHT].buf, v[SIZE].buf, v[ORDERS].buf, v[WEIGHT].buf, v[NEAR].buf,
                 v[LOOKED].buf, v[PART].buf, v[INDEX].buf, v[START].buf, v[KEY].buf, v[COUNT].buf, v[PRODUCT].buf, v[OF_OFFER].buf, v[KNOWN].buf, v[MAIN].buf,
                 v[NAMED].buf, items(&v[KNOWN]), items(&v[NAMED]), 0, 0, items(&v[PRODUCT]), 0, 0};
    const Py_ssize_t n = all.n, m = all.m;
    const Py_ssize_t row = n && m ? items(&v[CROSSED]) / (n * m) : 0;
    all.wide = n ? items(&v[AFFINITY]) / 3 / n : 0;
    all.texts = n ? items(&v[BOUGHT]) / n : 0;
    all.parts = m ? items(&v[PART]) / m : 0;
    all.trained = items(&v[TRAINED]) == 1 ? (Py_ssize_t)*(const int64_t *)v[TRAINED].buf : -1;
    if (all.trained < 0 || (n && all.trained > all.wide) || items(&v[LOOKED]) != n * all.wide)
        return refused(v, PAIR_PARTS, "the customers' looks differ in length");
    if (all.parts > CATEGORIES || (m && all.parts < 1) || items(&v[PART]) != m * all.parts)
        return refused(v, PAIR_PARTS, "the offers' parts differ in length");
    if (items(&v[AFFINITY]) != n * all.wide * 3 || items(&v[BOUGHT]) != n * all.texts || items(&v[SIZE]) != n ||
        items(&v[ORDERS]) != n || items(&v[START]) != n + 1 || items(&v[KEY]) != items(&v[COUNT]) ||
        all.start[0] != 0 || all.start[n] != items(&v[KEY]))
        return refused(v, PAIR_PARTS, "the customers' arrays differ in length");
    if (items(&v[INDEX]) != m * CATEGORIES || items(&v[WEIGHT]) != m * CATEGORIES ||
        items(&v[MAIN]) != m * CATEGORIES || items(&v[NEAR]) != m * all.texts ||
        items(&v[OF_OFFER]) != all.products || items(&v[CROSSED]) != n * m * row || (n && m && row < CROSS))
        return refused(v, PAIR_PARTS, "the offers' arrays differ in length");
    for (Py_ssize_t k = 0; k < m * CATEGORIES; k++)
        if (all.index[k] < 0) return refused(v, PAIR_PARTS, "a category is below 0");
    for (Py_ssize_t k = 0; k < all.products; k++)
        if (all.of_offer[k] < 0 || all.of_offer[k] >= m) return refused(v, PAIR_PARTS, "a product is of no offer");
    for (Py_ssize_t i = 0; i < n; i++)
        if (all.start[i + 1] < all.start[i]) return refused(v, PAIR_PARTS, "the customers' products are not in order");
    double *room = malloc((2 * m + all.wide + 1) * sizeof(double)), *out = (double *)v[CROSSED].buf + (row - CROSS);
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < n; i++) {
            own_orders(&all, i, room);
            likeness(&all, i, room + m);
            const double even = signs_of(&all, i, room + 2 * m);
            for (Py_ssize_t j = 0; j < m; j++, out += row) {
                cross_one(&all, i, j, all.named[j] ? room[j] : NAN, room[m + j], out);
                looks_at(&all, i, j, room + 2 * m, even, out);
                if (!all.known[i])
                    for (int k = 0; k < CROSS; k++) out[k] = NAN;
            }
        }
        Py_END_ALLOW_THREADS
    }
    release(v, PAIR_PARTS);
    if (!room) return PyErr_NoMemory();
    free(room);
    Py_RETURN_NONE;
}
