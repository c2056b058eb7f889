/* What models/kernel.py finds in models._kernel, a file each: trees (_kernel.c), what customers and offers are to each
 * other (_cross.c), a logistic regression's scores (_linear.c).
 *
 * All give the numbers that numpy gives, to the bit: sums go one by one in an order that is written down, products and
 * sums are rounded one by one (-ffp-contract=off), and nothing here takes logarithms, whose last bits differ between
 * libraries.
 */
#include "_buffers.h"

PyObject *kernel_cross(PyObject *module, PyObject *const *args, Py_ssize_t given);
PyObject *kernel_linear(PyObject *module, PyObject *const *args, Py_ssize_t given);
