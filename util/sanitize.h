/* SPDX-License-Identifier: BSD-3-Clause */
/* With which sanitizers this is compiled, 0 or 1: gcc and clang say it in different ways. */
#ifndef NVMETD_UTIL_SANITIZE_H
#define NVMETD_UTIL_SANITIZE_H

#ifdef __has_feature
#define SANITIZE_FEATURE(name) __has_feature(name)
#else
#define SANITIZE_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZE_FEATURE(address_sanitizer)
#define SANITIZE_ADDRESS 1
#else
#define SANITIZE_ADDRESS 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZE_FEATURE(thread_sanitizer)
#define SANITIZE_THREAD 1
#else
#define SANITIZE_THREAD 0
#endif

/* Any of those that make system calls of their own. */
#if SANITIZE_ADDRESS || SANITIZE_THREAD || SANITIZE_FEATURE(memory_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#endif
