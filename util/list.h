/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What <sys/queue.h> of Linux lacks: walking a list whose current element may be taken out of it,
 * and freed, meanwhile. `next` is the walk's own; the element that it points at must stay.
 */
#ifndef NVMETD_UTIL_LIST_H
#define NVMETD_UTIL_LIST_H

#include <stdbool.h>
#include <sys/queue.h>

#define TAILQ_FOREACH_SAFE(var, head, link, next)                                        \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, link), true); \
	     (var) = (next))

#define LIST_FOREACH_SAFE(var, head, link, next)                                       \
	for ((var) = LIST_FIRST(head); (var) && ((next) = LIST_NEXT(var, link), true); \
	     (var) = (next))

#endif
